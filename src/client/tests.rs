//! The client against a fake broker, through real sockets.

use std::rc::Rc;
use std::time::Duration;

use super::fake::{Behaviour, CODECS, Fake};
use super::*;
use crate::wire::Codec;
use crate::wire::Value;
use crate::wire::codes::{request, response};

const TIMEOUT: Duration = Duration::from_secs(60);

fn on_runtime<T>(future: impl Future<Output = T>) -> T {
    Transport::fastest().run(16, future).unwrap()
}

#[test]
fn answers_in_another_order_find_their_requests() {
    for codec in CODECS {
        let fake = Fake::start(Behaviour {
            reversed: true,
            ..Behaviour::default()
        });
        on_runtime(async {
            let remote = Rc::new(Remote::connect(fake.addr, codec).await.unwrap());
            let calls: Vec<_> = [
                (request::GET_MIN_OFFSET, response::SUCCESS),
                (request::GET_ROUTEINFO_BY_TOPIC, response::TOPIC_NOT_EXIST),
                (999, response::REQUEST_CODE_NOT_SUPPORTED),
            ]
            .into_iter()
            .map(|(code, expected)| {
                let remote = Rc::clone(&remote);
                tokio::task::spawn_local(async move {
                    let answer = remote
                        .call(code, &[("topic", Value::Str("t"))], b"", TIMEOUT)
                        .await;
                    assert_eq!(answer.unwrap().code, expected);
                })
            })
            .collect();
            for call in calls {
                call.await.unwrap();
            }
        });
    }
}

#[test]
fn what_waits_on_a_connection_that_closes_is_told() {
    let fake = Fake::start(Behaviour {
        close_at: Some(1),
        ..Behaviour::default()
    });
    on_runtime(async {
        let remote = Remote::connect(fake.addr, Codec::Json).await.unwrap();
        let ext = [("b", Value::Str("topic"))];
        let error = remote
            .call(request::SEND_MESSAGE_V2, &ext, b"", TIMEOUT)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::Closed { .. }), "{error}");
        assert!(remote.is_closed());
        let error = remote
            .call(request::GET_MIN_OFFSET, &[], b"", TIMEOUT)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::Closed { .. }), "{error}");
    });
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout() {
    let fake = Fake::start(Behaviour {
        stall: Some((1, Duration::from_secs(2))),
        ..Behaviour::default()
    });
    on_runtime(async {
        let remote = Remote::connect(fake.addr, Codec::Json).await.unwrap();
        let ext = [("b", Value::Str("topic"))];
        let soon = Duration::from_millis(10);
        let error = remote
            .call(request::SEND_MESSAGE_V2, &ext, b"", soon)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        // The connection is still good, and the late answer is dropped.
        let answer = remote
            .call(request::GET_MIN_OFFSET, &[], b"", TIMEOUT)
            .await
            .unwrap();
        assert_eq!(answer.number("offset").unwrap(), 0);
    });
}

/// A client of a fake whose topic is there.
fn client_of(fake: &Fake, codec: Codec) -> Client {
    on_runtime(async {
        let names = NameServer::new(&fake.addr.to_string(), codec).unwrap();
        names.create_topic("topic", 1).await.unwrap();
    });
    // The first name server is not there.
    let config = ClientConfig {
        codec,
        ..ClientConfig::new(format!("127.0.0.1:1;{}", fake.addr))
    };
    Client::start(config).unwrap()
}

fn impatient(group: &str) -> ProducerConfig {
    ProducerConfig {
        try_timeout: Some(Duration::from_millis(200)),
        ..ProducerConfig::new(group)
    }
}

#[test]
fn a_producer_tries_again_after_a_refusal_and_a_closed_connection() {
    let fake = Fake::start(Behaviour {
        busy_every: Some(2),
        close_at: Some(4),
        ..Behaviour::default()
    });
    let client = client_of(&fake, Codec::Json);
    let producer = client.producer(ProducerConfig::new("group")).unwrap();
    for _ in 0..3 {
        let sent = producer.send(Message::new("topic", "body")).wait().unwrap();
        assert_eq!(sent.queue.broker_name, "fake");
    }
    // 1 taken; 2 refused, 3 taken; 4 closed, 5 taken.
    assert_eq!(fake.sends(), 5);
    let one_way = producer.send_one_way(Message::new("topic", "body"));
    one_way.wait().unwrap();
}

#[test]
fn a_try_that_is_not_answered_leaves_time_for_another() {
    let fake = Fake::start(Behaviour {
        stall: Some((1, Duration::from_secs(2))),
        ..Behaviour::default()
    });
    let client = client_of(&fake, Codec::Json);
    let patient = ProducerConfig {
        send_timeout: TIMEOUT,
        retries: 99,
        ..impatient("group")
    };
    let producer = client.producer(patient).unwrap();
    producer.send(Message::new("topic", "body")).wait().unwrap();
    assert!(fake.sends() >= 2);
}

