module podcov.dev/probe

go 1.26
