//! The rules of POP on virtual time.

mod batches;
mod model;

use std::collections::BTreeSet;

use super::config::PopConfig;
use super::*;
use crate::broker::tests::{FakeStore, broker_with, effects, topic};
use crate::broker::{Broker, BrokerConfig, ConfigFile, Effect, Refusal, StoreView};
use crate::message::Record;
use crate::store::QueueBounds;
use crate::wire::codes::response;
use crate::wire::pop::{AckRequest, ChangeInvisibleTime, PopRequest, Receipt};

const RETRY: &str = "%RETRY%g_T";

fn broker() -> Broker {
    broker_of(PopConfig::default())
}

fn broker_of(pop: PopConfig) -> Broker {
    broker_with(BrokerConfig {
        pop,
        ..BrokerConfig::default()
    })
}

fn request<'a>() -> PopRequest<'a> {
    PopRequest {
        consumer_group: "g",
        topic: "T",
        queue_id: 0,
        max_msg_nums: 4,
        invisible_ms: 100,
        poll_ms: 0,
        born_ms: None,
        init_mode: 0,
        expression_type: None,
        expression: Some("*"),
        order: false,
        attempt_id: None,
    }
}

fn bounds(min: u64, max: u64) -> QueueBounds {
    QueueBounds {
        min,
        max,
        next: max,
    }
}

const AT: At<'_> = At {
    now_ms: 0,
    store: &FakeStore,
};

fn source(topic: &str, queue_id: u32) -> Source {
    Source {
        topic: topic.into(),
        queue_id,
        is_retry: topic.starts_with(RETRY_PREFIX),
        epoch: broker().topics.epoch(topic),
    }
}

fn record<'a>(topic: &'a str, properties: &'a str, body: &'a [u8]) -> Record<'a> {
    Record {
        total_size: 0,
        body_crc: 0,
        queue_id: 0,
        flag: 3,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp_ms: 5,
        born_host: ([127, 0, 0, 1], 1).into(),
        store_timestamp_ms: 6,
        store_host: ([127, 0, 0, 1], 2).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        topic,
        properties: properties.as_bytes(),
    }
}

#[test]
fn who_may_not_pop() {
    let mut broker = broker();
    broker.topics.put(TopicConfigOf("W", 2).into(), 0);
    let mut refused = |request: PopRequest<'_>, now_ms| -> i32 {
        let plan = broker.admit_pop(&request, now_ms);
        plan.map_or_else(|refusal: Refusal| refusal.code, |_| 0)
    };
    assert_eq!(refused(request(), 1_000), 0);
    let late = PopRequest {
        born_ms: Some(1_000),
        poll_ms: 100,
        ..request()
    };
    assert_eq!(refused(late, 1_600), 0);
    assert_eq!(refused(late, 1_601), response::POLLING_TIMEOUT);
    for (wrong, code) in [
        (
            PopRequest {
                max_msg_nums: 33,
                ..request()
            },
            response::INVALID_PARAMETER,
        ),
        (
            PopRequest {
                max_msg_nums: 0,
                ..request()
            },
            response::INVALID_PARAMETER,
        ),
        (
            PopRequest {
                invisible_ms: -1,
                ..request()
            },
            response::INVALID_PARAMETER,
        ),
        (
            PopRequest {
                queue_id: 4,
                ..request()
            },
            response::INVALID_PARAMETER,
        ),
        (
            PopRequest {
                topic: "none",
                ..request()
            },
            response::TOPIC_NOT_EXIST,
        ),
        (
            PopRequest {
                topic: "W",
                ..request()
            },
            response::NO_PERMISSION,
        ),
        (
            PopRequest {
                expression: Some("||"),
                ..request()
            },
            response::SUBSCRIPTION_PARSE_FAILED,
        ),
        (
            PopRequest {
                expression_type: Some("SQL92"),
                ..request()
            },
            response::SUBSCRIPTION_PARSE_FAILED,
        ),
        (
            PopRequest {
                queue_id: i32::MIN,
                invisible_ms: i64::MAX,
                poll_ms: i64::MIN,
                born_ms: Some(i64::MAX),
                ..request()
            },
            0,
        ),
    ] {
        assert_eq!(refused(wrong, 0), code, "{wrong:?}");
    }
}

