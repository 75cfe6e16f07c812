//! Queues that are popped in order: what was handed out last, which blocks the queue until all of it is acknowledged or
//! visible again (RocketMQ: `ConsumerOrderInfoManager`).
//!
//! There is no check point here: the group's offset stays at the first message that is not acknowledged, so that one
//! comes again by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

/// topic@group -> queue -> what was handed out.
pub type OrderTable = BTreeMap<String, BTreeMap<u32, HandedOut>>;

/// A queue that was not popped for this long is removed.
const FORGOTTEN_AFTER_MS: u64 = 24 * 3600 * 1000;

#[derive(Debug, Default)]
pub struct Orders {
    table: OrderTable,
    /// When queues can be popped again: each blocked queue once, as the table's key and the queue.
    free_at: BTreeSet<(u64, String, u32)>,
    /// When the group was rewound in queues. Receipts of earlier pops are void: an acknowledgement by one must not move the group.
    cleared_ms: BTreeMap<(String, u32), u64>,
    /// [`Self::expire`] goes on behind this key.
    expired_to: Option<String>,
    /// The same of [`Self::cleared_ms`].
    cleared_to: Option<(String, u32)>,
    is_dirty: bool,
}

/// The messages of one pop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandedOut {
    #[serde(rename = "popTime")]
    pop_time_ms: u64,
    #[serde(rename = "i")]
    invisible_ms: u64,
    /// The first message's offset, then how far each further one is from it.
    #[serde(rename = "o")]
    offsets: Vec<u64>,
    /// Messages with an invisible time of their own, by offset.
    #[serde(rename = "ot", skip_serializing_if = "BTreeMap::is_empty")]
    visible_at_ms: BTreeMap<u64, u64>,
    /// Earlier deliveries of messages, by offset.
    #[serde(rename = "oc", skip_serializing_if = "BTreeMap::is_empty")]
    times: BTreeMap<u64, u32>,
    #[serde(rename = "l")]
    last_consume_ms: u64,
    /// Bit by message.
    #[serde(rename = "cm")]
    acked: u64,
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    attempt_id: Option<String>,
    /// Its entry in [`Orders::free_at`].
    #[serde(skip)]
    noted_free_ms: Option<u64>,
}

/// Earlier deliveries of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// The messages that had any.
    pub by_offset: Vec<(u64, u32)>,
    /// Of the message with the fewest deliveries, for older clients.
    pub fewest: u32,
}

impl Orders {
    /// Whether the queue may not be popped now. The same attempt may repeat its pop, as its reply may be lost.
    pub fn is_blocked(
        &self,
        group: &str,
        topic: &str,
        queue_id: u32,
        attempt_id: Option<&str>,
        now_ms: u64,
    ) -> bool {
        self.find(group, topic, queue_id).is_some_and(|out| {
            let is_repeated = out.attempt_id.is_some() && out.attempt_id.as_deref() == attempt_id;
            !is_repeated && out.free_at_ms().is_some_and(|free_ms| now_ms < free_ms)
        })
    }

    /// Records the messages of a pop.
    #[allow(clippy::too_many_arguments, reason = "a pop has so many sides")]
    pub fn hand_out(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: u32,
        attempt_id: Option<&str>,
        offsets: &[u64],
        invisible_ms: u64,
        now_ms: u64,
    ) -> Times {
        let first = offsets.first().copied().unwrap_or(0);
        let distances = offsets.iter().skip(1).map(|offset| offset - first);
        let mut out = HandedOut {
            pop_time_ms: now_ms,
            invisible_ms,
            offsets: offsets.iter().take(1).copied().chain(distances).collect(),
            last_consume_ms: now_ms,
            attempt_id: attempt_id.map(str::to_owned),
            ..HandedOut::default()
        };
        if let Some(before) = self.find(group, topic, queue_id) {
            out.times = before.times_of(attempt_id, offsets);
            out.noted_free_ms = before.noted_free_ms;
        }
        let fewest = match out.times.len() == offsets.len() {
            true => out.times.values().min().copied().unwrap_or(0),
            false => 0,
        };
        let times = Times {
            by_offset: out
                .times
                .iter()
                .map(|(offset, times)| (*offset, *times))
                .collect(),
            fewest,
        };
        let key = table_key(group, topic);
        self.cleared_ms.remove(&(key.clone(), queue_id));
        let queues = self.table.entry(key).or_default();
        queues.insert(queue_id, out);
        self.schedule_free(group, topic, queue_id);
        times
    }

