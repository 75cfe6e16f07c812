import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;

/**
 * A stock producer and a stock push consumer that sign: {@code Signed NAMESRV USER SECRET TOPIC GROUP FORBIDDEN}. The user may publish and subscribe to TOPIC in GROUP, and
 * nothing with FORBIDDEN. Prints what happened, a line each; the last one is DONE.
 */
public class Signed {
    public static void main(String[] args) throws Exception {
        String namesrv = args[0], user = args[1], secret = args[2], topic = args[3], group = args[4], forbidden = args[5];
        DefaultMQProducer producer = producer(namesrv, user, secret, "signed");
        System.out.println("sent " + producer.send(new Message(topic, "a body".getBytes())).getSendStatus());
        System.out.println("forbidden " + sent(producer, forbidden));
        System.out.println("long " + producer.send(new Message(topic, new byte[1 << 20])).getSendStatus());
        producer.shutdown();
        DefaultMQProducer wrong = producer(namesrv, user, secret + "x", "wrong");
        System.out.println("wrong " + sent(wrong, topic));
        wrong.shutdown();
        DefaultMQProducer unsigned = new DefaultMQProducer("unsigned");
        start(unsigned, namesrv, "unsigned");
        System.out.println("unsigned " + sent(unsigned, topic));
        unsigned.shutdown();

        BlockingQueue<Integer> lengths = new LinkedBlockingQueue<>();
        DefaultMQPushConsumer consumer =
            new DefaultMQPushConsumer(group, new AclClientRPCHook(new SessionCredentials(user, secret)), new AllocateMessageQueueAveragely());
        consumer.setNamesrvAddr(namesrv);
        consumer.setVipChannelEnabled(false);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> lengths.add(message.getBody().length));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        int total = 0;
        for (int i = 0; i < 2; i++) {
            Integer length = lengths.poll(60, TimeUnit.SECONDS);
            total += length == null ? 0 : length;
        }
        System.out.println("received " + total);
        consumer.shutdown();
        System.out.println("DONE");
        System.exit(0);
    }

    private static DefaultMQProducer producer(String namesrv, String user, String secret, String group) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(group, new AclClientRPCHook(new SessionCredentials(user, secret)));
        start(producer, namesrv, group);
        return producer;
    }

    private static void start(DefaultMQProducer producer, String namesrv, String instance) throws Exception {
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName(instance);
        producer.setVipChannelEnabled(false);
        producer.start();
    }

    private static String sent(DefaultMQProducer producer, String topic) throws Exception {
        try {
            return producer.send(new Message(topic, "a body".getBytes())).getSendStatus().toString();
        } catch (Exception error) {
            Throwable cause = error;
            while (cause != null && !(cause instanceof MQBrokerException)) {
                cause = cause.getCause();
            }
            MQBrokerException refusal = (MQBrokerException) cause;
            return refusal == null ? error.toString() : refusal.getResponseCode() + " " + refusal.getErrorMessage();
        }
    }
}
