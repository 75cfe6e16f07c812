import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Drives a RocketMQ cluster with the stock client: ClientCheck --namesrv HOST:PORT --scenario NAME,NAME|all|list [--except NAME,NAME] [--prefix UNIQUE] [--parallel N]
 *
 * Prints `PASS name` or `FAIL name: why` per scenario, then `N passed, N failed`. Exit code 0 if all passed, 1 if any failed,
 * 2 for a wrong command line. A scenario that does not end within 400 s has failed.
 */
public final class ClientCheck {
    interface Scenario {
        void run(Cluster cluster) throws Exception;
    }

    private static final long SCENARIO_TIMEOUT_MS = 400_000;
    private static final Map<String, Scenario> SCENARIOS = new LinkedHashMap<>();
    /** Not part of `all`: the caller restarts the broker between them (and gives both the same --prefix) or while they run. */
    private static final Map<String, Scenario> RESTART = new LinkedHashMap<>();

    static {
        Deaths.scenarios(SCENARIOS); // the longest first
        Consuming.scenarios(SCENARIOS);
        Batching.scenarios(SCENARIOS);
        Transactions.scenarios(SCENARIOS);
        Delaying.scenarios(SCENARIOS);
        Rewinding.scenarios(SCENARIOS);
        Sending.scenarios(SCENARIOS);
        Pulling.scenarios(SCENARIOS);
        Querying.scenarios(SCENARIOS);
        Filtering.scenarios(SCENARIOS);
        Groups.scenarios(SCENARIOS);
        Options.scenarios(SCENARIOS);
        Permissions.scenarios(SCENARIOS);
        Popping.scenarios(SCENARIOS);
        Refusals.scenarios(SCENARIOS);
        Retention.scenarios(SCENARIOS);
        Restart.scenarios(RESTART);
        Batching.aroundRestart(RESTART);
        Delaying.others(RESTART);
        Outages.scenarios(RESTART);
    }

    public static void main(String[] args) throws Exception {
        String namesrv = null;
        String wanted = null;
        java.util.Set<String> except = java.util.Set.of();
        String prefix = "check" + System.currentTimeMillis();
        int parallel = 4;
        for (int i = 0; i < args.length; i += 2) {
            String value = i + 1 < args.length ? args[i + 1] : usage("no value for " + args[i]);
            switch (args[i]) {
                case "--namesrv" -> namesrv = value;
                case "--scenario" -> wanted = value;
                case "--except" -> except = java.util.Set.of(value.split(","));
                case "--prefix" -> prefix = value;
                case "--parallel" -> parallel = Integer.parseInt(value);
                default -> usage("unknown option " + args[i]);
            }
        }
        if ("list".equals(wanted)) {
            SCENARIOS.keySet().forEach(System.out::println);
            RESTART.keySet().forEach(System.out::println);
            System.exit(0);
        }
        if (namesrv == null || wanted == null) {
            usage("--namesrv and --scenario are needed");
        }
        Queue<String> names = new ConcurrentLinkedQueue<>(wanted.equals("all") ? SCENARIOS.keySet() : java.util.List.of(wanted.split(",")));
        for (String name : names) {
            if (scenario(name) == null) {
                usage("no scenario " + name);
            }
        }
        for (String name : except) {
            System.out.println((names.remove(name) ? "SKIP " : "SKIP unknown ") + name);
        }
        if (!hasRoute(namesrv, prefix)) {
            System.exit(1);
        }
        System.exit(run(names, namesrv, prefix, parallel));
    }

    /** Prints one FAIL if there is no cluster; without it every scenario would time out by itself. */
    private static boolean hasRoute(String namesrv, String prefix) {
        RESTART.put("route", cluster -> Cluster.eventually("a route for TBW102 from " + namesrv,
            () -> !cluster.producer().fetchPublishMessageQueues("TBW102").isEmpty()));
        return runOne("route", namesrv, prefix);
    }

    /** The scenarios mostly wait, so several run at a time. */
    private static int run(Queue<String> names, String namesrv, String prefix, int parallel) throws InterruptedException {
        AtomicInteger passed = new AtomicInteger();
        AtomicInteger failed = new AtomicInteger();
        Thread[] workers = new Thread[parallel];
        for (int i = 0; i < parallel; i++) {
            workers[i] = new Thread(() -> {
                for (String name = names.poll(); name != null; name = names.poll()) {
                    (runOne(name, namesrv, prefix) ? passed : failed).incrementAndGet();
                }
            });
            workers[i].start();
        }
        for (Thread worker : workers) {
            worker.join();
        }
        System.out.println(passed + " passed, " + failed + " failed");
        return failed.get() == 0 ? 0 : 1;
    }

    private static boolean runOne(String name, String namesrv, String prefix) {
        String[] verdict = new String[1];
        long begin = System.nanoTime();
        Thread thread = new Thread(() -> {
            try (Cluster cluster = new Cluster(namesrv, prefix, name)) {
                scenario(name).run(cluster);
                verdict[0] = cluster.note;
            } catch (Throwable e) {
                verdict[0] = "FAIL " + name + ": " + oneLine(e);
            }
        }, name);
        thread.setDaemon(true);
        thread.start();
        try {
            thread.join(SCENARIO_TIMEOUT_MS);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
        if (thread.isAlive()) {
            verdict[0] = "FAIL " + name + ": did not end within " + SCENARIO_TIMEOUT_MS + " ms, is at " + place(thread.getStackTrace());
            thread.interrupt();
        }
        boolean passed = !verdict[0].startsWith("FAIL");
        long seconds = (System.nanoTime() - begin) / 1_000_000_000;
        System.out.println(passed ? "PASS " + name + " (" + seconds + " s" + verdict[0] + ")" : verdict[0]);
        return passed;
    }

    private static Scenario scenario(String name) {
        return SCENARIOS.getOrDefault(name, RESTART.get(name));
    }

    private static String oneLine(Throwable e) {
        String text = (e instanceof AssertionError ? String.valueOf(e.getMessage()) : e.toString()).replaceAll("\\s+", " ");
        return (text.length() > 500 ? text.substring(0, 500) + "..." : text) + " at " + place(e.getStackTrace());
    }

    /** The frames in our own classes, which have no package. */
    private static String place(StackTraceElement[] stack) {
        StringBuilder place = new StringBuilder();
        for (StackTraceElement frame : stack) {
            if (!frame.getClassName().contains(".") && !frame.getClassName().equals("Check") && !frame.getClassName().startsWith("ClientCheck")) {
                place.append(place.length() == 0 ? "" : " < ").append(frame.getFileName()).append(':').append(frame.getLineNumber());
            }
        }
        return place.toString();
    }

    private static String usage(String why) {
        System.err.println(why + "\nusage: ClientCheck --namesrv HOST:PORT --scenario NAME,NAME|all|list [--except NAME,NAME] [--prefix UNIQUE] [--parallel N]");
        System.exit(2);
        return null;
    }
}
