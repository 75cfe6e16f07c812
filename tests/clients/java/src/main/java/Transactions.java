import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;

/** Transactions. The broker asks every second, first after 1.5 s, three times at most (see README.md for its broker.conf). */
final class Transactions {
    private static final int CHECK_MAX = 3;

    private Transactions() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("transaction_given_up", Transactions::givenUp);
        all.put("transaction_immunity", Transactions::immunity);
        all.put("transaction_checked", Transactions::checked);
        all.put("transaction_of_a_dead_producer", Transactions::deadProducer);
        all.put("transaction_commit_rollback", Transactions::commitRollback);
    }

    /** Answers by a message's key, and records the checks. */
    private static final class Listener implements TransactionListener {
        final ConcurrentLinkedQueue<MessageExt> questions = new ConcurrentLinkedQueue<>();
        private final LocalTransactionState first;
        private final Function<MessageExt, LocalTransactionState> then;

        Listener(LocalTransactionState first, Function<MessageExt, LocalTransactionState> then) {
            this.first = first;
            this.then = then;
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return argument == null ? first : (LocalTransactionState) argument;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            questions.add(message);
            return then.apply(message);
        }

        int questionsAbout(String key) {
            return (int) questions.stream().filter(message -> key.equals(message.getKeys())).count();
        }
    }

    /** Every second one is committed: these are delivered once, as they were sent, and the others never; no check is sent. */
    private static void commitRollback(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        Inbox inbox = consume(cluster, topic);
        Listener listener = new Listener(LocalTransactionState.UNKNOW, message -> LocalTransactionState.UNKNOW);
        TransactionMQProducer producer = cluster.transactionProducer("transactions", listener);
        Map<String, TransactionSendResult> committed = new ConcurrentHashMap<>();
        for (int n = 0; n < 20; n++) {
            LocalTransactionState state = n % 2 == 0 ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            TransactionSendResult sent = producer.sendMessageInTransaction(Cluster.message(topic, "TagA", n), state);
            Check.equal("sendStatus", SendStatus.SEND_OK, sent.getSendStatus());
            Check.equal("transactionId", sent.getMsgId(), sent.getTransactionId());
            Check.equal("topic", topic, sent.getMessageQueue().getTopic());
            if (n % 2 == 0) {
                committed.put("body " + n, sent);
            }
        }
        inbox.await(10);
        Thread.sleep(5_000);
        Check.sameSet("bodies", committed.keySet(), inbox.bodies());
        for (MessageExt message : inbox.messages()) {
            TransactionSendResult sent = committed.get(new String(message.getBody()));
            Check.equal("transactionId", sent.getTransactionId(), message.getTransactionId());
            Check.equal("msgId", sent.getMsgId(), message.getMsgId());
            Check.equal("queue", sent.getMessageQueue().getQueueId(), message.getQueueId());
            Check.equal("tags", "TagA", message.getTags());
            Check.equal("n", "body " + message.getUserProperty("n"), new String(message.getBody()));
            Check.equal("flag in sysFlag", 8, message.getSysFlag() & 12);
            Check.that("its half message is before it", message.getPreparedTransactionOffset() < message.getCommitLogOffset());
        }
        Check.equal("messages in the queues", 10, cluster.read(topic).size());
        Check.equal("questions", 0, listener.questions.size());
    }

    /** Unknown at first and at the first check; then some are committed and some rolled back. */
    private static void checked(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        Inbox inbox = consume(cluster, topic);
        Set<String> asked = ConcurrentHashMap.newKeySet();
        Listener listener = new Listener(LocalTransactionState.UNKNOW, message -> {
            if (asked.add(message.getKeys())) {
                return LocalTransactionState.UNKNOW;
            }
            int n = Integer.parseInt(message.getUserProperty("n"));
            return n % 2 == 0 ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
        });
        TransactionMQProducer producer = cluster.transactionProducer("transactions", listener);
        Map<String, String> ids = new ConcurrentHashMap<>();
        for (int n = 0; n < 10; n++) {
            ids.put("body " + n, producer.sendMessageInTransaction(Cluster.message(topic, "TagA", n), null).getTransactionId());
        }
        inbox.await(5);
        Thread.sleep(3_000);
        Check.sameSet("bodies", Set.of("body 0", "body 2", "body 4", "body 6", "body 8"), inbox.bodies());
        for (MessageExt message : inbox.messages()) {
            Check.equal("transactionId", ids.get(new String(message.getBody())), message.getTransactionId());
        }
        for (int n = 0; n < 10; n++) {
            Check.equal("questions about " + n, 2, listener.questionsAbout("key-" + n));
        }
        for (MessageExt question : listener.questions) {
            Check.equal("topic", topic, question.getTopic());
            Check.equal("transactionId", ids.get(new String(question.getBody())), question.getTransactionId());
            Check.equal("tags", "TagA", question.getTags());
            Check.that("queue " + question.getQueueId(), question.getQueueId() < 2);
        }
    }

    /** The producer dies between the half message and its end; the check goes to another producer of its group. */
    private static void deadProducer(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        Inbox inbox = consume(cluster, topic);
        Listener silent = new Listener(LocalTransactionState.UNKNOW, message -> LocalTransactionState.UNKNOW);
        TransactionMQProducer dead = cluster.transactionProducer("transactions", silent);
        Listener knowing = new Listener(LocalTransactionState.UNKNOW, message -> LocalTransactionState.COMMIT_MESSAGE);
        TransactionMQProducer living = cluster.transactionProducer("transactions", knowing);
        // A client sends heartbeats only to the brokers of topics that it knows.
        living.sendMessageInTransaction(Cluster.message(topic, "TagA", 100), LocalTransactionState.ROLLBACK_MESSAGE);
        for (int n = 0; n < 5; n++) {
            dead.sendMessageInTransaction(Cluster.message(topic, "TagA", n), null);
        }
        dead.shutdown();
        inbox.await(5);
        Thread.sleep(2_000);
        Check.sameSet("bodies", Set.of("body 0", "body 1", "body 2", "body 3", "body 4"), inbox.bodies());
        Check.that("the living one is asked", knowing.questions.size() >= 5 - silent.questions.size());
    }

    /** No check is sent before the time that the message itself names. (RocketMQ counts each round of waiting as a check: no more than two of them here.) */
    private static void immunity(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Inbox inbox = consume(cluster, topic);
        Map<String, Long> askedAfterMs = new ConcurrentHashMap<>();
        Listener listener = new Listener(LocalTransactionState.UNKNOW, message -> {
            askedAfterMs.putIfAbsent(message.getKeys(), System.currentTimeMillis() - message.getBornTimestamp());
            return LocalTransactionState.COMMIT_MESSAGE;
        });
        TransactionMQProducer producer = cluster.transactionProducer("transactions", listener);
        Message patient = Cluster.message(topic, "TagA", 0);
        MessageAccessor.putProperty(patient, "CHECK_IMMUNITY_TIME_IN_SECONDS", "2");
        producer.sendMessageInTransaction(patient, null);
        inbox.await(1);
        Check.that("asked after " + askedAfterMs, askedAfterMs.get("key-0") > 2_000);
        Thread.sleep(2_000);
        Check.equal("bodies", List.of("body 0"), inbox.bodies());
    }

    /** A producer that never decides is checked a limited number of times; then the message goes to TRANS_CHECK_MAX_TIME_TOPIC. */
    private static void givenUp(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        Listener listener = new Listener(LocalTransactionState.UNKNOW, message -> LocalTransactionState.UNKNOW);
        TransactionMQProducer producer = cluster.transactionProducer("transactions", listener);
        Message message = Cluster.message(topic, "TagA", 0);
        String id = producer.sendMessageInTransaction(message, null).getMsgId();
        Cluster.eventually("the message among those set aside", () -> setAside(cluster).contains(id));
        Check.equal("questions", CHECK_MAX, listener.questions.size());
        Thread.sleep(3_000);
        Check.equal("questions later", CHECK_MAX, listener.questions.size());
        Check.equal("messages", 0, cluster.read(topic).size());
    }

    private static Set<String> setAside(Cluster cluster) throws Exception {
        return cluster.read("TRANS_CHECK_MAX_TIME_TOPIC").stream().map(MessageExt::getMsgId).collect(Collectors.toCollection(TreeSet::new));
    }

    private static Inbox consume(Cluster cluster, String topic) throws Exception {
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        Inbox inbox = new Inbox().listen(consumer);
        cluster.start(consumer);
        return inbox;
    }
}
