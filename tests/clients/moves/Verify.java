import com.alibaba.fastjson2.JSONObject;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageId;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;

/** Compares the current broker with what the brokers before acknowledged, and waits for pending messages. */
final class Verify {
    private static final int SHOWN_FAILURES = 40;

    /** How a broker ended, and how many milliseconds of periodically saved state its end may have lost; for timed messages and keys more. */
    private record End(boolean isKilled, long at, long allowedMs, long timersMs) {
        boolean mayHaveLost(long noted, boolean isTimed) {
            return isKilled && noted > at - (isTimed ? timersMs : allowedMs) && noted <= at;
        }
    }

    private final Side side;
    private final List<List<JSONObject>> ledgers = new ArrayList<>();
    private final List<String> names = new ArrayList<>();
    private final List<End> ends = new ArrayList<>();
    private final Map<MessageQueue, TreeMap<Long, JSONObject>> seen = new HashMap<>();
    private Map<String, TopicConfig> topics;
    private int failures;
    private int compared;

    Verify(Side side, Path folder) throws Exception {
        this.side = side;
        for (Path path : Moves.ledgers(folder)) {
            ledgers.add(Ledger.read(path));
            names.add(path.getFileName().toString().replace(".jsonl", ""));
        }
        for (String line : Files.readAllLines(folder.resolve("ends.txt"))) {
            String[] words = line.split(" ");
            ends.add(new End(words[0].equals("killed"), Long.parseLong(words[1]), Long.parseLong(words[2]), Long.parseLong(words[3])));
        }
        Fill.equal("an end for each ledger", ledgers.size(), ends.size());
    }

    int failures() {
        return failures;
    }

    void run() throws Exception {
        long begin = System.currentTimeMillis();
        offsets();
        answerChecks();
        readAll();
        topicsAndGroups();
        bounds();
        messages();
        lookUps();
        times();
        awaitDues();
        readAll();
        dues();
        onceEach();
        popTheRest();
        System.out.println((failures == 0 ? "PASS " : "FAIL ") + names + ": " + compared + " comparisons, " + failures + " failures, "
            + (System.currentTimeMillis() - begin) + " ms");
    }

    private void fail(String what) {
        if (failures++ < SHOWN_FAILURES) {
            System.out.println("FAIL " + (what.length() > 1_500 ? what.substring(0, 1_500) + "..." : what));
        }
    }

    private void equal(String what, Object expected, Object got) {
        compared++;
        try {
            Fill.equal(what, expected, got);
        } catch (AssertionError e) {
            fail(e.getMessage());
        }
    }

    private interface Each {
        void look(JSONObject line, int ledger) throws Exception;
    }

    private void each(String is, Each each) throws Exception {
        for (int i = 0; i < ledgers.size(); i++) {
            for (JSONObject line : ledgers.get(i)) {
                if (is.equals(line.getString("is"))) {
                    each.look(line, i);
                }
            }
        }
    }

    private MessageQueue queue(JSONObject line) {
        return side.queue(line.getString("topic"), line.getIntValue("queue"));
    }

    private void readAll() throws Exception {
        topics = side.topics();
        seen.clear();
        for (TopicConfig topic : topics.values()) {
            for (int id = 0; id < topic.getReadQueueNums(); id++) {
                MessageQueue queue = side.queue(topic.getTopicName(), id);
                if (side.max(queue) == 0) {
                    continue;
                }
                TreeMap<Long, JSONObject> messages = new TreeMap<>();
                seen.put(queue, messages);
                try {
                    for (MessageExt message : side.read(queue)) {
                        messages.put(message.getQueueOffset(), Ledger.shown(message));
                    }
                } catch (AssertionError e) {
                    fail(e.getMessage());
                }
            }
        }
    }

