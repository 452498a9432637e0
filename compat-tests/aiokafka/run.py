"""The checks of aiokafka."""

from programs import run_python

if __name__ == "__main__":
    run_python("aiokafka", "aiokafka/client.py")
