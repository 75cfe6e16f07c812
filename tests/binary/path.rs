//! Protects the path of a message through the built binary: sent over TCP in either codec, kept on a real disk, found
//! again by everything that clients ask for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::common::client::{
    Client, Message, Reply, now_ms, properties, pull_from, send_to, waiting,
};
use crate::common::{Broker, Options, SMALL, wait_until};
use ringmq::message::ids::parse_offset_message_id;
use ringmq::message::properties::find;
use ringmq::wire::codes::{V4_9_4, request, response};
use ringmq::wire::consumer::{ConsumerGroup, ConsumerList, UnregisterClient};
use ringmq::wire::lock::{LockBatch, LockedQueues};
use ringmq::wire::offset::{
    Boundary, QueryConsumerOffset, QueueRequest, SearchOffset, UpdateConsumerOffset,
};
use ringmq::wire::pull::PullRequest;
use ringmq::wire::query::ViewMessage;
use ringmq::wire::route::TopicRouteData;
use ringmq::wire::send::SendRequest;
use ringmq::wire::send_back::SendBack;
use ringmq::wire::{Codec, MessageQueue, Value, loose_json};
use tempfile::TempDir;

const CODECS: [Codec; 2] = [Codec::Json, Codec::Rocketmq];

/// A broker on a store that goes with it.
fn start(options: &Options<'_>) -> (TempDir, Broker) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&folder.path().join("store"), options);
    (folder, broker)
}

#[test]
fn routes_are_there_as_soon_as_the_broker_is_ready() {
    let (_folder, broker) = start(&Options::small());
    let mut names = Client::connect(broker.namesrv);
    let template = names
        .route("TBW102")
        .expect("the template's route is there at once");
    assert_eq!(addresses(&template), [broker.addr().to_string()]);
    assert_eq!(template.queue_datas[0].write_queue_nums, 8);
    assert_eq!(names.route("Fresh"), None);

    Client::connect(broker.addr())
        .send(&send_to("Fresh", 3), b"first")
        .ok();
    wait_until("the new topic's route", || names.route("Fresh").is_some());
    assert_eq!(
        names.route("Fresh").expect("there").queue_datas[0].write_queue_nums,
        4
    );

    let (store, ports) = (broker.store.clone(), broker.ports());
    assert!(broker.terminate().success());
    let again = Broker::start(
        &store,
        &Options {
            ports: Some(ports),
            ..Options::small()
        },
    );
    let mut names = Client::connect(again.namesrv);
    let route = names
        .route("Fresh")
        .expect("the topic's route is there at once");
    assert_eq!(
        (addresses(&route), route.queue_datas[0].read_queue_nums),
        (vec![again.addr().to_string()], 4)
    );
}

#[test]
fn old_clients_get_a_route_that_they_can_read() {
    let (_folder, broker) = start(&Options::small());
    let ask = |version, codec| {
        let mut names = Client::with_codec(broker.namesrv, codec).of_version(version);
        let reply = names.ask(
            request::GET_ROUTEINFO_BY_TOPIC,
            &[("topic", Value::Str("TBW102"))],
            &[],
        );
        String::from_utf8(reply.ok().body).expect("text")
    };
    for codec in CODECS {
        assert!(ask(V4_9_4 - 1, codec).contains("{0:\"127.0.0.1:"));
        assert!(ask(V4_9_4, codec).contains("{\"0\":\"127.0.0.1:"));
    }
}

