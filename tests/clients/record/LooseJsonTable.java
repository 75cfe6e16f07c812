// Records tests/golden/loose_json.txt: what RocketMQ 5.5.0 reads in bodies and headers that are not quite JSON, by its own decoders
// (`RemotingSerializable.decode`, which its broker calls for each body, and `RemotingCommand.decode`).
//   . ../real-broker/env.sh; "$java" -cp "$CP" LooseJsonTable.java | grep -aP "^\\w+\\t" > ../../golden/loose_json.txt
//
// A line for each text: the class, the text, and the members that were read, written again as standard JSON; or "!" if it was
// refused. Fields are separated by tabs; tabs, line ends, NUL and backslashes within them are escaped.

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONObject;
import com.alibaba.fastjson2.JSONWriter;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashSet;
import java.util.Set;
import org.apache.rocketmq.remoting.protocol.DataVersion;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RemotingSerializable;
import org.apache.rocketmq.remoting.protocol.body.*;
import org.apache.rocketmq.remoting.protocol.heartbeat.HeartbeatData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

class LooseJsonTable {
    /** `%` is where each of the values goes. */
    static final Object[][] SLOTS = {
        {HeartbeatData.class, "{'clientID':%}"},
        {HeartbeatData.class, "{'heartbeatFingerprint':%}"},
        {HeartbeatData.class, "{'withoutSub':%}"},
        {HeartbeatData.class, "{'producerDataSet':%}"},
        {HeartbeatData.class, "{'producerDataSet':[%]}"},
        {HeartbeatData.class, "{'consumerDataSet':[{'consumeType':%}]}"},
        {HeartbeatData.class, "{'consumerDataSet':[{'messageModel':%}]}"},
        {HeartbeatData.class, "{'consumerDataSet':[{'consumeFromWhere':%}]}"},
        {HeartbeatData.class, "{'consumerDataSet':[{'subscriptionDataSet':[{'subVersion':%}]}]}"},
        {HeartbeatData.class, "{'consumerDataSet':[{'subscriptionDataSet':[{'codeSet':%}]}]}"},
        {HeartbeatData.class, "{'consumerDataSet':[{'subscriptionDataSet':[{'codeSet':[%]}]}]}"},
        {HeartbeatData.class, "{'consumerDataSet':[{'subscriptionDataSet':[{'tagsSet':%}]}]}"},
        {HeartbeatData.class, "{'consumerDataSet':[{'subscriptionDataSet':[{'tagsSet':[%]}]}]}"},
        {SubscriptionGroupConfig.class, "{'groupName':%}"},
        {SubscriptionGroupConfig.class, "{'consumeEnable':%}"},
        {SubscriptionGroupConfig.class, "{'retryQueueNums':%}"},
        {SubscriptionGroupConfig.class, "{'brokerId':%}"},
        {SubscriptionGroupConfig.class, "{'attributes':%}"},
        {SubscriptionGroupConfig.class, "{'attributes':{'a':%}}"},
        {CreateTopicListRequestBody.class, "{'topicConfigList':[{'topicName':'t','topicFilterType':%}]}"},
        {CreateTopicListRequestBody.class, "{'topicConfigList':[{'topicName':'t','perm':%}]}"},
        {LockBatchRequestBody.class, "{'mqSet':%}"},
        {LockBatchRequestBody.class, "{'mqSet':[{'topic':'t','queueId':%}]}"},
        {TopicRouteData.class, "{'brokerDatas':[{'brokerAddrs':%}]}"},
        {TopicRouteData.class, "{'brokerDatas':[{'brokerAddrs':{0:%}}]}"},
        {TopicRouteData.class, "{'brokerDatas':[{'brokerAddrs':{%:'a'}}]}"},
        {DataVersion.class, "{'counter':%}"},
        {DataVersion.class, "{'timestamp':%}"},
        {RemotingCommand.class, "{'code':%}"},
        {RemotingCommand.class, "{'opaque':%}"},
        {RemotingCommand.class, "{'flag':%}"},
        {RemotingCommand.class, "{'version':%}"},
        {RemotingCommand.class, "{'language':%}"},
        {RemotingCommand.class, "{'remark':%}"},
        {RemotingCommand.class, "{'extFields':%}"},
        {RemotingCommand.class, "{'extFields':{'a':%}}"},
    };

