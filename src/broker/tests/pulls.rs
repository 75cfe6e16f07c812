use super::*;
use crate::broker::PropertyFilter;
use crate::message::{Properties, RecordFields, tags_code};
use crate::store::QueueBounds;
use crate::wire::heartbeat::MessageModel;
use crate::wire::pull::PullRequest;
use crate::wire::pull::pull_sys_flag::{COMMIT_OFFSET, SUBSCRIPTION, SUSPEND};
use proptest::prelude::*;
use std::rc::Rc;

pub(super) fn request() -> PullRequest<'static> {
    PullRequest {
        consumer_group: "g",
        topic: "T",
        queue_id: 1,
        queue_offset: 5,
        max_msg_nums: 32,
        sys_flag: SUBSCRIPTION,
        suspend_timeout_ms: 15_000,
        subscription: Some("*"),
        commit_offset: 0,
        sub_version: 0,
        expression_type: None,
        max_msg_bytes: None,
        request_source: None,
    }
}

fn bounds(min: u64, max: u64) -> QueueBounds {
    QueueBounds {
        min,
        max,
        next: max,
    }
}

fn refused(broker: &mut Broker, request: &PullRequest<'_>, code: i32, why: &str) -> Option<i32> {
    let refusal = broker.admit_pull(request, false, 0).unwrap_err();
    assert_eq!(refusal.code, code, "{}", refusal.remark);
    assert!(refusal.remark.contains(why), "{}", refusal.remark);
    refusal.forbidden_type
}

fn reply(outcome: PullOutcome) -> (i32, &'static str, i64) {
    match outcome {
        PullOutcome::Reply(reply) => (reply.code, reply.remark, reply.header.next_begin_offset),
        other => panic!("{other:?} is no reply"),
    }
}

#[test]
fn the_table_of_outcomes() {
    let mut broker = broker();
    let at = |broker: &mut Broker, queue_offset| {
        broker
            .admit_pull(
                &PullRequest {
                    queue_offset,
                    ..request()
                },
                false,
                0,
            )
            .unwrap()
    };
    let plan = at(&mut broker, 5);
    assert_eq!(plan.before_scan(bounds(0, 9)), PullOutcome::Scan(5));
    assert_eq!(
        reply(plan.before_scan(bounds(0, 5))),
        (19, "OFFSET_OVERFLOW_ONE", 5)
    );
    assert_eq!(
        reply(plan.before_scan(bounds(0, 4))),
        (21, "OFFSET_OVERFLOW_BADLY", 4)
    );
    assert_eq!(
        reply(plan.before_scan(bounds(6, 9))),
        (21, "OFFSET_TOO_SMALL", 6)
    );
    assert_eq!(
        reply(plan.before_scan(bounds(0, 0))),
        (21, "NO_MESSAGE_IN_QUEUE", 0)
    );
    let start = at(&mut broker, 0);
    assert_eq!(
        reply(start.before_scan(bounds(0, 0))),
        (19, "NO_MESSAGE_IN_QUEUE", 0)
    );
    assert_eq!(
        reply(at(&mut broker, -1).before_scan(bounds(0, 9))),
        (21, "OFFSET_TOO_SMALL", 0)
    );
    let after = |scanned| reply(plan.after_scan(scanned, bounds(0, 9)));
    assert_eq!(after(Scanned::Found { next_offset: 7 }), (0, "FOUND", 7));
    assert_eq!(
        after(Scanned::NoneMatched { next_offset: 9 }),
        (20, "NO_MATCHED_MESSAGE", 9)
    );
    assert_eq!(
        after(Scanned::Removed { next_offset: 6 }),
        (20, "MESSAGE_WAS_REMOVING", 6)
    );
    assert_eq!(
        after(Scanned::Gap { next_offset: 8 }),
        (19, "OFFSET_FOUND_NULL", 8)
    );
}

