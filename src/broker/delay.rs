//! Messages that wait for their time in the schedule topic, a queue for each delay level (RocketMQ:
//! `ScheduleMessageService`).
//!
//! The delay service of the reactor reads each level's queue from [`Delays::offset`] on, calls [`Delays::due`] for each entry, stores
//! the message that [`deliver`] makes of its record, and then calls [`Broker::delays_delivered`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Broker;
use super::known::KnownPosition;
use super::puts::MessageType;
use super::send_plan::{OwnMessage, SendPlan};
use super::system_topics;
use crate::message::{Record, properties};
use crate::store::QueueBounds;
use crate::wire::DataVersion;

pub use super::system_topics::SCHEDULE;

/// 1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h
pub const DEFAULT_LEVELS_MS: [u64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000,
    480_000, 540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

/// RocketMQ's delay of a level that is not in the table.
const UNKNOWN_LEVEL_MS: u64 = 1000;

/// RocketMQ advances the version only with every so many updates.
const UPDATES_PER_VERSION: u64 = 200;

/// The levels and how far each has been delivered.
#[derive(Debug)]
pub struct Delays {
    levels_ms: Vec<u64>,
    offsets: BTreeMap<i32, i64>,
    /// Of deliveries that are before these offsets.
    known_position: KnownPosition,
    version: DataVersion,
    updates: u64,
    /// The offsets include what the log has of deliveries from before the start.
    is_caught_up: bool,
    is_dirty: bool,
}

/// Whether an entry's time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Now,
    /// Not before then, and neither is any later entry of the queue.
    At(u64),
}

impl Delays {
    pub fn new(levels_ms: Vec<u64>, now_ms: u64) -> Self {
        assert!(!levels_ms.is_empty(), "there is at least one delay level");
        Self {
            levels_ms,
            offsets: BTreeMap::new(),
            known_position: KnownPosition::default(),
            version: DataVersion {
                timestamp_ms: now_ms as i64,
                ..DataVersion::default()
            },
            updates: 0,
            is_caught_up: false,
            is_dirty: false,
        }
    }

    /// All levels; level n is queue n - 1.
    pub fn levels(&self) -> impl Iterator<Item = i32> + use<> {
        1..=self.levels_ms.len() as i32
    }

    /// A level beyond the last is the last.
    pub fn clamp(&self, level: i32) -> i32 {
        level.clamp(1, self.levels_ms.len() as i32)
    }

    pub fn deliver_time_ms(&self, level: i32, store_time_ms: u64) -> i64 {
        store_time_ms.saturating_add(self.delay_ms(level)) as i64
    }

    /// Whether the entry with this deliver time, as its tags code, is due. A time further away than the level's delay
    /// can only come from a changed clock and counts as due.
    pub fn due(&self, level: i32, tags_code: i64, now_ms: u64) -> Due {
        let early_ms = if mutant!(DelayedEarly) { 200 } else { 0 };
        let deliver_ms = (tags_code.max(0) as u64).saturating_sub(early_ms);
        let latest_ms = now_ms.saturating_add(self.delay_ms(level));
        match deliver_ms {
            at if at > now_ms && at <= latest_ms => Due::At(at),
            _ => Due::Now,
        }
    }

    /// The next entry of the level's queue to look at, within what the queue holds.
    pub fn offset(&self, level: i32, bounds: QueueBounds) -> u64 {
        let offset = self.offsets.get(&level).copied().unwrap_or(0).max(0) as u64;
        offset.clamp(bounds.min, bounds.max.max(bounds.min))
    }

    /// Everything before `offset` has been delivered.
    pub fn advance(&mut self, level: i32, offset: u64, now_ms: u64) {
        let before = self.offsets.insert(level, offset as i64);
        if before == Some(offset as i64) {
            return;
        }
        self.is_dirty = true;
        self.updates += 1;
        if self.updates.is_multiple_of(UPDATES_PER_VERSION) {
            self.version = self.version.next(now_ms as i64);
        }
    }

    pub fn take_dirty(&mut self) -> bool {
        self.known_position.note_save();
        std::mem::take(&mut self.is_dirty)
    }

    pub fn set_dirty(&mut self) {
        self.is_dirty = true;
    }

