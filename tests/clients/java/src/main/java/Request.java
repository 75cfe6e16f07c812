import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** A request as its frame has it, for what the client does only as a part of something else. */
final class Request {
    record Answer(int code, String remark, byte[] body) {
        String bodyText() {
            return body == null ? "" : new String(body, StandardCharsets.UTF_8);
        }
    }

    private final MQClientInstance client;

    Request(Cluster cluster) throws Exception {
        client = cluster.producer().getDefaultMQProducerImpl().getMqClientFactory();
    }

    /** To the broker of that queue. */
    Answer ask(MessageQueue queue, int code, Map<String, String> fields, byte[] body) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        request.setExtFields(new HashMap<>(fields));
        request.setBody(body);
        // Asking for the queues of a topic does not make the client remember where they are.
        client.updateTopicRouteInfoFromNameServer(queue.getTopic());
        String address = client.findBrokerAddressInPublish(queue.getBrokerName());
        Check.that("no address of " + queue, address != null);
        RemotingCommand answer = client.getMQClientAPIImpl().getRemotingClient().invokeSync(address, request, 5_000);
        return new Answer(answer.getCode(), answer.getRemark(), answer.getBody());
    }
}
