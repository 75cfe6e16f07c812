//! POP: consumers that own no queue. A pop takes messages of any queue and hides them for a time; what is not acknowledged
//! by then comes back through the group's retry topic (RocketMQ: `PopMessageProcessor`, `AckMessageProcessor`,
//! `ChangeInvisibleTimeProcessor`, `PopReviveService`).
//!
//! The way of a pop: `Broker::admit_pop` -> [`PopPlan`] -> for each of `Broker::pop_sources`, `Broker::before_pop` says
//! where to read -> [`check_point`] is written to the revive log -> `Broker::checked`. The way back: `Broker::admit_ack`
//! and `Broker::admit_change` -> their records are written -> `Broker::ended`; or, when the time is over, `Broker::revive`.
//! A record that the log refuses has changed nothing.
//!
//! The revive log is an ordinary topic, and the truth: a check point for every pop, a record for every acknowledgement, and
//! one for what has come back. [`InFlight`] is made of it at the start. The group's offset moves with the pop; it may be saved
//! only after the check point is durable, and a restart restores from the check points what was not saved (`nx`, see
//! [`crate::wire::pop`]).

mod acknowledge;
mod assignment;
pub(super) mod config;
mod in_flight;
mod infos;
mod orders;
mod revive;
mod sources;
mod take;
#[cfg(test)]
mod tests;

pub use super::store_view::At;
pub use acknowledge::{Acknowledged, Changed, End, FreedQueue, Moved};
pub use assignment::{Modes, RequestModes};
pub use in_flight::{Expired, GroupQueue, InFlight, Place, PopKey};
pub use infos::Infos;
pub use orders::{OrderTable, Orders, Times};
pub use revive::{REVIVE_GROUP, REVIVE_TAIL_GROUP};
pub use sources::{Source, Sources};
pub use take::{Look, PopPlan, check_point};

use std::rc::Rc;

use super::send_plan::{OwnMessage, SendPlan};
use crate::message::names::{self, RETRY_PREFIX};
use crate::message::properties;
use crate::wire::loose_json;
use crate::wire::pop::{AckBody, CheckPointBody, revive_tag};

/// The revive log is spread over more queues by RocketMQ, whose readers are slower; here one is enough, and all are read at
/// the start.
pub const REVIVE_QUEUE: u32 = 0;

/// What a shard knows of its pops.
#[derive(Debug)]
pub struct Pops {
    pub(super) in_flight: InFlight,
    pub(super) orders: Orders,
    pub(super) modes: RequestModes,
    revive_topic: Rc<str>,
}

impl Pops {
    pub fn new(cluster_name: &str) -> Self {
        let revive_topic = format!("{}REVIVE_LOG_{cluster_name}", names::SYSTEM_PREFIX);
        Self {
            in_flight: InFlight::default(),
            orders: Orders::default(),
            modes: RequestModes::default(),
            revive_topic: revive_topic.into(),
        }
    }
}

impl Pops {
    /// The topic of the revive log.
    pub fn revive_topic(&self) -> Rc<str> {
        self.revive_topic.clone()
    }

    /// Popped messages that wait for their acknowledgement, by check point.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// When the next popped messages come back, or the next queue is free for its next orderly pop.
    pub fn next_due_ms(&self) -> Option<u64> {
        let due = self.in_flight.next_due_ms().into_iter();
        due.chain(self.orders.next_free_ms()).min()
    }
}

/// Which topic a message was popped from, as receipts say it (RocketMQ: `ExtraInfoUtil.getRetry`).
pub fn retry_flag(topic: &str) -> u8 {
    match topic.starts_with(RETRY_PREFIX) {
        true if topic.contains('+') => 2,
        true => 1,
        false => 0,
    }
}

/// The group's retry topic for messages that it pops from `topic`.
pub fn retry_topic(group: &str, topic: &str, is_v2: bool) -> String {
    let separator = if is_v2 { '+' } else { '_' };
    format!("{RETRY_PREFIX}{group}{separator}{topic}")
}

/// The topic that a receipt's retry flag stands for.
pub fn flagged_topic(topic: &str, group: &str, flag: &str) -> Option<String> {
    match flag {
        "0" => Some(topic.to_owned()),
        "1" => Some(retry_topic(group, topic, false)),
        "2" => Some(retry_topic(group, topic, true)),
        _ => None,
    }
}

/// The topic whose messages come back in this one.
pub fn normal_topic<'a>(topic: &'a str, group: &str) -> &'a str {
    let rest = topic.strip_prefix(RETRY_PREFIX);
    let rest = rest.and_then(|rest| rest.strip_prefix(group));
    let rest = rest.and_then(|rest| rest.strip_prefix(['_', '+']));
    rest.unwrap_or(topic)
}

/// A record of the revive log that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviveRecord {
    tag: &'static str,
    body: Vec<u8>,
    revive_queue: u32,
}

impl ReviveRecord {
    fn check_point(body: &CheckPointBody) -> Self {
        Self {
            tag: revive_tag::CHECK_POINT,
            body: loose_json::to_vec(body),
            revive_queue: REVIVE_QUEUE,
        }
    }

    /// In the queue of its check point.
    fn ack(body: &AckBody, check_point: Place) -> Self {
        let tag = match body.offsets.is_empty() {
            true => revive_tag::ACK,
            false => revive_tag::BATCH_ACK,
        };
        Self {
            tag,
            body: loose_json::to_vec(body),
            revive_queue: check_point.revive_queue,
        }
    }

    /// Upper bound of what it takes in the log.
    pub fn log_bytes(&self) -> usize {
        self.body.len() + 512
    }

    pub fn plan<'a>(
        &'a self,
        revive_topic: &'a str,
        host: std::net::SocketAddr,
        now_ms: i64,
    ) -> SendPlan<'a> {
        let mut own = String::new();
        properties::push(&mut own, properties::TAGS, self.tag);
        // RocketMQ takes the revive log to be complete up to this time. Without one it would wait until it writes there itself.
        properties::push(&mut own, properties::TIMER_DELIVER_MS, &now_ms.to_string());
        let own = OwnMessage {
            topic: revive_topic.into(),
            queue_id: self.revive_queue,
            queue: None,
            reconsume_times: 0,
            properties: own,
        };
        let mut plan = SendPlan::of_broker(&self.body, host, own);
        plan.born_timestamp_ms = now_ms;
        plan
    }
}
