"""The same checks as java-groups, with the last Java client of 3.x: ConsumerGroupHeartbeat version 0, no topic ids."""

import runpy

from programs import TESTS

if __name__ == "__main__":
    runpy.run_path(str(TESTS / "java-groups" / "run.py"))["run"]("java-3.9")
