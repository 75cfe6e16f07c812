import java.util.Map;
import java.util.Properties;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.MQClientManager;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;

/** What an administrator has removed ahead of its time, and how long the rest is kept: nothing that is young goes. */
final class Retention {
    private static final long TIMEOUT_MS = 30_000;

    private Retention() {
    }

    static void scenarios(Map<String, ClientCheck.Scenario> all) {
        all.put("clean_what_is_old", Retention::cleanWhatIsOld);
        all.put("change_what_is_kept", Retention::changeWhatIsKept);
    }

    /** Requests 329, 306 and 316. */
    private static void cleanWhatIsOld(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        for (int i = 0; i < 10; i++) {
            cluster.producer().send(Cluster.message(topic, "TagA", i));
        }
        Broker broker = new Broker(cluster, topic);
        Check.equal("expired files of the log", true, broker.api.deleteExpiredCommitLog(broker.address, TIMEOUT_MS));
        Check.equal("expired queues", true, broker.api.cleanExpiredConsumeQueue(broker.address, TIMEOUT_MS));
        Check.equal("unused topics", true, broker.api.cleanUnusedTopicByAddr(broker.address, TIMEOUT_MS));
        Check.equal("messages", 10, cluster.read(topic).size());
    }

    /** Requests 25 and 26. */
    private static void changeWhatIsKept(Cluster cluster) throws Exception {
        String topic = cluster.topic(1);
        cluster.producer().send(Cluster.message(topic, "TagA", 0));
        Broker broker = new Broker(cluster, topic);
        for (String hours : new String[] {"71", "72"}) {
            Properties change = new Properties();
            change.setProperty("fileReservedTime", hours);
            change.setProperty("diskMaxUsedSpaceRatio", hours);
            broker.api.updateBrokerConfig(broker.address, change, TIMEOUT_MS);
            Properties config = broker.api.getBrokerConfig(broker.address, TIMEOUT_MS);
            Check.equal("fileReservedTime", hours, config.getProperty("fileReservedTime"));
            Check.equal("diskMaxUsedSpaceRatio", hours, config.getProperty("diskMaxUsedSpaceRatio"));
            Check.equal("deleteWhen", "04", config.getProperty("deleteWhen"));
        }
    }

    /** The administrators' calls of the broker that has a topic. */
    private static final class Broker {
        final MQClientAPIImpl api;
        final String address;

        /** Its address is known to a client that has sent to it. */
        Broker(Cluster cluster, String topic) throws Exception {
            MQClientInstance client = MQClientManager.getInstance().getOrCreateMQClientInstance(cluster.producer());
            String name = cluster.queues(topic).get(0).getBrokerName();
            api = client.getMQClientAPIImpl();
            address = client.findBrokerAddressInPublish(name);
        }
    }
}
