"""An honest client: one record at a time, each acked before the next, on one connection. A process of its own, so that what it
measures is the agent and not this machine's Python.

    honest.py ADDRESS TOPIC      prints a line `second milliseconds error` per record (error 0 is none) until its input ends
"""

import select
import sys
import time

from wire import PRODUCE, Connection, batch_of, produce_answer, produce_request

ANSWER_WITHIN_S = 30
PAUSE_S = 0.005


def main() -> int:
    """Until stdin is closed."""
    address, topic = sys.argv[1:]
    connection = Connection(address, ANSWER_WITHIN_S)
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        began = time.monotonic()
        try:
            error, _ = produce_answer(connection.ask(PRODUCE, produce_request(topic, 0, batch_of(b"x" * 100), 10_000)))
        except OSError:
            error = -1
            connection = Connection(address, ANSWER_WITHIN_S)
        print(f"{began:.6f} {(time.monotonic() - began) * 1000:.3f} {error}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