    private void topicsAndGroups() throws Exception {
        each("topic", (line, ledger) -> {
            TopicConfig got = topics.get(line.getString("name"));
            equal("topic " + line.getString("name"), line.getString("config"), got == null ? null : Fill.shown(got));
        });
        var groups = side.admin.getAllSubscriptionGroup(side.broker, Side.TIMEOUT_MS).getSubscriptionGroupTable();
        each("group", (line, ledger) -> equal("group " + line.getString("name"), line.getString("config"), String.valueOf(groups.get(line.getString("name")))));
    }

    private void bounds() throws Exception {
        each("bounds", (line, ledger) -> {
            MessageQueue queue = queue(line);
            equal("minimum of " + queue, line.getLong("min"), side.min(queue));
            compared++;
            if (side.max(queue) < line.getLong("max")) {
                fail("maximum of " + queue + ": " + side.max(queue) + ", was " + line.getLong("max"));
            }
        });
    }

    private void messages() throws Exception {
        each("stored", (line, ledger) -> {
            JSONObject got = seen.getOrDefault(queue(line), new TreeMap<>()).get(line.getLong("offset"));
            equal("offset " + line.getLong("offset") + " of " + queue(line) + " (" + names.get(ledger) + ")", line.getJSONObject("message"), got);
        });
        each("acknowledged", (line, ledger) -> {
            String what = line.getString("id") + " at " + line.getLong("offset") + " of " + queue(line);
            JSONObject got = seen.getOrDefault(queue(line), new TreeMap<>()).get(line.getLong("offset"));
            if (got == null) {
                compared++;
                fail(what + " is gone");
                return;
            }
            for (String field : List.of("msgId", "key", "crc", "flag")) {
                equal(field + " of " + what, line.get(field), got.get(field));
            }
            JSONObject properties = got.getJSONObject("properties");
            line.getJSONObject("properties").forEach((name, value) -> {
                if (!name.equals("WAIT")) {
                    equal(name + " of " + what, value, properties.get(name));
                }
            });
        });
    }

    /** By offset id, by unique key and by key: every seventh message and all of the odd kinds. */
    private void lookUps() throws Exception {
        int[] nth = {0};
        each("acknowledged", (line, ledger) -> {
            if (ledger < ledgers.size() - 1 || nth[0]++ % 7 != 0 && !Set.of("Compressed", "Big", "Batch", "Second").contains(tags(line))) {
                return;
            }
            String topic = line.getString("topic");
            MessageId id = MessageDecoder.decodeMessageId(line.getString("msgId"));
            MessageExt viewed = side.api().viewMessage(side.broker, topic, id.getOffset(), Side.TIMEOUT_MS);
            equal("a look at " + line.getString("msgId"), line.getLong("crc"), Ledger.crc(viewed.getBody()));
            // After a kill, only ringmq can read the newest part of its key index.
            boolean isIndexed = !ends.get(ledger).mayHaveLost(viewed.getStoreTimestamp(), true);
            if (isIndexed && nth[0] % 5 == 0) {
                MessageExt byKey = side.client().getMQAdminImpl().queryMessageByUniqKey(topic, line.getString("key"));
                equal("query of " + line.getString("key"), line.getString("id"), byKey == null ? null : byKey.getUserProperty(Fill.ID));
                String keys = line.getString("keys");
                if (keys != null) {
                    String key = keys.split(" ")[keys.split(" ").length - 1];
                    var found = side.reader.queryMessage(topic, key, 32, 0, Long.MAX_VALUE).getMessageList();
                    compared++;
                    if (found.stream().noneMatch(message -> line.getString("id").equals(message.getUserProperty(Fill.ID)))) {
                        fail(line.getString("id") + " is not among the " + found.size() + " of key " + key);
                    }
                }
            }
        });
    }

    private static String tags(JSONObject line) {
        return String.valueOf(line.getJSONObject("properties").getString("TAGS"));
    }