#[test]
fn every_way_to_send_is_read_back_as_it_was_sent() {
    let (_folder, broker) = start(&Options::small());
    let own = properties(&[
        ("KEYS", "k 1"),
        ("TAGS", "TagA"),
        ("UNIQ_KEY", "0A0000010001"),
        ("é", "zwölf \"Zeichen\""),
    ]);
    let body: Vec<u8> = (0..=255).collect();
    let mut offset = 0;
    for codec in CODECS {
        let mut client = Client::with_codec(broker.addr(), codec);
        let send = SendRequest {
            properties: Some(&own),
            flag: 7,
            ..send_to("Ways", 2)
        };
        for code in [request::SEND_MESSAGE, request::SEND_MESSAGE_V2] {
            let reply = match code {
                request::SEND_MESSAGE => client.ask(code, &long_names(&send), &body),
                _ => client.ask(code, &send.ext(), &body),
            };
            let reply = reply.ok();
            assert_eq!(
                (reply.number("queueId"), reply.number("queueOffset")),
                (2, offset)
            );
            assert_eq!(reply.fields["transactionId"], "0A0000010001");
            let found = one(client.pull(&pull_from("Ways", 2, offset)));
            assert_eq!(
                (found.topic.as_str(), found.queue_offset as i64, found.flag),
                ("Ways", offset, 7)
            );
            assert_eq!(found.born_timestamp_ms, send.born_timestamp_ms);
            assert_eq!(found.reconsume_times, 0);
            assert!(
                found.body == body && found.properties.starts_with(&own),
                "{found:?}"
            );
            let (host, physical_offset) =
                parse_offset_message_id(&reply.fields["msgId"]).expect("an id");
            assert_eq!(
                (host, physical_offset),
                (broker.addr(), found.physical_offset)
            );
            offset += 1;
        }

        let item = properties(&[("TAGS", "TagB"), ("UNIQ_KEY", "0A0000010002")]);
        let bodies: [&[u8]; 3] = [b"one", b"two", b"three"];
        let reply = client.send_batch(&send, &bodies, &item).ok();
        assert_eq!(
            (reply.number("queueId"), reply.number("queueOffset")),
            (2, offset)
        );
        assert_eq!(reply.fields["msgId"].split(',').count(), 3);
        let found = client.pull(&pull_from("Ways", 2, offset)).ok().messages();
        assert_eq!(
            found
                .iter()
                .map(|message| &message.body[..])
                .collect::<Vec<_>>(),
            bodies
        );
        for (message, id) in found.iter().zip(reply.fields["msgId"].split(',')) {
            assert_eq!(message.queue_offset as i64, offset);
            assert!(message.properties.starts_with(&item), "{message:?}");
            assert_eq!(
                parse_offset_message_id(id),
                Ok((broker.addr(), message.physical_offset))
            );
            offset += 1;
        }
    }
    assert_eq!(
        Client::connect(broker.addr()).read_queue("Ways", 2).len() as i64,
        offset
    );
}

#[test]
fn a_send_to_no_queue_in_particular_is_put_into_one() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    for count in 1..20 {
        let reply = client.send(&send_to("Any", -1), b"x").ok();
        assert!((0..4).contains(&reply.number("queueId")));
        let total: u64 = (0..4)
            .map(|queue_id| client.max_offset("Any", queue_id))
            .sum();
        assert_eq!(total, count);
    }
}

#[test]
fn a_one_way_send_is_stored_and_not_answered() {
    let (_folder, broker) = start(&Options::small());
    for (offset, codec) in CODECS.into_iter().enumerate() {
        let mut client = Client::with_codec(broker.addr(), codec);
        client.tell(
            request::SEND_MESSAGE_V2,
            &send_to("Quiet", 0).ext(),
            b"psst",
        );
        client.tell(
            request::SEND_MESSAGE_V2,
            &send_to("Illegal.Name", 0).ext(),
            b"refused in silence",
        );
        // `max_offset` fails on any reply that is not its own.
        wait_until("the message", || {
            client.max_offset("Quiet", 0) > offset as u64
        });
        assert_eq!(
            one(client.pull(&pull_from("Quiet", 0, offset as i64))).body,
            b"psst"
        );
    }
}

