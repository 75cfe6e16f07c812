//! Protects what an application gets from `ringmq::client` and from `ringmq send` and `ringmq consume`: every message that was
//! acknowledged is consumed, as often as it should be, through failures of listeners, members and the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Broker, Options, SMALL, ringmq, wait_until};
use ringmq::client::{
    Client, ClientConfig, ConsumeFrom, Message, MessageModel, ProducerConfig, PullConfig,
    PullStatus, PushConfig, PushConsumer, Received, SendStatus, Subscription, TransactionState,
    Verdict,
};
use tempfile::TempDir;

/// So that a message is tried again, and a transaction asked about, within the test's patience.
const QUICK_RETRIES: &str =
    "messageDelayLevel=1s 1s 1s 1s 1s 1s\ntransactionTimeOut=500\ntransactionCheckInterval=500\n";

fn start() -> (TempDir, Broker) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("{SMALL}{QUICK_RETRIES}");
    let options = Options {
        config: &config,
        ..Options::default()
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    (folder, broker)
}

/// A client that notices changes soon.
fn client_of(broker: &Broker) -> Client {
    Client::start(config_of(broker)).expect("a client starts")
}

fn config_of(broker: &Broker) -> ClientConfig {
    ClientConfig {
        route_interval: Duration::from_millis(500),
        heartbeat_interval: Duration::from_secs(1),
        offset_interval: Duration::from_millis(500),
        rebalance_interval: Duration::from_secs(1),
        ..ClientConfig::new(broker.namesrv.to_string())
    }
}

fn push(group: &str, topic: &str) -> PushConfig {
    PushConfig {
        from: ConsumeFrom::First,
        pull_retry: Duration::from_millis(200),
        orderly_retry: Duration::from_millis(100),
        ..PushConfig::new(group, vec![Subscription::all(topic)])
    }
}

/// What a listener has got.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Received>>>);

impl Seen {
    fn add(&self, messages: &[Arc<Received>]) {
        let mut seen = self.0.lock().expect("nobody panics with it");
        seen.extend(messages.iter().map(|message| (**message).clone()));
    }

    fn all(&self) -> Vec<Received> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    fn count(&self) -> usize {
        self.all().len()
    }

    fn texts(&self) -> Vec<String> {
        let text = |message: &Received| message.text().expect("text").to_owned();
        self.all().iter().map(text).collect()
    }

    fn sorted(&self) -> Vec<String> {
        let mut texts = self.texts();
        texts.sort();
        texts
    }
}

/// A consumer that takes everything.
fn consume(client: &Client, config: PushConfig) -> (Seen, PushConsumer) {
    let seen = Seen::default();
    let to_seen = seen.clone();
    let consumer = client
        .push_consumer(config, move |messages| {
            to_seen.add(messages);
            Verdict::Consumed
        })
        .wait()
        .expect("a consumer joins");
    (seen, consumer)
}

fn send_all(client: &Client, topic: &str, texts: &[String]) {
    let producer = client
        .producer(ProducerConfig::new("senders"))
        .expect("a producer");
    for text in texts {
        let sent = producer.send(Message::new(topic, text.as_str())).wait();
        assert_eq!(sent.expect("it is sent").status, SendStatus::Ok);
    }
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("{prefix}{nth:04}")).collect()
}

