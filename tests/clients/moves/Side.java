import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The broker that owns the store now, RocketMQ or ringmq, and this program's clients of it. */
@SuppressWarnings("deprecation")
final class Side implements AutoCloseable {
    static final String BROKER = "broker-a";
    static final long TIMEOUT_MS = 30_000;

    final String namesrv;
    final String broker;
    final DefaultMQAdminExt admin;
    final DefaultMQProducer producer;
    final DefaultMQPullConsumer reader;
    private final List<Runnable> shutdowns = new ArrayList<>();

    Side(String namesrv, String broker) throws Exception {
        this.namesrv = namesrv;
        this.broker = broker;
        admin = configured(new DefaultMQAdminExt(TIMEOUT_MS));
        admin.start();
        shutdowns.add(admin::shutdown);
        producer = configured(new DefaultMQProducer("moves_producer"));
        producer.setSendMsgTimeout((int) TIMEOUT_MS);
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
        shutdowns.add(producer::shutdown);
        reader = configured(new DefaultMQPullConsumer("moves_reader"));
        reader.setHeartbeatBrokerInterval(1_000);
        reader.start();
        shutdowns.add(reader::shutdown);
        eventually("the broker answers", 40, () -> !topics().isEmpty());
    }

    <C extends ClientConfig> C configured(C client) {
        client.setNamesrvAddr(namesrv);
        client.setInstanceName("moves" + shutdowns.size());
        client.setPollNameServerInterval(1_000);
        client.setHeartbeatBrokerInterval(1_000);
        return client;
    }

    /** A producer that has sent nothing yet knows no broker for its heartbeats, so it is given that of the topic. */
    TransactionMQProducer transactions(String group, String topic, org.apache.rocketmq.client.producer.TransactionListener listener) throws Exception {
        TransactionMQProducer started = configured(new TransactionMQProducer(group));
        started.setTransactionListener(listener);
        started.setSendMsgTimeout((int) TIMEOUT_MS);
        started.start();
        started.getDefaultMQProducerImpl().getMqClientFactory().updateTopicRouteInfoFromNameServer(topic);
        shutdowns.add(started::shutdown);
        return started;
    }

    MQClientInstance client() {
        return producer.getDefaultMQProducerImpl().getMqClientFactory();
    }

    MQClientAPIImpl api() {
        return client().getMQClientAPIImpl();
    }

    /** Every topic of the broker, its own ones too. */
    Map<String, TopicConfig> topics() throws Exception {
        return new TreeMap<>(admin.getAllTopicConfig(broker, TIMEOUT_MS).getTopicConfigTable());
    }

    void topic(String name, int queues, int perm, Map<String, String> attributes) throws Exception {
        TopicConfig config = new TopicConfig(name, queues, queues, perm);
        config.setAttributes(new java.util.HashMap<>(attributes));
        config.setOrder(attributes.containsValue("FIFO"));
        admin.createAndUpdateTopicConfig(broker, config);
        if (org.apache.rocketmq.common.constant.PermName.isWriteable(perm)) {
            eventually("a route for " + name, 40, () -> producer.fetchPublishMessageQueues(name).size() == queues);
        }
    }

    MessageQueue queue(String topic, int id) {
        return new MessageQueue(topic, BROKER, id);
    }

    /** Also of topics that no name server knows. */
    long max(MessageQueue queue) throws Exception {
        return api().getMaxOffset(broker, queue, TIMEOUT_MS);
    }

    long min(MessageQueue queue) throws Exception {
        return api().getMinOffset(broker, queue, TIMEOUT_MS);
    }

    /** All messages of a queue, which must be dense. */
    List<MessageExt> read(MessageQueue queue) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        long offset = min(queue);
        long end = max(queue);
        while (offset < end) {
            PullResult pulled = pull(queue, offset);
            if (pulled.getPullStatus() != PullStatus.FOUND) {
                throw new AssertionError(pulled.getPullStatus() + " at " + offset + " of " + queue + ", which has " + min(queue) + ".." + end);
            }
            for (MessageExt message : pulled.getMsgFoundList()) {
                if (message.getQueueOffset() != offset) {
                    throw new AssertionError("offset " + message.getQueueOffset() + " in place of " + offset + " in " + queue);
                }
                messages.add(message);
                offset++;
            }
        }
        return messages;
    }

    private PullResult pull(MessageQueue queue, long offset) throws Exception {
        Exception last = null;
        for (int i = 0; i < 50; i++) {
            try {
                return reader.pull(queue, "*", offset, 32, 20_000);
            } catch (org.apache.rocketmq.client.exception.MQClientException | org.apache.rocketmq.client.exception.MQBrokerException notYet) {
                last = notYet; // the route of a topic that was just made
                Thread.sleep(200);
            }
        }
        throw last;
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static void eventually(String what, int seconds, Condition condition) throws Exception {
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        Exception last = null;
        while (System.nanoTime() < deadline) {
            try {
                if (condition.holds()) {
                    return;
                }
            } catch (InterruptedException e) {
                throw e;
            } catch (Exception e) {
                last = e;
            }
            Thread.sleep(100);
        }
        throw new AssertionError("not within " + seconds + " s: " + what + (last == null ? "" : " (" + last + ")"));
    }

    @Override
    public void close() {
        for (int i = shutdowns.size() - 1; i >= 0; i--) {
            shutdowns.get(i).run();
        }
    }
}
