import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** Uses every feature that writes to a store, and records what the broker acknowledged. Pending messages come last. */
final class Fill {
    static final String ID = "id";
    /** As the brokers are configured: how often they ask about a transaction, and write it again before. */
    static final long CHECK_INTERVAL_MS = 1_000;
    private static final int PATIENCE_LEVEL = 3; // 10 s
    private static final int LONG_LEVEL = 4; // 30 s
    /** A broker is killed before it brings back what is hidden so long, also on a busy machine. */
    private static final long HIDDEN_MS = 23_000;
    private static final long LONGER_HIDDEN_MS = 28_000;
    private static final long[] LEVEL_MS = {0, 1_000, 5_000, 10_000, 30_000};

    private final Side side;
    private final Ledger ledger;
    private final String prefix;
    private final int count;
    private final Random random;
    private int ids;

    Fill(Side side, Ledger ledger, String prefix, int count) {
        this.side = side;
        this.ledger = ledger;
        this.prefix = prefix;
        this.count = count;
        this.random = new Random(prefix.hashCode());
    }

    void run() throws Exception {
        topicsAndGroups();
        ordinary();
        batches();
        compressed();
        big();
        oneWay();
        madeAgain();
        consumed();
        orderly();
        ended();
        pending();
        lookAtAll();
    }

    /** Sends until the broker is gone; each send is recorded before and after. */
    void untilKilled() throws Exception {
        String topic = name("plain");
        for (int i = 0; ; i++) {
            Message message = message(topic, "burst", 200 + random.nextInt(2_000));
            ledger.note("attempt", "id", message.getUserProperty(ID), "topic", topic);
            try {
                send(message, side.queue(topic, i % 4));
            } catch (IOException e) {
                throw e;
            } catch (Exception gone) {
                return;
            }
        }
    }

    private String name(String suffix) {
        return prefix + "_" + suffix;
    }

    private void topicsAndGroups() throws Exception {
        topic("plain", 4, 6, Map.of());
        topic("one", 1, 6, Map.of());
        topic("many", 16, 6, Map.of());
        topic("fifo", 2, 6, Map.of("+message.type", "FIFO"));
        topic("again", 2, 6, Map.of());
        topic("later", 2, 6, Map.of());
        topic("popped", 1, 6, Map.of());
        group("lag", group -> { });
        group("end", group -> { });
        group("rewound", group -> { });
        group("retried", group -> {
            group.setRetryMaxTimes(3);
            group.setRetryQueueNums(2);
        });
        group("broadcast", group -> group.setConsumeBroadcastEnable(false));
        group("disabled", group -> group.setConsumeEnable(false));
        group("popping", group -> { });
        group("fifo", group -> group.setConsumeMessageOrderly(true));
        group("transactions", group -> { });
    }

    private void topic(String suffix, int queues, int perm, Map<String, String> attributes) throws Exception {
        side.topic(name(suffix), queues, perm, attributes);
    }

    private interface Options {
        void set(SubscriptionGroupConfig group);
    }

    private void group(String suffix, Options options) throws Exception {
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName(name(suffix));
        options.set(group);
        side.admin.createAndUpdateSubscriptionGroupConfig(side.broker, group);
    }

    /** Tags, keys, properties, flags, letters of all kinds. */
    private void ordinary() throws Exception {
        for (int i = 0; i < count; i++) {
            String topic = name(i % 4 == 0 ? "many" : i % 4 == 1 ? "one" : "plain");
            Message message = message(topic, "Tag" + i % 3, 1 + random.nextInt(1_500));
            message.setKeys(message.getUserProperty(ID) + (i % 5 == 0 ? " second-" + i + " \u00fc\u4e2d" : ""));
            if (i % 7 == 0) {
                message.setFlag(random.nextInt());
            }
            if (i % 6 == 0) {
                message.putUserProperty("caf\u00e9", "\u4e2d\u6587 \ud83d\ude00 " + i);
                message.putUserProperty("long", "x".repeat(1 + random.nextInt(3_000)));
            }
            if (i % 9 == 0) {
                message.setBody(("\u4ed8\u6b3e " + i + " \ud83d\ude80").getBytes(java.nio.charset.StandardCharsets.UTF_8));
            }
            if (i % 10 == 0) {
                message.setTags(null);
            }
            int queues = topic.endsWith("many") ? 16 : topic.endsWith("one") ? 1 : 4;
            send(message, side.queue(topic, random.nextInt(queues)));
        }
        // A topic that can only be read from now on.
        topic("closed", 1, 6, Map.of());
        send(message(name("closed"), "TagA", 100), side.queue(name("closed"), 0));
        topic("closed", 1, 4, Map.of());
    }

