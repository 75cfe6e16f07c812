import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.BitSet;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** POP: push consumers to whom the broker assigns no queues, and the requests one by one. */
final class Popping {
    private static final int POP = 200050;
    private static final int ACK = 200051;
    private static final int PEEK = 200052;
    private static final int CHANGE_INVISIBLE_TIME = 200053;
    private static final int NOTIFICATION = 200054;
    private static final int POLLING_INFO = 200055;
    private static final int BATCH_ACK = 200151;
    private static final int QUERY_ASSIGNMENT = 400;
    private static final int SET_MESSAGE_REQUEST_MODE = 401;

    /** A real broker brings messages back some seconds after their time. */
    private static final long LATE_MS = 20_000;

    private Popping() {
    }

    /** None for 4.x, whose client has no POP. */
    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        if (Arrays.stream(DefaultMQPushConsumer.class.getMethods()).noneMatch(method -> method.getName().equals("setPopInvisibleTime"))) {
            return;
        }
        all.put("pop_push_consumer", Popping::pushConsumer);
        all.put("pop_consumer_dies", Popping::consumerDies);
        all.put("pop_requests", Popping::requests);
        all.put("pop_change_and_batch_ack", Popping::changeAndBatchAck);
        all.put("pop_long_polling", Popping::longPolling);
        all.put("pop_orderly", Popping::orderly);
        all.put("pop_assignment", Popping::assignment);
    }

    /** Everything is consumed once; messages that the listener rejects are delivered again. */
    private static void pushConsumer(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        String group = cluster.name("consumer");
        popMode(cluster, topic, group);
        Map<String, Integer> seen = new ConcurrentHashMap<>();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = popConsumer(cluster, group, topic);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                boolean isFirst = seen.merge(new String(message.getBody()), 1, Integer::sum) == 1;
                inbox.add(message); // Last: it wakes who looks at what has been seen.
                if (isFirst && message.getKeys().equals("key-7")) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        cluster.start(consumer);
        for (int i = 0; i < 40; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i));
        }
        long begin = System.currentTimeMillis();
        inbox.await(41);
        Check.equal("bodies", new TreeSet<>(Sending.numbered(40)), new TreeSet<>(inbox.bodies()));
        Check.equal("times of body 7", 2, seen.get("body 7"));
        MessageExt again = inbox.messages().get(40);
        Check.equal("the last one", "body 7", new String(again.getBody()));
        Check.equal("its topic", topic, again.getTopic());
        Check.equal("its tags", "TagA", again.getTags());
        Check.equal("its property", "7", again.getUserProperty("n"));
        Check.equal("its reconsumeTimes", 1, again.getReconsumeTimes());
        cluster.note = ", body 7 again after " + (System.currentTimeMillis() - begin) + " ms";
        Thread.sleep(6_500); // for what must not come
        Check.equal("messages", 41, inbox.messages().size());
    }

    /** Messages that a consumer held when it died are delivered to another one. */
    private static void consumerDies(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        String group = cluster.name("consumer");
        popMode(cluster, topic, group);
        CountDownLatch never = new CountDownLatch(1);
        Inbox held = new Inbox();
        DefaultMQPushConsumer dying = popConsumer(cluster, group, topic);
        dying.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(held::add);
            try {
                never.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            return null;
        });
        dying.start();
        for (int i = 0; i < 8; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i));
        }
        held.await(8);
        dying.shutdown();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer other = popConsumer(cluster, group, topic);
        inbox.listen(other);
        cluster.start(other);
        inbox.await(8);
        Check.sameSet("bodies", Sending.numbered(8), inbox.bodies());
        for (MessageExt message : inbox.messages()) {
            Check.equal("reconsumeTimes", 1, message.getReconsumeTimes());
        }
    }

    /** As an administrator sets it, on every broker. */
    private static void popMode(Cluster cluster, String topic, String group) throws Exception {
        for (Raw raw : Raw.ofAllBrokers(cluster, topic)) {
            Check.equal("code of a request mode", 0, raw.setModeCode(topic, group, "POP"));
            raw.close();
        }
    }

    private static DefaultMQPushConsumer popConsumer(Cluster cluster, String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer(group, topic, "*");
        Compat.call(consumer, "setClientRebalance", false);
        Compat.call(consumer, "setPopInvisibleTime", 5_000); // the least that the client allows
        return consumer;
    }

    /** Pop, peek, acknowledge; the code of the answer names the error of a request. */
    private static void requests(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        String group = cluster.name("group");
        send(cluster, topic, 12);
        for (Raw raw : Raw.ofAllBrokers(cluster, topic)) {
            Map<String, String> pop = raw.popFields(topic, group, -1, 32, 3_000, 0);
            RemotingCommand reply = raw.ask(PEEK, raw.fields(topic, group, -1, "maxMsgNums", 32), null);
            Check.equal("code of a peek", 0, reply.getCode());
            int expected = MessageDecoder.decodes(ByteBuffer.wrap(reply.getBody())).size();
            List<Popped> popped = raw.pop(pop);
            Check.equal("popped as peeked", expected, popped.size());
            Check.equal("code of a pop when all is hidden", 210, raw.ask(POP, pop, null).getCode());
            List<Popped> done = popped.subList(0, 4);
            for (Popped message : done) {
                Check.equal("code of an ack", 0, raw.ack(group, message).getCode());
            }
            List<Popped> again = raw.popAll(pop, popped.size() - done.size(), LATE_MS);
            Check.sameSet("what comes back", bodies(popped.subList(4, popped.size())), bodies(again));
            for (Popped message : again) {
                Check.equal("reconsumeTimes", 1, message.message.getReconsumeTimes());
                Check.equal("topic", topic, message.message.getTopic());
                Check.that("is of the retry topic " + message.topic, message.topic.startsWith("%RETRY%" + group));
                Check.equal("code of an ack", 0, raw.ack(group, message).getCode());
            }

            Check.equal("33 messages", 29, raw.ask(POP, fresh(with(pop, "maxMsgNums", 33)), null).getCode());
            Check.equal("no such queue", 29, raw.ask(POP, fresh(with(pop, "queueId", 2)), null).getCode());
            Check.equal("no such topic", 17, raw.ask(POP, fresh(with(pop, "topic", topic + "_none")), null).getCode());
            Check.equal("born long ago", 210, raw.ask(POP, with(pop, "bornTime", System.currentTimeMillis() - 5_000), null).getCode());
            Popped first = popped.get(0);
            Check.equal("ack of an offset that is not there", 208, raw.ask(ACK, with(raw.ackFields(group, first), "offset", 1_000), null).getCode());
            Check.equal("ack in a queue that is not there", 13, raw.ask(ACK, with(raw.ackFields(group, first), "queueId", 9), null).getCode());
            Check.equal("ack in no such topic", 17, raw.ask(ACK, with(raw.ackFields(group, first), "topic", topic + "_none"), null).getCode());
            Check.equal("an empty batch", 208, raw.ask(BATCH_ACK, Map.of(), "{\"acks\":[]}").getCode());
            raw.close();
        }
    }

    private static void changeAndBatchAck(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        String group = cluster.name("group");
        for (Raw raw : Raw.ofAllBrokers(cluster, topic)) {
            send(cluster, new MessageQueue(topic, raw.brokerName, 0), 9);
            Map<String, String> pop = raw.popFields(topic, group, 0, 32, 60_000, 0);
            List<Popped> popped = raw.pop(pop);
            Check.equal("popped", 9, popped.size());
            RemotingCommand reply = raw.change(group, popped.get(2), 1_000);
            Check.equal("code of a change", 0, reply.getCode());
            Check.equal("invisibleTime", "1000", reply.getExtFields().get("invisibleTime"));
            Popped changed = popped.get(2).changed(reply);
            // The others at once, by their bits: 0, 1, 3 ... 8.
            BitSet bits = new BitSet();
            bits.set(0, 9);
            bits.clear(2);
            String[] receipt = popped.get(0).receipt.split(" ");
            String ack = "{\"acks\":[{\"b\":\"" + Base64.getEncoder().encodeToString(bits.toByteArray()) + "\",\"c\":\"" + group + "\",\"it\":" + receipt[2]
                + ",\"pt\":" + receipt[1] + ",\"q\":0,\"r\":\"0\",\"rq\":" + receipt[3] + ",\"so\":" + receipt[0] + ",\"t\":\"" + topic + "\"}],\"brokerName\":\"" + raw.brokerName + "\"}";
            Check.equal("code of a batch ack", 0, raw.ask(BATCH_ACK, Map.of(), ack).getCode());
            List<Popped> again = raw.popAll(pop, 1, LATE_MS);
            Check.equal("what comes back", List.of(changed.body()), bodies(again));
            Check.equal("code of an ack", 0, raw.ack(group, again.get(0)).getCode());
            Thread.sleep(1_500);
            Check.equal("nothing else", 210, raw.ask(POP, pop, null).getCode());
            raw.close();
        }
    }

    /** A waiting pop is answered with the next message, or when its time is over. */
    private static void longPolling(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        String group = cluster.name("group");
        for (Raw raw : Raw.ofAllBrokers(cluster, topic)) {
            long asked = System.currentTimeMillis();
            Check.equal("code when nothing came", 210, raw.ask(POP, raw.popFields(topic, group, -1, 32, 60_000, 1_500), null).getCode());
            long waited = System.currentTimeMillis() - asked;
            Check.that("waited " + waited + " ms", waited >= 1_300);
            List<Popped> popped = new ArrayList<>();
            Thread waiting = new Thread(() -> popped.addAll(unchecked(() -> raw.pop(raw.popFields(topic, group, -1, 32, 60_000, 15_000)))));
            waiting.start();
            Cluster.eventually("a pop that waits", () -> "1".equals(raw.ask(POLLING_INFO, raw.fields(topic, group, -1), null).getExtFields().get("pollingNum")));
            RemotingCommand none = raw.ask(NOTIFICATION, raw.fields(topic, group, -1, "pollTime", 0, "bornTime", System.currentTimeMillis()), null);
            Check.equal("hasMsg", "false", none.getExtFields().get("hasMsg"));
            send(cluster, new MessageQueue(topic, raw.brokerName, 0), 1);
            waiting.join(10_000);
            Check.equal("popped", List.of("body 0"), bodies(popped));
            raw.ack(group, popped.get(0));
            send(cluster, new MessageQueue(topic, raw.brokerName, 0), 1);
            RemotingCommand some = raw.ask(NOTIFICATION, raw.fields(topic, group, -1, "pollTime", 5_000, "bornTime", System.currentTimeMillis()), null);
            Check.equal("hasMsg", "true", some.getExtFields().get("hasMsg"));
            raw.close();
        }
    }

    /** A queue that is popped in order delivers nothing more until all popped messages are acknowledged or their time is over. */
    private static void orderly(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        String group = cluster.name("group");
        for (Raw raw : Raw.ofAllBrokers(cluster, topic)) {
            send(cluster, new MessageQueue(topic, raw.brokerName, 0), 6);
            Map<String, String> pop = with(raw.popFields(topic, group, 0, 2, 3_000, 0), "order", true);
            List<Popped> first = raw.pop(with(pop, "attemptId", "a"));
            Check.equal("first", List.of("body 0", "body 1"), bodies(first));
            Check.equal("another attempt", 210, raw.ask(POP, fresh(with(pop, "attemptId", "b")), null).getCode());
            List<Popped> repeated = raw.pop(fresh(with(pop, "attemptId", "a")));
            Check.equal("the same attempt", bodies(first), bodies(repeated));
            for (Popped message : repeated) {
                Check.equal("code of an ack", 0, raw.ack(group, message).getCode());
            }
            List<Popped> second = raw.pop(fresh(pop));
            Check.equal("second", List.of("body 2", "body 3"), bodies(second));
            raw.ack(group, second.get(0));
            long begin = System.currentTimeMillis();
            List<Popped> third = raw.popAll(pop, 1, LATE_MS);
            Check.equal("third", List.of("body 3", "body 4"), bodies(third));
            Check.that("after its time", System.currentTimeMillis() - begin > 2_000);
            raw.close();
        }
    }

    private static void assignment(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        String group = cluster.name("consumer");
        DefaultMQPushConsumer[] consumers = {cluster.consumer(group, topic, "*"), cluster.consumer(group, topic, "*")};
        for (DefaultMQPushConsumer consumer : consumers) {
            new Inbox().listen(consumer);
            cluster.start(consumer);
        }
        List<Raw> brokers = Raw.ofAllBrokers(cluster, topic);
        Raw raw = brokers.get(0);
        int all = 4 * brokers.size();
        String client = consumers[0].getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId();
        Cluster.eventually("half of the queues", () -> raw.assigned(topic, group, client, "PULL").size() == all / 2);
        Check.equal("code of a request mode", 0, raw.setModeCode(topic, group, "POP"));
        List<Integer> any = brokers.stream().map(broker -> -1).collect(Collectors.toList());
        Check.equal("any queue of each broker", any, raw.assigned(topic, group, client, "POP"));
        Check.equal("a retry topic is pulled", 16, raw.setModeCode("%RETRY%" + group, group, "POP"));
        Check.equal("no such topic", 17, raw.setModeCode(topic + "_none", group, "POP"));
        for (Raw broker : brokers) {
            broker.close();
        }
    }

    private static void send(Cluster cluster, String topic, int count) throws Exception {
        for (MessageQueue queue : cluster.queues(topic)) {
            send(cluster, queue, count / 2);
        }
    }

    private static void send(Cluster cluster, MessageQueue queue, int count) throws Exception {
        for (int i = 0; i < count; i++) {
            cluster.producer().send(Cluster.message(queue.getTopic(), "TagA", i + queue.getQueueId() * 1_000), queue);
        }
    }

    private static List<String> bodies(List<Popped> messages) {
        return messages.stream().map(Popped::body).collect(Collectors.toList());
    }

    private static Map<String, String> with(Map<String, String> fields, String name, Object value) {
        Map<String, String> more = new HashMap<>(fields);
        more.put(name, String.valueOf(value));
        return more;
    }

    /** Asked now. */
    private static Map<String, String> fresh(Map<String, String> fields) {
        return with(fields, "bornTime", System.currentTimeMillis());
    }

    private static <T> T unchecked(java.util.concurrent.Callable<T> action) {
        try {
            return action.call();
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    /** A message with its receipt. */
    private record Popped(MessageExt message, String topic, int queueId, long offset, String receipt) {
        String body() {
            return new String(message.getBody());
        }

        Popped changed(RemotingCommand reply) {
            String[] words = receipt.split(" ");
            words[0] = Long.toString(offset);
            words[1] = reply.getExtFields().get("popTime");
            words[2] = reply.getExtFields().get("invisibleTime");
            words[3] = reply.getExtFields().get("reviveQid");
            return new Popped(message, topic, queueId, offset, String.join(" ", words));
        }
    }

    /** Requests to one broker as they are, for what the client does not offer. */
    private static final class Raw implements AutoCloseable {
        private final NettyRemotingClient client = new NettyRemotingClient(new NettyClientConfig());
        private final String address;
        final String brokerName;

        private Raw(Map.Entry<String, String> broker) {
            brokerName = broker.getKey();
            address = broker.getValue();
            client.start();
        }

        static List<Raw> ofAllBrokers(Cluster cluster, String topic) throws Exception {
            return brokers(cluster, topic).entrySet().stream().map(Raw::new).collect(Collectors.toList());
        }

        private static Map<String, String> brokers(Cluster cluster, String topic) throws Exception {
            NettyRemotingClient client = new NettyRemotingClient(new NettyClientConfig());
            client.start();
            try {
                RemotingCommand request = RemotingCommand.createRequestCommand(105, null);
                request.addExtField("topic", topic);
                String route = new String(client.invokeSync(cluster.producer().getNamesrvAddr(), request, 5_000).getBody());
                Map<String, String> brokers = new TreeMap<>();
                Matcher matcher = Pattern.compile("\"brokerAddrs\":\\{\"?0\"?:\"([^\"]+)\"[^}]*\\},\"brokerName\":\"([^\"]+)\"").matcher(route);
                while (matcher.find()) {
                    brokers.put(matcher.group(2), matcher.group(1));
                }
                Check.that("brokers in " + route, !brokers.isEmpty());
                return brokers;
            } finally {
                client.shutdown();
            }
        }

        RemotingCommand ask(int code, Map<String, String> fields, String body) throws Exception {
            RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
            fields.forEach(request::addExtField);
            if (body != null) {
                request.setBody(body.getBytes());
            }
            return client.invokeSync(address, request, 30_000);
        }

        Map<String, String> fields(String topic, String group, int queueId, Object... more) {
            Map<String, String> fields = new HashMap<>(Map.of("topic", topic, "consumerGroup", group, "queueId", Integer.toString(queueId)));
            for (int i = 0; i < more.length; i += 2) {
                fields.put((String) more[i], String.valueOf(more[i + 1]));
            }
            return fields;
        }

        Map<String, String> popFields(String topic, String group, int queueId, int max, long invisibleMs, long pollMs) {
            return fields(topic, group, queueId, "maxMsgNums", max, "invisibleTime", invisibleMs, "pollTime", pollMs,
                "bornTime", System.currentTimeMillis(), "initMode", 0, "expType", "TAG", "exp", "*", "order", false);
        }

        /** The messages of a pop, each with the receipt that the client makes from the reply. */
        List<Popped> pop(Map<String, String> fields) throws Exception {
            RemotingCommand reply = ask(POP, fields, null);
            if (reply.getCode() == 210) {
                return List.of();
            }
            Check.equal("code of a pop (" + reply.getRemark() + ")", 0, reply.getCode());
            Map<String, String> ext = reply.getExtFields();
            Map<String, String> starts = new HashMap<>();
            for (String part : ext.get("startOffsetInfo").split(";")) {
                String[] words = part.split(" ");
                starts.put(words[0] + " " + words[1], words[2]);
            }
            List<Popped> popped = new ArrayList<>();
            for (MessageExt message : MessageDecoder.decodes(ByteBuffer.wrap(reply.getBody()))) {
                String receipt = message.getProperty("POP_CK");
                if (receipt == null) {
                    receipt = String.join(" ", starts.get("0 " + message.getQueueId()), ext.get("popTime"), ext.get("invisibleTime"), ext.get("reviveQid"),
                        "0", brokerName, Integer.toString(message.getQueueId()), Long.toString(message.getQueueOffset()));
                }
                String flag = receipt.split(" ")[4];
                String topic = fields.get("topic");
                String group = fields.get("consumerGroup");
                String real = flag.equals("0") ? topic : "%RETRY%" + group + (flag.equals("1") ? "_" : "+") + topic;
                popped.add(new Popped(message, real, message.getQueueId(), message.getQueueOffset(), receipt));
            }
            long listed = Arrays.stream(ext.get("msgOffsetInfo").split("[;,]")).count();
            Check.equal("offsets in " + ext.get("msgOffsetInfo"), popped.size(), listed);
            popped.sort(Comparator.comparing(Popped::queueId).thenComparing(Popped::offset));
            return popped;
        }

        /** Pops until there are that many, or the time is over. */
        List<Popped> popAll(Map<String, String> fields, int count, long withinMs) throws Exception {
            long deadline = System.currentTimeMillis() + withinMs;
            List<Popped> all = new ArrayList<>();
            while (all.size() < count && System.currentTimeMillis() < deadline) {
                all.addAll(pop(fresh(fields)));
                Thread.sleep(100);
            }
            return all;
        }

        Map<String, String> ackFields(String group, Popped popped) {
            return fields(popped.topic, group, popped.queueId, "extraInfo", popped.receipt, "offset", popped.offset);
        }

        RemotingCommand ack(String group, Popped popped) throws Exception {
            return ask(ACK, ackFields(group, popped), null);
        }

        RemotingCommand change(String group, Popped popped, long invisibleMs) throws Exception {
            return ask(CHANGE_INVISIBLE_TIME, with(ackFields(group, popped), "invisibleTime", invisibleMs), null);
        }

        int setModeCode(String topic, String group, String mode) throws Exception {
            String body = "{\"consumerGroup\":\"" + group + "\",\"mode\":\"" + mode + "\",\"popShareQueueNum\":0,\"topic\":\"" + topic + "\"}";
            return ask(SET_MESSAGE_REQUEST_MODE, Map.of(), body).getCode();
        }

        /** The queues that the broker assigns to the client. */
        List<Integer> assigned(String topic, String group, String client, String mode) throws Exception {
            String body = "{\"clientId\":\"" + client + "\",\"consumerGroup\":\"" + group + "\",\"messageModel\":\"CLUSTERING\",\"strategyName\":\"AVG\",\"topic\":\"" + topic + "\"}";
            String reply = new String(ask(QUERY_ASSIGNMENT, Map.of(), body).getBody());
            List<Integer> queues = new ArrayList<>();
            Matcher queue = Pattern.compile("\"queueId\":(-?[0-9]+)").matcher(reply);
            while (queue.find()) {
                queues.add(Integer.parseInt(queue.group(1)));
            }
            long modes = Pattern.compile("\"mode\":\"" + mode + "\"").matcher(reply).results().count();
            Check.equal("mode in " + reply, queues.size(), modes);
            return queues;
        }

        @Override
        public void close() {
            client.shutdown();
        }
    }
}
