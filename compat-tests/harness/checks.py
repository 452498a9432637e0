"""A client's checks: functions marked with `@check("sentence")`, run in the order they are written.

Prints `ok   <sentence>` or `FAIL <sentence>: <why>` a line, which `run.py` counts; exit code 1 if any failed. One
failing check never hides the others.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable

KAFKA = os.environ.get("COMPAT_KAFKA", "127.0.0.1:9092")
GRPC = os.environ.get("COMPAT_GRPC", "")
HTTP = os.environ.get("COMPAT_HTTP", "")

_checks: list[tuple[str, Callable[[], None]]] = []
_names = 0


def check(sentence: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Registers a check under the sentence it proves."""
    def register(function: Callable[[], None]) -> Callable[[], None]:
        _checks.append((sentence, function))
        return function
    return register


def fresh_name(purpose: str) -> str:
    """A topic name that no other check and no earlier run uses."""
    global _names
    _names += 1
    return f"{purpose}-{os.getpid()}-{int(time.time())}-{_names}"


def expect(actual: object, wanted: object, what: str = "value") -> None:
    """Raises with both sides unless they are equal."""
    if actual != wanted:
        raise AssertionError(f"{what}: {actual!r}, expected {wanted!r}")


def run_checks() -> None:
    """Runs the checks whose sentence contains the first argument (all without one) and exits."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    failed = 0
    for sentence, function in _checks:
        if wanted not in sentence:
            continue
        try:
            function()
            print(f"ok   {sentence}", flush=True)
        except Exception as error:  # every failure is reported, then the next check runs
            failed += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:600]
            print(f"FAIL {sentence}: {reason} ({os.path.basename(where.filename)}:{where.lineno})", flush=True)
    sys.exit(1 if failed else 0)
