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
    Known(r"^(AddOffsetsToTxn|AddPartitionsToTxn|EndTxn|TxnOffsetCommit|WriteTxnMarkers|DescribeTransactions) \"served\"", "transactions are not there yet"),
    Known(r"^(Sasl|.*DelegationToken|AlterUserScram).*\"served\"", "authentication is not there yet"),
    Known(r"^.*(ShareGroup|ShareFetch|ShareAcknowledge).*\"served\"", "share groups are not there"),
    Known(r"^(DescribeQuorum|AddRaftVoter|RemoveRaftVoter|UnregisterBroker|UpdateFeatures) \"served\"", "there is no KRaft quorum"),
    Known(r"^(OffsetCommit|OffsetFetch) \"served\"", "version 10, with topic ids, is stable since Kafka 4.2"),
    Known(r"^ApiVersions .*ApiKeys", "said once for each API, as served"),
    Known(r"^ApiVersions .*Features", "features of KRaft's own versions mean nothing here"),
    Known(r"ConfigSource: 3 -> 5|min.insync.replicas.*Synonyms", "Kafka sets min.insync.replicas for its cluster when it is formatted"),
    Known(r'^Metadata "unknown id" (Brokers|ClusterId|ControllerId)', "Kafka leaves the cluster out of answers to unknown ids"),
    Known(r'^Produce "append time claimed"', "stricter: a producer does not set the timestamp type"),
    Known(r'^Produce "old timestamp" .*BaseOffset', "follows from the one before"),
    Known(r'^Produce "(codec 7|compression [56])" ', "Kafka answers UNKNOWN_SERVER_ERROR"),
    Known(r'^Produce "(gzip|snappy|xerial|lz4|zstd|record length of ten) .*ErrorCode: -1 -> 87', "Kafka answers UNKNOWN_SERVER_ERROR to what does not decompress"),
    Known(r'^Produce "attributes damaged" .*ErrorCode: -1 -> 2', "Kafka answers UNKNOWN_SERVER_ERROR to a codec that is none, before Produce 7"),
    Known(r'^Produce "after a fail-over, duplicate of the last but [1-4]" ', "Kafka remembers one batch of a producer over a restart, the agent five"),
    Known(r'^Produce "(bytes after the batch|delete horizon|reserved bit .*)" ', "stricter: Kafka stores what no client means to send"),
    Known(r'^Produce "a (partition|topic) twice" ', "stricter: Kafka appends one of the two, and acks it as both"),
    Known(r'^(Fetch|ListOffsets) "a partition twice" ', "each is answered; Kafka answers once"),
    Known(r'^Fetch "max_bytes -', "as 0: at least one batch; Kafka answers UNKNOWN_SERVER_ERROR"),
    Known(r'^Metadata "zero topic id" ', "INVALID_REQUEST; Kafka answers UNKNOWN_SERVER_ERROR, and leaves the cluster out"),
    Known(r'^OffsetCommit "metadata of 4,098 bytes', "offset.metadata.max.bytes counts bytes; Kafka counts UTF-16"),
    Known(r'^frames "topic of no UTF-8"', "closed; Kafka reads it with marks in the place of what it cannot read"),
    Known(r'^frames "topics -2"', "closed; to Kafka every negative count is null"),
    Known(r'^frames "SaslHandshake"', "authentication is not there yet"),
    Known(r'^Produce "null" answer: no answer', "Kafka does not answer at all"),
    Known(r'^Produce ".*(duplicate|twice: [24]|fail-over: 3 of 4).*LogAppendTimeMs', "Kafka answers a duplicate with its greatest timestamp, whatever the topic says"),
    Known(r'^Produce "transactional', "transactions are not there yet"),
    Known(r'^Produce .*LogStartOffset: 0 -> -1', "refused before the log is looked at"),
    Known(r'^Produce "(cut|only a header|half a header|one byte|length past the batch|length i32::MAX)"', "CORRUPT_MESSAGE, which clients send again: it may have been cut on its way"),
    Known(r'^(Fetch "empty"|Produce "first") Responses', "Kafka's leader was not ready yet"),
    Known(r'^(Metadata|CreateTopics) .*TopicId: (id\d+ -> id\d+|id\d+ -> nil)', "Kafka names an id for a topic that it only validates; those after are counted on"),
    Known(r'^(DescribeTopicPartitions|Metadata|ListGroups|ListConfigResources|DescribeLogDirs) "(defaults|three bytes more|all ones)"',
          "everything there is, which Kafka makes at other moments"),
    Known(r'^DescribeLogDirs .*(LogDir|TotalBytes|UsableBytes)', "one directory, object-store, whose size nobody knows"),
    Known(r'^DescribeAcls "(defaults|three bytes more)" answer', "Kafka closes where a filter is UNKNOWN; without an authorizer no filter matters"),
    Known(r'^DescribeConfigs .*(ReadOnly: False -> True|log.retention.ms|group.max.size)', "a broker's configs are set where the agent is started, and say what holds here"),
    Known(r'^DescribeConfigs "broker .*Source: 5 -> 4', "as above"),
    Known(r'^DescribeGroups "stable" .*MemberId', "a member's id is random"),
    Known(r'^ElectLeaders "all ones"', "Kafka waits until the time-out of such a request"),
    Known(r'^IncrementalAlterConfigs "unknown operation"', "Kafka answers UNKNOWN_SERVER_ERROR"),
    Known(r'^OffsetDelete "(again|unknown topic)"', "a group without members goes with its last offset, Kafka's some minutes later"),
    Known(r'^DescribeConfigs "subscription" ', "there are no subscriptions of clients' metrics, and none is invented"),
    Known(r'^ConsumerGroupHeartbeat "joins a classic group" HeartbeatIntervalMs', "500 ms while partitions change hands"),
    Known(r'^ConsumerGroupHeartbeat "goes on beside a classic one" MemberEpoch', "Kafka looks at its topics from time to time, which begins an epoch"),
    Known(r'^Heartbeat "of the one left" ErrorCode: 22 -> 27', "follows from the one before"),
    Known(r'^(SyncGroup "of the classic member"|DescribeGroups "classic again") .*Assignment: 0000[0-9a-f]+ -> 0000', "which of two partitions is whose is chance in Kafka"),
    Known(r'^DescribeTopicPartitions "unknown" Topics..\.TopicAuthorizedOperations', "not asked for, and there is no topic"),
]


_met: set[Known] = set()


def reason(difference: Difference) -> str | None:
    """Why it is as it is, if that is known."""
    line = f'{difference.api} "{difference.label}" {difference.path}: {difference.kafka} -> {difference.agent}'
    known = next((known for known in KNOWN if re.search(known.pattern, line)), None)
    _met.update([known] if known else [])
    return known.why if known else None


def unmet() -> list[Known]:
    """What explained nothing so far: it may be out of date, or hang on what came first."""
    return [known for known in KNOWN if known not in _met]
