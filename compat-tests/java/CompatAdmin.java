import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.AlterConfigsOptions;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.QuorumInfo;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidReplicaAssignmentException;
import org.apache.kafka.common.errors.InvalidRequestException;
import org.apache.kafka.common.errors.LogDirNotFoundException;
import org.apache.kafka.common.errors.NoReassignmentInProgressException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.ResourceNotFoundException;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** What {@link CompatClient} tries of the Admin API beyond topics and offsets, and of fetch sessions. */
final class CompatAdmin {
    private static Admin admin;

    private CompatAdmin() {}

    static void addTo(Map<String, CompatClient.Check> checks, Admin with) {
        admin = with;
        checks.put("admin alters topic configs one by one, and they hold at once", CompatAdmin::alterTopicConfigs);
        checks.put("altering configs wrongly fails with the exact error and changes nothing", CompatAdmin::alterErrors);
        checks.put("broker configs and loggers are read-only", CompatAdmin::alterBrokerConfigs);
        checks.put("broker configs have what tools read, with synonyms and documentation", CompatAdmin::brokerConfigs);
        checks.put("admin lists config resources", CompatAdmin::listConfigResources);
        checks.put("log directories have every partition with its bytes", CompatAdmin::logDirs);
        checks.put("admin describes producers of a partition", CompatAdmin::describeProducers);
        checks.put("no reassignment is under way, and none is needed", CompatAdmin::reassignments);
        checks.put("no election is needed", CompatAdmin::electLeaders);
        checks.put("ACLs are answered as without an authorizer", CompatAdmin::acls);
        checks.put("nobody has quotas or credentials, and no transaction is open", CompatAdmin::nobody);
        checks.put("the metadata quorum is described, or there is none", CompatAdmin::metadataQuorum);
        checks.put("a session of many partitions sees each record once, over assignments and new topics", CompatAdmin::fetchSession);
    }

