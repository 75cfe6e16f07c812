//! How far each group has consumed (RocketMQ: `ConsumerOffsetManager`).

mod left;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::named_table::NamedTable;
use crate::wire::DataVersion;
pub use left::LeftCommit;

/// Offsets of one group in one topic's queues.
pub type QueueOffsetMap = BTreeMap<i32, i64>;

/// RocketMQ advances the version only with every so many updates.
const UPDATES_PER_VERSION: u64 = 500;

/// Offsets by topic and group, so that neither a look-up nor an update joins strings; and the topics of each group, so that a
/// group is found without a walk over all topics.
#[derive(Debug, Default)]
struct Table {
    by_topic: NamedTable<BTreeMap<String, QueueOffsetMap>>,
    topics_of: NamedTable<BTreeSet<String>>,
}

#[derive(Debug)]
pub struct Offsets {
    committed: Table,
    /// Where the groups read, ahead of what they have committed; for statistics only.
    pulled: Table,
    /// Set by an administrator; the next pull of that queue is sent there.
    resets: Table,
    /// Resets that a client got as the answer to the question where to begin.
    told: Table,
    version: DataVersion,
    updates: u64,
    is_dirty: bool,
    /// Of a slave: what clients have committed here, and the master may not have.
    left: Option<Table>,
    /// The same of the process before this one, as long as it is not known whether this one is a slave.
    left_before: Table,
}

impl Offsets {
    pub fn new(now_ms: u64) -> Self {
        Self {
            committed: Table::default(),
            pulled: Table::default(),
            resets: Table::default(),
            told: Table::default(),
            version: DataVersion {
                timestamp_ms: now_ms as i64,
                ..DataVersion::default()
            },
            updates: 0,
            is_dirty: false,
            left: None,
            left_before: Table::default(),
        }
    }

