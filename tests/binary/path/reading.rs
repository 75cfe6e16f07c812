//! Pulls, and what else is read from a queue.

use super::*;

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
        // A parked pull whose client disconnects has no effect on the others.
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
