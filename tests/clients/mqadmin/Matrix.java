import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Options;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.srvutil.ServerUtil;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.apache.rocketmq.tools.command.SubCommand;

/**
 * Runs the mqadmin subcommands that a file lists against a cluster of one broker, and keeps the output of each:
 * Matrix NAMESRV BROKER COMMANDS OUT_DIR [NAME]
 *
 * All commands run in one virtual machine, since starting one takes most of the time. First the cluster gets a topic of two queues with 20
 * messages, a producer, a consumer that has consumed them and stays, and one that is gone.
 */
public final class Matrix {
    private static final PrintStream OUT = System.out;
    private static final Map<String, Class<? extends SubCommand>> KNOWN = new LinkedHashMap<>();

    private Matrix() {
    }

    /** The output of a thread and of the threads that it starts goes to the output of its command. */
    private static final InheritableThreadLocal<PrintStream> PRINTED = new InheritableThreadLocal<>();
    /** Commands that change nothing run concurrently: each mostly waits for its own client to shut down. */
    private static final int AT_A_TIME = 8;

    public static void main(String[] args) {
        int code = 0;
        try {
            runAll(args);
        } catch (Throwable e) {
            e.printStackTrace(OUT);
            code = 1;
        }
        OUT.flush();
        // Clients of commands that were stopped in the middle still have threads.
        Runtime.getRuntime().halt(code);
    }

    private static void runAll(String[] args) throws Exception {
        String namesrv = args[0];
        String broker = args[1];
        Path out = Files.createDirectories(Path.of(args[3]));
        Map<String, String> values = prepare(namesrv, broker, out);
        System.setProperty(RemotingCommand.REMOTING_VERSION_KEY, Integer.toString(MQVersion.CURRENT_VERSION));
        System.setProperty(MixAll.NAMESRV_ADDR_PROPERTY, namesrv);
        KNOWN.putAll(known());
        PrintStream router = new PrintStream(new Router(), true, StandardCharsets.UTF_8);
        System.setOut(router);
        System.setErr(router);
        int number = 0;
        ExecutorService looking = Executors.newFixedThreadPool(AT_A_TIME);
        List<Future<?>> running = new ArrayList<>();
        for (Command command : commands(Path.of(args[2]))) {
            Path kept = out.resolve(String.format("%03d-%s.txt", ++number, command.arguments[0]));
            if (command.verdict.equals("setup")) {
                traced(namesrv, values);
                continue;
            }
            if (command.verdict.startsWith("skip") || args.length > 4 && !args[4].equals(command.arguments[0])) {
                continue;
            }
            if (!command.alone) {
                running.add(looking.submit(() -> Files.writeString(kept, run(command, values))));
                continue;
            }
            for (Future<?> done : running) {
                done.get();
            }
            running.clear();
            Files.writeString(kept, run(command, values));
        }
        for (Future<?> done : running) {
            done.get();
        }
        Set<String> left = new TreeSet<>(KNOWN.keySet());
        commands(Path.of(args[2])).forEach(command -> left.remove(command.arguments[0]));
        if (!left.isEmpty()) {
            OUT.println("not among the commands: " + left);
        }
    }

    private static final class Router extends OutputStream {
        @Override
        public void write(int b) {
            PrintStream to = PRINTED.get();
            (to == null ? OUT : to).write(b);
        }

        @Override
        public void write(byte[] bytes, int from, int length) {
            PrintStream to = PRINTED.get();
            (to == null ? OUT : to).write(bytes, from, length);
        }
    }

    private record Command(String verdict, boolean alone, String[] arguments) {
    }