    /// The message is acknowledged. Returns the group's new offset, if it may be committed.
    pub fn ack(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: u32,
        offset: u64,
        pop_time_ms: u64,
    ) -> Option<u64> {
        let Some(out) = self.find_mut(group, topic, queue_id) else {
            let cleared_ms = self.cleared_ms.get(&(table_key(group, topic), queue_id));
            let is_void = cleared_ms.is_some_and(|cleared_ms| pop_time_ms <= *cleared_ms);
            // Otherwise its pop is no longer known.
            return (!is_void).then_some(offset.saturating_add(1));
        };
        if out.pop_time_ms != pop_time_ms {
            return None;
        }
        let index = out.index_of(offset)?;
        out.acked |= 1 << index;
        let next = out.next_offset();
        self.schedule_free(group, topic, queue_id);
        Some(next)
    }

    /// The message is to be visible again at this time.
    pub fn change(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: u32,
        offset: u64,
        pop_time_ms: u64,
        visible_at_ms: u64,
    ) {
        let Some(out) = self.find_mut(group, topic, queue_id) else {
            return;
        };
        if out.pop_time_ms != pop_time_ms || out.index_of(offset).is_none() {
            return;
        }
        out.visible_at_ms.insert(offset, visible_at_ms);
        self.schedule_free(group, topic, queue_id);
    }

    /// The group was rewound in the queue.
    pub fn clear(&mut self, group: &str, topic: &str, queue_id: u32, now_ms: u64) {
        let key = table_key(group, topic);
        if let Some(queues) = self.table.get_mut(&key)
            && let Some(out) = queues.remove(&queue_id)
        {
            self.is_dirty = true;
            if let Some(free_ms) = out.noted_free_ms {
                self.free_at.remove(&(free_ms, key.clone(), queue_id));
            }
        }
        self.cleared_ms.insert((key, queue_id), now_ms);
    }

    /// When to look for queues that are free again.
    pub fn next_free_ms(&self) -> Option<u64> {
        self.free_at.first().map(|(free_ms, ..)| *free_ms)
    }

    /// The next queue, as group, topic and number, whose time is over.
    pub fn take_free(&mut self, now_ms: u64) -> Option<(String, String, u32)> {
        if self.next_free_ms()? > now_ms {
            return None;
        }
        let (_, key, queue_id) = self.free_at.pop_first()?;
        let queues = self.table.get_mut(&key);
        if let Some(out) = queues.and_then(|queues| queues.get_mut(&queue_id)) {
            out.noted_free_ms = None;
        }
        let (topic, group) = key.split_once(SEPARATOR)?;
        Some((group.into(), topic.into(), queue_id))
    }

    /// Removes the next queue of a topic, of whichever group; `false` if there is none.
    pub fn remove_next_of(&mut self, topic: &str) -> bool {
        let of_topic = format!("{topic}{SEPARATOR}");
        let mut behind = self.table.range::<String, _>(&of_topic..);
        let next = behind.next().filter(|(key, _)| key.starts_with(&of_topic));
        if let Some((key, queues)) = next {
            let (key, queue_id) = (key.clone(), queues.keys().next().copied());
            self.is_dirty = true;
            match queue_id {
                Some(queue_id) => self.remove_queue(&key, queue_id),
                None => drop(self.table.remove(&key)),
            }
            return true;
        }
        let behind = self.cleared_ms.range((of_topic.clone(), 0)..).next();
        let next = behind.filter(|((key, _), _)| key.starts_with(&of_topic));
        let Some(cleared) = next.map(|(cleared, _)| cleared.clone()) else {
            return false;
        };
        self.cleared_ms.remove(&cleared);
        true
    }

