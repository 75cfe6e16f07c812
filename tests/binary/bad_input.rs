//! Protects the broker from its clients: whatever they send ends in RocketMQ's code with a remark that says what was
//! wrong, or in that one connection closing. Never in a panic, in growing memory, or in harm to another connection.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::common::client::{Client, batch_of, properties, pull_from, send_to, waiting};
use crate::common::random::Random;
use crate::common::{Broker, Options, SMALL, Wire};
use ringmq::message::ids::offset_message_id;
use ringmq::wire::codes::{request, response};
use ringmq::wire::frame::MAX_FRAME_BYTES;
use ringmq::wire::offset::{QueueRequest, UpdateConsumerOffset};
use ringmq::wire::pull::PullRequest;
use ringmq::wire::send::SendRequest;
use ringmq::wire::send_back::SendBack;
use ringmq::wire::transaction::EndTransaction;
use ringmq::wire::{Codec, Value};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A broker, and a client of it that behaves: it has to be served all the time.
struct Victim {
    broker: Broker,
    bystander: Client,
    sent: i64,
    _folder: TempDir,
}

impl Victim {
    fn start(options: &Options<'_>) -> Victim {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = Broker::start(&folder.path().join("store"), options);
        let bystander = Client::connect(broker.addr());
        Victim {
            broker,
            bystander,
            sent: 0,
            _folder: folder,
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.broker.addr())
    }

    /// The bystander's connection still sends and pulls.
    fn must_serve(&mut self) {
        let body = self.sent.to_string();
        self.bystander
            .send(&send_to("Bystander", 0), body.as_bytes())
            .ok();
        let found = self
            .bystander
            .pull(&pull_from("Bystander", 0, self.sent))
            .ok()
            .messages();
        assert_eq!(found[0].body, body.as_bytes());
        self.sent += 1;
    }

    /// Still served, nothing but words in the log, and a clean end.
    fn must_be_well(mut self) {
        self.must_serve();
        let ended = self.broker.stop("TERM");
        assert!(ended.status.success(), "{ended:#?}");
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
    }
}

#[test]
fn a_broken_frame_ends_its_connection_only() {
    let mut victim = Victim::start(&Options::small());
    let broken: &[(&str, Vec<u8>)] = &[
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        ("all ones", vec![0xFF; 64]),
        ("no room for the mark", raw_frame(3, 0, b"")),
        ("no length at all", vec![0; 64]),
        (
            "one byte too long",
            raw_frame(MAX_FRAME_BYTES as u32 - 3, 0, b""),
        ),
        ("a negative length", raw_frame(0x8000_0000, 0, b"")),
        ("a header longer than its frame", raw_frame(6, 3, b"{}")),
        ("a header of 16 MiB", raw_frame(6, 0x00FF_FFFF, b"{}")),
        ("serialize type 2", raw_frame(6, 2 << 24 | 2, b"{}")),
        ("serialize type 255", raw_frame(6, 0xFF00_0002, b"{}")),
        ("an empty header", json_frame("")),
        ("no JSON", json_frame("hello")),
        ("JSON of another kind", json_frame("[1,2,3]")),
        (
            "half a JSON object",
            json_frame("{\"code\":310,\"opaque\":1"),
        ),
        (
            "a code in words",
            json_frame("{\"code\":\"SEND_MESSAGE\",\"opaque\":1}"),
        ),
        (
            "a code beyond 32 bits",
            json_frame("{\"code\":99999999999,\"opaque\":1}"),
        ),
        (
            "deeper than sense",
            json_frame(&format!("{{\"x\":{}", "[".repeat(100_000))),
        ),
        ("more fields than sense", json_frame(&many_fields(100_000))),
        (
            "a binary header cut off",
            raw_frame(4 + 5, 1 << 24 | 5, &[0, 10, 0, 0, 0]),
        ),
        (
            "a binary header with a long remark",
            binary_frame(&[0x7F, 0xFF, 0xFF, 0xFF], &[]),
        ),
        (
            "a binary header with negative fields",
            binary_frame(&[0; 4], &[0xFF; 4]),
        ),
        (
            "a binary header with cut fields",
            binary_frame(&[0; 4], &[0, 0, 0, 3, 0, 200, b'a']),
        ),
    ];
    for addr in [victim.broker.addr(), victim.broker.namesrv] {
        for (what, bytes) in broken {
            let mut wire = Wire::connect(addr);
            // The broker may close before it has all.
            let _ = wire.0.write_all(bytes);
            let reply = wire.receive();
            assert!(reply.is_none(), "{what}: answered with {reply:?}");
            victim.must_serve();
        }
    }
    victim.must_be_well();
}