    /** The first message of a time. */
    private void times() throws Exception {
        for (Map.Entry<MessageQueue, TreeMap<Long, JSONObject>> queue : seen.entrySet()) {
            List<Map.Entry<Long, JSONObject>> messages = new ArrayList<>(queue.getValue().entrySet());
            if (!queue.getKey().getTopic().startsWith(names.get(names.size() - 1)) || messages.isEmpty()) {
                continue;
            }
            for (int i = 0; i < messages.size(); i += 1 + messages.size() / 4) {
                long time = messages.get(i).getValue().getLong("stored");
                long first = messages.stream().filter(message -> message.getValue().getLong("stored") >= time).findFirst().orElseThrow().getKey();
                equal("offset of " + time + " in " + queue.getKey(), first, side.api().searchOffset(side.broker, queue.getKey(), time, Side.TIMEOUT_MS));
            }
        }
    }

    /** The last committed offset, or an earlier one within what may have been lost. */
    private void offsets() throws Exception {
        Map<String, Set<Long>> expected = new TreeMap<>();
        Map<String, JSONObject> queues = new HashMap<>();
        each("offset", (line, ledger) -> {
            String key = line.getString("group") + " " + line.getString("topic") + " " + line.getIntValue("queue");
            Set<Long> may = expected.computeIfAbsent(key, unused -> new TreeSet<>());
            if (!ends.get(ledger).mayHaveLost(line.getLong("at"), false)) {
                may.clear();
            }
            may.add(line.getLong("offset"));
            queues.put(key, line);
        });
        for (Map.Entry<String, Set<Long>> each : expected.entrySet()) {
            JSONObject line = queues.get(each.getKey());
            QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
            header.setConsumerGroup(line.getString("group"));
            header.setTopic(line.getString("topic"));
            header.setQueueId(line.getIntValue("queue"));
            // Pop consumers continue; only the groups of the newest ledger are idle.
            boolean isNewest = line.getString("group").startsWith(names.get(names.size() - 1) + "_");
            if (line.getString("group").endsWith("popping") && !isNewest) {
                continue;
            }
            Object got;
            try {
                got = side.api().queryConsumerOffset(side.broker, header, Side.TIMEOUT_MS);
            } catch (org.apache.rocketmq.client.exception.MQBrokerException e) {
                got = e.getErrorMessage();
            }
            compared++;
            if (!each.getValue().contains(got)) {
                fail("offset of " + each.getKey() + ": " + got + ", expected " + each.getValue());
            }
        }
    }

