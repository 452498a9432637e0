"""Differences from Apache Kafka that are meant, each with its reason. Everything else fails the run."""

import re
from dataclasses import dataclass

from differences import Difference


@dataclass(frozen=True)
class Known:
    """A pattern over `api "label" path: kafka -> agent`, and why."""
    pattern: str
    why: str


KNOWN: list[Known] = [
    Known(r"ErrorMessage: (?!None -> )", "words are ours, where Kafka has some"),
    Known(r"ErrorMessage: None -> ", "Kafka says nothing there"),
    Known(r"^(Metadata|DescribeCluster) .*\.Rack: None -> default", "the rack is AGENT_ZONE, which has a default"),
    Known(r"^ApiVersions .*ApiKeys", "said once for each API, as served"),
    Known(r"^ApiVersions .*Features", "features of KRaft's own versions mean nothing here"),
    Known(r"ConfigSource: 3 -> 5|min.insync.replicas.*Synonyms", "Kafka sets min.insync.replicas for its cluster when it is formatted"),
    Known(r'^Metadata "unknown id" (Brokers|ClusterId|ControllerId)', "Kafka leaves the cluster out of answers to unknown ids"),
    Known(r'^Produce "append time claimed"', "stricter: a producer does not set the timestamp type"),
    Known(r'^Produce "old timestamp" .*BaseOffset', "follows from the one before"),
    Known(r'^Produce "codec 7" ', "Kafka answers UNKNOWN_SERVER_ERROR"),
    Known(r'^Produce "null" answer: no answer', "Kafka does not answer at all"),
    Known(r'^Produce "duplicate.*LogAppendTimeMs', "Kafka answers a duplicate with its greatest timestamp, whatever the topic says"),
    Known(r'^Produce "transactional', "transactions are not there yet"),
    Known(r'^DescribeTopicPartitions "unknown" Topics..\.TopicAuthorizedOperations', "not asked for, and there is no topic"),
]


def reason(difference: Difference) -> str | None:
    """Why it is as it is, if that is known."""
    line = f'{difference.api} "{difference.label}" {difference.path}: {difference.kafka} -> {difference.agent}'
    return next((known.why for known in KNOWN if re.search(known.pattern, line)), None)
