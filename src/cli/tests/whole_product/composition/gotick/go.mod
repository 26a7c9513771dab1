module example.org/gotick

go 1.24
