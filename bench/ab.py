"""Two agents beside each other, A B A B: medians of scenarios of bench/kafka.sh, and their ratios. Run by bench/ab.sh."""

import argparse
import atexit
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from brokers import Agent
from kafka import measured
from scenarios import SCENARIOS


def of(title: str, binary: Path) -> type:
    """An agent of that binary."""
    class Named(Agent):
        """See `Agent`."""
        name = title

        def __init__(self, folder: Path):
            super().__init__(folder, binary=binary)

    return Named


def main() -> int:
    """Exit code 1 if a round has no figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, help="an agent")
    parser.add_argument("after", type=Path, help="another one")
    parser.add_argument("scenarios", nargs="+", help=f"parts of: {'; '.join(s.name for s in SCENARIOS)}")
    parser.add_argument("--seconds", type=float, default=4, help="of every measurement; half of that is warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="streamhouse-ab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kinds = [of("before", options.before), of("after", options.after)]
    failed = False
    for scenario in (s for s in SCENARIOS if any(part in s.name for part in options.scenarios)):
        rounds: dict[str, list[dict[str, float]]] = {kind.name: [] for kind in kinds}
        for turn in range(options.rounds):
            for kind in kinds if turn % 2 == 0 else reversed(kinds):
                got = measured(scenario, kind, folder, options.seconds / 2, options.seconds)
                if isinstance(got, str):
                    print(f"{scenario.name}: {kind.name}: {got}")
                    failed = True
                else:
                    rounds[kind.name].append(got)
        print(f"\n| {scenario.name} | before | after | ratio |\n| --- | --- | --- | --- |", flush=True)
        for figure in (rounds["after"] or [{}])[0]:
            before, after = (statistics.median(r[figure] for r in rounds[kind.name]) if rounds[kind.name] else 0 for kind in kinds)
            print(f"| {figure} | {before:,.4g} | {after:,.4g} | {after / before if before else 0:.2f} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
