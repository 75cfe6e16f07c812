//! What must be true, from what the clients have done and have been told.
//!
//! Whoever was told something (a producer its acknowledgement, a consumer a message) may rely on it through any crash
//! that the flush mode promises to survive. A power cut may take back, in async mode, what was told within the last
//! flush interval; everything else stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use ringmq::message::{Record, properties};
use ringmq::store::Flush;

use crate::cluster::{DELAY_LEVELS_MS, FLUSH_INTERVAL_MS, SAVE_OFFSETS_INTERVAL_MS};
use crate::sent::{Sent, number_of};

const MS: u64 = 1_000_000;

/// Between the end of the flush interval and the end of the flush.
const FLUSH_SLACK_MS: u64 = 100;

/// Between the end of the interval and the saved file's last fsync, which waits for the log, which may be stalled.
const SAVE_SLACK_MS: u64 = 2_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    pub topic: String,
    pub id: i32,
}

/// A span of time: a question's begin, and its answer's arrival.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub asked_ns: u64,
    pub told_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    number: u64,
    told: Told,
}

/// A message that was promised to turn up in this topic.
#[derive(Clone, Debug)]
struct Owed {
    number: u64,
    topic: String,
    told: Told,
}

/// How a half message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Commit,
    Rollback,
}

#[derive(Clone, Copy, Debug)]
struct Commit {
    offset: i64,
    answered_ns: Option<u64>,
}

pub struct Oracle {
    flush: Flush,
    sent: HashMap<u64, Sent>,
    known: BTreeMap<Queue, BTreeMap<u64, Known>>,
    /// Where each message stands that is stored once and for all.
    places: HashMap<u64, (Queue, u64)>,
    owed: Vec<Owed>,
    /// How their producers have ended half messages, or are about to.
    ends: HashMap<u64, End>,
    /// When the first send-back of a message was begun.
    sent_back_ms: HashMap<u64, i64>,
    topics: BTreeSet<String>,
    power_cuts_ns: Vec<u64>,
    commits: BTreeMap<(String, Queue), Vec<Commit>>,
    pub acked: u64,
    pub read: u64,
    pub taken_back: u64,
    pub refused: u64,
    pub begun_later: u64,
}

pub fn retry_topic(group: &str) -> String {
    format!("%RETRY%{group}")
}

impl Oracle {
    pub fn new(flush: Flush) -> Self {
        Oracle {
            flush,
            sent: HashMap::new(),
            known: BTreeMap::new(),
            places: HashMap::new(),
            owed: Vec::new(),
            ends: HashMap::new(),
            sent_back_ms: HashMap::new(),
            topics: BTreeSet::new(),
            power_cuts_ns: Vec::new(),
            commits: BTreeMap::new(),
            acked: 0,
            read: 0,
            taken_back: 0,
            refused: 0,
            begun_later: 0,
        }
    }

    pub fn sends(&mut self, topic: &str, body_bytes: usize, delay_level: u64, now_ms: i64) -> Sent {
        let sent = Sent {
            number: self.sent.len() as u64 + 1,
            topic: topic.to_owned(),
            body_bytes,
            delay_level,
            is_half: false,
            born_ms: now_ms,
        };
        self.topics.insert(topic.to_owned());
        self.sent.insert(sent.number, sent.clone());
        sent
    }

    pub fn sends_half(&mut self, topic: &str, body_bytes: usize, now_ms: i64) -> Sent {
        let sent = Sent {
            is_half: true,
            ..self.sends(topic, body_bytes, 0, now_ms)
        };
        self.sent.insert(sent.number, sent.clone());
        sent
    }

    /// The producer of a half message is about to end it so.
    pub fn ends(&mut self, sent: &Sent, end: End) {
        let before = self.ends.insert(sent.number, end);
        assert!(before.is_none_or(|before| before == end), "{sent:?}");
    }

    /// How the message of a question has ended, if its producer knows.
    pub fn end_of(&self, record: &Record<'_>) -> Option<End> {
        let number = number_of(record);
        let sent = self.sent.get(&number);
        let sent = sent.unwrap_or_else(|| panic!("nobody has sent {record:?}"));
        sent.check(record);
        assert!(sent.is_half, "asked about {record:?}");
        assert_eq!(record.topic, sent.topic);
        self.ends.get(&number).copied()
    }

    /// The producer of a half message was told that its commit is stored.
    pub fn committed_half(&mut self, sent: &Sent, told: Told) {
        self.acked += 1;
        self.owe(sent.number, &sent.topic, told);
    }