    private static ConfigResource topicResource(String topic) {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    private static void alter(ConfigResource resource, boolean validateOnly, AlterConfigOp... operations) throws Exception {
        AlterConfigsOptions options = new AlterConfigsOptions().validateOnly(validateOnly);
        CompatClient.get(admin.incrementalAlterConfigs(Map.of(resource, List.of(operations)), options).all());
    }

    private static AlterConfigOp operation(String name, OpType type, String value) {
        return new AlterConfigOp(new ConfigEntry(name, value), type);
    }

    private static ConfigEntry config(ConfigResource resource, String name) throws Exception {
        DescribeConfigsOptions options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        Config config = CompatClient.get(admin.describeConfigs(Set.of(resource), options).all()).get(resource);
        CompatClient.need(config.get(name) != null, name + " is not described");
        return config.get(name);
    }

    private static void alterTopicConfigs() throws Exception {
        String topic = CompatClient.createTopic(1, Map.of("segment.ms", "12345678"));
        ConfigResource resource = topicResource(topic);
        alter(resource, false, operation("max.message.bytes", OpType.SET, "1000"),
            operation("cleanup.policy", OpType.APPEND, "compact"), operation("segment.ms", OpType.DELETE, ""));
        ConfigEntry largest = config(resource, "max.message.bytes");
        CompatClient.expect(largest.value(), "1000", "max.message.bytes");
        CompatClient.expect(largest.source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
        CompatClient.expect(largest.synonyms().get(0).source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "first synonym");
        CompatClient.expect(largest.synonyms().get(1).name(), "message.max.bytes", "second synonym");
        CompatClient.expect(config(resource, "cleanup.policy").value(), "delete,compact", "cleanup.policy");
        CompatClient.expect(config(resource, "segment.ms").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "segment.ms");
        try (KafkaProducer<byte[], byte[]> producer = CompatClient.producer(Map.of())) {
            CompatClient.expectError(RecordTooLargeException.class,
                producer.send(new ProducerRecord<>(topic, 0, new byte[] {1}, new byte[2000])), "above the new bound");
            alter(resource, false, operation("max.message.bytes", OpType.DELETE, ""),
                operation("cleanup.policy", OpType.SUBTRACT, "compact"));
            CompatClient.get(producer.send(new ProducerRecord<>(topic, 0, new byte[] {1}, new byte[2000])));
        }
        CompatClient.expect(config(resource, "cleanup.policy").value(), "delete", "cleanup.policy after");
    }

    private static void alterErrors() throws Exception {
        ConfigResource resource = topicResource(CompatClient.createTopic(1, Map.of()));
        Map<AlterConfigOp, Class<? extends Exception>> refused = Map.of(
            operation("no.such.config", OpType.SET, "1"), InvalidConfigurationException.class,
            operation("retention.ms", OpType.SET, "soon"), InvalidConfigurationException.class,
            operation("retention.ms", OpType.APPEND, "1"), InvalidConfigurationException.class,
            operation("min.insync.replicas", OpType.SET, "0"), InvalidConfigurationException.class,
            operation("retention.ms", OpType.SET, null), InvalidRequestException.class);
        for (Map.Entry<AlterConfigOp, Class<? extends Exception>> one : refused.entrySet()) {
            CompatClient.expectError(one.getValue(),
                admin.incrementalAlterConfigs(Map.of(resource, List.of(one.getKey()))).all(), one.getKey().toString());
        }
        CompatClient.expectError(InvalidRequestException.class, admin.incrementalAlterConfigs(Map.of(resource, List.of(
            operation("retention.ms", OpType.SET, "1"), operation("retention.ms", OpType.DELETE, "")))).all(), "named twice");
        CompatClient.expectError(UnknownTopicOrPartitionException.class, admin.incrementalAlterConfigs(Map.of(
            topicResource(CompatClient.freshName("missing")), List.of(operation("retention.ms", OpType.SET, "1")))).all(), "missing");
        alter(resource, true, operation("retention.ms", OpType.SET, "1"));
        alter(resource, false, operation("no.such.config", OpType.DELETE, ""));
        CompatClient.expect(config(resource, "retention.ms").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "retention.ms");
    }

    private static String controller() throws Exception {
        return CompatClient.get(admin.describeCluster().controller()).idString();
    }

    private static void alterBrokerConfigs() throws Exception {
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, controller());
        CompatClient.expectError(InvalidRequestException.class, admin.incrementalAlterConfigs(
            Map.of(broker, List.of(operation("broker.id", OpType.SET, "77")))).all(), "broker.id");
        alter(broker, false, operation("log.retention.ms", OpType.DELETE, ""));
        ConfigResource logger = new ConfigResource(ConfigResource.Type.BROKER_LOGGER, controller());
        CompatClient.expectError(InvalidConfigurationException.class, admin.incrementalAlterConfigs(
            Map.of(logger, List.of(operation("no.such.logger", OpType.SET, "DEBUG")))).all(), "a logger");
    }

    private static void brokerConfigs() throws Exception {
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, controller());
        for (String name : List.of("auto.create.topics.enable", "broker.id", "compression.type", "default.replication.factor",
            "delete.topic.enable", "fetch.max.bytes", "log.cleanup.policy", "log.dirs", "log.message.timestamp.type",
            "log.retention.bytes", "log.retention.hours", "log.retention.ms", "log.roll.ms", "log.segment.bytes",
            "message.max.bytes", "min.insync.replicas", "node.id", "num.partitions", "offsets.topic.replication.factor",
            "socket.request.max.bytes", "unclean.leader.election.enable")) {
            ConfigEntry entry = config(broker, name);
            CompatClient.need(entry.documentation() != null && !entry.documentation().isEmpty(), name + " has no documentation");
            CompatClient.need(entry.type() != ConfigEntry.ConfigType.UNKNOWN, name + " has no type");
        }
        CompatClient.expect(config(broker, "node.id").value(), controller(), "node.id");
        CompatClient.expect(config(broker, "message.max.bytes").value(), "1048588", "message.max.bytes");
        CompatClient.expect(config(broker, "message.max.bytes").synonyms().isEmpty(), false, "synonyms");
    }

