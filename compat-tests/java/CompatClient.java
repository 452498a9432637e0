import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The Java client's producer (idempotent, as it is by default), assigned consumer and admin. Prints {@code ok <sentence>}
 * or {@code FAIL <sentence>: <why>} a check and exits 1 if one failed. Arguments: Kafka address [part of a sentence].
 */
public final class CompatClient {
    private static final long WAIT_S = 20;
    private static final Duration WAIT = Duration.ofSeconds(WAIT_S);
    private static String address;
    private static Admin admin;
    private static int names;

    interface Check {
        void run() throws Exception;
    }

    private CompatClient() {}

    public static void main(String[] arguments) {
        address = arguments[0];
        String wanted = arguments.length > 1 ? arguments[1] : "";
        admin = Admin.create(Map.of("bootstrap.servers", address, "default.api.timeout.ms", "20000",
            "request.timeout.ms", "10000"));
        int failed = 0;
        for (Map.Entry<String, Check> check : checks().entrySet()) {
            if (check.getKey().contains(wanted) && !passes(check.getKey(), check.getValue())) failed++;
        }
        admin.close(Duration.ofSeconds(2));
        System.exit(failed == 0 ? 0 : 1);
    }

    private static Map<String, Check> checks() {
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("admin describes the cluster", CompatClient::describeCluster);
        checks.put("admin creates, lists and describes topics", CompatClient::describeTopics);
        checks.put("admin describes a topic by its id", CompatClient::describeTopicById);
        checks.put("creating a topic wrongly fails with the exact error", CompatClient::createErrors);
        checks.put("topic and broker configs are described", CompatClient::describeConfigs);
        checks.put("admin adds partitions", CompatClient::createPartitions);
        checks.put("admin deletes topics, and the same name gets a new id", CompatClient::deleteTopics);
        checks.put("admin lists offsets by every spec", CompatClient::listOffsets);
        CompatAdmin.addTo(checks, admin);
        checks.put("admin describes features", () -> need(get(admin.describeFeatures().featureMetadata()) != null, "none"));
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            checks.put("a default producer's " + codec + " records come back in order", () -> produceAndConsume(codec));
        }
        checks.put("headers, null and empty keys and values survive", CompatClient::headersAndNulls);
        checks.put("keys spread over partitions and stay in order", CompatClient::keyedPartitions);
        checks.put("log append time is the broker's", CompatClient::logAppendTime);
        checks.put("acks 0 and 1 store", CompatClient::weakerAcks);
        checks.put("a record that is too large or lacks a key is refused", CompatClient::refusedRecords);
        checks.put("a consumer seeks, and finds beginning, end and times", CompatClient::consumerOffsets);
        checks.put("an offset past the end is out of range", CompatClient::outOfRange);
        checks.put("a waiting consumer is woken by data", CompatClient::longPoll);
        checks.put("an unknown topic is created on first produce", CompatClient::autoCreate);
        return checks;
    }

    private static boolean passes(String sentence, Check check) {
        try {
            check.run();
            System.out.println("ok   " + sentence);
            return true;
        } catch (Exception | AssertionError error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            String where = Arrays.stream(error.getStackTrace()).filter(f -> f.getFileName() != null
                && f.getFileName().startsWith("Compat")).skip(error instanceof AssertionError ? 1 : 0)
                .map(f -> f.getMethodName() + ":" + f.getLineNumber()).findFirst().orElse("?");
            System.out.println("FAIL " + sentence + ": " + String.valueOf(cause).replace('\n', ' ') + " (" + where + ")");
            return false;
        }
    }

    // --- what the checks are written with

    static void expect(Object actual, Object wanted, String what) {
        if (!Objects.equals(actual, wanted)) throw new AssertionError(what + ": " + actual + ", expected " + wanted);
    }

    static void need(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    static <T> T get(Future<T> future) throws Exception {
        return future.get(WAIT_S, TimeUnit.SECONDS);
    }

    static void expectError(Class<? extends Exception> wanted, Future<?> future, String what) throws Exception {
        try {
            get(future);
        } catch (ExecutionException error) {
            need(wanted.isInstance(error.getCause()), what + ": " + error.getCause() + ", expected " + wanted.getName());
            return;
        }
        throw new AssertionError(what + ": succeeded, expected " + wanted.getName());
    }

    static String freshName(String purpose) {
        return purpose + "-" + ProcessHandle.current().pid() + "-" + System.currentTimeMillis() + "-" + ++names;
    }

    static String createTopic(int partitions, Map<String, String> configs) throws Exception {
        String name = freshName("java");
        get(admin.createTopics(Set.of(new NewTopic(name, Optional.of(partitions), Optional.empty()).configs(configs))).all());
        return name;
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", address, "delivery.timeout.ms", 20000,
            "request.timeout.ms", 10000, "max.block.ms", 15000));
        all.putAll(settings);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> settings) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", address, "auto.offset.reset", "none",
            "enable.auto.commit", false, "default.api.timeout.ms", 20000));
        all.putAll(settings);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static List<ConsumerRecord<byte[], byte[]>> readAll(Collection<TopicPartition> partitions) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                need(System.nanoTime() < deadline, "end not reached, " + records.size() + " records so far");
                consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            }
            return records;
        }
    }

    private static List<ConsumerRecord<byte[], byte[]>> readAll(String topic) {
        return readAll(List.of(new TopicPartition(topic, 0)));
    }

    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, String key, String value, Long timestamp) {
        return new ProducerRecord<>(topic, 0, timestamp, bytes(key), bytes(value));
    }

    static void send(String topic, String... values) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (String value : values) get(producer.send(record(topic, null, value, null)));
        }
    }

    // --- admin

    private static void describeCluster() throws Exception {
        Collection<Node> nodes = get(admin.describeCluster().nodes());
        expect(nodes.size(), 1, "nodes");
        need(!get(admin.describeCluster().clusterId()).isEmpty(), "no cluster id");
        expect(get(admin.describeCluster().controller()).id(), nodes.iterator().next().id(), "controller");
    }

    private static void describeTopics() throws Exception {
        String topic = createTopic(3, Map.of());
        need(get(admin.listTopics().names()).contains(topic), "not listed");
        TopicDescription described = get(admin.describeTopics(Set.of(topic)).allTopicNames()).get(topic);
        expect(described.partitions().size(), 3, "partitions");
        need(!described.topicId().equals(Uuid.ZERO_UUID), "zero topic id");
        need(described.partitions().stream().allMatch(p -> p.leader() != null && p.replicas().size() == 1
            && p.isr().size() == 1), "leader, replicas, isr of " + described);
        expectError(UnknownTopicOrPartitionException.class,
            admin.describeTopics(Set.of(freshName("missing"))).allTopicNames(), "a missing topic");
    }

    private static void describeTopicById() throws Exception {
        String topic = createTopic(1, Map.of());
        Uuid id = get(admin.describeTopics(Set.of(topic)).allTopicNames()).get(topic).topicId();
        expect(get(admin.describeTopics(TopicCollection.ofTopicIds(Set.of(id))).allTopicIds()).get(id).name(), topic, "name");
    }

    private static void createErrors() throws Exception {
        String topic = createTopic(1, Map.of());
        expectError(TopicExistsException.class, admin.createTopics(Set.of(new NewTopic(topic, 1, (short) 1))).all(), "twice");
        expectError(InvalidTopicException.class, admin.createTopics(Set.of(new NewTopic("bad name!", 1, (short) 1))).all(), "name");
        expectError(InvalidPartitionsException.class,
            admin.createTopics(Set.of(new NewTopic(freshName("none"), 0, (short) 1))).all(), "no partitions");
        expectError(InvalidConfigurationException.class, admin.createTopics(Set.of(
            new NewTopic(freshName("config"), 1, (short) 1).configs(Map.of("retention.ms", "soon")))).all(), "config");
    }

    private static void describeConfigs() throws Exception {
        String topic = createTopic(1, Map.of("cleanup.policy", "compact", "retention.ms", "-1"));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Config config = get(admin.describeConfigs(Set.of(resource)).all()).get(resource);
        expect(config.get("cleanup.policy").value(), "compact", "cleanup.policy");
        expect(config.get("retention.ms").value(), "-1", "retention.ms");
        expect(config.get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
        expect(config.get("max.message.bytes").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "default's source");
        String node = get(admin.describeCluster().controller()).idString();
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, node);
        need(!get(admin.describeConfigs(Set.of(broker)).all()).get(broker).entries().isEmpty(), "no broker configs");
    }

    private static void createPartitions() throws Exception {
        String topic = createTopic(1, Map.of());
        get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all());
        expect(get(admin.describeTopics(Set.of(topic)).allTopicNames()).get(topic).partitions().size(), 4, "partitions");
        expectError(InvalidPartitionsException.class, admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all(), "fewer");
    }

    private static void deleteTopics() throws Exception {
        String topic = createTopic(1, Map.of());
        Uuid before = get(admin.describeTopics(Set.of(topic)).allTopicNames()).get(topic).topicId();
        send(topic, "old");
        get(admin.deleteTopics(Set.of(topic)).all());
        expectError(UnknownTopicOrPartitionException.class, admin.deleteTopics(Set.of(topic)).all(), "deleting again");
        get(admin.createTopics(Set.of(new NewTopic(topic, 1, (short) 1))).all());
        need(!get(admin.describeTopics(Set.of(topic)).allTopicNames()).get(topic).topicId().equals(before), "same topic id");
        expect(readAll(topic).size(), 0, "records in the new topic");
        Uuid id = get(admin.describeTopics(Set.of(topic)).allTopicNames()).get(topic).topicId();
        get(admin.deleteTopics(TopicCollection.ofTopicIds(Set.of(id))).all());
    }

    private static void listOffsets() throws Exception {
        String topic = createTopic(1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (long timestamp : new long[] {1000, 5000, 3000}) get(producer.send(record(topic, null, "v", timestamp)));
        }
        Map<OffsetSpec, Long> wanted = new LinkedHashMap<>();
        wanted.put(OffsetSpec.earliest(), 0L);
        wanted.put(OffsetSpec.latest(), 3L);
        wanted.put(OffsetSpec.maxTimestamp(), 1L);
        wanted.put(OffsetSpec.earliestLocal(), 0L);
        wanted.put(OffsetSpec.latestTiered(), -1L);
        wanted.put(OffsetSpec.forTimestamp(2000), 1L);
        wanted.put(OffsetSpec.forTimestamp(9000), -1L);
        for (Map.Entry<OffsetSpec, Long> spec : wanted.entrySet()) {
            ListOffsetsResultInfo info = get(admin.listOffsets(Map.of(partition, spec.getKey())).all()).get(partition);
            expect(info.offset(), spec.getValue(), spec.getKey().getClass().getSimpleName());
        }
    }

    // --- producer and consumer

    private static void produceAndConsume(String codec) throws Exception {
        String topic = createTopic(1, Map.of());
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", codec, "linger.ms", 5))) {
            for (int i = 0; i < 5000; i++) sent.add(producer.send(record(topic, "k" + i % 10, codec + " value " + i, null)));
            producer.flush();
        }
        for (int i = 0; i < sent.size(); i++) expect(get(sent.get(i)).offset(), (long) i, "acked offset");
        List<ConsumerRecord<byte[], byte[]>> records = readAll(topic);
        expect(records.size(), sent.size(), "records");
        for (int i = 0; i < records.size(); i++) {
            expect(records.get(i).offset(), (long) i, "offset");
            expect(text(records.get(i).value()), codec + " value " + i, "value at " + i);
        }
    }

    private static void headersAndNulls() throws Exception {
        String topic = createTopic(1, Map.of());
        String[][] pairs = {{null, null}, {"", ""}, {"k", null}, {null, "v"}, {"", null}, {null, ""}};
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (String[] pair : pairs) {
                ProducerRecord<byte[], byte[]> record = record(topic, pair[0], pair[1], null);
                record.headers().add("b", bytes("1")).add("a", null).add("b", bytes("2"));
                producer.send(record);
            }
        }
        List<ConsumerRecord<byte[], byte[]>> records = readAll(topic);
        expect(records.size(), pairs.length, "records");
        for (int i = 0; i < pairs.length; i++) {
            expect(text(records.get(i).key()), pairs[i][0], "key " + i);
            expect(text(records.get(i).value()), pairs[i][1], "value " + i);
            List<String> headers = new ArrayList<>();
            for (Header header : records.get(i).headers()) headers.add(header.key() + "=" + text(header.value()));
            expect(headers, List.of("b=1", "a=null", "b=2"), "headers " + i);
        }
    }

    private static void keyedPartitions() throws Exception {
        String topic = createTopic(8, Map.of());
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int i = 0; i < 4000; i++) sent.add(producer.send(new ProducerRecord<>(topic, bytes("key " + i % 50), bytes("" + i))));
        }
        for (Future<RecordMetadata> record : sent) get(record);
        List<TopicPartition> partitions = IntStream.range(0, 8).mapToObj(p -> new TopicPartition(topic, p)).toList();
        Map<String, List<Integer>> byKey = readAll(partitions).stream().collect(Collectors.groupingBy(
            r -> text(r.key()), Collectors.mapping(r -> Integer.valueOf(text(r.value())), Collectors.toList())));
        expect(byKey.size(), 50, "keys");
        for (List<Integer> values : byKey.values()) expect(values, values.stream().sorted().distinct().toList(), "order");
        expect(byKey.values().stream().mapToInt(List::size).sum(), 4000, "records");
    }

    private static void logAppendTime() throws Exception {
        String topic = createTopic(1, Map.of("message.timestamp.type", "LogAppendTime"));
        long before = System.currentTimeMillis() - 2000;
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", "gzip"))) {
            RecordMetadata acked = get(producer.send(record(topic, null, "v", 1000L)));
            need(acked.timestamp() >= before, "acked timestamp " + acked.timestamp());
        }
        ConsumerRecord<byte[], byte[]> read = readAll(topic).get(0);
        expect(read.timestampType(), TimestampType.LOG_APPEND_TIME, "type");
        need(read.timestamp() >= before, "timestamp " + read.timestamp());
    }

    private static void weakerAcks() throws Exception {
        for (String acks : List.of("0", "1")) {
            String topic = createTopic(1, Map.of());
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("acks", acks, "enable.idempotence", false))) {
                for (int i = 0; i < 100; i++) get(producer.send(record(topic, null, "" + i, null)));
            }
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(5);
            while (readAll(topic).size() < 100 && System.nanoTime() < deadline) Thread.sleep(50);
            expect(readAll(topic).size(), 100, "records with acks=" + acks);
        }
    }

    private static void refusedRecords() throws Exception {
        String small = createTopic(1, Map.of("max.message.bytes", "10000"));
        String compacted = createTopic(1, Map.of("cleanup.policy", "compact"));
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            expectError(RecordTooLargeException.class, producer.send(record(small, null, "x".repeat(50_000), null)), "too large");
            expectError(InvalidRecordException.class, producer.send(record(compacted, null, "v", null)), "no key");
            expect(get(producer.send(record(small, null, "fits", null))).offset(), 0L, "offset after a refusal");
        }
    }

    private static void consumerOffsets() throws Exception {
        String topic = createTopic(1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("linger.ms", 20))) {
            for (int i = 0; i < 100; i++) producer.send(record(topic, null, "" + i, 10_000L + 10 * i));
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            expect(consumer.partitionsFor(topic).size(), 1, "partitions");
            expect(consumer.beginningOffsets(List.of(partition)).get(partition), 0L, "beginning");
            expect(consumer.endOffsets(List.of(partition)).get(partition), 100L, "end");
            OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, 10_495L)).get(partition);
            expect(found.offset(), 50L, "offset by time");
            expect(found.timestamp(), 10_500L, "timestamp found");
            expect(consumer.offsetsForTimes(Map.of(partition, 99_999L)).get(partition), null, "later than all");
            consumer.assign(List.of(partition));
            consumer.seek(partition, 42);
            ConsumerRecord<byte[], byte[]> first = consumer.poll(WAIT).iterator().next();
            expect(first.offset() + " " + text(first.value()), "42 42", "after seek");
            consumer.seekToEnd(List.of(partition));
            expect(consumer.position(partition), 100L, "position at the end");
        }
    }

    private static void outOfRange() throws Exception {
        String topic = createTopic(1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 5);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
            while (System.nanoTime() < deadline) consumer.poll(Duration.ofMillis(200));
        } catch (OffsetOutOfRangeException error) {
            return;
        }
        throw new AssertionError("no OffsetOutOfRangeException");
    }

    private static void longPoll() throws Exception {
        String topic = createTopic(1, Map.of());
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("fetch.max.wait.ms", 10_000));
             KafkaProducer<byte[], byte[]> producer = producer(Map.of("linger.ms", 0))) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            consumer.poll(Duration.ofMillis(300));
            for (int i = 0; i < 5; i++) {
                long began = System.nanoTime();
                get(producer.send(record(topic, null, "" + i, null)));
                expect(consumer.poll(Duration.ofSeconds(5)).count(), 1, "records");
                long millis = (System.nanoTime() - began) / 1_000_000;
                need(i == 0 || millis < 1000, "woken after " + millis + " ms");
            }
        }
    }

    private static void autoCreate() throws Exception {
        String topic = freshName("java-auto");
        send(topic, "first");
        expect(text(readAll(topic).get(0).value()), "first", "value");
    }
}