/// Requests before the broken frame were whole, so they are carried out and answered.
#[test]
fn what_came_before_a_broken_frame_is_answered() {
    let victim = Victim::start(&Options::small());
    let mut client = victim.client();
    client.post(request::GET_ALL_TOPIC_CONFIG, &[], &[]);
    client.wire.send(&[0xFF; 8]);
    assert!(
        client
            .receive()
            .is_none_or(|reply| reply.code == response::SUCCESS)
    );
    victim.must_be_well();
}

#[test]
fn half_a_frame_harms_nobody() {
    let mut victim = Victim::start(&Options::small());
    let mut sender = victim.client();
    let whole = sender.encode(
        request::SEND_MESSAGE_V2,
        0,
        &send_to("Halves", 0).ext(),
        &[7; 5000],
    );
    for cut in [1, 4, 7, 8, 9, 100, whole.len() - 1] {
        let mut wire = Wire::connect(victim.broker.addr());
        wire.send(&whole[..cut]);
        victim.must_serve();
        wire.0.shutdown(Shutdown::Write).expect("it is open");
        assert!(wire.receive().is_none(), "cut at {cut}");
    }
    // In as many pieces as there are bytes it is as good as any other.
    for byte in &whole[..200] {
        sender.wire.send(&[*byte]);
    }
    sender.wire.send(&whole[200..]);
    sender.receive().expect("an answer").ok();
    assert_eq!(sender.max_offset("Halves", 0), 1);
    victim.must_be_well();
}

/// Memory is taken for bytes that have come, not for those that are announced.
#[test]
fn announced_bytes_cost_nothing() {
    let mut victim = Victim::start(&Options::small());
    victim.must_serve();
    let before = victim.broker.peak_rss_bytes();
    let wires: Vec<_> = (0..200)
        .map(|_| {
            let mut wire = Wire::connect(victim.broker.addr());
            wire.send(&raw_frame(15 << 20, 1000, b"{"));
            wire
        })
        .collect();
    victim.must_serve();
    let grown = victim.broker.peak_rss_bytes() - before;
    assert!(
        grown < 16 * MIB,
        "{} connections cost {grown} bytes",
        wires.len()
    );
    drop(wires);
    victim.must_be_well();
}

#[test]
fn a_missing_or_wrong_field_is_named() {
    let mut victim = Victim::start(&Options::small());
    for codec in [Codec::Json, Codec::Rocketmq] {
        let mut client = Client::with_codec(victim.broker.addr(), codec);
        let sound = send_to("Fields", 0);
        let sound = sound.ext();
        for missing in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let ext: Vec<_> = sound
                .iter()
                .copied()
                .filter(|(name, _)| *name != missing)
                .collect();
            let reply = client.ask(request::SEND_MESSAGE_V2, &ext, b"x");
            reply.refused(response::SYSTEM_ERROR, &format!("<{missing}|"));
        }
        for wrong in ["d", "e", "f", "g", "h", "j"] {
            let ext = sound.map(|(name, value)| {
                if name == wrong {
                    (name, Value::Str("3.5e"))
                } else {
                    (name, value)
                }
            });
            let reply = client.ask(request::SEND_MESSAGE_V2, &ext, b"x");
            reply.refused(response::SYSTEM_ERROR, "\"3.5e\"");
        }
        client
            .ask(request::PULL_MESSAGE, &[], &[])
            .refused(response::SYSTEM_ERROR, "null");
        client
            .ask(request::HEART_BEAT, &[], b"{no json")
            .refused(response::SYSTEM_ERROR, "");
        client
            .ask(request::LOCK_BATCH_MQ, &[], &[0xFF; 9])
            .refused(response::SYSTEM_ERROR, "");
        victim.must_serve();
    }
    victim.must_be_well();
}