    /// Looks at the table's next key behind `after`, and removes its queues if it is of this group, those that were popped up to this
    /// time: the group may be there again. The key, or `None` if there is none.
    pub fn remove_of_group(
        &mut self,
        group: &str,
        after: Option<&str>,
        popped_to_ms: u64,
    ) -> Option<String> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.table.range::<str, _>((from, Bound::Unbounded));
        let (key, queues) = behind.next()?;
        let key = key.clone();
        if key
            .split_once(SEPARATOR)
            .is_some_and(|(_, of_group)| of_group == group)
        {
            let old = queues
                .iter()
                .filter(|(_, out)| out.pop_time_ms <= popped_to_ms);
            let old: Vec<_> = old.map(|(queue_id, _)| *queue_id).collect();
            self.is_dirty |= !old.is_empty();
            for queue_id in old {
                self.remove_queue(&key, queue_id);
            }
        }
        Some(key)
    }

    /// Removes what was handed out behind the end of its queue. Returns how many queues had such messages.
    pub fn forget_behind(&mut self, end: impl Fn(&str, u32) -> u64) -> usize {
        let mut behind = Vec::new();
        for (key, queues) in &self.table {
            let topic = key.split_once(SEPARATOR).map_or("", |(topic, _)| topic);
            for (queue_id, out) in queues {
                let end = end(topic, *queue_id);
                if !out.offsets.is_empty() && out.all_offsets().any(|offset| offset >= end) {
                    behind.push((key.clone(), *queue_id));
                }
            }
        }
        for (key, queue_id) in &behind {
            self.remove_queue(key, *queue_id);
        }
        self.is_dirty |= !behind.is_empty();
        behind.len()
    }

    /// Removes queues that were not popped for a day. At most `most` queues or so are examined in one call; the next call goes
    /// on behind them.
    pub fn expire(&mut self, now_ms: u64, most: usize) {
        let is_old = |ms: u64| now_ms.saturating_sub(ms) > FORGOTTEN_AFTER_MS;
        let from = self.expired_to.take();
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let mut left = most;
        let mut old = Vec::new();
        for (key, queues) in self.table.range::<String, _>((from, Bound::Unbounded)) {
            left = left.saturating_sub(queues.len().max(1));
            let queues = queues.iter();
            let queues = queues.filter(|(_, out)| is_old(out.last_consume_ms));
            old.extend(queues.map(|(queue_id, _)| (key.clone(), *queue_id)));
            if left == 0 {
                self.expired_to = Some(key.clone());
                break;
            }
        }
        for (key, queue_id) in old {
            self.remove_queue(&key, queue_id);
        }
        let from = self.cleared_to.take();
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let looked_at = self.cleared_ms.range((from, Bound::Unbounded)).take(most);
        let looked_at: Vec<_> = looked_at.map(|(key, ms)| (key.clone(), *ms)).collect();
        if looked_at.len() == most {
            self.cleared_to = looked_at.last().map(|(key, _)| key.clone());
        }
        for (key, _) in looked_at.iter().filter(|(_, ms)| is_old(*ms)) {
            self.cleared_ms.remove(key);
        }
    }

    fn remove_queue(&mut self, key: &str, queue_id: u32) {
        let Some(queues) = self.table.get_mut(key) else {
            return;
        };
        if let Some(out) = queues.remove(&queue_id)
            && let Some(free_ms) = out.noted_free_ms
        {
            self.free_at.remove(&(free_ms, key.to_owned(), queue_id));
        }
        if queues.is_empty() {
            self.table.remove(key);
        }
    }

    /// Whether anything has changed since [`Self::take_dirty`].
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.is_dirty)
    }

    /// `topic@group` behind this one with its queues, in order.
    pub fn after(
        &self,
        key: Option<&str>,
    ) -> impl Iterator<Item = (&str, &BTreeMap<u32, HandedOut>)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.table.range::<str, _>((from, Bound::Unbounded));
        entries.map(|(key, queues)| (&**key, queues))
    }

    pub fn load(&mut self, table: OrderTable) {
        self.table = table;
        self.free_at.clear();
        for (key, queues) in &mut self.table {
            for (queue_id, out) in queues {
                out.noted_free_ms = out.free_at_ms();
                if let Some(free_ms) = out.noted_free_ms {
                    self.free_at.insert((free_ms, key.clone(), *queue_id));
                }
            }
        }
        self.is_dirty = true;
    }

    /// Records when the queue can be popped again, in place of the former time.
    fn schedule_free(&mut self, group: &str, topic: &str, queue_id: u32) {
        self.is_dirty = true;
        let key = table_key(group, topic);
        let queues = self.table.get_mut(&key);
        let Some(out) = queues.and_then(|queues| queues.get_mut(&queue_id)) else {
            return;
        };
        let free_ms = out.free_at_ms();
        if free_ms == out.noted_free_ms {
            return;
        }
        if let Some(before_ms) = std::mem::replace(&mut out.noted_free_ms, free_ms) {
            self.free_at.remove(&(before_ms, key.clone(), queue_id));
        }
        if let Some(free_ms) = free_ms {
            self.free_at.insert((free_ms, key, queue_id));
        }
    }

    fn find(&self, group: &str, topic: &str, queue_id: u32) -> Option<&HandedOut> {
        self.table.get(&table_key(group, topic))?.get(&queue_id)
    }

    fn find_mut(&mut self, group: &str, topic: &str, queue_id: u32) -> Option<&mut HandedOut> {
        let queues = self.table.get_mut(&table_key(group, topic))?;
        queues.get_mut(&queue_id)
    }
}

