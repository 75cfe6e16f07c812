//! Parked pops and notifications: suspended, never polled (RocketMQ: `PopLongPollingService`).
//!
//! Those for the same (topic, group, queue or any) stand in one line, by deadline. A message wakes the first of each line that
//! watches its queue, and a pop that leaves messages behind wakes the next one: as many wake as there is work for. A line watches
//! several queues, those of the retry topics among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
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

/// Queues of a line that are removed at once when the line ends. Further ones are left to [`Polls::unwatch_ended`].
const UNWATCHED_AT_ONCE: usize = 256;

/// When a poll ends, with a number that makes it unique.
type Deadline = (u64, u64);

pub struct Polls<P> {
    lines: BTreeMap<LineKey, Line<P>>,
    by_queue: BTreeMap<QueueIndex, BTreeSet<LineKey>>,
    /// Queues that all lines of a group watch, with the first key that a line of the group may have.
    by_group: BTreeMap<QueueIndex, LineKey>,
    by_deadline: BTreeMap<Deadline, LineKey>,
    by_connection: BTreeMap<(u64, u64), Deadline>,
    /// Lines that have ended, with queues for which `by_queue` still has them.
    ended: VecDeque<(LineKey, BTreeSet<QueueIndex>)>,
    parked_ever: u64,
}

struct Line<P> {
    /// With the connection of each.
    waiting: BTreeMap<Deadline, (u64, P)>,
    queues: BTreeSet<QueueIndex>,
}

impl<P> Default for Polls<P> {
    fn default() -> Self {
        Self {
            lines: BTreeMap::new(),
            by_queue: BTreeMap::new(),
            by_group: BTreeMap::new(),
            by_deadline: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            ended: VecDeque::new(),
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
        connection: u64,
        poll: P,
    ) {
        let deadline = (deadline_ns, self.parked_ever);
        self.parked_ever += 1;
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line {
            waiting: BTreeMap::new(),
            queues: BTreeSet::new(),
        });
        line.waiting.insert(deadline, (connection, poll));
        self.by_connection
            .insert((connection, deadline.1), deadline);
        self.watch_more(&key, queues);
        self.by_deadline.insert(deadline, key);
    }

    /// Lets a line watch more queues; `false` if there is no such line any more.
    pub fn watch_more(
        &mut self,
        key: &LineKey,
        queues: impl IntoIterator<Item = QueueIndex>,
    ) -> bool {
        let Some(line) = self.lines.get_mut(key) else {
            return false;
        };
        for queue in queues {
            if line.queues.insert(queue) {
                self.by_queue.entry(queue).or_default().insert(key.clone());
            }
        }
        true
    }

    /// Lets the lines of the group watch one more queue; whether there is a line. There may be one for each queue of the topic.
    pub fn watch(&mut self, topic: &str, group: &str, queue: QueueIndex) -> bool {
        let first = LineKey {
            topic: topic.into(),
            group: group.into(),
            queue_id: None,
            ask: Ask::Pop,
        };
        let is_watched = self.next_of_group(&first, None).is_some();
        if is_watched {
            self.by_group.insert(queue, first);
        }
        is_watched
    }

