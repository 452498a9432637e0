"""What an attack does to an agent: its memory, its log, and an honest client beside it."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from agent_process import AgentProcess

MIB = 1 << 20
ATTACK_S_MIN = 2
"""Shorter, and there is nothing to say about the honest client."""
CLOSED = "Kafka connection closed"


@dataclass
class Seen:
    """Of one attack."""
    grown_mib: float
    """Most that resident memory grew."""
    closed: int
    """Connections of which the log says why they were closed."""
    cpu_s: float
    p99_ms: float
    requests: int
    errors: int


def p99(times: list[float]) -> float:
    """Nothing measured is no number."""
    return sorted(times)[int(len(times) * 0.99)] if times else float("nan")


class Watched:
    """A context: from the beginning of an attack to its end."""

    def __init__(self, agent: AgentProcess, topic: str):
        self._agent, self._topic, self.seen = agent, topic, None

    def __enter__(self) -> "Watched":
        command = [sys.executable, str(Path(__file__).with_name("honest.py")), self._agent.kafka, self._topic]
        self._output = tempfile.TemporaryFile("w+")
        self._honest = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._output, env=os.environ)
        while os.fstat(self._output.fileno()).st_size == 0 and self._honest.poll() is None:
            time.sleep(0.01)
        self._said = self._closed()
        Path(f"/proc/{self._agent.pid}/clear_refs").write_text("5")  # the peak is what is resident now
        self._before = self._status("VmRSS")
        self._cpu = self._agent.cpu_s()
        self._until = time.monotonic() + ATTACK_S_MIN
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(max(self._until - time.monotonic(), 0))
        cpu = self._agent.cpu_s() - self._cpu
        grown = (self._status("VmHWM") - self._before) / MIB
        self._honest.stdin.close()
        self._honest.wait(60)
        self._output.seek(0)
        rows = [line.split() for line in self._output]
        times = [float(row[1]) for row in rows]
        errors = sum(row[2] != "0" for row in rows) + (self._honest.returncode != 0)
        time.sleep(0.1)  # the log's last line may be on its way
        self.seen = Seen(grown, self._closed() - self._said, cpu, p99(times), len(times), errors)

    def _status(self, name: str) -> int:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{self._agent.pid}/status").read_text().splitlines())
        return int(fields[name].split()[0]) * 1024

    def _closed(self) -> int:
        return self._agent.log.read_text(errors="replace").count(CLOSED)
