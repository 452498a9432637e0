"""Scenarios of s3.py about reading back: a consumer that catches up, readers at the tail, and both beside each other.

A consumer that catches up is compared with the lesser of two bounds of the same run: what the store gives to plain parallel ranged GETs after
the latencies of S3 standard or S3 Express, and what the client takes of records that the agent has in memory. The store is a process on the same
cores, so its CPU time is shown apart, and both bounds have those cores to themselves, which the consumer has not.
"""

import http.client
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config
from confluent_kafka.admin import AdminClient, NewTopic

from agent_process import AgentProcess
from cluster import S3, Cluster
from figures import BATCHED, LOAD, TOPIC, record, total

STANDARD, EXPRESS, NONE = "put=50/200&get=30/150", "put=5/15&get=5/15", "put=0/0&get=0/0"
PARTITIONS, RECORD_BYTES = 8, 1024
PIPELINED = ("enable.idempotence=false", "max.in.flight=1000", *BATCHED)
# The client never pauses because of what it holds.
TAKING = ("queued.max.messages.kbytes=65536", "queued.min.messages=1000000", "fetch.message.max.bytes=4194304",
          "fetch.queue.backoff.ms=1")
GET_BYTES, PUT_BYTES = "streamhouse_object_get_bytes_total", "streamhouse_object_put_bytes_total"
CACHE_DROPPED, READ_AHEAD = "streamhouse_cache_dropped_bytes_total", "streamhouse_read_ahead_bytes_total"
RANGE_BYTES, PARALLEL = 4 << 20, 16
READERS = 4
# An eighth of it is the tail: room for all that a run of up to 17 s reads back.
IN_MEMORY, DEFAULT_MEMORY = {"MEMORY_BYTES": "16GiB"}, {"MEMORY_BYTES": "256MiB"}


def loading(kind: str, address: str, topic: str, records: int, *arguments: object) -> subprocess.Popen:
    """A run of load.c that goes on meanwhile."""
    words = [str(LOAD), kind, address, topic, str(PARTITIONS), str(records), *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def loaded(run: subprocess.Popen) -> dict:
    """Its line of JSON."""
    out, _ = run.communicate(timeout=300)
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(run.args)}: exit code {run.returncode}, {out}")
    return json.loads(out)


def create(address: str, topic: str) -> None:
    """A topic of PARTITIONS partitions."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    admin.create_topics([NewTopic(topic, PARTITIONS)], operation_timeout=60)[topic].result(60)


@contextmanager
def one_agent(settings: dict[str, str] | None = None):
    """A store and an agent on it, with the topic; ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="streamhouse-bench-") as folder:
        store = S3(Path(folder))
        agent = AgentProcess(Path(folder) / "agent", settings={**store.settings, **(settings or {})})
        try:
            agent.start()
            create(agent.kafka, TOPIC)
            yield store, agent
        finally:
            agent.kill()
            store.end()


def fill(agent: AgentProcess, topic: str, records: int) -> None:
    """Records to read back, written without waiting for a distant store."""
    loaded(loading("produce", agent.kafka, topic, records, RECORD_BYTES, 0, *PIPELINED))


def forget(agent: AgentProcess) -> None:
    """A start with nothing in memory and nothing on its disk."""
    agent.terminate()
    shutil.rmtree(agent.folder / "cache", ignore_errors=True)
    agent.start()