    pub fn topics(&self) -> Vec<String> {
        self.topics.iter().cloned().collect()
    }

    /// The producer of this message was told that it is stored, as the `offset`th of its queue.
    pub fn acknowledged(&mut self, sent: &Sent, queue_id: i32, offset: u64, told: Told) {
        self.acked += 1;
        if sent.delay_level > 0 {
            return self.owe(sent.number, &sent.topic, told);
        }
        let queue = Queue {
            topic: sent.topic.clone(),
            id: queue_id,
        };
        self.stands(queue, offset, sent.number, told);
    }

    pub fn sends_back(&mut self, number: u64, now_ms: i64) {
        self.sent_back_ms.entry(number).or_insert(now_ms);
    }

    pub fn sent_back(&mut self, number: u64, group: &str, told: Told) {
        self.owe(number, &retry_topic(group), told);
    }

    /// A consumer got this record when it asked for `offset` of the queue.
    pub fn delivered(
        &mut self,
        queue: &Queue,
        offset: u64,
        record: &Record<'_>,
        told: Told,
    ) -> u64 {
        self.read += 1;
        assert_eq!(record.topic, queue.topic, "{record:?}");
        assert_eq!(record.queue_id as i32, queue.id, "{record:?}");
        assert_eq!(
            record.queue_offset, offset,
            "offsets of a queue are dense: {record:?}"
        );
        let number = number_of(record);
        let Some(sent) = self.sent.get(&number) else {
            panic!("nobody has sent {record:?}");
        };
        sent.check(record);
        if sent.is_half {
            let end = self.ends.get(&number);
            assert_eq!(end, Some(&End::Commit), "visible: {record:?}");
        }
        if queue.topic == sent.topic {
            let due_ms = sent.born_ms + sent.delay_ms() as i64;
            assert!(
                record.store_timestamp_ms >= due_ms,
                "delivered before its time: {record:?}"
            );
            assert_eq!(record.reconsume_times, 0, "{record:?}");
        } else {
            let begun_ms = self.sent_back_ms.get(&number);
            let begun_ms = begun_ms.unwrap_or_else(|| panic!("nobody has sent back {record:?}"));
            let due_ms = begun_ms + DELAY_LEVELS_MS[0] as i64;
            assert!(
                record.store_timestamp_ms >= due_ms,
                "came back before its time: {record:?}"
            );
            assert!(record.reconsume_times >= 1, "{record:?}");
            let origin = properties::find(record.properties, properties::RETRY_TOPIC);
            assert_eq!(origin, Some(&*sent.topic), "{record:?}");
        }
        self.stands(queue.clone(), offset, number, told);
        number
    }

    /// The queue begins at `min`: what was before it is older than what is kept.
    pub fn begins_at(&mut self, queue: &Queue, min: u64, kept_from_ms: i64) {
        self.begun_later += u64::from(min > 0);
        for (offset, known) in self
            .known
            .get(queue)
            .into_iter()
            .flat_map(|known| known.range(..min))
        {
            let sent = &self.sent[&known.number];
            assert!(
                sent.born_ms < kept_from_ms,
                "gone before its time: {queue:?} begins at {min}, but {offset} is {sent:?}, kept from {kept_from_ms} on"
            );
        }
    }

    /// The last offset that anybody was told of and may rely on.
    pub fn last_promised(&self, queue: &Queue) -> Option<u64> {
        let (last, _) = self.known.get(queue)?.last_key_value()?;
        Some(*last)
    }

    /// Which of these offsets have this tag. All of them must be known.
    pub fn tagged(&self, queue: &Queue, range: Range<u64>, tag: &str) -> Vec<u64> {
        let known = self
            .known
            .get(queue)
            .into_iter()
            .flat_map(|known| known.range(range.clone()));
        known
            .filter(|(_, known)| self.sent[&known.number].tag() == tag)
            .map(|(offset, _)| *offset)
            .collect()
    }

    /// At the end of a run, with `(topic, number)` of all that is stored: nothing that was promised is missing.
    /// But for what is older than what is kept.
    pub fn is_settled(&self, stored: &BTreeSet<(String, u64)>, kept_from_ms: i64) {
        for owed in &self.owed {
            let is_old = self.sent[&owed.number].born_ms < kept_from_ms;
            assert!(
                is_old || stored.contains(&(owed.topic.clone(), owed.number)),
                "never delivered: {owed:?}, {:?}",
                self.sent[&owed.number]
            );
        }
    }

