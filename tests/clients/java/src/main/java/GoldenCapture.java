import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * The traffic behind tests/golden: `GoldenCapture NAMESRV PART`, run through record/record.py, see record/capture.sh.
 * PART is `send` (the shortest conversation: route, one message, heartbeat), `pull` (one message, then a pull consumer) or `all`.
 */
public final class GoldenCapture {
    public static void main(String[] args) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("GoldenProducer");
        producer.setNamesrvAddr(args[0]);
        producer.setInstanceName("golden-" + args[1] + "-producer");
        producer.start();
        try {
            if (args[1].equals("send")) {
                producer.send(tagged("TagA", "key-1", "Hello golden"));
                Thread.sleep(2_000); // the heartbeat goes out one second after the start
                producer.fetchPublishMessageQueues("GoldenTopic"); // the route, now that there is one
            } else if (args[1].equals("pull")) {
                pull(args[0], producer.send(tagged("TagB", "key-0", "Hello again")));
            } else {
                all(args[0], producer);
            }
        } finally {
            producer.shutdown();
        }
        System.exit(0); // the 4.x client leaves threads behind
    }

    private static void all(String namesrv, DefaultMQProducer producer) throws Exception {
        SendResult first = producer.send(tagged("TagA", "key-0 other-key", "golden body 0"));
        for (int i = 1; i < 8; i++) {
            producer.send(tagged(i % 2 == 0 ? "TagA" : "TagB", "key-" + i + " other-key", "golden body " + i));
        }
        MessageQueue queue = first.getMessageQueue();
        producer.send(new Message("GoldenTopic", new byte[] {0}), queue);
        producer.send(new Message("GoldenTopic", "TagA", "compressed", "golden ".repeat(1_000).getBytes()), queue);
        Message wide = tagged("TagC", "wide", "wide properties");
        for (int i = 0; i < 40; i++) {
            wide.putUserProperty("property-" + i, "value of the property, in letters such as \u00e4\u4e2d: " + i);
        }
        producer.send(wide, queue);
        producer.sendOneway(tagged("TagA", "oneway", "one-way"), queue);
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            batch.add(tagged("TagA", "batch-" + i, "batch body " + i));
        }
        producer.send(batch, queue);

        Message tooWide = tagged("TagA", "too-wide", "refused with MESSAGE_ILLEGAL");
        tooWide.putUserProperty("wide", "w".repeat(33_000));
        refused(producer, tooWide);

        pull(namesrv, first);
        push(namesrv);
        orderly(namesrv);
        // capture.sh calls mqadmin (202, 203, 204, 208) while this waits; mqadmin reads the state that is left.
        DefaultMQPushConsumer online = pusher(namesrv, "GoldenGroup", "online");
        online.registerMessageListener((MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        online.start();
        producer.send(tagged("TagA", "key-late", "one for the parked pull"), queue);
        System.out.println("READY");
        System.in.read();
        online.shutdown();
    }

    private static void refused(DefaultMQProducer producer, Message message) throws Exception {
        try {
            producer.send(message);
            throw new IllegalStateException("was accepted");
        } catch (MQBrokerException expected) {
            System.out.println("refused with " + expected.getResponseCode());
        }
    }

    @SuppressWarnings("deprecation")
    private static void pull(String namesrv, SendResult sent) throws Exception {
        MessageQueue queue = sent.getMessageQueue();
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("GoldenPullGroup");
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("golden-pull");
        consumer.start();
        long max = consumer.maxOffset(queue);
        consumer.minOffset(queue);
        consumer.earliestMsgStoreTime(queue);
        consumer.searchOffset(queue, System.currentTimeMillis() - 1_000);
        consumer.pull(queue, "TagA || TagB", 0, 32);   // FOUND
        consumer.pull(queue, "NoSuchTag", 0, 32);      // NO_MATCHED_MSG
        consumer.pull(queue, "*", max, 32);            // NO_NEW_MSG
        consumer.pull(queue, "*", max + 100, 32);      // OFFSET_ILLEGAL
        consumer.pull(queue, "*", 0, 1);
        consumer.updateConsumeOffset(queue, 1);
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().updateConsumeOffsetToBroker(queue, 1, false);
        consumer.fetchConsumeOffset(queue, true);
        consumer.viewMessage("GoldenTopic", sent.getOffsetMsgId());
        consumer.queryMessage("GoldenTopic", "key-0", 32, 0, Long.MAX_VALUE);
        consumer.shutdown();
    }

    private static void push(String namesrv) throws Exception {
        CountDownLatch returned = new CountDownLatch(1);
        AtomicBoolean refusedOne = new AtomicBoolean();
        DefaultMQPushConsumer consumer = pusher(namesrv, "GoldenGroup", "push");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            if (messages.get(0).getReconsumeTimes() > 0) {
                returned.countDown();
            } else if (refusedOne.compareAndSet(false, true)) {
                context.setDelayLevelWhenNextConsume(1);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        returned.await(60, TimeUnit.SECONDS);
        Thread.sleep(6_000); // the offsets are persisted every 5 s
        consumer.shutdown();
    }

    private static void orderly(String namesrv) throws Exception {
        CountDownLatch consumed = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = pusher(namesrv, "GoldenOrderlyGroup", "orderly");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            consumed.countDown();
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        consumed.await(30, TimeUnit.SECONDS);
        Thread.sleep(2_000);
        consumer.shutdown();
    }

    private static DefaultMQPushConsumer pusher(String namesrv, String group, String instance) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("golden-" + instance);
        consumer.subscribe("GoldenTopic", "TagA || TagB");
        return consumer;
    }

    private static Message tagged(String tags, String keys, String body) {
        Message message = new Message("GoldenTopic", tags, keys, body.getBytes());
        message.putUserProperty("colour", "green");
        return message;
    }
}
