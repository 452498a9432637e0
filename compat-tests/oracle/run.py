"""Asks Apache Kafka and the agent the same, and prints where they differ.

    run.py [API…] [--all]       only cases of these APIs; --all prints known differences too

Both are started here, each on an empty folder. A difference is explained in known.py or it fails the run.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from agent_process import ROOT, AgentProcess, raise_open_file_limit
from conversation import Conversation
from differences import Difference, Found, span
from hostile import hostile
from kafka_process import JARS, KafkaProcess
from known import reason, unmet
from schemas import Schemas
from script import CASES

import groups  # noqa: F401  registers its cases
import idempotence
import malformed  # noqa: F401  registers its cases

AGENT_SETTINGS = {"GROUP_INITIAL_REBALANCE_DELAY_MS": "0"}


def served(address: str, schemas: Schemas) -> dict[str, tuple[int, int]]:
    """What a broker says that it serves."""
    asked = Conversation(address, schemas, {}, "")
    answer = asked.send("ApiVersions", 3, schemas.requests["ApiVersions"].encode(3, {
        "ClientSoftwareName": "oracle", "ClientSoftwareVersion": "1"}))
    asked.close()
    return {schemas.by_key[key["ApiKey"]]: (key["MinVersion"], key["MaxVersion"])
            for key in answer["ApiKeys"] if key["ApiKey"] in schemas.by_key}


def common(kafka: dict[str, tuple[int, int]], agent: dict[str, tuple[int, int]], schemas: Schemas) -> dict[str, tuple[int, int]]:
    """Versions that both serve and the definitions describe."""
    found = {}
    for api in kafka.keys() & agent.keys():
        valid = schemas.requests[api].valid
        low, high = max(kafka[api][0], agent[api][0], valid.low), min(kafka[api][1], agent[api][1], valid.high)
        if low <= high:
            found[api] = (low, high)
    return found


def run_case(run, api: str, number: int, version: int, sides: list[Conversation], found: Found) -> None:
    """One case in one version on both, compared."""
    for side in sides:
        side.exchanges, side.prefix, side._names = [], f"c{number}v{version}", 0
        try:
            run(side, version)
        except RuntimeError as error:
            found.unprepared.setdefault(f"{api}: {error}".replace(side.address, "the broker"), []).append(version)
    found.add(sides[0].exchanges, sides[1].exchanges, (sides[0].address, sides[1].address), sides[0].prefix)


def run_all(wanted: list[str], kafka: KafkaProcess, agent: AgentProcess, schemas: Schemas) -> Found:
    """The whole script; at its end both brokers are killed and started again, if Produce is asked about."""
    addresses = kafka.address, agent.kafka
    both = served(addresses[0], schemas), served(addresses[1], schemas)
    versions = common(*both, schemas)
    sides = [Conversation(address, schemas, versions, "") for address in addresses]
    found = Found()
    for api in sorted(both[0].keys() | both[1].keys(), key=lambda name: schemas.requests[name].key):
        left, right = both[0].get(api), both[1].get(api)
        if left != right and (not wanted or api in wanted):
            found.versions.setdefault(Difference(api, "served", "versions", left, right), set()).add(0)
    for number, case in enumerate([*CASES, *hostile(versions, schemas)]):
        if case.api not in versions or (wanted and case.api not in wanted):
            continue
        for version in range(versions[case.api][0], versions[case.api][1] + 1):
            run_case(case.run, case.api, number, version, sides, found)
    if not wanted or "Produce" in wanted:
        def restart() -> None:
            for broker in (kafka, agent):
                broker.kill()
                broker.start()
        idempotence.fail_over(sides, restart, found)
    for side in sides:
        side.close()
    return found


def report(found: Found, show_known: bool) -> int:
    """Prints the differences and the table; the number of those nobody explained."""
    counts: Counter = Counter()
    for difference in sorted(found.versions, key=lambda d: (d.api, d.label, d.path, str(d.kafka))):
        why = reason(difference)
        counts[difference.kind, why is not None] += 1
        if show_known or why is None:
            print(f"{difference.api} {span(found.versions[difference])} \"{difference.label}\" {difference.path}: "
                  f"Kafka {difference.kafka!r}, agent {difference.agent!r}" + (f"  [{why}]" if why else ""))
    for what, where in sorted(found.unprepared.items()):
        print(f"not prepared: {what} (versions {span(set(where))})")
    print(f"\n{found.compared} answers compared\n{'class':<14}{'explained':>10}{'not':>6}")
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:<14}{counts[kind, True]:>10}{counts[kind, False]:>6}")
    return sum(count for (_, known), count in counts.items() if not known) + len(found.unprepared)


def main() -> int:
    """0 if every difference is explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("apis", nargs="*", help="as Kafka names them: Fetch, JoinGroup")
    parser.add_argument("--all", action="store_true", help="print known differences too")
    options = parser.parse_args()
    if not JARS.exists():
        parser.error("Apache Kafka is not here: run scripts/setup.sh --oracle")
    raise_open_file_limit()
    schemas = Schemas(next(JARS.glob("kafka-clients-*.jar")))
    folder = Path(tempfile.mkdtemp(prefix="oracle-"))
    kafka, agent = KafkaProcess(folder / "kafka", settings=("group.initial.rebalance.delay.ms=0",)), AgentProcess(folder / "agent", settings=AGENT_SETTINGS)
    try:
        kafka.start()
        agent.start()
        found = run_all(options.apis, kafka, agent, schemas)
        if not agent.is_alive():
            print(f"the agent died\n{agent.log_end()}")
            return 1
        unexplained = report(found, options.all)
        if not options.apis:
            print("".join(f"explained nothing: {known.pattern} ({known.why})\n" for known in unmet()), end="")
        return 1 if unexplained else 0
    finally:
        kafka.kill()
        if agent.is_alive():
            agent.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