    /** `verdict | arguments`, one a line; `#` opens a comment, `! ` before the verdict is for a command that changes something.
     * A line `setup` stands for the message of the traces. */
    private static List<Command> commands(Path file) throws Exception {
        List<Command> commands = new ArrayList<>();
        for (String line : Files.readAllLines(file)) {
            if (line.equals("setup")) {
                commands.add(new Command(line, true, new String[] {line}));
            } else if (!line.isBlank() && !line.startsWith("#")) {
                int bar = line.indexOf('|');
                boolean alone = line.startsWith("! ");
                commands.add(new Command(line.substring(alone ? 2 : 0, bar).trim(), alone, line.substring(bar + 1).trim().split("\\s+")));
            }
        }
        return commands;
    }

    /** What the command prints to either stream, stopped after `loops N` seconds if it is one that never ends, after 90 s otherwise. */
    private static String run(Command command, Map<String, String> values) throws Exception {
        String[] arguments = new String[command.arguments.length];
        for (int i = 0; i < arguments.length; i++) {
            arguments[i] = replaced(command.arguments[i], values);
        }
        long seconds = command.verdict.startsWith("loops") ? Long.parseLong(command.verdict.split("[ :]+")[1]) : 90;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream both = new PrintStream(printed, true, StandardCharsets.UTF_8);
        Thread thread = new Thread(() -> {
            PRINTED.set(both);
            try {
                execute(arguments);
            } catch (Throwable e) {
                e.printStackTrace();
            }
        }, String.join(" ", arguments));
        thread.setDaemon(true);
        thread.start();
        thread.join(seconds * 1000);
        boolean hangs = thread.isAlive() && !command.verdict.startsWith("loops");
        thread.interrupt();
        return printed.toString(StandardCharsets.UTF_8) + (hangs ? "did not end within " + seconds + " s\n" : "");
    }

    /** As MQAdminStartup does, but with a new command object, since one cannot be used twice. */
    private static void execute(String[] arguments) throws Exception {
        Class<? extends SubCommand> found = KNOWN.get(arguments[0]);
        if (found == null) {
            System.out.println("no such subcommand: " + arguments[0]);
            return;
        }
        SubCommand command = found.getDeclaredConstructor().newInstance();
        Options options = ServerUtil.buildCommandlineOptions(new Options());
        String[] rest = Arrays.copyOfRange(arguments, 1, arguments.length);
        CommandLine line = new DefaultParser().parse(command.buildCommandlineOptions(options), rest);
        synchronized (KNOWN) {
            Thread.sleep(50); // their clients are named after the millisecond in which they are made
        }
        command.execute(line, options, null);
    }

    /** All subcommands of mqadmin, by name. */
    private static Map<String, Class<? extends SubCommand>> known() throws Exception {
        MQAdminStartup.initCommand();
        Field field = MQAdminStartup.class.getDeclaredField("SUB_COMMANDS");
        field.setAccessible(true);
        Map<String, Class<? extends SubCommand>> known = new LinkedHashMap<>();
        for (Object command : (List<?>) field.get(null)) {
            SubCommand subCommand = (SubCommand) command;
            known.put(subCommand.commandName(), subCommand.getClass());
        }
        return known;
    }

    private static String replaced(String argument, Map<String, String> values) {
        for (Map.Entry<String, String> value : values.entrySet()) {
            argument = argument.replace("$" + value.getKey(), value.getValue());
        }
        return argument;
    }

