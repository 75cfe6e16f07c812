import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.store.OffsetStore;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** SQL92 subscriptions; the broker needs enablePropertyFilter=true. */
@SuppressWarnings("deprecation")
final class Filtering {
    private Filtering() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("sql_filter", Filtering::push);
        all.put("sql_retry", Filtering::retry);
        all.put("sql_pull_consumer", Filtering::pull);
        all.put("sql_long_polling", Filtering::longPolling);
        all.put("sql_lite_pull", Filtering::litePull);
        all.put("sql_refused", Filtering::refused);
    }

    /** Messages from before and after the subscription; offsets advance over messages that do not match. */
    private static void push(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        Set<String> expected = new TreeSet<>();
        send(cluster, topic, 0, 40, expected);
        DefaultMQPushConsumer consumer = cluster.consumer("consumer", topic, "*");
        consumer.subscribe(topic, MessageSelector.bySql("n > 5 AND odd IS NOT NULL AND TAGS IN ('TagA', 'TagB')"));
        Inbox inbox = new Inbox().listen(consumer);
        cluster.start(consumer);
        inbox.await(expected.size());
        send(cluster, topic, 40, 80, expected);
        inbox.await(expected.size());
        Thread.sleep(500); // for what must not come
        Check.sameSet("bodies", expected, inbox.bodies());
        DefaultMQPullConsumer reader = cluster.pullConsumer("reader");
        OffsetStore offsets = consumer.getDefaultMQPushConsumerImpl().getOffsetStore();
        Cluster.eventually("all offsets at the end", () -> {
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            for (MessageQueue queue : cluster.queues(topic)) {
                if (offsets.readOffset(queue, ReadOffsetType.READ_FROM_STORE) != reader.maxOffset(queue)) {
                    return false;
                }
            }
            return true;
        });
    }

    /** Every third has no tag of the two; every second is odd. */
    private static void send(Cluster cluster, String topic, int from, int to, Set<String> expected) throws Exception {
        for (int i = from; i < to; i++) {
            Message message = Cluster.message(topic, "Tag" + (char) ('A' + i % 3), i);
            if (i % 2 == 1) {
                message.putUserProperty("odd", "yes");
            }
            cluster.producer().send(message);
            if (i > 5 && i % 2 == 1 && i % 3 != 2) {
                expected.add("body " + i);
            }
        }
    }

    /** Retried messages are not filtered again: the retry topic is subscribed by tags. */
    private static void retry(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        DefaultMQPushConsumer consumer = cluster.consumer("consumer", topic, "*");
        consumer.subscribe(topic, MessageSelector.bySql("n BETWEEN 1 AND 2"));
        Inbox inbox = new Inbox();
        consumer.registerMessageListener((MessageListenerConcurrently) (arrived, context) -> {
            arrived.forEach(inbox::add);
            context.setDelayLevelWhenNextConsume(1);
            boolean isFirst = arrived.get(0).getReconsumeTimes() == 0;
            return isFirst ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        cluster.startForRetries(consumer);
        for (int i = 0; i < 4; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i));
        }
        List<String> got = new ArrayList<>();
        for (MessageExt message : inbox.await(4)) {
            got.add(new String(message.getBody()) + " " + message.getReconsumeTimes());
        }
        Check.sameSet("bodies and reconsumeTimes", List.of("body 1 0", "body 2 0", "body 1 1", "body 2 1"), got);
    }

    /** The pull carries the expression. */
    private static void pull(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        MessageQueue queue = cluster.queues(topic).get(0);
        for (int i = 0; i < 20; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i), queue);
        }
        DefaultMQPullConsumer consumer = puller(cluster, queue);
        PullResult some = consumer.pull(queue, MessageSelector.bySql("n >= 10 AND n <> 12"), 0, 4);
        Check.equal("status", PullStatus.FOUND, some.getPullStatus());
        Check.equal("bodies", List.of("body 10", "body 11", "body 13", "body 14"), Sending.bodies(some.getMsgFoundList()));
        Check.equal("nextBeginOffset", 15, some.getNextBeginOffset());
        PullResult none = consumer.pull(queue, MessageSelector.bySql("n > 100"), 3, 32);
        Check.equal("status", PullStatus.NO_MATCHED_MSG, none.getPullStatus());
        Check.equal("nextBeginOffset", 20, none.getNextBeginOffset());
        // A message without the property matches neither the expression nor its negation.
        cluster.producer().send(new Message(topic, "TagB", "untyped".getBytes()), queue);
        for (String expression : List.of("n > 0 OR n <= 0", "NOT (n > 0) AND n > 100", "n = 'x' OR TAGS > 1")) {
            PullResult untyped = consumer.pull(queue, MessageSelector.bySql(expression), 20, 32);
            Check.equal("status of " + expression, PullStatus.NO_MATCHED_MSG, untyped.getPullStatus());
        }
        PullResult untyped = consumer.pull(queue, MessageSelector.bySql("n IS NULL"), 0, 32);
        Check.equal("bodies", List.of("untyped"), Sending.bodies(untyped.getMsgFoundList()));
    }

    /** A consumer that knows the broker's version. */
    private static DefaultMQPullConsumer puller(Cluster cluster, MessageQueue queue) throws Exception {
        DefaultMQPullConsumer consumer = cluster.pullConsumer("puller");
        Cluster.eventually("a pull with SQL92", () -> consumer.pull(queue, MessageSelector.bySql("TRUE"), 0, 1) != null);
        return consumer;
    }

    /** A pull stays parked while other messages than its own arrive. */
    private static void longPolling(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        MessageQueue queue = cluster.queues(topic).get(0);
        DefaultMQPushConsumer consumer = cluster.consumer("consumer", topic, "*");
        consumer.subscribe(topic, MessageSelector.bySql("n = 100"));
        Inbox inbox = new Inbox().listen(consumer);
        cluster.start(consumer);
        DefaultMQPullConsumer puller = puller(cluster, queue);
        puller.setConsumerPullTimeoutMillis(20_000);
        CompletableFuture<PullResult> parked = CompletableFuture.supplyAsync(() -> {
            try {
                return Compat.pullBlocking(puller, queue, MessageSelector.bySql("n = 100"), 0, 32);
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        Thread.sleep(2_000); // the pull is parked by now
        for (int i = 0; i < 100; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i), queue);
        }
        Thread.sleep(500);
        boolean sleptOn = !parked.isDone();
        cluster.producer().send(Cluster.message(topic, "TagA", 100), queue);
        PullResult pulled = parked.get(90, TimeUnit.SECONDS);
        if (pulled != null) {
            Check.that("a pull was woken with nothing: " + pulled, sleptOn);
            Check.equal("status", PullStatus.FOUND, pulled.getPullStatus());
            Check.equal("bodies", List.of("body 100"), Sending.bodies(pulled.getMsgFoundList()));
            Check.equal("nextBeginOffset", 101, pulled.getNextBeginOffset());
        }
        inbox.await(1);
        Check.equal("pushed", List.of("body 100"), inbox.bodies());
    }

    private static void litePull(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        Set<String> expected = new TreeSet<>();
        send(cluster, topic, 0, 40, expected);
        DefaultLitePullConsumer consumer = cluster.litePullConsumer("lite");
        consumer.subscribe(topic, MessageSelector.bySql("n > 5 AND odd = 'yes' AND TAGS <> 'TagC'"));
        cluster.start(consumer);
        List<String> got = new ArrayList<>();
        Cluster.eventually("all that match", () -> {
            consumer.poll(500).forEach(message -> got.add(new String(message.getBody())));
            return got.size() >= expected.size();
        });
        Check.sameSet("bodies", expected, got);
    }

    /** SUBSCRIPTION_PARSE_FAILED, from start(). */
    private static void refused(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        for (String expression : List.of("a >", "a > 'x'", "a IN (1)", "a BETWEEN 2 AND 1", "a = 0.0", "a ~ 1", "*", "(".repeat(20_000))) {
            DefaultMQPushConsumer consumer = cluster.consumer("consumer", topic, "*");
            consumer.subscribe(topic, MessageSelector.bySql(expression));
            new Inbox().listen(consumer);
            try {
                Check.refused(23, consumer::start);
            } finally {
                consumer.shutdown();
            }
        }
    }
}
