//! The client against a fake broker, through real sockets.

use std::rc::Rc;
use std::time::Duration;

use super::fake::{Behaviour, CODECS, Fake};
use super::*;
use crate::wire::Codec;
use crate::wire::codes::{request, response};
use crate::wire::frame::Value;

const TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn answers_in_another_order_find_their_requests() {
    for codec in CODECS {
        let fake = Fake::start(Behaviour {
            reversed: true,
            ..Behaviour::default()
        });
        tokio_uring::start(async {
            let remote = Rc::new(Remote::connect(fake.addr, codec).await.unwrap());
            let calls: Vec<_> = [
                (request::GET_MIN_OFFSET, response::SUCCESS),
                (request::GET_ROUTEINFO_BY_TOPIC, response::TOPIC_NOT_EXIST),
                (999, response::REQUEST_CODE_NOT_SUPPORTED),
            ]
            .into_iter()
            .map(|(code, expected)| {
                let remote = Rc::clone(&remote);
                tokio_uring::spawn(async move {
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
    tokio_uring::start(async {
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
        stall: Some((1, Duration::from_millis(100))),
        ..Behaviour::default()
    });
    tokio_uring::start(async {
        let remote = Remote::connect(fake.addr, Codec::Json).await.unwrap();
        let ext = [("b", Value::Str("topic"))];
        let soon = Duration::from_millis(10);
        let error = remote
            .call(request::SEND_MESSAGE_V2, &ext, b"", soon)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        // The connection is still good, and the late answer harms nobody.
        let answer = remote
            .call(request::GET_MIN_OFFSET, &[], b"", TIMEOUT)
            .await
            .unwrap();
        assert_eq!(answer.number("offset").unwrap(), 0);
    });
}

#[test]
fn a_producer_tries_again_after_a_refusal_and_a_closed_connection() {
    let fake = Fake::start(Behaviour {
        busy_every: Some(2),
        close_at: Some(4),
        ..Behaviour::default()
    });
    tokio_uring::start(async {
        let names = NameServer::new(&fake.addr.to_string(), Codec::Json).unwrap();
        names.create_topic("topic", 1).await.unwrap();
        let producer = Producer::new(names, "group", Codec::Json);
        for _ in 0..3 {
            let sent = producer.send("topic", "", b"body").await.unwrap();
            assert_eq!(sent.queue.broker, "fake");
        }
        producer.send_one_way("topic", "", b"body").await.unwrap();
    });
    // 1 taken; 2 refused, 3 taken; 4 closed, 5 taken; and the one-way message perhaps.
    assert!(fake.sends() >= 5);
}

#[test]
fn a_consumer_gets_what_was_sent() {
    let fake = Fake::start(Behaviour::default());
    tokio_uring::start(async {
        let addr = format!("{};127.0.0.1:1", fake.addr);
        let names = NameServer::new(&addr, Codec::Rocketmq).unwrap();
        names.create_topic("topic", 1).await.unwrap();
        let queues = names.queues_to_pull("topic").await.unwrap();
        let producer = Producer::new(names, "group", Codec::Rocketmq);
        for body in [b"one", b"two"] {
            producer.send("topic", "", body).await.unwrap();
        }
        let consumer = PullConsumer::new("group", "topic", Codec::Rocketmq);
        let pulled = consumer.pull(&queues[0], 0).await.unwrap();
        assert_eq!((pulled.status, pulled.next_offset), (PullStatus::Found, 2));
        assert_eq!(consumer.max_offset(&queues[0]).await.unwrap(), 2);
        let nothing = consumer.pull(&queues[0], 2).await.unwrap();
        assert_eq!(nothing.status, PullStatus::NoNewMessage);
        assert!(nothing.records.is_empty());
    });
}