    private static Map<String, String> prepare(String namesrv, String broker, Path out) throws Exception {
        String topic = "AdminTopic";
        String group = "admin_group";
        DefaultMQProducer producer = new DefaultMQProducer("admin_producer");
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("matrix_producer");
        producer.setHeartbeatBrokerInterval(1_000);
        producer.start();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
        while (true) {
            try {
                producer.createTopic("TBW102", topic, 2, Map.of());
                if (producer.fetchPublishMessageQueues(topic).size() == 2) {
                    break;
                }
            } catch (Exception notYet) {
                if (System.nanoTime() > deadline) {
                    throw notYet;
                }
            }
            Thread.sleep(100);
        }
        List<MessageQueue> queues = new ArrayList<>(producer.fetchPublishMessageQueues(topic));
        queues.sort(null);
        SendResult last = null;
        for (int i = 0; i < 20; i++) {
            Message message = new Message(topic, i % 2 == 0 ? "TagA" : "TagB", "key-" + i, ("body " + i).getBytes(StandardCharsets.UTF_8));
            last = producer.send(message, queues.get(i / 2 % 2), 10_000);
        }
        consumer(namesrv, "gone_group", topic).shutdown();
        DefaultMQPushConsumer consumer = consumer(namesrv, group, topic);
        Map<String, String> values = new LinkedHashMap<>();
        values.put("namesrv", namesrv);
        values.put("brokerName", queues.get(0).getBrokerName());
        values.put("broker", broker);
        values.put("topic", topic);
        values.put("group", group);
        values.put("client", consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().getClientId());
        values.put("offsetId", last.getOffsetMsgId());
        values.put("uniqId", last.getMsgId());
        values.put("out", out.toAbsolutePath().toString());
        values.put("begin", Long.toString(System.currentTimeMillis() - 3_600_000));
        topicList(out);
        Thread.sleep(12_000); // RocketMQ's statistics are 10 s behind
        return values;
    }

    /** A message whose producer and consumer write to the trace topic. */
    private static void traced(String namesrv, Map<String, String> values) throws Exception {
        String topic = values.get("topic");
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer("traced_group", true, null);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("matrix_traced_consumer");
        consumer.subscribe(topic, "Traced");
        CountDownLatch consumed = new CountDownLatch(1);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            consumed.countDown();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.start();
        DefaultMQProducer producer = new DefaultMQProducer("traced_producer", true, null);
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("matrix_traced_producer");
        producer.start();
        SendResult sent = producer.send(new Message(topic, "Traced", "traced", "body".getBytes(StandardCharsets.UTF_8)), 10_000);
        values.put("tracedId", sent.getMsgId());
        if (!consumed.await(60, TimeUnit.SECONDS)) {
            throw new AssertionError("the traced message was not consumed");
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!hasTraces(producer, sent.getMsgId())) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("no traces of " + sent.getMsgId());
            }
            Thread.sleep(500);
        }
        producer.shutdown();
        consumer.shutdown();
    }

    private static boolean hasTraces(DefaultMQProducer producer, String id) {
        StringBuilder traces = new StringBuilder();
        try {
            long now = System.currentTimeMillis();
            producer.queryMessage("RMQ_SYS_TRACE_TOPIC", id, 64, now - 600_000, now + 60_000).getMessageList()
                .forEach(trace -> traces.append(new String(trace.getBody(), StandardCharsets.UTF_8)));
        } catch (Exception notYet) {
            return false;
        }
        return traces.indexOf("Pub\1") >= 0 && traces.indexOf("SubAfter\1") >= 0;
    }

    /** Consumes everything, so that every command finds the same state. */
    private static DefaultMQPushConsumer consumer(String namesrv, String group, String topic) throws Exception {
        CountDownLatch consumed = new CountDownLatch(20);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("matrix_" + group);
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> consumed.countDown());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        if (!consumed.await(60, TimeUnit.SECONDS)) {
            throw new AssertionError(group + " got " + (20 - consumed.getCount()) + " of 20 messages");
        }
        Thread.sleep(500);
        consumer.getDefaultMQPushConsumerImpl().getOffsetStore().persistAll(
            consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet());
        return consumer;
    }

    /** Files that some commands read. */
    private static void topicList(Path out) throws Exception {
        Files.writeString(out.resolve("topics.json"),
            "[{\"topicName\":\"ListA\",\"readQueueNums\":1,\"writeQueueNums\":1},{\"topicName\":\"ListB\",\"readQueueNums\":2,\"writeQueueNums\":2}]");
        Files.writeString(out.resolve("groups.json"), "[{\"groupName\":\"list_a\"},{\"groupName\":\"list_b\",\"retryMaxTimes\":3}]");
    }
}
