"""The script's cases about groups: classic, KIP-848, and offsets."""

import struct

from conversation import Conversation
from script import NOWHERE, case

PROTOCOLS = [{"Name": "range", "Metadata": b"\0\0\0\0\0\0\0\0\0\0"}]
SESSION = {"SessionTimeoutMs": 10_000, "RebalanceTimeoutMs": 10_000}


def _join(s: Conversation, v: int, group: str, label: str, member: str = "", **fields: object) -> dict:
    body = {"GroupId": group, "MemberId": member, "ProtocolType": "consumer", "Protocols": PROTOCOLS, **SESSION, **fields}
    return s.ask("JoinGroup", v, body, label)


def _sync(s: Conversation, v: int, group: str, label: str, member: str, generation: int = 1, **fields: object) -> dict:
    body = {"GroupId": group, "MemberId": member, "GenerationId": generation, "ProtocolType": "consumer", "ProtocolName": "range",
            "Assignments": [{"MemberId": member, "Assignment": b"plan"}], **fields}
    return s.ask("SyncGroup", v, body, label)


def _member(s: Conversation, instance: str | None = None) -> tuple[str, str]:
    """(group, member) of a stable group of one, at generation 1."""
    group = s.name("group")
    s.coordinated(group)
    body = {"GroupId": group, "MemberId": "", "ProtocolType": "consumer", "Protocols": PROTOCOLS, "GroupInstanceId": instance,
            **SESSION}
    joined = s.prepare("JoinGroup", body)
    if joined["ErrorCode"] == 79:
        joined = s.prepare("JoinGroup", {**body, "MemberId": joined["MemberId"]})
    member = joined["MemberId"]
    synced = s.prepare("SyncGroup", {"GroupId": group, "MemberId": member, "GenerationId": 1, "GroupInstanceId": instance,
                                     "ProtocolType": "consumer", "ProtocolName": "range",
                                     "Assignments": [{"MemberId": member, "Assignment": b"plan"}]})
    if joined["ErrorCode"] or synced["ErrorCode"]:
        raise RuntimeError(f"{s.address}: {joined} {synced}")
    return group, member


@case("FindCoordinator")
def find_coordinator(s: Conversation, v: int) -> None:
    """A group, an empty one, kinds of keys."""
    group = s.name("group")
    s.coordinated(group)

    def ask(label: str, key: str, kind: int) -> None:
        s.ask("FindCoordinator", v, {"KeyType": kind, **({"CoordinatorKeys": [key]} if v >= 4 else {"Key": key})}, label)
    ask("group", group, 0)
    ask("no name", "", 0)
    if v >= 1:
        ask("unknown kind", group, 9)
    if v >= 4:
        s.ask("FindCoordinator", v, {"KeyType": 0, "CoordinatorKeys": [group, group + "x"]}, "two")
        s.ask("FindCoordinator", v, {"KeyType": 0, "CoordinatorKeys": []}, "none")


@case("JoinGroup")
def join_group(s: Conversation, v: int) -> None:
    """A group of one in this version, and each refusal."""
    group = s.name("group")
    s.coordinated(group)
    joined = _join(s, v, group, "first")
    if joined.get("ErrorCode") == 79:
        joined = _join(s, v, group, "with the id given", joined["MemberId"])
    member = joined.get("MemberId", "")
    _join(s, v, group, "unknown member", "nobody-1")
    _join(s, v, group, "session too short", SessionTimeoutMs=10)
    _join(s, v, group, "session too long", SessionTimeoutMs=1 << 30)
    _join(s, v, group, "no protocols", member, Protocols=[])
    _join(s, v, group, "another kind", member, ProtocolType="connect")
    _join(s, v, group, "no kind", member, ProtocolType="")
    _join(s, v, group, "other protocols", "", Protocols=[{"Name": "other", "Metadata": b""}])
    _join(s, v, "", "no group")
    _join(s, v, group, "again", member)
    s.prepare("LeaveGroup", {"GroupId": group, "Members": [{"MemberId": member, "GroupInstanceId": None}]})


