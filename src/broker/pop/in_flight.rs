//! Messages that are popped and not yet acknowledged: what the revive log says, in memory (RocketMQ keeps none of it and
//! reads the log again and again: `PopReviveService`).
//!
//! A check point stands for the messages that one pop took from one queue, 32 at most. It is found by its place in the
//! revive log (the oldest one is where a restart begins to read), by its receipt (an acknowledgement), and by the time at
//! which its messages come back. All three are ordered trees: a pop and an acknowledgement cost O(log n) whatever the
//! number in flight, and a check point some 250 bytes, however many messages it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::parted::PartedMap;

/// More than one pop can hold; RocketMQ's bit map has as many.
pub const MAX_MESSAGES: usize = 32;

/// Where in the revive log a check point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub revive_queue: u32,
    pub offset: u64,
}

/// A queue as a group reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupQueue<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub queue_id: u32,
}

/// What tells the pops of one queue by one group apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PopKey {
    pub start_offset: u64,
    pub pop_time_ms: u64,
}

/// Messages whose invisible time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    pub place: Place,
    pub group: String,
    pub topic: String,
    pub queue_id: u32,
    pub key: PopKey,
    /// Those that are not acknowledged.
    pub offsets: Vec<u64>,
}

#[derive(Debug, Default)]
pub struct InFlight {
    points: BTreeMap<Place, Point>,
    due: BTreeSet<(u64, Place)>,
    queues: Queues,
}

#[derive(Debug)]
struct Point {
    queue: u32,
    key: PopKey,
    due_ms: u64,
    /// How far each message is from the start offset; ascending.
    distances: Box<[u32]>,
    acked: u32,
}

impl Point {
    fn offset(&self, index: usize) -> u64 {
        self.key.start_offset + u64::from(self.distances[index])
    }

    /// The bit of a message that is still in flight.
    fn open_bit(&self, offset: u64) -> Option<u32> {
        let distance = offset.checked_sub(self.key.start_offset)?;
        let distance = u32::try_from(distance).ok()?;
        let index = self.distances.binary_search(&distance).ok()?;
        let bit = 1 << index;
        (self.acked & bit == 0).then_some(bit)
    }

    fn open(&self) -> u32 {
        self.distances.len() as u32 - self.acked.count_ones()
    }
}

impl InFlight {
    /// Adds a check point; `false` if the receipt is taken, if it holds no message, or more than a pop can.
    pub fn add(
        &mut self,
        place: Place,
        queue: GroupQueue<'_>,
        key: PopKey,
        due_ms: u64,
        distances: Vec<u32>,
        acked: u32,
    ) -> bool {
        let is_ascending = distances.is_sorted_by(|left, right| left < right);
        if !(1..=MAX_MESSAGES).contains(&distances.len())
            || !is_ascending
            || self.place(queue, key).is_some()
        {
            return false;
        }
        let all = u32::MAX >> (MAX_MESSAGES - distances.len());
        let index = self.queues.find_or_add(queue);
        let point = Point {
            queue: index,
            key,
            due_ms,
            distances: distances.into(),
            acked: acked & all,
        };
        let used = &mut self.queues.slots[index as usize];
        used.receipts.insert(key, place);
        used.in_flight += u64::from(point.open());
        self.due.insert((due_ms, place));
        let is_over = point.open() == 0;
        let before = self.points.insert(place, point);
        assert!(before.is_none(), "a place in the log is written once");
        if is_over {
            self.remove(place);
        }
        true
    }

    /// The check point with this receipt.
    pub fn place(&self, queue: GroupQueue<'_>, key: PopKey) -> Option<Place> {
        let index = self.queues.find(queue)?;
        let receipts = &self.queues.slots[index as usize].receipts;
        receipts.get(&key).copied()
    }

    /// The group and queue of a check point, and its receipt.
    pub fn names(&self, place: Place) -> Option<(GroupQueue<'_>, PopKey)> {
        let point = self.points.get(&place)?;
        let used = &self.queues.slots[point.queue as usize];
        Some((used.named(), point.key))
    }

    /// The message is acknowledged; `false` if it was not in flight under this receipt.
    pub fn ack(&mut self, queue: GroupQueue<'_>, key: PopKey, offset: u64) -> bool {
        match self.place(queue, key) {
            Some(place) => self.settle(place, offset),
            None => false,
        }
    }

    /// As [`Self::ack`], by the check point's place.
    pub fn settle(&mut self, place: Place, offset: u64) -> bool {
        let Some(point) = self.points.get_mut(&place) else {
            return false;
        };
        let Some(bit) = point.open_bit(offset) else {
            return false;
        };
        point.acked |= bit;
        let is_over = point.open() == 0;
        self.queues.slots[point.queue as usize].in_flight -= 1;
        if is_over {
            self.remove(place);
        }
        true
    }