impl HandedOut {
    fn offset(&self, index: usize) -> u64 {
        match index {
            0 => self.offsets[0],
            _ => self.offsets[0].saturating_add(self.offsets[index]),
        }
    }

    fn all_offsets(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.offsets.len().min(64)).map(|index| self.offset(index))
    }

    fn index_of(&self, offset: u64) -> Option<usize> {
        self.all_offsets().position(|other| other == offset)
    }

    /// When the last message that is not acknowledged is visible again; `None` if there is none.
    fn free_at_ms(&self) -> Option<u64> {
        let open = self.all_offsets().enumerate();
        let open = open.filter(|(index, _)| self.acked & (1 << index) == 0);
        let visible = open.map(|(_, offset)| {
            let own = self.visible_at_ms.get(&offset).copied();
            own.unwrap_or(self.pop_time_ms.saturating_add(self.invisible_ms))
        });
        visible.max()
    }

    /// The offset of the first message that is not acknowledged, or the one behind the last.
    fn next_offset(&self) -> u64 {
        let open = self.all_offsets().enumerate();
        let mut open = open.filter(|(index, _)| self.acked & (1 << index) == 0);
        let behind = self.all_offsets().last().map_or(0, |offset| offset + 1);
        open.next().map_or(behind, |(_, offset)| offset)
    }

    /// The number of deliveries of these messages, this one included.
    fn times_of(&self, attempt_id: Option<&str>, offsets: &[u64]) -> BTreeMap<u64, u32> {
        if self.attempt_id.is_some() && self.attempt_id.as_deref() == attempt_id {
            return self.times.clone();
        }
        let again = offsets
            .iter()
            .filter(|offset| self.index_of(**offset).is_some());
        again
            .map(|offset| (*offset, self.times.get(offset).copied().unwrap_or(0) + 1))
            .collect()
    }
}

const SEPARATOR: char = '@';

fn table_key(group: &str, topic: &str) -> String {
    format!("{topic}{SEPARATOR}{group}")
}

#[cfg(test)]
mod tests;
