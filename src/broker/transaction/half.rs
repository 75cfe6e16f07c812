//! Half messages: how one is kept, and what becomes of one that has not ended (RocketMQ:
//! `TransactionalMessageBridge.parseHalfMessageInner`, `TransactionalMessageServiceImpl.check`,
//! `DefaultTransactionalMessageCheckListener`).

use std::borrow::Cow;
use std::net::SocketAddr;

use super::{HALF, HalfOffset, QUEUE_ID, TRANS_CHECK_MAX_TIME};
use crate::broker::send_plan::{OwnMessage, SendPlan, check_properties};
use crate::broker::{Broker, ConnId, Refusal};
use crate::message::{MAX_OWN_PROPERTIES_BYTES, Record, RecordFields, properties, sys_flag};
use crate::wire::codes::response;

/// Properties that a copy goes without where they leave no room for its own. The first has the value of another one, the broker has added
/// the rest for traces and statistics.
const SPARE: [&str; 4] = [
    properties::TRANSACTION_ID,
    properties::MSG_REGION,
    properties::TRACE_ON,
    properties::CLUSTER,
];

/// Producers of which the first that can be reached is asked.
const MOST_ASKED: usize = 16;

/// A half message, as its record tells.
pub(super) struct Half<'r, 'a> {
    pub record: &'r Record<'a>,
    pub at: HalfOffset,
    pub real_topic: &'a str,
    pub real_queue_id: u32,
}

/// What becomes of a half message that the round has come to.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It has ended.
    Pass,
    /// It may still end by itself, as may those behind it.
    Young,
    /// Its producer has asked for more time: a copy waits for it at the queue's end.
    Postpone(SendPlan<'a>),
    /// Its producer is asked about the copy.
    Ask(SendPlan<'a>, Asked<'a>),
    /// No producer is asked any more.
    GiveUp(SendPlan<'a>),
}

/// Which producer is asked about a half message, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    pub group: Option<&'a str>,
    pub unique_key: Option<&'a str>,
    topic: &'a str,
    queue_id: u32,
    store_timestamp_ms: i64,
    store_host: SocketAddr,
}

impl<'r, 'a> Half<'r, 'a> {
    /// `None` if the record does not say where it belongs.
    pub fn of(offset: u64, record: &'r Record<'a>) -> Option<Self> {
        let first = property(record, properties::TRANSACTION_PREPARED_QUEUE_OFFSET);
        let first = first.and_then(|first| first.parse().ok());
        Some(Self {
            record,
            at: HalfOffset {
                offset,
                // A copy stands behind what it is a copy of.
                first: first.filter(|first| *first < offset).unwrap_or(offset),
            },
            real_topic: property(record, properties::REAL_TOPIC)?,
            real_queue_id: property(record, properties::REAL_QUEUE_ID)?.parse().ok()?,
        })
    }

    /// How old it is by its producer's clock.
    pub fn age_ms(&self, now_ms: u64) -> i64 {
        (now_ms as i64).saturating_sub(self.record.born_timestamp_ms)
    }

    /// How long no check is sent to its producer, if the message has that property.
    pub fn immunity_ms(&self, timeout_ms: i64) -> Option<i64> {
        let seconds = property(self.record, properties::CHECK_IMMUNITY_TIME_IN_SECONDS)?;
        Some(match seconds.parse() {
            Ok(-1) | Err(_) => timeout_ms,
            Ok(seconds) => i64::saturating_mul(seconds, 1000),
        })
    }

    /// How often its producer was asked.
    fn checks(&self) -> Option<i32> {
        let checks = property(self.record, properties::TRANSACTION_CHECK_TIMES)?;
        Some(checks.parse().unwrap_or(-1))
    }
}

impl Asked<'_> {
    /// The half message as the producer is shown it: in its real topic, but where its copy stands.
    pub fn encode(&self, copy: &SendPlan<'_>, queue_offset: u64, physical_offset: u64) -> Vec<u8> {
        let message = copy.message();
        let fields = RecordFields {
            queue_id: self.queue_id,
            flag: message.flag,
            queue_offset,
            physical_offset,
            sys_flag: message.sys_flag,
            born_timestamp_ms: message.born_timestamp_ms,
            born_host: message.born_host,
            store_timestamp_ms: self.store_timestamp_ms,
            store_host: self.store_host,
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: 0,
            body: message.body,
            topic: self.topic,
            properties: message.properties,
        };
        let mut record = vec![0; fields.encoded_len()];
        fields.encode(&mut record);
        record
    }
}

impl Broker {
    pub(in crate::broker) fn check_half_allowed(&self) -> Result<(), Refusal> {
        if !self.config.reject_transaction_message {
            return Ok(());
        }
        Err(Refusal::new(
            response::NO_PERMISSION,
            format!(
                "the broker[{}] sending transaction message is forbidden",
                self.config.advertise.ip()
            ),
        ))
    }

    /// Redirects a message into the half topic.
    pub(in crate::broker) fn hold(&self, plan: &mut SendPlan<'_>) -> Result<(), Refusal> {
        let own = &mut plan.own_properties;
        if let Some(key) = plan.unique_key.as_str() {
            properties::push(own, properties::TRANSACTION_ID, key);
        }
        properties::push(own, properties::REAL_TOPIC, &plan.topic);
        properties::push(own, properties::REAL_QUEUE_ID, &plan.queue_id.to_string());
        plan.sys_flag = sys_flag::with_transaction(plan.sys_flag, sys_flag::TRANSACTION_NONE);
        plan.topic = Cow::Borrowed(HALF);
        plan.queue_id = QUEUE_ID;
        plan.queue = self.known_queue(HALF, QUEUE_ID);
        check_properties(plan.properties())
    }

