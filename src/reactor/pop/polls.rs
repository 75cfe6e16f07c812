//! Pops, and questions whether there is something to pop, that found nothing and wait: suspended, never polled (RocketMQ:
//! `PopLongPollingService`).
//!
//! Who waits for the same (topic, group, queue or any) stands in one line, the one that gives up first in front. A message
//! wakes the first of each line that watches its queue, and whoever leaves messages behind wakes the next: so many wake as
//! there is work for. A line watches several queues, those of the retry topics among them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::store::QueueIndex;

/// What a line waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineKey {
    pub topic: Rc<str>,
    pub group: Rc<str>,
    /// `None` is any.
    pub queue_id: Option<u32>,
    pub ask: Ask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    Pop,
    Notification,
}

/// When somebody gives up, with a number that makes it unique.
type Deadline = (u64, u64);

pub struct Polls<P> {
    lines: BTreeMap<LineKey, Line<P>>,
    by_queue: BTreeMap<QueueIndex, BTreeSet<LineKey>>,
    by_deadline: BTreeMap<Deadline, LineKey>,
    parked_ever: u64,
}

struct Line<P> {
    waiting: BTreeMap<Deadline, P>,
    queues: BTreeSet<QueueIndex>,
}

impl<P> Default for Polls<P> {
    fn default() -> Self {
        Self {
            lines: BTreeMap::new(),
            by_queue: BTreeMap::new(),
            by_deadline: BTreeMap::new(),
            parked_ever: 0,
        }
    }
}

impl<P> Polls<P> {
    pub fn park(
        &mut self,
        key: LineKey,
        queues: impl IntoIterator<Item = QueueIndex>,
        deadline_ns: u64,
        poll: P,
    ) {
        let deadline = (deadline_ns, self.parked_ever);
        self.parked_ever += 1;
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line {
            waiting: BTreeMap::new(),
            queues: BTreeSet::new(),
        });
        line.waiting.insert(deadline, poll);
        for queue in queues {
            if line.queues.insert(queue) {
                self.by_queue.entry(queue).or_default().insert(key.clone());
            }
        }
        self.by_deadline.insert(deadline, key);
    }

    /// Lets those who wait for any queue of the topic, or for this one, watch one more; whether there is anybody.
    pub fn watch(&mut self, topic: &str, group: &str, queue: QueueIndex) -> bool {
        let mut is_watched = false;
        for key in self.keys_of(topic, group) {
            if let Some(line) = self.lines.get_mut(&key) {
                line.queues.insert(queue);
                self.by_queue.entry(queue).or_default().insert(key);
                is_watched = true;
            }
        }
        is_watched
    }

    /// The first of each line that watches the queue.
    pub fn take_for_queue(&mut self, queue: QueueIndex) -> Vec<P> {
        let keys = self.by_queue.get(&queue).cloned().unwrap_or_default();
        keys.iter().filter_map(|key| self.take_first(key)).collect()
    }

    /// The first of each line of the group that waits for this queue of the topic, or for any.
    pub fn take_for_group(&mut self, topic: &str, group: &str, queue_id: u32) -> Vec<P> {
        let mut keys = self.keys_of(topic, group);
        keys.retain(|key| key.queue_id.is_none_or(|wanted| wanted == queue_id));
        keys.iter().filter_map(|key| self.take_first(key)).collect()
    }

    pub fn take_first(&mut self, key: &LineKey) -> Option<P> {
        let line = self.lines.get_mut(key)?;
        let (deadline, poll) = line.waiting.pop_first()?;
        self.by_deadline.remove(&deadline);
        self.drop_if_empty(key);
        Some(poll)
    }

    /// The next that has waited long enough.
    pub fn take_due(&mut self, now_ns: u64) -> Option<P> {
        let first = self.by_deadline.first_entry()?;
        if first.key().0 > now_ns {
            return None;
        }
        let (deadline, key) = first.remove_entry();
        let line = self.lines.get_mut(&key);
        let line = line.expect("a deadline has its line");
        let poll = line.waiting.remove(&deadline);
        self.drop_if_empty(&key);
        Some(poll.expect("a deadline has its poll"))
    }

    /// How many stand in a line.
    pub fn waiting(&self, key: &LineKey) -> usize {
        self.lines.get(key).map_or(0, |line| line.waiting.len())
    }

    pub fn len(&self) -> usize {
        self.by_deadline.len()
    }

    pub fn waits_for(&self, queue: QueueIndex) -> bool {
        self.by_queue.contains_key(&queue)
    }

    fn keys_of(&self, topic: &str, group: &str) -> Vec<LineKey> {
        let first = LineKey {
            topic: topic.into(),
            group: group.into(),
            queue_id: None,
            ask: Ask::Pop,
        };
        let lines = self.lines.range(first..);
        lines
            .map(|(key, _)| key)
            .take_while(|key| &*key.topic == topic && &*key.group == group)
            .cloned()
            .collect()
    }

    fn drop_if_empty(&mut self, key: &LineKey) {
        if self.waiting(key) > 0 {
            return;
        }
        let Some(line) = self.lines.remove(key) else {
            return;
        };
        for queue in line.queues {
            if let Some(keys) = self.by_queue.get_mut(&queue) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_queue.remove(&queue);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str, queue_id: Option<u32>) -> LineKey {
        LineKey {
            topic: "T".into(),
            group: group.into(),
            queue_id,
            ask: Ask::Pop,
        }
    }

    #[test]
    fn a_message_wakes_one_of_each_line() {
        let (a, b) = (QueueIndex(1), QueueIndex(2));
        let mut polls = Polls::default();
        polls.park(key("g", None), [a, b], 30, "any 30");
        polls.park(key("g", None), [a, b], 20, "any 20");
        polls.park(key("g", Some(1)), [b], 10, "one");
        polls.park(key("h", None), [a, b], 40, "other");
        assert_eq!((polls.len(), polls.waiting(&key("g", None))), (4, 2));
        assert_eq!(polls.take_for_queue(a), ["any 20", "other"]);
        assert_eq!(polls.take_for_group("T", "g", 1), ["any 30", "one"]);
        assert!(polls.len() == 0 && !polls.waits_for(a) && !polls.waits_for(b));
        assert!(polls.lines.is_empty() && polls.by_deadline.is_empty());
    }

    #[test]
    fn who_has_waited_long_enough_leaves() {
        let mut polls = Polls::default();
        polls.park(key("g", None), [QueueIndex(1)], 30, "30");
        polls.park(key("g", None), [QueueIndex(1)], 20, "20");
        assert_eq!(polls.take_due(19), None);
        assert_eq!(polls.take_due(20), Some("20"));
        assert_eq!(polls.take_first(&key("g", None)), Some("30"));
        assert_eq!(polls.take_due(u64::MAX), None);
        assert!(polls.by_queue.is_empty());
    }

    #[test]
    fn a_line_can_watch_more() {
        let mut polls = Polls::default();
        assert!(!polls.watch("T", "g", QueueIndex(7)));
        polls.park(key("g", Some(3)), [QueueIndex(1)], 30, "x");
        assert!(polls.watch("T", "g", QueueIndex(7)) && !polls.watch("T", "h", QueueIndex(7)));
        assert_eq!(polls.take_for_queue(QueueIndex(7)), ["x"]);
        assert!(polls.by_queue.is_empty());
    }
}