#[test]
fn every_way_to_send_arrives_once_and_as_it_was() {
    let (_folder, broker) = start();
    let client = client_of(&broker);
    let producer = client.producer(ProducerConfig::new("ways")).unwrap();
    let message = |text: &str| {
        Message::new("Ways", text)
            .tag("TagA")
            .key("k1")
            .key("k2")
            .property("name", "välue")
    };
    let sent = producer.send(message("waited")).wait().unwrap();
    let (to_test, ended) = std::sync::mpsc::channel();
    producer.send_then(message("called back"), move |end| {
        to_test.send(end).unwrap()
    });
    assert_eq!(ended.recv().unwrap().unwrap().status, SendStatus::Ok);
    producer.send_one_way(message("one way")).wait().unwrap();
    let batch = producer
        .send_batch(vec![message("batch 0"), message("batch 1")])
        .wait()
        .unwrap();
    assert_eq!(batch.message_id.split(',').count(), 2);
    let queue = producer.queues("Ways").wait().unwrap().remove(1);
    let chosen = producer
        .send_to(message("chosen"), queue.clone())
        .wait()
        .unwrap();
    assert_eq!(chosen.queue, queue);
    let ordered: BTreeSet<_> = (0..4)
        .map(|nth| {
            producer
                .send_ordered(message(&format!("ordered {nth}")), "key")
                .wait()
                .unwrap()
                .queue
        })
        .collect();
    assert_eq!(ordered.len(), 1);
    let long = "long ".repeat(10_000);
    producer.send(message(&long)).wait().unwrap();
    // In an executor of the application's own, on another thread than the client's.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(producer.send(message("awaited"))).unwrap();

    let (seen, _consumer) = consume(&client, push("ways", "Ways"));
    wait_until("all messages", || seen.count() >= 12);
    let mut expected: Vec<String> = [
        "waited",
        "called back",
        "one way",
        "batch 0",
        "batch 1",
        "chosen",
        "awaited",
    ]
    .map(str::to_owned)
    .into();
    expected.extend((0..4).map(|nth| format!("ordered {nth}")));
    expected.push(long);
    expected.sort();
    assert_eq!(seen.sorted(), expected);
    for found in seen.all() {
        assert_eq!((found.topic.as_str(), found.tag()), ("Ways", Some("TagA")));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["k1", "k2"]);
        assert_eq!(
            found.user_properties().collect::<Vec<_>>(),
            [("name", "välue")]
        );
        if found.text() == Some("waited") {
            assert_eq!(found.message_id, sent.message_id);
            assert_eq!(found.offset_message_id, sent.offset_message_id);
            assert_eq!(
                (&found.queue, found.queue_offset),
                (&sent.queue, sent.queue_offset)
            );
        }
    }
}

#[test]
fn only_what_is_subscribed_to_arrives() {
    let (_folder, broker) = start();
    let client = client_of(&broker);
    let producer = client.producer(ProducerConfig::new("tags")).unwrap();
    // "Aa" and "BB" have one hash: the broker lets both pass.
    for tag in ["Aa", "BB", "c", "d"].repeat(3) {
        producer
            .send(Message::new("Tags", tag).tag(tag))
            .wait()
            .unwrap();
    }
    let config = PushConfig {
        subscriptions: vec![Subscription::tags("Tags", "Aa || d")],
        ..push("tags", "Tags")
    };
    let (seen, consumer) = consume(&client, config.clone());
    wait_until("the tags", || seen.count() >= 6);
    // What is passed over is passed over for good.
    let reader = client
        .pull_consumer(PullConfig::new("tags", Subscription::all("Tags")))
        .unwrap();
    let queues = reader.queues().wait().unwrap();
    wait_until("nothing is open", || {
        let open = |queue| {
            reader.max_offset(queue).wait().unwrap()
                - reader.committed(queue).wait().unwrap().unwrap_or(0)
        };
        queues.iter().map(open).sum::<i64>() == 0
    });
    consumer.shutdown().wait().unwrap();
    assert_eq!(seen.sorted(), ["Aa", "Aa", "Aa", "d", "d", "d"]);
}