/// Every request there is, with nothing or nonsense in it: always an answer, and never one without a word.
#[test]
fn every_request_is_answered_whatever_is_in_it() {
    let mut victim = Victim::start(&Options::small());
    let nonsense = [
        ("topic", Value::Str("No.Such\u{1}\u{0}Topic")),
        ("consumerGroup", Value::Str("")),
        ("group", Value::Str("%%%")),
        ("queueId", Value::I64(i64::MIN)),
        ("offset", Value::I64(-1)),
        ("delayLevel", Value::I64(99)),
        ("timestamp", Value::I64(i64::MAX)),
        ("clientID", Value::Str("\u{FFFF}")),
        ("brokerName", Value::Str("😀")),
    ];
    let codes = (0..1100).chain([
        2001,
        2002,
        2003,
        2004,
        3001,
        200_050,
        200_051,
        -1,
        i32::MAX,
        i32::MIN,
    ]);
    for addr in [victim.broker.addr(), victim.broker.namesrv] {
        let mut json = Client::connect(addr);
        let mut binary = Client::with_codec(addr, Codec::Rocketmq);
        for code in codes.clone() {
            for client in [&mut json, &mut binary] {
                // The binary header has 16 bits for it.
                let asked = if client.is_binary() {
                    i32::from(code as i16)
                } else {
                    code
                };
                for (ext, body) in [
                    (&nonsense[..], &b"\xFF\x00{["[..]),
                    (&[], b"{}"),
                    (&[], b""),
                    (&nonsense, b""),
                ] {
                    let reply = client.ask(asked, ext, body);
                    let is_said =
                        reply.code == response::SUCCESS || !reply.remark.trim().is_empty();
                    assert!(is_said, "request {asked} with {ext:?}: {reply:?}");
                }
            }
        }
    }
    victim.must_serve();
    victim.must_be_well();
}

#[test]
fn a_message_over_a_limit_is_refused_with_the_limit() {
    let mut victim = Victim::start(&Options::small());
    let mut client = victim.client();
    let to = send_to("Limits", 0);
    let limit = 4 << 20;
    let too_long = vec![1; limit + 1];
    client
        .send(&to, &too_long)
        .refused(response::MESSAGE_ILLEGAL, &limit.to_string());
    client
        .send(&to, &vec![1; 15 << 20])
        .refused(response::MESSAGE_ILLEGAL, &limit.to_string());
    client
        .send(&to, b"")
        .refused(response::MESSAGE_ILLEGAL, "body");
    let batch = SendRequest { batch: true, ..to };
    client
        .ask(request::SEND_BATCH_MESSAGE, &batch.ext(), &too_long)
        .refused(response::MESSAGE_ILLEGAL, "batch");
    assert_eq!(
        client.max_offset("Limits", 0),
        0,
        "nothing of these is stored"
    );
    client.send(&to, &too_long[1..]).ok();

    let own = |len| properties(&[("P", &"p".repeat(len))]);
    for len in [32_767, 1 << 20] {
        let send = SendRequest {
            properties: Some(&own(len)),
            ..to
        };
        client
            .send(&send, b"x")
            .refused(response::MESSAGE_ILLEGAL, "32767");
    }
    client
        .send(
            &SendRequest {
                properties: Some(&own(32_000)),
                ..to
            },
            b"x",
        )
        .ok();
    client
        .send_batch(&to, &[b"a", b"b"], &own(32_760))
        .refused(response::MESSAGE_ILLEGAL, "32767");
    assert_eq!(client.max_offset("Limits", 0), 2);
    victim.must_serve();
    victim.must_be_well();
}

