import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Clients that keep running while the broker ends and starts again. The caller does that: a scenario prints `NOW kill` (kill -9) or
 * `NOW stop` (SIGTERM), and goes on when it reads a line, which says that the broker is there again.
 */
final class Outages {
    private static final BufferedReader CALLER = new BufferedReader(new InputStreamReader(System.in));

    private Outages() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("orderly_over_restarts", Outages::orderly);
        all.put("send_back_over_kill", Outages::sendBack);
    }

    /** One consumer and one producer through a kill and a clean restart: each queue in order, without a gap. */
    private static void orderly(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        List<MessageQueue> queues = cluster.queues(topic);
        int n = queues.size();
        Inbox inbox = new Inbox();
        Groups.ordered(cluster, topic, inbox, 0);
        AtomicBoolean isOver = new AtomicBoolean();
        AtomicInteger sent = new AtomicInteger();
        AtomicInteger failed = new AtomicInteger();
        Thread sender = new Thread(() -> {
            while (!isOver.get() || sent.get() % n != 0) {
                failed.addAndGet(send(cluster, queues.get(sent.get() % n), sent.get()));
                sent.incrementAndGet();
                pause(5);
            }
        });
        sender.setDaemon(true);
        sender.start();
        inbox.await(200);
        for (String how : List.of("kill", "stop")) {
            askFor(how);
            int before = inbox.messages().size();
            Cluster.eventually("consumption goes on after a " + how, 60, () -> inbox.messages().size() >= before + 200);
        }
        isOver.set(true);
        sender.join();
        TreeSet<String> expected = new TreeSet<>(Sending.numbered(sent.get()));
        Cluster.eventually("all of " + sent.get() + " messages", () -> new TreeSet<>(inbox.bodies()).equals(expected));
        int repeated = inbox.messages().size() - sent.get();
        cluster.note = ", " + sent.get() + " messages, " + failed.get() + " sends failed, " + repeated + " messages twice";
        Check.that("no send has failed", failed.get() > 0);
        Map<Integer, Integer> last = new TreeMap<>();
        for (MessageExt message : inbox.messages()) {
            int number = Integer.parseInt(message.getUserProperty("n"));
            int before = last.getOrDefault(number % n, number % n - n);
            // A message whose reply was lost is sent again and is in the queue twice, one directly behind the other.
            Check.that("body " + number + " behind body " + before, number == before + n || number == before);
            last.put(number % n, number);
        }
    }

    /** Each message is sent back once, some of them while the broker is down: all are delivered again. */
    private static void sendBack(Cluster cluster) throws Exception {
        int count = 100;
        String topic = cluster.topic(1);
        MessageQueue queue = cluster.queues(topic).get(0);
        send(cluster, queue, 0); // It knows the broker's address from now on.
        String[] broker = cluster.producer().getDefaultMQProducerImpl().getMqClientFactory().findBrokerAddressInPublish(queue.getBrokerName()).split(":");
        AtomicInteger begun = new AtomicInteger();
        AtomicInteger early = new AtomicInteger();
        Inbox again = new Inbox();
        DefaultMQPushConsumer consumer = cluster.consumer("group", topic, "*");
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (messages.get(0).getTopic().equals(topic) && messages.get(0).getProperty("RETRY_TOPIC") != null) {
                messages.forEach(again::add);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            }
            int place = begun.incrementAndGet();
            if (place == count / 2) {
                System.out.println("NOW kill");
                while (isListening(broker[0], Integer.parseInt(broker[1]))) {
                    pause(1);
                }
                early.set(again.messages().size());
            }
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        cluster.startForRetries(consumer);
        for (int i = 1; i < count; i++) {
            send(cluster, queue, i);
        }
        readLine();
        TreeSet<String> expected = new TreeSet<>(Sending.numbered(count));
        Cluster.eventually("all come again", 70, () -> new TreeSet<>(again.bodies()).equals(expected));
        again.messages().forEach(message -> Check.that("reconsumeTimes " + message.getReconsumeTimes(), message.getReconsumeTimes() > 0));
        cluster.note = ", " + early.get() + " were back before the kill, " + (again.messages().size() - count) + " came twice";
    }

    /** Sends until the message is acknowledged; returns how often that failed. */
    private static int send(Cluster cluster, MessageQueue queue, int number) {
        for (int failed = 0;; failed++) {
            try {
                cluster.producer().setSendMsgTimeout(1_000);
                cluster.producer().send(Cluster.message(queue.getTopic(), "TagA", number), queue);
                return failed;
            } catch (Exception e) {
                pause(50);
            }
        }
    }

    private static void pause(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static void askFor(String how) throws Exception {
        System.out.println("NOW " + how);
        readLine();
    }

    private static void readLine() throws Exception {
        Check.that("the caller has left", CALLER.readLine() != null);
    }

    private static boolean isListening(String host, int port) {
        try (Socket socket = new Socket()) {
            socket.connect(new InetSocketAddress(host, port), 1_000);
            return true;
        } catch (java.io.IOException gone) {
            return false;
        }
    }
}