    /// Whether the message of this check point is still to be acknowledged.
    pub fn is_open(&self, place: Place, offset: u64) -> bool {
        let point = self.points.get(&place);
        point.is_some_and(|point| point.open_bit(offset).is_some())
    }

    /// When the next invisible time ends.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// When the check points were due that have been longest, some at most, and where they are.
    pub fn overdue(&self, now_ms: u64, most: usize) -> Vec<(u64, Place)> {
        let due = self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms);
        due.take(most).copied().collect()
    }

    /// The check point that has been due longest.
    pub fn expired(&self, now_ms: u64) -> Option<Expired> {
        let (due_ms, place) = *self.due.first()?;
        if due_ms > now_ms {
            return None;
        }
        let point = &self.points[&place];
        let queue = &self.queues.slots[point.queue as usize];
        let open = (0..point.distances.len()).filter(|index| point.acked & (1 << index) == 0);
        Some(Expired {
            place,
            group: queue.group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            key: point.key,
            offsets: open.map(|index| point.offset(index)).collect(),
        })
    }

    /// Its messages cannot be moved to the retry topic yet.
    pub fn postpone(&mut self, place: Place, due_ms: u64) {
        if let Some(point) = self.points.get_mut(&place) {
            self.due.remove(&(point.due_ms, place));
            point.due_ms = due_ms;
            self.due.insert((due_ms, place));
        }
    }

    /// Removes a check point: none of its messages will be delivered again.
    pub fn remove(&mut self, place: Place) {
        let Some(point) = self.points.remove(&place) else {
            return;
        };
        self.due.remove(&(point.due_ms, place));
        let queue = &mut self.queues.slots[point.queue as usize];
        queue.receipts.remove(&point.key);
        queue.in_flight -= u64::from(point.open());
        if queue.receipts.is_empty() {
            self.queues.remove(point.queue);
        }
    }

    /// Removes a check point of this topic, of whichever group; `false` if there is none.
    pub fn remove_next_of(&mut self, topic: &str) -> bool {
        let groups = self.queues.by_name.get(topic);
        let queue = groups.and_then(|groups| groups.values().next()?.values().next());
        let Some(queue) = queue else { return false };
        let used = &self.queues.slots[*queue as usize];
        let place = used.receipts.values().next().copied();
        self.remove(place.expect("a used queue has check points"));
        true
    }

    /// The last check point of all.
    pub fn last(&self) -> Option<Place> {
        self.points.last_key_value().map(|(place, _)| *place)
    }

    /// Looks at the next check point behind `after`, and removes it if it is of this group; its place, or `None` if there is none.
    pub fn remove_of_group(&mut self, group: &str, after: Option<Place>) -> Option<Place> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (place, point) = self.points.range((from, Bound::Unbounded)).next()?;
        let place = *place;
        if self.queues.slots[point.queue as usize].group == group {
            self.remove(place);
        }
        Some(place)
    }

    /// The first place of a revive queue that a restart has to read.
    pub fn oldest(&self, revive_queue: u32) -> Option<u64> {
        let first = Place {
            revive_queue,
            offset: 0,
        };
        let (place, _) = self.points.range(first..).next()?;
        (place.revive_queue == revive_queue).then_some(place.offset)
    }

    /// Messages of the queue that the group has popped and not acknowledged.
    pub fn messages(&self, queue: GroupQueue<'_>) -> u64 {
        let index = self.queues.find(queue);
        index.map_or(0, |index| self.queues.slots[index as usize].in_flight)
    }

    /// Check points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

/// The queues that have check points, each under a number of its own so that a check point names it in four bytes.
#[derive(Debug, Default)]
struct Queues {
    slots: Vec<UsedQueue>,
    free: Vec<u32>,
    /// topic -> group -> queue -> slot, so that a look-up joins no strings.
    by_name: PartedMap<String, BTreeMap<String, BTreeMap<u32, u32>>>,
}

#[derive(Debug, Default)]
struct UsedQueue {
    group: String,
    topic: String,
    queue_id: u32,
    receipts: BTreeMap<PopKey, Place>,
    /// Messages.
    in_flight: u64,
}

impl UsedQueue {
    fn named(&self) -> GroupQueue<'_> {
        GroupQueue {
            group: &self.group,
            topic: &self.topic,
            queue_id: self.queue_id,
        }
    }
}

impl Queues {
    fn find(&self, queue: GroupQueue<'_>) -> Option<u32> {
        let queues = self.by_name.get(queue.topic)?.get(queue.group)?;
        queues.get(&queue.queue_id).copied()
    }