#[test]
fn a_broken_batch_is_refused_as_a_whole() {
    let mut victim = Victim::start(&Options::small());
    let mut client = victim.client();
    let send = SendRequest {
        batch: true,
        ..send_to("Batches", 0)
    };
    let send = send.ext();
    let sound = batch_of(&[b"first", b"second"], &properties(&[("TAGS", "T")]));
    // Cut between the two it is a batch of one.
    for cut in (1..sound.len()).filter(|cut| *cut != first_len(&sound)) {
        let reply = client.ask(request::SEND_BATCH_MESSAGE, &send, &sound[..cut]);
        reply.refused(response::MESSAGE_ILLEGAL, "batch");
    }
    client
        .ask(
            request::SEND_BATCH_MESSAGE,
            &send,
            &sound[..first_len(&sound)],
        )
        .ok();
    let mut huge = sound.clone();
    huge[16..20].copy_from_slice(&[0xFF; 4]);
    client
        .ask(request::SEND_BATCH_MESSAGE, &send, &huge)
        .refused(response::MESSAGE_ILLEGAL, "body");
    assert_eq!(client.max_offset("Batches", 0), 1);
    victim.must_serve();
    victim.must_be_well();
}

#[test]
fn a_name_or_queue_that_cannot_be_is_refused() {
    let mut victim = Victim::start(&Options::small());
    let mut client = victim.client();
    let long = "t".repeat(128);
    for (topic, word) in [
        ("Illegal.Topic", "illegal characters"),
        ("../../etc/passwd", "illegal characters"),
        ("", "blank"),
        ("   ", "blank"),
        (&long, "127"),
    ] {
        client
            .send(&send_to(topic, 0), b"x")
            .refused(response::INVALID_PARAMETER, word);
    }
    for queue_id in [4, 9, 65_536, i32::MAX] {
        let reply = client.send(&send_to("Queues", queue_id), b"x");
        reply.refused(response::INVALID_PARAMETER, &queue_id.to_string());
    }
    for queue_id in [-1, 4, i32::MAX, i32::MIN] {
        let reply = client.pull(&pull_from("Queues", queue_id, 0));
        reply.refused(response::INVALID_PARAMETER, &queue_id.to_string());
    }
    client
        .send(&send_to("SCHEDULE_TOPIC_XXXX", 0), b"x")
        .refused(response::NO_PERMISSION, "SCHEDULE_TOPIC_XXXX");
    client
        .pull(&pull_from("NoSuchTopic", 0, 0))
        .refused(response::TOPIC_NOT_EXIST, "NoSuchTopic");
    let illegal_group = PullRequest {
        consumer_group: "no.such/group",
        ..pull_from("Queues", 0, 0)
    };
    client
        .pull(&illegal_group)
        .refused(response::SUBSCRIPTION_GROUP_NOT_EXIST, "no.such/group");
    let without_heartbeat = PullRequest {
        sys_flag: 0,
        subscription: None,
        ..pull_from("Queues", 0, 0)
    };
    client
        .pull(&without_heartbeat)
        .refused(response::SUBSCRIPTION_NOT_EXIST, "consumers");
    for (subscription, kind) in [
        (Some("a ||"), "SQL92"),
        (None, "SQL92"),
        (Some("a = 1"), "nonsense"),
    ] {
        let pull = PullRequest {
            subscription,
            expression_type: Some(kind),
            ..pull_from("Queues", 0, 0)
        };
        let reply = client.pull(&pull);
        assert!(
            reply.code != response::SUCCESS && !reply.remark.is_empty(),
            "{reply:?}"
        );
    }
    let queue = QueueRequest {
        topic: "NoSuchTopic",
        queue_id: -1,
    };
    for code in [
        request::GET_MAX_OFFSET,
        request::GET_MIN_OFFSET,
        request::GET_EARLIEST_MSG_STORETIME,
    ] {
        let reply = client.ask(code, &queue.ext(), &[]);
        assert!(
            reply.code == response::SUCCESS || !reply.remark.is_empty(),
            "{reply:?}"
        );
    }
    victim.must_serve();
    victim.must_be_well();
}