#[test]
fn a_pull_waits_for_a_message_or_for_its_time() {
    let (_folder, broker) = start(&Options::small());
    for (offset, codec) in (0..).zip(CODECS) {
        let mut producer = Client::with_codec(broker.addr(), codec);
        if offset == 0 {
            producer.send(&send_to("Late", 1), b"makes the topic").ok();
        }
        let mut consumers: Vec<_> = (0..3)
            .map(|_| Client::with_codec(broker.addr(), codec))
            .collect();
        let wait = waiting(pull_from("Late", 0, offset), 25_000);
        let opaques: Vec<_> = consumers
            .iter_mut()
            .map(|client| client.post(request::PULL_MESSAGE, &wait.ext(), &[]))
            .collect();
        // One that goes away while it waits harms nobody.
        consumers.pop();
        assert_eq!(producer.max_offset("Late", 0) as i64, offset);
        producer.send(&send_to("Late", 0), b"at last").ok();
        for (client, opaque) in consumers.iter_mut().zip(opaques) {
            let reply = client.receive().expect("an answer");
            assert_eq!(reply.opaque, opaque);
            assert_eq!(
                (reply.number("nextBeginOffset"), reply.number("maxOffset")),
                (offset + 1, offset + 1)
            );
            assert_eq!(one(reply).body, b"at last");
        }

        let started = Instant::now();
        let reply = producer.pull(&waiting(pull_from("Late", 0, offset + 1), 400));
        assert!(
            started.elapsed() >= Duration::from_millis(400),
            "answered before its time"
        );
        let reply = reply.with_code(response::PULL_NOT_FOUND);
        assert_eq!(reply.number("nextBeginOffset"), offset + 1);
        // Without the wish to wait the same is answered at once.
        producer
            .pull(&pull_from("Late", 0, offset + 1))
            .with_code(response::PULL_NOT_FOUND);
    }
}

#[test]
fn a_pull_gets_the_tags_that_it_asks_for() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    for (tag, body) in [("A", "1"), ("B", "2"), ("C", "3"), ("A", "4")] {
        let own = properties(&[("TAGS", tag)]);
        client
            .send(
                &SendRequest {
                    properties: Some(&own),
                    ..send_to("Tagged", 0)
                },
                body.as_bytes(),
            )
            .ok();
    }
    let mut bodies = |subscription| {
        let reply = client.pull(&PullRequest {
            subscription: Some(subscription),
            ..pull_from("Tagged", 0, 0)
        });
        let bodies: Vec<_> = reply
            .messages()
            .into_iter()
            .map(|message| message.body[0])
            .collect();
        (reply.code, reply.number("nextBeginOffset"), bodies)
    };
    assert_eq!(bodies("A || C"), (response::SUCCESS, 4, b"134".to_vec()));
    assert_eq!(bodies("B"), (response::SUCCESS, 4, b"2".to_vec()));
    assert_eq!(bodies("D"), (response::PULL_RETRY_IMMEDIATELY, 4, vec![]));
}

#[test]
fn a_pull_out_of_range_is_sent_to_where_messages_are() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    client.send(&send_to("Range", 0), b"only").ok();
    let reply = client
        .pull(&pull_from("Range", 0, 7))
        .with_code(response::PULL_OFFSET_MOVED);
    assert_eq!(reply.number("nextBeginOffset"), 1);
    let reply = client
        .pull(&pull_from("Range", 0, -1))
        .with_code(response::PULL_OFFSET_MOVED);
    assert_eq!(reply.number("nextBeginOffset"), 0);
    let reply = client
        .pull(&pull_from("Range", 1, 7))
        .with_code(response::PULL_OFFSET_MOVED);
    assert_eq!(reply.number("nextBeginOffset"), 0);
}

