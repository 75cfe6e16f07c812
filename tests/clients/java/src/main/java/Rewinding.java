import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Requests that a broker sends to its clients on behalf of other clients: a rewind, the state of a consumer, a reply to a request. */
final class Rewinding {
    private static final long TIMEOUT_MS = 20_000;

    private Rewinding() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("rewind_online", Rewinding::rewindOnline);
        all.put("rewind_offline", Rewinding::rewindOffline);
        all.put("rewind_refused", Rewinding::rewindRefused);
        all.put("consumer_inside", Rewinding::consumerInside);
        all.put("request_reply", Rewinding::requestReply);
        all.put("request_refused", Rewinding::requestRefused);
    }

    /** A running consumer receives everything from a chosen time on again, and nothing from before. */
    private static void rewindOnline(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        Inbox inbox = new Inbox().listen(consumer);
        cluster.start(consumer);
        send(cluster, topic, 0, 10);
        long between = pause();
        send(cluster, topic, 10, 20);
        inbox.await(20);
        long begin = System.nanoTime();
        rewind(cluster, topic, consumer.getConsumerGroup(), between);
        List<String> again = bodies(inbox.await(30)).subList(20, 30);
        cluster.note = ", rewound within " + (System.nanoTime() - begin) / 1_000_000 + " ms";
        Check.equal("from then on", new TreeSet<>(numbered(10, 20)), new TreeSet<>(again));
        send(cluster, topic, 20, 22);
        Check.equal("and goes on", numbered(20, 22), sorted(bodies(inbox.await(32)).subList(30, 32)));
    }

    /** A group that is offline begins at the offsets of the reset, at the first message or behind the last; offsets of other groups do not change. */
    private static void rewindOffline(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        DefaultMQPushConsumer first = cluster.consumer("group", topic, "*");
        Inbox inbox = new Inbox().listen(first);
        cluster.start(first);
        send(cluster, topic, 0, 20);
        inbox.await(20);
        cluster.consumed(first, topic);
        first.shutdown();
        rewind(cluster, topic, first.getConsumerGroup(), 0);
        DefaultMQPushConsumer second = cluster.consumer("group", topic, "*");
        inbox = new Inbox().listen(second);
        cluster.start(second);
        Check.sameSet("everything unexpired", numbered(0, 20), bodies(inbox.await(20)));
        cluster.consumed(second, topic);
        second.shutdown();
        send(cluster, topic, 20, 25);
        rewind(cluster, topic, first.getConsumerGroup(), -1);
        DefaultMQPushConsumer third = cluster.consumer("group", topic, "*");
        inbox = new Inbox().listen(third);
        cluster.start(third);
        send(cluster, topic, 25, 27);
        Check.equal("behind what was skipped", numbered(25, 27), sorted(bodies(inbox.await(2))));
    }

    private static void rewindRefused(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Check.refused(17, () -> rewind(cluster, cluster.name("no_such_topic"), "TOOLS_CONSUMER", 0));
        Check.refused(26, () -> rewind(cluster, topic, cluster.name("no_such_group"), 0));
    }

    /** The threads, queues and offsets that the consumer itself reports; and a message that it is told to consume at once. */
    private static void consumerInside(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        Inbox inbox = new Inbox().listen(consumer);
        cluster.start(consumer);
        MessageQueue queue = cluster.queues(topic).get(0);
        SendResult sent = null;
        for (int i = 0; i < 3; i++) {
            sent = cluster.producer().send(Cluster.message(topic, "TagA", i), queue);
        }
        inbox.await(3);
        Thread.sleep(500);
        String group = consumer.getConsumerGroup();
        String id = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        MQClientAPIImpl api = api(cluster);
        String addr = address(cluster, queue.getBrokerName());

        Object info = invoke(api, "getConsumerRunningInfo", addr, group, id, true, TIMEOUT_MS);
        String stacks = String.valueOf(invoke(info, "getJstack"));
        Check.that("no stacks of threads: " + stacks, stacks.contains("ConsumeMessageThread") || stacks.contains("java."));
        Check.that("the topic is missing", String.valueOf(invoke(info, "formatString")).contains(topic));

        Map<?, ?> status = (Map<?, ?>) invoke(api, "invokeBrokerToGetConsumerStatus", addr, topic, group, "", TIMEOUT_MS);
        Map<?, ?> offsets = (Map<?, ?>) status.get(id);
        Check.equal("its offset", 3L, offsets.get(queue));

        Object result;
        try {
            result = invoke(api, "consumeMessageDirectly", addr, group, id, topic, sent.getOffsetMsgId(), TIMEOUT_MS);
        } catch (NoSuchMethodException fourX) {
            result = invoke(api, "consumeMessageDirectly", addr, group, id, sent.getOffsetMsgId(), TIMEOUT_MS);
        }
        Check.equal("consumed", "CR_SUCCESS", String.valueOf(invoke(result, "getConsumeResult")));
        Check.equal("again", "body 2", bodies(inbox.await(4)).get(3));

        Check.refused(1, () -> invoke(api, "getConsumerRunningInfo", addr, group, "no-such-client", false, TIMEOUT_MS));
        Check.refused(1, () -> invoke(api, "invokeBrokerToGetConsumerStatus", addr, topic, cluster.name("nobody"), "", TIMEOUT_MS));
    }

    /** A request that blocks, and one with a callback; a reply above the compression threshold arrives as it was sent. */
    private static void requestReply(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        DefaultMQProducer replier = cluster.producer(null, "replier");
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (arrived, context) -> {
            for (MessageExt message : arrived) {
                try {
                    byte[] answer = ("answer to " + new String(message.getBody(), StandardCharsets.UTF_8)).getBytes(StandardCharsets.UTF_8);
                    replier.send(MessageUtil.createReplyMessage(message, answer), 5_000);
                } catch (Exception e) {
                    e.printStackTrace();
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        cluster.start(consumer);
        DefaultMQProducer asker = cluster.producer();
        for (int i = 0; i < 3; i++) {
            Message answer = asker.request(Cluster.message(topic, "TagA", i), TIMEOUT_MS);
            Check.equal("answer", "answer to body " + i, new String(answer.getBody(), StandardCharsets.UTF_8));
            Check.that("no time of its arrival", answer.getProperty("ARRIVE_TIME") != null);
            Check.that("no time of its hand-over", answer.getProperty("PUSH_REPLY_TIME") != null);
        }
        String large = "x".repeat(100_000);
        Message answer = asker.request(new Message(topic, large.getBytes(StandardCharsets.UTF_8)), TIMEOUT_MS);
        Check.that("a large answer", new String(answer.getBody(), StandardCharsets.UTF_8).equals("answer to " + large));

        CountDownLatch done = new CountDownLatch(1);
        AtomicReference<Object> called = new AtomicReference<>();
        asker.request(Cluster.message(topic, "TagA", 9), new RequestCallback() {
            @Override
            public void onSuccess(Message message) {
                called.set(new String(message.getBody(), StandardCharsets.UTF_8));
                done.countDown();
            }

            @Override
            public void onException(Throwable e) {
                called.set(e);
                done.countDown();
            }
        }, TIMEOUT_MS);
        Check.that("no call back", done.await(TIMEOUT_MS, TimeUnit.MILLISECONDS));
        Check.equal("called back with", "answer to body 9", called.get());
        Check.that("replies are stored, too", stored(cluster, answer.getTopic()) >= 5);
    }

    /** A request without a reply; a reply without a target; a reply to a client that is not connected. */
    private static void requestRefused(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        try {
            cluster.producer().request(Cluster.message(topic, "TagA", 1), 1_000);
            throw new AssertionError("an answer from nobody");
        } catch (RequestTimeoutException expected) {
            // expected
        }
        MessageExt asked = cluster.read(topic).get(0);
        Message reply = MessageUtil.createReplyMessage(asked, "too late".getBytes(StandardCharsets.UTF_8));
        org.apache.rocketmq.common.message.MessageAccessor.putProperty(reply, "REPLY_TO_CLIENT", "no-such-client");
        DefaultMQProducer replier = cluster.producer(null, "replier");
        replier.setRetryTimesWhenSendFailed(0);
        Check.refused(1, () -> replier.send(reply, 5_000));
        org.apache.rocketmq.common.message.MessageAccessor.clearProperty(reply, "REPLY_TO_CLIENT");
        Check.refused(1, () -> replier.send(reply, 5_000));
    }

    private static long stored(Cluster cluster, String topic) throws Exception {
        DefaultMQPullConsumer reader = cluster.pullConsumer("replies");
        long stored = 0;
        for (MessageQueue queue : cluster.queues(topic)) {
            stored += reader.maxOffset(queue);
        }
        return stored;
    }

    /** On every broker that has the topic, or on any if none has. */
    private static void rewind(Cluster cluster, String topic, String group, long timestamp) throws Exception {
        MQClientAPIImpl api = api(cluster);
        for (String addr : addresses(cluster, topic)) {
            Map<MessageQueue, Long> offsets = api.invokeBrokerToResetOffset(addr, topic, group, timestamp, true, TIMEOUT_MS);
            Check.that("no offsets", !offsets.isEmpty());
        }
    }

    private static List<String> addresses(Cluster cluster, String topic) throws Exception {
        List<MessageQueue> queues;
        try {
            queues = cluster.queues(topic);
        } catch (Exception unknown) {
            queues = cluster.queues("TBW102");
        }
        TreeSet<String> addresses = new TreeSet<>();
        for (MessageQueue queue : queues) {
            addresses.add(address(cluster, queue.getBrokerName()));
        }
        return new ArrayList<>(addresses);
    }

    private static String address(Cluster cluster, String broker) throws Exception {
        MQClientInstance instance = instance(cluster);
        Cluster.eventually("an address of " + broker, () -> {
            instance.updateTopicRouteInfoFromNameServer("TBW102");
            return instance.findBrokerAddressInPublish(broker) != null;
        });
        return instance.findBrokerAddressInPublish(broker);
    }

    private static MQClientAPIImpl api(Cluster cluster) throws Exception {
        return instance(cluster).getMQClientAPIImpl();
    }

    @SuppressWarnings("deprecation")
    private static MQClientInstance instance(Cluster cluster) throws Exception {
        Object impl = cluster.producer().getDefaultMQProducerImpl();
        try {
            return (MQClientInstance) invoke(impl, "getMqClientFactory");
        } catch (NoSuchMethodException fourX) {
            return (MQClientInstance) invoke(impl, "getmQClientFactory");
        }
    }

    /** By reflection: the types of bodies have moved to another package since 4.x. */
    private static Object invoke(Object target, String name, Object... arguments) throws Exception {
        for (Method method : target.getClass().getMethods()) {
            if (method.getName().equals(name) && method.getParameterCount() == arguments.length) {
                try {
                    return method.invoke(target, arguments);
                } catch (IllegalArgumentException overload) {
                    continue; // another one takes these types
                } catch (java.lang.reflect.InvocationTargetException e) {
                    throw e.getCause() instanceof Exception cause ? cause : e;
                }
            }
        }
        throw new NoSuchMethodException(name + " with " + arguments.length + " arguments");
    }

    private static SendResult send(Cluster cluster, String topic, int from, int to) throws Exception {
        List<MessageQueue> queues = cluster.queues(topic);
        SendResult last = null;
        for (int i = from; i < to; i++) {
            last = cluster.producer().send(Cluster.message(topic, "TagA", i), queues.get(i % queues.size()));
        }
        return last;
    }

    /** A time that lies between what was sent before and what is sent after. */
    private static long pause() throws InterruptedException {
        Thread.sleep(50);
        long now = System.currentTimeMillis();
        Thread.sleep(50);
        return now;
    }

    private static List<String> bodies(List<MessageExt> messages) {
        return Sending.bodies(messages);
    }

    private static List<String> numbered(int from, int to) {
        List<String> bodies = new ArrayList<>();
        for (int i = from; i < to; i++) {
            bodies.add("body " + i);
        }
        return bodies;
    }

    private static List<String> sorted(List<String> bodies) {
        List<String> sorted = new ArrayList<>(bodies);
        sorted.sort(null);
        return sorted;
    }
}
