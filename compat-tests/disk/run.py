"""Disks that fail under one agent: full, with errors, with a wrong bit; under its database, its objects and its cache.

    run.py [full] [errors] [rot] [--seed S] [--turns N]        without a name: all three

`full` and `errors` run under load and end with the checker's questions, after a kill -9. While syncs fail, nothing may be
committed. `rot` turns bits of a stopped agent's files, `--turns` of each kind, and reads everything: a wrong byte is never served.
"""

import argparse
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

import rot
from agent_process import AgentProcess, raise_open_file_limit
from cluster import S3
from failing import SYNCS, WRITES, Errors, SmallDisk, is_possible
from workload import Workload

TOPIC, PARTITIONS, RATE = "disk-test", 4, 200
FAIL_S, BACK_S = 3.0, 30
IN_FLIGHT_S = 0.5
"""What was synced before may be committed when a disk begins to fail, or acked."""
INSIDE = "STREAMHOUSE_TEST_DISKS"
DISKS = ("metadata", "store", "cache")


def agent_of(folder: Path, store: S3 | None, settings: dict[str, str] | None = None) -> AgentProcess:
    """Its database, objects and cache in folders of their own. With an S3 server it has a cache, else its objects are a folder."""
    where = {"METADATA_STORE": str(folder / "metadata" / "metadata.db"), "STREAMHOUSE_CACHE": str(folder / "cache"),
             "STREAMHOUSE_STORE": f"file://{folder / 'store'}", **(store.settings if store else {}), **(settings or {})}
    for name in DISKS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    return AgentProcess(folder, settings=where)


def under_load(folder: Path, agent: AgentProcess, hurt) -> list[str]:
    """Complaints about what `hurt` did under load, after a kill -9 at its end."""
    agent.start()
    create(agent, TOPIC, PARTITIONS)
    load = Workload(folder, agent.kafka, TOPIC, PARTITIONS, RATE, producers=2)
    time.sleep(2)
    complaints = list(hurt(load))
    load.stop_sending()
    agent.kill()
    agent.start()
    complaints += load.judge()
    if "panicked" in agent.log_end(100_000):
        complaints.append(f"panic: {agent.log}")
    agent.kill()
    return complaints


def create(agent: AgentProcess, topic: str, partitions: int) -> None:
    """One topic."""
    admin = AdminClient({"bootstrap.servers": agent.kafka, "log_level": 0})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(20)


def wait_until_acked(agent: AgentProcess, load: Workload, what: str) -> None:
    """Until the agent goes on after a failure. One that ended itself is started again, as a supervisor does."""
    began = time.monotonic()
    while not load.acked_between(began, time.monotonic()):
        if not agent.is_alive():
            print(f"    the agent ended itself after {what}", flush=True)
            agent.start()
        if time.monotonic() - began > BACK_S:
            raise RuntimeError(f"nothing is acked {BACK_S} s after {what}\n{agent.log_end()}")
        time.sleep(0.05)
    print(f"    {what}: acks again after {time.monotonic() - began:.1f} s", flush=True)


def commits_between(home: Path, began: float, ended: float) -> int:
    """Segments that were committed then. Acks say less: one of a commit before may wait behind the answer to another request."""
    with closing(sqlite3.connect(f"file:{home / 'metadata' / 'metadata.db'}?mode=ro", uri=True)) as database:
        query = "SELECT count(*) FROM segments WHERE kind <> 0 AND created_at BETWEEN ? AND ?"
        return database.execute(query, (began * 1000, ended * 1000)).fetchone()[0]


def full(folder: Path, _: argparse.Namespace) -> list[str]:
    """No space left under each of the three in turn."""
    if not is_possible():
        print("disk: full NOT RUN: it needs root and mount namespaces")
        return []
    complaints = []
    for name, mib in (("metadata", 48), ("store", 160), ("cache", 24)):
        store = S3(folder) if name == "cache" else None
        home = folder / name
        agent = agent_of(home, store)
        disk = SmallDisk(home / name, mib)

        def hurt(load: Workload):
            for _ in range(2):
                disk.fill()
                began = time.monotonic()
                time.sleep(FAIL_S)
                acked = load.acked_between(began + IN_FLIGHT_S, time.monotonic())
                disk.empty()
                wait_until_acked(agent, load, f"a full disk under the {name} ({acked} acked while it was)")
            return []
        try:
            complaints += under_load(home, agent, hurt)
        finally:
            agent.kill()
            disk.end()
            if store:
                store.end()
    return complaints