#[test]
fn a_failed_message_comes_again_and_ends_at_the_dead_letters() {
    let (_folder, broker) = start();
    let client = client_of(&broker);
    let seen = Seen::default();
    let to_seen = seen.clone();
    let config = PushConfig {
        max_reconsume_times: Some(2),
        ..push("failing", "Failing")
    };
    let consumer = client.push_consumer(config, move |messages| {
        to_seen.add(messages);
        match messages[0].text() {
            Some("never") => Verdict::Later,
            Some("panics") if messages[0].reconsume_times == 0 => panic!("on purpose"),
            Some("once") if messages[0].reconsume_times == 0 => Verdict::LaterAtLevel(1),
            Some("at once") => Verdict::LaterAtLevel(-1),
            _ => Verdict::Consumed,
        }
    });
    send_all(
        &client,
        "Failing",
        &["never", "panics", "once", "at once", "good"].map(str::to_owned),
    );
    let _consumer = consumer.wait().unwrap();
    let (dead, _undertaker) = consume(&client, push("undertakers", "%DLQ%failing"));
    wait_until("the dead letters", || dead.count() >= 2);
    assert_eq!(dead.sorted(), ["at once", "never"]);
    wait_until("the second tries", || seen.count() >= 9);
    let mut tries: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for message in seen.all() {
        assert_eq!(message.topic, "Failing");
        let text = message.text().unwrap().to_owned();
        tries.entry(text).or_default().push(message.reconsume_times);
    }
    assert_eq!(tries["never"], [0, 1, 2]);
    assert_eq!(
        (&tries["panics"], &tries["once"]),
        (&vec![0, 1], &vec![0, 1])
    );
    assert_eq!((&tries["at once"], &tries["good"]), (&vec![0], &vec![0]));
}

#[test]
fn members_share_the_queues_as_they_come_and_go() {
    let (_folder, broker) = start();
    let sender = client_of(&broker);
    let first_client = client_of(&broker);
    send_all(&sender, "Shared", &numbered("a", 50));
    let (first, _first_consumer) = consume(&first_client, push("sharers", "Shared"));
    wait_until("the first member has all", || first.count() >= 50);

    let second_client = client_of(&broker);
    let (second, second_consumer) = consume(&second_client, push("sharers", "Shared"));
    let mut expected = numbered("a", 50);
    let mut round = 0;
    wait_until("both have queues", || {
        let more = numbered(&format!("b{round:02}-"), 8);
        send_all(&sender, "Shared", &more);
        expected.extend(more);
        round += 1;
        second.count() > 0
    });
    let all = |first: &Seen, second: &Seen| {
        let texts = first.texts().into_iter().chain(second.texts());
        texts.collect::<BTreeSet<_>>()
    };
    wait_until("all of both", || {
        all(&first, &second).len() == expected.len()
    });

    second_consumer.shutdown().wait().unwrap();
    let before = second.count();
    let more = numbered("c", 50);
    send_all(&sender, "Shared", &more);
    expected.extend(more);
    wait_until("the first member has all again", || {
        all(&first, &second).len() == expected.len()
    });
    assert_eq!(second.count(), before);
    let expected: BTreeSet<_> = expected.into_iter().collect();
    assert_eq!(all(&first, &second), expected);
}

