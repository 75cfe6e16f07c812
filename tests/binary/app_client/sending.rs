//! What is sent arrives: once, as it was, and where it should.

use super::*;

#[test]
fn every_way_to_send_arrives_once_and_as_it_was() {
    let (_folder, broker) = start();
    let client = client_of(&broker);
    let producer = client.producer(producer_of("ways")).unwrap();
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
    let texts = "waited,called back,one way,batch 0,batch 1,chosen,awaited";
    let mut expected: Vec<String> = texts.split(',').map(str::to_owned).collect();
    expected.extend((0..4).map(|nth| format!("ordered {nth}")));
    expected.push(long);
    expected.sort();
    assert_eq!(seen.sorted(), expected);
    for found in seen.all() {
        assert_eq!((found.topic.as_str(), found.tag()), ("Ways", Some("TagA")));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["k1", "k2"]);
        let properties: Vec<_> = found.user_properties().collect();
        assert_eq!(properties, [("name", "välue")]);
    }
    let all = seen.all();
    let waited = all.iter().find(|found| found.text() == Some("waited"));
    let waited = waited.expect("it arrived");
    assert_eq!(waited.message_id, sent.message_id);
    assert_eq!(waited.offset_message_id, sent.offset_message_id);
    assert_eq!(
        (&waited.queue, waited.queue_offset),
        (&sent.queue, sent.queue_offset)
    );
}

#[test]
fn only_what_is_subscribed_to_arrives() {
    let (_folder, broker) = start();
    let client = client_of(&broker);
    let producer = client.producer(producer_of("tags")).unwrap();
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
        .transaction_producer(producer_of("tellers"), check)
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
    let producer = client.producer(producer_of("writers")).unwrap();
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
