"""Wall clocks that can be set for one process (clock.c), and proof that they were wrong."""

import struct
import subprocess
import urllib.request
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from agent_process import AgentProcess

HERE = Path(__file__).resolve().parent


class Clock:
    """The wall clock of one agent. `settings` make the agent use it."""

    def __init__(self, folder: Path, name: str):
        library = folder / "clock.so"
        if not library.exists():
            subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(library), str(HERE / "clock.c")],
                           check=True)
        self._file = folder / f"{name}.clock"
        self.shift(0)
        self.settings = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self._file)}

    def shift(self, seconds: int) -> None:
        """From now on it is wrong by that much."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("<q", seconds))


def told_by(agent: AgentProcess) -> datetime:
    """The time of day as the agent sees it: the date in the header of its HTTP answers."""
    with urllib.request.urlopen(f"{agent.http}/health", timeout=5) as answer:
        return parsedate_to_datetime(answer.headers["Date"])
