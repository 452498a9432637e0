"""The checks of kafka-python 3."""

from programs import run_python

if __name__ == "__main__":
    run_python("kafka-python", "kafka-python/client.py")
