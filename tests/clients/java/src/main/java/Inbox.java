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

    /** Waits for the n-th message and fails after 45 s: long enough for the client's slowest timer, 30 s. */
    synchronized List<MessageExt> await(int n) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(45);
        while (messages.size() < n) {
            long left = TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime());
            if (left <= 0) {
                throw new AssertionError("got " + messages.size() + " messages in 45 s, expected " + n + ": " + bodies());
            }
            wait(left);
        }
        return new ArrayList<>(messages);
    }
}