    /// A smaller offset is taken as well: clients go back on purpose.
    pub fn commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64, now_ms: u64) {
        self.put_committed(group, topic, queue_id, offset);
        self.updates += 1;
        if self.updates.is_multiple_of(UPDATES_PER_VERSION) {
            self.version = self.version.next(now_ms as i64);
        }
    }

    pub fn pulled(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.pulled.put(group, topic, queue_id, offset);
    }

    /// A pending reset, else what was committed.
    pub fn query(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let reset = self.resets.find(group, topic, queue_id);
        reset.or_else(|| self.committed.find(group, topic, queue_id))
    }

    pub fn query_pulled(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let pulled = self.pulled.find(group, topic, queue_id);
        pulled.or_else(|| self.query(group, topic, queue_id))
    }

    /// Resets the group to `offset`: the answer to its next pull of the queue has it.
    pub fn reset(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.told.take(group, topic, queue_id);
        self.resets.put(group, topic, queue_id, offset);
        self.put_committed(group, topic, queue_id, offset);
    }

    fn put_committed(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        // Clients commit all their queues every few seconds, whether or not they have consumed anything.
        self.is_dirty |= self.committed.put(group, topic, queue_id, offset);
    }

    pub fn has_reset(&self, group: &str, topic: &str, queue_id: i32) -> bool {
        self.resets.find(group, topic, queue_id).is_some()
    }

    /// A client has asked where to begin; the answer has the reset.
    pub fn tell_reset(&mut self, group: &str, topic: &str, queue_id: i32) {
        if let Some(offset) = self.resets.find(group, topic, queue_id) {
            self.told.put(group, topic, queue_id, offset);
        }
    }

    /// The offset to which a pull from `pull_offset` is redirected. None also for a pull that already starts at the reset offset: a client
    /// that starts begins at once.
    pub fn take_reset(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: i32,
        pull_offset: i64,
    ) -> Option<i64> {
        let told = self.told.take(group, topic, queue_id);
        let reset = self.resets.take(group, topic, queue_id);
        reset.filter(|offset| (told, pull_offset) != (Some(*offset), *offset))
    }

    /// All committed offsets of the group in the topic.
    pub fn of(&self, group: &str, topic: &str) -> Option<&QueueOffsetMap> {
        self.committed.by_topic.get(topic)?.get(group)
    }

    /// Where the group reads in the topic.
    pub fn pulled_of(&self, group: &str, topic: &str) -> Option<&QueueOffsetMap> {
        self.pulled.by_topic.get(topic)?.get(group)
    }

    /// Topics in which the group has committed, behind this one, in order.
    pub fn topics_after(&self, group: &str, topic: Option<&str>) -> impl Iterator<Item = &str> {
        let from = topic.map_or(Bound::Unbounded, Bound::Excluded);
        let topics = self.committed.topics_of.get(group).into_iter();
        topics
            .flat_map(move |topics| topics.range::<str, _>((from, Bound::Unbounded)))
            .map(String::as_str)
    }

    /// Groups that have committed in the topic, behind this one, in order.
    pub fn groups_of_after(&self, topic: &str, group: Option<&str>) -> impl Iterator<Item = &str> {
        let from = group.map_or(Bound::Unbounded, Bound::Excluded);
        let groups = self.committed.by_topic.get(topic).into_iter();
        groups
            .flat_map(move |groups| groups.range::<str, _>((from, Bound::Unbounded)))
            .map(|(group, _)| &**group)
    }

    /// Copies the offsets of one group in a topic to another, those of the queues behind `after`, `most` at most; the last queue if there
    /// may be more. The first call, without a queue, drops what the other group had there.
    pub fn clone_some(
        &mut self,
        from: &str,
        to: &str,
        topic: &str,
        after: Option<i32>,
        most: usize,
    ) -> Option<i32> {
        let rest = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let queues = self.of(from, topic)?.range(rest).take(most);
        let queues: Vec<_> = queues
            .map(|(queue_id, offset)| (*queue_id, *offset))
            .collect();
        if after.is_none() && !queues.is_empty() && from != to {
            self.committed.remove(to, topic);
        }
        for (queue_id, offset) in &queues {
            self.put_committed(to, topic, *queue_id, *offset);
        }
        let (last, _) = queues.last().filter(|_| queues.len() == most)?;
        Some(*last)
    }

    /// Removes what the next group has in the topic; the group, or `None` if there is none.
    pub fn remove_next_of(&mut self, topic: &str) -> Option<String> {
        let group = self.tables().into_iter().find_map(|table| {
            let groups = table.by_topic.get(topic)?;
            groups.keys().next().cloned()
        })?;
        for table in self.tables() {
            table.remove(&group, topic);
        }
        self.is_dirty = true;
        Some(group)
    }

    /// Removes the group's offsets in the next topics, `most` at most; whether there may be more.
    pub fn remove_group(&mut self, group: &str, most: usize) -> bool {
        self.is_dirty = true;
        let mut left = most;
        for table in self.tables() {
            left -= table.remove_group(group, left);
        }
        left == 0
    }

    fn tables(&mut self) -> [&mut Table; 4] {
        [
            &mut self.committed,
            &mut self.pulled,
            &mut self.resets,
            &mut self.told,
        ]
    }

    /// Whether offsets have changed since the last call.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.is_dirty)
    }

    /// The last save failed: it is to be repeated.
    pub fn set_dirty(&mut self) {
        self.is_dirty = true;
    }

    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// `(topic, group, offsets)` behind this topic and group, in order.
    pub fn after(&self, from: Option<(&str, &str)>) -> impl Iterator<Item = Entry<'_>> {
        after(&self.committed, from)
    }

    /// The same of where the groups read.
    pub fn pulled_after(&self, from: Option<(&str, &str)>) -> impl Iterator<Item = Entry<'_>> {
        after(&self.pulled, from)
    }

    /// Groups behind this one with the topics in which they have committed, in order.
    pub fn groups_after(
        &self,
        group: Option<&str>,
    ) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.committed.topics_of.after(group)
    }

    /// Makes these the group's only offsets in the topic.
    pub fn replace(&mut self, topic: &str, group: &str, queues: QueueOffsetMap) {
        match self.committed.queues_mut(group, topic) {
            Some(known) if *known == queues => return,
            Some(known) => *known = queues,
            None => self.committed.insert(group, topic, queues),
        }
        self.is_dirty = true;
    }

    /// Removes the offsets that the group has committed in the topic.
    pub fn remove(&mut self, topic: &str, group: &str) {
        self.committed.remove(group, topic);
        self.is_dirty = true;
    }

    /// Drops resets that no pull has seen, of `most` topics and groups at most; whether there may be more.
    pub fn drop_resets(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let tables = [&mut self.resets, &mut self.told];
            let Some(table) = tables.into_iter().find(|table| !table.by_topic.is_empty()) else {
                return false;
            };
            let next = after(table, None).next();
            let next = next.map(|(topic, group, _)| (topic.to_owned(), group.to_owned()));
            let Some((topic, group)) = next else {
                return false;
            };
            table.remove(&group, &topic);
        }
        true
    }

    pub fn set_version(&mut self, version: DataVersion) {
        self.version = version;
    }

    pub fn load(
        &mut self,
        offsets: impl IntoIterator<Item = (String, String, i32, i64)>,
        version: DataVersion,
    ) {
        for (topic, group, queue_id, offset) in offsets {
            self.put_committed(&group, &topic, queue_id, offset);
        }
        self.is_dirty = false;
        self.version = version;
    }
}

