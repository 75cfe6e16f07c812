//! Messages that their consumers send back: each time again after its delay, and with the dead letters after the last.
//!
//! One granted send-back of a record makes one record that counts one more. A crash may repeat it while it is delayed;
//! among the dead letters, where nothing is delayed, it never does.

use ringmq::message::{Record, properties};

use super::{Oracle, Queue, Stored, Told, dead_letters, property, retry_topic};
use crate::cluster::DELAY_LEVELS_MS;
use crate::sent::number_of;

/// A message as a group has got it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retry {
    pub group: String,
    pub number: u64,
    pub reconsume_times: i32,
}

#[derive(Clone, Debug)]
pub(super) struct SentBack {
    asked: usize,
    /// The earliest time at which it may come.
    due_ms: i64,
    granted: Vec<Told>,
}

/// A group's limit. The broker hears of it with each send-back.
pub fn most_retries(group: &str) -> i32 {
    1 + group.len() as i32 % 3
}

/// The delay of a send-back at `level`; 0 leaves it to the broker. None: it goes to the dead letters.
fn delay_ms(retry: &Retry, level: i32) -> Option<u64> {
    let level = match level {
        ..0 => return None,
        _ if retry.reconsume_times >= most_retries(&retry.group) => return None,
        0 => 3 + retry.reconsume_times,
        level => level,
    };
    let level = (level as usize).min(DELAY_LEVELS_MS.len());
    Some(DELAY_LEVELS_MS[level - 1])
}

impl Oracle {
    /// A consumer is about to send this back.
    pub fn sends_back(&mut self, retry: &Retry, level: i32, now_ms: i64) {
        self.story.note(
            "sends back",
            retry.number,
            None,
            level.unsigned_abs().into(),
        );
        let delay_ms = delay_ms(retry, level);
        // Some at a level, some at once to the dead letters: each kind is counted where it arrives.
        let due_ms = now_ms + delay_ms.unwrap_or(0) as i64;
        let key = (retry.clone(), delay_ms.is_none());
        let sent_back = self.sent_back.entry(key).or_insert(SentBack {
            asked: 0,
            due_ms,
            granted: Vec::new(),
        });
        sent_back.asked += 1;
        sent_back.due_ms = sent_back.due_ms.min(due_ms);
        self.topics.insert(match delay_ms {
            Some(_) => retry_topic(&retry.group),
            None => dead_letters(&retry.group),
        });
    }

    pub fn sent_back(&mut self, retry: &Retry, level: i32, told: Told) {
        self.story.note("is sent back", retry.number, None, 0);
        let key = (retry.clone(), delay_ms(retry, level).is_none());
        if !self.may_be_taken_back(told)
            && let Some(sent_back) = self.sent_back.get_mut(&key)
        {
            sent_back.granted.push(told);
        }
    }

    /// A record that is not in the topic that it was sent to.
    pub(super) fn check_retry(&self, queue: &Queue, record: &Record<'_>) {
        let number = number_of(record);
        let sent = &self.sent[&number];
        let dead = queue.topic.strip_prefix("%DLQ%");
        let group = dead.or_else(|| queue.topic.strip_prefix("%RETRY%"));
        let group = group.unwrap_or_else(|| panic!("sent to {}: {record:?}", sent.topic));
        let retry = Retry {
            group: group.to_owned(),
            number,
            reconsume_times: record.reconsume_times - 1,
        };
        let sent_back = self.sent_back.get(&(retry, dead.is_some()));
        let sent_back = sent_back.unwrap_or_else(|| panic!("nobody has sent back {record:?}"));
        assert!(
            record.store_timestamp_ms >= sent_back.due_ms || self.has_clock_gone_back,
            "came back before its time: {record:?}"
        );
        assert!(
            dead.is_some() || record.reconsume_times <= most_retries(group),
            "not with the dead letters: {record:?}"
        );
        let origin = property(record, properties::RETRY_TOPIC);
        assert_eq!(origin, Some(&*sent.topic), "{record:?}");
    }

    pub(super) fn forget_unsafe_retries(&mut self) {
        let mut sent_back = std::mem::take(&mut self.sent_back);
        for sent_back in sent_back.values_mut() {
            sent_back
                .granted
                .retain(|told| !self.may_be_taken_back(*told));
        }
        self.sent_back = sent_back;
    }

    /// At the end: each granted send-back has made one record, and what nobody was told of at most one.
    pub(super) fn retries_are_settled(&self, stored: &Stored, kept_from_ms: i64) {
        for ((key, is_dead), sent_back) in &self.sent_back {
            let topic = match is_dead {
                true => dead_letters(&key.group),
                false => retry_topic(&key.group),
            };
            self.story.looks_at(Some(key.number), None);
            let times = key.reconsume_times + 1;
            let copies = stored.get(&(topic.clone(), key.number));
            let copies = copies.into_iter().flatten();
            let count = copies.filter(|copy| copy.reconsume_times == times).count();
            assert!(
                count <= sent_back.asked,
                "{count} times in {topic}: {key:?}, {sent_back:?}"
            );
            let is_old = self.sent[&key.number].born_ms < kept_from_ms;
            assert!(
                is_old || count >= sent_back.granted.len(),
                "{count} times in {topic}: {key:?}, {sent_back:?}"
            );
        }
    }
}