/// A topic that may only be written.
struct TopicConfigOf(&'static str, i32);

impl From<TopicConfigOf> for crate::wire::topic::TopicConfig {
    fn from(TopicConfigOf(name, perm): TopicConfigOf) -> Self {
        Self {
            perm,
            ..topic(name, 1)
        }
    }
}

#[test]
fn which_queues_are_looked_at() {
    let named = |percent, queue_id, is_orderly| {
        let mut broker = broker_of(PopConfig {
            retry_first_percent: percent,
            ..PopConfig::default()
        });
        broker.topics.put(topic(RETRY, 1), 0);
        broker.topics.put(topic("%RETRY%g+T", 1), 0);
        let request = PopRequest {
            queue_id,
            order: is_orderly,
            ..request()
        };
        let plan = broker.admit_pop(&request, 0).unwrap();
        let sources = broker.pop_sources(&plan);
        let named = sources.map(|source| source.topic.to_string());
        named.collect::<Vec<_>>()
    };
    assert_eq!(named(100, 2, false), [RETRY, "%RETRY%g+T", "T"]);
    assert_eq!(named(0, 2, false), ["T", RETRY, "%RETRY%g+T"]);
    assert_eq!(named(0, -1, false).len(), 4 + 2);
    assert_eq!(named(100, -1, true), ["T"; 4]);
}

#[test]
fn sources_are_each_queue_once() {
    let mut broker = broker();
    broker.topics.put(topic("T", 250), 0);
    broker.topics.put(topic(RETRY, 3), 0);
    let queues = |broker: &mut Broker, queue_id| {
        let request = PopRequest {
            queue_id,
            ..request()
        };
        let plan = broker.admit_pop(&request, 0).unwrap();
        let sources = broker.pop_sources(&plan);
        let mut queues: Vec<_> = sources
            .map(|source| (source.is_retry, source.queue_id))
            .collect();
        queues.sort_unstable();
        queues
    };
    let retries = (0..3).map(|queue_id| (true, queue_id));
    let all: Vec<_> = (0..250)
        .map(|queue_id| (false, queue_id))
        .chain(retries.clone())
        .collect();
    assert_eq!(queues(&mut broker, -1), all);
    let one: Vec<_> = [(false, 249)].into_iter().chain(retries).collect();
    assert_eq!(queues(&mut broker, 249), one);
}

#[test]
fn where_a_group_begins() {
    let look = |init_mode, known: Option<i64>, bounds| {
        let mut broker = broker();
        if let Some(offset) = known {
            broker.offsets.commit("g", "T", 0, offset, 0);
        }
        let request = PopRequest {
            init_mode,
            ..request()
        };
        let plan = broker.admit_pop(&request, 0).unwrap();
        let look = broker.before_pop(&plan, &source("T", 0), bounds, 0, AT);
        assert!(broker.offsets.query("g", "T", 0).is_some(), "kept");
        look
    };
    assert_eq!(look(0, None, bounds(3, 9)), Look::From(3));
    assert_eq!(look(1, None, bounds(3, 9)), Look::From(8));
    assert_eq!(look(1, None, bounds(0, 9)), Look::From(0));
    assert_eq!(look(1, None, bounds(0, 0)), Look::Skip { rest: 0 });
    assert_eq!(look(0, Some(5), bounds(3, 9)), Look::From(5));
    assert_eq!(look(0, Some(1), bounds(3, 9)), Look::From(3));
    assert_eq!(look(0, Some(99), bounds(3, 9)), Look::Skip { rest: 0 });
}

#[test]
fn a_reset_moves_a_pop_and_a_limit_stops_it() {
    let mut broker = broker_of(PopConfig {
        limits_in_flight: true,
        in_flight_limit: 1,
        ..PopConfig::default()
    });
    let plan = broker.admit_pop(&request(), 0).unwrap();
    let queue = source("T", 0);
    broker.offsets.reset("g", "T", 0, 7);
    assert_eq!(
        broker.before_pop(&plan, &queue, bounds(0, 9), 0, AT),
        Look::From(7)
    );
    let key = PopKey {
        start_offset: 7,
        pop_time_ms: 1,
    };
    let body = check_point(&plan, &queue, key, &[7, 8], 9, "b");
    broker.checked(place(0), &body, 0);
    assert_eq!(broker.offsets.query("g", "T", 0), Some(9));
    let look = broker.before_pop(&plan, &queue, bounds(0, 20), 0, AT);
    assert_eq!(look, Look::Skip { rest: 11 }, "two in flight");
    assert_eq!(
        broker.before_pop(&plan, &source("T", 1), bounds(0, 20), 4, AT),
        Look::Skip { rest: 20 }
    );
}

fn place(offset: u64) -> Place {
    Place {
        revive_queue: 0,
        offset,
    }
}

#[test]
fn what_the_reply_says_of_its_messages() {
    let mut infos = Infos::default();
    infos.add(&source("T", 2), 7, &[7, 9], None);
    infos.add(&source("%RETRY%g+T", 0), 1, &[1], None);
    assert_eq!(infos.start_offsets, "0 2 7;2 0 1");
    assert_eq!(infos.message_offsets, "0 2 7,9;2 0 1");
    let times = Times {
        by_offset: vec![(4, 2)],
        fewest: 0,
    };
    infos.add(&source("T", 1), 4, &[4, 5], Some(&times));
    assert_eq!(infos.order_counts, "0 qo1%4 2;0 1 0");
}

#[test]
fn names_of_retry_topics() {
    assert_eq!(
        (retry_flag("T"), retry_flag(RETRY), retry_flag("%RETRY%g+T")),
        (0, 1, 2)
    );
    assert_eq!(normal_topic(RETRY, "g"), "T");
    assert_eq!(normal_topic("%RETRY%g+T", "g"), "T");
    assert_eq!(normal_topic("T", "g"), "T");
    assert_eq!(flagged_topic("T", "g", "1").as_deref(), Some(RETRY));
    assert_eq!(flagged_topic("T", "g", "3"), None);
}

#[test]
fn a_message_comes_back_with_all_that_it_had() {
    let mut broker = broker();
    broker.find_or_create_group("g", 0);
    effects(&mut broker);
    let expired = Expired {
        place: place(0),
        group: "g".into(),
        topic: "T".into(),
        queue_id: 1,
        key: PopKey {
            start_offset: 3,
            pop_time_ms: 40,
        },
        offsets: vec![3],
    };
    assert!(broker.may_revive(&expired));
    let first = record("T", "TAGS\u{1}a\u{2}KEYS\u{1}k\u{2}", b"body");
    let plan = broker.revive(&expired, &first, 50).unwrap();
    assert_eq!(
        (&*plan.topic, plan.queue_id, plan.reconsume_times),
        (RETRY, 0, 1)
    );
    assert_eq!(
        (plan.body, plan.flag, plan.born_timestamp_ms),
        (&b"body"[..], 3, 5)
    );
    let find = |name| plan.properties().find(name).map(str::to_owned);
    assert_eq!(find("TAGS").as_deref(), Some("a"));
    assert_eq!(find("KEYS").as_deref(), Some("k"));
    assert_eq!(find("1ST_POP_TIME").as_deref(), Some("40"));
    let made = effects(&mut broker);
    assert!(
        made.contains(&Effect::Register {
            topic: RETRY.into()
        }),
        "{made:?}"
    );
    assert_eq!(broker.offsets.query("g", RETRY, 0), Some(0));

    let again = Record {
        reconsume_times: 4,
        ..record(RETRY, "1ST_POP_TIME\u{1}40\u{2}", b"body")
    };
    let expired = Expired {
        topic: RETRY.into(),
        ..expired
    };
    let plan = broker.revive(&expired, &again, 90).unwrap();
    assert_eq!((&*plan.topic, plan.reconsume_times), (RETRY, 5));
    assert_eq!(plan.properties().find("1ST_POP_TIME"), Some("40"));

    broker.topics.remove("T", 0);
    assert!(!broker.may_revive(&expired), "nobody will ask for it");
}

#[test]
fn receipts_that_nobody_gave_out() {
    let mut broker = broker();
    let ack = AckRequest {
        consumer_group: "g",
        topic: "T",
        queue_id: 0,
        receipt: "3 1 2 0 0 b 0 3",
        offset: 3,
    };
    let mut code = |request: AckRequest<'_>| {
        let done = broker.admit_ack(&request, &FakeStore, 0);
        done.map_or_else(|refusal| refusal.code, |done| done.ends.len() as i32)
    };
    assert_eq!(code(ack), 0, "unknown, and so over");
    for (wrong, expected) in [
        (
            AckRequest {
                topic: "none",
                ..ack
            },
            response::TOPIC_NOT_EXIST,
        ),
        (
            AckRequest {
                queue_id: -1,
                ..ack
            },
            response::MESSAGE_ILLEGAL,
        ),
        (AckRequest { queue_id: 4, ..ack }, response::MESSAGE_ILLEGAL),
        (AckRequest { offset: -1, ..ack }, response::NO_MESSAGE),
        (AckRequest { offset: 11, ..ack }, response::NO_MESSAGE),
        (
            AckRequest {
                receipt: "x",
                ..ack
            },
            response::SYSTEM_ERROR,
        ),
        (
            AckRequest {
                receipt: "3 1 2 999 0 b 0 3",
                offset: 10,
                ..ack
            },
            0,
        ),
    ] {
        assert_eq!(code(wrong), expected, "{wrong:?}");
    }
    let change = ChangeInvisibleTime {
        consumer_group: "g",
        topic: "T",
        queue_id: 0,
        receipt: "3 1 2 0 0 b 0 3",
        offset: 3,
        invisible_ms: 5,
    };
    let changed = broker.admit_change(&change, &FakeStore, 0);
    assert_eq!(changed.unwrap_err().code, response::NO_MESSAGE);
}

#[test]
fn a_hundred_thousand_in_flight() {
    let mut broker = broker();
    let plan = broker.admit_pop(&request(), 0).unwrap();
    let queue = source("T", 0);
    for at in 0..100_000u64 {
        let key = PopKey {
            start_offset: at,
            pop_time_ms: at,
        };
        let body = check_point(&plan, &queue, key, &[at], at + 1, "b");
        broker.checked(place(at), &body, at);
    }
    let in_flight = &mut broker.pops.in_flight;
    assert_eq!((in_flight.len(), in_flight.oldest(0)), (100_000, Some(0)));
    let of = GroupQueue {
        group: "g",
        topic: "T",
        queue_id: 0,
    };
    for at in (0..100_000).rev() {
        let key = PopKey {
            start_offset: at,
            pop_time_ms: at,
        };
        assert!(in_flight.ack(of, key, at));
    }
    assert!(in_flight.is_empty());
}
