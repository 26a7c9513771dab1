module example.org/overhead

go 1.25