#[test]
fn a_queue_knows_its_bounds_and_its_times() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    let ask = |client: &mut Client, code| {
        let queue = QueueRequest {
            topic: "Times",
            queue_id: 1,
        };
        client.ask(code, &queue.ext(), &[]).ok()
    };
    client.send(&send_to("Times", 0), b"makes the topic").ok();
    assert_eq!(
        ask(&mut client, request::GET_MIN_OFFSET).number("offset"),
        0
    );
    assert_eq!(
        ask(&mut client, request::GET_MAX_OFFSET).number("offset"),
        0
    );
    assert_eq!(
        ask(&mut client, request::GET_EARLIEST_MSG_STORETIME).number("timestamp"),
        -1
    );

    let before_ms = now_ms();
    for body in [b"a", b"b", b"c"] {
        client.send(&send_to("Times", 1), body).ok();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        ask(&mut client, request::GET_MIN_OFFSET).number("offset"),
        0
    );
    assert_eq!(
        ask(&mut client, request::GET_MAX_OFFSET).number("offset"),
        3
    );
    let messages = client.read_queue("Times", 1);
    let times: Vec<_> = messages
        .iter()
        .map(|message| message.store_timestamp_ms)
        .collect();
    assert!(
        times.is_sorted_by(|a, b| a < b) && before_ms <= times[0],
        "{times:?}"
    );
    assert_eq!(
        ask(&mut client, request::GET_EARLIEST_MSG_STORETIME).number("timestamp"),
        times[0]
    );

    let mut search = |timestamp_ms, boundary| {
        let search = SearchOffset {
            topic: "Times",
            queue_id: 1,
            timestamp_ms,
            boundary,
        };
        client
            .ask(request::SEARCH_OFFSET_BY_TIMESTAMP, &search.ext(), &[])
            .ok()
            .number("offset")
    };
    for (offset, time) in (0..).zip(&times) {
        assert_eq!(search(*time, Boundary::Lower), offset);
        assert_eq!(search(*time, Boundary::Upper), offset);
    }
    assert_eq!(search(0, Boundary::Lower), 0);
    assert_eq!(search(times[1] - 1, Boundary::Lower), 1);
    assert_eq!(search(times[2] + 60_000, Boundary::Lower), 3);
}

#[test]
fn a_group_finds_its_offset_again() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    for body in [b"a", b"b", b"c"] {
        client.send(&send_to("Kept", 0), body).ok();
    }
    assert_eq!(offset_of(&mut client, None).ok().number("offset"), 0);
    offset_of(&mut client, Some(false)).with_code(response::QUERY_NOT_FOUND);

    client.heartbeat("c1", "consumers", &["Kept"]);
    let update = UpdateConsumerOffset {
        consumer_group: "consumers",
        topic: "Kept",
        queue_id: 0,
        commit_offset: 2,
    };
    client
        .ask(request::UPDATE_CONSUMER_OFFSET, &update.ext(), &[])
        .ok();
    assert_eq!(offset_of(&mut client, Some(false)).ok().number("offset"), 2);
    let update = UpdateConsumerOffset {
        commit_offset: 3,
        ..update
    };
    client.tell(request::UPDATE_CONSUMER_OFFSET, &update.ext(), &[]);
    assert_eq!(offset_of(&mut client, None).ok().number("offset"), 3);

    let store = broker.store.clone();
    assert!(broker.terminate().success());
    let saved =
        std::fs::read_to_string(store.join("config/consumerOffset.json")).expect("it is saved");
    let saved: serde_json::Value = loose_json::from_slice(saved.as_bytes()).expect("JSON");
    assert_eq!(saved["offsetTable"]["Kept@consumers"]["0"], 3, "{saved}");

    let broker = Broker::start(&store, &Options::small());
    let mut client = Client::connect(broker.addr());
    assert_eq!(offset_of(&mut client, Some(false)).ok().number("offset"), 3);
    assert_eq!(client.read_queue("Kept", 0).len(), 3);
    assert!(
        !store.join("abort.conf").exists() && store.join("abort").exists(),
        "abort marks a running broker"
    );
}

