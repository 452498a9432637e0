"""Where the agent's CPU goes, per MiB of values that are produced: by what it is spent on, user and kernel apart.

    bench/profile.sh [part of a load's name…] [--seconds N]

Samples of perf (this needs root or perf_event_paranoid <= 1, and a binary with symbols), scaled to the CPU time of /proc; beside them
page faults, context switches, objects and transactions per MiB, and resident memory.
"""

import argparse
import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

import clients
from agent_process import AgentProcess
from figures import COMMITS, IDEMPOTENT, PUTS, TOPIC, load, total

FOLDER = tempfile.mkdtemp(prefix="streamhouse-bench-")
MIB = 1 << 20
LOADS = {
    "8 partitions, 1 KiB": (8, 1024, 0, clients.FAST),
    "8 partitions, 100 B": (8, 100, 0, clients.FAST),
    "1,000 partitions, 1 KiB": (1000, 1024, 0, clients.FAST),
    "10,000/s, linger 0": (8, 1024, 10_000, (IDEMPOTENT, "linger.ms=0")),
}

# Of a sample the first line that matches a function on its stack, from the innermost on.
KERNEL = {
    "page faults": r"exc_page_fault|asm_exc_page_fault",
    "memory given back": r"_sys_(madvise|munmap|mmap|mprotect)$|do_exit",
    "receive": r"_sys_(recvfrom|recvmsg|readv?)$",
    "send": r"_sys_(sendto|sendmsg)$|tcp_sendmsg",
    "write file": r"_sys_(p?write(64|v2?)?)$",
    "sync file": r"_sys_(fdatasync|fsync)$",
    "create file": r"_sys_(openat|unlinkat|renameat2|linkat|close|fallocate|ftruncate|fcntl)$",
    "wake up and wait": r"_sys_(futex|epoll_p?wait2?|epoll_ctl|sched_yield|nanosleep|clock_nanosleep|eventfd2?)$|schedule",
}
USER = {
    "copy": r"mem(move|cpy|set)",
    "CRC": r"crc_fast|crc32",
    "check of records": r"record_(check|walk|batch)|batch_check|decompress|varint",
    "metrics": r"opentelemetry|metrics|costs::",
    "allocator": r"^_?mi_|mimalloc",
    "runtime": r"tokio|parking_lot|futures|std::sync|pthread|__lll|syscall|vdso|clock_gettime",
    "gateway": r"kafka_gateway|kafka_protocol",
    "broker": r"broker|segment|opendal|agent::",
}
METADATA_THREAD = "metadata-writer"


def kind_of(thread: str, stack: list[str], kernel: bool) -> str:
    """What a sample was spent on."""
    if kernel:
        found = (f"kernel: {name}" for function in stack for name, pattern in KERNEL.items() if re.search(pattern, function))
        kind = next(found, "kernel: other")
        return f"{kind}, metadata" if thread.startswith(METADATA_THREAD) and kind != "kernel: other" else kind
    if thread.startswith(METADATA_THREAD):
        return "user: metadata commit"
    return next((f"user: {name}" for name, pattern in USER.items() if re.search(pattern, stack[0])), "user: other")


def sampled(agent: AgentProcess, work) -> tuple[Counter, dict]:
    """Samples by kind while `work` runs, and what it returned."""
    data = Path(FOLDER) / "perf.data"
    perf = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "4999", "-g", "-p", str(agent.pid), "-o", data])
    try:
        done = work()
    finally:
        perf.send_signal(2)
        perf.wait()
    told = subprocess.run(["perf", "script", "-i", data, "-F", "comm,ip,sym,dso"], capture_output=True, text=True, check=True).stdout
    kinds: Counter = Counter()
    for sample in told.split("\n\n"):
        thread, *lines = sample.strip("\n").split("\n")
        frames = [line.split(None, 1)[1].rpartition(" (") for line in lines if line.strip()]
        if frames:
            # The kernel's part of the stack ends where the program's begins.
            in_kernel = [name for name, _, place in frames if place.startswith("[")]
            kernel = frames[0][2].startswith("[kernel") or frames[0][2].startswith("[guest")
            kinds[kind_of(thread.strip(), in_kernel if kernel else [frames[0][0]], kernel)] += 1
    return kinds, done


def process_counts(agent: AgentProcess) -> dict[str, float]:
    """Counters of the process and its own."""
    stat = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
    tasks = [Path(task, "status").read_text() for task in Path(f"/proc/{agent.pid}/task").iterdir()]
    metrics = agent.metrics()
    return {
        "page faults": float(stat[7]),
        "context switches": float(sum(int(n) for task in tasks for n in re.findall(r"ctxt_switches:\s+(\d+)", task))),
        "objects": total(metrics, PUTS),
        "metadata transactions": total(metrics, COMMITS),
        "batches": total(metrics, "streamhouse_append_batches_total"),
        "CPU ms": agent.cpu_s() * 1000,
    }


def profile(name: str, seconds: float) -> None:
    """One load on a fresh agent; prints its table."""
    partitions, size, rate, settings = LOADS[name]
    agent = AgentProcess(Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER)))
    try:
        agent.start()
        admin = AdminClient({"bootstrap.servers": agent.kafka, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, partitions, 1)], operation_timeout=60)[TOPIC].result(120)
        records = int(rate * seconds) or clients.MANY
        load("produce", agent.kafka, partitions, records, size, rate, f"seconds={seconds / 2}", *settings)
        before = process_counts(agent)
        agent_forgets_highest(agent)
        kinds, run = sampled(
            agent, lambda: load("produce", agent.kafka, partitions, records, size, rate, f"seconds={seconds}", *settings))
        after = process_counts(agent)
        mib = run["records"] * size / MIB
        print(f"\n{name}: {mib:,.0f} MiB, {run['per_second']:,.0f} records/s")
        per_mib = {what: (after[what] - before[what]) / mib for what in after}
        whole = sum(kinds.values())
        scale = per_mib["CPU ms"] * 1000 / max(whole, 1)
        print("\n| | µs per MiB | |\n| --- | --- | --- |")
        for kind, count in kinds.most_common():
            if count > whole / 500:
                print(f"| {kind} | {count * scale:,.0f} | {count / whole:.1%} |")
        print(f"| all | {whole * scale:,.0f} | |")
        others = "; ".join(f"{what} {value:,.2f}" for what, value in per_mib.items() if what != "CPU ms")
        print(f"\nper MiB: {others}. Resident {agent.memory_mb()[0]:.0f} MB, highest {agent.memory_mb()[1]:.0f} MB", flush=True)
    finally:
        agent.kill()


def agent_forgets_highest(agent: AgentProcess) -> None:
    """The highest resident memory counts from now on."""
    Path(f"/proc/{agent.pid}/clear_refs").write_text("5")


def main() -> int:
    """Exit code 0 if everything could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loads", nargs="*", help=f"parts of: {'; '.join(LOADS)}")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
    for name in LOADS:
        if not options.loads or any(part in name for part in options.loads):
            profile(name, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
