//! What groups have got of topics: by group, then topic, and the groups of each topic, so that neither the end of a group nor that of
//! a topic is a walk over all of them.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::ops::Bound;

use super::latencies::PullLatencies;
use super::meter::Meter;
use crate::parted::PartedMap;

/// Messages that a pull or a pop delivers.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    /// Of the request: -1 if a pop asks for any queue.
    pub queue_id: i32,
    pub messages: u64,
    pub bytes: u64,
    /// How long they took to read.
    pub read_ms: u64,
    /// By a pop.
    pub is_pop: bool,
}

/// Of one group in one topic.
#[derive(Debug, Default)]
pub struct Gets {
    pub messages: Meter,
    pub bytes: Meter,
    /// Messages that consumers have sent back.
    pub send_backs: Meter,
    /// Those among them that have become dead letters.
    pub dead_letters: u64,
    pub pops: Pops,
    latencies: PullLatencies,
}

/// What pops have got, included above, and the records of these pops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pops {
    pub messages: u64,
    pub bytes: u64,
    pub check_points: u64,
    pub acks: u64,
    /// Messages that came back to the group's retry topic.
    pub revived: u64,
}

#[derive(Debug, Default)]
pub struct GroupGets {
    by_group: PartedMap<String, BTreeMap<String, Gets>>,
    groups_of: PartedMap<String, BTreeSet<String>>,
    /// Queues whose latencies are counted, of all groups together.
    latencies: usize,
}

/// The topics of a group that was removed; see [`GroupGets::forget`].
pub type Forgotten = btree_map::IntoIter<String, Gets>;

impl GroupGets {
    /// Queues whose latencies are counted, of all groups together.
    pub fn latencies(&self) -> usize {
        self.latencies
    }

    pub fn delivered(&mut self, delivered: &Delivered<'_>, now_ms: u64) {
        let counted = self.latencies;
        let gets = self.find_or_add(delivered.group, delivered.topic);
        gets.messages.add(delivered.messages, now_ms);
        gets.bytes.add(delivered.bytes, now_ms);
        if delivered.is_pop {
            gets.pops.messages += delivered.messages;
            gets.pops.bytes += delivered.bytes;
        }
        let (queue_id, ms) = (delivered.queue_id, delivered.read_ms);
        let is_new = gets.latencies.took(queue_id, ms, now_ms, counted);
        self.latencies += usize::from(is_new);
    }

    pub fn sent_back(&mut self, group: &str, topic: &str, now_ms: u64) {
        self.find_or_add(group, topic).send_backs.add(1, now_ms);
    }

    pub fn find(&self, group: &str, topic: &str) -> Option<&Gets> {
        self.by_group.get(group)?.get(topic)
    }

    /// The topics of a group behind this one, in order.
    pub fn topics_after(
        &self,
        group: &str,
        topic: Option<&str>,
    ) -> impl Iterator<Item = (&str, &Gets)> {
        let from = topic.map_or(Bound::Unbounded, Bound::Excluded);
        let topics = self.by_group.get(group).into_iter();
        let topics =
            topics.flat_map(move |topics| topics.range::<str, _>((from, Bound::Unbounded)));
        topics.map(|(topic, gets)| (&**topic, gets))
    }

    pub fn find_or_add(&mut self, group: &str, topic: &str) -> &mut Gets {
        let new = || (group.to_owned(), BTreeMap::new());
        let topics = self.by_group.get_or_insert_with(group, new);
        if !topics.contains_key(topic) {
            let new = || (topic.to_owned(), BTreeSet::new());
            let groups = self.groups_of.get_or_insert_with(topic, new);
            groups.insert(group.to_owned());
            topics.insert(topic.to_owned(), Gets::default());
        }
        topics
            .get_mut(topic)
            .expect("it was added if it was not there")
    }

    /// Removes the next group of a topic; `false` if there is none.
    pub fn remove_group_of(&mut self, topic: &str) -> bool {
        let Some(groups) = self.groups_of.get_mut(topic) else {
            return false;
        };
        let group = groups.pop_first();
        if groups.is_empty() {
            self.groups_of.remove(topic);
        }
        let Some(group) = group else { return false };
        if let Some(topics) = self.by_group.get_mut(&group) {
            let gets = topics.remove(topic);
            self.latencies -= gets.map_or(0, |gets| gets.latencies.len());
            if topics.is_empty() {
                self.by_group.remove(&group);
            }
        }
        true
    }

    /// Removes a group. [`Self::forget`] is to be called with what is returned.
    pub fn remove_group(&mut self, group: &str) -> Forgotten {
        let topics = self.by_group.remove(group);
        topics.unwrap_or_default().into_iter()
    }

    /// Forgets the next topic of a group that was removed; `false` if there is none. The group may be there again.
    pub fn forget(&mut self, group: &str, forgotten: &mut Forgotten) -> bool {
        let Some((topic, gets)) = forgotten.next() else {
            return false;
        };
        self.latencies -= gets.latencies.len();
        if self.find(group, &topic).is_none()
            && let Some(groups) = self.groups_of.get_mut(&topic)
        {
            groups.remove(group);
            if groups.is_empty() {
                self.groups_of.remove(&topic);
            }
        }
        true
    }
}

impl Gets {
    pub fn latency(&self, queue_id: i32) -> Option<&Meter> {
        self.latencies.find(queue_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliver(gets: &mut GroupGets, group: &str, topic: &str) {
        let delivered = Delivered {
            group,
            topic,
            queue_id: 5,
            messages: 1,
            bytes: 100,
            read_ms: 9,
            is_pop: false,
        };
        gets.delivered(&delivered, 0);
    }

    #[test]
    fn groups_and_topics_are_removed_step_by_step() {
        let mut gets = GroupGets::default();
        for (group, topic) in [("g", "T"), ("g", "U"), ("h", "T")] {
            deliver(&mut gets, group, topic);
        }
        assert_eq!(gets.latencies, 3);
        let mut forgotten = gets.remove_group("g");
        assert!(gets.find("g", "T").is_none());
        // It is there again before all of it is forgotten.
        deliver(&mut gets, "g", "T");
        while gets.forget("g", &mut forgotten) {}
        assert_eq!(gets.latencies, 2);
        assert!(gets.remove_group_of("T") && gets.find("g", "T").is_none());
        assert!(gets.find("h", "T").is_some());
        assert!(gets.remove_group_of("T") && !gets.remove_group_of("T"));
        assert!(gets.by_group.is_empty() && gets.groups_of.is_empty() && gets.latencies == 0);
    }
}