    private static void listConfigResources() throws Exception {
        String topic = CompatClient.createTopic(1, Map.of());
        Collection<ConfigResource> all = CompatClient.get(admin.listConfigResources().all());
        CompatClient.need(all.contains(topicResource(topic)), "the topic is not listed");
        CompatClient.need(all.contains(new ConfigResource(ConfigResource.Type.BROKER, controller())), "no broker listed");
    }

    private static void logDirs() throws Exception {
        String topic = CompatClient.createTopic(2, Map.of());
        int broker = Integer.parseInt(controller());
        CompatClient.send(topic, "a record");
        Map<String, LogDirDescription> dirs = CompatClient.get(admin.describeLogDirs(Set.of(broker)).allDescriptions()).get(broker);
        CompatClient.expect(dirs.size(), 1, "directories");
        Map.Entry<String, LogDirDescription> dir = dirs.entrySet().iterator().next();
        CompatClient.need(dir.getValue().error() == null, "error " + dir.getValue().error());
        long bytes = dir.getValue().replicaInfos().get(new TopicPartition(topic, 0)).size();
        CompatClient.need(bytes > 70 && bytes < 100, bytes + " bytes");
        CompatClient.expect(dir.getValue().replicaInfos().get(new TopicPartition(topic, 1)).size(), 0L, "bytes of an empty one");
        TopicPartitionReplica replica = new TopicPartitionReplica(topic, 0, broker);
        CompatClient.expect(CompatClient.get(admin.describeReplicaLogDirs(Set.of(replica)).all()).get(replica)
            .getCurrentReplicaLogDir(), dir.getKey(), "the replica's directory");
        CompatClient.get(admin.alterReplicaLogDirs(Map.of(replica, dir.getKey())).all());
        CompatClient.expectError(LogDirNotFoundException.class,
            admin.alterReplicaLogDirs(Map.of(replica, "/no/such/directory")).all(), "another directory");
    }

