//! Protects what the broker asks of its clients and what depends on it: an answer reaches the task that waits for it, a client that is silent or
//! gone keeps nobody waiting longer than it must, a rewind is heard at once and survives a power cut, and so does a reply.

use std::rc::Rc;
use std::time::Duration;

use ringmq::io::{Net, Spawn, Stream};
use ringmq::sim::{SimIo, SimStream};
use ringmq::store::Flush;
use ringmq::wire::codes::request;
use ringmq::wire::{
    CURRENT_VERSION, Codec, FLAG_RESPONSE, Head, Language, Scratch, Value, frame, header,
};

use crate::client::{Client, PATIENCE, Reply, within};
use crate::cluster::Cluster;
use crate::create_topics;
use crate::workload::CREATED;

const TOPIC: &str = CREATED[0];
const GROUP: &str = "Group";
const REPLIES: &str = "DefaultCluster_REPLY_TOPIC";
const SEEDS: std::ops::Range<u64> = 0..8;

/// A client that says who it is and answers what it is asked.
struct Member {
    io: SimIo,
    stream: SimStream,
    received: Vec<u8>,
}

#[derive(Debug)]
struct Asked {
    code: i32,
    opaque: i32,
    body: Vec<u8>,
    properties: String,
}

impl Member {
    async fn join(cluster: &Cluster, host: &str, id: &str) -> Self {
        let io = cluster.sim.host(host);
        let stream = within(&io, PATIENCE, io.connect(cluster.addr())).await;
        let mut member = Member {
            io,
            stream: stream.unwrap().unwrap(),
            received: Vec::new(),
        };
        let body = format!(
            r#"{{"clientID":"{id}","producerDataSet":[{{"groupName":"p"}}],"consumerDataSet":[{{"groupName":"{GROUP}","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{{"topic":"{TOPIC}","subString":"*","subVersion":1,"expressionType":"TAG"}}]}}]}}"#
        );
        member
            .write(request::HEART_BEAT, 1, 0, None, body.as_bytes())
            .await;
        let greeted = member.next(|header| header.is_response()).await;
        assert_eq!(greeted.unwrap().code, 0);
        member
    }

    async fn write(
        &mut self,
        code: i32,
        opaque: i32,
        flag: i32,
        remark: Option<&str>,
        body: &[u8],
    ) {
        let head = Head {
            codec: Codec::Json,
            code,
            language: Language::Java,
            version: CURRENT_VERSION,
            opaque,
            flag,
            remark,
        };
        let mut out = Vec::new();
        frame::write(&mut out, &head, &[], body);
        self.stream.send(out).await.0.unwrap();
    }

    async fn answer(&mut self, asked: &Asked, code: i32, body: &[u8]) {
        self.write(code, asked.opaque, FLAG_RESPONSE, Some("so"), body)
            .await;
    }