/// A half message is named by its place in the log, which anybody can make up.
#[test]
fn an_end_of_no_transaction_is_refused() {
    let mut victim = Victim::start(&Options::small());
    victim.must_serve();
    let mut client = victim.client();
    let end = |half_physical_offset, commit_or_rollback| EndTransaction {
        topic: None,
        producer_group: "nobody",
        half_queue_offset: 0,
        half_physical_offset,
        commit_or_rollback,
        from_transaction_check: true,
        msg_id: "any",
        transaction_id: None,
    };
    let refused = [
        (-1, 8, "a log offset of -1 cannot be"),
        (i64::MAX, 8, "Find prepared transaction message failed"),
        // There is a message, but nobody has asked to hold it back.
        (0, 8, "Find prepared transaction message failed"),
        (0, 12, "Find prepared transaction message failed"),
        (0, 5, "commitOrRollback field wrong"),
    ];
    for (offset, commit_or_rollback, why) in refused {
        let request = end(offset, commit_or_rollback);
        let reply = client.ask(request::END_TRANSACTION, &request.ext(), &[]);
        reply.refused(response::SYSTEM_ERROR, why);
    }
    let host = victim.broker.addr();
    for (msg_id, why) in [
        ("x", "32 or 56 characters"),
        (&*offset_message_id(host, u64::MAX), "not in the log"),
        (&*offset_message_id(host, 0), "no half message"),
    ] {
        let fields = [("msgId", Value::Str(msg_id))];
        let reply = client.ask(request::RESUME_CHECK_HALF_MESSAGE, &fields, &[]);
        reply.refused(response::SYSTEM_ERROR, why);
    }
    victim.must_be_well();
}

#[test]
fn nothing_is_created_where_that_is_switched_off() {
    let config = format!("{SMALL}autoCreateTopicEnable=false\nautoCreateSubscriptionGroup=false\n");
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(
        &folder.path().join("store"),
        &Options {
            config: &config,
            ..Options::default()
        },
    );
    let mut client = Client::connect(broker.addr());
    client
        .send(&send_to("Unknown", 0), b"x")
        .refused(response::TOPIC_NOT_EXIST, "Unknown");
    let pull = pull_from("SELF_TEST_TOPIC", 0, 0);
    client
        .pull(&pull)
        .refused(response::SUBSCRIPTION_GROUP_NOT_EXIST, "consumers");
    let update = UpdateConsumerOffset {
        consumer_group: "consumers",
        topic: "T",
        queue_id: 0,
        commit_offset: 2,
    };
    let reply = client.ask(request::UPDATE_CONSUMER_OFFSET, &update.ext(), &[]);
    reply.refused(response::SUBSCRIPTION_GROUP_NOT_EXIST, "consumers");
    let back = SendBack {
        offset: 0,
        group: "consumers",
        delay_level: 1,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: false,
        max_reconsume_times: None,
    };
    let reply = client.ask(request::CONSUMER_SEND_MSG_BACK, &back.ext(), &[]);
    reply.refused(response::SUBSCRIPTION_GROUP_NOT_EXIST, "consumers");
    assert_eq!(Client::connect(broker.namesrv).route("Unknown"), None);
    assert!(broker.terminate().success());
}

/// Hundreds of pulls at once and then a pause: all of them are answered, as soon as they are read.
#[test]
fn a_client_may_be_slow() {
    let mut victim = Victim::start(&Options::small());
    let pull = fill_queue(&mut victim, "Slow");
    let mut slow = victim.client();
    let opaques: Vec<_> = (0..200)
        .map(|_| slow.post(request::PULL_MESSAGE, &pull.ext(), &[]))
        .collect();
    victim.must_serve();
    for opaque in opaques {
        let reply = slow.receive().expect("an answer").ok();
        assert_eq!((reply.opaque, reply.messages().len()), (opaque, 32));
    }
    victim.must_be_well();
}

#[test]
fn who_does_not_read_takes_no_more_memory_than_its_share() {
    let mut victim = Victim::start(&Options::small());
    let pull = fill_queue(&mut victim, "Deaf");
    ask_without_reading(&mut victim, &pull);
    victim.must_be_well();
}

