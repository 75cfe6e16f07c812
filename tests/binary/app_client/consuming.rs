//! Groups of consumers: redelivery, order, members that come and go, restarts.

use super::*;

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
    let producer = client.producer(producer_of("ordering")).unwrap();
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
    send_all(&client, "Survive", &numbered("before", 30));
    wait_until("what was sent before", || seen.count() >= 30);
    let producer = client
        .producer(ProducerConfig {
            send_timeout: Duration::from_secs(1),
            ..ProducerConfig::new("survivors")
        })
        .unwrap();
    let mut acked = numbered("before", 30);
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