    /** Transactions without a decision at first are committed now. */
    private void answerChecks() throws Exception {
        for (String name : names) {
            side.transactions(name + "_transactions", name + "_plain", new TransactionListener() {
                @Override
                public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                    return LocalTransactionState.UNKNOW;
                }

                @Override
                public LocalTransactionState checkLocalTransaction(MessageExt message) {
                    if (!"open".equals(message.getTags())) {
                        fail("asked about " + message.getUserProperty(Fill.ID) + ", which was " + message.getTags());
                    }
                    return LocalTransactionState.COMMIT_MESSAGE;
                }
            });
        }
    }

    private List<JSONObject> found(String topic, String id) {
        List<JSONObject> found = new ArrayList<>();
        for (Map.Entry<MessageQueue, TreeMap<Long, JSONObject>> queue : seen.entrySet()) {
            String of = queue.getKey().getTopic();
            if (of.equals(topic) || topic.startsWith("%RETRY%") && of.startsWith(topic + "_")) {
                for (JSONObject message : queue.getValue().values()) {
                    if (id.equals(message.getJSONObject("properties").getString(Fill.ID))) {
                        found.add(message);
                    }
                }
            }
        }
        return found;
    }

    private void awaitDues() throws Exception {
        long[] last = {0};
        each("due", (line, ledger) -> {
            if (line.getLong("at") < System.currentTimeMillis() + 45_000) {
                last[0] = Math.max(last[0], line.getLong("at"));
            }
        });
        Thread.sleep(Math.max(0, last[0] + 1_000 - System.currentTimeMillis()));
        // Overdue messages may need more time; missing ones are found by the comparison.
        long deadline = System.currentTimeMillis() + 30_000;
        boolean isThere = false;
        while (!isThere && System.currentTimeMillis() < deadline) {
            readAll();
            boolean[] all = {true};
            each("due", (line, ledger) -> all[0] &= line.getLong("at") > last[0] || !found(line.getString("topic"), line.getString("id")).isEmpty());
            isThere = all[0];
            Thread.sleep(1_000); // also for what must not come
        }
    }

    private void dues() throws Exception {
        long now = System.currentTimeMillis();
        each("due", (line, ledger) -> {
            String what = line.getString("id") + " of " + line.getString("topic");
            List<JSONObject> found = found(line.getString("topic"), line.getString("id"));
            compared++;
            if (found.isEmpty() && line.getLong("at") < now - 5_000) {
                fail(what + " has not come, it was due " + (now - line.getLong("at")) + " ms ago");
            }
            for (JSONObject message : found) {
                if (message.getLong("stored") < line.getLong("at")) {
                    fail(what + " has come " + (line.getLong("at") - message.getLong("stored")) + " ms early");
                }
            }
            boolean isAsked = line.getBooleanValue("isAsked");
            // RocketMQ keeps pops with the timer.
            boolean isTimed = line.getBooleanValue("isTimed") || line.getString("topic").endsWith("_popping");
            // Each kill may take the note of it once more, as what RocketMQ knows of timers stays what it was while ringmq has the store.
            long taken = ends.stream().filter(end -> found.stream().anyMatch(message -> end.mayHaveLost(message.getLong("stored"), isTimed))).count();
            long asked = ends.stream().filter(End::isKilled).mapToLong(end -> 1 + end.allowedMs() / Fill.CHECK_INTERVAL_MS).max().orElse(0);
            long most = 1 + (isAsked ? asked : taken);
            if (found.size() > most) {
                fail(what + " has come " + found.size() + " times, it was due " + (now - line.getLong("at")) + " ms ago");
            }
        });
        each("never", (line, ledger) -> {
            compared++;
            if (!found(line.getString("topic"), line.getString("id")).isEmpty()) {
                fail(line.getString("id") + " has come to " + line.getString("topic"));
            }
        });
    }

    /** A message that was sent once exists once, also without an acknowledgement. */
    private void onceEach() throws Exception {
        Map<String, Integer> counts = new HashMap<>();
        for (Map.Entry<MessageQueue, TreeMap<Long, JSONObject>> queue : seen.entrySet()) {
            for (JSONObject message : queue.getValue().values()) {
                counts.merge(queue.getKey().getTopic() + " " + message.getJSONObject("properties").getString(Fill.ID), 1, Integer::sum);
            }
        }
        for (String is : List.of("acknowledged", "attempt")) {
            each(is, (line, ledger) -> {
                compared++;
                int count = counts.getOrDefault(line.getString("topic") + " " + line.getString("id"), 0);
                if (count > 1) {
                    fail(line.getString("id") + " is " + count + " times in " + line.getString("topic"));
                }
            });
        }
    }

    /** The redelivered messages and those that were never popped, and nothing else. */
    private void popTheRest() throws Exception {
        String name = names.get(names.size() - 1);
        String group = name + "_popping";
        Set<String> expected = new TreeSet<>();
        for (JSONObject line : ledgers.get(ledgers.size() - 1)) {
            if ("due".equals(line.getString("is")) && line.getString("topic").equals("%RETRY%" + group)) {
                expected.add(line.getString("id"));
            }
        }
        TreeMap<Long, JSONObject> queue = seen.getOrDefault(side.queue(name + "_popped", 0), new TreeMap<>());
        queue.tailMap(12L).values().forEach(message -> expected.add(message.getJSONObject("properties").getString(Fill.ID)));
        List<String> popped = new ArrayList<>();
        for (int empty = 0; empty < 3; ) {
            List<MessageExt> some = Fill.pop(side, group, name + "_popped", 8, 60_000);
            empty = some.isEmpty() ? empty + 1 : 0;
            for (MessageExt message : some) {
                popped.add(message.getUserProperty(Fill.ID));
                Fill.acknowledge(side, group, name + "_popped", message);
            }
        }
        equal("popped by " + group, expected, new TreeSet<>(popped));
    }
}
