"""A cluster on loopback: a throw-away PostgreSQL server, an object store, and agents that can be hurt."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from agent_process import ROOT, AgentProcess, default_binary, free_ports
from network import DATABASE, FIRST_AGENT, STORE, Host, Network
from proxied import Proxy


class Postgres:
    """scripts/throw-away-postgres.sh: lives as long as its standard input."""

    def __init__(self, host: Host | None = None):
        words = [str(ROOT / "scripts" / "throw-away-postgres.sh")]
        if host is not None:
            words = [*host.prefix, *words, "--also-at", host.address]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url.startswith("postgres://"):
            raise RuntimeError("no PostgreSQL server: scripts/setup.sh installs it")
        self.address = self.url.partition("@")[2].partition("/")[0]

    def restart(self) -> None:
        """As after a crash: whatever was not committed is gone, every connection breaks."""
        self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        """Away until `restart`."""
        self._process.send_signal(signal.SIGUSR2)

    def signal(self, number: signal.Signals) -> None:
        """To the server and all its processes; SIGSTOP: it takes connections, and says nothing on any, until SIGCONT."""
        for server in _children_of(self._process.pid):
            os.kill(server, number)
            # Listed now that it starts no more of them.
            for worker in _children_of(server):
                with suppress(ProcessLookupError):
                    os.kill(worker, number)

    def end(self) -> None:
        """Stops it and removes its data."""
        self.signal(signal.SIGCONT)
        self._process.stdin.close()
        self._process.wait(30)


def _children_of(pid: int) -> list[int]:
    return [int(word) for word in subprocess.run(["pgrep", "-P", str(pid), "-x", "postgres"], capture_output=True, text=True).stdout.split()]


class Folder:
    """A folder that all agents share: one file system on one machine."""

    def __init__(self, folder: Path, host: Host | None = None):
        if host is not None:
            raise RuntimeError("a folder cannot be cut off: --store s3")
        self._root = folder / "store"
        self.settings = {"STREAMHOUSE_STORE": f"file://{self._root}"}

    def objects(self) -> dict[str, int]:
        """Sizes of all segments."""
        paths = (path for path in self._root.glob("org-*/*/*/*") if path.is_file())
        return {str(path.relative_to(self._root)): path.stat().st_size for path in paths}

    def end(self) -> None:
        """Nothing to stop."""


class Bucket:
    """What all S3 servers have in common: the bucket `streamhouse`, and its listing."""

    def __init__(self, url: str, secret: str):
        self.url = url
        self.settings = {"STREAMHOUSE_STORE": "s3://streamhouse/test", "AWS_ENDPOINT_URL": url,
                         "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": secret}
        self.client = boto3.client("s3", endpoint_url=url, aws_access_key_id="test", aws_secret_access_key=secret,
                                   region_name="us-east-1", config=Config(s3={"addressing_style": "path"}))

    def objects(self) -> dict[str, int]:
        """Sizes of all segments, as the server lists them."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="streamhouse", Prefix="test/org-")
        return {entry["Key"].removeprefix("test/"): entry["Size"] for page in pages for entry in page.get("Contents", [])}


class Moto(Bucket):
    """An S3 server that others wrote."""

    def __init__(self, folder: Path, host: Host | None = None):
        if host is not None:
            raise RuntimeError("this server stays on loopback: --store s3")
        port = free_ports(1)[0]
        server = Path(sys.executable).with_name("moto_server")
        self._log = (folder / "s3.log").open("wb")
        self._process = subprocess.Popen([str(server), "-H", "127.0.0.1", "-p", str(port)], stdout=self._log, stderr=self._log)
        super().__init__(f"http://127.0.0.1:{port}", "test")
        for _ in range(200):
            try:
                self.client.create_bucket(Bucket="streamhouse")
                return
            except EndpointConnectionError:
                time.sleep(0.1)
        raise RuntimeError("the S3 server does not answer")

    def end(self) -> None:
        """Stops it; what it held is gone."""
        self._process.kill()
        self._process.wait()
        self._log.close()


