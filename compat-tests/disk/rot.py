"""One wrong bit in what an agent has stored: whatever it then serves is what was written, or it serves nothing and says so."""

import random
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

from agent_process import AgentProcess
from raw_lanes import NONE, Router
from wire import PRODUCE, batch_of, fetch, produce_answer, produce_request

TOPIC, PARTITIONS, RECORDS = "rot", 3, 240
READ_S = 3.0
Log = dict[tuple[int, int], bytes]
"""Values by partition and offset."""


def write_log(agent: AgentProcess) -> Log:
    """Records of all partitions, some in flushes of their own; as they were acked."""
    router, log = Router([agent.kafka], TOPIC), {}
    for number in range(RECORDS):
        partition = number % PARTITIONS
        connection = router.connection(agent.kafka)
        value = f"{partition}/{number}/".encode() * 20
        while True:
            error, offset = produce_answer(connection.ask(PRODUCE, produce_request(TOPIC, partition, batch_of(value), 5_000)))
            if error == NONE:
                break
            time.sleep(0.05)
        log[partition, offset] = value
    router.close()
    return log


def read_log(agent: AgentProcess) -> Log:
    """Whatever it serves in some seconds; less, once all partitions are read to their ends."""
    router, found, positions = Router([agent.kafka], TOPIC), {}, dict.fromkeys(range(PARTITIONS), 0)
    ended: set[int] = set()
    until = time.monotonic() + READ_S
    while len(ended) < PARTITIONS and time.monotonic() < until:
        connection = router.connection(agent.kafka)
        try:
            answers = fetch(connection, TOPIC, positions, max_wait_ms=0) if connection else []
        except OSError:
            router.drop(connection)
            answers = []
        for one in answers:
            for offset, value, _ in one.records:
                found[one.partition, offset] = value
                positions[one.partition] = offset + 1
            if one.error == NONE and positions[one.partition] >= one.high_watermark > 0:
                ended.add(one.partition)
        time.sleep(0.01)
    router.close()
    return found


def turn_bit(paths: list[Path], dice: random.Random) -> str:
    """One bit of one byte that is not zero, in one of the files, the larger ones more often; where."""
    path = dice.choices(paths, [path.stat().st_blocks + 1 for path in paths])[0]
    data = bytearray(path.read_bytes())
    used = [at for at, byte in enumerate(data) if byte]
    if not used:
        return f"{path.name} (empty)"
    at, bit = dice.choice(used), dice.randrange(8)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 1 << bit]))
    return f"bit {bit} of byte {at} of {path.name}"


def serves_nothing_wrong(make, original: Path, where: str, dice: random.Random, turns: int, log: Log, needed: bool) -> list[str]:
    """Complaints after turning bits, one at a time, of files that match `where`. `make` makes the agent of a folder. What is
    `needed` may make it refuse; what is not must not be noticed."""
    complaints, outcomes = [], Counter()
    for _ in range(turns):
        folder = original.with_name(f"{original.name}-copy")
        subprocess.run(["cp", "-r", "--sparse=always", str(original), str(folder)], check=True)
        files = sorted(path for path in folder.glob(where) if path.is_file() and path.stat().st_size)
        turned = turn_bit(files, dice)
        agent = make(folder)
        try:
            agent.start(ready_within_s=15)
            found = read_log(agent)
            wrong = [place for place, value in found.items() if log.get(place) != value]
            complaints += [f"wrong-bytes: {where}, {turned}: {place} reads {found[place][:40]}" for place in wrong[:1]]
            outcome = "all served" if len(found) == len(log) else "a part served"
        except RuntimeError:
            outcome = "refused to start"
        except ValueError as error:
            outcome = "wrong"
            complaints.append(f"wrong-bytes: {where}, {turned}: {error}")
        finally:
            agent.kill()
        if "panicked" in agent.log_end(100_000):
            complaints.append(f"panic: {where}, {turned}: " + next(line for line in agent.log_end(1_000).splitlines() if "panicked" in line)[:200])
        if not needed and outcome != "all served":
            complaints.append(f"unreadable: {where}, {turned}: {outcome}, though that is only a copy")
        outcomes[outcome] += 1
        shutil.rmtree(folder)
    print(f"    {turns} bits of {where}: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()), flush=True)
    return complaints
