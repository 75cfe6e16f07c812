import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** What an administrator has forbidden: NO_PERMISSION, with a remark that says what. */
@SuppressWarnings("deprecation")
final class Permissions {
    private Permissions() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("topic_permissions", Permissions::topics);
        all.put("group_disabled", Permissions::groups);
        all.put("oversized_batch", Permissions::oversized);
    }

    private static void topics(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        MessageQueue queue = cluster.queues(topic).get(0);
        Request request = new Request(cluster);
        DefaultMQProducer producer = cluster.producer();
        producer.setRetryTimesWhenSendFailed(0);
        producer.send(Cluster.message(topic, "TagA", 0), queue);
        DefaultMQPullConsumer consumer = cluster.pullConsumer("puller");

        // Clients learn from the route that they may not send; a client that already knows the queue is not refused.
        permit(request, queue, 4);
        Cluster.eventually("no queue to send to", () -> {
            try {
                return !producer.fetchPublishMessageQueues(topic).contains(queue);
            } catch (MQClientException noRoute) {
                return true;
            }
        });
        Check.equal("messages", 1, consumer.pull(queue, "*", 0, 32).getMsgFoundList().size());

        permit(request, queue, 2);
        producer.send(Cluster.message(topic, "TagA", 1), queue);
        Check.refused(16, () -> consumer.pull(queue, "*", 0, 32));

        permit(request, queue, 6);
        Cluster.eventually("a queue to send to", () -> producer.fetchPublishMessageQueues(topic).contains(queue));
        producer.send(Cluster.message(topic, "TagA", 2), queue);
        Check.equal("messages", 3, consumer.pull(queue, "*", 0, 32).getMsgFoundList().size());
    }

    private static void permit(Request request, MessageQueue queue, int permission) throws Exception {
        Map<String, String> fields = Map.of("topic", queue.getTopic(), "defaultTopic", "TBW102", "readQueueNums", "1", "writeQueueNums", "1",
            "perm", Integer.toString(permission), "topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false");
        Check.equal("code", 0, request.ask(queue, 17, fields, null).code());
    }

    private static void groups(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        MessageQueue queue = cluster.queues(topic).get(0);
        Request request = new Request(cluster);
        cluster.producer().send(Cluster.message(topic, "TagA", 0), queue);
        DefaultMQPullConsumer consumer = cluster.pullConsumer("puller");
        for (boolean enabled : new boolean[] {false, true}) {
            String group = "{\"groupName\":\"" + cluster.name("puller") + "\",\"consumeEnable\":" + enabled
                + ",\"consumeFromMinEnable\":true,\"consumeBroadcastEnable\":true,\"retryQueueNums\":1,\"retryMaxTimes\":16,\"brokerId\":0}";
            Check.equal("code", 0, request.ask(queue, 200, Map.of(), group.getBytes(StandardCharsets.UTF_8)).code());
            if (enabled) {
                Check.equal("messages", 1, consumer.pull(queue, "*", 0, 32).getMsgFoundList().size());
            } else {
                Check.refused(16, () -> consumer.pull(queue, "*", 0, 32));
            }
        }
    }

    /**
     * The size of a batch is that of all its messages, and none of them is stored. ringmq answers MESSAGE_ILLEGAL; RocketMQ answers SYSTEM_ERROR, after
     * which the client retries twice.
     */
    private static void oversized(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        DefaultMQProducer producer = cluster.producer();
        producer.setMaxMessageSize(64 << 20);
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            batch.add(new Message(topic, new byte[1 << 20]));
        }
        try {
            Check.refused(13, () -> producer.send(batch));
        } catch (AssertionError asRocketmq) {
            Check.refused(1, () -> producer.send(batch));
        }
        Check.equal("messages", 0, cluster.read(topic).size());
    }
}
