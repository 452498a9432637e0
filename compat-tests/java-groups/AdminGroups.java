import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.UnknownMemberIdException;

/** What the admin client does with groups. */
final class AdminGroups {
    /** What Java 4.x has for it. */
    private static final ConfigResource.Type GROUP = ConfigResource.Type.forId((byte) 32);

    private AdminGroups() {}

    static void addTo(Checks checks) {
        for (Map<String, Object> settings : List.of(GroupClient.EAGER, GroupClient.UNIFORM)) {
            String kind = settings == GroupClient.UNIFORM ? "KIP-848" : "classic";
            checks.add("admin lists, describes and deletes a " + kind + " group", () -> lifeOfGroup(settings));
            checks.add("admin alters, lists and deletes offsets of a " + kind + " group", () -> offsets(settings));
        }
        checks.add("admin removes members, one static, then all", AdminGroups::removeMembers);
        checks.add("admin removes a static KIP-848 member", AdminGroups::removeModern);
        if (GROUP != ConfigResource.Type.UNKNOWN) {
            checks.add("admin sets, describes and deletes configs of a group", AdminGroups::groupConfigs);
        }
        checks.add("admin tells that a group is not there", AdminGroups::noGroup);
    }

    private static ConsumerGroupDescription describe(String group) throws Exception {
        return Checks.get(GroupClient.admin.describeConsumerGroups(List.of(group)).all()).get(group);
    }

    private static Set<String> listed() throws Exception {
        return Checks.get(GroupClient.admin.listConsumerGroups().all()).stream().map(group -> group.groupId())
            .collect(Collectors.toSet());
    }

    private static void lifeOfGroup(Map<String, Object> kind) throws Exception {
        Admin admin = GroupClient.admin;
        String topic = GroupClient.createTopic("admin", 2), group = Checks.freshName("described");
        Member member = new Member(GroupClient.settings(group, kind), topic, (m, record) -> {}).start();
        Checks.until("it has its partitions", () -> member.has(2));
        Checks.need(listed().contains(group), "not listed");
        ConsumerGroupDescription described = describe(group);
        Checks.expect(described.state().toString(), "Stable", "state");
        Checks.expect(described.members().size(), 1, "members");
        var only = described.members().iterator().next();
        Checks.expect(only.consumerId(), member.metadata().memberId(), "member id");
        Checks.expect(only.assignment().topicPartitions(), member.assigned(), "assignment");
        Checks.need(described.coordinator().id() >= 0, "no coordinator");
        String assignor = kind == GroupClient.UNIFORM ? "uniform" : "range";
        Checks.expect(described.partitionAssignor(), assignor, "assignor");
        Checks.expectError(GroupNotEmptyException.class, admin.deleteConsumerGroups(List.of(group)).all(), "delete");
        member.leave();
        Checks.expect(describe(group).state().toString(), "Empty", "state without members");
        Checks.get(admin.deleteConsumerGroups(List.of(group)).all());
        Checks.need(!listed().contains(group), "listed after it was deleted");
    }

