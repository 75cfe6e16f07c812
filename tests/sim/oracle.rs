//! What must be true, from what the clients have done and have been told.
//!
//! What was answered (a producer its acknowledgement, a consumer a message) may be relied on through any crash
//! that the flush mode promises to survive. A power cut may take back, in async mode, what was told within the last
//! flush interval; everything else stays.
//!
//! [`commits`] is about offsets, [`retries`] about messages that are sent back, [`popped`] about POP, [`recalls`] about
//! messages that are taken back, [`locks`] about orderly consumers, [`settled`] about the end of a history, and [`story`] prints what led to a failure.

mod commits;
mod locks;
mod popped;
mod recalls;
mod retries;
mod settled;
mod story;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use ringmq::message::{Record, properties};
use ringmq::store::Flush;

use crate::cluster::FLUSH_INTERVAL_MS;
use crate::sent::{Sent, number_of};

pub use popped::Hidden;
pub use retries::{Retry, most_retries};
pub use settled::{Copy, Stored};

use commits::Commit;
use locks::Lock;
use popped::Pops;
use retries::SentBack;
use settled::Owed;
use story::Story;

const MS: u64 = 1_000_000;

/// Between the end of the flush interval and the end of the flush.
const FLUSH_SLACK_MS: u64 = 100;

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

/// How a half message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Commit,
    Rollback,
}

pub struct Oracle {
    flush: Flush,
    sent: HashMap<u64, Sent>,
    /// From which host.
    born_at: HashMap<u64, IpAddr>,
    known: BTreeMap<Queue, BTreeMap<u64, Known>>,
    /// Where each message stands that is stored once and for all.
    places: BTreeMap<u64, (Queue, u64)>,
    owed: Vec<Owed>,
    /// Half messages that were acknowledged.
    halves: BTreeMap<u64, Told>,
    /// How their producers have ended half messages, or are about to.
    ends: HashMap<u64, End>,
    /// When somebody asked to take a timed message back, and when he was told that it is.
    recalls: BTreeMap<u64, Option<Told>>,
    /// Apart those that go to the dead letters.
    sent_back: BTreeMap<(Retry, bool), SentBack>,
    topics: BTreeSet<String>,
    power_cuts_ns: Vec<u64>,
    /// Kills and power cuts so far.
    bad_ends: usize,
    /// How many there had been when a message was sent.
    bad_ends_before: BTreeMap<u64, usize>,
    /// Then a delayed message that is due later than its whole delay from now counts as due, as in RocketMQ.
    pub has_clock_gone_back: bool,
    /// The latest time from which a clock was set back.
    latest_clock_ms: i64,
    /// When the broker ran and nothing was done to it.
    calm: Vec<Range<i64>>,
    commits: BTreeMap<(String, Queue), Vec<Commit>>,
    pops: Pops,
    locks: BTreeMap<(String, Queue), Lock>,
    story: Story,
    pub acked: u64,
    pub read: u64,
    pub taken_back: u64,
    pub refused: u64,
    pub begun_later: u64,
}

pub fn retry_topic(group: &str) -> String {
    format!("%RETRY%{group}")
}

pub fn dead_letters(group: &str) -> String {
    format!("%DLQ%{group}")
}

impl Oracle {
    pub fn new(flush: Flush) -> Self {
        Oracle {
            flush,
            sent: HashMap::new(),
            born_at: HashMap::new(),
            known: BTreeMap::new(),
            places: BTreeMap::new(),
            owed: Vec::new(),
            halves: BTreeMap::new(),
            ends: HashMap::new(),
            recalls: BTreeMap::new(),
            sent_back: BTreeMap::new(),
            topics: BTreeSet::new(),
            power_cuts_ns: Vec::new(),
            bad_ends: 0,
            bad_ends_before: BTreeMap::new(),
            has_clock_gone_back: false,
            latest_clock_ms: 0,
            calm: Vec::new(),
            commits: BTreeMap::new(),
            pops: Pops::default(),
            locks: BTreeMap::new(),
            story: Story::default(),
            acked: 0,
            read: 0,
            taken_back: 0,
            refused: 0,
            begun_later: 0,
        }
    }

    pub fn sends(&mut self, topic: &str, body_bytes: usize, delay_level: u64, now_ms: i64) -> Sent {
        self.topics.insert(topic.to_owned());
        self.sends_unlisted(topic, body_bytes, delay_level, now_ms)
    }