    /// Offset by level.
    pub fn offsets(&self) -> &BTreeMap<i32, i64> {
        &self.offsets
    }

    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// Whatever was delivered before this position of the log is before the offsets of now.
    pub fn known_up_to(&mut self, position: u64) {
        self.is_dirty |= self.known_position.set(position);
    }

    /// From here on the log may have deliveries that the offsets do not know, as they were saved before. None: that is not known.
    pub fn known_position(&self) -> Option<u64> {
        self.known_position.get()
    }

    /// The same of the offsets of now, with a log that ends at `log_end`.
    pub fn known_of_now(&self, log_end: u64) -> u64 {
        match self.is_caught_up {
            true => log_end,
            false => self.known_position.get().unwrap_or(0),
        }
    }

    pub fn load(&mut self, offsets: impl IntoIterator<Item = (i32, i64)>, version: DataVersion) {
        self.offsets.extend(offsets);
        self.version = version;
    }

    fn delay_ms(&self, level: i32) -> u64 {
        let index = usize::try_from(level - 1).ok();
        let delay_ms = index.and_then(|index| self.levels_ms.get(index));
        delay_ms.copied().unwrap_or(UNKNOWN_LEVEL_MS)
    }
}

impl Broker {
    /// What of the log the offsets of delivered messages include; to be called before these are saved.
    pub fn note_delays_position(&mut self, log_end: u64) {
        if self.delays.is_caught_up {
            self.delays.known_up_to(log_end);
        }
    }

    /// The offsets include all that was delivered before the start.
    pub fn delays_caught_up(&mut self) {
        self.delays.is_caught_up = true;
    }

    /// Everything of this level before `offset` has been delivered.
    pub fn delays_delivered(&mut self, level: i32, offset: u64, now_ms: u64) {
        self.delays.advance(level, offset, now_ms);
    }
}

/// What to store for a record that is due: the same message in its real topic. All properties stay, DELAY and REAL_TOPIC
/// too, as clients and consoles see them with RocketMQ. None if the record does not say where it belongs.
pub fn deliver<'a>(record: &Record<'a>) -> Option<SendPlan<'a>> {
    let all = record.properties_without_crc();
    let topic = properties::find(all, properties::REAL_TOPIC)?;
    let queue_id = properties::find(all, properties::REAL_QUEUE_ID)?;
    // A half message is never delayed; one that is here would be delivered without its transaction.
    if matches!(topic, system_topics::HALF | SCHEDULE) {
        return None;
    }
    let own = OwnMessage {
        topic: Cow::Borrowed(topic),
        queue_id: queue_id.parse().ok()?,
        queue: None,
        reconsume_times: record.reconsume_times,
        properties: properties::retained(all, |_| true, 0),
    };
    Some(SendPlan {
        message_type: Some(MessageType::Delay),
        ..SendPlan::of_due(record, own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays() -> Delays {
        Delays::new(DEFAULT_LEVELS_MS.to_vec(), 0)
    }

    fn bounds(min: u64, max: u64) -> QueueBounds {
        QueueBounds {
            min,
            max,
            next: max,
        }
    }

    #[test]
    fn levels() {
        let delays = delays();
        assert_eq!(
            (delays.clamp(1), delays.clamp(18), delays.clamp(99)),
            (1, 18, 18)
        );
        assert_eq!(delays.deliver_time_ms(3, 5), 10_005);
        assert_eq!(delays.levels().count(), 18);
    }

    #[test]
    fn due_at_its_time_or_when_the_clock_was_changed() {
        let delays = delays();
        assert_eq!(delays.due(1, 1500, 1000), Due::At(1500));
        assert_eq!(delays.due(1, 1500, 1500), Due::Now);
        assert_eq!(delays.due(1, 9_999_999, 1000), Due::Now);
        assert_eq!(delays.due(1, -5, 1000), Due::Now);
        assert_eq!(delays.due(1, i64::MAX, u64::MAX), Due::Now);
    }

    #[test]
    fn offsets_stay_within_the_queue() {
        let mut delays = delays();
        assert_eq!(delays.offset(1, bounds(3, 9)), 3);
        delays.advance(1, 5, 0);
        assert_eq!(delays.offset(1, bounds(3, 9)), 5);
        assert_eq!(delays.offset(1, bounds(0, 4)), 4);
        assert!(delays.take_dirty());
        delays.advance(1, 5, 0);
        assert!(!delays.take_dirty());
    }
}