#[test]
fn a_message_sent_back_comes_again() {
    let (_folder, broker) = start(&Options::small());
    for codec in CODECS {
        let group = if codec == Codec::Json {
            "again-1"
        } else {
            "again-2"
        };
        let mut client = Client::with_codec(broker.addr(), codec);
        client.heartbeat("c1", group, &["Hard"]);
        let own = properties(&[("TAGS", "T"), ("KEYS", "K")]);
        let sent = client
            .send(
                &SendRequest {
                    properties: Some(&own),
                    ..send_to("Hard", 0)
                },
                b"not today",
            )
            .ok();
        let id = sent.fields["msgId"].as_str();
        let (_, physical_offset) = parse_offset_message_id(id).expect("an id");
        let back = SendBack {
            offset: physical_offset as i64,
            group,
            delay_level: 1,
            origin_msg_id: Some(id),
            origin_topic: Some("Hard"),
            unit_mode: false,
            max_reconsume_times: Some(16),
        };
        client
            .ask(request::CONSUMER_SEND_MSG_BACK, &back.ext(), &[])
            .ok();
        let retry_topic = format!("%RETRY%{group}");
        let pull = PullRequest {
            consumer_group: group,
            ..waiting(pull_from(&retry_topic, 0, 0), 25_000)
        };
        let again = one(client.pull(&pull));
        assert_eq!(
            (again.topic.as_str(), again.reconsume_times),
            (retry_topic.as_str(), 1)
        );
        assert_eq!(again.body, b"not today");
        assert_eq!(find(&again.properties, "RETRY_TOPIC"), Some("Hard"));
        assert_eq!(find(&again.properties, "ORIGIN_MESSAGE_ID"), Some(id));
        assert_eq!(find(&again.properties, "KEYS"), Some("K"));

        // Given up for good: to the dead letters.
        let back = SendBack {
            offset: again.physical_offset as i64,
            delay_level: -1,
            ..back
        };
        client
            .ask(request::CONSUMER_SEND_MSG_BACK, &back.ext(), &[])
            .ok();
        assert_eq!(client.max_offset(&format!("%DLQ%{group}"), 0), 1);

        let back = SendBack {
            offset: physical_offset as i64 + 1,
            ..back
        };
        client
            .ask(request::CONSUMER_SEND_MSG_BACK, &back.ext(), &[])
            .refused(response::SYSTEM_ERROR, "offset");
    }
}

#[test]
fn a_delayed_message_comes_when_it_is_due() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    let own = properties(&[("DELAY", "1")]);
    client
        .send(
            &SendRequest {
                properties: Some(&own),
                ..send_to("Delayed", 0)
            },
            b"later",
        )
        .ok();
    assert_eq!(client.max_offset("Delayed", 0), 0);
    let found = one(client.pull(&waiting(pull_from("Delayed", 0, 0), 25_000)));
    assert_eq!(
        (&found.body[..], found.topic.as_str()),
        (&b"later"[..], "Delayed")
    );
    assert!(
        found.store_timestamp_ms - found.born_timestamp_ms >= 1000,
        "level 1 is a second: {found:?}"
    );
}

