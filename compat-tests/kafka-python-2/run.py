"""The checks of kafka-python 2.0.2, which probes the broker's version: the program is that of kafka-python 3."""

from programs import run_python

if __name__ == "__main__":
    run_python("kafka-python-2", "kafka-python/client.py")
