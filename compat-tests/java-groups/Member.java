import java.time.Duration;
import java.util.Collection;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BiConsumer;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** A consumer on a thread of its own: it commits what it polled, then tells of it. */
final class Member implements ConsumerRebalanceListener {
    private final KafkaConsumer<String, String> consumer;
    private final BiConsumer<Member, ConsumerRecord<String, String>> got;
    private final Thread thread;
    private volatile Set<TopicPartition> assigned = Set.of();
    private volatile ConsumerGroupMetadata metadata;
    private volatile boolean stopping;
    private volatile Exception failure;
    /** How often partitions were taken from it. */
    final AtomicInteger revocations = new AtomicInteger();

    Member(Map<String, Object> settings, Object topic, BiConsumer<Member, ConsumerRecord<String, String>> got) {
        this.consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
        this.got = got;
        this.thread = new Thread(() -> live(topic));
    }

    Member start() {
        thread.start();
        return this;
    }

    private void live(Object topic) {
        try (consumer) {
            subscribe(topic);
            while (!stopping) {
                var records = consumer.poll(Duration.ofMillis(100));
                metadata = consumer.groupMetadata();
                assigned = Set.copyOf(consumer.assignment());
                if (records.isEmpty()) continue;
                consumer.commitSync();
                records.forEach(record -> got.accept(this, record));
            }
        } catch (WakeupException stopped) {
            // asked to end
        } catch (Exception error) {
            failure = error;
        }
    }

    /** To a name, to a pattern that the client matches, or (Java 4.x) to one that the broker matches. */
    private void subscribe(Object topic) throws ReflectiveOperationException {
        if (topic instanceof String) consumer.subscribe(Set.of((String) topic), this);
        else if (topic instanceof Pattern) consumer.subscribe((Pattern) topic, this);
        else KafkaConsumer.class.getMethod("subscribe", topic.getClass(), ConsumerRebalanceListener.class).invoke(consumer, topic, this);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {}

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        if (!partitions.isEmpty()) revocations.incrementAndGet();
    }

    Set<TopicPartition> assigned() {
        return assigned;
    }

    ConsumerGroupMetadata metadata() {
        return metadata;
    }

    boolean has(int count) {
        if (failure != null) throw new AssertionError("a member failed: " + failure);
        return assigned.size() == count;
    }

    /** Leaves the group, unless it is a static member. */
    void leave() throws InterruptedException {
        stopping = true;
        thread.join(20_000);
        if (failure != null) throw new AssertionError("a member failed: " + failure);
        Checks.need(!thread.isAlive(), "a member did not end in 20 s");
    }
}