class S3(Bucket):
    """Our own S3 server, which can be slow, refuse, stall, lose answers, and be away."""

    def __init__(self, _: Path, host: Host | None = None):
        words = [*(host.prefix if host else []), str(default_binary().with_name("s3-server")),
                 "--listen", f"{host.address if host else '127.0.0.1'}:0"]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE)
        super().__init__(self._process.stdout.readline().decode().strip(), "testtest")

    def faults(self, settings: str) -> None:
        """Changes what goes wrong from now on: `name=value&…`, see crates/s3-server."""
        request = urllib.request.Request(f"{self.url}/-/faults?{settings}", method="PUT")
        urllib.request.urlopen(request, timeout=5).close()

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self.faults("unavailable=0&lost=0&stall=0&put=0/0&get=0/0&reset=0&short=0&wrong=0&outage=none")

    def stats(self) -> dict:
        """Requests by kind, bytes, CPU time."""
        with urllib.request.urlopen(f"{self.url}/-/stats", timeout=5) as answer:
            return json.load(answer)

    def end(self) -> None:
        """Stops it; what it held is gone."""
        self._process.kill()
        self._process.wait()


STORES = {"folder": Folder, "s3": S3, "moto": Moto}


class Cluster:
    """Agents `agent-1`… on one database and one store. `kafka` names all of them.

    With `apart` each of them, the database and the store are hosts of a network that can be cut (`network`, `hosts`). What is
    `proxied` (postgres, s3, kafka) each agent reaches, or is reached, through a proxy (`proxies`).
    """

    def __init__(self, folder: Path, agents: int, lease_s: float, store: str = "folder", apart: bool = False,
                 settings: dict[str, str] | None = None, proxied: tuple[str, ...] = (), seed: int = 0):
        self.folder, self.lease_s = folder, lease_s
        self.hosts: dict[AgentProcess, Host] = {}
        self.agents: list[AgentProcess] = []
        self.proxies: dict[str, Proxy] = {}
        self._ends = ExitStack()
        try:
            self._begin(agents, store, apart, settings or {})
            for kind in proxied:
                self._lead_through_proxy(kind, seed)
        except BaseException:
            self.end()
            raise

    def _begin(self, agents: int, store: str, apart: bool, settings: dict[str, str]) -> None:
        self.network = self._ended(Network()) if apart else None
        self.database_host, self.store_host = ((self.network.add("database", DATABASE), self.network.add("store", STORE))
                                               if self.network else (None, None))
        self.postgres = self._ended(Postgres(self.database_host))
        self.store = self._ended(STORES[store](self.folder, self.store_host))
        self._shared = {"METADATA_STORE": self.postgres.url, "LEASE_DURATION": str(self.lease_s),
                        "RUST_LOG": os.environ.get("RUST_LOG", "info"), **self.store.settings, **settings}
        for _ in range(agents):
            self.add()

    def _ended(self, part):
        """What is begun here ends with the cluster, in whatever way that ends; what was begun last ends first."""
        self._ends.callback(part.end)
        return part

    def add(self, settings: dict[str, str] | None = None) -> AgentProcess:
        """One more agent, not started, with settings of its own."""
        name = f"agent-{len(self.agents) + 1}"
        where = {}
        if self.network:
            host = self.network.add(name, FIRST_AGENT + len(self.agents))
            where = {"address": host.address, "prefix": host.prefix}
        agent = AgentProcess(self.folder / name, settings={**self._shared, "AGENT_ID": name, **(settings or {})}, **where)
        if self.network:
            self.hosts[agent] = host
        self._ends.callback(agent.kill)
        self.agents.append(agent)
        return agent

    def _lead_through_proxy(self, kind: str, seed: int) -> None:
        """Before the start: what is between the agents there are and the database, the store or the clients."""
        host = {"postgres": self.database_host, "s3": self.store_host, "kafka": self.network and self.network.clients}[kind]
        listen = host.address if host else "127.0.0.1"
        to = {"postgres": self.postgres.address, "s3": self.store.settings.get("AWS_ENDPOINT_URL", "").removeprefix("http://")}
        routes = [{"who": agent.folder.name, "kind": kind, "listen": listen, "to": to.get(kind, agent.kafka)} for agent in self.agents]
        proxy = self.proxies[kind] = self._ended(Proxy(seed, routes, host))
        for agent in self.agents:
            address = f"{listen}:{proxy.ports[agent.folder.name, kind]}"
            if kind == "kafka":
                agent.kafka = address
            agent.add_settings({"postgres": {"METADATA_STORE": f"postgres://postgres@{address}/postgres?sslmode=disable"},
                                "s3": {"AWS_ENDPOINT_URL": f"http://{address}"}, "kafka": {"KAFKA_ADVERTISED_ADDRESS": address}}[kind])

    def named(self, name: str) -> AgentProcess:
        """The agent of that AGENT_ID."""
        return next(agent for agent in self.agents if agent.folder.name == name)

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
        self._signal(agent, signal.SIGSTOP)

    def resume(self, agent: AgentProcess) -> None:
        """SIGCONT."""
        self._signal(agent, signal.SIGCONT)

    @staticmethod
    def _signal(agent: AgentProcess, number: signal.Signals) -> None:
        if agent.is_alive():
            os.kill(agent.pid, number)

    def supervise(self) -> int:
        """Starts agents again that gave up (exit code 1), as a supervisor does, and says how many. Any other end is a failure."""
        gone = [agent for agent in self.agents if not agent.is_alive()]
        for agent in gone:
            if agent.process.returncode != 1:
                raise RuntimeError(f"{agent.folder.name} ended with {agent.process.returncode}\n{agent.log_end()}")
            print(f"    {agent.folder.name} ended itself: {agent.log_end(1)[:300]}", flush=True)
            agent.start(ready_within_s=60)
        return len(gone)

    def wait_ready(self, within_s: float) -> float:
        """Seconds until all agents that run are ready; raises if that takes too long."""
        began = time.monotonic()
        while not all(agent.is_ready() for agent in self.agents if agent.is_alive()):
            if time.monotonic() - began > within_s:
                told = {agent.folder.name: agent.readiness() for agent in self.agents if agent.is_alive()}
                raise RuntimeError(f"not ready in {within_s} s: {told}")
            time.sleep(0.02)
        return time.monotonic() - began

    def heal(self) -> None:
        """Every link carries again, nothing is held back or refused, every process goes on."""
        if self.network:
            self.network.heal()
        for proxy in self.proxies.values():
            proxy.heal()
        if isinstance(self.store, S3):
            self.store.heal()
        self.postgres.signal(signal.SIGCONT)
        for agent in self.agents:
            self.resume(agent)

    def terminate_backends(self, share: float) -> None:
        """The database ends that share of the agents' connections, whatever they do."""
        self.sql(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'streamhouse' AND random() < {share}")

    def sql(self, statement: str) -> list[list[str]]:
        """Rows of a statement, through psql. A database that has just restarted may not be reached at once (exit code 2)."""
        command = ["psql", "-X", "-A", "-t", "-F", "\t", "-c", statement, self.postgres.url]
        deadline = time.monotonic() + 10
        while (done := subprocess.run(command, capture_output=True, text=True, timeout=30)).returncode == 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        done.check_returncode()
        out = done.stdout
        return [line.split("\t") for line in out.splitlines() if line]

    def end(self) -> None:
        """Ends everything that was started, also if some of it cannot be ended."""
        self._ends.close()


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
    # A rewrite goes on meanwhile: what is missing is missing only if it still is when rows and objects are read again.
    dangling = _dangling(cluster)
    complaints += sorted(dangling & _dangling(cluster)) if dangling else []
    return complaints


def _dangling(cluster: Cluster) -> set[str]:
    found = set()
    objects = cluster.store.objects()
    for key, end in cluster.sql("""
            SELECT s.object_key, max(r.byte_start + r.byte_len) FROM ranges AS r JOIN segments AS s
                ON s.session = r.session AND s.lane_sequence = r.lane_sequence AND s.organization = r.organization
             GROUP BY s.object_key"""):
        if key not in objects:
            found.add(f"dangling: {key} has ranges and is not in the store")
        elif objects[key] < int(end):
            found.add(f"dangling: {key} has {objects[key]} bytes, its ranges end at {end}")
    return found


def leaked(cluster: Cluster, within_s: float) -> list[str]:
    """Objects that nothing refers to and garbage collection leaves; it is given that long after the last upload."""
    deadline = time.monotonic() + within_s
    while True:
        known = {key for key, in cluster.sql("SELECT object_key FROM segments")}
        orphans = sorted(set(cluster.store.objects()) - known)
        if not orphans or time.monotonic() > deadline:
            return [f"leaked: {key}" for key in orphans]
        time.sleep(1)
