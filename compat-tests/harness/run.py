"""Runs the compatibility tests: one real agent, then each client against it, then a table.

    run.py [client… | all] [--against KAFKA_ADDRESS | --kafka] [--keep]

Without a client the set that CI has time for; `all` is the whole matrix. `--against` tests something that already
listens instead of an agent, and `--kafka` an Apache Kafka that it starts (the oracle of these tests). The agent must
still be alive after each client and must exit 0 on SIGTERM at the end.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent_process import ROOT, AgentProcess, raise_open_file_limit
from kafka_process import TOOLS, KafkaProcess

# What CI runs, then the rest of the matrix (scripts/setup.sh --matrix gets it); seconds until a client has failed.
CI = {"kcat": 180, "confluent": 300, "java": 180, "grpc": 180}
MATRIX = {"java-groups": 400, "java-3.9": 400, "kafka-tools": 400, "connect": 300, "streams": 240, "franz-go": 180,
          "sarama": 180, "kafka-go": 240, "kafkajs": 240, "platformatic": 180, "aiokafka": 180, "kafka-python": 180,
          "kafka-python-2": 180, "rdkafka": 240, "rskafka": 240}
# Whose program no package index has.
BY_HAND = {"schema-registry": 300}
CLIENTS = {**CI, **MATRIX, **BY_HAND}
OURS_ALONE = {"grpc"}
TESTS = ROOT / "compat-tests"


def run_client(client: str, environment: dict[str, str]) -> tuple[int, int, float]:
    """(passed, failed, seconds) of one client; a crash or time-out counts as one failure."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, str(TESTS / client / "run.py")], env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=CLIENTS[client])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # the session that this function started, and nothing else
        output, _ = process.communicate()
        output += f"FAIL everything in {CLIENTS[client]} s: timed out\n"
    sys.stdout.write("".join(f"  {line}\n" for line in output.splitlines()))
    passed = sum(line.startswith("ok ") for line in output.splitlines())
    failed = sum(line.startswith("FAIL ") for line in output.splitlines())
    if process.returncode != 0 and failed == 0:
        print(f"  FAIL exit code {process.returncode}")
        failed = 1
    if passed + failed == 0:
        print("  FAIL no check ran")
        failed = 1
    return passed, failed, time.monotonic() - began


def run_clients(clients: list[str], agent: AgentProcess | None, against: str) -> list[tuple[str, int, int, float]]:
    """One row a client, and one for the agent itself."""
    rows = []
    environment = {**os.environ, "PYTHONPATH": str(TESTS / "harness"), "PYTHONUNBUFFERED": "1",
                   "COMPAT_KAFKA": agent.kafka if agent else against,
                   "COMPAT_GRPC": agent.grpc if agent else "", "COMPAT_HTTP": agent.http if agent else ""}
    for client in clients:
        print(f"== {client}", flush=True)
        rows.append((client, *run_client(client, environment)))
        if agent and not agent.is_alive():
            print(f"  FAIL the agent died with {agent.process.returncode}\n{agent.log_end()}")
            rows.append(("agent alive", 0, 1, 0.0))
            return rows
    if agent:
        began = time.monotonic()
        try:
            code = agent.terminate()
        except RuntimeError as error:
            print(f"  FAIL {error}")
            code = -1
        print(f"== agent\n  {'ok  ' if code == 0 else 'FAIL'} SIGTERM exits with {code}")
        rows.append(("agent exit", int(code == 0), int(code != 0), time.monotonic() - began))
    return rows


def start_kafka(folder: Path) -> KafkaProcess:
    """The Apache Kafka that bench/ measures; its groups do not wait for more members before their first rebalance, nor compaction for long."""
    jars = TOOLS / "kafka" / "jars"
    kafka = KafkaProcess(folder / "kafka", jars, ("group.initial.rebalance.delay.ms=0", "log.cleaner.backoff.ms=1000"))
    kafka.start()
    version = next(jar.stem.removeprefix("kafka-clients-") for jar in jars.glob("kafka-clients-*.jar"))
    print(f"Apache Kafka {version}, pid {kafka.pid}: {kafka.address}", flush=True)
    return kafka


def parse_options() -> argparse.Namespace:
    """`clients` is never empty and has known names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", nargs="*", help=f"of {', '.join(CLIENTS)}, or all; none means what CI runs")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--against", default="", help="Kafka address of something that runs already")
    other.add_argument("--kafka", action="store_true", help="start an Apache Kafka (scripts/setup.sh --kafka) and test that")
    parser.add_argument("--keep", action="store_true", help="keep the agent's folder")
    options = parser.parse_args()
    unknown = set(options.clients) - {*CLIENTS, "all"}
    if unknown:
        parser.error(f"unknown client {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    if "all" in options.clients:
        options.clients = [client for client in {**CI, **MATRIX} if client not in OURS_ALONE or not (options.kafka or options.against)]
    options.clients = options.clients or list(CI)
    return options


def main() -> int:
    """Exit code 0 only if every check of every client passed."""
    options = parse_options()
    raise_open_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="streamhouse-compat-"))
    agent = kafka = None
    try:
        if options.kafka:
            kafka = start_kafka(folder)
            options.against = kafka.address
        if not options.against:
            # Groups of tests are many and small: their first rebalance need not wait 3 s for company. And what checks write with
            # times long ago must not expire while they read it. Compaction is waited for.
            agent = AgentProcess(folder, settings={"GROUP_INITIAL_REBALANCE_DELAY_MS": "100", "RETENTION_INTERVAL": "3600",
                                                   "COMPACTION_INTERVAL": "1"})
            agent.start()
            print(f"agent {agent.pid}: kafka {agent.kafka}, grpc {agent.grpc}, ready in {agent.ready_ms:.0f} ms")
        rows = run_clients(options.clients, agent, options.against)
        if agent and any(row[2] for row in rows):
            print(f"== end of the agent's log\n{agent.log_end(40)}")
    finally:
        if agent and agent.is_alive():
            agent.kill()
        if kafka:
            kafka.kill()
        if options.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{'client':<16}{'passed':>8}{'failed':>8}{'seconds':>9}")
    for client, passed, failed, seconds in rows:
        print(f"{client:<16}{passed:>8}{failed:>8}{seconds:>9.1f}")
    return 1 if any(row[2] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
