//! How far each group has consumed (RocketMQ: `ConsumerOffsetManager`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::named_table::NamedTable;
use crate::wire::DataVersion;

/// Offsets of one group in one topic's queues.
pub type QueueOffsetMap = BTreeMap<i32, i64>;

/// RocketMQ advances the version only with every so many updates.
const UPDATES_PER_VERSION: u64 = 500;

/// topic -> group -> queue -> offset, so that neither a look-up nor an update joins strings.
type Table = NamedTable<BTreeMap<String, QueueOffsetMap>>;

#[derive(Debug)]
pub struct Offsets {
    committed: Table,
    /// group -> the topics in which it has committed.
    topics_of: NamedTable<BTreeSet<String>>,
    /// Where the groups read, ahead of what they have committed; statistics only.
    pulled: Table,
    /// Set by an administrator; the next pull of that queue is sent there.
    resets: Table,
    /// Resets that a client has been told because it asked where to begin.
    told: Table,
    version: DataVersion,
    updates: u64,
    is_dirty: bool,
}

impl Offsets {
    pub fn new(now_ms: u64) -> Self {
        Self {
            committed: Table::default(),
            topics_of: NamedTable::default(),
            pulled: Table::default(),
            resets: Table::default(),
            told: Table::default(),
            version: DataVersion {
                timestamp_ms: now_ms as i64,
                ..DataVersion::default()
            },
            updates: 0,
            is_dirty: false,
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
        put(&mut self.pulled, group, topic, queue_id, offset);
    }

    /// A pending reset, else what was committed.
    pub fn query(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        find(&self.resets, group, topic, queue_id)
            .or_else(|| find(&self.committed, group, topic, queue_id))
    }

    pub fn query_pulled(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        find(&self.pulled, group, topic, queue_id).or_else(|| self.query(group, topic, queue_id))
    }

    /// Sends the group to `offset`: its next pull of the queue is told so.
    pub fn reset(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        take(&mut self.told, group, topic, queue_id);
        put(&mut self.resets, group, topic, queue_id, offset);
        self.put_committed(group, topic, queue_id, offset);
    }

    fn put_committed(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let put = put(&mut self.committed, group, topic, queue_id, offset);
        // Clients commit all their queues every few seconds, whether or not they have consumed anything.
        self.is_dirty |= put != Put::Same;
        if put == Put::NewGroup {
            self.note_topic(group, topic);
        }
    }

    fn note_topic(&mut self, group: &str, topic: &str) {
        match self.topics_of.get_mut(group) {
            Some(topics) => drop(topics.insert(topic.to_owned())),
            None => drop(
                self.topics_of
                    .insert(group, BTreeSet::from([topic.to_owned()])),
            ),
        }
    }

    pub fn has_reset(&self, group: &str, topic: &str, queue_id: i32) -> bool {
        find(&self.resets, group, topic, queue_id).is_some()
    }

    /// A client has asked where to begin, and hears of the reset with that.
    pub fn tell_reset(&mut self, group: &str, topic: &str, queue_id: i32) {
        if let Some(offset) = find(&self.resets, group, topic, queue_id) {
            put(&mut self.told, group, topic, queue_id, offset);
        }
    }

    /// Where a pull from `pull_offset` is to be sent instead. None as well for one that comes from there because it was told
    /// so: a client that starts begins at once.
    pub fn take_reset(
        &mut self,
        group: &str,
        topic: &str,
        queue_id: i32,
        pull_offset: i64,
    ) -> Option<i64> {
        let told = take(&mut self.told, group, topic, queue_id);
        take(&mut self.resets, group, topic, queue_id)
            .filter(|offset| (told, pull_offset) != (Some(*offset), *offset))
    }

    /// All committed offsets of the group in the topic.
    pub fn of(&self, group: &str, topic: &str) -> Option<&QueueOffsetMap> {
        self.committed.get(topic)?.get(group)
    }

    pub fn topics_of(&self, group: &str) -> Vec<&str> {
        let topics = self.topics_of.get(group).into_iter().flatten();
        topics.map(|topic| &**topic).collect()
    }

    /// The same, those behind this one.
    pub fn topics_after(&self, group: &str, topic: Option<&str>) -> impl Iterator<Item = &str> {
        let from = topic.map_or(Bound::Unbounded, Bound::Excluded);
        let topics = self.topics_of.get(group).into_iter();
        topics
            .flat_map(move |topics| topics.range::<str, _>((from, Bound::Unbounded)))
            .map(String::as_str)
    }

    pub fn groups_of(&self, topic: &str) -> Vec<&str> {
        let groups = self.committed.get(topic).into_iter().flat_map(|g| g.keys());
        groups.map(|group| &**group).collect()
    }

    /// The group takes over the offsets of another.
    pub fn clone_group(&mut self, from: &str, to: &str, topic: &str) {
        if let Some(groups) = self.committed.get_mut(topic)
            && let Some(queues) = groups.get(from).cloned()
        {
            groups.insert(to.into(), queues);
            self.note_topic(to, topic);
            self.is_dirty = true;
        }
    }

    pub fn remove_topic(&mut self, topic: &str) {
        for group in self.committed.get(topic).into_iter().flat_map(|g| g.keys()) {
            if let Some(topics) = self.topics_of.get_mut(group) {
                topics.remove(topic);
                if topics.is_empty() {
                    self.topics_of.remove(group);
                }
            }
        }
        for table in self.tables() {
            table.remove(topic);
        }
        self.is_dirty = true;
    }

    pub fn remove_group(&mut self, group: &str) {
        for topic in self.topics_of.remove(group).into_iter().flatten() {
            remove_from_topic(&mut self.committed, group, &topic);
        }
        // Few, or for statistics only.
        for table in [&mut self.pulled, &mut self.resets, &mut self.told] {
            table.retain(|_, groups| {
                groups.remove(group);
                !groups.is_empty()
            });
        }
        self.is_dirty = true;
    }

    fn tables(&mut self) -> [&mut Table; 4] {
        [
            &mut self.committed,
            &mut self.pulled,
            &mut self.resets,
            &mut self.told,
        ]
    }

    /// Whether there is something to save since the last time this was asked.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.is_dirty)
    }

