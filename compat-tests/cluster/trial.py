"""What a scenario works with: a cluster under load, dice, and a place for figures."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent_process import AgentProcess
from cluster import Cluster
from workload import Workload

TOPIC = "cluster-test"


@dataclass
class Trial:
    """One run of a scenario. `turns`: how many agents it hurts, one after the other; `seconds`: how long a mix is."""
    cluster: Cluster
    load: Workload
    dice: random.Random
    turns: int
    seconds: float
    count: int = 100
    """How many commits are ambiguous, where that is counted."""
    eager_garbage: bool = False
    """Whether garbage is collected so often that none may be left at the end."""
    histories: list[Path] = field(default_factory=list)
    """Histories of clients beside the workload, to be judged with it."""
    gaps: list[float] = field(default_factory=list)
    """All gaps so far, in seconds."""
    fault_gaps: list[float] = field(default_factory=list)
    """Those of a mix's fault windows."""
    windows: Counter = field(default_factory=Counter)
    """Windows of a mix by the name of their fault."""
    questions: list[Callable[[], list[str]]] = field(default_factory=list)
    """What is asked once the workload sends nothing any more, before it is judged; each answers with complaints."""

    def to_hurt(self) -> Iterator[AgentProcess]:
        """As many agents as there are turns; each is, when its turn comes, the one that leads most of those that are left."""
        left = list(self.cluster.agents)
        for _ in range(min(self.turns, len(left))):
            leads = self.led()
            agent = max(left, key=lambda a: leads[a.folder.name])
            if leads[agent.folder.name] == 0:
                raise RuntimeError(f"no agent that is left to be hurt leads anything: {leads}")
            left.remove(agent)
            yield agent

    def led(self) -> Counter:
        """How many of the workload's partitions each agent leads."""
        rows = self.cluster.sql("SELECT s.agent_id, count(*) FROM partitions AS p JOIN sessions AS s USING (session) "
                                f"JOIN topics AS t USING (organization, topic_id) WHERE s.active AND t.name = '{TOPIC}' GROUP BY 1")
        return Counter({agent: int(count) for agent, count in rows})

    @contextmanager
    def gap(self, name: str, asked: float | None = None, before_s: float = 0.5):
        """Prints the longest gap of what happens inside, and of the moment before it."""
        began = time.monotonic() - before_s
        yield
        self.gaps.append(self.load.longest_gap(began, time.monotonic()))
        figure(f"longest gap {name}", self.gaps[-1], asked)


def figure(name: str, seconds: float, asked: float | None = None) -> None:
    """One line of figures; a figure is never a failure, the machine may be busy."""
    verdict = "" if asked is None else f" (asked: <= {asked:g}{'' if seconds <= asked else '; MISSED'})"
    print(f"    {name}: {seconds:.2f} s{verdict}", flush=True)