@case("JoinGroup")
def static_members(s: Conversation, v: int) -> None:
    """From 5 on."""
    if v < 5:
        return
    group = s.name("group")
    s.coordinated(group)
    joined = _join(s, v, group, "static", GroupInstanceId="one")
    member = joined.get("MemberId", "")
    _sync(s, min(v, 5), group, "static", member, GroupInstanceId="one")
    again = _join(s, v, group, "static, replaced", GroupInstanceId="one")
    _join(s, v, group, "static, fenced", member, GroupInstanceId="one")
    s.ask("Heartbeat", 4, {"GroupId": group, "GenerationId": 1, "MemberId": member, "GroupInstanceId": "one"}, "static, fenced")
    s.ask("Heartbeat", 4, {"GroupId": group, "GenerationId": 1, "MemberId": again.get("MemberId", ""), "GroupInstanceId": "one"},
          "static, replaced")
    s.ask("LeaveGroup", 5, {"GroupId": group, "Members": [{"MemberId": "", "GroupInstanceId": "one"}]}, "by instance")
    s.ask("LeaveGroup", 5, {"GroupId": group, "Members": [{"MemberId": "", "GroupInstanceId": "one"}]}, "by instance, again")


@case("SyncGroup")
def sync_group(s: Conversation, v: int) -> None:
    """In a stable group."""
    group, member = _member(s)
    _sync(s, v, group, "again", member)
    _sync(s, v, group, "wrong generation", member, 9)
    _sync(s, v, group, "unknown member", "nobody")
    _sync(s, v, group, "another protocol", member, ProtocolName="other")
    _sync(s, v, group, "another kind", member, ProtocolType="connect")
    _sync(s, v, s.name("group"), "unknown group", member)
    _sync(s, v, "", "no group", member)


@case("Heartbeat")
def heartbeat(s: Conversation, v: int) -> None:
    """Good and bad."""
    group, member = _member(s)
    for label, name, who, generation in (("good", group, member, 1), ("wrong generation", group, member, 2),
                                         ("unknown member", group, "nobody", 1), ("unknown group", s.name("group"), member, 1),
                                         ("no group", "", member, 1), ("no member", group, "", 1)):
        s.ask("Heartbeat", v, {"GroupId": name, "GenerationId": generation, "MemberId": who}, label)


@case("LeaveGroup")
def leave_group(s: Conversation, v: int) -> None:
    """One at a time, and several."""
    group, member = _member(s)

    def ask(label: str, name: str, *members: str) -> None:
        who = {"Members": [{"MemberId": m, "GroupInstanceId": None} for m in members]} if v >= 3 else {"MemberId": members[0]}
        s.ask("LeaveGroup", v, {"GroupId": name, **who}, label)
    ask("unknown member", group, "nobody")
    ask("unknown group", s.name("group"), member)
    ask("no group", "", member)
    if v >= 3:
        ask("none", group)
        ask("two of one", group, member, "nobody")
    else:
        ask("good", group, member)
    ask("again", group, member)


@case("OffsetCommit")
def offset_commit(s: Conversation, v: int) -> None:
    """By nobody, by a member, by others."""
    topic = s.topic()
    topic_id = s.topic_id(topic)
    group, member = _member(s)
    alone = s.name("group")
    s.coordinated(alone)

    def ask(label: str, name: str, who: str = "", generation: int = -1, **fields: object) -> None:
        at = {"PartitionIndex": 0, "CommittedOffset": 5, "CommittedMetadata": "m", **fields}
        which = {"TopicId": topic_id} if v >= 10 else {"Name": topic}
        s.ask("OffsetCommit", v, {"GroupId": name, "MemberId": who, "GenerationIdOrMemberEpoch": generation, "RetentionTimeMs": -1,
                                  "Topics": [{**which, "Partitions": [at]}]}, label)
    ask("without members", alone)
    ask("by a member", group, member, 1)
    ask("wrong generation", group, member, 9)
    ask("unknown member", group, "nobody", 1)
    ask("by nobody in a group with members", group)
    ask("unknown group with a generation", s.name("group"), "nobody", 1)
    ask("no group", "")
    ask("metadata of 5000", alone, CommittedMetadata="x" * 5000)
    ask("null metadata", alone, CommittedMetadata=None)
    ask("negative offset", alone, CommittedOffset=-3)
    ask("unknown partition", alone, PartitionIndex=9)
    which = {"TopicId": NOWHERE} if v >= 10 else {"Name": s.name("unknown")}
    s.ask("OffsetCommit", v, {"GroupId": alone, "RetentionTimeMs": -1, "Topics": [{**which, "Partitions": [
        {"PartitionIndex": 0, "CommittedOffset": 5}]}]}, "unknown topic")
    s.ask("OffsetCommit", v, {"GroupId": alone, "RetentionTimeMs": -1, "Topics": []}, "nothing")


