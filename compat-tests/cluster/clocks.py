"""Wall clocks that can be set for one process (clock.c), and proof that they were wrong."""

import re
import struct
import subprocess
from datetime import datetime
from pathlib import Path

from agent_process import AgentProcess

HERE = Path(__file__).resolve().parent
LOGGED_AT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")


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


def logged_at(agent: AgentProcess) -> datetime:
    """The time of the last line of its log, as the agent itself saw it. UTC."""
    stamps = LOGGED_AT.findall(agent.log_end(200))
    if not stamps:
        raise RuntimeError(f"no time in the log of {agent.folder.name}")
    return datetime.fromisoformat(stamps[-1])
