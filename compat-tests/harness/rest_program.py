"""Programs that keep their state in compacted topics and are asked over HTTP: started, asked, ended; and what compaction took out."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, TopicPartition

from agent_process import free_ports
from checks import KAFKA, expect

WAIT_S = 90
COMPACTED_SOON = {"min.cleanable.dirty.ratio": "0.01", "segment.ms": "200"}
"""Configs of a topic that is compacted whenever anything is new; Kafka leaves a segment alone until it is rolled."""


def until(what: str, condition: Callable[[], bool]) -> None:
    """Waits for a condition; an answer that is refused or not there counts as no."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            if condition():
                return
        except (OSError, KeyError, urllib.error.URLError):
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.2)


def taken_out(topic: str) -> int:
    """How many records of a topic are not there any more, between its first offsets and its ends."""
    consumer = Consumer({"bootstrap.servers": KAFKA, "log_level": 2, "group.id": "no-group", "enable.auto.commit": False,
                         "enable.partition.eof": True})
    partitions = [TopicPartition(topic, partition, 0) for partition in consumer.list_topics(topic, WAIT_S).topics[topic].partitions]
    marks = [consumer.get_watermark_offsets(partition, WAIT_S) for partition in partitions]
    missing, left = sum(high - low for low, high in marks), len(partitions)
    consumer.assign(partitions)
    deadline = time.monotonic() + WAIT_S
    while left:
        assert time.monotonic() < deadline, f"{topic} has no end"
        message = consumer.poll(0.5)
        if message is None:
            continue
        if message.error() is None:
            missing -= 1
        else:
            expect(message.error().code(), KafkaError._PARTITION_EOF, topic)
            left -= 1
    consumer.close()
    return missing


class RestProgram:
    """A process with a REST interface on a port of its own, and a log in the folder."""

    def __init__(self, folder: Path):
        self.port = free_ports(1)[0]
        self.rest = f"http://127.0.0.1:{self.port}"
        self.log, self.settings = folder / f"{self.port}.log", folder / f"{self.port}.settings"
        self.process: subprocess.Popen | None = None

    def run(self, words: list[object], **options: object) -> None:
        """Returns at once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)

    def end(self, kill: bool = False) -> None:
        """SIGTERM, or SIGKILL."""
        if self.process:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(60)

    def ask(self, method: str, path: str, body: object = None) -> object:
        """One request to the REST interface."""
        request = urllib.request.Request(f"{self.rest}{path}", method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")
