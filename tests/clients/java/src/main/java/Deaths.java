import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that are killed: each is a virtual machine of its own, so that it releases no locks and commits no offsets. */
final class Deaths {
    private Deaths() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("orderly_death", Deaths::orderly);
    }

    /** The queues of an orderly consumer that is killed stay locked for 60 s. Then another consumer continues, in order, without a gap. */
    private static void orderly(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        List<MessageQueue> queues = cluster.queues(topic);
        int n = queues.size();
        for (int i = 0; i < 200 * n; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i), queues.get(i % n));
        }
        List<Integer> consumed = new ArrayList<>();
        // It renews its locks every second, so that the 60 s begin with its death.
        Process doomed = new ProcessBuilder(ProcessHandle.current().info().command().orElseThrow(), "-Xmx128m", "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1", "-Drocketmq.client.rebalance.lockInterval=1000", "-Duser.home=" + System.getProperty("user.home"),
            "-Drocketmq.client.logRoot=" + System.getProperty("rocketmq.client.logRoot"), "-Drocketmq.client.logLevel=WARN",
            "-cp", System.getProperty("java.class.path"), "Deaths", cluster.namesrv(), cluster.shared(""), cluster.name("group"), topic)
            .redirectErrorStream(true).start();
        long killedAt;
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(doomed.getInputStream()))) {
            // It has locked each of the queues.
            while (consumed.size() < 10 * n || consumed.stream().map(number -> number % n).distinct().count() < n) {
                keep(lines.readLine(), consumed);
            }
            doomed.toHandle().destroyForcibly(); // kill -9; what it has printed can still be read.
            doomed.waitFor();
            killedAt = System.nanoTime();
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                keep(line, consumed);
            }
        } finally {
            doomed.destroyForcibly();
        }
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer heir = Groups.ordered(cluster, topic, inbox, 0);
        Cluster.eventually("a message for the heir", 90, () -> {
            heir.getDefaultMQPushConsumerImpl().doRebalance(); // It would try every 20 s.
            return !inbox.messages().isEmpty();
        });
        long seconds = (System.nanoTime() - killedAt) / 1_000_000_000;
        Check.that("the heir got a queue " + seconds + " s after the death", seconds >= 55);
        TreeSet<String> expected = new TreeSet<>(Sending.numbered(200 * n));
        Cluster.eventually("all messages", () -> {
            heir.getDefaultMQPushConsumerImpl().doRebalance();
            TreeSet<String> seen = new TreeSet<>(inbox.bodies());
            consumed.forEach(number -> seen.add("body " + number));
            return seen.equals(expected);
        });
        cluster.note = ", " + consumed.size() + " before the death, the next " + seconds + " s after it";
        Map<Integer, Integer> last = new TreeMap<>();
        for (int number : consumed) {
            Check.equal("next of queue " + number % n, last.getOrDefault(number % n, number % n - n) + n, number);
            last.put(number % n, number);
        }
        Map<Integer, Integer> next = new TreeMap<>();
        for (MessageExt message : inbox.messages()) {
            int number = Integer.parseInt(message.getUserProperty("n"));
            // It begins at the saved offsets of the dead consumer, never behind what that one had consumed.
            Check.that("first of queue " + number % n + ": " + number, next.containsKey(number % n) || number <= last.getOrDefault(number % n, number % n - n) + n);
            Check.equal("next of queue " + number % n, next.getOrDefault(number % n, number), number);
            next.put(number % n, number + n);
        }
    }

    private static void keep(String line, List<Integer> consumed) {
        Check.that("the doomed consumer has ended by itself", line != null);
        if (line.startsWith("body ")) {
            consumed.add(Integer.parseInt(line.substring(5)));
        }
    }

    /** The consumer that is killed: NAMESRV RUN GROUP TOPIC. Prints what it consumes. */
    public static void main(String[] args) {
        try {
            Cluster cluster = new Cluster(args[0], args[1], "doomed");
            // A start that does not get its route within 3 s fails for good.
            Cluster.eventually("a consumer", () -> start(cluster, args[2], args[3]));
        } catch (Throwable e) {
            e.printStackTrace();
            System.exit(1); // Its threads would live on.
        }
    }

    private static boolean start(Cluster cluster, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        cluster.ownClient(consumer, consumer::shutdown);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            System.out.println(new String(messages.get(0).getBody()));
            try {
                Thread.sleep(50);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        return true;
    }
}