    /// The first of the line behind `after` that watches the queue, with its line.
    pub fn take_next_for_queue(
        &mut self,
        queue: QueueIndex,
        after: Option<&LineKey>,
    ) -> Option<(LineKey, P)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let lines = self.by_queue.get(&queue);
        let mut lines = lines.map(|lines| lines.range((start, Bound::Unbounded)));
        let line = lines
            .as_mut()
            .and_then(|lines| lines.find(|key| self.lines.contains_key(key)));
        let group = self.by_group.get(&queue);
        let of_group = group.and_then(|first| self.next_of_group(first, after));
        let key = line.into_iter().chain(of_group).min()?.clone();
        let poll = self.take_first(&key)?;
        Some((key, poll))
    }

    /// The next line of the group whose lines begin at `first`.
    fn next_of_group(&self, first: &LineKey, after: Option<&LineKey>) -> Option<&LineKey> {
        let start = match after {
            Some(after) if after >= first => Bound::Excluded(after),
            _ => Bound::Included(first),
        };
        let (key, _) = self.lines.range((start, Bound::Unbounded)).next()?;
        (key.topic == first.topic && key.group == first.group).then_some(key)
    }

    /// The lines of the group that wait for this queue of the topic, or for any.
    pub fn lines_of_queue(&self, topic: &str, group: &str, queue_id: u32) -> Vec<LineKey> {
        let (topic, group): (Rc<str>, Rc<str>) = (topic.into(), group.into());
        let keys = [None, Some(queue_id)].into_iter().flat_map(|queue_id| {
            [Ask::Pop, Ask::Notification].map(|ask| LineKey {
                topic: topic.clone(),
                group: group.clone(),
                queue_id,
                ask,
            })
        });
        keys.filter(|key| self.lines.contains_key(key)).collect()
    }

    pub fn take_first(&mut self, key: &LineKey) -> Option<P> {
        let line = self.lines.get(key)?;
        let deadline = *line.waiting.first_key_value()?.0;
        Some(self.remove(key, deadline))
    }

    /// The next one whose deadline has passed.
    pub fn take_due(&mut self, now_ns: u64) -> Option<P> {
        let (deadline, key) = self.by_deadline.first_key_value()?;
        if deadline.0 > now_ns {
            return None;
        }
        let (deadline, key) = (*deadline, key.clone());
        Some(self.remove(&key, deadline))
    }

    /// The next one of this connection.
    pub fn take_of_connection(&mut self, connection: u64) -> Option<P> {
        let mut range = self
            .by_connection
            .range((connection, 0)..=(connection, u64::MAX));
        let deadline = *range.next()?.1;
        let key = self.by_deadline.get(&deadline).cloned();
        let key = key.expect("every poll has a deadline");
        Some(self.remove(&key, deadline))
    }

    pub fn has_connection(&self, connection: u64) -> bool {
        let mut range = self
            .by_connection
            .range((connection, 0)..=(connection, u64::MAX));
        range.next().is_some()
    }

    fn remove(&mut self, key: &LineKey, deadline: Deadline) -> P {
        self.by_deadline.remove(&deadline);
        let line = self.lines.get_mut(key);
        let removed = line.and_then(|line| line.waiting.remove(&deadline));
        let (connection, poll) = removed.expect("a deadline has its poll");
        self.by_connection.remove(&(connection, deadline.1));
        self.drop_if_empty(key);
        poll
    }

    /// How many are parked in a line.
    pub fn waiting(&self, key: &LineKey) -> usize {
        self.lines.get(key).map_or(0, |line| line.waiting.len())
    }

    pub fn len(&self) -> usize {
        self.by_deadline.len()
    }

    pub fn waits_for(&mut self, queue: QueueIndex) -> bool {
        let group = self.by_group.get(&queue);
        if group.is_some_and(|first| self.next_of_group(first, None).is_none()) {
            self.by_group.remove(&queue);
        }
        self.by_queue.contains_key(&queue) || self.by_group.contains_key(&queue)
    }

    fn drop_if_empty(&mut self, key: &LineKey) {
        if self.waiting(key) > 0 {
            return;
        }
        let Some(line) = self.lines.remove(key) else {
            return;
        };
        let queues = line.queues;
        if queues.len() <= UNWATCHED_AT_ONCE {
            queues.iter().for_each(|queue| self.unwatch(key, *queue));
        } else {
            self.ended.push_back((key.clone(), queues));
        }
    }

    /// Removes one queue of a line that has ended, if there is one: a line may have watched too many for one turn.
    pub fn unwatch_ended(&mut self) -> bool {
        let Some((key, queues)) = self.ended.front_mut() else {
            return false;
        };
        let Some(queue) = queues.pop_first() else {
            self.ended.pop_front();
            return true;
        };
        let key = key.clone();
        // There may be such a line again.
        let line = self.lines.get(&key);
        if !line.is_some_and(|line| line.queues.contains(&queue)) {
            self.unwatch(&key, queue);
        }
        true
    }

    fn unwatch(&mut self, key: &LineKey, queue: QueueIndex) {
        if let Some(keys) = self.by_queue.get_mut(&queue) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_queue.remove(&queue);
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
        polls.park(key("g", None), [a, b], 30, 1, "any 30");
        polls.park(key("g", None), [a, b], 20, 1, "any 20");
        polls.park(key("g", Some(1)), [b], 10, 1, "one");
        polls.park(key("h", None), [a, b], 40, 2, "other");
        assert_eq!((polls.len(), polls.waiting(&key("g", None))), (4, 2));
        assert_eq!(take_for_queue(&mut polls, a), ["any 20", "other"]);
        let lines = polls.lines_of_queue("T", "g", 1);
        assert_eq!(lines, [key("g", None), key("g", Some(1))]);
        let first = lines.iter().filter_map(|line| polls.take_first(line));
        assert_eq!(first.collect::<Vec<_>>(), ["any 30", "one"]);
        assert!(polls.len() == 0 && !polls.waits_for(a) && !polls.waits_for(b));
        assert!(polls.lines.is_empty() && polls.by_deadline.is_empty());
        assert!(polls.by_connection.is_empty());
    }

    /// One of each line, as a message does.
    fn take_for_queue(polls: &mut Polls<&'static str>, queue: QueueIndex) -> Vec<&'static str> {
        let (mut taken, mut after) = (Vec::new(), None);
        while let Some((key, poll)) = polls.take_next_for_queue(queue, after.as_ref()) {
            taken.push(poll);
            after = Some(key);
        }
        taken
    }

    #[test]
    fn a_closed_connection_leaves_no_poll_behind() {
        let mut polls = Polls::default();
        polls.park(key("g", None), [QueueIndex(1)], u64::MAX, 7, "closed");
        polls.park(key("g", None), [QueueIndex(1)], 20, 8, "open");
        polls.park(key("h", None), [QueueIndex(2)], 20, 7, "closed");
        assert!(polls.has_connection(7));
        assert_eq!(polls.take_of_connection(7), Some("closed"));
        assert_eq!(polls.take_of_connection(7), Some("closed"));
        assert_eq!(polls.take_of_connection(7), None);
        assert!(!polls.has_connection(7) && polls.has_connection(8));
        assert_eq!((polls.len(), polls.waits_for(QueueIndex(2))), (1, false));
    }

    #[test]
    fn a_poll_ends_at_its_deadline() {
        let mut polls = Polls::default();
        polls.park(key("g", None), [QueueIndex(1)], 30, 1, "30");
        polls.park(key("g", None), [QueueIndex(1)], 20, 1, "20");
        assert_eq!(polls.take_due(19), None);
        assert_eq!(polls.take_due(20), Some("20"));
        assert_eq!(polls.take_first(&key("g", None)), Some("30"));
        assert_eq!(polls.take_due(u64::MAX), None);
        assert!(polls.by_queue.is_empty());
    }

    #[test]
    fn a_line_of_very_many_queues_is_removed_little_by_little() {
        let queues = || (0..1_000).map(QueueIndex);
        let (first, last) = (QueueIndex(0), QueueIndex(999));
        let mut polls = Polls::default();
        polls.park(key("g", None), queues(), 30, 1, "first");
        polls.park(key("h", None), [last], 30, 1, "other");
        assert_eq!(polls.take_first(&key("g", None)), Some("first"));
        assert!(!polls.watch_more(&key("g", None), queues()));
        assert_eq!(polls.by_queue.len(), 1_000);
        assert_eq!(take_for_queue(&mut polls, last), ["other"]);
        // Another poll of the same line comes while its queues are being removed.
        assert!((0..500).all(|_| polls.unwatch_ended()));
        polls.park(key("g", None), [first], 30, 1, "second");
        assert!(polls.watch_more(&key("g", None), [last]));
        while polls.unwatch_ended() {}
        assert_eq!(polls.by_queue.len(), 2);
        assert_eq!(take_for_queue(&mut polls, last), ["second"]);
        assert!(polls.by_queue.is_empty() && polls.ended.is_empty());
    }

    #[test]
    fn a_line_can_watch_more() {
        let mut polls = Polls::default();
        assert!(!polls.watch("T", "g", QueueIndex(7)));
        polls.park(key("g", Some(3)), [QueueIndex(1)], 30, 1, "x");
        assert!(polls.watch("T", "g", QueueIndex(7)) && !polls.watch("T", "h", QueueIndex(7)));
        assert_eq!(take_for_queue(&mut polls, QueueIndex(7)), ["x"]);
        assert!(polls.by_queue.is_empty());
    }

    #[test]
    fn the_lines_of_a_group_watch_one_more_queue_as_one() {
        let (own, retry) = (QueueIndex(1), QueueIndex(7));
        let mut polls = Polls::default();
        for queue_id in 0..1_000 {
            polls.park(key("g", Some(queue_id)), [own], 30, 1, "x");
        }
        polls.park(key("g", None), [own, retry], 30, 1, "by itself, too");
        polls.park(key("f", None), [retry], 30, 1, "before");
        polls.park(key("h", None), [retry], 30, 1, "behind");
        assert!(polls.watch("T", "g", retry));
        assert_eq!(
            polls.by_queue[&retry].len(),
            3,
            "one look-up, however many lines there are"
        );
        assert!(polls.waits_for(retry));
        let taken = take_for_queue(&mut polls, retry);
        assert_eq!(taken.len(), 1_003, "each line once");
        assert_eq!(taken[..3], ["before", "by itself, too", "x"]);
        assert!(!polls.waits_for(retry) && polls.by_group.is_empty());
    }
}
