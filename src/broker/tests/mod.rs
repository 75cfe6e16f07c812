//! The rules, one small test each, on virtual time.

mod admin;
mod administration;
mod answers;
mod controller;
mod exporter;
mod expressions;
mod files;
mod inner_batches;
mod parked_pulls;
mod pulls;
mod rewinds;
mod send_backs;
mod sends;
mod settings;
mod slices;
mod statistics;
mod timers;
mod timers_of_slaves;

use super::requests::Request;
use super::step::Progress;
use super::store_view::At;
use super::*;
use crate::store::QueueBounds;
use crate::wire::heartbeat::{ConsumerData, SubscriptionData};
use crate::wire::topic::TopicConfig;
use crate::wire::{Codec, Head, Language, Scratch, Value, frame, header};

/// A broker with topic `T` of four queues.
pub(crate) fn broker() -> Broker {
    broker_with(BrokerConfig::default())
}

pub(crate) fn broker_with(config: BrokerConfig) -> Broker {
    let mut broker = Broker::new(config, 0);
    broker.topics.put(topic("T", 4), 0);
    broker
}

pub(crate) fn topic(name: &str, queue_nums: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        read_queue_nums: queue_nums,
        write_queue_nums: queue_nums,
        ..TopicConfig::default()
    }
}

pub(crate) fn peer(conn: u64) -> Peer {
    Peer {
        conn: ConnId(conn),
        addr: ([127, 0, 0, 1], 40_000).into(),
        language: Language::Java,
        version: 500,
    }
}

pub(crate) fn consumer(group: &str, topic: &str, expression: &str) -> ConsumerData {
    ConsumerData {
        group_name: group.into(),
        subscription_data_set: vec![SubscriptionData {
            topic: topic.into(),
            sub_string: expression.into(),
            sub_version: 1,
            expression_type: "TAG".into(),
            ..SubscriptionData::default()
        }],
        ..ConsumerData::default()
    }
}

pub(crate) fn effects(broker: &mut Broker) -> Vec<Effect> {
    let mut effects = Vec::new();
    broker.take_effects(&mut effects);
    effects
}

/// Queues of topic `T`: 0 has messages 0..10, 1 has 5..10, the others none. Message n was stored at 100 + n.
pub(crate) struct FakeStore;

impl StoreView for FakeStore {
    fn bounds(&self, topic: &str, queue_id: u32) -> QueueBounds {
        let (min, max) = match (topic, queue_id) {
            ("T", 0) => (0, 10),
            ("T", 1) => (5, 10),
            _ => (0, 0),
        };
        QueueBounds {
            min,
            max,
            next: max,
        }
    }

    fn store_time_ms(&self, topic: &str, queue_id: u32, offset: u64) -> Option<i64> {
        let bounds = self.bounds(topic, queue_id);
        (bounds.min..bounds.max)
            .contains(&offset)
            .then_some(100 + offset as i64)
    }

    fn is_recent(&self, _: &str, _: u32, _: u64) -> bool {
        true
    }

    fn figures(&self) -> ShardFigures {
        ShardFigures {
            log_max: 4096,
            log_dir: "/store/commitlog".into(),
            log_disk_used: 0.5,
            earliest_message_ms: Some(100),
            fence: Some("cannot flush it".into()),
            missing_messages: 3,
            put_times: [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4],
            ..ShardFigures::default()
        }
    }
}

/// Sends a request through the real codec.
pub(crate) fn ask_from(
    broker: &mut Broker,
    peer: &Peer,
    code: i32,
    fields: &[(&str, &str)],
    body: &str,
    now_ms: u64,
) -> Reply {
    let step = first_step(broker, peer, code, fields, body, now_ms);
    let reply = step.and_then(|step| carried_out(broker, step, now_ms));
    reply.unwrap_or_else(Reply::from)
}

/// What is to be done for a request without a body.
pub(crate) fn step_of(broker: &mut Broker, code: i32, fields: &[(&str, &str)]) -> Step {
    let step = first_step(broker, &peer(1), code, fields, "", 0);
    step.unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

fn first_step(
    broker: &mut Broker,
    peer: &Peer,
    code: i32,
    fields: &[(&str, &str)],
    body: &str,
    now_ms: u64,
) -> Result<Step, Refusal> {
    let head = Head {
        codec: Codec::Json,
        code,
        language: Language::Java,
        version: 500,
        opaque: 1,
        flag: 0,
        remark: None,
    };
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (*name, Value::Str(value)))
        .collect();
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, &fields, body.as_bytes());
    let frame = frame::split(&bytes).unwrap().unwrap();
    let mut scratch = Scratch::default();
    let header = header::decode(&frame, &mut scratch).unwrap();
    let request = Request {
        ext: &header.ext,
        body: frame.body,
        peer: *peer,
        language: header.language,
        now_ms,
        store: &FakeStore,
    };
    let step = broker.handle(code, &request);
    step.unwrap_or_else(|| Err(requests::unsupported(code)))
}

/// Takes a step that needs no store and no client to its end.
pub(crate) fn carried_out(broker: &mut Broker, step: Step, now_ms: u64) -> Result<Reply, Refusal> {
    let mut work = match step {
        Step::Reply(reply) => return Ok(reply),
        Step::Work(work) => work,
        other => return Err(Refusal::new(-1, format!("{other:?}"))),
    };
    let store = &FakeStore;
    let at = At { now_ms, store };
    loop {
        match work.turn(broker, at)? {
            Progress::More | Progress::RemoveQueues(_) => {}
            Progress::Times(places) => work.times(vec![None; places.len()]),
            Progress::Done(reply) => return Ok(reply),
        }
    }
}

pub(crate) fn ask(broker: &mut Broker, code: i32, fields: &[(&str, &str)], body: &str) -> Reply {
    ask_from(broker, &peer(1), code, fields, body, 0)
}

pub(crate) fn body(reply: &Reply) -> &str {
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    std::str::from_utf8(&reply.body).unwrap()
}