    static final String[] VALUES = {
        "0", "1", "2", "3", "4", "5", "6", "-1", "100", "1.0", "1.5", "-1.5", "1e2", "1E+2", "\"0\"", "\"1\"", "\"2\"", "\"4\"", "\"-1\"", "\"+1\"", "\" 1\"", "\"1 \"",
        "\"1.0\"", "\"1.5\"", "\"1e2\"", "\"1,000\"", "\"\"", "\" \"", "\"abc\"", "\"null\"", "\"NULL\"", "null", "true", "false", "\"true\"", "\"TRUE\"", "\"True\"", "\"false\"",
        "\"FALSE\"", "\"yes\"", "\"Y\"", "\"N\"", "\"T\"", "\"F\"", "\"on\"", "'x'", "'1'", "[]", "[1]", "[\"a\",1,null,true]", "{}", "{\"a\":1}", "{\"a\":\"b\"}", "{\"a\":null}", "{1:\"b\"}", "{\"1\":2}", "2147483647",
        "2147483648", "-2147483649", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "\"2147483648\"", "\"9223372036854775807\"",
        "\"9223372036854775808\"", "1L", "1S", "1B", "1F", "1D", "0x10", "\"0x10\"", "+1", "--1", ".5", "1.", "007", "NaN", "Infinity", "-Infinity", "undefined", "abc",
        "True", "TRUE", "Null", "\"a\\u0001b\"", "{\"groupName\":\"g\"}", "[{\"groupName\":\"g\"}]", "[[\"g\"]]", "[{}]", "[null]", "[\"1\"]", "[1.0]", "[1,]", "[,1]", "[1,,2]", "Set[1,2]", "TreeSet[1]", "new Date(1)", "\"g\"",
        "{\"topic\":\"t\",\"queueId\":1}", "[{\"topic\":\"t\",\"queueId\":\"1\",\"brokerName\":\"b\"}]",
    };

    static final String[] NAMES = {
        "\"CONSUME_ACTIVELY\"", "\"CONSUME_PASSIVELY\"", "\"CONSUME_POP\"", "\"consume_pop\"", "\" CONSUME_POP\"", "\"PULL\"", "\"PUSH\"", "\"POP\"",
        "\"BROADCASTING\"", "\"CLUSTERING\"", "\"broadcasting\"", "\"Broadcasting\"", "\"LITE_SELECTIVE\"", "\"CONSUME_FROM_LAST_OFFSET\"", "\"CONSUME_FROM_FIRST_OFFSET\"",
        "\"CONSUME_FROM_TIMESTAMP\"", "\"CONSUME_FROM_MIN_OFFSET\"", "\"CONSUME_FROM_MAX_OFFSET\"", "\"CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST\"",
        "\"SINGLE_TAG\"", "\"MULTI_TAG\"", "\"NOPE\"", "\"JAVA\"", "\"CPP\"", "\"GO\"", "\"cpp\"", "\"CONSUMEPOP\"", "\"consume-pop\"", "\"Consume Pop\"",
    };

