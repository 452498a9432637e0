"""A TCP proxy that knows what it carries (wires.py), and at named moments holds it back, loses it, or lets it arrive late.

A program of its own: told what to do by JSON lines on its input, tells what it did by JSON lines on its output, and is gone
with its input. The first line names the routes, then come rules and cuts:

    {"seed": 7, "routes": [{"who": "agent-1", "kind": "postgres", "listen": "127.0.0.1", "to": "127.0.0.1:5432"}, …]}
    {"rule": 1, "moment": "commit-answer", "do": "lose", "share": 0.2}      also "who", "times", "seconds": [least, most]
    {"release": 1}     {"forget": 1}     {"cut": "agent-1", "kind": "s3", "way": "up"}     {"mend": true}     {"heal": true}

| do | |
| --- | --- |
| `hold` | it stays here until `release` (or `forget`) |
| `lose` | both sides are closed, and it reaches nobody: an answer is lost, a request never happened |
| `late` | the sender's side is closed at once, and it arrives at the other some seconds later |
| `delay` | it arrives some seconds later, and everything behind it |

A route is answered with its port, a deed with its rule, who, kind, moment, and what is known of the piece. Which pieces a rule
takes is drawn by a generator with that seed; which piece comes when is up to those who talk. A way that is cut carries nothing
until cuts are mended; what was sent meanwhile arrives then, as far as TCP took it. To heal is to mend, and to forget all rules.
"""

import asyncio
import json
import os
import random
import sys
from dataclasses import dataclass, field

from wires import WIRES, Piece

CHUNK = 1 << 16
CONNECT_S = 10


@dataclass
class Rule:
    """What to do with the pieces of a moment."""
    number: int
    moment: str
    do: str
    who: str | None = None
    share: float = 1.0
    times: float = float("inf")
    seconds: tuple[float, float] = (0.0, 0.0)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, who: str, piece: Piece, dice: random.Random) -> bool:
        """Whether this piece is its next."""
        if piece.moment != self.moment or self.who not in (None, who) or self.times < 1 or dice.random() >= self.share:
            return False
        self.times -= 1
        return True


class Lost(Exception):
    """Both sides of the connection are to be closed."""


class Proxy:
    """Routes, rules and cuts."""

    def __init__(self, seed: int):
        self.dice = random.Random(seed)
        self.rules: dict[int, Rule] = {}
        self._cuts: set[tuple[str, str, str]] = set()
        self._mended = asyncio.Event()
        self._late: set[asyncio.Task] = set()

    @staticmethod
    def tell(**what: object) -> None:
        """One line of what happened."""
        print(json.dumps(what), flush=True)

    async def listen(self, who: str, kind: str, listen: str, to: str) -> None:
        """Opens a route."""
        host, port = to.rsplit(":", 1)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                back = await asyncio.wait_for(asyncio.open_connection(host, int(port)), CONNECT_S)
            except (OSError, asyncio.TimeoutError):
                writer.transport.abort()
                return
            await Connection(self, who, kind).carry((reader, writer), back)

        server = await asyncio.start_server(connected, listen, 0)
        self.tell(who=who, kind=kind, port=server.sockets[0].getsockname()[1])

    def follow(self, command: dict) -> None:
        """One line of input."""
        if "rule" in command:
            number = command.pop("rule")
            self.rules[number] = Rule(number, **command)
        elif "release" in command:
            self.rules[command["release"]].released.set()
        elif "forget" in command:
            self._forget(command["forget"])
        elif "cut" in command:
            self._cuts.add((command["cut"], command["kind"], command["way"]))
        else:
            self._cuts.clear()
            self._mended.set()
            self._mended = asyncio.Event()
        if "heal" in command:
            for number in list(self.rules):
                self._forget(number)

    def _forget(self, number: int) -> None:
        if number in self.rules:
            self.rules.pop(number).released.set()

    async def open(self, who: str, kind: str, way: str) -> None:
        """Waits while this way is cut."""
        while (who, kind, way) in self._cuts:
            await self._mended.wait()

    def arrive_later(self, seconds: float, data: bytes, writer: asyncio.StreamWriter) -> None:
        """It arrives, although whoever sent it is gone; then that side is closed too."""
        async def arrive() -> None:
            await asyncio.sleep(seconds)
            writer.write(data)
            await asyncio.sleep(1)
            writer.transport.abort()
        task = asyncio.ensure_future(arrive())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


class Connection:
    """Both ways of one connection."""

    def __init__(self, proxy: Proxy, who: str, kind: str):
        self._proxy, self._who, self._kind = proxy, who, kind
        self._wire = WIRES[kind]()
        self._kept: asyncio.StreamWriter | None = None
        """A side that is open for what arrives late."""

    async def carry(self, front: tuple, back: tuple) -> None:
        """Until one side ends."""
        ways = [asyncio.ensure_future(self._pump("up", front[0], back[1])),
                asyncio.ensure_future(self._pump("down", back[0], front[1]))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for writer in (front[1], back[1]):
            if writer is self._kept:
                continue
            # What was given is sent; then it is closed.
            writer.close()

    async def _pump(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        feed = self._wire.up if way == "up" else self._wire.down
        try:
            while data := await reader.read(CHUNK):
                await self._proxy.open(self._who, self._kind, way)
                for piece in feed(data):
                    await self._pass(piece, writer)
                await writer.drain()
            if way == "down":
                writer.write(self._wire.rest())
        except (OSError, Lost):
            pass

    async def _pass(self, piece: Piece, writer: asyncio.StreamWriter) -> None:
        proxy = self._proxy
        rule = next((r for r in proxy.rules.values() if r.takes(self._who, piece, proxy.dice)), None) if piece.moment else None
        if rule is None:
            writer.write(piece.data)
            return
        seconds = proxy.dice.uniform(*rule.seconds)
        proxy.tell(rule=rule.number, did=rule.do, who=self._who, kind=self._kind, moment=piece.moment, **piece.details)
        if rule.do == "late":
            self._kept = writer
            proxy.arrive_later(seconds, piece.data, writer)
        if rule.do in ("late", "lose"):
            raise Lost
        if rule.do == "delay":
            await asyncio.sleep(seconds)
        else:
            await rule.released.wait()
        writer.write(piece.data)


async def main() -> None:
    """Until the input ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    begin = json.loads(await lines.readline())
    proxy = Proxy(begin["seed"])
    for route in begin["routes"]:
        await proxy.listen(**route)
    while line := await lines.readline():
        proxy.follow(json.loads(line))
    # At once: what it carries is not its own to end well.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