#[test]
fn a_reply_has_all_its_fields() {
    let mut broker = broker();
    let plan = broker.admit_pull(&request(), false, 0).unwrap();
    let PullOutcome::Reply(reply) =
        plan.after_scan(Scanned::Found { next_offset: 7 }, bounds(2, 9))
    else {
        panic!();
    };
    let header = reply.header;
    assert_eq!(
        (header.suggest_which_broker_id, header.next_begin_offset),
        (0, 7)
    );
    assert_eq!((header.min_offset, header.max_offset), (2, 9));
    assert_eq!(
        (header.topic_sys_flag, header.group_sys_flag),
        (Some(0), Some(0))
    );
    broker.pull_answered(&plan, &reply, 2, 20, 0, 0);
    assert_eq!(broker.offsets.query_pulled("g", "T", 1), Some(7));
    assert_eq!(broker.stats.counts.transferred, 2);
}

#[test]
fn a_pull_that_finds_nothing_waits_if_it_may() {
    let mut broker = broker();
    let suspended = PullRequest {
        sys_flag: SUBSCRIPTION | SUSPEND,
        ..request()
    };
    let plan = broker.admit_pull(&suspended, false, 0).unwrap();
    assert_eq!(plan.before_scan(bounds(0, 5)), PullOutcome::Park);
    assert_eq!(plan.attempt(), Attempt::First { hold_ms: 15_000 });
    assert_eq!(
        reply(plan.before_scan(bounds(0, 4))).0,
        21,
        "wrong offsets do not wait"
    );
    let last = plan.into_owned().without_hold();
    assert_eq!(reply(last.before_scan(bounds(0, 5))).0, 19);
    broker.config.long_polling = false;
    let plan = broker.admit_pull(&suspended, false, 0).unwrap();
    assert_eq!(plan.attempt(), Attempt::First { hold_ms: 1000 });
}

#[test]
fn a_reset_moves_the_consumer_once_and_outweighs_its_commit() {
    let mut broker = broker();
    broker.offsets.reset("g", "T", 1, 3);
    let pull = PullRequest {
        sys_flag: SUBSCRIPTION | COMMIT_OFFSET,
        commit_offset: 99,
        ..request()
    };
    let plan = broker.admit_pull(&pull, false, 0).unwrap();
    assert_eq!(
        reply(plan.before_scan(bounds(0, 9))),
        (21, "OFFSET_RESET", 3)
    );
    assert_eq!(broker.offsets.query("g", "T", 1), Some(3));
    let plan = broker.admit_pull(&pull, false, 0).unwrap();
    assert_eq!(plan.before_scan(bounds(0, 9)), PullOutcome::Scan(5));
    assert_eq!(broker.offsets.query("g", "T", 1), Some(99));
}

#[test]
fn limits() {
    let mut broker = broker();
    let plan = |broker: &mut Broker, max_msg_nums| {
        let plan = broker
            .admit_pull(
                &PullRequest {
                    max_msg_nums,
                    ..request()
                },
                false,
                0,
            )
            .unwrap();
        (plan.max_messages, plan.max_entries)
    };
    assert_eq!(plan(&mut broker, 5), (5, 800));
    assert_eq!(plan(&mut broker, 1000), (32, 1000));
    assert_eq!(plan(&mut broker, -1), (1, 800));
    assert_eq!(plan(&mut broker, i32::MAX), (32, 6400));
}