/// The same with messages that have to be read from the disk first.
#[test]
fn who_does_not_read_from_disk_takes_no_more_memory_than_its_share() {
    let mut victim = Victim::start(&Options::small());
    let pull = fill_queue(&mut victim, "DeafToDisk");
    for _ in 0..6 {
        victim
            .bystander
            .send(&send_to("Others", 0), &vec![1; 4 << 20])
            .ok();
    }
    ask_without_reading(&mut victim, &pull);
    victim.must_be_well();
}

/// Pulls that wait are many, and their client goes away.
#[test]
fn parked_pulls_of_a_lost_client_are_forgotten() {
    let mut victim = Victim::start(&Options::small());
    victim.must_serve();
    let before = victim.broker.peak_rss_bytes();
    for _ in 0..5 {
        let mut client = victim.client();
        let wait = waiting(pull_from("Bystander", 1, 0), 1_000_000_000);
        for _ in 0..2000 {
            client.post(request::PULL_MESSAGE, &wait.ext(), &[]);
        }
        drop(client);
        victim.must_serve();
    }
    victim
        .bystander
        .send(&send_to("Bystander", 1), b"for nobody")
        .ok();
    let grown = victim.broker.peak_rss_bytes() - before;
    assert!(grown < 32 * MIB, "grown by {grown} bytes");
    victim.must_be_well();
}

#[test]
fn thousands_of_idle_connections_cost_little() {
    let mut victim = Victim::start(&Options::small());
    victim.must_serve();
    let count = (open_files_limit() - 200).min(10_000);
    let before = victim.broker.peak_rss_bytes();
    // The second time shows that the first left nothing behind.
    for _ in 0..2 {
        let mut idle: Vec<TcpStream> = (0..count)
            .map(|at| {
                TcpStream::connect(victim.broker.addr())
                    .unwrap_or_else(|error| panic!("connection {at}: {error}"))
            })
            .collect();
        victim.must_serve();
        // Some stop in the middle of a frame.
        for stream in idle.iter_mut().step_by(10) {
            stream
                .write_all(&raw_frame(1000, 100, b"{\"code\""))
                .expect("it is open");
        }
        // The last is served as well as the first.
        let mut last = Client::connect(victim.broker.addr());
        last.ask(request::GET_ALL_TOPIC_CONFIG, &[], &[]).ok();
        victim.must_serve();
    }
    let grown = victim.broker.peak_rss_bytes() - before;
    let share = grown / count as u64;
    assert!(
        share < 8 << 10,
        "each of {count} connections costs {share} bytes"
    );
    victim.must_be_well();
}

#[test]
fn random_bytes_harm_nobody() {
    let mut victim = Victim::start(&Options::small());
    let started = Instant::now();
    let mut seed = 0;
    // At least so many, and for a few seconds.
    while seed < 300 || started.elapsed() < Duration::from_secs(4) {
        seed += 1;
        let random = &mut Random::new(seed);
        let addr = if seed % 4 == 0 {
            victim.broker.namesrv
        } else {
            victim.broker.addr()
        };
        let bytes = match seed % 3 {
            0 => {
                let len = random.below(4000);
                random.bytes(len)
            }
            1 => random_frame(random),
            _ => mutated(random),
        };
        let mut stream = TcpStream::connect(addr).expect("it listens");
        let _ = stream.write_all(&bytes);
        if seed % 50 == 0 {
            println!("seed {seed}");
            victim.must_serve();
        }
    }
    victim.must_be_well();
}

/// Sound in its lengths, so that its header is read.
fn random_frame(random: &mut Random) -> Vec<u8> {
    let header_len = random.below(300);
    let body_len = random.below(300);
    let codec = (random.below(2) as u32) << 24;
    let content = random.bytes(header_len + body_len);
    raw_frame(
        4 + content.len() as u32,
        codec | header_len as u32,
        &content,
    )
}

