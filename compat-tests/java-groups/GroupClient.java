import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client's consumers in groups, of both protocols. Arguments: Kafka address [part of a sentence]. */
public final class GroupClient {
    private static final int PORTION = 100;
    static final Map<String, Object> EAGER =
        Map.of("group.protocol", "classic", "partition.assignment.strategy", RangeAssignor.class.getName());
    static final Map<String, Object> COOPERATIVE =
        Map.of("group.protocol", "classic", "partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
    static final Map<String, Object> UNIFORM = Map.of("group.protocol", "consumer", "group.remote.assignor", "uniform");
    static final Map<String, Object> RANGE = Map.of("group.protocol", "consumer", "group.remote.assignor", "range");
    static String address;
    static Admin admin;

    private GroupClient() {}

    public static void main(String[] arguments) {
        address = arguments[0];
        admin = Admin.create(Map.of("bootstrap.servers", address, "default.api.timeout.ms", "30000"));
        Checks checks = new Checks();
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            checks.add("keyed " + codec + " records with headers come back in order", () -> roundTrip(codec));
        }
        checks.add("offsets are found by time", GroupClient::offsetsByTime);
        Map.of("eager range", EAGER, "cooperative sticky", COOPERATIVE, "KIP-848 uniform", UNIFORM, "KIP-848 range", RANGE)
            .entrySet().stream().sorted(Map.Entry.comparingByKey()).forEach(kind -> checks.add(
                "two " + kind.getKey() + " members share a topic, one leaves, a third resumes: every record once",
                () -> groupOfTwo(kind.getValue(), kind.getKey().startsWith("coop"))));
        checks.add("a member that dies is replaced after its session", GroupClient::deadMember);
        for (Map<String, Object> settings : List.of(COOPERATIVE, UNIFORM)) {
            String kind = settings == UNIFORM ? "KIP-848" : "classic";
            checks.add("a static " + kind + " member comes back to its partitions without a rebalance", () -> staticMember(settings));
            checks.add("a " + kind + " pattern finds new topics, and new partitions are assigned",
                () -> pattern(settings, Pattern::compile));
        }
        brokersPattern().ifPresent(type -> checks.add("a pattern that the broker matches does the same",
            () -> pattern(UNIFORM, expression -> type.getConstructor(String.class).newInstance(expression))));
        checks.add("a group goes from classic to KIP-848 and back, member by member", GroupClient::migration);
        for (var kind : Map.of("eager", EAGER, "cooperative", COOPERATIVE).entrySet()) {
            checks.add("three " + kind.getKey() + " members are rolled to KIP-848 and back: every record once",
                () -> roll(kind.getValue()));
        }
        AdminGroups.addTo(checks);
        int failed = checks.run(arguments.length > 1 ? arguments[1] : "");
        admin.close(Duration.ofSeconds(2));
        System.exit(failed == 0 ? 0 : 1);
    }

    // --- what the checks are written with

    static String createTopic(String purpose, int partitions) throws Exception {
        String name = Checks.freshName(purpose);
        Checks.get(admin.createTopics(Set.of(new NewTopic(name, Optional.of(partitions), Optional.empty()))).all());
        return name;
    }

