"""kcat in every mode, twice: Debian's librdkafka 2.0.2 and the newest one under the same kcat.

The old library is the strictest reader of ApiVersions: it enables a codec only if exact versions are advertised, and
otherwise sends plain data without an error, so the stored batch is checked, not only what comes back.
"""

import json
import os
import subprocess
import time
from functools import partial
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from checks import KAFKA, check, expect, fresh_name, run_checks
from stored_batches import stored_batches

NEWEST = Path(os.environ.get("STREAMHOUSE_TOOLS", "")) / "librdkafka"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ADMIN = AdminClient({"bootstrap.servers": KAFKA, "log_level": 3})


class Kcat:
    """kcat on one librdkafka."""

    def __init__(self, library: Path | None):
        self.environment = {**os.environ, **({"LD_LIBRARY_PATH": str(library)} if library else {})}

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """Standard output; raises with standard error on a non-zero exit or after 30 s."""
        done = subprocess.run(["kcat", "-b", KAFKA, *arguments], input=stdin, env=self.environment,
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"kcat {' '.join(arguments)}: exit {done.returncode}: {done.stderr[-400:]}"
        return done.stdout

    def produce(self, topic: str, lines: str, *arguments: str) -> None:
        """One record a line."""
        self("-P", "-t", topic, *arguments, stdin=lines)

    def consume(self, topic: str, *arguments: str, show: str = "%s\\n") -> list[str]:
        """From the beginning to the end unless `arguments` say otherwise."""
        position = () if "-o" in arguments else ("-o", "beginning")
        return self("-C", "-q", "-e", "-t", topic, "-f", show, *position, *arguments).splitlines()


def create_topic(partitions: int = 1) -> str:
    """A fresh topic."""
    name = fresh_name("kcat")
    ADMIN.create_topics([NewTopic(name, partitions, 1)], operation_timeout=20)[name].result(20)
    return name


def metadata_lists_brokers_and_topics(kcat: Kcat) -> None:
    """-L, for all topics and for one."""
    topic = create_topic(partitions=3)
    everything = json.loads(kcat("-L", "-J"))
    assert everything["controllerid"] in [b["id"] for b in everything["brokers"]], everything["controllerid"]
    listed = {t["topic"]: len(t["partitions"]) for t in everything["topics"]}
    expect(listed.get(topic), 3, "partitions in -L")
    one = json.loads(kcat("-L", "-J", "-t", topic))["topics"]
    expect([(t["topic"], len(t["partitions"]), t.get("error")) for t in one], [(topic, 3, None)])


def an_unknown_topic_is_created_on_first_use(kcat: Kcat) -> None:
    """Auto-creation through Metadata."""
    topic = fresh_name("kcat-auto")
    kcat.produce(topic, "first\n")
    expect(kcat.consume(topic), ["first"])


def keys_and_values_come_back_in_order(kcat: Kcat) -> None:
    """1,000 keyed records of one partition."""
    topic = create_topic()
    sent = [f"key{i % 7}:value {i}" for i in range(1000)]
    kcat.produce(topic, "\n".join(sent) + "\n", "-K:")
    expect(kcat.consume(topic, show="%k:%s\\n"), sent, "records")
    expect(kcat.consume(topic, show="%o\\n"), [str(i) for i in range(1000)], "offsets")


def headers_keep_order_and_repeat(kcat: Kcat) -> None:
    """-H three times, one name twice."""
    topic = create_topic()
    kcat.produce(topic, "v\n", "-H", "b=1", "-H", "a=2", "-H", "b=3")
    expect(kcat.consume(topic, show="%h\\n"), ["b=1,a=2,b=3"])


def null_and_empty_are_kept_apart(kcat: Kcat) -> None:
    """Without -Z empty is empty, with -Z it is null (a tombstone)."""
    topic = create_topic()
    kcat.produce(topic, "k:\n:v\n", "-K:")
    kcat.produce(topic, "k:\n:v\n", "-K:", "-Z")
    kcat.produce(topic, "v\n")
    lengths = kcat.consume(topic, show="%K %S\\n")
    expect(lengths, ["1 0", "0 1", "1 -1", "-1 1", "-1 1"], "key and value lengths")


def a_codec_is_stored_as_sent(kcat: Kcat, codec: str, *arguments: str) -> None:
    """-z codec; the stored batch carries it, and the records come back."""
    topic = create_topic()
    sent = [f"compressible {codec} {i:04} " + "x" * 200 for i in range(200)]
    kcat.produce(topic, "\n".join(sent) + "\n", "-z", codec, *arguments)
    batches = stored_batches(KAFKA, topic)
    expect({b.codec for b in batches}, {codec}, "stored codecs")
    assert all(b.crc_ok for b in batches), "a stored batch fails its CRC"
    expect(sum(b.count for b in batches), len(sent), "stored records")
    expect(kcat.consume(topic), sent, "records")


def idempotent_production_stores_producer_and_sequence(kcat: Kcat) -> None:
    """enable.idempotence; sequences run from 0 without a gap."""
    topic = create_topic()
    kcat.produce(topic, "".join(f"{i}\n" for i in range(3000)), "-X", "enable.idempotence=true",
                 "-X", "batch.num.messages=100")
    expect(kcat.consume(topic), [str(i) for i in range(3000)], "records")
    following = 0
    for batch in stored_batches(KAFKA, topic):
        assert batch.producer_id >= 0 and batch.producer_epoch >= 0, batch
        expect(batch.base_sequence, following, "base sequence")
        following += batch.count


def every_acks_setting_stores(kcat: Kcat, acks: str) -> None:
    """acks=0 has no answer at all; the records are there soon after."""
    topic = create_topic()
    kcat.produce(topic, "a\nb\n", "-X", f"acks={acks}")
    deadline = time.monotonic() + 5
    while (seen := kcat.consume(topic)) != ["a", "b"] and time.monotonic() < deadline:
        time.sleep(0.05)
    expect(seen, ["a", "b"])


def consumption_starts_where_asked(kcat: Kcat) -> None:
    """-o N, -N, end, s@ and e@ timestamps, -c."""
    topic = create_topic()
    kcat.produce(topic, "0\n1\n2\n")
    time.sleep(0.02)
    middle = int(time.time() * 1000)
    time.sleep(0.02)
    kcat.produce(topic, "3\n4\n")
    expect(kcat.consume(topic, "-o", "1"), ["1", "2", "3", "4"], "-o 1")
    expect(kcat.consume(topic, "-o", "-2"), ["3", "4"], "-o -2")
    expect(kcat.consume(topic, "-o", "end"), [], "-o end")
    expect(kcat.consume(topic, "-o", f"s@{middle}"), ["3", "4"], "-o s@")
    expect(kcat.consume(topic, "-o", "beginning", "-o", f"e@{middle}"), ["0", "1", "2"], "-o e@")
    expect(kcat.consume(topic, "-c", "2"), ["0", "1"], "-c 2")


def offsets_are_found_by_time(kcat: Kcat) -> None:
    """-Q with a timestamp, the beginning and the end."""
    topic = create_topic(partitions=2)
    kcat.produce(topic, "a\nb\n", "-p", "1")
    time.sleep(0.02)
    later = int(time.time() * 1000)
    time.sleep(0.02)
    kcat.produce(topic, "c\n", "-p", "1")
    for asked, wanted in ((later, 2), (0, 0), (-2, 0), (-1, 3), (later + 3_600_000, -1)):
        answer = kcat("-Q", "-t", f"{topic}:1:{asked}").split()
        offset = int(answer[answer.index("offset") + 1])
        if asked == later + 3_600_000:
            assert offset in (-1, 3), f"-Q past the last record: {offset}"  # librdkafka turns "none" into the end
        else:
            expect(offset, wanted, f"-Q at {asked}")


def every_partition_reaches_its_end(kcat: Kcat) -> None:
    """-C -e over three partitions, one of them empty, ends by itself."""
    topic = create_topic(partitions=3)
    kcat.produce(topic, "a\n", "-p", "0")
    kcat.produce(topic, "b\n", "-p", "2")
    expect(sorted(kcat.consume(topic, show="%p %s\\n")), ["0 a", "2 b"])


def a_record_near_the_limit_goes_through(kcat: Kcat) -> None:
    """A value of 990,000 bytes, below both sides' default limit."""
    topic = create_topic()
    kcat.produce(topic, "y" * 990_000 + "\n")
    expect([len(v) for v in kcat.consume(topic)], [990_000])


def a_group_reads_everything_once_and_resumes(kcat: Kcat) -> None:
    """-G to the end, more records, -G again: the second run begins where the first one committed."""
    topic, group = create_topic(partitions=3), fresh_name("kcat-group")
    seen: list[str] = []
    for numbers in (range(30), range(30, 40)):
        for partition in range(3):
            mine = "".join(f"{i}\n" for i in numbers if i % 3 == partition)
            kcat.produce(topic, mine, "-p", str(partition))
        lines = kcat("-G", group, "-q", "-e", "-f", "%s\\n", "-X", "auto.offset.reset=earliest", topic).splitlines()
        expect(sorted(map(int, lines)), list(numbers), "records of this run")
        seen += lines
    expect(len(seen), 40, "records in all")


def a_stored_offset_is_where_reading_begins(kcat: Kcat) -> None:
    """-C -o stored, without a member: OffsetFetch and OffsetCommit alone."""
    topic, group = create_topic(), fresh_name("kcat-stored")
    kcat.produce(topic, "a\nb\n")
    options = ("-X", f"group.id={group}", "-X", "auto.offset.reset=earliest")
    expect(kcat.consume(topic, "-o", "stored", *options), ["a", "b"], "first")
    kcat.produce(topic, "c\n")
    expect(kcat.consume(topic, "-o", "stored", *options), ["c"], "second")


def register(library: str, kcat: Kcat) -> None:
    """All checks for one librdkafka."""
    plain = (metadata_lists_brokers_and_topics, an_unknown_topic_is_created_on_first_use,
             keys_and_values_come_back_in_order, headers_keep_order_and_repeat, null_and_empty_are_kept_apart,
             idempotent_production_stores_producer_and_sequence, consumption_starts_where_asked,
             offsets_are_found_by_time, every_partition_reaches_its_end, a_record_near_the_limit_goes_through,
             a_group_reads_everything_once_and_resumes, a_stored_offset_is_where_reading_begins)
    for function in plain:
        check(f"{library}: {function.__name__.replace('_', ' ')}")(partial(function, kcat))
    for codec in CODECS:
        check(f"{library}: {codec} is stored as sent")(partial(a_codec_is_stored_as_sent, kcat, codec))
    check(f"{library}: lz4 is stored as sent by an idempotent producer")(
        partial(a_codec_is_stored_as_sent, kcat, "lz4", "-X", "enable.idempotence=true"))
    for acks in ("0", "1", "all"):
        check(f"{library}: acks={acks} stores")(partial(every_acks_setting_stores, kcat, acks))


register("system librdkafka", Kcat(None))
if (NEWEST / "librdkafka.so.1").exists():
    register("newest librdkafka", Kcat(NEWEST))
run_checks()