#[test]
fn order_is_kept_through_failures_and_a_change_of_the_owner() {
    let (_folder, broker) = start();
    let client = client_of(&broker);
    let producer = client.producer(ProducerConfig::new("ordering")).unwrap();
    let send = |from: usize, to: usize| {
        for nth in from..to {
            for key in ["a", "b", "c"] {
                let message = Message::new("Ordered", format!("{key}{nth:03}")).key(key);
                producer.send_ordered(message, key).wait().unwrap();
            }
        }
    };
    send(0, 10);
    let config = PushConfig {
        orderly: true,
        ..push("ordered", "Ordered")
    };
    let seen = Seen::default();
    let to_seen = seen.clone();
    // Every third message fails the first time.
    let listener = move |messages: &[Arc<Received>]| {
        if messages[0].reconsume_times == 0 && messages[0].queue_offset % 3 == 1 {
            return Verdict::Later;
        }
        to_seen.add(messages);
        Verdict::Consumed
    };
    let first = client
        .push_consumer(config.clone(), listener.clone())
        .wait()
        .unwrap();
    wait_until("the first half", || seen.count() >= 30);
    let other = client_of(&broker);
    let _second = other.push_consumer(config, listener).wait().unwrap();
    send(10, 20);
    first.shutdown().wait().unwrap();
    wait_until("the second half", || seen.count() >= 60);
    let texts = seen.texts();
    for key in ["a", "b", "c"] {
        let of_key: Vec<_> = texts
            .iter()
            .filter(|text| text.starts_with(key))
            .cloned()
            .collect();
        assert_eq!(
            of_key,
            numbered(key, 20)
                .iter()
                .map(|text| format!("{key}{}", &text[2..]))
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_broadcast_reaches_every_member_and_is_not_repeated() {
    let (folder, broker) = start();
    let named = |name: &str| {
        let config = ClientConfig {
            instance_name: Some(name.to_owned()),
            ..config_of(&broker)
        };
        Client::start(config).unwrap()
    };
    let config = PushConfig {
        model: MessageModel::Broadcasting,
        offsets_dir: folder.path().join("offsets"),
        ..push("all", "Broadcast")
    };
    let (one, two) = (named("one"), named("two"));
    send_all(&one, "Broadcast", &numbered("x", 20));
    let (seen_by_one, _first) = consume(&one, config.clone());
    let (seen_by_two, second) = consume(&two, config.clone());
    wait_until("both have all", || {
        seen_by_one.count() >= 20 && seen_by_two.count() >= 20
    });
    second.shutdown().wait().unwrap();
    two.shutdown().wait().unwrap();

    send_all(&one, "Broadcast", &["later".to_owned()]);
    let again = named("two");
    let (seen_again, _third) = consume(&again, config);
    wait_until("the rest", || {
        seen_again.count() >= 1 && seen_by_one.count() >= 21
    });
    assert_eq!(seen_again.texts(), ["later"]);
    assert_eq!(seen_by_two.sorted(), numbered("x", 20));
}

#[test]
fn a_restart_repeats_nothing_and_leaves_what_was_not_done() {
    let (_folder, broker) = start();
    let sender = client_of(&broker);
    send_all(&sender, "Restart", &numbered("x", 40));
    let client = client_of(&broker);
    let done = Seen::default();
    let to_done = done.clone();
    let consumer = client
        .push_consumer(push("restarters", "Restart"), move |messages| {
            if messages[0].text() > Some("x0029") {
                return Verdict::Leave;
            }
            to_done.add(messages);
            Verdict::Consumed
        })
        .wait()
        .unwrap();
    wait_until("the first part", || done.count() >= 30);
    consumer.shutdown().wait().unwrap();
    client.shutdown().wait().unwrap();
    assert_eq!(done.sorted(), numbered("x", 30));

    let (rest, _consumer) = consume(&client_of(&broker), push("restarters", "Restart"));
    wait_until("the rest", || rest.count() >= 10);
    assert_eq!(rest.sorted(), numbered("x", 40)[30..]);
}

#[test]
fn a_broker_that_is_killed_and_comes_back_loses_nothing() {
    let (_folder, broker) = start();
    let client = client_of(&broker);
    let (seen, _consumer) = consume(&client, push("survivors", "Survive"));
    let producer = client
        .producer(ProducerConfig {
            send_timeout: Duration::from_secs(1),
            ..ProducerConfig::new("survivors")
        })
        .unwrap();
    let mut acked = Vec::new();
    let mut send = |text: String| {
        if producer
            .send(Message::new("Survive", text.as_str()))
            .wait()
            .is_ok()
        {
            acked.push(text);
            return true;
        }
        false
    };
    for text in numbered("before", 30) {
        assert!(send(text));
    }
    wait_until("what was sent before", || seen.count() >= 30);
    let (store, ports) = (broker.store.clone(), broker.ports());
    broker.kill();
    assert!(!send("into the dark".to_owned()));
    let config = format!("{SMALL}{QUICK_RETRIES}");
    let options = Options {
        config: &config,
        ports: Some(ports),
        ..Options::default()
    };
    let _again = Broker::start(&store, &options);
    let mut nth = 0;
    wait_until("a send after the restart", || {
        nth += 1;
        send(format!("after{nth:04}"))
    });
    let acked: BTreeSet<_> = acked.into_iter().collect();
    wait_until("all that was acknowledged", || {
        let texts: BTreeSet<_> = seen.texts().into_iter().collect();
        acked.is_subset(&texts)
    });
}

#[test]
fn a_transaction_shows_what_was_committed() {
    let (_folder, broker) = start();
    let client = client_of(&broker);
    let asked = Seen::default();
    let to_asked = asked.clone();
    let check = move |half: &Received| {
        to_asked.add(&[Arc::new(half.clone())]);
        match half.text() {
            Some("unknown, then committed") => TransactionState::Commit,
            _ => TransactionState::Rollback,
        }
    };
    let producer = client
        .transaction_producer(ProducerConfig::new("tellers"), check)
        .unwrap();
    for (text, state) in [
        ("rolled back", TransactionState::Rollback),
        ("unknown, then rolled back", TransactionState::Unknown),
        ("unknown, then committed", TransactionState::Unknown),
        ("committed", TransactionState::Commit),
    ] {
        let sending = producer.send(Message::new("Tell", text).tag("a"), move |_| state);
        assert_eq!(sending.wait().unwrap().1, state);
    }
    let (seen, _consumer) = consume(&client, push("tellers", "Tell"));
    wait_until("what was committed", || seen.count() >= 2);
    wait_until("both questions", || asked.count() >= 2);
    assert_eq!(seen.sorted(), ["committed", "unknown, then committed"]);
    assert!(asked.texts().iter().all(|text| text.starts_with("unknown")));
    assert!(seen.all().iter().all(|message| message.tag() == Some("a")));
}

#[test]
fn a_reader_goes_where_it_is_told() {
    let (_folder, broker) = start();
    let client = client_of(&broker);
    let producer = client.producer(ProducerConfig::new("writers")).unwrap();
    let first = producer.send(Message::new("Read", "0")).wait().unwrap();
    let queue = first.queue;
    for text in ["1", "2", "3"] {
        producer
            .send_to(Message::new("Read", text), queue.clone())
            .wait()
            .unwrap();
    }
    let config = PullConfig {
        max_messages: 2,
        suspend: None,
        ..PullConfig::new("readers", Subscription::all("Read"))
    };
    let reader = client.pull_consumer(config).unwrap();
    let texts = |found: Vec<Received>| {
        found
            .iter()
            .map(|m| m.text().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(reader.committed(&queue).wait().unwrap().unwrap_or(0), 0);
    assert_eq!(
        texts(reader.pull(&queue).wait().unwrap().messages),
        ["0", "1"]
    );
    assert_eq!(
        texts(reader.pull(&queue).wait().unwrap().messages),
        ["2", "3"]
    );
    let end = reader.pull(&queue).wait().unwrap();
    assert_eq!(
        (end.status, end.min_offset, end.max_offset),
        (PullStatus::NoNewMessage, 0, 4)
    );
    reader.seek(&queue, 3);
    assert_eq!(texts(reader.pull(&queue).wait().unwrap().messages), ["3"]);
    reader.commit(&queue, 3).wait().unwrap();
    assert_eq!(reader.committed(&queue).wait().unwrap(), Some(3));
    reader.seek(&queue, 99);
    let moved = reader.pull(&queue).wait().unwrap();
    assert_eq!(
        (moved.status, moved.next_offset),
        (PullStatus::OffsetMoved, 4)
    );
    assert_eq!(
        (
            reader.min_offset(&queue).wait().unwrap(),
            reader.max_offset(&queue).wait().unwrap()
        ),
        (0, 4)
    );
    let past = std::time::SystemTime::UNIX_EPOCH;
    assert_eq!(reader.offset_at(&queue, past).wait().unwrap(), 0);
}

/// `ringmq send` or `consume` with these words and this stdin.
fn run(broker: &Broker, words: &[&str], stdin: &str) -> Output {
    let mut command: Command = ringmq(words);
    command.args(["--namesrv", &broker.namesrv.to_string()]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    // It may have ended without reading.
    drop(written);
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_command_line_sends_and_consumes() {
    let (_folder, broker) = start();
    let words = [
        "send",
        "--topic",
        "Cli",
        "--tag",
        "a",
        "--key",
        "k",
        "--property",
        "n=v",
        "hello",
    ];
    let sent = run(&broker, &words, "");
    assert!(sent.status.success(), "{sent:?}");
    assert!(
        String::from_utf8_lossy(&sent.stdout).contains("is at offset 0 of queue"),
        "{sent:?}"
    );
    let sent = run(
        &broker,
        &[
            "send", "--topic", "Cli", "--tag", "b", "--count", "20", "--json",
        ],
        "from stdin",
    );
    assert_eq!(
        (lines(&sent).len(), lines(&sent)[0]["status"].as_str()),
        (20, Some("Ok"))
    );

    let consume = [
        "consume", "--topic", "Cli", "--group", "cli", "--from", "first", "--json",
    ];
    let with = |more: &[&str]| run(&broker, &[&consume[..], more].concat(), "");
    let first = with(&["--count", "5"]);
    assert!(first.status.success(), "{first:?}");
    let rest = with(&["--count", "16"]);
    let mut all = [lines(&first), lines(&rest)].concat();
    let ids: BTreeSet<_> = all
        .iter()
        .map(|line| line["messageId"].to_string())
        .collect();
    assert_eq!((all.len(), ids.len()), (21, 21));
    all.retain(|line| line["tag"] == "a");
    assert_eq!(all.len(), 1);
    assert_eq!(
        (
            &all[0]["body"],
            &all[0]["keys"][0],
            &all[0]["properties"]["n"]
        ),
        (&"hello".into(), &"k".into(), &"v".into())
    );
    assert!(lines(&with(&["--idle", "1s"])).is_empty());

    // What one prints the other takes, and a body that is no text survives it.
    let line = format!(
        "{}\n{}\n",
        all[0], r#"{"bodyBase64":"AP+A","tag":"c","orderBy":"k"}"#
    );
    let sent = run(
        &broker,
        &["send", "--topic", "Copy", "--json-lines", "-"],
        &line,
    );
    assert!(sent.status.success(), "{sent:?}");
    let copied = run(
        &broker,
        &[
            "consume",
            "--topic",
            "Copy",
            "--group",
            "copy",
            "--from",
            "first",
            "--json",
            "--count",
            "2",
            "--broadcast",
        ],
        "",
    );
    let copied: BTreeMap<_, _> = lines(&copied)
        .into_iter()
        .map(|line| (line["tag"].to_string(), line))
        .collect();
    assert_eq!(copied["\"a\""]["properties"]["n"], "v");
    assert_eq!(copied["\"c\""]["bodyBase64"], "AP+A");
    let tagged = [
        "consume",
        "--topic",
        "Copy",
        "--group",
        "tagged",
        "--from",
        "first",
        "--tag",
        "a",
        "--count",
        "1",
        "--orderly",
    ];
    assert_eq!(run(&broker, &tagged, "").stdout, b"hello\n");
}

#[test]
fn the_command_line_says_what_is_wrong() {
    let (_folder, broker) = start();
    let failed = |words: &[&str], stdin: &str, code: i32, why: &str| {
        let output = run(&broker, words, stdin);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(why), "{words:?}: {text}");
    };
    failed(&["send", "--topic", "a b", "x"], "", 1, "illegal character");
    failed(&["send", "--topic", "T"], "", 1, "empty");
    failed(&["send", "x"], "", 2, "--topic");
    failed(
        &["send", "--json-lines", "-"],
        "{\"body\":\"x\"}",
        1,
        "line 1 of -: it has no topic",
    );
    failed(
        &["send", "--topic", "T", "--json-lines", "-"],
        "{\"body\":\"x\"}\n{",
        1,
        "line 2 of -",
    );
    failed(
        &["send", "--topic", "T", "--json-lines", "/no/such"],
        "",
        1,
        "cannot read /no/such",
    );
    failed(
        &["consume", "--topic", "T", "--group", "a b"],
        "",
        1,
        "illegal character",
    );
    failed(
        &["send", "--topic", "T", "--property", "KEYS=x", "x"],
        "",
        1,
        "RocketMQ's own",
    );
    let nobody = ringmq(["send", "--namesrv", "127.0.0.1:1", "--topic", "T", "x"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("127.0.0.1:1"));
}
