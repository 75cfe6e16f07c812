//! Protects the doors of topics of type BatchCQ, as RocketMQ 5.5.0's answers were recorded.

use super::sends::request;
use super::*;
use crate::message::{batch, sys_flag};
use crate::wire::send::SendRequest;
use crate::wire::topic::QUEUE_TYPE;

const KEYS: &str = "UNIQ_KEY\u{1}B\u{2}WAIT\u{1}true\u{2}";

fn batch_of(messages: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..messages {
        let item = batch::BatchItem {
            flag: 0,
            body: b"m",
            properties: b"",
        };
        batch::push(&mut body, &item);
    }
    body
}

fn with_batch_topic() -> Broker {
    let mut broker = broker();
    let mut config = topic("B", 4);
    let kind = "BatchCQ".to_owned();
    config.attributes.insert(QUEUE_TYPE.into(), kind);
    broker.topics.put(config, 0);
    broker
}

fn code(broker: &mut Broker, request: &SendRequest<'_>, body: &[u8]) -> (i32, String) {
    let refusal = broker.admit_send(request, body, &peer(1), 1000);
    let refusal = refusal.unwrap_err();
    (refusal.code, refusal.remark.to_string())
}

#[test]
fn a_batch_is_one_record() {
    let mut broker = with_batch_topic();
    let body = batch_of(3);
    let asked = SendRequest {
        batch: true,
        ..request("B", KEYS)
    };
    let plan = broker.admit_send(&asked, &body, &peer(1), 1000).unwrap();
    assert_eq!((plan.batch, plan.messages, plan.body), (None, 3, &body[..]));
    assert_eq!(plan.sys_flag, sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP);
    assert_eq!(plan.properties().find("INNER_NUM"), Some("3"));
    assert_eq!(plan.properties().find("CLUSTER"), Some("DefaultCluster"));
    assert_eq!(plan.unique_key.as_str(), Some("B"));
    assert_eq!(plan.message().messages(), 3);
    let record = plan.record_bytes(&plan.message(), broker.config.advertise);
    let base = "INNER_BASE\u{1}18446744073709551615\u{2}".len();
    assert_eq!(plan.log_bytes(broker.config.advertise), record + base);
}

/// Without a key of its own, or in another topic, a batch is as many records as messages.
#[test]
fn other_batches_are_records_for_each_message() {
    let mut broker = with_batch_topic();
    let body = batch_of(3);
    for (topic, properties) in [("B", "WAIT\u{1}true\u{2}"), ("T", KEYS)] {
        let asked = SendRequest {
            batch: true,
            ..request(topic, properties)
        };
        let plan = broker.admit_send(&asked, &body, &peer(1), 1000).unwrap();
        assert_eq!((plan.batch, plan.messages, plan.sys_flag), (Some(3), 1, 0));
    }
    let single = request("B", KEYS);
    let plan = broker.admit_send(&single, b"m", &peer(1), 1000).unwrap();
    assert_eq!((plan.batch, plan.messages, plan.sys_flag), (None, 1, 0));
}

/// A client may send one as a single message, which says itself what it is.
#[test]
fn an_inner_batch_may_come_alone() {
    let mut broker = with_batch_topic();
    let body = batch_of(2);
    let flag = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
    let two = format!("{KEYS}INNER_NUM\u{1}2\u{2}");
    let inner = |topic, properties| SendRequest {
        sys_flag: flag,
        ..request(topic, properties)
    };
    let asked = inner("B", &two);
    let plan = broker.admit_send(&asked, &body, &peer(1), 1000).unwrap();
    assert_eq!((plan.messages, plan.sys_flag), (2, flag));
    let three = format!("{KEYS}INNER_NUM\u{1}3\u{2}");
    let delayed = format!("{two}DELAY\u{1}1\u{2}");
    let half = format!("{two}TRAN_MSG\u{1}true\u{2}");
    let timed = format!("{two}TIMER_DELAY_SEC\u{1}5\u{2}");
    for (asked, why) in [
        (inner("T", &two), "not of queue.type BatchCQ"),
        (request("B", &two), "INNER_NUM and is not an inner batch"),
        (request("T", &two), "INNER_NUM and is not an inner batch"),
        (inner("B", &three), "INNER_NUM is not 2"),
        (inner("B", KEYS), "INNER_NUM is not 2"),
        (inner("B", &delayed), "cannot be delayed"),
        (inner("B", &timed), "cannot be delayed"),
        (inner("B", &half), "half of a transaction"),
    ] {
        let (code, remark) = code(&mut broker, &asked, &body);
        assert!(code == 13 && remark.contains(why), "{code} {remark}");
    }
}

#[test]
fn batches_that_are_refused() {
    let mut broker = with_batch_topic();
    let delayed = format!("{KEYS}DELAY\u{1}1\u{2}");
    let large = batch_of(32_768);
    let batch = |properties| SendRequest {
        batch: true,
        ..request("B", properties)
    };
    for (asked, body, why) in [
        (batch(&delayed), batch_of(1), "cannot be delayed"),
        (batch(KEYS), large, "more than 32767 messages"),
        (batch(KEYS), b"torn".to_vec(), "malformed"),
    ] {
        let (code, remark) = code(&mut broker, &asked, &body);
        assert!(code == 13 && remark.contains(why), "{code} {remark}");
    }
}