    /// A consumer group is about to commit.
    pub fn commits(&mut self, group: &str, queue: &Queue, offset: i64) -> usize {
        let commits = self
            .commits
            .entry((group.to_owned(), queue.clone()))
            .or_default();
        commits.push(Commit {
            offset,
            answered_ns: None,
        });
        commits.len() - 1
    }

    pub fn committed(&mut self, group: &str, queue: &Queue, commit: usize, now_ns: u64) {
        let commits = self
            .commits
            .entry((group.to_owned(), queue.clone()))
            .or_default();
        // The broker may have been restarted in the meantime, which starts the list anew.
        if let Some(commit) = commits.get_mut(commit) {
            commit.answered_ns = Some(now_ns);
        }
    }

    pub fn committed_queues(&self) -> Vec<(String, Queue)> {
        self.commits.keys().cloned().collect()
    }

    /// What a restarted broker says that the group has committed; it may have forgotten what is younger than the save
    /// interval. `ended_ns` is when it ended; `None` if it was stopped properly.
    pub fn recovered_commit(
        &mut self,
        group: &str,
        queue: &Queue,
        offset: Option<i64>,
        crashed_ns: Option<u64>,
    ) {
        let commits = self
            .commits
            .entry((group.to_owned(), queue.clone()))
            .or_default();
        let kept_ns = match crashed_ns {
            Some(ns) => ns.saturating_sub((SAVE_OFFSETS_INTERVAL_MS + SAVE_SLACK_MS) * MS),
            None => u64::MAX,
        };
        let kept = commits
            .iter()
            .rposition(|commit| commit.answered_ns.is_some_and(|ns| ns <= kept_ns));
        let possible = &commits[kept.unwrap_or(0)..];
        let is_possible = match offset {
            Some(offset) => possible.iter().any(|commit| commit.offset == offset),
            None => kept.is_none(),
        };
        assert!(
            is_possible,
            "{group} has committed {offset:?} of {queue:?} after a restart (crash at {crashed_ns:?}); possible: {possible:?}"
        );
        // What is recovered has been saved.
        *commits = Vec::from_iter(offset.map(|offset| Commit {
            offset,
            answered_ns: Some(0),
        }));
    }

    /// The broker's host has lost its power.
    pub fn power_was_cut(&mut self, now_ns: u64) {
        self.power_cuts_ns.push(now_ns);
        if self.flush == Flush::Sync {
            return;
        }
        let mut known = std::mem::take(&mut self.known);
        for offsets in known.values_mut() {
            offsets.retain(|_, known| {
                let keeps = !self.may_be_taken_back(known.told);
                if !keeps {
                    self.taken_back += 1;
                    self.places.remove(&known.number);
                }
                keeps
            });
        }
        known.retain(|_, offsets| !offsets.is_empty());
        self.known = known;
        let mut owed = std::mem::take(&mut self.owed);
        owed.retain(|owed| !self.may_be_taken_back(owed.told));
        self.owed = owed;
    }

    fn may_be_taken_back(&self, told: Told) -> bool {
        let window_ns = (FLUSH_INTERVAL_MS + FLUSH_SLACK_MS) * MS;
        self.flush == Flush::Async
            && self
                .power_cuts_ns
                .iter()
                .any(|cut_ns| told.asked_ns < *cut_ns && told.told_ns + window_ns > *cut_ns)
    }

    fn owe(&mut self, number: u64, topic: &str, told: Told) {
        self.topics.insert(topic.to_owned());
        // An answer may arrive after the power cut that takes back what it says.
        if !self.may_be_taken_back(told) {
            self.owed.push(Owed {
                number,
                topic: topic.to_owned(),
                told,
            });
        }
    }

    fn stands(&mut self, queue: Queue, offset: u64, number: u64, told: Told) {
        if self.may_be_taken_back(told) {
            return;
        }
        let is_unique = {
            let sent = &self.sent[&number];
            sent.delay_level == 0 && !sent.is_half && sent.topic == queue.topic
        };
        if is_unique {
            let place = self
                .places
                .entry(number)
                .or_insert_with(|| (queue.clone(), offset));
            assert_eq!(
                *place,
                (queue.clone(), offset),
                "message {number} is stored twice"
            );
        }
        let offsets = self.known.entry(queue.clone()).or_default();
        let known = offsets.entry(offset).or_insert(Known { number, told });
        assert_eq!(
            known.number, number,
            "{queue:?} has message {number} at {offset} ({told:?}), where another was promised: {known:?}"
        );
    }
}
