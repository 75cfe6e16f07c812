import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Pull consumers. */
@SuppressWarnings("deprecation")
final class Pulling {
    private Pulling() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("pull_consumer", Pulling::pullConsumer);
        all.put("pull_consumer_offsets", Pulling::pullConsumerOffsets);
        all.put("lite_pull_subscribe", Pulling::litePullSubscribe);
        all.put("lite_pull_assign", Pulling::litePullAssign);
    }

    private static void pullConsumer(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        MessageQueue queue = fill(cluster, topic, 10);
        DefaultMQPullConsumer consumer = cluster.pullConsumer("puller");
        Check.equal("queues", cluster.queues(topic), sorted(consumer.fetchSubscribeMessageQueues(topic)));

        PullResult all = consumer.pull(queue, "*", 0, 32);
        Check.equal("status", PullStatus.FOUND, all.getPullStatus());
        Check.equal("bodies", new ArrayList<>(numbered(0, 10)), Sending.bodies(all.getMsgFoundList()));
        Check.equal("nextBeginOffset", 10, all.getNextBeginOffset());
        Check.equal("minOffset", 0, all.getMinOffset());
        Check.equal("maxOffset", 10, all.getMaxOffset());

        PullResult some = consumer.pull(queue, "*", 3, 4);
        Check.equal("bodies of 3..7", numbered(3, 7), Sending.bodies(some.getMsgFoundList()));
        Check.equal("nextBeginOffset", 7, some.getNextBeginOffset());

        PullResult tagged = consumer.pull(queue, "TagB", 0, 32); // the odd ones
        Check.equal("bodies of TagB", List.of("body 1", "body 3", "body 5", "body 7", "body 9"), Sending.bodies(tagged.getMsgFoundList()));

        PullResult unmatched = consumer.pull(queue, "NoSuchTag", 0, 32);
        Check.equal("status", PullStatus.NO_MATCHED_MSG, unmatched.getPullStatus());
        Check.equal("nextBeginOffset", 10, unmatched.getNextBeginOffset());

        PullResult end = consumer.pull(queue, "*", 10, 32);
        Check.equal("status at the end", PullStatus.NO_NEW_MSG, end.getPullStatus());
        Check.equal("nextBeginOffset", 10, end.getNextBeginOffset());

        PullResult beyond = consumer.pull(queue, "*", 100, 32);
        Check.equal("status beyond the end", PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        Check.equal("nextBeginOffset", 10, beyond.getNextBeginOffset());
    }

    private static void pullConsumerOffsets(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        MessageQueue queue = fill(cluster, topic, 5);
        Thread.sleep(50);
        long between = System.currentTimeMillis();
        Thread.sleep(50);
        for (int i = 5; i < 8; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i), queue);
        }
        DefaultMQPullConsumer consumer = cluster.pullConsumer("puller");
        Check.equal("minOffset", 0, consumer.minOffset(queue));
        Check.equal("maxOffset", 8, consumer.maxOffset(queue));
        Check.equal("searchOffset before all", 0, consumer.searchOffset(queue, between - 3_600_000));
        Check.equal("searchOffset between", 5, consumer.searchOffset(queue, between));
        Check.equal("searchOffset after all", 8, consumer.searchOffset(queue, between + 3_600_000));
        long earliest = consumer.earliestMsgStoreTime(queue);
        Check.that("earliestMsgStoreTime " + earliest, earliest > between - 60_000 && earliest < between);

        // Without a committed offset the broker answers 0, as long as the queue still begins at 0 and its first message is in memory.
        Check.equal("no committed offset", 0, consumer.fetchConsumeOffset(queue, true));
        Cluster.eventually("the committed offset", () -> {
            // Repeated: the broker drops an offset of a group that it does not know from a heartbeat yet,
            // and fetchConsumeOffset of 4.x makes what it read the offset to persist next.
            consumer.updateConsumeOffset(queue, 6);
            consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
            return consumer.fetchConsumeOffset(queue, true) == 6;
        });
    }

    private static void litePullSubscribe(Cluster cluster) throws Exception {
        String topic = cluster.topic(4);
        for (int i = 0; i < 20; i++) {
            cluster.producer().send(Cluster.message(topic, i % 2 == 0 ? "TagA" : "TagB", i));
        }
        DefaultLitePullConsumer first = cluster.litePullConsumer("lite");
        first.setAutoCommit(false);
        first.subscribe(topic, "TagA");
        cluster.start(first);
        List<String> polled = poll(first, 10);
        Check.sameSet("bodies of TagA", List.of("body 0", "body 2", "body 4", "body 6", "body 8", "body 10", "body 12", "body 14", "body 16", "body 18"), polled);
        first.commitSync();
        first.shutdown(); // persists what was committed

        DefaultLitePullConsumer second = cluster.litePullConsumer("lite");
        second.subscribe(topic, "TagA");
        cluster.start(second);
        cluster.producer().send(Cluster.message(topic, "TagA", 100));
        Check.equal("after a restart", List.of("body 100"), poll(second, 1));
    }

    private static void litePullAssign(Cluster cluster) throws Exception {
        String topic = cluster.topic(2);
        MessageQueue queue = fill(cluster, topic, 10);
        DefaultLitePullConsumer consumer = cluster.start(cluster.litePullConsumer("lite"));
        consumer.setAutoCommit(false);
        Check.equal("queues", cluster.queues(topic), sorted(consumer.fetchMessageQueues(topic)));
        consumer.assign(List.of(queue));
        // To the end before each seek: a pull that is just being answered when seek is called passes its isCancelled and, once
        // the new pull has taken the seek offset, its other check too; the client then hands out what it brought from the old offset.
        Check.equal("assigned", numbered(0, 10), poll(consumer, 10));
        consumer.seek(queue, 4);
        Check.equal("from 4", numbered(4, 10), poll(consumer, 6));
        consumer.seekToBegin(queue);
        Check.equal("from the beginning", numbered(0, 10), poll(consumer, 10));
        Check.equal("offsetForTimestamp", 10, consumer.offsetForTimestamp(queue, System.currentTimeMillis() + 3_600_000));
        consumer.commitSync();
        Cluster.eventually("committed", () -> consumer.committed(queue) == 10);
        consumer.seekToEnd(queue);
        cluster.producer().send(Cluster.message(topic, "TagA", 10), queue);
        Check.equal("from the end", numbered(10, 11), poll(consumer, 1));
    }

    /** Sends bodies 0..n to the first queue, TagA and TagB in turn. */
    private static MessageQueue fill(Cluster cluster, String topic, int n) throws Exception {
        MessageQueue queue = cluster.queues(topic).get(0);
        for (int i = 0; i < n; i++) {
            cluster.producer().send(Cluster.message(topic, i % 2 == 0 ? "TagA" : "TagB", i), queue);
        }
        return queue;
    }

    private static List<String> poll(DefaultLitePullConsumer consumer, int n) {
        List<String> bodies = new ArrayList<>();
        long deadline = System.nanoTime() + 45_000_000_000L;
        while (bodies.size() < n && System.nanoTime() < deadline) {
            for (MessageExt message : consumer.poll(500)) {
                bodies.add(new String(message.getBody()));
            }
        }
        return bodies;
    }

    private static List<String> numbered(int from, int to) {
        List<String> bodies = new ArrayList<>();
        for (int i = from; i < to; i++) {
            bodies.add("body " + i);
        }
        return bodies;
    }

    private static List<MessageQueue> sorted(Collection<MessageQueue> queues) {
        List<MessageQueue> sorted = new ArrayList<>(queues);
        sorted.sort(null);
        return sorted;
    }
}
