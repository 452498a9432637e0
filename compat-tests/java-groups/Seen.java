import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** Counts how often each value came. */
final class Seen {
    private final Map<String, Integer> times = new ConcurrentHashMap<>();

    void add(Member member, ConsumerRecord<String, String> record) {
        times.merge(record.value(), 1, Integer::sum);
    }

    void awaitOnceEach(int count) throws InterruptedException {
        Checks.until("all of " + count + " records came", () -> times.size() >= count);
        Checks.need(times.values().stream().allMatch(n -> n == 1), "a record came twice: " + times);
    }
}