def errors(folder: Path, _: argparse.Namespace) -> list[str]:
    """EIO from writes, then from syncs, under each of the three in turn: nothing is acked that could not be synced."""
    shim, complaints = Errors(folder), []
    for store, names in ((None, ("metadata", "store")), (S3(folder), ("cache",))):
        home = folder / names[0]
        agent = agent_of(home, store, shim.settings)

        def hurt(load: Workload):
            for name in names:
                for what, calls in (("writes", WRITES), ("syncs", SYNCS)):
                    shim.fail(calls, home / name)
                    began = time.time()
                    time.sleep(FAIL_S)
                    ended, failed = time.time(), shim.mend()
                    wait_until_acked(agent, load, f"{failed} failed {what} under the {name}")
                    committed = commits_between(home, began + IN_FLIGHT_S, ended)
                    if committed and name != "cache":
                        yield f"committed-unsynced: {committed} segments while {what} of the {name} failed"
                    if not failed and (name, what) != ("cache", "syncs"):
                        yield f"harness: no {what} of the {name} failed"
        try:
            complaints += under_load(home, agent, hurt)
        finally:
            agent.kill()
            if store:
                store.end()
    return complaints


def rotten(folder: Path, options: argparse.Namespace) -> list[str]:
    """A wrong bit in an object, in the database, in the cache."""
    dice, complaints = random.Random(options.seed), []
    for store, wheres in ((None, (("store/**/*", True), ("metadata/metadata.db*", True))), (S3(folder), (("cache/**/*", False),))):
        home = folder / ("cached" if store else "plain")
        # Without a tail in memory, so that all is read from where it is stored; small ranges stay as they are.
        make = lambda where: agent_of(where, store, {"REWRITE_BYTES_PER_SECOND": "0"})
        agent = make(home)
        agent.start()
        create(agent, rot.TOPIC, rot.PARTITIONS)
        log = rot.write_log(agent)
        agent.terminate()
        agent.start()
        if rot.read_log(agent) != log:
            complaints.append("harness: not all is read before anything is wrong")
        agent.terminate()
        for where, needed in wheres:
            complaints += rot.serves_nothing_wrong(make, home, where, dice, options.turns, log, needed)
        if store:
            store.end()
    return complaints


TESTS = {"full": full, "errors": errors, "rot": rotten}


def main() -> int:
    """Exit code 1 if there is a complaint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", metavar="test", help=", ".join(TESTS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--turns", type=int, default=8, help="bits turned of each kind")
    options = parser.parse_args()
    wanted = options.tests or list(TESTS)
    for name in wanted:
        if name not in TESTS:
            parser.error(f"no test {name}; there are: {', '.join(TESTS)}")
    if is_possible() and os.environ.get(INSIDE) != "1":
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    # What was started ends although this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    raise_open_file_limit()
    failed = False
    for name in wanted:
        folder = Path(tempfile.mkdtemp(prefix="streamhouse-disk-"))
        print(f"disk: {name}, seed {options.seed}: {TESTS[name].__doc__.splitlines()[0]}", flush=True)
        began = time.monotonic()
        try:
            complaints = TESTS[name](folder, options)
        except Exception as error:  # the folder is kept for whoever looks at it
            complaints = [f"{type(error).__name__}: {error}"]
        print(f"disk: {name} {'FAIL' if complaints else 'ok'}, {time.monotonic() - began:.0f} s", flush=True)
        print("".join(f"  {line}\n" for line in complaints[:15]), end="")
        if complaints:
            failed = True
            print(f"  data kept in {folder}, seed {options.seed}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