    /// What was to be saved could not be.
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
        self.topics_of.after(group)
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    Same,
    Changed,
    /// The group had no offset in the topic before.
    NewGroup,
}

fn put(table: &mut Table, group: &str, topic: &str, queue_id: i32, offset: i64) -> Put {
    let Some(groups) = table.get_mut(topic) else {
        let queues = QueueOffsetMap::from([(queue_id, offset)]);
        table.insert(topic, BTreeMap::from([(group.to_owned(), queues)]));
        return Put::NewGroup;
    };
    let Some(queues) = groups.get_mut(group) else {
        let queues = QueueOffsetMap::from([(queue_id, offset)]);
        groups.insert(group.to_owned(), queues);
        return Put::NewGroup;
    };
    match queues.insert(queue_id, offset) == Some(offset) {
        true => Put::Same,
        false => Put::Changed,
    }
}

fn find(table: &Table, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
    if table.is_empty() {
        return None;
    }
    table.get(topic)?.get(group)?.get(&queue_id).copied()
}

fn take(table: &mut Table, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
    if table.is_empty() {
        return None;
    }
    let groups = table.get_mut(topic)?;
    let queues = groups.get_mut(group)?;
    let offset = queues.remove(&queue_id);
    if queues.is_empty() {
        remove_from_topic(table, group, topic);
    }
    offset
}

fn remove_from_topic(table: &mut Table, group: &str, topic: &str) {
    if let Some(groups) = table.get_mut(topic) {
        groups.remove(group);
        if groups.is_empty() {
            table.remove(topic);
        }
    }
}

fn after<'a>(table: &'a Table, from: Option<(&str, &str)>) -> impl Iterator<Item = Entry<'a>> {
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
mod tests {
    use super::*;

    #[test]
    fn offsets_are_kept_by_group_topic_and_queue() {
        let mut offsets = Offsets::new(0);
        offsets.commit("g", "T", 0, 5, 0);
        offsets.commit("g", "T", 1, 6, 0);
        offsets.commit("h", "T", 0, 7, 0);
        offsets.commit("g", "T", 0, 3, 0);
        assert_eq!(offsets.query("g", "T", 0), Some(3), "going back is allowed");
        assert_eq!(offsets.query("h", "T", 0), Some(7));
        assert_eq!(offsets.query("h", "T", 1), None);
        assert_eq!(offsets.groups_of("T"), ["g", "h"]);
        assert_eq!(offsets.topics_of("g"), ["T"]);
        offsets.remove_group("g");
        assert_eq!(offsets.groups_of("T"), ["h"]);
        offsets.remove_topic("T");
        assert!(offsets.after(None).next().is_none() && offsets.topics_of("h").is_empty());
    }

