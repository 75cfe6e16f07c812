//! By group and topic: what a group has not consumed (RocketMQ: `ConsumerLagCalculator`).
//!
//! | Value | Pulled | Popped |
//! |---|---|---|
//! | lag | from the committed offset to the queue's end | from the pop offset to the end, and what is in flight |
//! | lag latency | age of the message at the committed offset | of the one as far before the pop offset as messages are in flight |
//! | in flight | from the committed offset to where the group reads | popped and not acknowledged |
//! | queueing latency | age of the message where the group reads | at the pop offset |
//! | ready | from where the group reads to the end | from the pop offset to the end |
//!
//! Counts are sums over the queues, ages are of the oldest message. RocketMQ shows a group only while it is online, in the topics that it
//! subscribes. Here an offline group is shown, too, in the topics in which it has committed.

use std::ops::AddAssign;

use super::{MAX_KEPT_TIMES, MAX_READ_TIMES, Place, Scrape, Times, Turn, is_system_group};
use crate::broker::Broker;
use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::perm;
use crate::broker::pop::{GroupQueue, retry_topic};
use crate::broker::step::MessagePlace;
use crate::broker::store_view::At;
use crate::broker::system_topics::is_system;
use crate::message::names::RETRY_PREFIX;
use crate::metrics::families::{
    INFLIGHT_MESSAGES, LAG_LATENCY, LAG_MESSAGES, QUEUEING_LATENCY, READY_MESSAGES,
};
use crate::metrics::text::truth;
use crate::wire::heartbeat::ConsumeType;

/// What comes next.
#[derive(Clone, Debug)]
pub(super) enum LagPlace {
    /// The group behind this one.
    Group(Option<String>),
    /// The group's topic behind this one.
    Topic {
        group: String,
        after: Option<String>,
    },
    Queue(Row),
}

impl Default for LagPlace {
    fn default() -> Self {
        Self::Group(None)
    }
}

/// A group in a topic, or in the topic where what it has popped comes back.
#[derive(Clone, Debug)]
pub(super) struct Row {
    group: String,
    topic: String,
    /// If this row is about it.
    retry_topic: Option<String>,
    is_pop: bool,
    queue_id: u32,
    sums: Lag,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lag {
    lag: u64,
    in_flight: u64,
    ready: u64,
    /// Store time of the oldest message that is not consumed, and of the one that is not read.
    unconsumed_ms: Option<i64>,
    unread_ms: Option<i64>,
}

impl AddAssign for Lag {
    fn add_assign(&mut self, other: Self) {
        self.lag += other.lag;
        self.in_flight += other.in_flight;
        self.ready += other.ready;
        let older = |one: Option<i64>, other: Option<i64>| one.into_iter().chain(other).min();
        self.unconsumed_ms = older(self.unconsumed_ms, other.unconsumed_ms);
        self.unread_ms = older(self.unread_ms, other.unread_ms);
    }
}

impl Scrape {
    pub(super) fn lag(&mut self, broker: &Broker, at: At<'_>) -> Turn {
        for _ in 0..ROWS_PER_TURN {
            let Place::Lag(place) = &mut self.place else {
                unreachable!("a walk over lags is at a group");
            };
            let next = match std::mem::take(place) {
                LagPlace::Group(after) => match broker.groups.after(after.as_deref()).next() {
                    None => return Turn::Done,
                    Some(config) => LagPlace::Topic {
                        group: config.group_name.clone(),
                        after: None,
                    },
                },
                LagPlace::Topic { group, after } => next_topic(broker, group, after),
                LagPlace::Queue(mut row) => match next_queue(broker, at, &mut row, &mut self.times)
                {
                    Step::Counted => LagPlace::Queue(row),
                    Step::Missed => {
                        self.place = Place::Lag(LagPlace::Queue(row));
                        return Turn::Times(self.times.asked.clone());
                    }
                    Step::End => self.end_row(broker, at.now_ms, row),
                },
            };
            self.place = Place::Lag(next);
        }
        Turn::More
    }

    /// Writes a row. Behind the one of a popped topic comes that of its retry topic.
    fn end_row(&mut self, broker: &Broker, now_ms: u64, row: Row) -> LagPlace {
        self.lag_samples(broker, now_ms, &row);
        let Row { group, topic, .. } = row;
        if !row.is_pop || row.retry_topic.is_some() {
            let after = Some(topic);
            return LagPlace::Topic { group, after };
        }
        LagPlace::Queue(Row {
            retry_topic: Some(existing_retry_topic(broker, &group, &topic)),
            group,
            topic,
            is_pop: true,
            queue_id: 0,
            sums: Lag::default(),
        })
    }