#[test]
fn a_queue_is_locked_by_one_at_a_time() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    client.send(&send_to("Ordered", 0), b"makes the topic").ok();
    let queue = |queue_id| MessageQueue {
        topic: "Ordered".into(),
        broker_name: "b".into(),
        queue_id,
    };
    let mut ask = |code, client_id: &str, ids: &[i32]| {
        let body = LockBatch {
            client_id: client_id.into(),
            consumer_group: "consumers".into(),
            mq_set: ids.iter().copied().map(queue).collect(),
            only_this_broker: false,
        };
        client.ask(code, &[], &loose_json::to_vec(&body)).ok()
    };
    let mut lock = |client_id, ids: &[i32]| {
        let reply = ask(request::LOCK_BATCH_MQ, client_id, ids);
        let locked: LockedQueues = loose_json::from_slice(&reply.body).expect("a list");
        let mut ids: Vec<_> = locked.queues.iter().map(|queue| queue.queue_id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(lock("c1", &[0, 1]), [0, 1]);
    assert_eq!(lock("c2", &[0, 2]), [2]);
    assert_eq!(lock("c1", &[0, 1, 2]), [0, 1]);
    ask(request::UNLOCK_BATCH_MQ, "c2", &[0]);
    ask(request::UNLOCK_BATCH_MQ, "c1", &[0]);
    let reply = ask(request::LOCK_BATCH_MQ, "c2", &[0, 1]);
    let locked: LockedQueues = loose_json::from_slice(&reply.body).expect("a list");
    assert_eq!(locked.queues, [queue(0)]);
}

#[test]
fn members_of_a_group_hear_of_each_other() {
    let (_folder, broker) = start(&Options::small());
    let mut first = Client::connect(broker.addr());
    first.heartbeat("c1", "consumers", &["Shared"]);
    let mut second = Client::with_codec(broker.addr(), Codec::Rocketmq);
    second.heartbeat("c2", "consumers", &["Shared"]);
    let group = ConsumerGroup {
        consumer_group: "consumers",
    };
    let mut until_notified = |reason: &str| {
        loop {
            let frame = first.receive().expect(reason);
            if frame.code == request::NOTIFY_CONSUMER_IDS_CHANGED && !frame.is_response() {
                assert_eq!(frame.fields["consumerGroup"], "consumers");
                return;
            }
        }
    };
    // It has heard of itself ahead of the reply to its heartbeat.
    until_notified("the second has come");
    let members = |client: &mut Client| {
        let reply = client
            .ask(request::GET_CONSUMER_LIST_BY_GROUP, &group.ext(), &[])
            .ok();
        let mut list: ConsumerList = loose_json::from_slice(&reply.body).expect("a list");
        list.consumer_id_list.sort();
        list.consumer_id_list
    };
    assert_eq!(members(&mut second), ["c1", "c2"]);
    let leave = UnregisterClient {
        client_id: "c2",
        producer_group: None,
        consumer_group: Some("consumers"),
    };
    second
        .ask(request::UNREGISTER_CLIENT, &leave.ext(), &[])
        .ok();
    until_notified("the second has left");
    assert_eq!(members(&mut second), ["c1"]);

    let mut third = Client::connect(broker.addr());
    third.heartbeat("c3", "consumers", &["Shared"]);
    until_notified("the third has come");
    drop(third);
    until_notified("the third has gone without a word");
}

#[test]
fn an_unknown_request_is_answered_as_such() {
    let (_folder, broker) = start(&Options::small());
    for addr in [broker.addr(), broker.namesrv] {
        for codec in CODECS {
            let mut client = Client::with_codec(addr, codec);
            let reply = client.ask(9999, &[("a", Value::Str("b"))], b"body");
            assert_eq!(reply.remark, " request type 9999 not supported");
            reply.with_code(response::REQUEST_CODE_NOT_SUPPORTED);
        }
    }
}

#[test]
fn a_message_is_found_by_its_id() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    let sent = client.send(&send_to("Known", 0), b"by id").ok();
    let (_, physical_offset) = parse_offset_message_id(&sent.fields["msgId"]).expect("an id");
    let mut view = |offset| {
        client.ask(
            request::VIEW_MESSAGE_BY_ID,
            &ViewMessage {
                offset,
                topic: None,
            }
            .ext(),
            &[],
        )
    };
    let found = one(view(physical_offset as i64));
    assert_eq!(
        (found.body.as_slice(), found.topic.as_str()),
        (&b"by id"[..], "Known")
    );
    for nowhere in [physical_offset as i64 + 1, 1 << 40, -1, i64::MAX] {
        view(nowhere).refused(response::SYSTEM_ERROR, &nowhere.to_string());
    }
}

/// More than the log buffer holds: the oldest are read from the disk.
#[test]
fn a_backlog_comes_from_the_disk() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    let body = |number: usize| vec![number as u8; 100_000 + number];
    const COUNT: usize = 300;
    for number in 0..COUNT {
        client.post(
            request::SEND_MESSAGE_V2,
            &send_to("Backlog", 0).ext(),
            &body(number),
        );
    }
    for _ in 0..COUNT {
        client.receive().expect("an answer").ok();
    }
    let check = |messages: Vec<Message>| {
        assert_eq!(messages.len(), COUNT);
        for (number, message) in messages.iter().enumerate() {
            assert_eq!(message.queue_offset, number as u64);
            assert!(message.body == body(number), "message {number}");
        }
    };
    check(client.read_queue("Backlog", 0));
    let store = broker.store.clone();
    assert!(broker.terminate().success());
    let broker = Broker::start(&store, &Options::small());
    check(Client::connect(broker.addr()).read_queue("Backlog", 0));
}

