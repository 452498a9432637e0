"""A network in which hosts can vanish: each agent, the database and the store have a network namespace of their own.

The test runs itself again in a namespace that has nothing but a bridge, so that the machine's network is not touched and all
of it is gone with the process. A cut is one way: the sender gets a link address for the receiver that nobody has, and what
it sends from then on reaches nobody; no FIN, no RST, no refusal, as when a cable is pulled. Needs root, `ip`, `unshare`
and `nsenter`; nothing of the kernel but namespaces, veth and a bridge.
"""

import os
import subprocess
import sys
from dataclasses import dataclass

BRIDGE, NOBODY = "bridge0", "02:00:00:00:00:ff"
CLIENTS = "10.77.0.1"
DATABASE, STORE, FIRST_AGENT = 2, 3, 11
INSIDE = "STREAMHOUSE_TEST_NETWORK"


@dataclass(frozen=True)
class Host:
    """A namespace with one address. The clients' has no name: it is where the test itself runs."""
    name: str
    address: str

    @property
    def device(self) -> str:
        """Its interface."""
        return "eth0" if self.name else BRIDGE

    @property
    def prefix(self) -> list[str]:
        """What starts a program there; the program keeps the process id."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--"] if self.name else []


def is_possible() -> bool:
    """Whether namespaces can be made here."""
    return os.environ.get(INSIDE) == "1" or (
        os.geteuid() == 0 and subprocess.run(["unshare", "--net", "--mount", "ip", "link", "add", BRIDGE, "type", "bridge"],
                                             capture_output=True).returncode == 0)


def enter() -> None:
    """Runs this program again in namespaces of its own, where loopback works; returns if it already does."""
    if os.environ.get(INSIDE) != "1":
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    _run("ip", "link", "set", "lo", "up")


class Network:
    """Hosts on one bridge. One at a time; `end` takes it down."""

    def __init__(self):
        if os.environ.get(INSIDE) != "1":
            raise RuntimeError("a network is made inside namespaces only")
        os.makedirs("/run/netns", exist_ok=True)
        _run("mount", "-t", "tmpfs", "none", "/run/netns")
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{CLIENTS}/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        self.clients = Host("", CLIENTS)
        self._hosts: list[Host] = []
        self._cuts: set[tuple[Host, Host]] = set()

    def add(self, name: str, number: int) -> Host:
        """A host; its address ends with the number."""
        host = Host(name, f"10.77.0.{number}")
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", f"veth{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", f"veth{number}", "master", BRIDGE, "up")
        for words in (("link", "set", "lo", "up"), ("address", "add", f"{host.address}/24", "dev", "eth0"),
                      ("link", "set", "eth0", "up")):
            _run(*host.prefix, "ip", *words)
        self._hosts.append(host)
        return host

    def cut(self, sender: Host, receiver: Host) -> None:
        """From now on nothing arrives of what `sender` sends to `receiver`. The other way is not touched."""
        _run(*sender.prefix, "ip", "neigh", "replace", receiver.address, "lladdr", NOBODY, "dev", sender.device, "nud", "permanent")
        self._cuts.add((sender, receiver))

    def cut_both(self, one: Host, other: Host) -> None:
        """Nothing arrives either way."""
        self.cut(one, other)
        self.cut(other, one)

    def isolate(self, host: Host) -> None:
        """It vanishes: nothing arrives at it, nor of what it sends."""
        for other in (self.clients, *self._hosts):
            if other != host:
                self.cut_both(host, other)

    def heal(self) -> None:
        """Everything arrives again."""
        for sender, receiver in self._cuts:
            _run(*sender.prefix, "ip", "neigh", "del", receiver.address, "dev", sender.device)
        self._cuts.clear()

    def end(self) -> None:
        """Takes it down; the programs in it have ended."""
        for host in self._hosts:
            # At once: a namespace takes its devices with it some time later, when the next network may want their names.
            _run("ip", "link", "del", f"veth{host.address.rpartition('.')[2]}")
            _run("ip", "netns", "del", host.name)
        _run("ip", "link", "del", BRIDGE)
        _run("umount", "/run/netns")


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
