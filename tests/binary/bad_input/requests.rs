//! Whole requests with fields, bodies and names that cannot be.

use super::*;

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
    client.send_batch(&to, &[b"a", b"b"], &own(32_764)).ok();
    assert_eq!(client.max_offset("Limits", 0), 4);
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

fn first_len(batch: &[u8]) -> usize {
    u32::from_be_bytes([batch[0], batch[1], batch[2], batch[3]]) as usize
}
