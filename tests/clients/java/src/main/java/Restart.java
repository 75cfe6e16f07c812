import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Two scenarios around a restart of the broker, clean or not: what was acknowledged and committed before the restart exists after it. */
final class Restart {
    private static final int CONSUMED = 50;
    private static final int WAITING = 10;

    private Restart() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("before_restart", Restart::before);
        all.put("after_restart", Restart::after);
    }

    /** Consumes and commits some messages, leaves others waiting. */
    private static void before(Cluster cluster) throws Exception {
        String topic = cluster.topic(cluster.shared("restart"), 2);
        DefaultMQPushConsumer consumer = cluster.consumer(cluster.shared("restart_group"), topic, "*");
        Inbox inbox = new Inbox().listen(consumer);
        send(cluster, topic, 0, CONSUMED);
        cluster.start(consumer);
        inbox.await(CONSUMED);
        cluster.consumed(consumer, topic);
        consumer.shutdown();
        send(cluster, topic, CONSUMED, CONSUMED + WAITING);
    }

    private static void after(Cluster cluster) throws Exception {
        String topic = cluster.shared("restart");
        Cluster.eventually("a route", () -> !cluster.queues(topic).isEmpty());
        Check.equal("messages", CONSUMED + WAITING, cluster.read(topic).size());
        Check.sameSet("bodies", Sending.numbered(CONSUMED + WAITING), Sending.bodies(cluster.read(topic)));

        DefaultMQPushConsumer consumer = cluster.consumer(cluster.shared("restart_group"), topic, "*");
        Inbox inbox = new Inbox().listen(consumer);
        cluster.start(consumer);
        inbox.await(WAITING);
        Thread.sleep(1_000); // for what must not come
        TreeSet<String> waiting = new TreeSet<>(Sending.numbered(CONSUMED + WAITING));
        waiting.removeAll(Sending.numbered(CONSUMED));
        Check.sameSet("of the group", waiting, inbox.bodies());

        Map<MessageQueue, Integer> lengths = cluster.queues(topic).stream().collect(Collectors.toMap(q -> q, q -> 0));
        for (MessageExt message : cluster.read(topic)) {
            lengths.merge(new MessageQueue(topic, message.getBrokerName(), message.getQueueId()), 1, Integer::sum);
        }
        for (MessageQueue queue : new ArrayList<>(lengths.keySet())) {
            SendResult sent = cluster.producer().send(Cluster.message(topic, "TagA", 1_000), queue);
            Check.equal("the next offset of " + queue, lengths.get(queue), sent.getQueueOffset());
        }
        inbox.await(WAITING + lengths.size());
    }

    private static void send(Cluster cluster, String topic, int from, int to) throws Exception {
        List<MessageQueue> queues = cluster.queues(topic);
        for (int i = from; i < to; i++) {
            SendResult sent = cluster.producer().send(Cluster.message(topic, "TagA", i), queues.get(i % queues.size()));
            Check.equal("sendStatus", SendStatus.SEND_OK, sent.getSendStatus());
        }
    }
}
