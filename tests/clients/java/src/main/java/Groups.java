import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Groups over time: members that join and leave, retries, consumers that start at another position. */
final class Groups {
    private Groups() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("join_and_leave", Groups::joinAndLeave);
        all.put("dead_letter", Groups::deadLetter);
        all.put("orderly_takeover", Groups::orderlyTakeover);
        all.put("orderly_lock", Groups::orderlyLock);
        all.put("broadcasting_late", Groups::broadcastingLate);
        all.put("rewind_by_time", Groups::rewindByTime);
    }

    /** 1 to 8 members share 8 queues while messages arrive: none is skipped, and only messages in progress are repeated. */
    private static void joinAndLeave(Cluster cluster) throws Exception {
        String topic = cluster.topic(8);
        Inbox inbox = new Inbox();
        AtomicBoolean isOver = new AtomicBoolean();
        AtomicInteger sent = new AtomicInteger();
        Exception[] failure = new Exception[1];
        Thread sender = new Thread(() -> {
            try {
                while (!isOver.get()) {
                    cluster.producer().send(Cluster.message(topic, "TagA", sent.get()));
                    sent.incrementAndGet();
                    Thread.sleep(5);
                }
            } catch (Exception e) {
                failure[0] = e;
            }
        });
        sender.start();
        Deque<DefaultMQPushConsumer> members = new ArrayDeque<>();
        for (int change : new int[] {1, 1, 2, -1, 2, 3, -4, 1, -3}) {
            for (int i = 0; i < change; i++) {
                DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
                inbox.listen(consumer);
                members.add(cluster.start(consumer));
            }
            for (int i = 0; i > change; i--) {
                members.remove().shutdown();
            }
            Thread.sleep(1_000);
        }
        isOver.set(true);
        sender.join();
        if (failure[0] != null) {
            throw failure[0];
        }
        TreeSet<String> expected = new TreeSet<>(Sending.numbered(sent.get()));
        Cluster.eventually("all of " + sent.get() + " messages", () -> new TreeSet<>(inbox.bodies()).equals(expected));
        int repeated = inbox.messages().size() - sent.get();
        cluster.note = ", " + sent.get() + " messages, " + repeated + " of them repeated";
        Check.that("repeated " + repeated + " of " + sent.get(), repeated < sent.get() / 2);
    }

    /** RECONSUME_LATER until the limit of retries is reached. */
    private static void deadLetter(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        consumer.setMaxReconsumeTimes(2);
        Inbox inbox = new Inbox();
        consumer.registerMessageListener((MessageListenerConcurrently) (arrived, context) -> {
            arrived.forEach(inbox::add);
            context.setDelayLevelWhenNextConsume(1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        cluster.startForRetries(consumer);
        var result = cluster.producer().send(Cluster.message(topic, "TagA", 7));
        List<MessageExt> tries = inbox.await(3);
        for (int i = 0; i < 3; i++) {
            MessageExt message = tries.get(i);
            Check.equal("reconsumeTimes", i, message.getReconsumeTimes());
            Check.equal("topic, as the listener sees it", topic, message.getTopic());
            checkSent(message);
        }
        String dead = "%DLQ%" + cluster.name("group");
        DefaultMQPushConsumer reader = cluster.consumer("dlq_reader", dead, "TagA");
        Inbox letters = new Inbox().listen(reader);
        cluster.start(reader);
        MessageExt letter = letters.await(1).get(0);
        checkSent(letter);
        Check.equal("topic", dead, letter.getTopic());
        Check.equal("reconsumeTimes", 3, letter.getReconsumeTimes());
        Check.equal("message id", result.getMsgId(), letter.getMsgId());
        Check.equal("RETRY_TOPIC", topic, letter.getProperty("RETRY_TOPIC"));
        Check.equal("ORIGIN_MESSAGE_ID", result.getOffsetMsgId(), letter.getProperty("ORIGIN_MESSAGE_ID"));
        Thread.sleep(1_500); // for what must not come
        Check.equal("tries", 3, inbox.messages().size());
        Check.equal("letters", 1, letters.messages().size());
    }

    private static void checkSent(MessageExt message) {
        Check.equal("body", "body 7", new String(message.getBody()));
        Check.equal("tags", "TagA", message.getTags());
        Check.equal("keys", "key-7", message.getKeys());
        Check.equal("property", "7", message.getUserProperty("n"));
    }

    /** The first consumer stops in the middle of its queues; another continues at its offsets, in order. */
    private static void orderlyTakeover(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        List<MessageQueue> queues = cluster.queues(topic);
        int n = queues.size();
        for (int i = 0; i < 30 * n; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i), queues.get(i % n));
        }
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer first = ordered(cluster, topic, inbox, 50);
        inbox.await(10);
        DefaultMQPushConsumer second = ordered(cluster, topic, inbox, 0);
        // A client holds a queue back for up to 20 s while it is being consumed (UNLOCK_DELAY_TIME_MILLS), then rebalances every 20 s.
        Cluster.eventually("each has half of the queues", 65, () ->
            Cluster.assigned(first, topic).size() == n / 2 && Cluster.assigned(second, topic).size() == n / 2);
        first.shutdown();
        for (int i = 30 * n; i < 40 * n; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i), queues.get(i % n));
        }
        Cluster.eventually("all messages", () -> new TreeSet<>(inbox.bodies()).size() == 40 * n);
        Map<Integer, Integer> last = new TreeMap<>();
        for (MessageExt message : inbox.messages()) {
            int number = Integer.parseInt(message.getUserProperty("n"));
            int before = last.getOrDefault(number % n, number % n - n);
            // The message in progress when its consumer stopped is delivered again, and all messages behind it.
            Check.that("body " + number + " behind body " + before, number <= before + n);
            last.put(number % n, number);
        }
        last.forEach((place, number) -> Check.equal("last of queue " + place, 39 * n + place, number));
    }

    /** One message at a time, in order. */
    static DefaultMQPushConsumer ordered(Cluster cluster, String topic, Inbox inbox, long pauseMs) throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.registerMessageListener((MessageListenerOrderly) (arrived, context) -> {
            arrived.forEach(inbox::add);
            try {
                Thread.sleep(pauseMs);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        return cluster.start(consumer);
    }

    /** A queue that is locked by another client is not consumed until it is unlocked. */
    private static void orderlyLock(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        MessageQueue queue = cluster.queues(topic).get(0);
        String group = cluster.name("group");
        Request request = new Request(cluster);
        byte[] ghost = lock(group, "ghost", queue);
        Check.that("the ghost's lock", request.ask(queue, 41, Map.of(), ghost).bodyText().contains(topic));
        Check.that("another's lock", !request.ask(queue, 41, Map.of(), lock(group, "other", queue)).bodyText().contains(topic));
        cluster.producer().send(Cluster.message(topic, "TagA", 0), queue);
        Inbox inbox = new Inbox();
        ordered(cluster, topic, inbox, 0);
        Thread.sleep(3_000);
        Check.equal("messages of a queue that is locked", 0, inbox.messages().size());
        request.ask(queue, 42, Map.of(), ghost);
        inbox.await(1);
    }

    private static byte[] lock(String group, String client, MessageQueue queue) {
        String text = "{\"consumerGroup\":\"" + group + "\",\"clientId\":\"" + client + "\",\"mqSet\":[{\"topic\":\"" + queue.getTopic()
            + "\",\"brokerName\":\"" + queue.getBrokerName() + "\",\"queueId\":" + queue.getQueueId() + "}]}";
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Each member has its own position: a new member begins where its settings say. */
    private static void broadcastingLate(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        Map<ConsumeFromWhere, Inbox> inboxes = new HashMap<>();
        send(cluster, topic, 0, 10);
        for (ConsumeFromWhere where : List.of(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET)) {
            DefaultMQPushConsumer consumer = cluster.consumer("broadcast", topic, "*");
            consumer.setConsumeFromWhere(where);
            Compat.broadcast(consumer);
            inboxes.put(where, new Inbox().listen(consumer));
            cluster.start(consumer);
            Cluster.eventually("all queues", () -> Cluster.assigned(consumer, topic).size() == cluster.queues(topic).size());
        }
        send(cluster, topic, 10, 20);
        List<String> late = new ArrayList<>(Sending.numbered(20));
        late.removeAll(Sending.numbered(10));
        inboxes.get(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET).await(20);
        inboxes.get(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET).await(10);
        Thread.sleep(500); // for what must not come
        Check.sameSet("from the first", Sending.numbered(20), inboxes.get(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET).bodies());
        Check.sameSet("from the last", late, inboxes.get(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET).bodies());
    }

    /** Everything from a chosen time on is delivered again. */
    private static void rewindByTime(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        send(cluster, topic, 0, 10);
        Thread.sleep(100);
        long chosen = System.currentTimeMillis();
        Thread.sleep(100);
        send(cluster, topic, 10, 20);
        DefaultLitePullConsumer consumer = cluster.start(cluster.litePullConsumer("lite"));
        consumer.assign(cluster.queues(topic));
        List<String> first = new ArrayList<>();
        poll(consumer, first, 20); // to the end before the seek, as in lite_pull_assign
        Check.sameSet("everything", Sending.numbered(20), first);
        for (MessageQueue queue : cluster.queues(topic)) {
            consumer.seek(queue, consumer.offsetForTimestamp(queue, chosen));
        }
        List<String> late = new ArrayList<>(Sending.numbered(20));
        late.removeAll(Sending.numbered(10));
        List<String> again = new ArrayList<>();
        poll(consumer, again, 10);
        Check.sameSet("from the chosen time", late, again);
    }

    private static void poll(DefaultLitePullConsumer consumer, List<String> bodies, int n) throws Exception {
        Cluster.eventually(n + " messages", () -> {
            consumer.poll(300).forEach(message -> bodies.add(new String(message.getBody())));
            return bodies.size() >= n;
        });
    }

    private static void send(Cluster cluster, String topic, int from, int to) throws Exception {
        for (int i = from; i < to; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i));
        }
    }
}