#[test]
fn who_may_not_pull() {
    let mut broker = broker();
    refused(
        &mut broker,
        &PullRequest {
            consumer_group: "a b",
            ..request()
        },
        26,
        "a b",
    );
    refused(
        &mut broker,
        &PullRequest {
            topic: "None",
            ..request()
        },
        17,
        "None",
    );
    for queue_id in [-1, 4, i32::MIN] {
        refused(
            &mut broker,
            &PullRequest {
                queue_id,
                ..request()
            },
            29,
            "readQueueNums:[4]",
        );
    }
    broker.topics.find_mut("T").unwrap().config.perm = 2;
    assert_eq!(refused(&mut broker, &request(), 16, "topic[T]"), Some(3));
    let mut group = broker.groups.find("g").unwrap().clone();
    group.consume_enable = false;
    broker.groups.put(group, 0);
    assert_eq!(refused(&mut broker, &request(), 16, "g"), Some(2));
    broker.config.lite_pull = false;
    assert_eq!(broker.admit_pull(&request(), true, 0).unwrap_err().code, 16);
    broker.config.broker_permission = 2;
    assert_eq!(refused(&mut broker, &request(), 16, "127.0.0.1"), Some(1));
}

#[test]
fn filters_of_the_header() {
    let mut broker = broker();
    let tagged = PullRequest {
        subscription: Some("a||b"),
        ..request()
    };
    let plan = broker.admit_pull(&tagged, false, 0).unwrap();
    assert!(plan.filter.matches(tags_code("b")) && !plan.filter.matches(tags_code("c")));
    let sql = PullRequest {
        subscription: Some("x > 1"),
        expression_type: Some("SQL92"),
        ..request()
    };
    refused(&mut broker, &sql, 1, "SQL92");
    refused(
        &mut broker,
        &PullRequest {
            subscription: Some("||"),
            ..request()
        },
        23,
        "parse",
    );
}

#[test]
fn filters_of_the_heartbeat() {
    let mut broker = broker();
    let pull = PullRequest {
        sys_flag: 0,
        subscription: None,
        sub_version: 1,
        ..request()
    };
    refused(&mut broker, &pull, 24, "group info not exist");
    let mut data = consumer("g", "T", "a");
    broker
        .clients
        .register_consumer(&data, true, "c", &peer(1), 0);
    let plan = broker.admit_pull(&pull, false, 0).unwrap();
    assert!(plan.filter.matches(tags_code("a")) && !plan.filter.matches(tags_code("b")));
    refused(
        &mut broker,
        &PullRequest {
            sub_version: 2,
            ..pull
        },
        25,
        "not latest",
    );
    broker.topics.put(topic("U", 4), 0);
    refused(
        &mut broker,
        &PullRequest { topic: "U", ..pull },
        24,
        "subscription not exist",
    );
    data.subscription_data_set[0].expression_type = "SQL92".into();
    data.subscription_data_set[0].sub_string = "a > 1".into();
    data.subscription_data_set[0].sub_version = 2;
    data.message_model = MessageModel::Broadcasting;
    broker
        .clients
        .register_consumer(&data, true, "c", &peer(1), 0);
    refused(&mut broker, &pull, 1, "SQL92");
    let mut group = broker.groups.find("g").unwrap().clone();
    group.consume_broadcast_enable = false;
    broker.groups.put(group, 0);
    assert_eq!(refused(&mut broker, &pull, 16, "broadcast"), Some(4));
}

/// A message of topic `T` as the log has it.
pub(super) fn record(properties: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in properties {
        crate::message::properties::push(&mut text, name, value);
    }
    let fields = RecordFields {
        queue_id: 0,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        born_host: ([127, 0, 0, 1], 1).into(),
        store_timestamp_ms: 0,
        store_host: ([127, 0, 0, 1], 2).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"body",
        topic: "T",
        properties: Properties::new(&text),
    };
    let mut bytes = vec![0; fields.encoded_len()];
    fields.encode(&mut bytes);
    bytes
}

pub(super) fn broker_for_sql() -> Broker {
    broker_with(BrokerConfig {
        property_filter: true,
        ..BrokerConfig::default()
    })
}

fn sql(expression: &str) -> PullRequest<'_> {
    PullRequest {
        subscription: Some(expression),
        expression_type: Some("SQL92"),
        ..request()
    }
}

