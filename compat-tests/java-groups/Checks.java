import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/** Checks by their sentences, in order: each prints {@code ok <sentence>} or {@code FAIL <sentence>: <why>}. */
final class Checks {
    static final long WAIT_S = 45;
    private static int names;
    private final Map<String, Check> checks = new LinkedHashMap<>();

    interface Check {
        void run() throws Exception;
    }

    void add(String sentence, Check check) {
        checks.put(sentence, check);
    }

    /** Runs those whose sentence contains {@code wanted}; how many failed. */
    int run(String wanted) {
        int failed = 0;
        for (Map.Entry<String, Check> check : checks.entrySet()) {
            if (check.getKey().contains(wanted) && !passes(check.getKey(), check.getValue())) failed++;
        }
        return failed;
    }

    private static boolean passes(String sentence, Check check) {
        try {
            check.run();
            System.out.println("ok   " + sentence);
            return true;
        } catch (Exception | AssertionError error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            String where = Arrays.stream(error.getStackTrace()).filter(frame -> frame.getFileName() != null
                && !frame.getClassName().contains(".") && !frame.getClassName().equals("Checks"))
                .map(frame -> frame.getFileName() + ":" + frame.getLineNumber()).findFirst().orElse("?");
            System.out.println("FAIL " + sentence + ": " + String.valueOf(cause).replace('\n', ' ') + " (" + where + ")");
            return false;
        }
    }

    static String freshName(String purpose) {
        return purpose + "-" + ProcessHandle.current().pid() + "-" + System.currentTimeMillis() + "-" + ++names;
    }

    static void expect(Object actual, Object wanted, String what) {
        if (!Objects.equals(actual, wanted)) throw new AssertionError(what + ": " + actual + ", expected " + wanted);
    }

    static void need(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    static void until(String what, BooleanSupplier condition) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
        while (!condition.getAsBoolean()) {
            need(System.nanoTime() < deadline, "waited in vain until " + what);
            Thread.sleep(20);
        }
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
}