    private void batches() throws Exception {
        String topic = name("plain");
        for (int i = 0; i < 10; i++) {
            List<Message> batch = new ArrayList<>();
            for (int j = 0; j <= i; j++) {
                batch.add(message(topic, "Batch", 1 + random.nextInt(500)));
            }
            SendResult sent = side.producer.send(batch, side.queue(topic, i % 4));
            String[] msgIds = sent.getOffsetMsgId().split(",");
            String[] keys = sent.getMsgId().split(",");
            for (int j = 0; j <= i; j++) {
                acknowledged(batch.get(j), topic, i % 4, sent.getQueueOffset() + j, msgIds[j], keys[j]);
            }
        }
    }

    private void compressed() throws Exception {
        for (CompressionType type : CompressionType.values()) {
            side.producer.setCompressType(type);
            for (int i = 0; i < 3; i++) {
                Message message = message(name("plain"), "Compressed", 0);
                message.setBody((type + " " + i + " again and again ").repeat(2_000 + 1_000 * i).getBytes());
                send(message, side.queue(name("plain"), i));
            }
        }
    }

    private void big() throws Exception {
        // Compression would make random bytes larger than the limit.
        side.producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        for (int i = 0; i < 2; i++) {
            send(message(name("one"), "Big", 4 * 1024 * 1024), side.queue(name("one"), 0));
        }
    }

    private void oneWay() throws Exception {
        for (int i = 0; i < 20; i++) {
            side.producer.sendOneway(message(name("one"), "OneWay", 300), side.queue(name("one"), 0));
        }
    }

    /** The offsets of a topic that is created again begin at 0. */
    private void madeAgain() throws Exception {
        String topic = name("again");
        for (int i = 0; i < 25; i++) {
            side.producer.send(message(topic, "First", 100), side.queue(topic, i % 2));
        }
        side.admin.deleteTopicInBroker(java.util.Set.of(side.broker), topic);
        Side.eventually(topic + " is gone", 20, () -> !side.topics().containsKey(topic));
        topic("again", 2, 6, Map.of());
        for (int i = 0; i < 10; i++) {
            SendResult sent = send(message(topic, "Second", 100), side.queue(topic, i % 2));
            equal("offset of a topic that was made again", i / 2, sent.getQueueOffset());
        }
    }

    private void consumed() throws Exception {
        String topic = name("plain");
        for (int id = 0; id < 4; id++) {
            MessageQueue queue = side.queue(topic, id);
            long max = side.max(queue);
            for (long offset = 0; offset < max / 2; offset += 16) {
                commit("lag", queue, offset);
            }
            commit("lag", queue, max / 2);
            commit("end", queue, max);
            commit("rewound", queue, max);
            commit("rewound", queue, 3);
            commit("disabled", queue, 1);
        }
    }

    private void commit(String suffix, MessageQueue queue, long offset) throws Exception {
        commit(name(suffix), queue, offset, true);
    }

    private void commit(String group, MessageQueue queue, long offset, boolean isAsked) throws Exception {
        if (isAsked) {
            side.admin.updateConsumeOffset(side.broker, group, queue, offset);
        }
        ledger.note("offset", "group", group, "topic", queue.getTopic(), "queue", queue.getQueueId(), "offset", offset, "at", System.currentTimeMillis());
    }

    private void orderly() throws Exception {
        String topic = name("fifo");
        for (int i = 0; i < 40; i++) {
            Message message = message(topic, "TagA", 50);
            message.putUserProperty(MessageConst.PROPERTY_SHARDING_KEY, "order-" + i % 5);
            send(message, side.queue(topic, i % 5 % 2));
        }
        commit("fifo", side.queue(topic, 0), 7);
    }

    /** Delays, timed messages, transactions and retries that are over when the store changes hands. */
    private void ended() throws Exception {
        later(message(name("later"), "Delay", 100), 1);
        timed(message(name("later"), "Timed", 100), 1_500);
        transaction("committed", LocalTransactionState.COMMIT_MESSAGE);
        transaction("rolled", LocalTransactionState.ROLLBACK_MESSAGE);
        String group = name("retried");
        List<MessageExt> messages = side.read(side.queue(name("plain"), 0));
        for (int i = 0; i < 3; i++) {
            back(messages.get(i), group, -1, "%DLQ%" + group);
        }
        Thread.sleep(3_000);
    }

