import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.SerializeType;

/** Every way to send; the messages are read back from the queues. */
final class Sending {
    private Sending() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("send_auto_created_topic", Sending::autoCreatedTopic);
        all.put("send_async", Sending::async);
        all.put("send_oneway", Sending::oneway);
        all.put("send_batch", Sending::batch);
        all.put("send_to_selected_queue", Sending::selectedQueue);
        all.put("send_compressed", Sending::compressed);
        all.put("send_big", Sending::big);
        all.put("view_message", Sending::viewMessage);
        all.put("query_by_key", Sending::queryByKey);
        all.put("rocketmq_codec", Sending::rocketmqCodec);
    }

    /** Through TBW102, with as many queues as the producer asks for. */
    private static void autoCreatedTopic(Cluster cluster) throws Exception {
        DefaultMQProducer producer = cluster.producer();
        producer.setDefaultTopicQueueNums(3);
        String topic = cluster.name("auto");
        SendResult sent = producer.send(Cluster.message(topic, "TagA", 0));
        Check.equal("sendStatus", SendStatus.SEND_OK, sent.getSendStatus());
        Cluster.eventually("a route for " + topic, () -> {
            Map<String, Long> queues = producer.fetchPublishMessageQueues(topic).stream()
                .collect(Collectors.groupingBy(MessageQueue::getBrokerName, Collectors.counting()));
            return queues.containsKey(sent.getMessageQueue().getBrokerName()) && queues.values().stream().allMatch(n -> n == 3);
        });
        Cluster.eventually("the message", () -> bodies(cluster.read(topic)).equals(List.of("body 0")));
    }

    private static void async(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        CountDownLatch done = new CountDownLatch(100);
        Map<String, String> ids = new ConcurrentHashMap<>();
        Set<Throwable> failures = ConcurrentHashMap.newKeySet();
        for (int i = 0; i < 100; i++) {
            String body = "body " + i;
            cluster.producer().send(Cluster.message(topic, "TagA", i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    ids.put(body, result.getOffsetMsgId());
                    done.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    failures.add(e);
                    done.countDown();
                }
            });
        }
        Check.that("100 callbacks", done.await(90, TimeUnit.SECONDS));
        Check.equal("failures", Set.of(), failures);
        List<MessageExt> read = cluster.read(topic);
        Check.sameSet("bodies", ids.keySet(), bodies(read));
        Check.equal("messages", 100, read.size());
        for (MessageExt message : read) {
            Check.equal("offset message id", ids.get(new String(message.getBody())), offsetMsgId(message));
        }
    }

    private static void oneway(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        for (int i = 0; i < 20; i++) {
            cluster.producer().sendOneway(Cluster.message(topic, "TagA", i));
        }
        Cluster.eventually("20 messages", () -> cluster.read(topic).size() == 20);
        Check.sameSet("bodies", numbered(20), bodies(cluster.read(topic)));
    }

    private static void batch(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            batch.add(Cluster.message(topic, "Tag" + i, i));
        }
        MessageQueue queue = cluster.queues(topic).get(1);
        cluster.producer().send(Cluster.message(topic, "TagA", 100), queue);
        SendResult sent = cluster.producer().send(batch, queue);
        Check.equal("offset of the first", 1, sent.getQueueOffset());
        Check.equal("message ids", 10, sent.getMsgId().split(",").length);
        String[] offsetIds = sent.getOffsetMsgId().split(",");
        Check.equal("offset message ids", 10, offsetIds.length);
        List<MessageExt> read = cluster.read(topic);
        Check.equal("messages", 11, read.size());
        for (int i = 0; i < 10; i++) {
            MessageExt message = read.get(i + 1); // in the order of the batch, at consecutive offsets
            Check.equal("body", "body " + i, new String(message.getBody()));
            Check.equal("tags", "Tag" + i, message.getTags());
            Check.equal("keys", "key-" + i, message.getKeys());
            Check.equal("property n", Integer.toString(i), message.getUserProperty("n"));
            Check.equal("offset message id", offsetIds[i], offsetMsgId(message));
        }
    }

    private static void selectedQueue(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        for (int i = 0; i < 12; i++) {
            SendResult sent = cluster.producer().send(Cluster.message(topic, "TagA", i), (queues, message, n) -> {
                List<MessageQueue> sorted = new ArrayList<>(queues);
                sorted.sort(null);
                return sorted.get((int) n % 3);
            }, i);
            Check.equal("queue", cluster.queues(topic).get(i % 3), sent.getMessageQueue());
            Check.equal("queueOffset", i / 3, sent.getQueueOffset());
        }
        for (MessageExt message : cluster.read(topic)) {
            int n = Integer.parseInt(message.getUserProperty("n"));
            Check.equal("queue of " + n, cluster.queues(topic).get(n % 3).getQueueId(), message.getQueueId());
            Check.equal("offset of " + n, n / 3, message.getQueueOffset());
        }
    }

    /** The client compresses from 4096 B on; the broker stores what it was given. */
    private static void compressed(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        byte[] body = "compress me, ".repeat(10_000).getBytes();
        cluster.producer().send(new Message(topic, "TagA", body));
        MessageExt message = cluster.read(topic).get(0);
        Check.that("the body came back another", Arrays.equals(body, message.getBody()));
        Check.that("stored in full: " + message.getStoreSize() + " B", message.getStoreSize() < body.length / 10);
    }

    /** maxMessageSize is 4 MiB, inclusive: one byte more is MESSAGE_ILLEGAL (13). */
    private static void big(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        DefaultMQProducer producer = cluster.producer();
        producer.setMaxMessageSize(8 * 1024 * 1024);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        byte[] body = new byte[4 * 1024 * 1024];
        new Random(1).nextBytes(body);
        Check.equal("queueOffset", 0, producer.send(new Message(topic, "TagA", body)).getQueueOffset());
        Check.refused(13, () -> producer.send(new Message(topic, "TagA", new byte[body.length + 1])));
        List<MessageExt> read = cluster.read(topic);
        Check.equal("messages", 1, read.size());
        Check.that("the body came back another", Arrays.equals(body, read.get(0).getBody()));
    }

    private static void viewMessage(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        MessageQueue queue = cluster.queues(topic).get(0);
        cluster.producer().send(Cluster.message(topic, "TagA", 1), queue);
        SendResult sent = cluster.producer().send(Cluster.message(topic, "TagB", 2), queue);
        MessageExt message = cluster.producer().viewMessage(topic, sent.getOffsetMsgId());
        Check.equal("body", "body 2", new String(message.getBody()));
        Check.equal("topic", topic, message.getTopic());
        Check.equal("queueOffset", 1, message.getQueueOffset());
        Check.equal("tags", "TagB", message.getTags());
        Check.equal("keys", "key-2", message.getKeys());
        Check.equal("message id", sent.getMsgId(), message.getMsgId());
    }

    private static void queryByKey(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        SendResult sent = null;
        for (int i = 0; i < 8; i++) {
            Message message = Cluster.message(topic, "TagA", i);
            message.setKeys("only-" + i + " shared");
            sent = cluster.producer().send(message);
        }
        String uniqueId = sent.getMsgId();
        Cluster.eventually("8 messages by their key", () -> query(cluster, topic, "shared").size() == 8);
        Check.sameSet("bodies", numbered(8), query(cluster, topic, "shared"));
        Check.equal("by another key", List.of("body 5"), query(cluster, topic, "only-5"));
        Check.equal("by unique id", "body 7", new String(cluster.producer().viewMessage(topic, uniqueId).getBody()));
    }

    private static List<String> query(Cluster cluster, String topic, String key) throws Exception {
        return bodies(cluster.producer().queryMessage(topic, key, 32, 0, Long.MAX_VALUE).getMessageList());
    }

    /** Every request of these clients has the binary header, which -Drocketmq.serialize.type=ROCKETMQ would give to a whole JVM. */
    private static void rocketmqCodec(Cluster cluster) throws Exception {
        RPCHook binary = new RPCHook() {
            @Override
            public void doBeforeRequest(String address, RemotingCommand request) {
                request.setSerializeTypeCurrentRPC(SerializeType.ROCKETMQ);
            }

            @Override
            public void doAfterResponse(String address, RemotingCommand request, RemotingCommand response) {
            }
        };
        String topic = cluster.topic(4);
        DefaultMQProducer producer = cluster.producer(binary, "binary");
        Inbox inbox = new Inbox();
        var consumer = cluster.consumer(binary, "binary", topic, "TagA || TagB");
        inbox.listen(consumer);
        cluster.start(consumer);
        for (int i = 0; i < 20; i++) {
            SendResult sent = producer.send(Cluster.message(topic, i % 2 == 0 ? "TagA" : "TagB", i));
            Check.equal("sendStatus", SendStatus.SEND_OK, sent.getSendStatus());
        }
        inbox.await(20);
        Check.sameSet("bodies", numbered(20), inbox.bodies());
    }

    static Set<String> numbered(int n) {
        Set<String> bodies = new HashSet<>();
        for (int i = 0; i < n; i++) {
            bodies.add("body " + i);
        }
        return bodies;
    }

    static List<String> bodies(List<MessageExt> messages) {
        return messages.stream().map(m -> new String(m.getBody())).collect(Collectors.toList());
    }

    /** getMsgId of a pulled message is the client's unique id; the id made of host and offset is another field. */
    static String offsetMsgId(MessageExt message) {
        return message instanceof org.apache.rocketmq.common.message.MessageClientExt client ? client.getOffsetMsgId() : message.getMsgId();
    }
}
