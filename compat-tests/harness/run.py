"""Runs the compatibility tests: one real agent, then each client against it, then a table.

    run.py [client…] [--against KAFKA_ADDRESS] [--keep]

`--against` tests something that already listens (Apache Kafka, as the oracle of these tests) instead of an agent. The
agent must still be alive after each client and must exit 0 on SIGTERM at the end.
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

CLIENTS = ("kcat", "confluent", "java", "grpc")
CLIENT_TIMEOUT_S = 180
TESTS = ROOT / "compat-tests"


def run_client(client: str, environment: dict[str, str]) -> tuple[int, int, float]:
    """(passed, failed, seconds) of one client; a crash or time-out counts as one failure."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, str(TESTS / client / "run.py")], env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=CLIENT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # the session that this function started, and nothing else
        output, _ = process.communicate()
        output += f"FAIL everything in {CLIENT_TIMEOUT_S} s: timed out\n"
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


def main() -> int:
    """Exit code 0 only if every check of every client passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", nargs="*", help=f"of {', '.join(CLIENTS)}; none means all")
    parser.add_argument("--against", default="", help="Kafka address of something that runs already")
    parser.add_argument("--keep", action="store_true", help="keep the agent's folder")
    options = parser.parse_args()
    unknown = set(options.clients) - set(CLIENTS)
    if unknown:
        parser.error(f"unknown client {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    raise_open_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="streamhouse-compat-"))
    agent = None
    try:
        if not options.against:
            # Groups of tests are many and small: their first rebalance need not wait 3 s for company.
            agent = AgentProcess(folder, settings={"GROUP_INITIAL_REBALANCE_DELAY_MS": "100"})
            agent.start()
            print(f"agent {agent.pid}: kafka {agent.kafka}, grpc {agent.grpc}, ready in {agent.ready_ms:.0f} ms")
        rows = run_clients(options.clients or list(CLIENTS), agent, options.against)
        if agent and any(row[2] for row in rows):
            print(f"== end of the agent's log\n{agent.log_end(40)}")
    finally:
        if agent and agent.is_alive():
            agent.kill()
        if options.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{'client':<14}{'passed':>8}{'failed':>8}{'seconds':>9}")
    for client, passed, failed, seconds in rows:
        print(f"{client:<14}{passed:>8}{failed:>8}{seconds:>9.1f}")
    return 1 if any(row[2] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