    private static void describeProducers() throws Exception {
        String topic = CompatClient.createTopic(1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        CompatClient.expect(CompatClient.get(admin.describeProducers(Set.of(partition)).partitionResult(partition))
            .activeProducers().size(), 0, "producers before");
        CompatClient.send(topic, "a", "b", "c");
        List<ProducerState> producers =
            CompatClient.get(admin.describeProducers(Set.of(partition)).partitionResult(partition)).activeProducers();
        CompatClient.expect(producers.size(), 1, "producers");
        CompatClient.expect(producers.get(0).lastSequence(), 2, "last sequence");
        CompatClient.need(producers.get(0).producerId() >= 0 && producers.get(0).currentTransactionStartOffset().isEmpty(),
            producers.toString());
    }

    private static void reassignments() throws Exception {
        String topic = CompatClient.createTopic(1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        CompatClient.expect(CompatClient.get(admin.listPartitionReassignments().reassignments()).size(), 0, "reassignments");
        int broker = Integer.parseInt(controller());
        CompatClient.get(admin.alterPartitionReassignments(
            Map.of(partition, Optional.of(new NewPartitionReassignment(List.of(broker))))).all());
        CompatClient.expectError(InvalidReplicaAssignmentException.class, admin.alterPartitionReassignments(
            Map.of(partition, Optional.of(new NewPartitionReassignment(List.of(broker + 77))))).all(), "an unknown broker");
        CompatClient.expectError(NoReassignmentInProgressException.class,
            admin.alterPartitionReassignments(Map.of(partition, Optional.empty())).all(), "cancelling none");
    }

    private static void electLeaders() throws Exception {
        TopicPartition partition = new TopicPartition(CompatClient.createTopic(1, Map.of()), 0);
        for (ElectionType type : ElectionType.values()) {
            Optional<Throwable> outcome =
                CompatClient.get(admin.electLeaders(type, Set.of(partition)).partitions()).get(partition);
            CompatClient.need(outcome.orElseThrow() instanceof ElectionNotNeededException, type + ": " + outcome);
        }
        TopicPartition missing = new TopicPartition(CompatClient.freshName("missing"), 0);
        Throwable outcome = CompatClient.get(admin.electLeaders(ElectionType.PREFERRED, Set.of(missing)).partitions())
            .get(missing).orElseThrow();
        CompatClient.need(outcome instanceof UnknownTopicOrPartitionException, "a missing topic: " + outcome);
    }

    private static void acls() throws Exception {
        CompatClient.expectError(SecurityDisabledException.class, admin.describeAcls(AclBindingFilter.ANY).values(), "describe");
        AclBinding binding = new AclBinding(new ResourcePattern(ResourceType.TOPIC, "t", PatternType.LITERAL),
            new AccessControlEntry("User:u", "*", AclOperation.READ, AclPermissionType.ALLOW));
        CompatClient.expectError(SecurityDisabledException.class, admin.createAcls(Set.of(binding)).all(), "create");
        CompatClient.expectError(SecurityDisabledException.class, admin.deleteAcls(Set.of(binding.toFilter())).all(), "delete");
    }

    private static void nobody() throws Exception {
        CompatClient.expect(CompatClient.get(admin.describeClientQuotas(ClientQuotaFilter.all()).entities()).size(), 0, "quotas");
        CompatClient.expect(CompatClient.get(admin.describeUserScramCredentials().all()).size(), 0, "credentials");
        CompatClient.expectError(ResourceNotFoundException.class,
            admin.describeUserScramCredentials(List.of("nobody")).description("nobody"), "credentials of nobody");
        CompatClient.expect(CompatClient.get(admin.listTransactions().all()).stream()
            .filter(t -> t.state().toString().equals("Ongoing")).count(), 0L, "open transactions");
    }

    /** Without a quorum the answer must come at once, as tools ask to find out. */
    private static void metadataQuorum() throws Exception {
        try {
            QuorumInfo quorum = CompatClient.get(admin.describeMetadataQuorum().quorumInfo());
            CompatClient.need(quorum.voters().stream().anyMatch(v -> v.replicaId() == quorum.leaderId()), quorum.toString());
        } catch (ExecutionException error) {
            CompatClient.need(error.getCause() instanceof UnsupportedVersionException, error.toString());
        }
    }

    /** Java's consumer names only what changed since its last fetch: a lost update would repeat or skip records. */
    private static void fetchSession() throws Exception {
        String topic = CompatClient.createTopic(40, Map.of());
        Set<TopicPartition> all =
            IntStream.range(0, 40).mapToObj(p -> new TopicPartition(topic, p)).collect(Collectors.toSet());
        String other = CompatClient.createTopic(1, Map.of());
        Map<TopicPartition, Integer> seen = new HashMap<>();
        int sent = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = CompatClient.consumer(Map.of());
            KafkaProducer<byte[], byte[]> producer = CompatClient.producer(Map.of())) {
            for (int round = 0; round < 20; round++) {
                Set<TopicPartition> now = new HashSet<>(all);
                if (round % 5 == 4) now.removeIf(partition -> partition.partition() % 2 == 1);
                if (round >= 10) now.add(new TopicPartition(other, 0));
                Set<TopicPartition> before = new HashSet<>(consumer.assignment());
                consumer.assign(now);
                // Those that left the assignment come back where they were.
                for (TopicPartition partition : now) {
                    if (!before.contains(partition)) consumer.seek(partition, seen.getOrDefault(partition, 0));
                }
                for (TopicPartition partition : now) {
                    if (consumer.position(partition) == 0 || round % 3 == partition.partition() % 3) {
                        CompatClient.get(producer.send(
                            new ProducerRecord<>(partition.topic(), partition.partition(), null, CompatClient.bytes("" + sent))));
                        sent++;
                    }
                }
                long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
                while (seen.values().stream().mapToInt(Integer::intValue).sum() < sent) {
                    CompatClient.need(System.nanoTime() < deadline, "round " + round + ": " + seen + " of " + sent);
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(java.time.Duration.ofMillis(100))) {
                        TopicPartition partition = new TopicPartition(record.topic(), record.partition());
                        CompatClient.expect(record.offset(), (long) seen.merge(partition, 1, Integer::sum) - 1, "offset");
                    }
                }
            }
        }
    }
}
