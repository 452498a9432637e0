"""Connections that are slow on purpose, many at once: one loop sends each a byte or two a second."""

import selectors
import socket
import struct
import time
from dataclasses import dataclass

BYTE_EVERY_S = 1.0
FRAME_BYTES_MAX = 100 << 20
GREETINGS = (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
             b"SSH-2.0-OpenSSH_9.6\r\n")


def lying_frame(number: int) -> bytes:
    """A Produce of 100 MiB, it says."""
    return struct.pack(">ihhih", FRAME_BYTES_MAX, 0, 9, number, 1) + bytes(1 << 12)


def honest_but_slow(number: int) -> bytes:
    """ApiVersions 0 after ApiVersions 0, byte by byte."""
    return struct.pack(">ihhih", 10, 18, 0, number, -1) * 100


def greeting(number: int) -> bytes:
    """Other protocols."""
    return GREETINGS[number % len(GREETINGS)]


def silent(_: int) -> bytes:
    """Half a length."""
    return b"\0\0"


def never_reading(number: int) -> bytes:
    """Metadata of all topics, a hundred times at once, whose answers nobody takes."""
    return struct.pack(">ihhihi", 14, 3, 1, number, -1, -1) * 100


@dataclass
class Outcome:
    """Of all connections of an attack."""
    opened: int = 0
    refused: int = 0
    closed: int = 0
    """By the agent."""
    answers: int = 0
    """Bytes of answers to those that ask honestly."""


def attack(address: str, count: int, seconds: float, kinds: tuple, sources: int = 1) -> Outcome:
    """`count` connections, their kinds in turn, from so many loopback addresses."""
    host, port = address.rsplit(":", 1)
    selector, found = selectors.DefaultSelector(), Outcome()
    living: dict[socket.socket, list] = {}
    for number in range(count):
        source = (f"127.0.0.{number % sources + 2}", 0) if sources > 1 else None
        try:
            connection = socket.create_connection((host, int(port)), 10, source_address=source)
        except OSError:
            found.refused += 1
            continue
        connection.setblocking(False)
        kind = kinds[number % len(kinds)]
        data = kind(number)
        at_once = len(data) if kind in (never_reading, greeting) else 2 if kind is honest_but_slow else 1
        living[connection] = [kind, data, at_once, time.monotonic() + number / count * BYTE_EVERY_S]
        selector.register(connection, selectors.EVENT_READ)
        found.opened += 1
    end = time.monotonic() + seconds
    while time.monotonic() < end and living:
        for key, _ in selector.select(0.01):
            _read(key.fileobj, living, selector, found)
        now = time.monotonic()
        for connection, state in list(living.items()):
            if state[3] <= now and state[1]:
                _send(connection, state, living, selector, found)
    for connection in list(living):
        connection.close()
    selector.close()
    return found


def _read(connection: socket.socket, living: dict, selector: selectors.BaseSelector, found: Outcome) -> None:
    if living[connection][0] is never_reading:
        selector.unregister(connection)
        return
    try:
        data = connection.recv(1 << 16)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    found.answers += len(data)
    if not data:
        _gone(connection, living, selector, found)


def _send(connection: socket.socket, state: list, living: dict, selector: selectors.BaseSelector, found: Outcome) -> None:
    _, data, at_once, due = state
    try:
        sent = connection.send(data[:at_once])
    except BlockingIOError:
        sent = 0
    except OSError:
        _gone(connection, living, selector, found)
        return
    state[1], state[3] = data[sent:], due + BYTE_EVERY_S


def _gone(connection: socket.socket, living: dict, selector: selectors.BaseSelector, found: Outcome) -> None:
    del living[connection]
    if connection in selector.get_map():
        selector.unregister(connection)
    connection.close()
    found.closed += 1
