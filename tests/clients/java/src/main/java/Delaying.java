import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;

/** Delayed messages: by level, by a time of their own, or recalled. Prints how late they are delivered. */
final class Delaying {
    private Delaying() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("delay_levels", Delaying::levels);
        all.put("delay_times", Delaying::times);
        all.put("delay_level_and_time", Delaying::levelAndTime);
        all.put("delay_illegal_time", Delaying::illegalTime);
        all.put("recall_off", Delaying::recallOff);
    }

    /** `recall` needs recallMessageEnable=true, which is not the default, and the 5.x client; around a restart are the others. */
    static void others(Map<String, ClientCheck.Scenario> more) {
        more.put("recall", Delaying::recall);
        more.put("delays_before_restart", Delaying::beforeRestart);
        more.put("delays_after_restart", Delaying::afterRestart);
    }

    /** The levels 1, 2 and 3: 1 s, 5 s and 10 s. */
    private static void levels(Cluster cluster) throws Exception {
        Arrivals arrivals = new Arrivals(cluster);
        for (int level = 1; level <= 3; level++) {
            Message message = Cluster.message(arrivals.topic, "TagA", level);
            message.setDelayTimeLevel(level);
            arrivals.send(message, List.of(1_000, 5_000, 10_000).get(level - 1));
        }
        for (MessageExt got : arrivals.await()) {
            Check.equal("DELAY", got.getUserProperty("n"), got.getProperty("DELAY"));
            Check.equal("REAL_TOPIC", arrivals.topic, got.getProperty("REAL_TOPIC"));
        }
    }

    private static void times(Cluster cluster) throws Exception {
        Arrivals arrivals = new Arrivals(cluster);
        int n = 0;
        for (int ms : new int[] {1, 1_500, 2_345}) {
            arrivals.send(timed(arrivals.topic, n++, "TIMER_DELAY_MS", ms), ms);
        }
        arrivals.send(timed(arrivals.topic, n++, "TIMER_DELAY_SEC", 3), 3_000);
        arrivals.send(timed(arrivals.topic, n++, "TIMER_DELIVER_MS", System.currentTimeMillis() + 2_500), 2_400);
        arrivals.send(timed(arrivals.topic, n++, "TIMER_DELIVER_MS", System.currentTimeMillis() - 60_000), 0);
        Message all = timed(arrivals.topic, n++, "TIMER_DELAY_SEC", 4);
        MessageAccessor.putProperty(all, "TIMER_DELAY_MS", "1000");
        MessageAccessor.putProperty(all, "TIMER_DELIVER_MS", "1");
        arrivals.send(all, 4_000);
        for (MessageExt got : arrivals.await()) {
            boolean wasPast = got.getUserProperty("n").equals("5");
            Check.equal("TIMER_OUT_MS of " + got, !wasPast, got.getProperty("TIMER_OUT_MS") != null);
            Check.equal("TIMER_DEQUEUE_MS of " + got, !wasPast, got.getProperty("TIMER_DEQUEUE_MS") != null);
            Check.equal("REAL_TOPIC", wasPast ? null : arrivals.topic, got.getProperty("REAL_TOPIC"));
            Check.equal("REAL_QID", wasPast ? null : "0", got.getProperty("REAL_QID"));
        }
    }

    /** The level takes precedence. */
    private static void levelAndTime(Cluster cluster) throws Exception {
        Arrivals arrivals = new Arrivals(cluster);
        Message message = timed(arrivals.topic, 0, "TIMER_DELAY_SEC", 3_600);
        message.setDelayTimeLevel(1);
        arrivals.send(message, 1_000);
        Check.equal("TIMER_DELAY_SEC", null, arrivals.await().get(0).getProperty("TIMER_DELAY_SEC"));
    }

    private static void illegalTime(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        cluster.producer().setRetryTimesWhenSendFailed(0);
        Check.refused(13, () -> cluster.producer().send(timed(topic, 0, "TIMER_DELAY_MS", "soon")));
        Check.refused(13, () -> cluster.producer().send(timed(topic, 0, "TIMER_DELIVER_MS", "1.5")));
    }

    private static void recallOff(Cluster cluster) throws Exception {
        if (!hasRecall(cluster)) {
            return;
        }
        String topic = cluster.topic(1);
        String handle = handleOf(cluster.producer().send(timed(topic, 0, "TIMER_DELAY_MS", 1_000)));
        Check.refused(16, () -> takeBack(cluster, topic, handle));
        Cluster.eventually("the message", () -> cluster.read(topic).size() == 1);
    }

    private static void recall(Cluster cluster) throws Exception {
        Arrivals arrivals = new Arrivals(cluster);
        String topic = arrivals.topic;
        SendResult kept = arrivals.send(timed(topic, 0, "TIMER_DELAY_MS", 10_000), 10_000);
        SendResult taken = cluster.producer().send(timed(topic, 1, "TIMER_DELAY_MS", 10_000));
        SendResult sameTime = cluster.producer().send(timed(topic, 2, "TIMER_DELIVER_MS", System.currentTimeMillis() + 11_000));
        Check.equal("handle of a message without a time", null, handleOf(cluster.producer().send(Cluster.message(topic, "TagB", 3))));
        String[] parts = new String(java.util.Base64.getUrlDecoder().decode(handleOf(kept))).split(" ");
        Check.equal("version", "v1", parts[0]);
        Check.equal("topic", topic, parts[1]);
        Check.equal("broker", kept.getMessageQueue().getBrokerName(), parts[2]);
        Check.equal("message", kept.getMsgId(), parts[4]);

        Check.equal("taken back", taken.getMsgId(), takeBack(cluster, topic, handleOf(taken)));
        Check.equal("taken back", sameTime.getMsgId(), takeBack(cluster, topic, handleOf(sameTime)));
        Check.equal("taken back twice", taken.getMsgId(), takeBack(cluster, topic, handleOf(taken)));
        String past = "v1 " + topic + " " + parts[2] + " 1000 " + parts[4];
        Check.refused(604, () -> takeBack(cluster, topic, encode(past)));
        Check.refused(604, () -> takeBack(cluster, cluster.topic(cluster.name("other"), 1), handleOf(kept)));
        arrivals.await();
        Thread.sleep(3_000); // for what must not come
        Check.equal("messages with a time", 1, arrivals.inbox.messages().size());
    }

    /** Leaves messages that are due 20 s later, each with the time as its body. */
    private static void beforeRestart(Cluster cluster) throws Exception {
        String topic = cluster.topic(cluster.shared("delays"), 1);
        for (int i = 0; i < 20; i++) {
            long due = System.currentTimeMillis() + 20_000 + 100 * i;
            Message message = new Message(topic, "TagA", ("" + due).getBytes());
            MessageAccessor.putProperty(message, "TIMER_DELIVER_MS", "" + due);
            cluster.producer().send(message);
            Message leveled = new Message(topic, "TagA", ("" + (System.currentTimeMillis() + 30_000)).getBytes());
            leveled.setDelayTimeLevel(4);
            cluster.producer().send(leveled);
        }
        Check.equal("messages before their time", 0, cluster.read(topic).size());
    }

    private static void afterRestart(Cluster cluster) throws Exception {
        String topic = cluster.shared("delays");
        Cluster.eventually("all messages", () -> cluster.read(topic).size() >= 40);
        List<MessageExt> messages = cluster.read(topic);
        long latest = 0;
        for (MessageExt message : messages) {
            long late = message.getStoreTimestamp() - Long.parseLong(new String(message.getBody()));
            Check.that("message stored " + -late + " ms before its time", late >= 0);
            latest = Math.max(latest, late);
        }
        Check.equal("messages", 40, messages.size());
        cluster.note = ", late by " + latest + " ms at most";
    }

    private static Message timed(String topic, int n, String property, Object value) {
        Message message = Cluster.message(topic, "TagA", n);
        MessageAccessor.putProperty(message, property, value.toString());
        return message;
    }

    private static String encode(String text) {
        return java.util.Base64.getUrlEncoder().encodeToString(text.getBytes());
    }

    private static boolean hasRecall(Cluster cluster) throws Exception {
        for (java.lang.reflect.Method method : cluster.producer().getClass().getMethods()) {
            if (method.getName().equals("recallMessage")) {
                return true;
            }
        }
        return false;
    }

    private static String handleOf(SendResult result) throws Exception {
        return (String) result.getClass().getMethod("getRecallHandle").invoke(result);
    }

    private static String takeBack(Cluster cluster, String topic, String handle) throws Exception {
        try {
            return (String) cluster.producer().getClass().getMethod("recallMessage", String.class, String.class)
                .invoke(cluster.producer(), topic, handle);
        } catch (java.lang.reflect.InvocationTargetException e) {
            throw e.getCause() instanceof Exception cause ? cause : e;
        }
    }

    /** The messages that were sent, and when each arrived first. */
    private static final class Arrivals {
        final String topic;
        final Inbox inbox = new Inbox();
        private final Cluster cluster;
        private final Map<String, Long> due = new TreeMap<>();
        private final Map<String, Long> arrived = new TreeMap<>();

        Arrivals(Cluster cluster) throws Exception {
            this.cluster = cluster;
            topic = cluster.topic(1);
            DefaultMQPushConsumer consumer = cluster.consumer("consumer", topic, "TagA");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                long now = System.currentTimeMillis();
                for (MessageExt message : messages) {
                    synchronized (arrived) {
                        arrived.put(message.getUserProperty("n"), now);
                    }
                    inbox.add(message);
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            cluster.start(consumer);
            // Or the first of them waits for the consumer.
            Cluster.eventually("a queue for the consumer", () -> !Cluster.assigned(consumer, topic).isEmpty());
        }

        SendResult send(Message message, long delayMs) throws Exception {
            due.put(message.getUserProperty("n"), System.currentTimeMillis() + delayMs);
            return cluster.producer().send(message);
        }

        /** Checks that all messages arrived, each once and none before its time. */
        List<MessageExt> await() throws Exception {
            List<MessageExt> messages = inbox.await(due.size());
            List<String> late = new ArrayList<>();
            due.forEach((n, dueMs) -> {
                Check.that("message " + n + " has come", arrived.containsKey(n));
                long lateMs = arrived.get(n) - dueMs;
                Check.that("message " + n + " came " + -lateMs + " ms before its time", lateMs >= 0);
                late.add(lateMs + " ms");
            });
            cluster.note = ", late by " + String.join(", ", late);
            return messages;
        }
    }
}
