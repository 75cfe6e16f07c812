import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;

/** What is spelled differently by the 4.x and the 5.x client; everything else compiles with both. */
@SuppressWarnings("deprecation")
final class Compat {
    private Compat() {
    }

    /** Through request 17, on every broker that has the template topic. 5.x wants a map of attributes, too. */
    static void createTopic(DefaultMQProducer producer, String topic, int queues) throws Exception {
        try {
            call(producer, "createTopic", "TBW102", topic, queues, Map.of());
        } catch (NoSuchMethodException fourX) {
            call(producer, "createTopic", "TBW102", topic, queues);
        }
    }

    /** Whether the client makes one record of a batch, and unpacks it. */
    static boolean packsBatches() {
        try {
            DefaultMQProducer.class.getMethod("setAutoBatch", boolean.class);
            return true;
        } catch (NoSuchMethodException fourX) {
            return false;
        }
    }

    /** MessageModel.BROADCASTING, an enum that moved to another package. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    static void broadcast(Object consumer) throws Exception {
        Class model = consumer.getClass().getMethod("getMessageModel").getReturnType();
        call(consumer, "setMessageModel", Enum.valueOf(model, "BROADCASTING"));
    }

    /** A pull that waits, with a selector; null from 4.x, which does not have it. */
    static PullResult pullBlocking(DefaultMQPullConsumer consumer, MessageQueue queue, MessageSelector selector, long offset, int max) throws Exception {
        Method method;
        try {
            method = consumer.getClass().getMethod("pullBlockIfNotFoundWithMessageSelector", MessageQueue.class, MessageSelector.class, long.class, int.class);
        } catch (NoSuchMethodException fourX) {
            return null;
        }
        return (PullResult) method.invoke(consumer, queue, selector, offset, max);
    }

    /** What the producer can compress with. */
    static List<String> compressions() {
        try {
            DefaultMQProducer.class.getMethod("getCompressType");
            return List.of("ZLIB", "LZ4", "ZSTD");
        } catch (NoSuchMethodException fourX) {
            return List.of("ZLIB");
        }
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    static void compression(DefaultMQProducer producer, String kind) throws Exception {
        if (compressions().size() > 1) {
            Class type = Class.forName("org.apache.rocketmq.common.compression.CompressionType");
            call(producer, "setCompressType", Enum.valueOf(type, kind));
        }
    }

    static void call(Object target, String name, Object... arguments) throws Exception {
        for (Method method : target.getClass().getMethods()) {
            if (method.getName().equals(name) && method.getParameterCount() == arguments.length) {
                try {
                    method.invoke(target, arguments);
                    return;
                } catch (IllegalArgumentException overload) {
                    continue; // another one takes these types
                } catch (InvocationTargetException e) {
                    throw e.getCause() instanceof Exception cause ? cause : e;
                }
            }
        }
        throw new NoSuchMethodException(name + " with " + arguments.length + " arguments");
    }
}
