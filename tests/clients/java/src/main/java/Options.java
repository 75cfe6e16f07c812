import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What a client may turn on: namespaces, unit mode, traces, other compressions. */
@SuppressWarnings("deprecation")
final class Options {
    private Options() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("namespace", cluster -> withRetry(cluster, "space", false));
        all.put("unit_mode", cluster -> withRetry(cluster, null, true));
        all.put("message_trace", Options::messageTrace);
        all.put("compressions", Options::compressions);
    }

    /** A message that is consumed twice, by clients that add something to the names of topics and groups. */
    private static void withRetry(Cluster cluster, String namespace, boolean unitMode) throws Exception {
        String topic = cluster.name("topic");
        cluster.topic(namespace == null ? topic : namespace + "%" + topic, 2);
        DefaultMQProducer producer = new DefaultMQProducer(cluster.name("own_producer"));
        cluster.ownClient(producer, producer::shutdown);
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        if (namespace != null) {
            producer.setNamespace(namespace);
            consumer.setNamespace(namespace);
            consumer.unsubscribe(topic);
            consumer.subscribe(topic, "*");
        }
        if (unitMode) {
            producer.setUnitName("unit");
            producer.setUnitMode(true);
            consumer.setUnitName("unit");
            consumer.setUnitMode(true);
        }
        Inbox inbox = new Inbox();
        consumer.registerMessageListener((MessageListenerConcurrently) (arrived, context) -> {
            arrived.forEach(inbox::add);
            context.setDelayLevelWhenNextConsume(1);
            boolean isFirst = arrived.get(0).getReconsumeTimes() == 0;
            return isFirst ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        cluster.startForRetries(consumer);
        producer.start();
        SendResult sent = producer.send(Cluster.message(topic, "TagA", 7));
        List<MessageExt> got = inbox.await(2);
        for (int i = 0; i < 2; i++) {
            Check.equal("reconsumeTimes", i, got.get(i).getReconsumeTimes());
            Check.equal("topic, as the listener sees it", topic, got.get(i).getTopic());
            Check.equal("body", "body 7", new String(got.get(i).getBody()));
            Check.equal("message id", sent.getMsgId(), got.get(i).getMsgId());
        }
    }

    /** Producer and consumer both write to the trace topic. */
    private static void messageTrace(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        DefaultMQPushConsumer traces = cluster.consumer("trace_reader", "RMQ_SYS_TRACE_TOPIC", "*");
        Inbox told = new Inbox().listen(traces);
        DefaultMQProducer producer = new DefaultMQProducer(cluster.name("traced"), null, true, null);
        cluster.ownClient(producer, producer::shutdown);
        producer.start();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(cluster.name("group"), null, new AllocateMessageQueueAveragely(), true, null);
        cluster.ownClient(consumer, consumer::shutdown);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        Inbox inbox = new Inbox().listen(consumer);
        consumer.start();
        SendResult sent = producer.send(Cluster.message(topic, "TagA", 7));
        inbox.await(1);
        cluster.start(traces);
        TreeSet<String> kinds = new TreeSet<>();
        Cluster.eventually("traces of " + sent.getMsgId(), () -> {
            for (MessageExt trace : told.messages()) {
                String text = new String(trace.getBody());
                boolean isOurs = text.contains(sent.getMsgId());
                for (String kind : List.of("Pub", "SubBefore", "SubAfter")) {
                    if (isOurs && text.contains(kind + "\1")) {
                        Check.that("the trace's keys lack the message id: " + trace.getKeys(), trace.getKeys().contains(sent.getMsgId()));
                        kinds.add(kind);
                    }
                }
            }
            return kinds.size() == 3;
        });
    }

    /** The broker keeps the body as it is; the flags say how to read it. 4.x has only zlib. */
    private static void compressions(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        MessageQueue queue = cluster.queues(topic).get(0); // Of one broker, if there are more: in the order of the sends.
        List<String> kinds = Compat.compressions();
        for (String kind : kinds) {
            DefaultMQProducer producer = cluster.producer(null, kind);
            producer.setCompressMsgBodyOverHowmuch(1_000);
            Compat.compression(producer, kind);
            producer.send(new Message(topic, kind, kind.repeat(10_000).getBytes()), queue);
        }
        List<MessageExt> got = cluster.read(topic);
        Check.equal("messages", kinds.size(), got.size());
        for (int i = 0; i < kinds.size(); i++) {
            MessageExt message = got.get(i);
            Check.equal("tags", kinds.get(i), message.getTags());
            Check.equal("body", kinds.get(i).repeat(10_000), new String(message.getBody()));
            Check.that("not compressed: " + message.getStoreSize(), message.getStoreSize() < 2_000);
            int kind = switch (kinds.get(i)) {
                case "LZ4" -> 1;
                case "ZSTD" -> 2;
                default -> 3;
            };
            Check.that("flags " + message.getSysFlag(), kinds.size() == 1 || (message.getSysFlag() >> 8 & 7) == kind);
        }
    }
}