/// Topic, group, and its offsets by queue.
pub type Entry<'a> = (&'a str, &'a str, &'a QueueOffsetMap);

impl Table {
    /// Whether that changed anything.
    fn put(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        if let Some(queues) = self.queues_mut(group, topic) {
            return queues.insert(queue_id, offset) != Some(offset);
        }
        self.insert(group, topic, QueueOffsetMap::from([(queue_id, offset)]));
        true
    }

    fn find(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        if self.by_topic.is_empty() {
            return None;
        }
        let queues = self.by_topic.get(topic)?.get(group)?;
        queues.get(&queue_id).copied()
    }

    fn take(&mut self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        if self.by_topic.is_empty() {
            return None;
        }
        let queues = self.queues_mut(group, topic)?;
        let offset = queues.remove(&queue_id);
        if queues.is_empty() {
            self.remove(group, topic);
        }
        offset
    }

    fn queues_mut(&mut self, group: &str, topic: &str) -> Option<&mut QueueOffsetMap> {
        self.by_topic.get_mut(topic)?.get_mut(group)
    }

    fn insert(&mut self, group: &str, topic: &str, queues: QueueOffsetMap) {
        match self.by_topic.get_mut(topic) {
            Some(groups) => drop(groups.insert(group.to_owned(), queues)),
            None => {
                let groups = BTreeMap::from([(group.to_owned(), queues)]);
                self.by_topic.insert(topic, groups);
            }
        }
        match self.topics_of.get_mut(group) {
            Some(topics) => drop(topics.insert(topic.to_owned())),
            None => {
                let topics = BTreeSet::from([topic.to_owned()]);
                self.topics_of.insert(group, topics);
            }
        }
    }

    fn remove(&mut self, group: &str, topic: &str) {
        if let Some(groups) = self.by_topic.get_mut(topic) {
            groups.remove(group);
            if groups.is_empty() {
                self.by_topic.remove(topic);
            }
        }
        self.forget(group, topic);
    }

    /// In how many topics it was removed, `most` at most.
    fn remove_group(&mut self, group: &str, most: usize) -> usize {
        let topics = self.topics_of.get(group).into_iter().flatten();
        let topics: Vec<String> = topics.take(most).cloned().collect();
        for topic in &topics {
            self.remove(group, topic);
        }
        topics.len()
    }

    fn forget(&mut self, group: &str, topic: &str) {
        if let Some(topics) = self.topics_of.get_mut(group) {
            topics.remove(topic);
            if topics.is_empty() {
                self.topics_of.remove(group);
            }
        }
    }
}

fn after<'a>(table: &'a Table, from: Option<(&str, &str)>) -> impl Iterator<Item = Entry<'a>> {
    let table = &table.by_topic;
    // What is left of the topic in which the last slice ended, then the topics behind it.
    let begun = from.and_then(|(topic, group)| {
        let (topic, groups) = table
            .starting_at(topic)
            .next()
            .filter(|(name, _)| *name == topic)?;
        let rest = (Bound::Excluded(group), Bound::Unbounded);
        Some((topic, groups.range::<str, _>(rest)))
    });
    let begun = begun
        .into_iter()
        .flat_map(|(topic, groups)| groups.map(move |(group, queues)| (topic, &**group, queues)));
    let further = table.after(from.map(|(topic, _)| topic));
    let further = further.flat_map(|(topic, groups)| {
        let groups = groups.iter();
        groups.map(move |(group, queues)| (topic, &**group, queues))
    });
    begun.chain(further)
}

#[cfg(test)]
mod tests;
