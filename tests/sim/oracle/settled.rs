//! The end of a history: whatever was promised is there, no more often than it may be, and came in time.

use std::collections::BTreeMap;

use super::{End, MS, Oracle, Told};

/// How late may be what is due while nothing is done to the broker.
const LATE_MS: i64 = 1_000;

/// A message that was promised to turn up in this topic.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub number: u64,
    pub topic: String,
    pub told: Told,
}

/// One record of a message.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    pub reconsume_times: i32,
    pub store_timestamp_ms: i64,
}

/// All records, by topic and number.
pub type Stored = BTreeMap<(String, u64), Vec<Copy>>;

impl Oracle {
    /// At the end of a run: nothing that was promised is missing, but for what is older than what is kept.
    pub fn is_settled(&self, stored: &Stored, kept_from_ms: i64) {
        let is_old = |number: &u64| self.sent[number].born_ms < kept_from_ms;
        for owed in &self.owed {
            self.story.looks_at(Some(owed.number), None);
            let is_recalled = self.recalls.contains_key(&owed.number);
            assert!(
                is_recalled
                    || is_old(&owed.number)
                    || stored.contains_key(&(owed.topic.clone(), owed.number)),
                "never delivered: {owed:?}, {:?}",
                self.sent[&owed.number]
            );
        }
        for ((topic, number), copies) in stored {
            if self.sent[number].topic == *topic {
                self.story.looks_at(Some(*number), None);
                self.are_not_too_many(*number, copies);
            }
        }
        for owed in self.owed.iter().filter(|owed| !is_old(&owed.number)) {
            if let Some(copies) = stored.get(&(owed.topic.clone(), owed.number)) {
                self.story.looks_at(Some(owed.number), None);
                self.came_in_time(owed, copies);
            }
        }
        self.retries_are_settled(stored, kept_from_ms);
    }

    /// At the end of a run in which all questions about half messages were answered.
    pub fn transactions_are_settled(&self, stored: &Stored, kept_from_ms: i64) {
        for (number, told) in &self.halves {
            self.story.looks_at(Some(*number), None);
            let sent = &self.sent[number];
            let end = self.ends.get(number);
            assert!(end.is_some(), "nobody was asked: {sent:?}, held {told:?}");
            let is_there = stored.contains_key(&(sent.topic.clone(), *number));
            assert!(
                end != Some(&End::Commit) || is_there || sent.born_ms < kept_from_ms,
                "its commit was forgotten: {sent:?}, held {told:?}"
            );
        }
    }

    /// From now on (until [`Oracle::is_disturbed`]) whatever is due has to come in time.
    pub fn is_calm(&mut self, now_ms: i64) {
        self.calm.push(now_ms..i64::MAX);
    }

    /// The clock was set back from this time. Until it is reached again, what is stored has the timestamp of what was stored last before, and what is
    /// delayed waits behind what was stored before, as a level delivers in the order of its queue.
    pub fn clock_is_set_back(&mut self, from_ms: i64) {
        self.has_clock_gone_back = true;
        self.latest_clock_ms = self.latest_clock_ms.max(from_ms);
    }

    pub fn is_disturbed(&mut self, now_ms: i64) {
        if let Some(last) = self.calm.last_mut() {
            last.end = last.end.min(now_ms);
        }
    }

    fn are_not_too_many(&self, number: u64, copies: &[Copy]) {
        let sent = &self.sent[&number];
        let most = match sent.is_half {
            false => 1,
            // A crash may repeat what came just before.
            true => 1 + self.bad_ends,
        };
        assert!(
            copies.len() <= most,
            "{} times, after {} bad ends: {sent:?}",
            copies.len(),
            self.bad_ends,
        );
    }

    fn came_in_time(&self, owed: &Owed, copies: &[Copy]) {
        let sent = &self.sent[&owed.number];
        // What came in time may have been lost with the power, and have come again.
        if sent.delay_level == 0 || sent.topic != owed.topic || !self.power_cuts_ns.is_empty() {
            return;
        }
        if sent.born_ms < self.latest_clock_ms {
            return;
        }
        let asking_ms = (owed.told.told_ns - owed.told.asked_ns) / MS;
        let due_ms = sent.born_ms + sent.delay_ms() as i64;
        let latest_ms = due_ms + asking_ms as i64 + LATE_MS;
        let is_calm = self
            .calm
            .iter()
            .any(|calm| calm.contains(&due_ms) && calm.contains(&latest_ms));
        let first_ms = copies.iter().map(|copy| copy.store_timestamp_ms).min();
        assert!(
            !is_calm || first_ms.is_none_or(|first_ms| first_ms <= latest_ms),
            "came at {first_ms:?}, due at {due_ms}, and at {latest_ms} at the latest: {sent:?}"
        );
    }
}