    private static void offsets(Map<String, Object> kind) throws Exception {
        Admin admin = GroupClient.admin;
        String topic = GroupClient.createTopic("offsets", 2), group = Checks.freshName("altered");
        TopicPartition zero = new TopicPartition(topic, 0), one = new TopicPartition(topic, 1);
        Member member = new Member(GroupClient.settings(group, kind), topic, (m, record) -> {}).start();
        Checks.until("it has its partitions", () -> member.has(2));
        var wanted = Map.of(zero, new OffsetAndMetadata(7, "seven"), one, new OffsetAndMetadata(9));
        Checks.expectError(UnknownMemberIdException.class, admin.alterConsumerGroupOffsets(group, wanted).all(), "with a member");
        Checks.expectError(GroupSubscribedToTopicException.class,
            admin.deleteConsumerGroupOffsets(group, Set.of(zero)).partitionResult(zero), "deleting what it reads");
        member.leave();
        Checks.get(admin.alterConsumerGroupOffsets(group, wanted).all());
        Checks.expect(Checks.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()), wanted, "offsets");
        Checks.get(admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all());
        Checks.expect(Checks.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()),
            Map.of(one, wanted.get(one)), "offsets after one was deleted");
        Checks.get(admin.deleteConsumerGroups(List.of(group)).all());
    }

    private static void removeMembers() throws Exception {
        Admin admin = GroupClient.admin;
        String topic = GroupClient.createTopic("removed", 2), group = Checks.freshName("removed");
        var settings = new java.util.HashMap<>(GroupClient.COOPERATIVE);
        Member dynamic = new Member(GroupClient.settings(group, settings), topic, (m, record) -> {}).start();
        settings.put("group.instance.id", "instance");
        Member fixed = new Member(GroupClient.settings(group, settings), topic, (m, record) -> {}).start();
        Checks.until("both have a partition", () -> dynamic.has(1) && fixed.has(1));
        fixed.leave();
        Checks.expect(describe(group).members().size(), 2, "members before");
        var options = new RemoveMembersFromConsumerGroupOptions(Set.of(new MemberToRemove("instance")));
        Checks.get(admin.removeMembersFromConsumerGroup(group, options).all());
        Checks.until("the other has both partitions", () -> dynamic.has(2));
        Checks.expectError(UnknownMemberIdException.class, admin.removeMembersFromConsumerGroup(group, options).all(), "again");
        dynamic.leave();
        Checks.expect(describe(group).members().size(), 0, "members after");
    }

    /** One that is away: its session is not waited for. */
    private static void removeModern() throws Exception {
        Admin admin = GroupClient.admin;
        String topic = GroupClient.createTopic("removed", 2), group = Checks.freshName("removed");
        var settings = new java.util.HashMap<>(GroupClient.UNIFORM);
        settings.put("group.instance.id", "instance");
        Member fixed = new Member(GroupClient.settings(group, settings), topic, (m, record) -> {}).start();
        Checks.until("it has both partitions", () -> fixed.has(2));
        fixed.leave();
        var options = new RemoveMembersFromConsumerGroupOptions(Set.of(new MemberToRemove("instance")));
        Checks.get(admin.removeMembersFromConsumerGroup(group, options).all());
        Checks.expect(describe(group).members().size(), 0, "members after");
    }

    private static void groupConfigs() throws Exception {
        Admin admin = GroupClient.admin;
        ConfigResource group = new ConfigResource(GROUP, Checks.freshName("configured"));
        String name = "consumer.session.timeout.ms";
        var set = new AlterConfigOp(new ConfigEntry(name, "50000"), AlterConfigOp.OpType.SET);
        Checks.get(admin.incrementalAlterConfigs(Map.of(group, List.of(set))).all());
        Checks.until("it is described", () -> "50000".equals(config(group, name).value()));
        Checks.expect(config(group, name).source().toString(), "DYNAMIC_GROUP_CONFIG", "source");
        Checks.expect(config(group, "consumer.heartbeat.interval.ms").value(), "5000", "another config");
        var tooLong = new AlterConfigOp(new ConfigEntry(name, "60001"), AlterConfigOp.OpType.SET);
        Checks.expectError(InvalidConfigurationException.class,
            admin.incrementalAlterConfigs(Map.of(group, List.of(tooLong))).all(), "too long");
        var delete = new AlterConfigOp(new ConfigEntry(name, ""), AlterConfigOp.OpType.DELETE);
        Checks.get(admin.incrementalAlterConfigs(Map.of(group, List.of(delete))).all());
        Checks.until("it is gone", () -> "45000".equals(config(group, name).value()));
    }

    private static ConfigEntry config(ConfigResource resource, String name) {
        try {
            return Checks.get(GroupClient.admin.describeConfigs(List.of(resource)).all()).get(resource).get(name);
        } catch (Exception error) {
            throw new AssertionError(error);
        }
    }

    private static void noGroup() throws Exception {
        Admin admin = GroupClient.admin;
        String group = Checks.freshName("missing");
        Checks.expectError(GroupIdNotFoundException.class, admin.deleteConsumerGroups(List.of(group)).all(), "delete");
        Checks.expect(Checks.get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()), Map.of(), "offsets");
    }
}
