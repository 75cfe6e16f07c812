import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.zip.CRC32;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * The broker's acknowledged state: a JSON object on each line, written as soon as it is known. Its field `is`:
 *
 * attempt       id, topic: a send that may or may not exist
 * acknowledged  id, topic, queue, offset, msgId, key: it must exist
 * stored        a message as a pull has shown it, all of it
 * bounds        topic, queue, min, max
 * topic, group  name, config
 * offset        group, topic, queue, offset, at: when it was committed
 * due           id, topic (one or the beginning of some), at: comes once, and not before
 * never         id, topic
 */
final class Ledger implements AutoCloseable {
    private final BufferedWriter writer;

    Ledger(Path path) throws IOException {
        writer = Files.newBufferedWriter(path);
    }

    synchronized void note(String is, Object... fields) throws IOException {
        JSONObject line = new JSONObject();
        line.put("is", is);
        for (int i = 0; i < fields.length; i += 2) {
            line.put((String) fields[i], fields[i + 1]);
        }
        writer.write(line.toString());
        writer.newLine();
        writer.flush();
    }

    @Override
    public void close() throws IOException {
        writer.close();
    }

    /** A kill may leave the last line half written; its acknowledgement was not received either. */
    static List<JSONObject> read(Path path) throws IOException {
        List<JSONObject> lines = new ArrayList<>();
        for (String line : Files.readAllLines(path, StandardCharsets.UTF_8)) {
            if (line.endsWith("}")) {
                lines.add(JSON.parseObject(line));
            }
        }
        return lines;
    }

    /** All fields of a message except its position. */
    static JSONObject shown(MessageExt message) {
        JSONObject all = new JSONObject();
        all.put("msgId", offsetId(message));
        all.put("key", message.getMsgId());
        all.put("crc", crc(message.getBody()));
        all.put("bytes", message.getBody().length);
        all.put("bodyCrc", message.getBodyCRC());
        all.put("storeSize", message.getStoreSize());
        all.put("flag", message.getFlag());
        all.put("sysFlag", message.getSysFlag());
        all.put("born", message.getBornTimestamp());
        all.put("bornHost", String.valueOf(message.getBornHost()));
        all.put("stored", message.getStoreTimestamp());
        all.put("storeHost", String.valueOf(message.getStoreHost()));
        all.put("times", message.getReconsumeTimes());
        all.put("prepared", message.getPreparedTransactionOffset());
        TreeMap<String, String> properties = new TreeMap<>(message.getProperties());
        // Properties that the client adds at the pull.
        properties.remove("MIN_OFFSET");
        properties.remove("MAX_OFFSET");
        all.put("properties", properties);
        return JSON.parseObject(all.toString());
    }

    static String offsetId(MessageExt message) {
        return ((org.apache.rocketmq.common.message.MessageClientExt) message).getOffsetMsgId();
    }

    static long crc(byte[] body) {
        CRC32 crc = new CRC32();
        crc.update(body);
        return crc.getValue();
    }
}