    private void pending() throws Exception {
        transaction("open", LocalTransactionState.UNKNOW);
        popped();
        for (int i = 0; i < 20; i++) {
            later(message(name("later"), "Delay", 100), i % 2 == 0 ? PATIENCE_LEVEL : LONG_LEVEL);
        }
        for (int i = 0; i < 40; i++) {
            timed(message(name("later"), "Timed", 100), i < 35 ? 10_000 + 500 * i : 90_000);
        }
        for (int i = 0; i < 5; i++) {
            Message message = message(name("later"), "Never", 100);
            message.setDelayTimeMs(14_000 + 1_000 * i);
            SendResult sent = side.producer.send(message);
            side.producer.recallMessage(name("later"), sent.getRecallHandle());
            ledger.note("never", "id", id(message), "topic", name("later"));
        }
        Message farOff = message(name("later"), "FarOff", 100);
        farOff.setDelayTimeMs(3_600_000);
        side.producer.send(farOff);
        ledger.note("never", "id", id(farOff), "topic", name("later"));
        String group = name("retried");
        List<MessageExt> messages = side.read(side.queue(name("plain"), 1));
        for (int i = 0; i < 8; i++) {
            back(messages.get(i), group, i % 2 == 0 ? PATIENCE_LEVEL : LONG_LEVEL, "%RETRY%" + group);
        }
    }

    private void later(Message message, int level) throws Exception {
        message.setDelayTimeLevel(level);
        due(message, LEVEL_MS[level]);
    }

    private void timed(Message message, long delayMs) throws Exception {
        message.setDelayTimeMs(delayMs);
        due(message, delayMs);
    }

    private void due(Message message, long delayMs) throws Exception {
        // Of the broker's time nothing more is known than that it is behind now.
        long now = System.currentTimeMillis();
        equal("sendStatus", SendStatus.SEND_OK, side.producer.send(message).getSendStatus());
        ledger.note("due", "id", id(message), "topic", message.getTopic(), "at", now + delayMs - 500, "isTimed", message.getDelayTimeLevel() == 0);
    }

    private void back(MessageExt message, String group, int level, String topic) throws Exception {
        long now = System.currentTimeMillis();
        side.api().consumerSendMessageBack(side.broker, Side.BROKER, message, group, level, Side.TIMEOUT_MS, 16);
        ledger.note("due", "id", message.getUserProperty(ID), "topic", topic, "at", level > 0 ? now + LEVEL_MS[level] - 500 : 0);
    }

