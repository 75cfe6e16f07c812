import java.lang.reflect.Method;
import java.util.Map;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** What the broker refuses, with RocketMQ's response codes. */
final class Refusals {
    private Refusals() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("unknown_topic", Refusals::unknownTopic);
        all.put("illegal_topic", Refusals::illegalTopic);
        all.put("illegal_queue", Refusals::illegalQueue);
        all.put("illegal_properties", Refusals::illegalProperties);
        all.put("view_no_such_message", Refusals::viewNoSuchMessage);
    }

    /** No auto-creation from a topic that does not let others inherit: TOPIC_NOT_EXIST. */
    private static void unknownTopic(Cluster cluster) throws Exception {
        DefaultMQProducer producer = cluster.producer();
        producer.setCreateTopicKey(cluster.topic(1));
        producer.setRetryTimesWhenSendFailed(0);
        Check.refused(17, () -> producer.send(Cluster.message(cluster.name("unknown"), "TagA", 0)));
    }

    /** The client checks names, too, hence the name is put into the header behind its back: INVALID_PARAMETER. */
    private static void illegalTopic(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        DefaultMQProducer producer = cluster.producer(new HeaderField("setB", String.class, "no spaces, please"), "illegal");
        Check.refused(29, () -> producer.send(Cluster.message(topic, "TagA", 0)));
        DefaultMQProducer tooLong = cluster.producer(new HeaderField("setB", String.class, "t".repeat(128)), "tooLong");
        Check.refused(29, () -> tooLong.send(Cluster.message(topic, "TagA", 0)));
        Check.equal("messages", 0, cluster.read(topic).size());
    }

    private static void illegalQueue(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        MessageQueue none = new MessageQueue(topic, cluster.queues(topic).get(0).getBrokerName(), 2);
        Check.refused(29, () -> cluster.producer().send(Cluster.message(topic, "TagA", 0), none));
        Check.refused(29, () -> cluster.pullConsumer("puller").pull(none, "*", 0, 32));
    }

    /** A record has 16 bits for the length of its properties: MESSAGE_ILLEGAL. */
    private static void illegalProperties(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Message message = Cluster.message(topic, "TagA", 0);
        message.putUserProperty("wide", "w".repeat(32_767));
        Check.refused(13, () -> cluster.producer().send(message));
        Check.equal("messages", 0, cluster.read(topic).size());
    }

    private static void viewNoSuchMessage(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        String id = cluster.producer().send(Cluster.message(topic, "TagA", 0)).getOffsetMsgId();
        String beyond = id.substring(0, 16) + "00000FFFFFFFFFFF";
        try {
            cluster.producer().viewMessage(topic, beyond);
        } catch (Exception expected) {
            return;
        }
        throw new AssertionError("a message at an offset where there is none");
    }

    /** Sets a field of the send header (SendMessageRequestHeaderV2, which lives in another package in 5.x) just before it is encoded. */
    private record HeaderField(String setter, Class<?> type, Object value) implements RPCHook {
        @Override
        public void doBeforeRequest(String address, RemotingCommand request) {
            if (request.getCode() != 310) {
                return;
            }
            try {
                Method method = request.readCustomHeader().getClass().getMethod(setter, type);
                method.invoke(request.readCustomHeader(), value);
            } catch (ReflectiveOperationException e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public void doAfterResponse(String address, RemotingCommand request, RemotingCommand response) {
        }
    }
}
