import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;

/** Assertions that report the expected and the actual value. */
final class Check {
    private Check() {
    }

    interface Action {
        void run() throws Exception;
    }

    static void that(String what, boolean holds) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(String what, Object expected, Object got) {
        // int and long of one value are the same here
        if (!Objects.equals(expected, got) && !(expected instanceof Number && got instanceof Number && ((Number) expected).longValue() == ((Number) got).longValue())) {
            throw new AssertionError(what + ": expected " + shown(expected) + ", got " + shown(got));
        }
    }

    /** The same elements, each exactly once. */
    static void sameSet(String what, Collection<String> expected, List<String> got) {
        Set<String> distinct = new HashSet<>(got);
        equal(what + ", distinct", new java.util.TreeSet<>(expected), new java.util.TreeSet<>(distinct));
        equal(what + ", each once", distinct.size(), got.size());
    }

    /** The action is refused with RocketMQ's response code. */
    static void refused(int code, Action action) throws Exception {
        int got;
        String message;
        try {
            action.run();
            throw new AssertionError("expected response code " + code + ", but it succeeded");
        } catch (MQBrokerException e) {
            got = e.getResponseCode();
            message = e.getErrorMessage();
        } catch (MQClientException e) {
            got = e.getCause() instanceof MQBrokerException cause ? cause.getResponseCode() : e.getResponseCode();
            message = e.getErrorMessage();
        }
        equal("response code (" + message + ")", code, got);
        that("an error without a remark", message != null && !message.isEmpty());
    }

    private static String shown(Object value) {
        String text = String.valueOf(value);
        return text.length() > 300 ? text.substring(0, 300) + "..." : text;
    }
}
