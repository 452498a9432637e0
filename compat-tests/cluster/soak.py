"""What many mixes showed together: the row of docs/reliability.md."""

import os
import subprocess
import time
from datetime import datetime, timezone

from agent_process import ROOT
from history import OK
from mix import QUIET, spread
from trial import Trial


class Tally:
    """Adds mixes up."""

    def __init__(self, seed: int):
        self._first_seed, self._runs, self._began = seed, 0, time.monotonic()
        self._fault_windows = self._quiet_windows = self._acks = self._complaints = 0
        self._gaps: list[float] = []

    def add(self, trial: Trial, complaints: list[str]) -> None:
        """One more mix."""
        self._runs += 1
        self._quiet_windows += trial.windows[QUIET]
        self._fault_windows += trial.windows.total() - trial.windows[QUIET]
        self._acks += sum(lane.counts[OK] for lane in trial.load.lanes)
        self._complaints += len(complaints)
        self._gaps += trial.fault_gaps

    def row(self) -> str:
        """Date, commit, seeds, minutes, windows with faults and quiet ones, acks, gaps, anomalies."""
        commit = os.environ.get("STREAMHOUSE_COMMIT") or subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        fields = (datetime.now(timezone.utc).date(), commit, f"{self._first_seed}–{self._first_seed + self._runs - 1}",
                  f"{(time.monotonic() - self._began) / 60:.0f}", self._fault_windows, self._quiet_windows, f"{self._acks:,}",
                  spread(self._gaps) if self._gaps else "–", self._complaints)
        return "| " + " | ".join(map(str, fields)) + " |"
