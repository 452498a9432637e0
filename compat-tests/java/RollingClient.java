import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collection;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.zip.CRC32;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A producer (idempotent, as it is by default) and an assigned consumer that run while agents come and go, and count every
 * error that the client reports to the application. Arguments: Kafka addresses, topic, partitions, records a second, run,
 * history file, the consumer's rack. When its standard input ends it stops sending, reads to the end, and prints {@code acked errors} and the errors a line each.
 *
 * <p>The history is that of compat-tests/checker/history.py.
 */
public final class RollingClient {
    private static final int DRAIN_S = 30;
    private static String topic;
    private static String run;
    private static BufferedWriter history;
    private static final AtomicLong ids = new AtomicLong();
    private static final AtomicLong acked = new AtomicLong();
    private static final StringBuffer errors = new StringBuffer();
    private static final AtomicLong errorCount = new AtomicLong();
    private static volatile boolean stopped;

    private RollingClient() {}

    public static void main(String[] arguments) throws Exception {
        String address = arguments[0];
        topic = arguments[1];
        int partitions = Integer.parseInt(arguments[2]);
        double rate = Double.parseDouble(arguments[3]);
        run = arguments[4];
        history = Files.newBufferedWriter(Path.of(arguments[5]));
        event("java", "client", "ok", ids.getAndIncrement(), "\"idempotent\":true");
        event("java-follower", "client", "ok", ids.getAndIncrement(), "\"follows\":true");
        Thread producer = new Thread(() -> produce(address, partitions, rate));
        String rack = arguments[6];
        Thread consumer = new Thread(() -> consume(address, rack, partitions, producer));
        producer.start();
        consumer.start();
        while (System.in.read() >= 0) {}
        stopped = true;
        producer.join();
        consumer.join();
        history.close();
        System.out.println(acked.get() + " " + errorCount.get());
        System.out.print(errors);
    }

    private static void produce(String address, int partitions, double rate) {
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(Map.of("bootstrap.servers", address),
                new ByteArraySerializer(), new ByteArraySerializer())) {
            long began = System.nanoTime();
            for (long sent = 0; !stopped; sent++) {
                long early = began + (long) (sent / rate * 1e9) - System.nanoTime();
                if (early > 0) Thread.sleep(early / 1_000_000, (int) (early % 1_000_000));
                send(producer, (int) (sent % partitions), sent / partitions);
            }
        } catch (Exception error) {
            report("producer", error);
        }
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, int partition, long sequence) {
        String value = encode(partition, sequence);
        long id = ids.getAndIncrement();
        event("java", "send", "invoke", id, "\"topic\":\"" + topic + "\",\"partition\":" + partition + ",\"value\":\"" + value
            + "\",\"stream\":\"all\"");
        producer.send(new ProducerRecord<>(topic, partition, null, value.getBytes(StandardCharsets.US_ASCII)), (where, error) -> {
            if (error == null) {
                acked.incrementAndGet();
                event("java", "send", "ok", id, "\"offset\":" + where.offset());
            } else {
                report("send", error);
                event("java", "send", "info", id, "\"error\":\"" + error.getClass().getSimpleName() + "\"");
            }
        });
    }

    private static String encode(int partition, long sequence) {
        String body = run + "/" + topic + "/" + partition + "/java/" + sequence;
        CRC32 crc = new CRC32();
        crc.update(body.getBytes(StandardCharsets.US_ASCII));
        String whole = String.format(Locale.ROOT, "%s/%08x", body, crc.getValue());
        return whole + ".".repeat(Math.max(0, 80 - whole.length()));
    }

    private static void consume(String address, String rack, int partitions, Thread producer) {
        Map<String, Object> settings = Map.of("bootstrap.servers", address, "auto.offset.reset", "none", "enable.auto.commit", false,
            "client.rack", rack);
        Collection<TopicPartition> all = IntStream.range(0, partitions).mapToObj(p -> new TopicPartition(topic, p)).toList();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(all);
            all.forEach(partition -> consumer.seek(partition, 0));
            event("java-follower", "assign", "ok", ids.getAndIncrement(), "\"topic\":\"" + topic + "\",\"positions\":{"
                + IntStream.range(0, partitions).mapToObj(p -> "\"" + p + "\":0").collect(Collectors.joining(",")) + "}");
            while (producer.isAlive()) poll(consumer);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            long deadline = System.nanoTime() + DRAIN_S * 1_000_000_000L;
            while (all.stream().anyMatch(p -> consumer.position(p) < ends.get(p)) && System.nanoTime() < deadline) poll(consumer);
        } catch (Exception error) {
            report("consumer", error);
        }
    }

    private static void poll(KafkaConsumer<byte[], byte[]> consumer) {
        long id = ids.getAndIncrement();
        event("java-follower", "poll", "invoke", id, "\"topic\":\"" + topic + "\"");
        ConsumerRecords<byte[], byte[]> records;
        try {
            records = consumer.poll(Duration.ofMillis(100));
        } catch (RuntimeException error) {
            report("poll", error);
            return;
        }
        StringBuilder list = new StringBuilder();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            list.append(list.isEmpty() ? "" : ",").append('[').append(record.partition()).append(',').append(record.offset())
                .append(",\"").append(new String(record.value(), StandardCharsets.US_ASCII)).append("\"]");
        }
        event("java-follower", "poll", "ok", id, "\"records\":[" + list + "]");
    }

    private static void report(String what, Exception error) {
        errorCount.incrementAndGet();
        if (errors.length() < 10_000) errors.append(what).append(": ").append(error).append('\n');
    }

    private static synchronized void event(String process, String op, String type, long id, String fields) {
        try {
            history.write(String.format(Locale.ROOT, "{\"at\":%.9f,\"process\":\"%s\",\"op\":\"%s\",\"type\":\"%s\",\"id\":%d,%s}%n",
                System.nanoTime() / 1e9, process, op, type, id, fields));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