    /** Syntax, of a body and of a header. `@` is the name of a text, `#` that of a number, `~` that of a map of texts. */
    static final String[] SYNTAX = {
        "{}", "", " ", "null", "[]", "1", "\"\"", "true", "{", "}", "{{", "[{}]", " {} ", "\ufeff{}", "{}\0", "{}\0\0", "{} ", "{}\n", "{}\r\n\t", "{}x", "{}{}", "{},", "{};", "{}]", "{}}",
        "{'@':'c'}", "{'@':\"c\"}", "{@:'c'}", "{@:\"c\",#:1}", "{\"@\":c}", "{@ : 'c' , # : 1 }", "{\"@\":'c',}", "{\"@\":'c',,}", "{,\"@\":'c'}", "{,}", "{\"@\":'c',,\"#\":1}",
        "{\"@\":'c' \"#\":1}", "{\"@\":'c';\"#\":1}", "{\"@\"='c'}", "{\"@\" 'c'}", "{\"@\":}", "{\"@\"}", "{\"@\":'c'", "{\"@\":'c", "{\"@\":'c'} // x", "{\"@\":'c'} /* x */", "// x\n{\"@\":'c'}",
        "/* x */{\"@\":'c'}", "/* x {\"@\":'c'}", "{// x\n\"@\":'c'}", "{/* x */\"@\":'c'}", "{\"@\"/* x */:'c'}", "{\"@\":/* x */'c'}", "{\"@\":'c'/* x */}", "{\"@\":'c',/* x */\"#\":1}", "{\"@\":'c',// x\n\"#\":1}",
        "{\"@\":'c',# x\n\"#\":1}", "{\"@\":'c',-- x\n\"#\":1}", "{\"#\":1// x\n}", "{\"#\":1/**/}", "{\"#\":/**/1}", "{\"@\":'c'/ x }", "{\"@\":'c',\"@\":'d'}", "{\"#\":1,\"#\":2}", "{\"@\":'c',\"@\":null}", "{\"?\":1,\"@\":'c'}",
        "{\"?\":[1,{\"a\":[]}],\"@\":'c'}", "{\"?\":[1,{\"a\":[}],\"@\":'c'}", "{\"?\":'it\\'s',\"@\":'c'}", "{\"?\":nope,\"@\":'c'}", "{\"?\":1.5e3,\"@\":'c'}", "{\"?\":NaN,\"@\":'c'}", "{\"?\":new X(1),\"@\":'c'}", "{\"?\":Set[1],\"@\":'c'}", "{?:{b:c},\"@\":'c'}",
        "{\"?\":{1:2},\"@\":'c'}", "{\"?\":{{\"a\":1}:2},\"@\":'c'}", "{\"?\":[,1],\"@\":'c'}", "{\"?\":[1,],\"@\":'c'}", "{\"?\":{,},\"@\":'c'}", "{\"?\":undefined,\"@\":'c'}", "{\"?\":,\"@\":'c'}",
        "{1:2,\"@\":'c'}", "{true:2,\"@\":'c'}", "{null:2,\"@\":'c'}", "{-1:2,\"@\":'c'}", "{\"\":2,\"@\":'c'}", "{'':2,\"@\":'c'}", "{a-b:2,\"@\":'c'}", "{a.b:2,\"@\":'c'}", "{$a:2,_b:3,\"@\":'c'}", "{{\"x\":1}:2,\"@\":'c'}", "{[1]:2,\"@\":'c'}",
        "{\"\\u00@\":'c'}", "{\"@\":\"\\u0041\\u00fc\\ud83d\\ude00\"}", "{\"@\":\"\\ud83d\"}", "{\"@\":\"\\ud83dx\"}", "{\"@\":\"\\ude00\"}", "{\"@\":\"\\u00\"}", "{\"@\":\"\\u00zz\"}", "{\"@\":\"\\x41\\x7a\"}", "{\"@\":\"\\x4\"}", "{\"@\":\"\\xzz\"}", "{\"@\":\"\\0\\1\\7\"}",
        "{\"@\":\"\\8\"}", "{\"@\":\"\\v\\b\\f\\F\\n\\r\\t\\/\\\\\\'\\\"\"}", "{\"@\":\"\\a\"}", "{\"@\":\"\\e\"}", "{\"@\":\"\\ \"}", "{\"@\":\"\\(\\)\\[\\]\\{\\}\\;\\:\\@\\#\\!\\$\\%\\&\\*\\+\\-\\.\\<\\=\\>\\?\\^\\_\\`\\|\\~\"}", "{\"@\":\"a\nb\tc\"}", "{\"@\":\"a\u0001b\"}", "{\"@\":\"a\0b\"}", "{\"@\":\"a\\\nb\"}", "{\"@\":\"ü\"}",
        "{\"@\":'it\\'s \"x\"'}", "{\"@\":\"it's\"}", "{\"@\":\"x\\", "{\"@\":`c`}", "{`@`:'c'}", "{\"@\":\"a\"\"b\"}", "{\"@\":\"a\"+\"b\"}", "\u000b{}", "\f{}", "\u00a0{}", "{\"@\":\u000b'c'}", "{\u000c\"@\":'c'}", "{\"@\"\b:'c'}",
        "{\"#\":1 }", "{\"#\": 1}", "{\"#\":1,}", "{\"#\":-1}", "{\"#\":- 1}", "{\"#\":1 2}", "{\"#\":1x}", "{\"#\":0001}", "{\"#\":1_000}",
        "{\"~\":{'a':'b'}}", "{\"~\":{a:'b'}}", "{\"~\":{1:'b'}}", "{\"~\":{a:1,b:true,c:null,d:1.50,e:-0,f:1e2,g:9223372036854775808}}", "{\"~\":{a:[1,2]}}", "{\"~\":{a:{b:1}}}", "{\"~\":{'a':'b','a':'c'}}", "{\"~\":{'a':'b',}}", "{\"~\":{,'a':'b'}}",
        "{\"~\":{null:'b'}}", "{\"~\":{true:'b'}}", "{\"~\":{{\"x\":1}:'b'}}", "{\"~\":{\"\":\"b\"}}", "{\"~\":[]}", "{\"~\":\"\"}", "{\"~\":'{}'}", "{\"~\":{'a':'b'}", "{\"~\":{/*x*/'a'/*x*/:/*x*/'b'/*x*/}/*x*/}", "{\"~\":{'a':b}}", "{\"~\":{'a':/x/}}", "{\"~\":{'a':undefined}}",
    };