    /// To a topic that only its sender looks after.
    pub fn sends_unlisted(
        &mut self,
        topic: &str,
        body_bytes: usize,
        delay_level: u64,
        now_ms: i64,
    ) -> Sent {
        let sent = Sent {
            number: self.sent.len() as u64 + 1,
            topic: topic.to_owned(),
            body_bytes,
            delay_level,
            is_half: false,
            born_ms: now_ms,
        };
        self.story.note("sends", sent.number, None, delay_level);
        self.bad_ends_before.insert(sent.number, self.bad_ends);
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

    /// The host that the message's record has to name.
    pub fn comes_from(&mut self, sent: &Sent, ip: IpAddr) {
        self.born_at.insert(sent.number, ip);
    }

    /// The producer of a half message is about to end it so.
    pub fn ends(&mut self, sent: &Sent, end: End) {
        self.story.note("ends half", sent.number, None, end as u64);
        let before = self.ends.insert(sent.number, end);
        assert!(before.is_none_or(|before| before == end), "{sent:?}");
    }

    /// How the message of a question has ended, if its producer knows.
    pub fn end_of(&self, record: &Record<'_>) -> Option<End> {
        let sent = self.half_of(record);
        self.ends.get(&sent.number).copied()
    }

    /// What was sent as the half message of a question.
    pub fn half_of(&self, record: &Record<'_>) -> &Sent {
        let number = number_of(record);
        self.story.looks_at(Some(number), None);
        let sent = self.sent.get(&number);
        let sent = sent.unwrap_or_else(|| panic!("nobody has sent {record:?}"));
        sent.check(record);
        assert!(sent.is_half, "asked about {record:?}");
        assert_eq!(record.topic, sent.topic);
        sent
    }

    pub fn decided(&self, sent: &Sent) -> Option<End> {
        self.ends.get(&sent.number).copied()
    }

    /// The half message is stored: whatever its producer decides is going to be.
    pub fn holds_half(&mut self, sent: &Sent, told: Told) {
        self.story.note("half is held", sent.number, None, 0);
        if !self.may_be_taken_back(told) {
            self.halves.insert(sent.number, told);
        }
    }

    /// The producer of a half message was told that its commit is stored.
    pub fn committed_half(&mut self, sent: &Sent, told: Told) {
        self.acked += 1;
        self.story.note("half is committed", sent.number, None, 0);
        self.owe(sent.number, &sent.topic, told);
    }

    /// What is noted from now on happened then.
    pub fn time_is(&mut self, now_ns: u64) {
        self.story.time_is(now_ns);
    }

    pub fn topics(&self) -> Vec<String> {
        self.topics.iter().cloned().collect()
    }

    /// The producer of this message was told that it is stored, as the `offset`th of its queue.
    pub fn acknowledged(&mut self, sent: &Sent, queue_id: i32, offset: u64, told: Told) {
        self.acked += 1;
        if sent.delay_level > 0 {
            self.story.note("is kept for later", sent.number, None, 0);
            return self.owe(sent.number, &sent.topic, told);
        }
        let queue = Queue {
            topic: sent.topic.clone(),
            id: queue_id,
        };
        self.story
            .note("is acknowledged", sent.number, Some(&queue), offset);
        self.stands(queue, offset, sent.number, told);
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
        self.story.looks_at(None, Some(queue));
        assert_eq!(record.topic, queue.topic, "{record:?}");
        assert_eq!(record.queue_id as i32, queue.id, "{record:?}");
        assert_eq!(
            record.queue_offset, offset,
            "offsets of a queue are dense: {record:?}"
        );
        let number = number_of(record);
        self.story.note("is delivered", number, Some(queue), offset);
        self.check_record(record);
        let sent = &self.sent[&number];
        if queue.topic == sent.topic {
            let due_ms = sent.born_ms + sent.delay_ms() as i64;
            assert!(
                record.store_timestamp_ms >= due_ms || self.has_clock_gone_back,
                "delivered before its time: {record:?}"
            );
            assert_eq!(record.reconsume_times, 0, "{record:?}");
            if sent.delay_level == 0 && !sent.is_half {
                sent.check_properties(record);
            }
        } else {
            self.check_retry(queue, record);
        }
        self.stands(queue.clone(), offset, number, told);
        number
    }

    /// Whether the record is what was sent, and may be seen.
    pub fn check_record(&self, record: &Record<'_>) {
        let number = number_of(record);
        self.story.looks_at(Some(number), None);
        let Some(sent) = self.sent.get(&number) else {
            panic!("nobody has sent {record:?}");
        };
        sent.check(record);
        if let Some(ip) = self.born_at.get(&number) {
            assert_eq!(record.born_host.ip(), *ip, "born elsewhere: {record:?}");
        }
        if sent.is_half {
            let end = self.ends.get(&number);
            assert_eq!(end, Some(&End::Commit), "visible: {record:?}");
        }
        // A broker that was killed may not know that it has delivered the message, and with its clock set back it is not due.
        let is_forgotten =
            self.has_clock_gone_back && self.bad_ends > self.bad_ends_before[&number];
        assert!(
            !matches!(self.recalls.get(&number), Some(Some(_))) || is_forgotten,
            "was taken back: {record:?}"
        );
    }

    /// The queue begins at `min`: what was before it is older than what is kept.
    pub fn begins_at(&mut self, queue: &Queue, min: u64, kept_from_ms: i64) {
        self.begun_later += u64::from(min > 0);
        self.story.looks_at(None, Some(queue));
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

    /// The check that comes next is about this queue.
    pub fn looks_at(&self, queue: &Queue) {
        self.story.looks_at(None, Some(queue));
    }

    /// The last offset that anybody was told of and may rely on.
    pub fn last_promised(&self, queue: &Queue) -> Option<u64> {
        self.story.looks_at(None, Some(queue));
        let (last, _) = self.known.get(queue)?.last_key_value()?;
        Some(*last)
    }

    /// The youngest messages that are known to stand in the queue, with their offsets.
    pub fn youngest(&self, queue: &Queue, count: usize) -> Vec<(u64, Sent)> {
        let known = self.known.get(queue).into_iter().flatten().rev();
        known
            .take(count)
            .map(|(offset, known)| (*offset, self.sent[&known.number].clone()))
            .collect()
    }

    /// Which of these offsets have this tag, and whether they may have gone meanwhile. All of them must be known.
    pub fn tagged(
        &self,
        queue: &Queue,
        range: Range<u64>,
        tag: &str,
        kept_from_ms: i64,
    ) -> Vec<(u64, bool)> {
        self.story.looks_at(None, Some(queue));
        let known = self
            .known
            .get(queue)
            .into_iter()
            .flat_map(|known| known.range(range.clone()));
        known
            .filter(|(_, known)| self.sent[&known.number].tag() == tag)
            .map(|(offset, known)| (*offset, self.sent[&known.number].born_ms < kept_from_ms))
            .collect()
    }

    /// The broker was killed, or its host has lost its power.
    pub fn ended_badly(&mut self, now_ns: u64) {
        self.story.time_is(now_ns);
        self.story.note("the broker ends", 0, None, 0);
        self.bad_ends += 1;
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
        let mut halves = std::mem::take(&mut self.halves);
        halves.retain(|_, told| !self.may_be_taken_back(*told));
        self.halves = halves;
        let mut recalls = std::mem::take(&mut self.recalls);
        for told in recalls.values_mut() {
            *told = told.filter(|told| !self.may_be_taken_back(*told));
        }
        self.recalls = recalls;
        self.forget_unsafe_retries();
        self.forget_unsafe_pops();
    }

    /// A consumer is sent past these offsets: what was there has gone.
    pub fn is_sent_past(&self, queue: &Queue, past: Range<u64>, kept_from_ms: i64) {
        let Some(known) = self.known.get(queue) else {
            return;
        };
        for (offset, known) in known.range(past) {
            self.story.looks_at(Some(known.number), Some(queue));
            let sent = &self.sent[&known.number];
            assert!(
                sent.born_ms < kept_from_ms || self.may_be_taken_back(known.told),
                "sent past {sent:?} at {offset} of {queue:?}"
            );
        }
    }

    pub fn may_be_taken_back(&self, told: Told) -> bool {
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

    /// Whether the message can stand in one place only.
    fn is_unique(&self, number: u64) -> bool {
        let sent = &self.sent[&number];
        sent.delay_level == 0 && !sent.is_half
    }

    fn stands(&mut self, queue: Queue, offset: u64, number: u64, told: Told) {
        if self.may_be_taken_back(told) {
            return;
        }
        self.story.looks_at(Some(number), Some(&queue));
        if self.is_unique(number) && self.sent[&number].topic == queue.topic {
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

/// The property of what was sent, in a record that the broker has made of it.
fn property<'a>(record: &Record<'a>, name: &str) -> Option<&'a str> {
    properties::find(record.properties, name)
}