    static Map<String, Object> settings(String group, Map<String, Object> more) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", address, "group.id", group,
            "auto.offset.reset", "earliest", "enable.auto.commit", false, "metadata.max.age.ms", 1000));
        all.putAll(more);
        if ("classic".equals(all.get("group.protocol"))) all.putIfAbsent("heartbeat.interval.ms", 500);
        return all;
    }

    /** Values first to end - 1, by keys; codec null leaves the client's default. */
    static void produce(String topic, String codec, int first, int end) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", address, "compression.type", codec, "linger.ms", 20);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            List<java.util.concurrent.Future<?>> acks = new ArrayList<>();
            for (int i = first; i < end; i++) {
                var record = new ProducerRecord<>(topic, "key-" + i % 17, String.valueOf(i));
                record.headers().add("trace", ("header-" + i).getBytes(StandardCharsets.UTF_8));
                acks.add(producer.send(record));
            }
            for (var ack : acks) Checks.get(ack);
        }
    }

    private static void roundTrip(String codec) throws Exception {
        String topic = createTopic("codec", 1);
        produce(topic, codec, 0, 200);
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        try (var consumer = new KafkaConsumer<>(settings("unused", Map.of()), new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(Set.of(new TopicPartition(topic, 0)));
            Checks.until("all records came", () -> {
                consumer.poll(Duration.ofMillis(100)).forEach(records::add);
                return records.size() >= 200;
            });
        }
        for (int i = 0; i < 200; i++) {
            var record = records.get(i);
            String told = record.offset() + " " + record.key() + " " + record.value() + " "
                + new String(record.headers().lastHeader("trace").value(), StandardCharsets.UTF_8);
            Checks.expect(told, i + " key-" + i % 17 + " " + i + " header-" + i, "record");
        }
        Checks.expect(records.size(), 200, "records");
    }

    private static void offsetsByTime() throws Exception {
        TopicPartition partition = new TopicPartition(createTopic("times", 1), 0);
        long began = System.currentTimeMillis() - 3_600_000;
        try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", (Object) address), new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < 3; i++) {
                Checks.get(producer.send(new ProducerRecord<>(partition.topic(), 0, began + i * 60_000, "k", "v")));
            }
        }
        try (var consumer = new KafkaConsumer<>(settings("unused", Map.of()), new StringDeserializer(), new StringDeserializer())) {
            for (var wanted : Map.of(-5, 0L, 0, 0L, 1, 1L, 60, 1L, 61, 2L, 120, 2L).entrySet()) {
                var found = consumer.offsetsForTimes(Map.of(partition, began + wanted.getKey() * 1000)).get(partition);
                Checks.expect(found.offset(), wanted.getValue(), "offset at " + wanted.getKey() + " s");
            }
            Checks.expect(consumer.offsetsForTimes(Map.of(partition, began + 121_000)).get(partition), null, "after the last");
        }
    }

    // --- the checks

    private static void groupOfTwo(Map<String, Object> kind, boolean stays) throws Exception {
        String topic = createTopic("group", 4), group = Checks.freshName("members");
        Seen seen = new Seen();
        Member first = new Member(settings(group, kind), topic, seen::add).start();
        produce(topic, "none", 0, PORTION);
        seen.awaitOnceEach(PORTION);
        Member second = new Member(settings(group, kind), topic, seen::add).start();
        Checks.until("both have two partitions", () -> first.has(2) && second.has(2));
        produce(topic, "none", PORTION, 2 * PORTION);
        seen.awaitOnceEach(2 * PORTION);
        second.leave();
        Checks.until("the first has all partitions again", () -> first.has(4));
        if (stays) Checks.expect(first.revocations.get(), 1, "revocations of a cooperative member");
        produce(topic, "none", 2 * PORTION, 3 * PORTION);
        seen.awaitOnceEach(3 * PORTION);
        first.leave();
        Member third = new Member(settings(group, kind), topic, seen::add).start();
        produce(topic, "none", 3 * PORTION, 4 * PORTION);
        seen.awaitOnceEach(4 * PORTION);
        third.leave();
    }

    /** A static member that ends says nothing, as one that died; its session is what the group waits for. */
    private static void deadMember() throws Exception {
        String topic = createTopic("dead", 4), group = Checks.freshName("mortals");
        Map<String, Object> more = new HashMap<>(COOPERATIVE);
        more.put("session.timeout.ms", 6000);
        Seen seen = new Seen();
        Member first = new Member(settings(group, more), topic, seen::add).start();
        more.put("group.instance.id", "mortal");
        Member second = new Member(settings(group, more), topic, seen::add).start();
        Checks.until("both have two partitions", () -> first.has(2) && second.has(2));
        second.leave();
        produce(topic, "none", 0, PORTION);
        Checks.need(first.has(2), "the dead member's partitions went before its session did");
        seen.awaitOnceEach(PORTION);
        first.leave();
    }

    private static void staticMember(Map<String, Object> kind) throws Exception {
        String topic = createTopic("static", 4), group = Checks.freshName("instances");
        Seen seen = new Seen();
        Member first = instance(0, group, topic, kind, seen), second = instance(1, group, topic, kind, seen);
        Checks.until("both have two partitions", () -> first.has(2) && second.has(2));
        Set<TopicPartition> before = second.assigned();
        int revocations = first.revocations.get();
        second.leave();
        Member again = instance(1, group, topic, kind, seen);
        Checks.until("it has its partitions again", () -> again.has(2));
        Checks.expect(again.assigned(), before, "partitions");
        produce(topic, "none", 0, PORTION);
        seen.awaitOnceEach(PORTION);
        Checks.expect(first.revocations.get(), revocations, "revocations of the other member");
        first.leave();
        again.leave();
    }

    private static Member instance(int number, String group, String topic, Map<String, Object> kind, Seen seen) {
        Map<String, Object> more = new HashMap<>(kind);
        more.put("group.instance.id", "instance-" + number);
        return new Member(settings(group, more), topic, seen::add).start();
    }

    private interface PatternMaker {
        Object make(String expression) throws ReflectiveOperationException;
    }

    /** What Java 4.x has for it. */
    private static Optional<Class<?>> brokersPattern() {
        try {
            return Optional.of(Class.forName("org.apache.kafka.clients.consumer.SubscriptionPattern"));
        } catch (ClassNotFoundException older) {
            return Optional.empty();
        }
    }

    private static void pattern(Map<String, Object> kind, PatternMaker maker) throws Exception {
        String topic = createTopic("pattern", 1);
        Seen seen = new Seen();
        Member member = new Member(settings(Checks.freshName("readers"), kind), maker.make(topic + ".*"), seen::add).start();
        Checks.until("it has the topic", () -> member.has(1));
        Checks.get(admin.createTopics(Set.of(new NewTopic(topic + "-more", Optional.of(2), Optional.empty()))).all());
        Checks.until("it has the new topic too", () -> member.has(3));
        Checks.get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
        Checks.until("it has the new partitions too", () -> member.has(5));
        produce(topic, "none", 0, PORTION);
        seen.awaitOnceEach(PORTION);
        member.leave();
    }

    private static void migration() throws Exception {
        String topic = createTopic("migration", 4), group = Checks.freshName("migrants");
        Seen seen = new Seen();
        Member classic = new Member(settings(group, EAGER), topic, seen::add).start();
        produce(topic, "none", 0, PORTION);
        seen.awaitOnceEach(PORTION);
        Member modern = new Member(settings(group, RANGE), topic, seen::add).start();
        Checks.until("both have two partitions", () -> classic.has(2) && modern.has(2));
        produce(topic, "none", PORTION, 2 * PORTION);
        seen.awaitOnceEach(2 * PORTION);
        classic.leave();
        Checks.until("the KIP-848 member has all", () -> modern.has(4));
        Member back = new Member(settings(group, EAGER), topic, seen::add).start();
        Checks.until("both have two partitions again", () -> back.has(2) && modern.has(2));
        modern.leave();
        Checks.until("the classic member has all", () -> back.has(4));
        produce(topic, "none", 2 * PORTION, 3 * PORTION);
        seen.awaitOnceEach(3 * PORTION);
        back.leave();
    }

    /** One member after the other is replaced by one of the other protocol, and each time all have their share. */
    private static void roll(Map<String, Object> kind) throws Exception {
        String topic = createTopic("roll", 6), group = Checks.freshName("rolled");
        Seen seen = new Seen();
        Member[] members = new Member[3];
        for (int i = 0; i < 3; i++) members[i] = new Member(settings(group, kind), topic, seen::add).start();
        int end = 0;
        for (Map<String, Object> next : List.of(UNIFORM, kind)) {
            for (int i = 0; i < 3; i++) {
                Checks.until("all have two partitions", () -> members[0].has(2) && members[1].has(2) && members[2].has(2));
                produce(topic, "none", end, end + PORTION);
                end += PORTION;
                seen.awaitOnceEach(end);
                members[i].leave();
                members[i] = new Member(settings(group, next), topic, seen::add).start();
            }
        }
        Checks.until("all have two partitions again", () -> members[0].has(2) && members[1].has(2) && members[2].has(2));
        produce(topic, "none", end, end + PORTION);
        seen.awaitOnceEach(end + PORTION);
        for (Member member : members) member.leave();
    }
}