#[test]
fn what_cannot_be_sent_is_refused_without_a_try() {
    let fake = Fake::start(Behaviour::default());
    let client = client_of(&fake, Codec::Json);
    let producer = client.producer(impatient("group")).unwrap();
    let refused = |result: Result<SendResult, ClientError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, ClientError::Illegal { .. }), "{error}");
    };
    refused(producer.send(Message::new("topic", "")).wait());
    refused(producer.send_batch(Vec::new()).wait());
    let two_topics = ["topic", "other"].map(|topic| Message::new(topic, "x"));
    refused(producer.send_batch(two_topics.into()).wait());
    let delayed = Message::new("topic", "x").delay_level(3);
    refused(producer.send_batch(vec![delayed.clone(), delayed]).wait());
    // Within the limit until the client adds its own properties.
    let long = Message::new("topic", "x").property("p", "v".repeat(32_750));
    refused(producer.send(long.clone()).wait());
    refused(producer.send_batch(vec![long.clone(), long]).wait());
    assert!(
        client.producer(impatient("group")).is_err(),
        "one of a group"
    );
    assert!(client.producer(impatient("a b")).is_err());
    assert_eq!(fake.sends(), 0);
    drop(producer);
    client.producer(impatient("group")).unwrap();
}

#[test]
fn a_callback_hears_of_the_end() {
    let fake = Fake::start(Behaviour::default());
    let client = client_of(&fake, Codec::Rocketmq);
    let producer = client.producer(impatient("group")).unwrap();
    let (to_test, ended) = std::sync::mpsc::channel();
    producer.send_then(Message::new("topic", "body"), move |result| {
        to_test.send(result.map(|sent| sent.status)).unwrap();
    });
    assert_eq!(ended.recv().unwrap().unwrap(), SendStatus::Ok);
    client.shutdown().wait().unwrap();
    let error = producer
        .send(Message::new("topic", "x"))
        .wait()
        .unwrap_err();
    assert!(matches!(error, ClientError::Stopped), "{error}");
}

#[test]
fn a_broker_is_told_what_became_of_a_transaction_and_may_ask() {
    let fake = Fake::start(Behaviour::default());
    let client = client_of(&fake, Codec::Json);
    let check = |half: &Received| match half.text() {
        Some("unknown") => TransactionState::Commit,
        Some("panics") => TransactionState::Rollback,
        other => panic!("not asked about {other:?}"),
    };
    let producer = client
        .transaction_producer(impatient("group"), check)
        .unwrap();
    let run = |text: &'static str, local: fn() -> TransactionState| {
        let (_, state) = producer
            .send(Message::new("topic", text), move |_| local())
            .wait()
            .unwrap();
        state
    };
    let told = |ends: &[(&str, bool)]| {
        let ends = ends.iter().map(|(end, asked)| ((*end).to_owned(), *asked));
        let ends: Vec<_> = ends.collect();
        // One-way: it may still be on its way.
        while fake.ends().len() < ends.len() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(fake.ends(), ends);
    };
    let committed = run("commit", || TransactionState::Commit);
    assert_eq!(committed, TransactionState::Commit);
    told(&[("8", false)]);
    run("rollback", || TransactionState::Rollback);
    told(&[("8", false), ("12", false)]);
    run("unknown", || TransactionState::Unknown);
    told(&[("8", false), ("12", false), ("0", false), ("8", true)]);
    let unknown = run("panics", || panic!("on purpose"));
    assert_eq!(unknown, TransactionState::Unknown);
    told(&[
        ("8", false),
        ("12", false),
        ("0", false),
        ("8", true),
        ("0", false),
        ("12", true),
    ]);
}

#[test]
fn positions_move_with_what_is_pulled() {
    let fake = Fake::start(Behaviour::default());
    let client = client_of(&fake, Codec::Rocketmq);
    let producer = client.producer(impatient("group")).unwrap();
    for body in ["one", "two"] {
        producer.send(Message::new("topic", body)).wait().unwrap();
    }
    let reader = client
        .pull_consumer(PullConfig::new("group", Subscription::all("topic")))
        .unwrap();
    let queue = reader.queues().wait().unwrap().remove(0);
    let pulled = reader.pull(&queue).wait().unwrap();
    let texts: Vec<_> = pulled.messages.iter().map(Received::text).collect();
    assert_eq!(texts, [Some("one"), Some("two")]);
    assert_eq!(
        (pulled.status, reader.position(&queue)),
        (PullStatus::Found, 2)
    );
    assert_eq!(reader.max_offset(&queue).wait().unwrap(), 2);
    let nothing = reader.pull(&queue).wait().unwrap();
    assert_eq!(
        (nothing.status, nothing.messages.len()),
        (PullStatus::NoNewMessage, 0)
    );
    reader.seek(&queue, 1);
    assert_eq!(reader.pull(&queue).wait().unwrap().messages.len(), 1);
}

#[test]
fn the_load_generators_reader_gets_what_was_sent() {
    let fake = Fake::start(Behaviour::default());
    let client = client_of(&fake, Codec::Rocketmq);
    let producer = client.producer(impatient("group")).unwrap();
    producer.send(Message::new("topic", "one")).wait().unwrap();
    on_runtime(async {
        let addr = format!("{};127.0.0.1:1", fake.addr);
        let names = NameServer::new(&addr, Codec::Rocketmq).unwrap();
        let queues = names.queues_to_pull("topic").await.unwrap();
        let reader = QueueReader::new(
            "group",
            "topic",
            Transport::fastest().into(),
            Codec::Rocketmq,
        );
        let pulled = reader.pull(&queues[0], 0).await.unwrap();
        assert_eq!((pulled.status, pulled.next_offset), (PullStatus::Found, 1));
        assert_eq!(reader.max_offset(&queues[0]).await.unwrap(), 1);
        let nothing = reader.pull(&queues[0], 1).await.unwrap();
        assert_eq!(nothing.status, PullStatus::NoNewMessage);
        assert!(nothing.records.is_empty());
    });
}