    /** One transaction of each outcome in a producer's group; those without an outcome are to be checked. */
    private void transaction(String kind, LocalTransactionState state) throws Exception {
        TransactionMQProducer producer = side.transactions(name("transactions"), name("plain"), new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return state;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.UNKNOW;
            }
        });
        for (int i = 0; i < 4; i++) {
            Message message = message(name("plain"), kind, 100);
            producer.sendMessageInTransaction(message, null);
            boolean comes = state != LocalTransactionState.ROLLBACK_MESSAGE;
            // RocketMQ writes what it asks about again and notes only now and then that it has: a kill may leave several of them.
            boolean isAsked = state == LocalTransactionState.UNKNOW;
            ledger.note(comes ? "due" : "never", "id", id(message), "topic", name("plain"), "at", 0, "isAsked", isAsked);
        }
        Thread.sleep(300); // their ends are sent one-way
        producer.shutdown();
    }

    /** Twelve are popped: four acknowledged, two hidden for longer, six left alone; and four are not popped yet. */
    private void popped() throws Exception {
        String topic = name("popped");
        String group = name("popping");
        for (int i = 0; i < 16; i++) {
            send(message(topic, "TagA", 50), side.queue(topic, 0));
        }
        List<MessageExt> popped = new ArrayList<>();
        while (popped.size() < 12) {
            popped.addAll(pop(side, group, topic, 4, HIDDEN_MS));
        }
        long now = System.currentTimeMillis();
        for (int i = 0; i < 12; i++) {
            MessageExt message = popped.get(i);
            String receipt = message.getProperty(MessageConst.PROPERTY_POP_CK);
            if (i % 3 == 0) {
                acknowledge(side, group, topic, message);
                ledger.note("never", "id", message.getUserProperty(ID), "topic", "%RETRY%" + group);
            } else if (i == 4 || i == 7) {
                hide(topic, group, receipt, LONGER_HIDDEN_MS);
                ledger.note("due", "id", message.getUserProperty(ID), "topic", "%RETRY%" + group, "at", now + LONGER_HIDDEN_MS - 1_500);
            } else {
                ledger.note("due", "id", message.getUserProperty(ID), "topic", "%RETRY%" + group, "at", now + HIDDEN_MS - 4_000);
            }
        }
        commit(group, side.queue(topic, 0), 12, false);
    }

    static List<MessageExt> pop(Side side, String group, String topic, int count, long invisibleMs) throws Exception {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(-1);
        header.setMaxMsgNums(count);
        header.setInvisibleTime(invisibleMs);
        header.setPollTime(1_000);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(0);
        header.setExpType("TAG");
        header.setExp("*");
        header.setOrder(false);
        CompletableFuture<PopResult> result = new CompletableFuture<>();
        side.api().popMessageAsync(Side.BROKER, side.broker, header, 5_000, new PopCallback() {
            @Override
            public void onSuccess(PopResult popped) {
                result.complete(popped);
            }

            @Override
            public void onException(Throwable e) {
                result.completeExceptionally(e);
            }
        });
        List<MessageExt> found = result.get(60, TimeUnit.SECONDS).getMsgFoundList();
        return found == null ? List.of() : found;
    }

    static void acknowledge(Side side, String group, String topic, MessageExt message) throws Exception {
        String receipt = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] words = ExtraInfoUtil.split(receipt);
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(words, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(words));
        header.setOffset(ExtraInfoUtil.getQueueOffset(words));
        header.setExtraInfo(receipt);
        Answer answer = new Answer();
        side.api().ackMessageAsync(side.broker, 5_000, answer, header);
        answer.await("an acknowledgement");
    }

    private void hide(String topic, String group, String receipt, long ms) throws Exception {
        String[] words = ExtraInfoUtil.split(receipt);
        ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(words, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(words));
        header.setOffset(ExtraInfoUtil.getQueueOffset(words));
        header.setExtraInfo(receipt);
        header.setInvisibleTime(ms);
        Answer answer = new Answer();
        side.api().changeInvisibleTimeAsync(Side.BROKER, side.broker, header, 5_000, answer);
        answer.await("a change of the invisible time");
    }

    private static final class Answer implements AckCallback {
        private final CompletableFuture<AckResult> result = new CompletableFuture<>();

        void await(String what) throws Exception {
            equal(what, "OK", result.get(60, TimeUnit.SECONDS).getStatus().name());
        }

        @Override
        public void onSuccess(AckResult done) {
            result.complete(done);
        }

        @Override
        public void onException(Throwable e) {
            result.completeExceptionally(e);
        }
    }

    /** The whole store as a client sees it. Pending messages are left out: their `due` lines say when they are delivered. */
    private void lookAtAll() throws Exception {
        for (Map.Entry<String, TopicConfig> topic : side.topics().entrySet()) {
            ledger.note("topic", "name", topic.getKey(), "config", shown(topic.getValue()));
            for (int id = 0; id < topic.getValue().getReadQueueNums(); id++) {
                MessageQueue queue = side.queue(topic.getKey(), id);
                long max = side.max(queue);
                ledger.note("bounds", "topic", queue.getTopic(), "queue", id, "min", side.min(queue), "max", max);
                if (max == 0) {
                    continue;
                }
                for (MessageExt message : side.read(queue)) {
                    ledger.note("stored", "topic", queue.getTopic(), "queue", id, "offset", message.getQueueOffset(), "message", Ledger.shown(message));
                }
            }
        }
        side.admin.getAllSubscriptionGroup(side.broker, Side.TIMEOUT_MS).getSubscriptionGroupTable().forEach((name, group) -> {
            try {
                ledger.note("group", "name", name, "config", String.valueOf(group));
            } catch (IOException e) {
                throw new java.io.UncheckedIOException(e);
            }
        });
    }

    static String shown(TopicConfig topic) {
        return topic.getReadQueueNums() + " " + topic.getWriteQueueNums() + " " + topic.getPerm() + " " + topic.getTopicFilterType() + " "
            + topic.getTopicSysFlag() + " " + topic.isOrder() + " " + new java.util.TreeMap<>(topic.getAttributes());
    }

    private Message message(String topic, String tags, int bytes) {
        byte[] body = new byte[bytes];
        random.nextBytes(body);
        Message message = new Message(topic, tags, body);
        message.putUserProperty(ID, prefix + "-" + ids++);
        return message;
    }

    private static String id(Message message) {
        return message.getUserProperty(ID);
    }

    private SendResult send(Message message, MessageQueue queue) throws Exception {
        SendResult sent = side.producer.send(message, queue);
        equal("sendStatus", SendStatus.SEND_OK, sent.getSendStatus());
        acknowledged(message, queue.getTopic(), queue.getQueueId(), sent.getQueueOffset(), sent.getOffsetMsgId(), sent.getMsgId());
        return sent;
    }

    private void acknowledged(Message message, String topic, int queue, long offset, String msgId, String key) throws Exception {
        Map<String, String> properties = new HashMap<>(message.getProperties());
        ledger.note("acknowledged", "id", id(message), "topic", topic, "queue", queue, "offset", offset, "msgId", msgId, "key", key,
            "crc", Ledger.crc(message.getBody()), "flag", message.getFlag(), "keys", message.getKeys(), "properties", properties);
    }

    static void equal(String what, Object expected, Object got) {
        boolean same = expected instanceof Number a && got instanceof Number b ? a.longValue() == b.longValue() : java.util.Objects.equals(expected, got);
        if (!same) {
            throw new AssertionError(what + ": expected " + expected + ", got " + got);
        }
    }
}
