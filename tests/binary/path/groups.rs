//! Consumer groups: offsets, redelivery, locks, members.

use super::*;

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

fn offset_of(client: &mut Client, set_zero_if_not_found: Option<bool>) -> Reply {
    let query = QueryConsumerOffset {
        consumer_group: "consumers",
        topic: "Kept",
        queue_id: 0,
        set_zero_if_not_found,
    };
    client.ask(request::QUERY_CONSUMER_OFFSET, &query.ext(), &[])
}