@case("OffsetFetch")
def offset_fetch(s: Conversation, v: int) -> None:
    """Committed, not committed, all, of several groups."""
    topic = s.topic(2)
    topic_id = s.topic_id(topic)
    group = s.name("group")
    s.coordinated(group)
    s.prepare("OffsetCommit", {"GroupId": group, "Topics": [
        {**({"TopicId": topic_id} if s.highest("OffsetCommit") >= 10 else {"Name": topic}),
         "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 7, "CommittedLeaderEpoch": 0, "CommittedMetadata": "note"}]}]})
    which = {"TopicId": topic_id} if v >= 10 else {"Name": topic}
    nowhere = {"TopicId": NOWHERE} if v >= 10 else {"Name": s.name("unknown")}

    def ask(label: str, name: str, topics: list | None) -> None:
        body = {"Groups": [{"GroupId": name, "Topics": topics}]} if v >= 8 else {"GroupId": name, "Topics": topics}
        s.ask("OffsetFetch", v, body, label)
    ask("one", group, [{**which, "PartitionIndexes": [0]}])
    ask("not committed, unknown partition", group, [{**which, "PartitionIndexes": [1, 9]}])
    ask("unknown topic", group, [{**nowhere, "PartitionIndexes": [0]}])
    ask("no topics", group, [])
    if v >= 2:
        ask("all", group, None)
        ask("all of an unknown group", s.name("group"), None)
    ask("unknown group", s.name("group"), [{**which, "PartitionIndexes": [0]}])
    ask("no group", "", [])
    if v >= 8:
        s.ask("OffsetFetch", v, {"Groups": [{"GroupId": group, "Topics": None}, {"GroupId": group + "x", "Topics": None}]}, "two")
        s.ask("OffsetFetch", v, {"Groups": []}, "none")
    if v >= 9:
        s.ask("OffsetFetch", v, {"Groups": [{"GroupId": group, "MemberId": "nobody", "MemberEpoch": 1, "Topics": None}]}, "a member's")


@case("OffsetDelete")
def offset_delete(s: Conversation, v: int) -> None:
    """Of a group without members, and of one with."""
    topic = s.topic()
    group, _ = _member(s)
    alone = s.name("group")
    s.coordinated(alone)
    s.prepare("OffsetCommit", {"GroupId": alone, "Topics": [
        {**({"TopicId": s.topic_id(topic)} if s.highest("OffsetCommit") >= 10 else {"Name": topic}),
         "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 7}]}]})
    for label, name, which in (("good", alone, topic), ("again", alone, topic), ("unknown topic", alone, "nobody"),
                               ("with members", group, topic), ("unknown group", s.name("group"), topic), ("no group", "", topic)):
        s.ask("OffsetDelete", v, {"GroupId": name, "Topics": [{"Name": which, "Partitions": [{"PartitionIndex": 0}]}]}, label)


@case("DescribeGroups")
def describe_groups(s: Conversation, v: int) -> None:
    """Stable, empty, unknown."""
    group, member = _member(s)
    s.ask("DescribeGroups", v, {"Groups": [group], "IncludeAuthorizedOperations": True}, "stable")
    s.prepare("LeaveGroup", {"GroupId": group, "Members": [{"MemberId": member, "GroupInstanceId": None}]})
    s.ask("DescribeGroups", v, {"Groups": [group]}, "empty")
    s.ask("DescribeGroups", v, {"Groups": [s.name("group")]}, "unknown")
    s.ask("DescribeGroups", v, {"Groups": [""]}, "no name")
    s.ask("DescribeGroups", v, {"Groups": []}, "none")


@case("ListGroups")
def list_groups(s: Conversation, v: int) -> None:
    """Filters that find nothing, as other cases leave groups behind."""
    if v >= 4:
        s.ask("ListGroups", v, {"StatesFilter": ["NoSuchState"]}, "unknown state")
        s.ask("ListGroups", v, {"StatesFilter": ["Dead"]}, "dead")
    if v >= 5:
        s.ask("ListGroups", v, {"TypesFilter": ["nothing"]}, "unknown kind")


@case("DeleteGroups")
def delete_groups(s: Conversation, v: int) -> None:
    """Full, empty, unknown."""
    group, member = _member(s)
    s.ask("DeleteGroups", v, {"GroupsNames": [group]}, "with members")
    s.prepare("LeaveGroup", {"GroupId": group, "Members": [{"MemberId": member, "GroupInstanceId": None}]})
    s.ask("DeleteGroups", v, {"GroupsNames": [group, s.name("group")]}, "empty and unknown")
    s.ask("DeleteGroups", v, {"GroupsNames": [group]}, "again")
    s.ask("DeleteGroups", v, {"GroupsNames": [""]}, "no name")
    s.ask("DeleteGroups", v, {"GroupsNames": []}, "none")


@case("ConsumerGroupHeartbeat")
def consumer_group_heartbeat(s: Conversation, v: int) -> None:
    """A group of one, and each refusal."""
    topic = s.topic(2)
    group = s.name("group")
    s.coordinated(group)
    member = f"member-of-{group}"

    def ask(label: str, epoch: int, who: str = member, name: str = group, **fields: object) -> dict:
        return s.ask("ConsumerGroupHeartbeat", v, {"GroupId": name, "MemberId": who, "MemberEpoch": epoch, **fields}, label)

    full = {"RebalanceTimeoutMs": 30_000, "SubscribedTopicNames": [topic], "TopicPartitions": []}
    ask("unknown member", 1)
    ask("no rebalance time-out", 0, SubscribedTopicNames=[topic], TopicPartitions=[])
    ask("no subscription", 0, RebalanceTimeoutMs=30_000, TopicPartitions=[])
    ask("unknown assignor", 0, ServerAssignor="none-such", **full)
    ask("no group", 0, name="", **full)
    if v >= 1:
        ask("no member", 0, who="", **full)
        ask("bad pattern", 0, SubscribedTopicRegex="(", RebalanceTimeoutMs=30_000, TopicPartitions=[])
    joined = ask("join", 0, **full)
    epoch = joined.get("MemberEpoch", 0)
    who = joined.get("MemberId", member) or member
    ask("goes on", epoch, who)
    ask("wrong epoch", epoch + 7, who)
    ask("below", -9, who)
    s.ask("ConsumerGroupDescribe", s.highest("ConsumerGroupDescribe"), {"GroupIds": [group]}, "one member")
    ask("leave", -1, who)
    ask("leave again", -1, who)
    ask("static", 0, InstanceId="one", who=f"{member}-s", **full)
    ask("static, taken", 0, InstanceId="one", who=f"{member}-t", **full)
    ask("static leave", -2, InstanceId="one", who=f"{member}-s")
    ask("static again", 0, InstanceId="one", who=f"{member}-t", **full)


@case("ConsumerGroupHeartbeat")
def migration(s: Conversation, v: int) -> None:
    """A member of each protocol in one group, the classic one first; it is left alone again."""
    topic, group = s.topic(2), s.name("group")
    named = struct.pack(">hih", 0, 1, len(topic)) + topic.encode()
    s.coordinated(group)
    fields = {"GroupId": group, "ProtocolType": "consumer", **SESSION, "Protocols": [{"Name": "range", "Metadata": named + struct.pack(">i", -1)}]}
    member = s.prepare("JoinGroup", {**fields, "MemberId": ""})["MemberId"]

    def joins() -> int:
        return s.prepare("JoinGroup", {**fields, "MemberId": member})["GenerationId"]

    def sync(label: str, generation: int) -> None:
        plan = named + struct.pack(">iiii", 2, 0, 1, -1)
        _sync(s, s.highest("SyncGroup"), group, label, member, generation, Assignments=[{"MemberId": member, "Assignment": plan}])

    def beat(label: str, generation: int) -> None:
        s.ask("Heartbeat", s.highest("Heartbeat"), {"GroupId": group, "GenerationId": generation, "MemberId": member}, label)

    def other(label: str, epoch: int, **more: object) -> int:
        body = {"GroupId": group, "MemberId": f"other-of-{group}", "MemberEpoch": epoch, **more}
        return s.ask("ConsumerGroupHeartbeat", v, body, label).get("MemberEpoch", 0)
    generation = joins()
    sync("classic", generation)
    epoch = other("joins a classic group", 0, RebalanceTimeoutMs=30_000, SubscribedTopicNames=[topic], TopicPartitions=[])
    s.ask("DescribeGroups", s.highest("DescribeGroups"), {"Groups": [group]}, "both protocols, as classic")
    beat("of the classic member", generation)
    generation = joins()
    sync("of the classic member", generation)
    beat("of the classic member, again", generation)
    other("goes on beside a classic one", epoch)
    other("leaves a classic one alone", -1)
    beat("of the one left", generation)
    s.ask("DescribeGroups", s.highest("DescribeGroups"), {"Groups": [group]}, "classic again")
    sync("classic again", joins())


@case("ConsumerGroupDescribe")
def consumer_group_describe(s: Conversation, v: int) -> None:
    """Unknown, classic, empty."""
    group, _ = _member(s)
    s.ask("ConsumerGroupDescribe", v, {"GroupIds": [group]}, "a classic group")
    s.ask("ConsumerGroupDescribe", v, {"GroupIds": [s.name("group")]}, "unknown")
    s.ask("ConsumerGroupDescribe", v, {"GroupIds": [""]}, "no name")
