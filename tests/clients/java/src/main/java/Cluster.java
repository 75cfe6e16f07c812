import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.store.OffsetStore;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.RPCHook;

/** One scenario's view of the cluster: its own names, and clients that are shut down when the scenario ends. */
final class Cluster implements AutoCloseable {
    private static final AtomicInteger INSTANCES = new AtomicInteger();

    private final String namesrv;
    private final String run;
    private final String prefix;
    private final List<Runnable> shutdowns = new ArrayList<>();
    private DefaultMQProducer producer;
    private DefaultMQPullConsumer reader;
    /** Printed behind PASS. */
    String note = "";

    Cluster(String namesrv, String run, String scenario) {
        this.namesrv = namesrv;
        this.run = run;
        this.prefix = run + "_" + scenario;
    }

    String namesrv() {
        return namesrv;
    }

    String name(String suffix) {
        return prefix + "_" + suffix;
    }

    /** A name that every scenario of this run gets. */
    String shared(String suffix) {
        return run + "_" + suffix;
    }

    /** A new topic with that many queues on every broker, known to the name server. */
    String topic(int queues) throws Exception {
        return topic(name("topic"), queues);
    }

    String topic(String topic, int queues) throws Exception {
        Compat.createTopic(producer(), topic, queues);
        long brokers = producer().fetchPublishMessageQueues("TBW102").stream().map(MessageQueue::getBrokerName).distinct().count();
        eventually("a route for " + topic, () -> producer().fetchPublishMessageQueues(topic).size() == queues * brokers);
        return topic;
    }

    List<MessageQueue> queues(String topic) throws Exception {
        List<MessageQueue> queues = new ArrayList<>(producer().fetchPublishMessageQueues(topic));
        queues.sort(null);
        return queues;
    }

    /** The scenario's usual producer. */
    DefaultMQProducer producer() throws Exception {
        if (producer == null) {
            producer = producer(null, "producer");
        }
        return producer;
    }

    DefaultMQProducer producer(RPCHook hook, String suffix) throws Exception {
        DefaultMQProducer started = new DefaultMQProducer(name(suffix), hook);
        configure(started);
        started.setSendMsgTimeout(10_000);
        started.start();
        shutdowns.add(started::shutdown);
        return started;
    }

    TransactionMQProducer transactionProducer(String suffix, TransactionListener listener) throws Exception {
        TransactionMQProducer started = new TransactionMQProducer(name(suffix));
        configure(started);
        started.setSendMsgTimeout(10_000);
        started.setHeartbeatBrokerInterval(1_000);
        started.setTransactionListener(listener);
        started.start();
        shutdowns.add(started::shutdown);
        return started;
    }

    /** Not yet started: give it a listener, then {@link #start}. */
    DefaultMQPushConsumer consumer(String group, String topic, String tags) throws Exception {
        return consumer(null, group, topic, tags);
    }

    DefaultMQPushConsumer consumer(RPCHook hook, String group, String topic, String tags) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group.startsWith(run) ? group : name(group), hook, new AllocateMessageQueueAveragely());
        configure(consumer);
        // The defaults of 30 s would make every scenario as long: a client learns of a %RETRY% topic only by polling.
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, tags);
        return consumer;
    }

    DefaultMQPushConsumer start(DefaultMQPushConsumer consumer) throws Exception {
        consumer.start();
        shutdowns.add(consumer::shutdown);
        return consumer;
    }

    /** As {@link #start}, and waits until the consumer reads its retry topic, which otherwise takes up to 20 s. */
    DefaultMQPushConsumer startForRetries(DefaultMQPushConsumer consumer) throws Exception {
        start(consumer);
        eventually("a queue of the retry topic", () -> {
            consumer.getDefaultMQPushConsumerImpl().doRebalance();
            return !assigned(consumer, "%RETRY%" + consumer.getConsumerGroup()).isEmpty();
        });
        return consumer;
    }

    @SuppressWarnings("deprecation")
    DefaultMQPullConsumer pullConsumer(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(name(group));
        configure(consumer);
        // The client learns from the answer to a heartbeat that the broker is new enough for SQL92.
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.start();
        shutdowns.add(consumer::shutdown);
        return consumer;
    }

    DefaultLitePullConsumer litePullConsumer(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(name(group));
        configure(consumer);
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return consumer;
    }

    DefaultLitePullConsumer start(DefaultLitePullConsumer consumer) throws Exception {
        consumer.start();
        shutdowns.add(consumer::shutdown);
        return consumer;
    }

    /** All messages of the topic, read queue by queue; fails if the offsets of a queue are not 0, 1, 2, ... */
    List<MessageExt> read(String topic) throws Exception {
        if (reader == null) {
            reader = pullConsumer("reader");
        }
        List<MessageExt> messages = new ArrayList<>();
        for (MessageQueue queue : queues(topic)) {
            long offset = 0;
            while (offset < reader.maxOffset(queue)) {
                PullResult pulled = reader.pull(queue, "*", offset, 32);
                Check.equal("status of a pull at " + offset + " of " + queue, PullStatus.FOUND, pulled.getPullStatus());
                for (MessageExt message : pulled.getMsgFoundList()) {
                    Check.equal("offset in " + queue, offset, message.getQueueOffset());
                    messages.add(message);
                    offset++;
                }
                Check.equal("nextBeginOffset", offset, pulled.getNextBeginOffset());
            }
        }
        return messages;
    }

    static Message message(String topic, String tags, int n) {
        Message message = new Message(topic, tags, "key-" + n, ("body " + n).getBytes());
        message.putUserProperty("n", Integer.toString(n));
        return message;
    }

    static Set<MessageQueue> assigned(DefaultMQPushConsumer consumer, String topic) {
        Set<MessageQueue> queues = new java.util.TreeSet<>(consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet());
        queues.removeIf(queue -> !queue.getTopic().equals(topic));
        return queues;
    }

    /** Waits until the offset of each assigned queue is behind its last message: it moves after the listener has returned. */
    void consumed(DefaultMQPushConsumer consumer, String topic) throws Exception {
        OffsetStore offsets = consumer.getDefaultMQPushConsumerImpl().getOffsetStore();
        eventually("offsets behind the last messages of " + topic, () -> {
            for (MessageQueue queue : assigned(consumer, topic)) {
                if (Math.max(0, offsets.readOffset(queue, ReadOffsetType.READ_FROM_MEMORY)) < producer().maxOffset(queue)) {
                    return false;
                }
            }
            return true;
        });
    }

    /** Repeats the check until it holds, for 90 s at most. An exception counts as "not yet". */
    static void eventually(String what, Callable<Boolean> holds) throws Exception {
        eventually(what, 90, holds);
    }

    static void eventually(String what, int seconds, Callable<Boolean> holds) throws Exception {
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        Exception last = null;
        while (System.nanoTime() < deadline) {
            try {
                if (holds.call()) {
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

    /** A client with further settings, and how to shut it down. */
    void ownClient(ClientConfig client, Runnable shutdown) {
        configure(client);
        shutdowns.add(shutdown);
    }

    private void configure(ClientConfig client) {
        client.setNamesrvAddr(namesrv);
        // One connection and one client id per client, as separate applications would have.
        client.setInstanceName(prefix + "_" + INSTANCES.incrementAndGet());
    }

    @Override
    public void close() {
        for (int i = shutdowns.size() - 1; i >= 0; i--) {
            shutdowns.get(i).run();
        }
    }
}