    #[test]
    fn a_walk_goes_on_where_it_stopped() {
        let mut offsets = Offsets::new(0);
        for (topic, group) in [("S", "g"), ("T", "e"), ("T", "g"), ("T", "h"), ("U", "g")] {
            offsets.commit(group, topic, 0, 1, 0);
        }
        let behind = |offsets: &Offsets, from| {
            let names = offsets
                .after(from)
                .map(|(topic, group, _)| format!("{topic}{group}"));
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(behind(&offsets, None), "Sg Te Tg Th Ug");
        assert_eq!(behind(&offsets, Some(("T", "f"))), "Tg Th Ug");
        assert_eq!(behind(&offsets, Some(("T", "h"))), "Ug");
        offsets.remove_topic("T");
        assert_eq!(behind(&offsets, Some(("T", "e"))), "Ug");
        let groups = offsets.groups_after(None).map(|(group, _)| group);
        assert_eq!(groups.collect::<Vec<_>>(), ["g"]);
    }

    #[test]
    fn a_reset_is_seen_once_by_a_pull() {
        let mut offsets = Offsets::new(0);
        offsets.commit("g", "T", 0, 5, 0);
        offsets.reset("g", "T", 0, 2);
        assert!(offsets.has_reset("g", "T", 0));
        assert_eq!(offsets.query("g", "T", 0), Some(2));
        assert_eq!(offsets.take_reset("g", "T", 1, 5), None);
        assert_eq!(offsets.take_reset("g", "T", 0, 5), Some(2));
        assert_eq!(offsets.take_reset("g", "T", 0, 5), None);
        assert_eq!(offsets.query("g", "T", 0), Some(2));
    }

    #[test]
    fn who_begins_where_it_was_told_to_is_not_sent_there_again() {
        let mut offsets = Offsets::new(0);
        // It skips to where the client is already, which still has older messages in its hands.
        offsets.reset("g", "T", 0, 9);
        assert_eq!(offsets.take_reset("g", "T", 0, 9), Some(9));
        offsets.reset("g", "T", 0, 2);
        offsets.tell_reset("g", "T", 0);
        assert_eq!(offsets.take_reset("g", "T", 0, 2), None);
        assert_eq!(offsets.take_reset("g", "T", 0, 9), None, "and it is over");
        offsets.reset("g", "T", 0, 2);
        offsets.tell_reset("g", "T", 0);
        offsets.reset("g", "T", 0, 3);
        assert_eq!(offsets.take_reset("g", "T", 0, 3), Some(3), "a newer one");
        offsets.tell_reset("g", "T", 0);
        assert_eq!(offsets.take_reset("g", "T", 0, 3), None);
    }

    #[test]
    fn dirty_until_taken_and_versions_in_steps() {
        let mut offsets = Offsets::new(0);
        assert!(!offsets.take_dirty());
        for n in 0..UPDATES_PER_VERSION as i64 {
            assert_eq!(offsets.version().counter, 0);
            offsets.commit("g", "T", 0, n, 9);
        }
        assert_eq!(
            (offsets.version().counter, offsets.version().timestamp_ms),
            (1, 9)
        );
        assert!(offsets.take_dirty() && !offsets.take_dirty());
        let last = UPDATES_PER_VERSION as i64 - 1;
        offsets.commit("g", "T", 0, last, 9);
        assert!(!offsets.take_dirty(), "the same as before");
        offsets.commit("g", "T", 0, last - 1, 9);
        assert!(offsets.take_dirty());
    }

    #[test]
    fn pulled_falls_back_to_committed() {
        let mut offsets = Offsets::new(0);
        offsets.commit("g", "T", 0, 5, 0);
        assert_eq!(offsets.query_pulled("g", "T", 0), Some(5));
        offsets.pulled("g", "T", 0, 9);
        assert_eq!(offsets.query_pulled("g", "T", 0), Some(9));
        offsets.clone_group("g", "h", "T");
        assert_eq!(offsets.query("h", "T", 0), Some(5));
    }
}
