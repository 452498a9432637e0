"""The checks of kafkajs, a Node program."""

from programs import run_node

if __name__ == "__main__":
    run_node("kafkajs")