    static final Object[][] WHOLE = {
        {HeartbeatData.class, "{\"clientID\":\"c\",\"consumerDataSet\":[{\"groupName\":\"g\",\"consumeFromWhere\":0,\"consumeType\":1,\"messageModel\":1,\"subscriptionDataSet\":[{\"topic\":\"T\",\"subString\":\"*\",\"subVersion\":\"1795876569\"}]}],\"producerDataSet\":[{\"groupName\":\"p\"}]}"},
        {HeartbeatData.class, "{\"clientId\":\"c\"}"}, {HeartbeatData.class, "{\"clientid\":\"c\"}"}, {HeartbeatData.class, "{\"CLIENTID\":\"c\"}"}, {HeartbeatData.class, "{\"client_id\":\"c\"}"},
        {HeartbeatData.class, "{\"client-ID\":\"c\"}"}, {HeartbeatData.class, "{\" clientID\":\"c\"}"}, {HeartbeatData.class, "{\"is_without_sub\":true}"}, {HeartbeatData.class, "{\"isWithoutSub\":true}"},
        {HeartbeatData.class, "{\"ConsumerDataSet\":[{\"GroupName\":\"g\"}]}"}, {HeartbeatData.class, "{\"consumer_data_set\":[{\"group_name\":\"g\"}]}"},
        {HeartbeatData.class, "{\"consumerDataSet\":[{\"groupName\":\"g\"},{\"groupName\":\"h\",\"unitMode\":\"true\"}]}"},
        {HeartbeatData.class, "{\"consumerDataSet\":[{\"groupName\":\"g\",\"subscriptionDataSet\":[{\"topic\":\"t\",\"subString\":\"a||b\",\"tagsSet\":[\"a\",\"b\"],\"codeSet\":[\"97\",98],\"subVersion\":1.0,\"classFilterMode\":\"false\",\"expressionType\":null}]}]}"},
        {HeartbeatData.class, "{\"@type\":\"java.lang.String\",\"clientID\":\"c\"}"}, {HeartbeatData.class, "{\"$ref\":\"$\",\"clientID\":\"c\"}"}, {HeartbeatData.class, "{\"clientID\":{\"$ref\":\"$\"}}"},
        {HeartbeatData.class, "[\"c\"]"}, {HeartbeatData.class, "{\"clientID\":\"" + "ü\u20ac\ud83d\ude00" + "\"}"},
        {SubscriptionGroupConfig.class, "{\"groupName\":\"g\",\"groupRetryPolicy\":{\"type\":\"EXPONENTIAL\",\"exponentialRetryPolicy\":{\"initial\":1000,\"max\":5000,\"multiplier\":2}}}"},
        {SubscriptionGroupConfig.class, "{\"groupName\":\"g\",\"groupRetryPolicy\":null,\"subscriptionDataSet\":null,\"attributes\":null}"},
        {SubscriptionGroupConfig.class, "{groupName:'g',retryMaxTimes:'3',consumeEnable:0,consumeBroadcastEnable:1,brokerId:'2'}"},
        {LockBatchRequestBody.class, "{\"clientId\":\"c\",\"consumerGroup\":\"g\",\"mqSet\":[{\"brokerName\":\"b\",\"queueId\":\"3\",\"topic\":\"t\"},{'brokerName':'b',queueId:4,topic:'t'}],\"onlyThisBroker\":\"true\"}"},
        {TopicRouteData.class, "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"a:1\",\"1\":\"b:2\",2:null},\"brokerName\":\"b\",\"cluster\":\"c\"}],\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":\"6\",\"readQueueNums\":\"4\",\"writeQueueNums\":4.0}]}"},
        {ResetOffsetBody.class, "{\"offsetTable\":{{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"t\"}:3}}"},
        {ResetOffsetBody.class, "{\"offsetTable\":{{\"brokerName\":\"b\",\"queueId\":\"0\",\"topic\":\"t\"}:\"3\"}}"},
        {ResetOffsetBody.class, "{'offsetTable':{ {brokerName:'b', queueId:0, topic:'t'} : 3 , }}"},
        {ResetOffsetBody.class, "{\"offsetTable\":{\"{\\\"brokerName\\\":\\\"b\\\",\\\"queueId\\\":0,\\\"topic\\\":\\\"t\\\"}\":3}}"},
        {ResetOffsetBody.class, "{\"offsetTable\":{}}"}, {ResetOffsetBody.class, "{\"offsetTable\":null}"}, {ResetOffsetBody.class, "{\"offsetTable\":[]}"},
        {RemotingCommand.class, "{\"code\":34,\"language\":\"CPP\",\"version\":63,\"opaque\":1,\"flag\":0,\"extFields\":{\"a\":1,\"b\":true,\"c\":\"x\"}}"},
        {RemotingCommand.class, "{\"code\":34,\"ext_fields\":{\"a\":\"b\"},\"Opaque\":7}"}, {RemotingCommand.class, "{\"code\":34,\"serializeTypeCurrentRPC\":\"NOPE\"}"},
        {RemotingCommand.class, "{\"code\":34,\"serializeTypeCurrentRPC\":7,\"type\":1,\"oneway\":2}"},
    };

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        Set<String> lines = new LinkedHashSet<>();
        for (Object[] whole : WHOLE) lines.add(line((Class<?>) whole[0], (String) whole[1]));
        for (Object[] slot : SLOTS) {
            String text = ((String) slot[1]).replace('\'', '"');
            for (String value : VALUES) lines.add(line((Class<?>) slot[0], text.replace("%", value)));
            if (!text.matches(".*(Type|Model|Where|language)\":%.*")) continue;
            for (String value : NAMES) lines.add(line((Class<?>) slot[0], text.replace("%", value)));
        }
        for (String text : SYNTAX) {
            lines.add(line(SubscriptionGroupConfig.class, text.replace("@", "groupName").replace("#", "retryQueueNums").replace("~", "attributes")));
            lines.add(line(RemotingCommand.class, text.replace("@", "remark").replace("#", "code").replace("~", "extFields")));
        }
        lines.forEach(line -> out.print(line + "\n"));
        out.flush();
    }

    static String line(Class<?> type, String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        String outcome;
        try {
            Object value = type == RemotingCommand.class ? header(bytes) : RemotingSerializable.decode(bytes, type);
            outcome = value == null ? "null" : shown(value, type);
        } catch (Throwable error) {
            outcome = "!";
        }
        return type.getSimpleName() + "\t" + escaped(text) + "\t" + escaped(outcome);
    }

    /** The members that `{}` would not have given, in the order of their names. */
    static String shown(Object value, Class<?> type) throws Exception {
        JSONObject members = members(value);
        JSONObject empty = members(type == RemotingCommand.class ? header("{}".getBytes()) : RemotingSerializable.decode("{}".getBytes(), type));
        members.keySet().removeIf(name -> java.util.Objects.equals(members.get(name), empty.get(name)));
        return new JSONObject(new java.util.TreeMap<>(members)).toJSONString(JSONWriter.Feature.WriteNulls, JSONWriter.Feature.MapSortField, JSONWriter.Feature.BrowserCompatible);
    }

    static JSONObject members(Object value) {
        return JSON.parseObject(JSON.toJSONString(value, JSONWriter.Feature.WriteNulls));
    }

    /** A frame without its length: the header's length (whose first byte, 0, is JSON), the header, no body. */
    static RemotingCommand header(byte[] bytes) throws Exception {
        return RemotingCommand.decode(ByteBuffer.allocate(4 + bytes.length).putInt(bytes.length).put(bytes).flip());
    }

    static String escaped(String text) {
        return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0");
    }
}