/// The largest message there is goes in and comes out, though a pull otherwise hands out less at a time.
#[test]
fn the_largest_message_passes() {
    let (_folder, broker) = start(&Options {
        flush: "sync",
        ..Options::small()
    });
    let mut client = Client::connect(broker.addr());
    let body: Vec<u8> = (0..4 << 20).map(|at: u32| (at % 251) as u8).collect();
    for offset in 0..6 {
        client.send(&send_to("Large", 0), &body).ok();
        assert!(one(client.pull(&pull_from("Large", 0, offset))).body == body);
    }
}

#[test]
fn two_shards_are_two_brokers_of_one_cluster() {
    let (_folder, broker) = start(&Options {
        cores: "0,0",
        ..Options::small()
    });
    let mut names = Client::connect(broker.namesrv);
    let second = SocketAddr::from(([127, 0, 0, 1], broker.port + 10));
    let template = names.route("TBW102").expect("a route");
    assert_eq!(
        addresses(&template),
        [broker.addr().to_string(), second.to_string()]
    );
    for addr in [broker.addr(), second] {
        Client::connect(addr)
            .send(&send_to("Both", 0), addr.to_string().as_bytes())
            .ok();
    }
    wait_until("both routes", || {
        names
            .route("Both")
            .is_some_and(|route| route.queue_datas.len() == 2)
    });
    let (store, ports) = (broker.store.clone(), broker.ports());
    assert!(broker.terminate().success());
    let options = Options {
        cores: "0,0",
        ports: Some(ports),
        config: SMALL,
        ..Options::default()
    };
    let _again = Broker::start(&store, &options);
    for addr in [SocketAddr::from(([127, 0, 0, 1], ports.0)), second] {
        let messages = Client::connect(addr).read_queue("Both", 0);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].body, addr.to_string().as_bytes());
    }
}

fn one(reply: Reply) -> Message {
    let mut messages = reply.ok().messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

fn offset_of(client: &mut Client, set_zero_if_not_found: Option<bool>) -> Reply {
    let query = QueryConsumerOffset {
        consumer_group: "consumers",
        topic: "Kept",
        queue_id: 0,
        set_zero_if_not_found,
    };
    client.ask(request::QUERY_CONSUMER_OFFSET, &query.ext(), &[])
}

fn addresses(route: &TopicRouteData) -> Vec<String> {
    let mut addresses: Vec<_> = route
        .broker_datas
        .iter()
        .map(|broker| broker.broker_addrs[&0].clone())
        .collect();
    addresses.sort();
    addresses
}

/// The fields of SEND_MESSAGE (10), which clients before V2 write.
fn long_names<'a>(send: &SendRequest<'a>) -> [(&'static str, Value<'a>); 12] {
    [
        ("producerGroup", Value::Str(send.producer_group)),
        ("topic", Value::Str(send.topic)),
        ("defaultTopic", Value::Str(send.default_topic)),
        (
            "defaultTopicQueueNums",
            Value::I64(send.default_topic_queue_nums.into()),
        ),
        ("queueId", Value::I64(send.queue_id.into())),
        ("sysFlag", Value::I64(send.sys_flag.into())),
        ("bornTimestamp", Value::I64(send.born_timestamp_ms)),
        ("flag", Value::I64(send.flag.into())),
        (
            "properties",
            Value::Str(send.properties.unwrap_or_default()),
        ),
        (
            "reconsumeTimes",
            Value::I64(send.reconsume_times.unwrap_or_default().into()),
        ),
        ("unitMode", Value::Bool(send.unit_mode)),
        ("batch", Value::Bool(send.batch)),
    ]
}
