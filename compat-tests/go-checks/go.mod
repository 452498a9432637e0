module compat/go-checks

go 1.25
