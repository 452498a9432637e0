"""Hostile input against a real agent, with an honest client beside it.

    run.py [--long] [--connections N] [scenario…]      scenarios: counts frames codecs neighbours; none means all

Asserted: each refusal, no error of the honest client, at most 32 MiB more memory, one line of the log for each connection that
was closed for what it sent, an agent that lives and exits with 0. Printed: CPU, and the honest client's p99 before and meanwhile.
"""

import argparse
import shutil
import struct
import sys
import tempfile
import time
from pathlib import Path

import bombs
import counts
import slow
from agent_process import AgentProcess, raise_open_file_limit
from conversation import Conversation
from kafka_process import TOOLS
from schemas import Schemas
from watched import Seen, Watched
from wire import PRODUCE, Connection, metadata, produce_answer, produce_request

GROWN_MIB_MAX = 32.0
TOPIC = "honest"
QUIET_S = 3
BOMBS_EACH = 10


class Run:
    """The agent, and what was found."""

    def __init__(self, agent: AgentProcess, options: argparse.Namespace):
        self.agent, self.options, self.failures = agent, options, []
        self.quiet_p99 = 0.0

    def expect(self, holds: bool, what: str) -> None:
        """A failure is reported, and the rest goes on."""
        if not holds:
            print(f"FAIL {what}")
            self.failures.append(what)

    def judge(self, name: str, seen: Seen, closed: int | None, grown_max: float = GROWN_MIB_MAX) -> None:
        """What holds for every attack, and a line of the table."""
        print(f"{name:<34} {seen.grown_mib:>7.1f} MiB {seen.cpu_s:>7.2f} s CPU  honest p99 {seen.p99_ms:>7.1f} ms "
              f"({seen.p99_ms / self.quiet_p99:>5.1f}×, {seen.requests} requests, {seen.errors} errors)", flush=True)
        self.expect(seen.errors == 0 and seen.requests > 0, f"{name}: {seen.errors} errors of an honest client")
        self.expect(seen.grown_mib <= grown_max, f"{name}: {seen.grown_mib:.1f} MiB more memory")
        self.expect(closed is None or seen.closed == closed, f"{name}: {seen.closed} lines of the log for {closed} connections")
        self.expect(self.agent.is_alive(), f"{name}: the agent died")

    def watched(self) -> Watched:
        """From here to the end of the block."""
        return Watched(self.agent, TOPIC)

    def quiet(self) -> None:
        """The honest client alone."""
        with self.watched() as watched:
            time.sleep(QUIET_S)
        self.quiet_p99 = watched.seen.p99_ms
        self.judge("quiet", watched.seen, 0)

    def counts(self) -> None:
        """Arrays that claim too much."""
        schemas = Schemas(next((TOOLS / "java" / "jars").glob("kafka-clients-*.jar")))
        served = served_by(self.agent.kafka, schemas)
        wrong, sent = [], 0
        with self.watched() as watched:
            for what, frame in counts.requests(schemas, served):
                sent += 1
                outcome = counts.outcome(self.agent.kafka, frame)
                if outcome != "closed":
                    wrong.append(f"{what}: {outcome}")
        self.judge(f"{sent} arrays that lie", watched.seen, sent)
        self.expect(sent > 500, f"only {sent} arrays")
        self.expect(not wrong, f"not closed: {wrong[:10]}, {len(wrong)} in all")

    def frames(self) -> None:
        """Lying frames and other protocols, byte by byte."""
        seconds = 70 if self.options.long else 8
        kinds = (slow.lying_frame, slow.greeting)
        with self.watched() as watched:
            found = slow.attack(self.agent.kafka, 200, seconds, kinds)
        # Greetings are closed at once; a frame that comes to a trickle is after a minute.
        closed = 200 if self.options.long else 100
        self.judge("200 lying frames and greetings", watched.seen, closed)
        self.expect((found.opened, found.closed) == (200, closed), f"frames: {found}")

    def codecs(self) -> None:
        """Bombs: the code of each, the memory of all beside an honest client, and then, alone, the CPU of each."""
        connection = Connection(self.agent.kafka, 30)

        def refused(batch: bytes, times: int) -> set[tuple[int, int]]:
            return {produce_answer(connection.ask(PRODUCE, produce_request("bombs", 0, batch, 10_000))) for _ in range(times)}

        made = bombs.bombs()
        with self.watched() as watched:
            for name, batch, code in made:
                answers = refused(batch, 2)
                self.expect(answers == {(code, -1)}, f"{name}: {answers}, expected {code}")
        self.judge(f"{len(made)} bombs, twice each", watched.seen, 0)
        for name, batch, _ in made:
            before = self.agent.cpu_s()
            refused(batch, BOMBS_EACH)
            print(f"  {name:<32} {(self.agent.cpu_s() - before) * 1000 / BOMBS_EACH:>7.1f} ms CPU each")
        connection.close()

    def neighbours(self) -> None:
        """Thousands of slow connections."""
        count = self.options.connections
        kinds = (slow.honest_but_slow, slow.lying_frame, slow.silent, slow.never_reading)
        with self.watched() as watched:
            found = slow.attack(self.agent.kafka, count, 40 if self.options.long else 10, kinds, sources=2)
        # Each may hold 64 KiB that it began a frame for; what memory that is, beside the sockets, is the budget's.
        self.judge(f"{count} slow connections", watched.seen, 0, grown_max=256.0)
        self.expect((found.opened, found.closed) == (count, 0), f"neighbours: {found}")
        self.expect(found.answers > 0, "slow but honest requests are answered")


def served_by(address: str, schemas: Schemas) -> dict[str, tuple[int, int]]:
    """What the agent says that it serves. Produce is said to be served from 0 on and is from 3 on: those close, too."""
    asked = Conversation(address, schemas, {}, "")
    answer = asked.send("ApiVersions", 0, b"")
    asked.close()
    return {schemas.by_key[key["ApiKey"]]: (key["MinVersion"], key["MaxVersion"])
            for key in answer["ApiKeys"] if key["ApiKey"] in schemas.by_key}


def created(address: str) -> None:
    """Topics are there once somebody asks for them."""
    connection = Connection(address, 10)
    for topic in (TOPIC, "bombs"):
        body = struct.pack(">ih", 1, len(topic)) + topic.encode() + struct.pack(">???", True, False, False)
        deadline = time.monotonic() + 20
        connection.ask(3, body)
        while not metadata(connection, topic).addresses:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic} has no leader")
            time.sleep(0.05)
    connection.close()


def main() -> int:
    """0 if nothing failed."""
    scenarios = ("counts", "frames", "codecs", "neighbours")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(scenarios)}")
    parser.add_argument("--long", action="store_true", help="long enough that the agent gives the slowest up")
    parser.add_argument("--connections", type=int, default=2_000, help="slow ones beside an honest one")
    options = parser.parse_args()
    if set(options.scenarios) - set(scenarios):
        parser.error(f"there are {', '.join(scenarios)}")
    raise_open_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    agent = AgentProcess(folder)
    try:
        agent.start()
        created(agent.kafka)
        run = Run(agent, options)
        run.quiet()
        for scenario in options.scenarios or scenarios:
            getattr(run, scenario)()
        if agent.is_alive():
            code = agent.terminate()
            run.expect(code == 0, f"the agent exited with {code}")
        run.expect("panicked" not in agent.log.read_text(errors="replace"), "something panicked")
        if run.failures:
            print(f"end of the agent's log\n{agent.log_end()}")
        print(f"{len(run.failures)} failures")
        return 1 if run.failures else 0
    finally:
        if agent.is_alive():
            agent.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