    fn find_or_add(&mut self, queue: GroupQueue<'_>) -> u32 {
        if let Some(index) = self.find(queue) {
            return index;
        }
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        let used = UsedQueue {
            group: queue.group.into(),
            topic: queue.topic.into(),
            queue_id: queue.queue_id,
            ..UsedQueue::default()
        };
        match self.slots.get_mut(index as usize) {
            Some(slot) => *slot = used,
            None => self.slots.push(used),
        }
        let new = || (queue.topic.to_owned(), BTreeMap::new());
        let groups = self.by_name.get_or_insert_with(queue.topic, new);
        let queues = groups.entry(queue.group.to_owned()).or_default();
        queues.insert(queue.queue_id, index);
        index
    }

    fn remove(&mut self, index: u32) {
        let used = std::mem::take(&mut self.slots[index as usize]);
        self.free.push(index);
        let groups = self.by_name.get_mut(&used.topic);
        let groups = groups.expect("a slot is found by its name");
        let queues = groups.get_mut(&used.group);
        let queues = queues.expect("a slot is found by its name");
        queues.remove(&used.queue_id);
        if queues.is_empty() {
            groups.remove(&used.group);
        }
        if groups.is_empty() {
            self.by_name.remove(&used.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: GroupQueue<'static> = GroupQueue {
        group: "g",
        topic: "T",
        queue_id: 0,
    };

    fn place(offset: u64) -> Place {
        Place {
            revive_queue: 0,
            offset,
        }
    }

    fn key(start_offset: u64, pop_time_ms: u64) -> PopKey {
        PopKey {
            start_offset,
            pop_time_ms,
        }
    }

    #[test]
    fn a_check_point_lives_until_its_last_message_is_acknowledged() {
        let mut table = InFlight::default();
        assert!(table.add(place(4), QUEUE, key(10, 1), 100, vec![0, 2, 5], 0));
        assert_eq!((table.messages(QUEUE), table.oldest(0)), (3, Some(4)));
        assert!(!table.ack(QUEUE, key(10, 1), 11), "not one of its messages");
        assert!(!table.ack(QUEUE, key(10, 2), 12), "another receipt");
        assert!(table.ack(QUEUE, key(10, 1), 12) && !table.ack(QUEUE, key(10, 1), 12));
        assert_eq!(table.place(QUEUE, key(10, 1)), Some(place(4)));
        assert!(table.is_open(place(4), 15) && !table.is_open(place(4), 12));
        assert_eq!(table.expired(99), None);
        assert_eq!(table.expired(100).unwrap().offsets, [10, 15]);
        table.postpone(place(4), 200);
        assert_eq!((table.expired(199), table.next_due_ms()), (None, Some(200)));
        assert!(table.settle(place(4), 10) && table.settle(place(4), 15));
        assert_eq!((table.messages(QUEUE), table.oldest(0)), (0, None));
        assert!(table.is_empty() && table.due.is_empty() && table.queues.by_name.is_empty());
    }

    #[test]
    fn check_points_that_nobody_could_have_written_are_not_taken() {
        let mut table = InFlight::default();
        assert!(!table.add(place(0), QUEUE, key(0, 1), 9, vec![], 0));
        assert!(!table.add(place(0), QUEUE, key(0, 1), 9, (0..33).collect(), 0));
        assert!(!table.add(place(0), QUEUE, key(0, 1), 9, vec![1, 1], 0));
        assert!(table.add(
            place(0),
            QUEUE,
            key(0, 1),
            9,
            (0..32).collect(),
            u32::MAX >> 1
        ));
        assert!(
            !table.add(place(1), QUEUE, key(0, 1), 9, vec![0], 0),
            "taken"
        );
        assert_eq!(table.expired(9).unwrap().offsets, [31]);
        assert!(table.add(place(1), QUEUE, key(1, 1), 9, vec![0], u32::MAX));
        assert_eq!(table.len(), 1, "all of it acknowledged already");
    }

    #[test]
    fn what_is_not_kept_is_forgotten() {
        let mut table = InFlight::default();
        let other = GroupQueue {
            group: "h",
            ..QUEUE
        };
        for at in 0..5 {
            let queue = if at % 2 == 0 { QUEUE } else { other };
            assert!(table.add(place(at), queue, key(at, 1), 50 - at, vec![0], 0));
        }
        assert_eq!(table.expired(50).unwrap().place, place(4));
        let mut looked_at = None;
        while let Some(place) = table.remove_of_group("g", looked_at) {
            looked_at = Some(place);
        }
        assert_eq!(looked_at, Some(place(4)));
        assert_eq!(
            (table.len(), table.oldest(0), table.messages(QUEUE)),
            (2, Some(1), 0)
        );
        assert_eq!((table.messages(other), table.last()), (2, Some(place(3))));
        assert!(!table.remove_next_of("U"));
        assert!(table.remove_next_of("T") && table.remove_next_of("T"));
        assert!(!table.remove_next_of("T") && table.is_empty());
    }
}