    /// The next frame that is wanted; what is not is passed over. None: nothing comes within a minute.
    async fn next(&mut self, wanted: impl Fn(&header::Header<'_>) -> bool) -> Option<Asked> {
        loop {
            while let Some(found) = frame::split(&self.received).unwrap() {
                let mut scratch = Scratch::default();
                let header = header::decode(&found, &mut scratch).unwrap();
                let asked = wanted(&header).then(|| Asked {
                    code: header.code,
                    opaque: header.opaque,
                    body: found.body.to_vec(),
                    properties: header.ext.find("properties").unwrap_or("").to_owned(),
                });
                let len = found.len;
                self.received.drain(..len);
                if asked.is_some() {
                    return asked;
                }
            }
            let chunk = within(&self.io, Duration::from_secs(60), self.stream.recv()).await;
            self.received.extend_from_slice(&chunk.ok()?.ok()?);
        }
    }

    async fn asked(&mut self, code: i32) -> Asked {
        let asked = self.next(|header| header.code == code && !header.is_response());
        asked.await.expect("a request of the broker")
    }
}

async fn patient(cluster: &Cluster, host: &str) -> Client {
    let mut client = cluster.client(host).await;
    client.patience = Duration::from_secs(30);
    client
}

async fn running_info(client: &mut Client) -> Reply {
    let fields = [
        ("consumerGroup", Value::Str(GROUP)),
        ("clientId", Value::Str("c")),
        ("jstackEnable", Value::Bool(true)),
    ];
    let reply = client.call(request::GET_CONSUMER_RUNNING_INFO, &fields, &[]);
    reply.await.unwrap()
}

fn each_seed<F: Future<Output = ()>>(test: impl Fn(Rc<Cluster>) -> F) {
    for seed in SEEDS {
        let cluster = Rc::new(Cluster::new(seed, Flush::Sync));
        let started = async {
            cluster.start().await;
            create_topics(&cluster).await;
            test(cluster.clone()).await;
        };
        cluster.sim.run(started);
    }
}

#[test]
fn an_answer_is_handed_on() {
    each_seed(|cluster| async move {
        let mut member = Member::join(&cluster, "consumer", "c").await;
        let mut admin = patient(&cluster, "admin").await;
        cluster.sim.host("consumer").spawn("test", async move {
            let asked = member.asked(request::GET_CONSUMER_RUNNING_INFO).await;
            let stranger = Asked {
                opaque: asked.opaque.wrapping_add(7),
                ..asked
            };
            member.answer(&stranger, 0, b"not for him").await;
            let asked = Asked {
                opaque: stranger.opaque.wrapping_sub(7),
                ..stranger
            };
            member.answer(&asked, 0, b"all is well").await;
            member.answer(&asked, 0, b"twice").await;
            member.next(|_| false).await;
        });
        let reply = running_info(&mut admin).await;
        assert_eq!((reply.code, &*reply.body), (0, &b"all is well"[..]));
    });
}

/// It is given up after RocketMQ's 10 s, and what it says later disturbs nobody.
#[test]
fn a_silent_client_is_given_up() {
    each_seed(|cluster| async move {
        let mut member = Member::join(&cluster, "consumer", "c").await;
        let mut admin = patient(&cluster, "admin").await;
        let asked_ns = cluster.sim.mono_ns();
        let reply = running_info(&mut admin).await;
        let waited_s = (cluster.sim.mono_ns() - asked_ns) / 1_000_000_000;
        assert_eq!((reply.code, waited_s), (207, 10), "{reply:?}");
        let asked = member.asked(request::GET_CONSUMER_RUNNING_INFO).await;
        member.answer(&asked, 0, b"late").await;
        cluster.sim.host("consumer").spawn("test", async move {
            let asked = member.asked(request::GET_CONSUMER_RUNNING_INFO).await;
            member.answer(&asked, 0, b"in time").await;
            member.next(|_| false).await;
        });
        assert_eq!(running_info(&mut admin).await.body, b"in time");
    });
}

/// Two of three clients are silent. All are asked at the same time, so the answer takes as long as one silent client does.
#[test]
fn silent_clients_are_left_out_of_a_status_after_one_limit_for_all() {
    each_seed(|cluster| async move {
        let mut silent = Vec::new();
        for id in ["a", "b"] {
            silent.push(Member::join(&cluster, id, id).await);
        }
        let mut member = Member::join(&cluster, "c", "c").await;
        let mut admin = patient(&cluster, "admin").await;
        cluster.sim.host("c").spawn("test", async move {
            let asked = member.asked(request::GET_CONSUMER_STATUS_FROM_CLIENT).await;
            member
                .answer(&asked, 0, b"{\"messageQueueTable\":{}}")
                .await;
            member.next(|_| false).await;
        });
        let asked_ns = cluster.sim.mono_ns();
        let fields = [("topic", Value::Str(TOPIC)), ("group", Value::Str(GROUP))];
        let code = request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS;
        let reply = admin.call(code, &fields, &[]).await.unwrap();
        let waited_s = (cluster.sim.mono_ns() - asked_ns) / 1_000_000_000;
        assert_eq!((reply.code, waited_s), (0, 5), "{reply:?}");
        let body = String::from_utf8(reply.body).unwrap();
        assert!(body.contains("\"c\"") && !body.contains("\"a\""), "{body}");
        drop(silent);
    });
}

#[test]
fn a_client_that_goes_keeps_nobody_waiting() {
    each_seed(|cluster| async move {
        let mut member = Member::join(&cluster, "consumer", "c").await;
        let mut admin = patient(&cluster, "admin").await;
        cluster.sim.host("consumer").spawn("test", async move {
            member.asked(request::GET_CONSUMER_RUNNING_INFO).await;
            member.stream.shutdown();
        });
        let asked_ns = cluster.sim.mono_ns();
        let reply = running_info(&mut admin).await;
        let waited_ms = (cluster.sim.mono_ns() - asked_ns) / 1_000_000;
        assert_eq!(reply.code, 1, "{reply:?}");
        assert!(waited_ms < 2_000, "{waited_ms} ms");
        assert_eq!(running_info(&mut admin).await.code, 1, "not online");
    });
}

/// A pull that waits is told at once, and the group begins there again after the power was cut.
#[test]
fn a_rewind_is_heard_at_once_and_survives() {
    each_seed(|cluster| async move {
        let member = Member::join(&cluster, "consumer", "c").await;
        let mut producer = patient(&cluster, "producer").await;
        for _ in 0..5 {
            let sent = send(&mut producer, TOPIC, request::SEND_MESSAGE_V2, "").await;
            assert_eq!(sent.code, 0, "{sent:?}");
        }
        let mut consumer = patient(&cluster, "consumer").await;
        let pull = pull_fields(5);
        consumer.ask(request::PULL_MESSAGE, &pull, &[]);
        consumer.flush().await.unwrap();
        cluster.sleep_ms(1_000).await;
        let mut admin = patient(&cluster, "admin").await;
        let fields = [
            ("topic", Value::Str(TOPIC)),
            ("group", Value::Str(GROUP)),
            ("queueId", Value::I64(0)),
            ("offset", Value::I64(2)),
            ("timestamp", Value::I64(-1)),
            ("isForce", Value::Bool(true)),
        ];
        let code = request::INVOKE_BROKER_TO_RESET_OFFSET;
        let rewound = admin.call(code, &fields, &[]).await.unwrap();
        assert_eq!(rewound.code, 0, "{rewound:?}");
        let rewound_ns = cluster.sim.mono_ns();
        let moved = consumer.reply().await.unwrap();
        assert_eq!((moved.code, moved.number("nextBeginOffset")), (21, 2));
        assert!(cluster.sim.mono_ns() - rewound_ns < 1_000_000_000);
        drop(member);
        cluster.cut_power();
        cluster.start().await;
        let mut consumer = patient(&cluster, "consumer").await;
        let fields = [
            ("consumerGroup", Value::Str(GROUP)),
            ("topic", Value::Str(TOPIC)),
            ("queueId", Value::I64(0)),
        ];
        let found = consumer.call(request::QUERY_CONSUMER_OFFSET, &fields, &[]);
        assert_eq!(found.await.unwrap().number("offset"), 2);
    });
}

/// Its sender hears of success when the asker has it; and then it is in the log for good.
#[test]
fn a_reply_is_handed_over_and_survives() {
    each_seed(|cluster| async move {
        let mut asker = Member::join(&cluster, "asker", "asker-id").await;
        let mut replier = patient(&cluster, "replier").await;
        cluster.sim.host("asker").spawn("test", async move {
            for code in [0, 1] {
                let asked = asker.asked(request::PUSH_REPLY_MESSAGE_TO_CLIENT).await;
                assert_eq!(asked.code, request::PUSH_REPLY_MESSAGE_TO_CLIENT);
                assert_eq!(asked.body, b"body");
                assert!(asked.properties.contains("PUSH_REPLY_TIME"));
                asker.answer(&asked, code, b"").await;
            }
            asker.next(|_| false).await;
        });
        let code = request::SEND_REPLY_MESSAGE_V2;
        let properties = "REPLY_TO_CLIENT\u{1}asker-id\u{2}CORRELATION_ID\u{1}7\u{2}";
        let taken = send(&mut replier, REPLIES, code, properties).await;
        assert_eq!(
            (taken.code, taken.number("queueOffset")),
            (0, 0),
            "{taken:?}"
        );
        let refused = send(&mut replier, REPLIES, code, properties).await;
        assert_eq!(refused.code, 1, "the asker did not want it: {refused:?}");
        let nobody = send(&mut replier, REPLIES, code, "REPLY_TO_CLIENT\u{1}x\u{2}").await;
        let nowhere = send(&mut replier, REPLIES, code, "").await;
        assert_eq!((nobody.code, nowhere.code), (1, 1));
        cluster.cut_power();
        cluster.start().await;
        let mut reader = patient(&cluster, "reader").await;
        let fields = [("topic", Value::Str(REPLIES)), ("queueId", Value::I64(0))];
        let max = reader.call(request::GET_MAX_OFFSET, &fields, &[]).await;
        let max = max.unwrap().number("offset");
        assert_eq!(max, 4, "stored whether handed over or not, as in RocketMQ");
    });
}

async fn send(client: &mut Client, topic: &str, code: i32, properties: &str) -> Reply {
    let fields = [
        ("a", Value::Str("p")),
        ("b", Value::Str(topic)),
        ("c", Value::Str("TBW102")),
        ("d", Value::I64(4)),
        ("e", Value::I64(0)),
        ("f", Value::I64(0)),
        ("g", Value::I64(1)),
        ("h", Value::I64(0)),
        ("i", Value::Str(properties)),
    ];
    client.call(code, &fields, b"body").await.unwrap()
}

fn pull_fields(offset: i64) -> [(&'static str, Value<'static>); 9] {
    [
        ("consumerGroup", Value::Str(GROUP)),
        ("topic", Value::Str(TOPIC)),
        ("queueId", Value::I64(0)),
        ("queueOffset", Value::I64(offset)),
        ("maxMsgNums", Value::I64(32)),
        ("sysFlag", Value::I64(2)),
        ("commitOffset", Value::I64(0)),
        ("suspendTimeoutMillis", Value::I64(20_000)),
        ("subVersion", Value::I64(1)),
    ]
}
