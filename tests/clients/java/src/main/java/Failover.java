import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * A producer and a consumer that run while masters die, and print what happens to each message:
 *
 * Failover --namesrv HOST:PORT --topic T --group G [--threads 1] [--pause MS] [--poll MS] [--delayed N] [--level 1 | --timed MS] [--consume false]
 *
 * All settings of the client are its defaults, except the interval of the route poll where --poll is given. Every N-th message is delayed, by the level or by so
 * many ms (timed messages of 5.x).
 * Lines, with the time in ms since 1970 first:
 *
 * <pre>
 *   A time id broker queue offset ms      acknowledged with SEND_OK, after ms
 *   D time id broker queue offset ms      a delayed message is stored, whatever the status
 *   S time id broker queue offset status  stored, but the status is another one
 *   F time id ms exception                not acknowledged: it may be stored or not
 *   G time id broker queue offset         the consumer has it
 * </pre>
 *
 * A line `quiet` on its input stops the producer, `end` or the end of the input stops the program.
 */
public final class Failover {
    private static final AtomicLong NEXT = new AtomicLong();
    private static final AtomicBoolean IS_QUIET = new AtomicBoolean();
    private static String topic;
    private static long pauseMs = 5;
    private static int delayed;
    private static int level = 1;
    private static String timedMs;

    private Failover() {
    }

    public static void main(String[] args) throws Exception {
        String namesrv = null;
        String group = "failover";
        int threads = 1;
        int pollMs = 0;
        boolean consumes = true;
        for (int i = 0; i + 1 < args.length; i += 2) {
            switch (args[i]) {
                case "--namesrv" -> namesrv = args[i + 1];
                case "--topic" -> topic = args[i + 1];
                case "--group" -> group = args[i + 1];
                case "--threads" -> threads = Integer.parseInt(args[i + 1]);
                case "--pause" -> pauseMs = Long.parseLong(args[i + 1]);
                case "--poll" -> pollMs = Integer.parseInt(args[i + 1]);
                case "--delayed" -> delayed = Integer.parseInt(args[i + 1]);
                case "--timed" -> timedMs = args[i + 1];
                case "--level" -> level = Integer.parseInt(args[i + 1]);
                case "--consume" -> consumes = Boolean.parseBoolean(args[i + 1]);
                default -> throw new IllegalArgumentException("unknown option " + args[i]);
            }
        }
        DefaultMQPushConsumer consumer = consumes ? consumer(namesrv, group, pollMs) : null;
        DefaultMQProducer producer = new DefaultMQProducer(group + "-producer");
        producer.setNamesrvAddr(namesrv);
        if (pollMs > 0) {
            producer.setPollNameServerInterval(pollMs);
        }
        producer.start();
        for (int i = 0; i < threads; i++) {
            Thread thread = new Thread(() -> send(producer));
            thread.setDaemon(true);
            thread.start();
        }
        BufferedReader caller = new BufferedReader(new InputStreamReader(System.in));
        for (String line = caller.readLine(); line != null && !line.equals("end"); line = caller.readLine()) {
            if (line.equals("quiet")) {
                IS_QUIET.set(true);
            }
        }
        IS_QUIET.set(true);
        if (consumer != null) {
            consumer.shutdown();
        }
        producer.shutdown();
        System.exit(0);
    }

    private static DefaultMQPushConsumer consumer(String namesrv, String group, int pollMs) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        if (pollMs > 0) {
            consumer.setPollNameServerInterval(pollMs);
        }
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                print("G", new String(message.getBody()), message.getBrokerName(), message.getQueueId(), message.getQueueOffset());
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    private static void send(DefaultMQProducer producer) {
        while (!IS_QUIET.get()) {
            long number = NEXT.getAndIncrement();
            String id = String.format("id-%08d;", number);
            Message message = new Message(topic, id.getBytes());
            boolean isDelayed = delayed > 0 && number % delayed == 0;
            if (isDelayed && timedMs == null) {
                message.setDelayTimeLevel(level);
            } else if (isDelayed) {
                // Also with clients that know of no such messages.
                MessageAccessor.putProperty(message, "TIMER_DELAY_MS", timedMs);
            }
            long begin = System.nanoTime();
            try {
                SendResult result = producer.send(message);
                boolean isOk = result.getSendStatus() == SendStatus.SEND_OK;
                // What is delayed gets another place when it is due.
                String kind = isDelayed ? "D" : isOk ? "A" : "S";
                print(kind, id, result.getMessageQueue().getBrokerName(), result.getMessageQueue().getQueueId(), result.getQueueOffset(),
                    kind.equals("S") ? result.getSendStatus() : (System.nanoTime() - begin) / 1_000_000);
            } catch (Exception e) {
                Throwable cause = e.getCause() == null ? e : e.getCause();
                print("F", id, (System.nanoTime() - begin) / 1_000_000, cause.getClass().getSimpleName());
            }
            try {
                Thread.sleep(pauseMs);
            } catch (InterruptedException e) {
                return;
            }
        }
    }

    private static void print(String kind, Object... fields) {
        StringBuilder line = new StringBuilder(kind).append(' ').append(System.currentTimeMillis());
        for (Object field : fields) {
            line.append(' ').append(field);
        }
        synchronized (System.out) {
            System.out.println(line);
        }
    }
}
