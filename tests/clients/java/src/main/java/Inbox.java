import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** What a consumer was given, in the order of its arrival. */
final class Inbox {
    private final List<MessageExt> messages = new ArrayList<>();

    /** Accepts everything. */
    Inbox listen(DefaultMQPushConsumer consumer) {
        consumer.registerMessageListener((MessageListenerConcurrently) (arrived, context) -> {
            arrived.forEach(this::add);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return this;
    }

    synchronized void add(MessageExt message) {
        messages.add(message);
        notifyAll();
    }

    synchronized List<MessageExt> messages() {
        return new ArrayList<>(messages);
    }

    List<String> bodies() {
        return messages().stream().map(m -> new String(m.getBody())).collect(Collectors.toList());
    }

    private static final int PATIENCE_SECONDS = 90;

    /** Waits for the n-th message: long enough for the client's slowest timer, 30 s, on a busy machine. */
    synchronized List<MessageExt> await(int n) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
        while (messages.size() < n) {
            long left = TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime());
            if (left <= 0) {
                throw new AssertionError("got " + messages.size() + " messages in " + PATIENCE_SECONDS + " s, expected " + n + ": " + bodies());
            }
            wait(left);
        }
        return new ArrayList<>(messages);
    }
}
