"""The checks of kafka-go: a Go program that is built where it changed."""

from programs import run_go

if __name__ == "__main__":
    run_go("kafka-go")