def plain_gets(store: S3) -> float:
    """MB/s of parallel ranged GETs over all objects, each once."""
    client = boto3.client("s3", endpoint_url=store.url, aws_access_key_id="test", aws_secret_access_key="testtest",
                          region_name="us-east-1", config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
    wanted = []
    for key, size in store.objects().items():
        url = client.generate_presigned_url("get_object", Params={"Bucket": "streamhouse", "Key": f"test/{key}"})
        parts = urllib.parse.urlsplit(url)
        wanted += [(f"{parts.path}?{parts.query}", start, min(start + RANGE_BYTES, size)) for start in range(0, size, RANGE_BYTES)]
    address = urllib.parse.urlsplit(store.url).netloc
    local = threading.local()

    def get(place: tuple[str, int, int]) -> int:
        path, start, end = place
        if not hasattr(local, "connection"):
            local.connection, local.buffer = http.client.HTTPConnection(address, timeout=60), bytearray(RANGE_BYTES)
        local.connection.request("GET", path, headers={"Range": f"bytes={start}-{end - 1}"})
        answer, taken = local.connection.getresponse(), 0
        if answer.status != 206:
            raise RuntimeError(f"GET: {answer.status} {answer.read()[:200]}")
        while taken < end - start:
            taken += answer.readinto(memoryview(local.buffer)[taken:])
        answer.read()
        return taken

    with ThreadPoolExecutor(PARALLEL) as pool:
        began = time.monotonic()
        taken = sum(pool.map(get, wanted))
        return taken / 1e6 / (time.monotonic() - began)


def catch_up(scenario: str, latencies: str, seconds: float, settings: dict[str, str] | None = None) -> None:
    """One consumer of all partitions, from the beginning, of a fresh agent."""
    records = int(120_000 * seconds)
    with one_agent(IN_MEMORY) as (store, agent):
        fill(agent, TOPIC, records)
        client = loaded(loading("consume", agent.kafka, TOPIC, records, *TAKING))["per_second"] * RECORD_BYTES / 1e6
        record(scenario, "consume from memory", client, "MB/s")
        agent.add_settings({**DEFAULT_MEMORY, **(settings or {})})
        store.faults(latencies)
        plain = plain_gets(store)
        record(scenario, "plain parallel GETs", plain, "MB/s")
        forget(agent)
        store_cpu, began = store.stats(), time.monotonic()
        run = loaded(loading("consume", agent.kafka, TOPIC, records, *TAKING))
        elapsed, stats = time.monotonic() - began, store.stats()
        consumed = run["per_second"] * RECORD_BYTES / 1e6
        record(scenario, "consume", consumed, "MB/s")
        record(scenario, f"of the {'store' if plain < client else 'client'}'s bound", 100 * consumed / min(plain, client), "%", least=80)
        metrics, read = agent.metrics(), records * RECORD_BYTES
        record(scenario, "bytes fetched per byte read", total(metrics, GET_BYTES) / read, "", below=1.1)
        in_vain = sum(value for series, value in metrics.items() if series.startswith(READ_AHEAD) and 'used="false"' in series)
        record(scenario, "read ahead in vain, per byte read", in_vain / read, "")
        record(scenario, "left out of the disk cache", total(metrics, CACHE_DROPPED) / read, "")
        gets = stats["requests"].get("GET", 0) - store_cpu["requests"].get("GET", 0)
        record(scenario, "GETs per GiB", gets / (read / (1 << 30)), "")
        record(scenario, "CPU of the store", (stats["cpu_ms"] - store_cpu["cpu_ms"]) / 10 / elapsed, "% of a core")
        record(scenario, "CPU of the agent", agent.cpu_s() / elapsed * 100, "% of a core")
        record(scenario, "memory, highest", agent.memory_mb()[1], "MB")


def tail_readers(scenario: str, latencies: str, seconds: float) -> None:
    """Readers at the tail: of the agent that writes, and of one in another zone."""
    rate = 5_000
    records = int(rate * 2 * seconds)
    with tempfile.TemporaryDirectory(prefix="streamhouse-bench-") as folder:
        cluster = Cluster(Path(folder), 2, lease_s=30, store="s3")
        writer, follower = cluster.agents
        writer.add_settings({"AGENT_ZONE": "a"})
        follower.add_settings({"AGENT_ZONE": "b", "MANAGED_TOPICS": "none"})
        try:
            cluster.start()
            create(writer.kafka, TOPIC)
            cluster.wait_ready(60)
            cluster.store.faults(latencies)
            before = [total(agent.metrics(), GET_BYTES) for agent in cluster.agents]
            readers = [loading("consume", cluster.kafka, TOPIC, records, f"client.rack={zone}")
                       for zone in "ab" for _ in range(READERS)]
            loaded(loading("produce", writer.kafka, TOPIC, records, RECORD_BYTES, rate, "enable.idempotence=false", "linger.ms=5"))
            for reader in readers:
                loaded(reader)
            written = total(writer.metrics(), PUT_BYTES)
            fetched = [total(agent.metrics(), GET_BYTES) - was for agent, was in zip(cluster.agents, before)]
            record(scenario, f"{READERS} readers of the writer, fetched per byte", fetched[0] / written, "", below=0.01)
            record(scenario, f"{READERS} readers elsewhere, fetched per byte", fetched[1] / written, "", below=1.1)
        finally:
            cluster.end()


def tail_beside_catch_up(scenario: str, latencies: str, seconds: float) -> None:
    """End to end at a small rate, alone and while another consumer catches up."""
    old, rate = f"{TOPIC}-old", 1_000
    with one_agent() as (store, agent):
        create(agent.kafka, old)
        records = int(40_000 * seconds)
        fill(agent, old, records)
        store.faults(latencies)
        forget(agent)
        tail = {}
        for name in ("alone", "beside"):
            create(agent.kafka, f"{TOPIC}-{name}")
            stop = threading.Event()
            thread = threading.Thread(target=again_and_again, args=(agent.kafka, old, records, stop))
            if name == "beside":
                thread.start()
            run = loading("e2e", agent.kafka, f"{TOPIC}-{name}", int(rate * 2 * seconds), 100, rate, "producer:linger.ms=0")
            tail[name] = loaded(run)
            stop.set()
            if name == "beside":
                thread.join()
            record(scenario, f"{name}, p50", tail[name]["p50_ms"], "ms")
            record(scenario, f"{name}, p99", tail[name]["p99_ms"], "ms")
        record(scenario, "p99 beside / alone", tail["beside"]["p99_ms"] / tail["alone"]["p99_ms"], "", below=1.2)


def again_and_again(address: str, topic: str, records: int, stop: threading.Event) -> None:
    """Consumers that catch up, one after the other."""
    while not stop.is_set():
        run = loading("consume", address, topic, records, *TAKING)
        while run.poll() is None:
            if stop.wait(0.1):
                run.kill()
        run.communicate()


READING = {
    "catch-up, S3 standard": lambda s, _: catch_up("catch-up, S3 standard", STANDARD, s),
    "catch-up, S3 Express": lambda s, _: catch_up("catch-up, S3 Express", EXPRESS, s),
    "catch-up, no disk cache": lambda s, _: catch_up("catch-up, CACHE_BYTES=0", STANDARD, s, {"CACHE_BYTES": "0"}),
    "tail readers": lambda s, _: tail_readers("tail readers, S3 standard", STANDARD, s),
    "tail beside catch-up": lambda s, _: tail_beside_catch_up("tail beside catch-up, Express", EXPRESS, s),
}
