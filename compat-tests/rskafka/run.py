"""The checks of rskafka: a Rust program of the workspace in rust-clients, built where it changed."""

from programs import run_rust

if __name__ == "__main__":
    run_rust("rskafka")
