"""What the machine itself can do: disk, loopback, and the clients with a broker that throws everything away."""

import mmap
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import clients
from agent_process import default_binary
from figures import Discard
from scenarios import TAIL_BYTES

MIB = 1 << 20
BLOCKS = (MIB, 8 * MIB, 32 * MIB)
WRITTEN_MAX = 4 << 30


def _blocks(flags: int, folder: str, size: int, seconds: float) -> float:
    """MB/s of a file written in blocks, each synced before the next."""
    path = f"{folder}/blocks"
    block = mmap.mmap(-1, size)  # aligned, as direct writes need it
    block.write(os.urandom(MIB) * (size // MIB))
    file = os.open(path, os.O_CREAT | os.O_WRONLY | flags, 0o600)
    try:
        written, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds and written < WRITTEN_MAX:
            written += os.write(file, block)
            os.fdatasync(file)
        return written / (time.perf_counter() - began) / 1e6
    finally:
        os.close(file)
        os.unlink(path)


def _read_back(folder: str, seconds: float) -> float:
    """MB/s of a file read once past the page cache, in large blocks."""
    path, block = f"{folder}/read", mmap.mmap(-1, 8 * MIB)
    block.write(os.urandom(MIB) * 8)
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600)
    try:
        for _ in range(max(8, min(256, int(64 * seconds)))):
            os.write(file, block)
        os.fdatasync(file)
        os.lseek(file, 0, os.SEEK_SET)
        got, began = 0, time.perf_counter()
        while part := os.readv(file, [block]):
            got += part
        return got / (time.perf_counter() - began) / 1e6
    finally:
        os.close(file)
        os.unlink(path)


def _sync_latency(folder: str, seconds: float) -> list[float]:
    """Milliseconds of 4 KiB appended and synced."""
    times, data, path = [], os.urandom(4096), f"{folder}/sync"
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 100:
        began = time.perf_counter()
        os.write(file, data)
        os.fdatasync(file)
        times.append((time.perf_counter() - began) * 1000)
    os.close(file)
    return times


def _new_file_latency(folder: str, seconds: float) -> list[float]:
    """Milliseconds of a new file of 4 KiB with its name, both synced: what a local object store must do for one object."""
    times, data, directory = [], os.urandom(4096), os.open(folder, os.O_RDONLY)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 100:
        began = time.perf_counter()
        file = os.open(f"{folder}/{len(times)}", os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(file, data)
        os.fdatasync(file)
        os.close(file)
        os.fsync(directory)
        times.append((time.perf_counter() - began) * 1000)
    os.close(directory)
    return times


def _loopback(seconds: float) -> float:
    """MB/s of one TCP connection between two threads that only copy (they hold no lock of Python's while they do)."""
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    receiver, _ = listener.accept()
    end, block, into = time.perf_counter() + seconds, bytes(MIB), bytearray(MIB)

    def send() -> None:
        while time.perf_counter() < end:
            sender.sendall(block)
        sender.close()

    thread, got, began = threading.Thread(target=send), 0, time.perf_counter()
    thread.start()
    while part := receiver.recv_into(into):
        got += part
    elapsed = time.perf_counter() - began
    thread.join()
    receiver.close()
    listener.close()
    return got / elapsed / 1e6


def _commit(folder: str) -> dict[str, float]:
    """A metadata commit of one range alone, by the example that the release build makes; nothing if it was not built."""
    program = default_binary().parent / "examples" / "commit_bench"
    if not program.exists():
        return {}
    lines = subprocess.run([str(program), folder], stdout=subprocess.PIPE, text=True, timeout=120).stdout.splitlines()
    rows = [line.split() for line in lines]
    return {"metadata commit, p50 ms": float(row[2]) / 1000 for row in rows if row[:1] == ["1"]}


def of_clients(seconds: float) -> dict[str, float]:
    """What the clients can send and take."""
    found = {}
    for partitions in (8, 1000):
        for size, name in ((1024, "1 KiB"), (100, "100 B")):
            with Discard(partitions) as discard:
                clients.produce(discard.address, partitions, size, seconds / 5)
                run = clients.produce(discard.address, partitions, size, seconds)
                found[f"client into a discarding broker, {name}, {partitions:,} partitions, records/s"] = run["records/s"]
                lap = TAIL_BYTES // size
                if partitions == 8:
                    run = clients.read(discard.address, partitions, lap, seconds)
                    found[f"client from a broker that repeats, {name}, records/s"] = run["records/s"]
                if partitions == 8 and size == 1024:
                    run = clients.read(discard.address, partitions, lap, seconds, 4)
                    found["four clients from a broker that repeats, 1 KiB, records/s"] = run["records/s"]
    return found


def of_machine(parent: str, seconds: float) -> dict[str, float]:
    """All limits; each takes about `seconds`."""
    folder = tempfile.mkdtemp(prefix="limits-", dir=parent)
    writes = {(how, size): _blocks(flags, folder, size, seconds / 3)
              for how, flags in (("cached", 0), ("direct", os.O_DIRECT)) for size in BLOCKS}
    (how, size), best = max(writes.items(), key=lambda entry: entry[1])
    found = {"disk, synced sequential writes, MB/s": best, "disk, block of that, MiB": size / MIB,
             "disk, past the page cache (1) or through it (0)": float(how == "direct"),
             "disk, sequential reads past the page cache, MB/s": _read_back(folder, seconds)}
    for name, times in (("append of 4 KiB", _sync_latency(folder, seconds)),
                        ("new file of 4 KiB with its name", _new_file_latency(folder, seconds))):
        cuts = statistics.quantiles(times, n=100)
        found |= {f"sync, {name}, p50 ms": cuts[49], f"sync, {name}, p99 ms": cuts[98]}
    found |= _commit(tempfile.mkdtemp(prefix="commits-", dir=parent))
    found["loopback, one connection, MB/s"] = _loopback(seconds)
    return found | of_clients(seconds)
