//! POP: what a group has popped is hidden from it for its time, what it has acknowledged never comes again, and what it
//! has not comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Oracle, Stored, Told};

/// How long a request may take: a consumer that acknowledges so shortly before a message comes back cannot know.
pub const UNSURE_MS: u64 = 100;

#[derive(Default)]
pub(super) struct Pops {
    /// With the topics that they pop.
    groups: BTreeMap<String, BTreeSet<String>>,
    known: BTreeMap<(String, u64), Popped>,
}

/// A message as a group knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Popped {
    acked: Option<Told>,
    may_be_acked: bool,
    hidden: Option<Hidden>,
    /// The broker's bad ends when the group got it first, and how often it came again since it was acknowledged.
    bad_ends: usize,
    repeats: usize,
}

/// Nobody of the group gets it, as long as the broker lives.
#[derive(Clone, Copy, Debug)]
pub struct Hidden {
    pub until_ms: u64,
    /// When the client knew. What was hidden as it asked may have come back while its request waited for the disk.
    pub known_ms: u64,
    /// In which life of the broker.
    pub life: u64,
    pub told: Told,
}

impl Oracle {
    pub fn pops(&mut self, group: &str, topic: &str) {
        let topics = self.pops.groups.entry(group.to_owned()).or_default();
        topics.insert(topic.to_owned());
    }

    pub fn popped(&mut self, group: &str, number: u64, hidden: Hidden) {
        self.story.note("is popped", number, None, hidden.until_ms);
        if !self.is_unique(number) || self.may_be_taken_back(hidden.told) {
            return;
        }
        let key = (group.to_owned(), number);
        let known = self.pops.known.entry(key).or_insert(Popped {
            // An answer that never came, or came after an end, may have been about it before.
            bad_ends: self.bad_ends_before[&number],
            ..Popped::default()
        });
        // Each of them may have come between its return and the record that says that it has returned.
        let repeats = self.bad_ends - known.bad_ends;
        known.may_be_acked = false;
        if known.acked.take().is_some() {
            known.repeats += 1;
            assert!(
                known.repeats <= repeats,
                "acknowledged, and {group} got it again: {number}, {known:?}, {hidden:?}"
            );
        }
        let before = known.hidden.replace(hidden);
        let is_hidden = before
            .is_some_and(|before| before.life == hidden.life && before.until_ms > hidden.known_ms);
        assert!(
            !is_hidden || repeats > 0,
            "hidden, and {group} got it again: {number}, {before:?}, {hidden:?}"
        );
    }

    /// The group is about to acknowledge it, or to change its time.
    pub fn may_be_acked(&mut self, group: &str, number: u64) {
        let known = self
            .pops
            .known
            .entry((group.to_owned(), number))
            .or_default();
        known.may_be_acked = true;
    }

    /// It was acknowledged in time: under a receipt that was good until `until_ms`.
    pub fn pop_acked(&mut self, group: &str, number: u64, until_ms: u64, now_ms: u64, told: Told) {
        self.story.note("is acked", number, None, until_ms);
        let is_safe = !self.may_be_taken_back(told);
        let known = self
            .pops
            .known
            .entry((group.to_owned(), number))
            .or_default();
        if is_safe && now_ms + UNSURE_MS < until_ms {
            known.acked = Some(told);
        }
    }

    /// Its time is about to change, or was changed to end then.
    pub fn hidden_until(&mut self, group: &str, number: u64, until_ms: u64) {
        self.story.note("is hidden", number, None, until_ms);
        let known = self
            .pops
            .known
            .entry((group.to_owned(), number))
            .or_default();
        if let Some(hidden) = &mut known.hidden {
            hidden.until_ms = until_ms;
        }
    }

    pub(super) fn forget_unsafe_pops(&mut self) {
        let mut known = std::mem::take(&mut self.pops.known);
        for popped in known.values_mut() {
            popped.acked = popped.acked.filter(|told| !self.may_be_taken_back(*told));
        }
        self.pops.known = known;
    }

    /// At the end, when each group has popped and acknowledged until nothing came any more.
    pub fn pops_are_settled(&self, stored: &Stored, kept_from_ms: i64) {
        for (group, topics) in &self.pops.groups {
            for number in self.places.keys() {
                let sent = &self.sent[number];
                let is_there = stored.contains_key(&(sent.topic.clone(), *number));
                if !is_there || !topics.contains(&sent.topic) || sent.born_ms < kept_from_ms {
                    continue;
                }
                self.story.looks_at(Some(*number), None);
                let known = self.pops.known.get(&(group.clone(), *number));
                assert!(
                    known.is_some_and(|known| known.acked.is_some() || known.may_be_acked),
                    "{group} has never got it, or it never came back: {sent:?}, {known:?}"
                );
            }
        }
    }
}
