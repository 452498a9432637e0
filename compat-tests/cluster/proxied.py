"""The seeded proxy (compat-tests/proxy) as a process: agents that are led through it, and what it is told to do."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from network import Host

PROGRAM = Path(__file__).resolve().parents[1] / "proxy" / "proxy.py"


class Proxy:
    """Routes through one proxy. `ports` are theirs, by who is led through them and to what."""

    def __init__(self, seed: int, routes: list[dict], host: Host | None = None):
        self._process = subprocess.Popen([*(host.prefix if host else []), sys.executable, str(PROGRAM)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._numbers = 0
        self._deeds: list[dict] = []
        self._changed = threading.Condition()
        self._say(seed=seed, routes=routes)
        told = [json.loads(self._process.stdout.readline()) for _ in routes]
        self.ports = {(one["who"], one["kind"]): one["port"] for one in told}
        threading.Thread(target=self._listen, daemon=True).start()

    def _say(self, **command: object) -> None:
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        for line in self._process.stdout:
            with self._changed:
                self._deeds.append(json.loads(line))
                self._changed.notify_all()

    def rule(self, moment: str, do: str, **details: object) -> int:
        """From now on; its number."""
        self._numbers += 1
        self._say(rule=self._numbers, moment=moment, do=do, **details)
        return self._numbers

    def release(self, rule: int) -> None:
        """What it holds goes on."""
        self._say(release=rule)

    def forget(self, *rules: int) -> None:
        """They are no more, and what they hold goes on."""
        for rule in rules:
            self._say(forget=rule)

    def cut(self, who: str, kind: str, way: str) -> None:
        """Nothing arrives that way, until `mend`."""
        self._say(cut=who, kind=kind, way=way)

    def mend(self) -> None:
        """No way is cut; what was sent meanwhile arrives now."""
        self._say(mend=True)

    def heal(self) -> None:
        """No way is cut, and there are no rules."""
        self._say(heal=True)

    def deeds(self, *rules: int) -> list[dict]:
        """What these rules did so far."""
        with self._changed:
            return [deed for deed in self._deeds if deed["rule"] in rules]

    def first(self, rule: int, within_s: float) -> dict | None:
        """What a rule did first; None if it did nothing in that time."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while not (done := [deed for deed in self._deeds if deed["rule"] == rule]):
                if not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    return None
            return done[0]

    def end(self) -> None:
        """Ends it; every connection through it is closed."""
        self._process.stdin.close()
        self._process.wait(10)