#[test]
fn expressions_of_the_header() {
    let mut broker = broker_for_sql();
    let plan = broker.admit_pull(&sql("a > 1"), false, 0).unwrap();
    let filter = plan.properties.unwrap();
    assert!(plan.filter.matches(7), "the entries do not say");
    let matches = |record: &[u8]| filter.matches(record, &mut Effort::of_a_look());
    assert!(matches(&record(&[("a", "2"), ("TAGS", "x")])));
    assert!(!matches(&record(&[("a", "1")])));
    assert!(!matches(&record(&[("a", "x")])));
    let broken = record(&[("a", "2")]);
    assert!(!matches(&broken[..50]) && !matches(&[]));
    refused(
        &mut broker,
        &sql("a >"),
        23,
        "parse the consumer's subscription failed",
    );
    refused(&mut broker, &sql(""), 23, "parse");
    let of_class = PullRequest {
        expression_type: Some("CLASS"),
        ..sql("a > 1")
    };
    refused(&mut broker, &of_class, 23, "parse");
    broker.config.property_filter = false;
    refused(
        &mut broker,
        &sql("a > 1"),
        1,
        "The broker does not support consumer to filter message by SQL92",
    );
}

#[test]
fn an_expression_is_parsed_once() {
    let mut broker = broker_for_sql();
    let mut filter_of =
        |text: &str| match broker.admit_pull(&sql(text), false, 0).unwrap().properties {
            Some(PropertyFilter::Selector(selector)) => selector,
            other => panic!("{other:?}"),
        };
    let first = filter_of("a > 1");
    for number in 0..99 {
        filter_of(&format!("a = {number}"));
    }
    assert!(Rc::ptr_eq(&first, &filter_of("a > 1")));
    for number in 0..100 {
        filter_of(&format!("b = {number}"));
    }
    assert_eq!(Rc::strong_count(&first), 1, "forgotten");
    let long = |letter| {
        let value = String::from_utf8(vec![letter; 120_000]).unwrap();
        format!("a IN ('{value}')")
    };
    let long_one = filter_of(&long(b'a'));
    for letter in b'b'..b'k' {
        filter_of(&long(letter));
    }
    assert_eq!(Rc::strong_count(&long_one), 1, "they are kept up to a size");
}

#[test]
fn a_dear_expression_sees_fewer_messages_a_pull() {
    let mut broker = broker_for_sql();
    let mut entries = |text: &str| broker.admit_pull(&sql(text), false, 0).unwrap().max_entries;
    assert_eq!(entries("a > 1"), 800);
    assert_eq!(entries(&vec!["a = 'x'"; 1_000].join(" OR ")), 1);
    let some = entries(&["a = 'x'"; 10].join(" AND "));
    assert!((100..200).contains(&some), "{some}");
}

proptest! {
    #[test]
    fn any_pull_is_decided(
        group in "[a-z ]{0,3}", topic in "T|[a-z]{0,3}", expression in "[a-z*| ]{0,9}",
        kind in prop::option::of("TAG|SQL92|"), numbers: [i64; 6], min in 0_u64..100, len in 0_u64..100,
    ) {
        let mut broker = broker();
        let pull = PullRequest {
            consumer_group: &group,
            topic: &topic,
            queue_id: numbers[0] as i32 % 6,
            queue_offset: numbers[1],
            max_msg_nums: numbers[2] as i32,
            sys_flag: numbers[3] as i32,
            commit_offset: numbers[4],
            suspend_timeout_ms: numbers[5],
            subscription: Some(&expression),
            sub_version: 0,
            expression_type: kind.as_deref(),
            ..request()
        };
        if let Ok(plan) = broker.admit_pull(&pull, false, 0) {
            let bounds = bounds(min, min + len);
            if let PullOutcome::Scan(offset) = plan.before_scan(bounds) {
                prop_assert!((bounds.min..bounds.max).contains(&offset));
            }
        }
    }
}
