import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Push consumers and their groups. */
final class Consuming {
    private Consuming() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("rebalance", Consuming::rebalance);
        all.put("reconsume_later", Consuming::reconsumeLater);
        all.put("offsets_survive_restart", Consuming::offsetsSurviveRestart);
        all.put("send_and_consume", Consuming::sendAndConsume);
        all.put("consume_default_settings", Consuming::defaultSettings);
        all.put("orderly", Consuming::orderly);
        all.put("broadcasting", Consuming::broadcasting);
        all.put("long_polling", Consuming::longPolling);
        all.put("tag_filter", Consuming::tagFilter);
    }

    /** Every message is exactly what was sent, once, and the offsets of a queue are 0, 1, 2, ... */
    private static void sendAndConsume(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = cluster.consumer("consumer", topic, "*");
        inbox.listen(consumer);
        cluster.start(consumer);
        sendAndCheck(cluster, topic, inbox);
    }

    /** With nothing set but the name server: the timers as applications have them. */
    private static void defaultSettings(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        DefaultMQPushConsumer consumer = cluster.consumer("consumer", topic, "*");
        consumer.setPollNameServerInterval(30_000);
        consumer.setHeartbeatBrokerInterval(30_000);
        Inbox inbox = new Inbox().listen(consumer);
        cluster.start(consumer);
        sendAndCheck(cluster, topic, inbox);
    }

    private static void sendAndCheck(Cluster cluster, String topic, Inbox inbox) throws Exception {
        Map<String, SendResult> results = new HashMap<>();
        Map<String, Message> sent = new HashMap<>();
        long begin = System.currentTimeMillis();
        for (int i = 0; i < 40; i++) {
            Message message = Cluster.message(topic, "Tag" + i % 3, i);
            message.setKeys("key-" + i + " second-key");
            message.setFlag(i);
            message.putUserProperty("unicode", "grün 消息 " + i);
            SendResult result = cluster.producer().send(message);
            Check.equal("sendStatus", SendStatus.SEND_OK, result.getSendStatus());
            Check.that("offset message id " + result.getOffsetMsgId(), result.getOffsetMsgId().matches("[0-9A-F]{32}|[0-9A-F]{56}"));
            results.put(result.getMsgId(), result);
            sent.put(result.getMsgId(), message);
        }
        Map<MessageQueue, Set<Long>> offsets = new TreeMap<>();
        inbox.await(40);
        Thread.sleep(500); // for what must not come
        Check.equal("messages", 40, inbox.messages().size());
        for (MessageExt got : inbox.messages()) {
            Message message = sent.remove(got.getMsgId());
            Check.that("unknown or repeated message " + got, message != null);
            SendResult result = results.get(got.getMsgId());
            Check.equal("topic", topic, got.getTopic());
            Check.equal("body", new String(message.getBody()), new String(got.getBody()));
            Check.equal("tags", message.getTags(), got.getTags());
            Check.equal("keys", message.getKeys(), got.getKeys());
            Check.equal("flag", message.getFlag(), got.getFlag());
            for (String property : List.of("n", "unicode", "UNIQ_KEY", "WAIT")) {
                Check.equal(property, message.getProperty(property), got.getProperty(property));
            }
            Check.equal("queueId", result.getMessageQueue().getQueueId(), got.getQueueId());
            Check.equal("brokerName", result.getMessageQueue().getBrokerName(), got.getBrokerName());
            Check.equal("queueOffset", result.getQueueOffset(), got.getQueueOffset());
            Check.equal("offset message id", result.getOffsetMsgId(), Sending.offsetMsgId(got));
            Check.equal("reconsumeTimes", 0, got.getReconsumeTimes());
            Check.that("bornTimestamp " + got.getBornTimestamp(), got.getBornTimestamp() >= begin);
            Check.that("storeTimestamp " + got.getStoreTimestamp(), Math.abs(got.getStoreTimestamp() - begin) < 60_000);
            Check.that("bornHost " + got.getBornHost(), got.getBornHostString() != null);
            offsets.computeIfAbsent(result.getMessageQueue(), q -> new TreeSet<>()).add(got.getQueueOffset());
        }
        Check.equal("queues", Set.copyOf(cluster.queues(topic)), offsets.keySet());
        offsets.forEach((queue, seen) -> {
            long expected = 0;
            for (long offset : seen) {
                Check.equal("offset in " + queue, expected++, offset);
            }
        });
    }

    private static void tagFilter(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        DefaultMQPushConsumer consumer = cluster.consumer("consumer", topic, "TagA || TagB");
        Inbox inbox = new Inbox().listen(consumer);
        cluster.start(consumer);
        Set<String> expected = new TreeSet<>();
        for (int i = 0; i < 30; i++) {
            String tag = "Tag" + (char) ('A' + i % 3);
            cluster.producer().send(Cluster.message(topic, tag, i));
            if (!tag.equals("TagC")) {
                expected.add("body " + i);
            }
        }
        cluster.producer().send(new Message(topic, "no tag".getBytes()));
        inbox.await(20);
        Thread.sleep(500); // for what must not come
        Check.sameSet("bodies", expected, inbox.bodies());
    }

    /** A message that is sent while the pull is parked at the broker must not wait for a poll. */
    private static void longPolling(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Map<String, Long> arrived = new ConcurrentHashMap<>();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = cluster.consumer("consumer", topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> {
                arrived.put(new String(message.getBody()), System.nanoTime());
                inbox.add(message);
            });
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        cluster.start(consumer);
        cluster.producer().send(Cluster.message(topic, "TagA", 0));
        inbox.await(1);
        StringBuilder latencies = new StringBuilder();
        for (int i = 1; i <= 5; i++) {
            Thread.sleep(1_000); // the next pull is parked by now
            long begin = System.nanoTime();
            cluster.producer().send(Cluster.message(topic, "TagA", i));
            inbox.await(i + 1);
            latencies.append(String.format(" %.1f", (arrived.get("body " + i) - begin) / 1e6));
        }
        cluster.note = ", ms from send to arrival:" + latencies;
    }

    private static void broadcasting(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        List<Inbox> inboxes = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer consumer = cluster.consumer("broadcast", topic, "*");
            Compat.broadcast(consumer);
            inboxes.add(new Inbox().listen(consumer));
            cluster.start(consumer);
            Cluster.eventually("both queues", () -> Cluster.assigned(consumer, topic).size() == cluster.queues(topic).size());
        }
        for (int i = 0; i < 10; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i));
        }
        for (Inbox inbox : inboxes) {
            inbox.await(10);
        }
        Thread.sleep(500); // for what must not come
        for (Inbox inbox : inboxes) {
            Check.sameSet("bodies", Sending.numbered(10), inbox.bodies());
        }
    }

    /** Two share the queues, one leaves, the other takes all. */
    private static void rebalance(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        int queues = cluster.queues(topic).size();
        DefaultMQPushConsumer first = cluster.consumer("group", topic, "*");
        Inbox firstInbox = new Inbox().listen(first);
        cluster.start(first);
        Cluster.eventually("the first has all queues", () -> Cluster.assigned(first, topic).size() == queues);
        DefaultMQPushConsumer second = cluster.consumer("group", topic, "*");
        Inbox secondInbox = new Inbox().listen(second);
        cluster.start(second);
        Cluster.eventually("each has half of the queues", () ->
            Cluster.assigned(first, topic).size() == queues / 2 && Cluster.assigned(second, topic).size() == queues / 2);
        Set<MessageQueue> both = new TreeSet<>(Cluster.assigned(first, topic));
        both.addAll(Cluster.assigned(second, topic));
        Check.equal("queues of both", new TreeSet<>(cluster.queues(topic)), both);

        for (int i = 0; i < 10 * queues; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i), cluster.queues(topic).get(i % queues));
        }
        firstInbox.await(5 * queues);
        secondInbox.await(5 * queues);
        List<String> all = firstInbox.bodies();
        all.addAll(secondInbox.bodies());
        Check.sameSet("bodies of both", Sending.numbered(10 * queues), all);

        cluster.consumed(second, topic);
        second.shutdown();
        Cluster.eventually("the first has all queues again", () -> Cluster.assigned(first, topic).size() == queues);
        for (int i = 10 * queues; i < 15 * queues; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i), cluster.queues(topic).get(i % queues));
        }
        firstInbox.await(10 * queues);
        Thread.sleep(500); // for what must not come
        all = firstInbox.bodies();
        all.addAll(secondInbox.bodies());
        Check.sameSet("bodies of both", Sending.numbered(15 * queues), all);
    }

    /** A clean shutdown commits: the next one of the group gets only what is new. */
    private static void offsetsSurviveRestart(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        for (int i = 0; i < 20; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i));
        }
        DefaultMQPushConsumer before = cluster.consumer("group", topic, "*");
        Inbox first = new Inbox().listen(before);
        cluster.start(before);
        first.await(20);
        cluster.consumed(before, topic);
        before.shutdown();
        for (int i = 20; i < 25; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i));
        }
        DefaultMQPushConsumer after = cluster.consumer("group", topic, "*");
        Inbox second = new Inbox().listen(after);
        cluster.start(after);
        second.await(5);
        Thread.sleep(1_000); // for what must not come
        Check.sameSet("after the restart", Set.of("body 20", "body 21", "body 22", "body 23", "body 24"), second.bodies());
        Check.sameSet("before the restart", Sending.numbered(20), first.bodies());
    }

    private static void reconsumeLater(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(inbox::add);
            if (messages.get(0).getReconsumeTimes() > 0 || !new String(messages.get(0).getBody()).equals("body 1")) {
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            }
            context.setDelayLevelWhenNextConsume(1); // 1 s
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        cluster.start(consumer);
        SendResult failed = null;
        long sentAt = 0;
        for (int i = 0; i < 3; i++) {
            SendResult sent = cluster.producer().send(Cluster.message(topic, "TagA", i));
            failed = i == 1 ? sent : failed;
            sentAt = i == 1 ? System.currentTimeMillis() : sentAt;
        }
        MessageExt again = inbox.await(4).stream().filter(message -> message.getReconsumeTimes() > 0).findFirst().orElseThrow();
        Check.equal("body", "body 1", new String(again.getBody()));
        Check.equal("reconsumeTimes", 1, again.getReconsumeTimes());
        Check.equal("topic, as the listener sees it", topic, again.getTopic());
        Check.equal("tags", "TagA", again.getTags());
        Check.equal("keys", "key-1", again.getKeys());
        Check.equal("ORIGIN_MESSAGE_ID", failed.getOffsetMsgId(), again.getProperty("ORIGIN_MESSAGE_ID"));
        Check.equal("message id", failed.getMsgId(), again.getMsgId());
        cluster.note = ", back after " + (again.getStoreTimestamp() - sentAt) + " ms";
    }

    /** Per queue one at a time and in order; a message that is suspended comes again before any other of its queue. */
    private static void orderly(Cluster cluster) throws Exception {
        String topic = cluster.topic(3);
        Inbox inbox = new Inbox();
        AtomicBoolean suspended = new AtomicBoolean();
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        consumer.setSuspendCurrentQueueTimeMillis(100);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            if (new String(messages.get(0).getBody()).equals("body 30") && suspended.compareAndSet(false, true)) {
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            messages.forEach(inbox::add);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        cluster.start(consumer);
        List<MessageQueue> queues = cluster.queues(topic);
        for (int i = 0; i < 90; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i), queues.get(i % 3));
        }
        inbox.await(90);
        Thread.sleep(500); // for what must not come
        Check.that("nothing was suspended", suspended.get());
        Check.sameSet("bodies", Sending.numbered(90), inbox.bodies());
        int[] next = {0, 1, 2};
        for (MessageExt message : inbox.messages()) {
            int n = Integer.parseInt(message.getUserProperty("n"));
            Check.equal("next of queue " + n % 3, next[n % 3], n);
            next[n % 3] += 3;
        }
    }
}
