"""A cluster on loopback: a throw-away PostgreSQL server, a shared object store, and agents that can be hurt."""

import os
import signal
import subprocess
import time
from pathlib import Path

from agent_process import ROOT, AgentProcess


class Postgres:
    """scripts/throw-away-postgres.sh: lives as long as its standard input."""

    def __init__(self):
        script = ROOT / "scripts" / "throw-away-postgres.sh"
        self._process = subprocess.Popen([str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url.startswith("postgres://"):
            raise RuntimeError("no PostgreSQL server: scripts/setup.sh installs it")

    def restart(self) -> None:
        """As after a crash: whatever was not committed is gone, every connection breaks."""
        self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        """Away until `restart`."""
        self._process.send_signal(signal.SIGUSR2)

    def end(self) -> None:
        """Stops it and removes its data."""
        self._process.stdin.close()
        self._process.wait(30)


class Cluster:
    """Agents `agent-1`… on one database and one store. `kafka` names all of them."""

    def __init__(self, folder: Path, agents: int, lease_s: float, settings: dict[str, str] | None = None):
        self.folder = folder
        self.postgres = Postgres()
        self._shared = {"METADATA_STORE": self.postgres.url, "STREAMHOUSE_STORE": f"file://{folder / 'store'}",
                        "LEASE_DURATION": str(lease_s), "RUST_LOG": os.environ.get("RUST_LOG", "info"),
                        **(settings or {})}
        self.agents: list[AgentProcess] = []
        for _ in range(agents):
            self.add()

    def add(self) -> AgentProcess:
        """One more agent, not started."""
        name = f"agent-{len(self.agents) + 1}"
        agent = AgentProcess(self.folder / name, settings={**self._shared, "AGENT_ID": name})
        self.agents.append(agent)
        return agent

    def start(self) -> None:
        """All agents, ready."""
        for agent in self.agents:
            agent.start()

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        return ",".join(agent.kafka for agent in self.agents)

    def pause(self, agent: AgentProcess) -> None:
        """SIGSTOP: it holds its connections and says nothing."""
        os.kill(agent.pid, signal.SIGSTOP)

    def resume(self, agent: AgentProcess) -> None:
        """SIGCONT."""
        os.kill(agent.pid, signal.SIGCONT)

    def wait_ready(self, within_s: float) -> float:
        """Seconds until all agents that run are ready; raises if that takes too long."""
        began = time.monotonic()
        while not all(agent.is_ready() for agent in self.agents if agent.is_alive()):
            if time.monotonic() - began > within_s:
                raise RuntimeError(f"not ready in {within_s} s")
            time.sleep(0.02)
        return time.monotonic() - began

    def sql(self, statement: str) -> list[list[str]]:
        """Rows of a statement, through psql."""
        out = subprocess.run(["psql", "-X", "-A", "-t", "-F", "\t", "-c", statement, self.postgres.url],
                             check=True, capture_output=True, text=True, timeout=30).stdout
        return [line.split("\t") for line in out.splitlines() if line]

    def end(self) -> None:
        """Ends everything that was started."""
        for agent in self.agents:
            agent.kill()
        self.postgres.end()


def audit(cluster: Cluster) -> list[str]:
    """The storage audit: ranges without overlap or hole up to `next_offset`, each in an object that exists and holds it."""
    complaints = [f"density: partition {row} of the metadata store has a hole or an overlap" for row in cluster.sql("""
        SELECT topic_id, partition, base_offset FROM (
            SELECT topic_id, partition, base_offset,
                   lag(next_offset, 1, 0::bigint) OVER (PARTITION BY topic_id, partition ORDER BY base_offset) AS wanted
              FROM ranges) AS r WHERE base_offset <> wanted""")]
    complaints += [f"density: next_offset of {row} is not where its ranges end" for row in cluster.sql("""
        SELECT p.topic_id, p.partition, p.next_offset FROM partitions AS p
         WHERE p.next_offset <> coalesce((SELECT max(r.next_offset) FROM ranges AS r
                WHERE r.topic_id = p.topic_id AND r.partition = p.partition), 0)""")]
    store = cluster.folder / "store"
    for key, end in cluster.sql("""
            SELECT s.object_key, max(r.byte_start + r.byte_len) FROM ranges AS r JOIN segments AS s
                ON s.session = r.session AND s.lane_sequence = r.lane_sequence AND s.organization = r.organization
             GROUP BY s.object_key"""):
        path = store / key
        if not path.exists():
            complaints.append(f"dangling: {key} has ranges and is not in the store")
        elif path.stat().st_size < int(end):
            complaints.append(f"dangling: {key} has {path.stat().st_size} bytes, its ranges end at {end}")
    return complaints