    /// Decides on the half message at `offset`.
    pub fn judge_half<'a>(
        &mut self,
        offset: u64,
        record: &Record<'a>,
        now_ms: u64,
    ) -> (HalfOffset, Verdict<'a>) {
        let Some(half) = Half::of(offset, record) else {
            // Not one of ours, and not to be lost.
            let at = HalfOffset {
                offset,
                first: offset,
            };
            return (at, Verdict::GiveUp(self.give_up(record, now_ms)));
        };
        if self.transactions.has_ended(half.at) {
            return (half.at, Verdict::Pass);
        }
        let age_ms = half.age_ms(now_ms);
        let checks = half.checks();
        let is_tired = checks.is_some_and(|checks| checks >= self.config.transaction_check_max);
        if is_tired || age_ms > self.config.retention.reserved_ms as i64 {
            self.stats.rare_mut(half.real_topic).half_is_over();
            return (half.at, Verdict::GiveUp(self.give_up(record, now_ms)));
        }
        let timeout_ms = self.config.transaction_timeout_ms as i64;
        match half.immunity_ms(timeout_ms) {
            Some(immunity_ms) if age_ms <= immunity_ms => {
                return (half.at, Verdict::Postpone(self.copy_of(&half, checks)));
            }
            None if (0..=timeout_ms).contains(&age_ms) => return (half.at, Verdict::Young),
            _ => {}
        }
        let asked = Asked {
            group: property(record, properties::PRODUCER_GROUP),
            unique_key: property(record, properties::UNIQUE_KEY),
            topic: half.real_topic,
            queue_id: half.real_queue_id,
            store_timestamp_ms: record.store_timestamp_ms,
            store_host: record.store_host,
        };
        let copy = self.copy_of(&half, Some(checks.unwrap_or(0) + 1));
        (half.at, Verdict::Ask(copy, asked))
    }

    /// Some producers of the group, any of which may know; others each time. There may be gaps between the numbers of the connections, so
    /// the order among those is random, too.
    pub fn to_ask(&mut self, group: &str) -> Vec<ConnId> {
        let place = self.random();
        let mut producers = self.clients.some_producers(group, place, MOST_ASKED);
        if !producers.is_empty() {
            let first = self.random() as usize % producers.len();
            producers.rotate_left(first);
        }
        producers
    }

    fn copy_of<'a>(&self, half: &Half<'_, 'a>, checks: Option<i32>) -> SendPlan<'a> {
        let first = half.at.first.to_string();
        let checks = checks.map(|checks| checks.to_string());
        let mut all = rewritten(
            half.record,
            &[
                properties::TRANSACTION_CHECK_TIMES,
                properties::TRANSACTION_PREPARED_QUEUE_OFFSET,
            ],
        );
        let (mut own_checks, mut own) = (String::new(), String::new());
        if let Some(checks) = &checks {
            let name = properties::TRANSACTION_CHECK_TIMES;
            properties::push(&mut own_checks, name, checks);
        }
        let name = properties::TRANSACTION_PREPARED_QUEUE_OFFSET;
        properties::push(&mut own, name, &first);
        if all.len() + own_checks.len() + own.len() > MAX_OWN_PROPERTIES_BYTES {
            all = properties::retained(&all, |name| !SPARE.contains(&name), own.len());
        }
        // A producer is asked without a count rather than about another message.
        if all.len() + own_checks.len() + own.len() <= MAX_OWN_PROPERTIES_BYTES {
            all.push_str(&own_checks);
        }
        all.push_str(&own);
        self.half_plan(half.record, all)
    }

    /// A half message at the queue's end.
    pub(super) fn half_plan<'a>(&self, record: &Record<'a>, properties: String) -> SendPlan<'a> {
        let own = OwnMessage {
            topic: Cow::Borrowed(HALF),
            queue_id: QUEUE_ID,
            queue: self.known_queue(HALF, QUEUE_ID),
            reconsume_times: record.reconsume_times,
            properties,
        };
        SendPlan::of_record(record, own)
    }

    fn give_up<'a>(&mut self, record: &Record<'a>, now_ms: u64) -> SendPlan<'a> {
        self.create_derived(TRANS_CHECK_MAX_TIME, 1, false, 0, now_ms);
        let own = OwnMessage {
            topic: Cow::Borrowed(TRANS_CHECK_MAX_TIME),
            queue_id: QUEUE_ID,
            queue: self.known_queue(TRANS_CHECK_MAX_TIME, QUEUE_ID),
            reconsume_times: record.reconsume_times,
            properties: rewritten(record, &[]),
        };
        SendPlan::of_record(record, own)
    }
}

pub(super) fn property<'a>(record: &Record<'a>, name: &str) -> Option<&'a str> {
    properties::find(record.properties, name)
}

/// The record's properties without those.
pub(super) fn rewritten(record: &Record<'_>, without: &[&str]) -> String {
    let old = record.properties_without_crc();
    properties::retained(old, |name| !without.contains(&name), 64)
}
