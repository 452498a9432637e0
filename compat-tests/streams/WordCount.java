import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

/**
 * A word count with a state store, at least once: its repartition and changelog topics, two instances, one that leaves,
 * and one that restores its counts from the changelog alone. Arguments: Kafka address.
 */
public final class WordCount {
    private static final List<String> WORDS = List.of("kafka", "without", "disks", "counts", "words");
    private static String address;
    private static Path folder;
    private static String application;
    private static int instances;

    private WordCount() {}

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        folder = Files.createTempDirectory("compat-streams-");
        application = "words-" + ProcessHandle.current().pid() + "-" + System.currentTimeMillis();
        String sentence = "a word count goes on over a second instance, its end, and a restart without local state";
        int code = 0;
        try {
            run();
            System.out.println("ok   " + sentence);
        } catch (Exception | AssertionError error) {
            System.out.println("FAIL " + sentence + ": " + String.valueOf(error).replace('\n', ' '));
            code = 1;
        } finally {
            try (var files = Files.walk(folder)) {
                files.sorted(Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
            }
        }
        Runtime.getRuntime().halt(code);
    }

    private static void run() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", (Object) address))) {
            admin.createTopics(List.of(new NewTopic(input(), Optional.of(2), Optional.empty()),
                new NewTopic(output(), Optional.of(2), Optional.empty()))).all().get();
            KafkaStreams first = start();
            int lines = 0;
            lines = writeLines(lines, "one instance");
            KafkaStreams second = start();
            until("both instances have tasks", () -> tasks(first) > 0 && tasks(second) > 0);
            lines = writeLines(lines, "two instances");
            second.close(Duration.ofSeconds(30));
            until("the first has all tasks", () -> tasks(first) == 4);
            lines = writeLines(lines, "one left");
            first.close(Duration.ofSeconds(30));
            KafkaStreams third = start();
            lines = writeLines(lines, "restored");
            third.close(Duration.ofSeconds(30));
            Set<String> topics = admin.listTopics().names().get();
            for (String kind : List.of("counts-changelog", "counts-repartition")) {
                if (!topics.contains(application + "-" + kind)) throw new AssertionError("no topic " + kind);
            }
        }
    }

    private static String input() {
        return application + "-input";
    }

    private static String output() {
        return application + "-output";
    }

    private static int tasks(KafkaStreams streams) {
        return streams.metadataForLocalThreads().stream().mapToInt(thread -> thread.activeTasks().size()).sum();
    }

    private static KafkaStreams start() throws InterruptedException {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(input(), Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("counts", Serdes.String(), Serdes.String()))
            .count(Materialized.as("counts"))
            .toStream().to(output(), Produced.with(Serdes.String(), Serdes.Long()));
        Properties settings = new Properties();
        settings.putAll(Map.of("application.id", application, "bootstrap.servers", address,
            "state.dir", folder.resolve("instance-" + ++instances).toString(), "processing.guarantee", "at_least_once",
            "commit.interval.ms", 200, "consumer.auto.offset.reset", "earliest", "consumer.session.timeout.ms", 10_000,
            "default.key.serde", Serdes.StringSerde.class, "default.value.serde", Serdes.StringSerde.class));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.start();
        until("an instance runs", () -> streams.state() == KafkaStreams.State.RUNNING);
        return streams;
    }

    /** A hundred lines more, each with every word; every word's newest count in the output must come to the number of lines. */
    private static int writeLines(int before, String step) throws Exception {
        try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", (Object) address), new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < 100; i++) producer.send(new ProducerRecord<>(input(), "line-" + i, String.join(" ", WORDS)));
        }
        int lines = before + 100;
        Map<String, Long> counts = new TreeMap<>(), wanted = new HashMap<>();
        WORDS.forEach(word -> wanted.put(word, (long) lines));
        try (var consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", (Object) address), new StringDeserializer(), new LongDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>(List.of(new TopicPartition(output(), 0), new TopicPartition(output(), 1)));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            until(step + ": each word is counted " + lines + " times", () -> {
                consumer.poll(Duration.ofMillis(200)).forEach(record -> counts.put(record.key(), record.value()));
                return counts.equals(wanted);
            });
        } catch (AssertionError error) {
            throw new AssertionError(error.getMessage() + ", they are " + counts);
        }
        return lines;
    }

    private static void until(String what, BooleanSupplier condition) throws InterruptedException {
        long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > deadline) throw new AssertionError("waited in vain until " + what);
            Thread.sleep(50);
        }
    }
}
