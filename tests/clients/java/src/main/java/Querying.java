import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Queries of the key index. */
final class Querying {
    private static final int SEND_MESSAGE_V2 = 310;
    /** The client's result for answers without a message. */
    private static final int NO_MESSAGE = 208;

    private Querying() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("query_after_timeout", Querying::afterTimeout);
        all.put("query_by_time", Querying::byTime);
        all.put("query_many_keys", Querying::manyKeys);
    }

    /** The reply to a send never comes: the producer knows only the unique id, and finds the message by it. */
    private static void afterTimeout(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        DefaultMQProducer producer = cluster.producer(new RPCHook() {
            @Override
            public void doBeforeRequest(String address, RemotingCommand request) {
                if (request.getCode() == SEND_MESSAGE_V2) {
                    request.markOnewayRPC(); // which nobody answers
                }
            }

            @Override
            public void doAfterResponse(String address, RemotingCommand request, RemotingCommand response) {
            }
        }, "unheard");
        producer.setRetryTimesWhenSendFailed(0);
        Message message = Cluster.message(topic, "TagA", 0);
        try {
            producer.send(message, 1_500);
            Check.that("a send without a reply times out", false);
        } catch (Exception timeout) {
            Check.that("a timeout: " + timeout, timeout.toString().toLowerCase().contains("timeout"));
        }
        String uniqueId = message.getProperty("UNIQ_KEY");
        MessageExt found = find(cluster, topic, uniqueId);
        Check.equal("by unique id", "body 0", new String(found.getBody()));
        String offsetId = MessageDecoder.createMessageId(found.getStoreHost(), found.getCommitLogOffset());
        MessageExt again = cluster.producer().viewMessage(topic, offsetId);
        Check.equal("by offset id", "body 0", new String(again.getBody()));
        Check.equal("its unique id", uniqueId, again.getProperty("UNIQ_KEY"));
    }

    private static void byTime(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Message message = Cluster.message(topic, "TagA", 0);
        message.setKeys("timed");
        String id = cluster.producer().send(message).getMsgId();
        long stored = find(cluster, topic, id).getStoreTimestamp();
        DefaultMQProducer asking = cluster.producer();
        Check.equal("within", 1, asking.queryMessage(topic, "timed", 32, stored - 5_000, stored + 5_000).getMessageList().size());
        Check.refused(NO_MESSAGE, () -> asking.queryMessage(topic, "timed", 32, 0, stored - 5_000));
        Check.refused(NO_MESSAGE, () -> asking.queryMessage(topic, "timed", 32, stored + 5_000, Long.MAX_VALUE));
    }

    /** A reply has 64 messages at most, the newest. */
    private static void manyKeys(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        var queue = cluster.queues(topic).get(0);
        for (int i = 0; i < 70; i++) {
            Message message = Cluster.message(topic, "TagA", i);
            message.setKeys("first-" + i + " all second-" + i);
            cluster.producer().send(message, queue);
        }
        Cluster.eventually("the last", () -> query(cluster, topic, "second-69", 1).size() == 1);
        List<MessageExt> all = query(cluster, topic, "all", 100);
        Check.equal("at most", 64, all.size());
        for (int i = 0; i < 64; i++) {
            Check.equal("in order", "body " + (i + 6), new String(all.get(i).getBody()));
        }
        Check.equal("the newest", List.of("body 69"), query(cluster, topic, "all", 1).stream().map(m -> new String(m.getBody())).toList());
        Check.equal("by another key", 1, query(cluster, topic, "first-3", 32).size());
        Check.refused(NO_MESSAGE, () -> query(cluster, topic, "first", 32));
    }

    private static List<MessageExt> query(Cluster cluster, String topic, String key, int max) throws Exception {
        return cluster.producer().queryMessage(topic, key, max, 0, Long.MAX_VALUE).getMessageList();
    }

    /** RocketMQ indexes a message some time after it is acknowledged. */
    private static MessageExt find(Cluster cluster, String topic, String id) throws Exception {
        AtomicReference<MessageExt> found = new AtomicReference<>();
        Cluster.eventually("the message " + id, () -> {
            found.set(cluster.producer().viewMessage(topic, id));
            return true;
        });
        return found.get();
    }
}
