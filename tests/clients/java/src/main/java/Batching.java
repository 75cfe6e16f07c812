import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Topics of type BatchCQ, in which a batch is one record: only the 5.x client makes and unpacks them. */
@SuppressWarnings("deprecation")
final class Batching {
    private static final int AUTOMATIC = 200;
    private static final int UPDATE_AND_CREATE_TOPIC = 17;

    private Batching() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        if (Compat.packsBatches()) {
            all.put("batch_queue", Batching::queue);
            all.put("batch_queue_auto", Batching::automatic);
            all.put("batch_queue_retry", Batching::retried);
        }
    }

    static void aroundRestart(Map<String, ClientCheck.Scenario> all) {
        if (Compat.packsBatches()) {
            all.put("batches_before_restart", Batching::before);
            all.put("batches_after_restart", Batching::after);
        }
    }

    private static String topic(Cluster cluster, String topic) throws Exception {
        Map<String, String> fields = Map.of("topic", topic, "defaultTopic", "TBW102", "readQueueNums", "1", "writeQueueNums", "1",
            "perm", "6", "topicFilterType", "SINGLE_TAG", "order", "false", "attributes", "+queue.type=BatchCQ");
        // The producer's createTopic drops the attributes. On every broker, as that does.
        Map<String, MessageQueue> brokers = new HashMap<>();
        cluster.queues("TBW102").forEach(queue -> brokers.put(queue.getBrokerName(), queue));
        for (MessageQueue queue : brokers.values()) {
            Request.Answer answer = new Request(cluster).ask(queue, UPDATE_AND_CREATE_TOPIC, fields, null);
            Check.equal("creation of a topic: " + answer.remark(), 0, answer.code());
        }
        Cluster.eventually("a route for " + topic, () -> !cluster.queues(topic).isEmpty());
        return topic;
    }

    private static List<Message> messages(String topic, int from, int to) {
        List<Message> messages = new ArrayList<>();
        for (int n = from; n < to; n++) {
            messages.add(Cluster.message(topic, "TagA", n));
        }
        return messages;
    }

    /** One message, a batch of three and one of two: an id each, offsets as many as messages, and a pull from within gets the whole batch. */
    private static void queue(Cluster cluster) throws Exception {
        String topic = topic(cluster, cluster.name("batches"));
        MessageQueue queue = cluster.queues(topic).get(0);
        cluster.producer().send(Cluster.message(topic, "TagA", 0), queue);
        SendResult three = cluster.producer().send(messages(topic, 1, 4), queue);
        SendResult two = cluster.producer().send(messages(topic, 4, 6), queue);
        Check.equal("offset of the three", 1, three.getQueueOffset());
        Check.equal("offset of the two", 4, two.getQueueOffset());
        Check.equal("ids of the three", 1, three.getMsgId().split(",").length);
        DefaultMQPullConsumer reader = cluster.pullConsumer("reader");
        Cluster.eventually("all of them", () -> reader.maxOffset(queue) == 6);
        int[][] pulls = {{0, 32, 0, 6}, {2, 32, 1, 6}, {2, 1, 1, 4}, {3, 4, 1, 4}, {3, 5, 1, 6}, {5, 32, 4, 6}, {0, 3, 0, 1}};
        for (int[] pull : pulls) {
            String what = "pull of " + pull[1] + " from " + pull[0];
            PullResult pulled = reader.pull(queue, "*", pull[0], pull[1]);
            Check.equal(what, PullStatus.FOUND, pulled.getPullStatus());
            Check.equal(what + ", next", pull[3], pulled.getNextBeginOffset());
            Check.equal(what + ", messages", pull[3] - pull[2], pulled.getMsgFoundList().size());
            int n = pull[2];
            for (MessageExt message : pulled.getMsgFoundList()) {
                Check.equal(what + ", offset", n, message.getQueueOffset());
                Check.equal(what + ", body", "body " + n, new String(message.getBody()));
                Check.equal(what + ", keys", "key-" + n, message.getKeys());
                n++;
            }
        }
        Check.equal("pull at the end", PullStatus.NO_NEW_MSG, reader.pull(queue, "*", 6, 32).getPullStatus());
        DefaultLitePullConsumer lite = cluster.litePullConsumer("lite");
        lite.subscribe(topic, "*");
        cluster.start(lite);
        List<String> bodies = new ArrayList<>();
        Cluster.eventually("six messages", () -> {
            lite.poll(500).forEach(message -> bodies.add(new String(message.getBody())));
            return bodies.size() >= 6;
        });
        Check.sameSet("bodies", Sending.numbered(6), bodies);
    }

    /** A producer that gathers messages into batches by itself, and a push consumer. */
    private static void automatic(Cluster cluster) throws Exception {
        String topic = topic(cluster, cluster.name("automatic"));
        DefaultMQProducer producer = cluster.producer(null, "automatic");
        Compat.call(producer, "setAutoBatch", true);
        CountDownLatch done = new CountDownLatch(AUTOMATIC);
        Set<Throwable> failures = ConcurrentHashMap.newKeySet();
        for (int n = 0; n < AUTOMATIC; n++) {
            producer.send(Cluster.message(topic, "TagA", n), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    done.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    failures.add(e);
                    done.countDown();
                }
            });
        }
        Check.that("callbacks", done.await(90, TimeUnit.SECONDS));
        Check.equal("failures", Set.of(), failures);
        Cluster.eventually("all of them", () -> cluster.read(topic).size() == AUTOMATIC);
        List<MessageExt> read = cluster.read(topic);
        Check.sameSet("bodies", Sending.numbered(AUTOMATIC), Sending.bodies(read));
        Set<Long> records = read.stream().map(MessageExt::getCommitLogOffset).collect(Collectors.toSet());
        Check.that("fewer records than messages: " + records.size(), records.size() < AUTOMATIC);
        DefaultMQPushConsumer consumer = cluster.consumer(cluster.name("group"), topic, "TagA");
        Inbox inbox = new Inbox().listen(consumer);
        cluster.start(consumer);
        inbox.await(AUTOMATIC);
        cluster.consumed(consumer, topic);
        Check.sameSet("consumed", Sending.numbered(AUTOMATIC), inbox.bodies());
    }

    /** One message of a batch that is consumed later comes back alone: the client sends it itself, as the broker has only all of them. */
    private static void retried(Cluster cluster) throws Exception {
        String topic = topic(cluster, cluster.name("retried"));
        DefaultMQPushConsumer consumer = cluster.consumer(cluster.name("group"), topic, "*");
        Inbox inbox = new Inbox();
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.registerMessageListener((MessageListenerConcurrently) (arrived, context) -> {
            MessageExt message = arrived.get(0);
            inbox.add(message);
            boolean isLater = message.getReconsumeTimes() == 0 && new String(message.getBody()).equals("body 1");
            return isLater ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        cluster.startForRetries(consumer);
        cluster.producer().send(messages(topic, 0, 3));
        List<String> bodies = inbox.await(4).stream().map(message -> new String(message.getBody())).collect(Collectors.toList());
        Check.equal("the last one", "body 1", bodies.remove(3));
        Check.sameSet("bodies", Sending.numbered(3), bodies);
    }

    private static void before(Cluster cluster) throws Exception {
        String topic = topic(cluster, cluster.shared("batches"));
        MessageQueue queue = cluster.queues(topic).get(0);
        for (int n = 0; n < 60; n += 6) {
            cluster.producer().send(messages(topic, n, n + 5), queue);
            cluster.producer().send(Cluster.message(topic, "TagA", n + 5), queue);
        }
    }

    private static void after(Cluster cluster) throws Exception {
        String topic = cluster.shared("batches");
        Cluster.eventually("a route", () -> !cluster.queues(topic).isEmpty());
        List<MessageExt> read = cluster.read(topic);
        Check.equal("bodies", new ArrayList<>(new TreeSet<>(Sending.numbered(60))), read.stream().map(m -> new String(m.getBody())).sorted().collect(Collectors.toList()));
        MessageQueue queue = cluster.queues(topic).get(0);
        SendResult sent = cluster.producer().send(messages(topic, 60, 63), queue);
        Check.equal("the next offset", 60, sent.getQueueOffset());
    }
}
