"""The kill test: producers with acks=all, the agent killed again and again, then every promise checked.

    run.py [--rounds N] [--seed S] [--stop-at after-put|after-commit|after-rewrite] [--producers N] [--partitions N] [--rate N] [--ballast BYTES]

Without --stop-at each round is a kill -9 at a random moment; with it the agent aborts itself between PUT and segment
commit, or between segment commit and ack, at a random flush, or between a rewritten object and the swap of its rows. Either way it is started again at once on the same data.
At the end every acked record must be there once, in order, at the offset that was acked. Times are seeded, what they
hit is not: the seed repeats the plan of a run, not its interleaving.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from agent_process import AgentProcess, raise_open_file_limit
from workload import Workload

TOPIC = "kill-test"
STOP_POINT_S = 60


def kill_rounds(agent: AgentProcess, rounds: int, dice: random.Random) -> list[float]:
    """kill -9 after 0.1 to 1.5 s; every fourth round hits the agent right after its start. Down times in seconds."""
    down = []
    for number in range(rounds):
        time.sleep(dice.uniform(0.0, 0.1) if number % 4 == 3 else dice.uniform(0.1, 1.5))
        began = time.monotonic()
        agent.kill()
        agent.start()
        down.append(time.monotonic() - began)
    return down


def stop_point_rounds(agent: AgentProcess, rounds: int, dice: random.Random, point: str) -> list[float]:
    """Starts the agent with a stop point and waits for it to end itself. Down times in seconds."""
    down = []
    for _ in range(rounds):
        flushes = dice.choice((1, 2) if point == "after-rewrite" else (1, 2, dice.randint(3, 200)))
        began = time.monotonic()
        agent.kill()
        try:
            agent.start([f"--stop-at={point}:{flushes}"])
        except RuntimeError:
            if agent.is_alive() or "--stop-at" in agent.log_end(5):
                raise
        down.append(time.monotonic() - began)
        code = agent.wait_exit(STOP_POINT_S)
        if code is None:
            raise RuntimeError(f"the agent did not stop at {point}:{flushes} in {STOP_POINT_S} s")
        if code == 0:
            raise RuntimeError(f"the agent exited 0 at {point}:{flushes}: a stop point is not a clean exit")
    began = time.monotonic()
    agent.start()
    down.append(time.monotonic() - began)
    return down


def run(options: argparse.Namespace, agent: AgentProcess) -> list[str]:
    """Every complaint; an empty list means that the test passed."""
    dice = random.Random(options.seed)
    agent.start()
    admin = AdminClient({"bootstrap.servers": agent.kafka, "log_level": 0})
    admin.create_topics([NewTopic(TOPIC, options.partitions, 1)])[TOPIC].result(20)
    load = Workload(agent.folder, agent.kafka, TOPIC, options.partitions, options.rate, options.producers, options.ballast)
    began = time.monotonic()
    down = (stop_point_rounds(agent, options.rounds, dice, options.stop_at) if options.stop_at
            else kill_rounds(agent, options.rounds, dice))
    load.stop_sending()
    elapsed = time.monotonic() - began
    agent.kill()  # the final read is served by a process that saw none of the writes
    agent.start()
    complaints = load.judge()
    code = agent.terminate()
    if code != 0:
        complaints.append(f"SIGTERM at the end: exit code {code}")
    print(f"kill: {len(down)} restarts, {elapsed:.1f} s, down {sum(down) / len(down) * 1000:.0f} ms on average, "
          f"{max(down) * 1000:.0f} ms at most")
    return complaints


def main() -> int:
    """Exit code 1 with the seed and the first complaints if anything was lost, doubled, reordered or misplaced."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--stop-at", choices=("after-put", "after-commit", "after-rewrite"), default="")
    parser.add_argument("--producers", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rate", type=float, default=500, help="records a second of one producer")
    parser.add_argument("--ballast", type=int, default=0, help="bytes that make each of their records longer")
    options = parser.parse_args()
    ballast = f" under records of {options.ballast:,} bytes" if options.ballast else ""
    print(f"kill: seed {options.seed}, {options.rounds} rounds of {options.stop_at or 'kill -9'}{ballast}", flush=True)
    raise_open_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="streamhouse-kill-"))
    agent = AgentProcess(folder)
    try:
        complaints = run(options, agent)
    except Exception as error:  # the folder is kept for whoever looks at it
        complaints = [f"{type(error).__name__}: {error}"]
    finally:
        agent.kill()
    if not complaints:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    print(f"kill: FAIL seed {options.seed}, {len(complaints)} complaints, data kept in {folder}")
    kinds = Counter(line.partition(":")[0] for line in complaints)
    print("  by kind: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(10)))
    print("".join(f"  {line}\n" for line in complaints[:20]) + f"== end of the agent's log\n{agent.log_end(20)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