/// Sound requests with some bytes changed.
fn mutated(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    let codec = [Codec::Json, Codec::Rocketmq][random.below(2)];
    for _ in 0..1 + random.below(3) {
        let code = [310, 320, 11, 34, 14, 15, 29, 30, 36, 41, 17, 105, 33][random.below(13)];
        let head = ringmq::wire::Head {
            codec,
            code,
            language: ringmq::wire::Language::Java,
            version: 500,
            opaque: 1,
            flag: 0,
            remark: None,
        };
        let body = batch_of(&[b"one", b"two"], &properties(&[("A", "B")]));
        let (pull, send) = (
            pull_from("Fuzz", 0, 0),
            SendRequest {
                batch: code == 320,
                ..send_to("Fuzz", 0)
            },
        );
        let ext = if code == 11 {
            pull.ext().to_vec()
        } else {
            send.ext().to_vec()
        };
        ringmq::wire::frame::write(&mut bytes, &head, &ext, &body);
    }
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len());
        bytes[at] = match random.below(3) {
            0 => random.next() as u8,
            1 => bytes[at] ^ 1 << random.below(8),
            _ => b"\"\\{}[]:,0\x00\xFF"[random.below(11)],
        };
    }
    bytes
}

/// A pull whose reply is some 256 KiB, again and again, unread.
fn ask_without_reading(victim: &mut Victim, pull: &PullRequest<'_>) {
    victim.must_serve();
    let before = victim.broker.peak_rss_bytes();
    let mut deaf = victim.client();
    deaf.wire
        .0
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout can be set");
    for _ in 0..4000 {
        let frame = deaf.encode(request::PULL_MESSAGE, 0, &pull.ext(), &[]);
        match deaf.wire.0.write_all(&frame) {
            Ok(()) => {}
            // The broker does not read on, or has given this client up.
            Err(error)
                if [
                    ErrorKind::WouldBlock,
                    ErrorKind::ConnectionReset,
                    ErrorKind::BrokenPipe,
                ]
                .contains(&error.kind()) =>
            {
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    for _ in 0..100 {
        victim.must_serve();
    }
    let grown = victim.broker.peak_rss_bytes() - before;
    assert!(
        grown < 160 * MIB,
        "a client that does not read costs {} MiB",
        grown / MIB
    );
}

/// A topic with one pull's worth of messages, and that pull.
fn fill_queue<'a>(victim: &mut Victim, topic: &'a str) -> PullRequest<'a> {
    for _ in 0..32 {
        victim.bystander.send(&send_to(topic, 0), &[9; 7500]).ok();
    }
    pull_from(topic, 0, 0)
}

fn raw_frame(total: u32, mark: u32, content: &[u8]) -> Vec<u8> {
    [&total.to_be_bytes()[..], &mark.to_be_bytes(), content].concat()
}

fn json_frame(header: &str) -> Vec<u8> {
    raw_frame(
        4 + header.len() as u32,
        header.len() as u32,
        header.as_bytes(),
    )
}

/// A binary header up to the remark's length, then this.
fn binary_frame(remark_len: &[u8], rest: &[u8]) -> Vec<u8> {
    let header = [
        &310_i16.to_be_bytes()[..],
        &[0],
        &500_i16.to_be_bytes(),
        &[0, 0, 0, 1],
        &[0; 4],
        remark_len,
        rest,
    ]
    .concat();
    raw_frame(
        4 + header.len() as u32,
        1 << 24 | header.len() as u32,
        &header,
    )
}

fn many_fields(count: usize) -> String {
    let fields: Vec<_> = (0..count)
        .map(|number| format!("\"f{number}\":\"v\""))
        .collect();
    format!(
        "{{\"code\":310,\"opaque\":1,\"extFields\":{{{}}}}}",
        fields.join(",")
    )
}

fn first_len(batch: &[u8]) -> usize {
    u32::from_be_bytes([batch[0], batch[1], batch[2], batch[3]]) as usize
}

fn open_files_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("it is there");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .expect("the line is there");
    let soft = line
        .split_ascii_whitespace()
        .next()
        .expect("the soft limit");
    soft.parse().unwrap_or(usize::MAX)
}
