"""One real agent process on loopback, in a folder of its own: started, waited for, killed, ended.

Ports stay the same over a restart, so that clients find the agent again. Ends only the process it started.
"""

import os
import resource
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


# Variables that would give the agent a store or a database that no test meant.
NOT_INHERITED = ("AWS_", "AZURE_", "GOOGLE_", "METADATA_", "OTEL_", "STORAGE_", "STREAMHOUSE_")


def default_binary() -> Path:
    """The release build, or what STREAMHOUSE_AGENT names."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return Path(os.environ.get("STREAMHOUSE_AGENT", target / "release" / "agent"))


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class AgentProcess:
    """`start`, `kill`, `terminate`; `kafka`, `grpc` and `http` are its addresses. `prefix` starts it on another host."""

    def __init__(self, folder: Path, binary: Path | None = None, arguments: list[str] | None = None,
                 settings: dict[str, str] | None = None, address: str = "127.0.0.1", prefix: list[str] | None = None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.binary = Path(binary or default_binary())
        self.arguments = list(arguments or [])
        kafka, grpc, http = free_ports(3)
        self.kafka, self.grpc = f"{address}:{kafka}", f"{address}:{grpc}"
        self.http = f"http://{address}:{http}"
        self._prefix = list(prefix or [])
        self.log = self.folder / "agent.log"
        self.process: subprocess.Popen | None = None
        self.ready_ms = 0.0
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)},
            "KAFKA_ADDRESS": self.kafka,
            "AGENT_ADDRESS": self.grpc,
            "METRICS_PORT": str(http),
            "METADATA_STORE": str(self.folder / "metadata.db"),
            "STREAMHOUSE_STORE": f"file://{self.folder / 'store'}",
            "STREAMHOUSE_CACHE": str(self.folder / "cache"),
            "AGENT_ID": "compat-agent",
            **(settings or {}),
        }

    def add_settings(self, settings: dict[str, str]) -> None:
        """Variables from the next start on."""
        self._environment.update(settings)

    @property
    def pid(self) -> int:
        """Process id of the running agent."""
        assert self.process is not None
        return self.process.pid

    def start(self, arguments: list[str] | None = None, ready_within_s: float = 30) -> None:
        """Starts the agent and returns when /ready answers 200; raises with the log's end if it does not."""
        if not self.binary.exists():
            raise RuntimeError(f"no agent at {self.binary}: build it with cargo build --release")
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._prefix, str(self.binary), *self.arguments, *(arguments or [])],
                env=self._environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not self.is_ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the agent exited with {self.process.returncode}\n{self.log_end()}")
            if time.monotonic() - began > ready_within_s:
                self.kill()
                raise RuntimeError(f"the agent was not ready in {ready_within_s} s\n{self.log_end()}")
            time.sleep(0.005)
        self.ready_ms = (time.monotonic() - began) * 1000

    def is_ready(self) -> bool:
        """Whether /ready answers 200 now."""
        try:
            with urllib.request.urlopen(f"{self.http}/ready", timeout=2) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def readiness(self) -> str:
        """What /ready says."""
        try:
            with urllib.request.urlopen(f"{self.http}/ready", timeout=5) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.read().decode()
        except OSError as error:
            return f"no answer: {error}"

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9, and waits until the process is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self, within_s: float = 30) -> int:
        """SIGTERM; the exit code. Kills and raises if the agent does not drain in time."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"SIGTERM: still running after {within_s} s\n{self.log_end()}") from None

    def wait_exit(self, within_s: float) -> int | None:
        """The exit code once the process ends by itself; None if it does not in time."""
        assert self.process is not None
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None

    def metrics(self) -> dict[str, float]:
        """/metrics as series → value."""
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {series: float(value) for series, value in pairs}

    def memory_mb(self) -> tuple[float, float]:
        """(resident now, highest resident so far) in MB of 10^6 bytes."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return tuple(int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))

    def cpu_s(self) -> float:
        """User and system time used so far, in seconds."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def log_end(self, lines: int = 30) -> str:
        """The last lines of the agent's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def raise_open_file_limit() -> None:
    """As many open files as the system allows; many clients at once need them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