    fn lag_samples(&mut self, broker: &Broker, now_ms: u64, row: &Row) {
        let Row {
            group, topic, sums, ..
        } = row;
        let is_system = is_system(topic, &broker.config) || is_system_group(group);
        let labels = [
            ("consumer_group", &**group),
            ("topic", &**topic),
            ("is_retry", truth(row.retry_topic.is_some())),
            ("is_system", truth(is_system)),
        ];
        let age_ms = |since_ms: Option<i64>| {
            let age_ms = since_ms.map_or(0, |since_ms| now_ms as i64 - since_ms);
            age_ms.max(0) as u64
        };
        self.sample(&LAG_MESSAGES, &labels, sums.lag);
        self.sample(&LAG_LATENCY, &labels, age_ms(sums.unconsumed_ms));
        self.sample(&INFLIGHT_MESSAGES, &labels, sums.in_flight);
        self.sample(&QUEUEING_LATENCY, &labels, age_ms(sums.unread_ms));
        self.sample(&READY_MESSAGES, &labels, sums.ready);
    }
}

/// The group's next topic that has a row, or the next group. What has none is passed one at a time.
fn next_topic(broker: &Broker, group: String, after: Option<String>) -> LagPlace {
    let members = broker.clients.consumers(&group);
    let next = match members {
        Some(members) => {
            let mut topics = members.subscriptions_after(after.as_deref().unwrap_or_default());
            topics.next().map(|(topic, _)| topic.to_owned())
        }
        // The broker's own groups have offsets and are never online.
        None if is_system_group(&group) => None,
        None => {
            let mut topics = broker.offsets.topics_after(&group, after.as_deref());
            topics.next().map(str::to_owned)
        }
    };
    let Some(topic) = next else {
        return LagPlace::Group(Some(group));
    };
    let config = broker.topics.find(&topic).map(|entry| &entry.config);
    let is_usable = config.is_some_and(|config| {
        let allowed = config.perm & broker.config.broker_permission;
        perm::is_readable(allowed) || perm::is_writeable(allowed)
    });
    if topic.starts_with(RETRY_PREFIX) || !is_usable {
        let after = Some(topic);
        return LagPlace::Topic { group, after };
    }
    let is_pop = match members {
        Some(members) => members.consume_type == ConsumeType::ConsumePop,
        None => {
            let retry_topic = existing_retry_topic(broker, &group, &topic);
            broker.topics.contains(&retry_topic)
        }
    };
    LagPlace::Queue(Row {
        group,
        topic,
        retry_topic: None,
        is_pop,
        queue_id: 0,
        sums: Lag::default(),
    })
}

/// The topic where what the group has popped comes back: the one by the present setting, or the other one if only that exists.
fn existing_retry_topic(broker: &Broker, group: &str, topic: &str) -> String {
    let is_v2 = broker.config.pop.retry_topic_v2;
    let [present, other] = [is_v2, !is_v2].map(|is_v2| retry_topic(group, topic, is_v2));
    match !broker.topics.contains(&present) && broker.topics.contains(&other) {
        true => other,
        false => present,
    }
}

enum Step {
    Counted,
    /// A store time has to be read first.
    Missed,
    /// There is no further queue.
    End,
}

fn next_queue(broker: &Broker, at: At<'_>, row: &mut Row, times: &mut Times) -> Step {
    let topic = row.retry_topic.as_deref().unwrap_or(&row.topic);
    let entry = broker.topics.find(topic);
    let queues = entry.map_or(0, |entry| entry.config.write_queue_nums.max(0) as u32);
    if row.queue_id >= queues {
        return Step::End;
    }
    let queue = GroupQueue {
        group: &row.group,
        topic,
        queue_id: row.queue_id,
    };
    let counted = lag_of(broker, at, queue, row.is_pop, times);
    if !times.asked.is_empty() {
        return Step::Missed;
    }
    row.sums += counted;
    row.queue_id += 1;
    Step::Counted
}

fn lag_of(
    broker: &Broker,
    at: At<'_>,
    queue: GroupQueue<'_>,
    is_pop: bool,
    times: &mut Times,
) -> Lag {
    let GroupQueue {
        group,
        topic,
        queue_id,
    } = queue;
    let bounds = at.store.bounds(topic, queue_id);
    let id = queue_id as i32;
    let within = |offset: i64| (offset.max(0) as u64).clamp(bounds.min, bounds.max);
    // A group that has nowhere begun lacks nothing, as in RocketMQ.
    let committed = broker.offsets.query(group, topic, id);
    let committed = committed.map_or(bounds.max, within);
    let (consumed, read, in_flight) = match is_pop {
        true => {
            let in_flight = broker.pops.in_flight.messages(queue);
            let consumed = committed.saturating_sub(in_flight).max(bounds.min);
            (consumed, committed, in_flight)
        }
        false => {
            let read = broker.offsets.query_pulled(group, topic, id);
            let read = read.map_or(bounds.max, within);
            (committed, read, read.saturating_sub(committed))
        }
    };
    let lag = match is_pop {
        true => bounds.max - committed + in_flight,
        false => bounds.max - committed,
    };
    let mut time_of = |offset: u64| match offset < bounds.max {
        true => times.of(at, topic, queue_id, offset),
        false => None,
    };
    Lag {
        lag,
        in_flight,
        ready: bounds.max - read,
        unconsumed_ms: time_of(consumed),
        unread_ms: time_of(read),
    }
}

impl Times {
    /// The store time of a message. One that is only on the disk is asked for, if it is not known yet.
    fn of(&mut self, at: At<'_>, topic: &str, queue_id: u32, offset: u64) -> Option<i64> {
        let hot = at.store.store_time_ms(topic, queue_id, offset);
        if hot.is_some() {
            return hot;
        }
        let place = MessagePlace {
            topic: topic.to_owned(),
            queue_id,
            offset,
        };
        match self.known.get(&place) {
            Some(time_ms) => {
                let time_ms = *time_ms;
                if self.used.len() < MAX_KEPT_TIMES {
                    self.used.insert(place, time_ms);
                }
                time_ms
            }
            None if self.read < MAX_READ_TIMES && !self.asked.contains(&place) => {
                self.read += 1;
                self.asked.push(place);
                None
            }
            None => None,
        }
    }
}
