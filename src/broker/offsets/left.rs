//! What consumers commit at a slave, of which its master may know nothing: without a master in the route they commit there. It stands in the slave's
//! `consumerOffset.json` too, as the slave may be started anew before its master is back.

use super::{Entry, Offsets, QueueOffsetMap, after};
use crate::broker::Broker;

/// An offset that a consumer has committed at this slave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftCommit {
    pub group: String,
    pub topic: String,
    pub queue_id: i32,
    pub offset: i64,
}

impl Offsets {
    /// From now on what clients commit is kept until the master has it, and what was kept before: the broker is a slave.
    pub fn keep_commits(&mut self) {
        let before = std::mem::take(&mut self.left_before);
        self.left.get_or_insert(before);
    }

    /// A client has committed this.
    pub fn keep_commit(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        if let Some(left) = &mut self.left {
            self.is_dirty |= left.put(group, topic, queue_id, offset);
        }
    }

    /// What the file has of it.
    pub fn load_left(&mut self, left: impl IntoIterator<Item = (String, String, i32, i64)>) {
        for (topic, group, queue_id, offset) in left {
            self.left_before.put(&group, &topic, queue_id, offset);
        }
    }

    pub fn has_left(&self) -> bool {
        self.left_after(None).next().is_some()
    }

    /// Of one group in one topic.
    pub fn left_of(&self, group: &str, topic: &str) -> Option<&QueueOffsetMap> {
        self.left.as_ref()?.by_topic.get(topic)?.get(group)
    }

    /// All of it behind this topic and group, in order.
    pub fn left_after(&self, from: Option<(&str, &str)>) -> impl Iterator<Item = Entry<'_>> {
        let left = self.left.iter();
        left.flat_map(move |left| after(left, from))
    }

    /// The next one that is to go to the master. It is kept no longer.
    pub fn take_left(&mut self) -> Option<LeftCommit> {
        let left = self.left.as_mut()?;
        let (topic, group, queues) = after(left, None).next()?;
        let (queue_id, offset) = queues.first_key_value()?;
        let commit = LeftCommit {
            group: group.to_owned(),
            topic: topic.to_owned(),
            queue_id: *queue_id,
            offset: *offset,
        };
        left.take(&commit.group, &commit.topic, commit.queue_id);
        self.is_dirty = true;
        Some(commit)
    }

    /// The master could not be given it: it is kept, unless there is a newer one.
    pub fn put_left_back(&mut self, commit: &LeftCommit) {
        let LeftCommit {
            group,
            topic,
            queue_id,
            offset,
        } = commit;
        if let Some(left) = &mut self.left
            && left.find(group, topic, *queue_id).is_none()
        {
            left.put(group, topic, *queue_id, *offset);
            self.is_dirty = true;
        }
    }
}

impl Broker {
    /// As a slave does, from its start on.
    pub fn keep_commits(&mut self) {
        self.offsets.keep_commits();
    }

    pub fn take_left_commit(&mut self) -> Option<LeftCommit> {
        self.offsets.take_left()
    }

    pub fn put_left_commit_back(&mut self, commit: &LeftCommit) {
        self.offsets.put_left_back(commit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_keeps_what_clients_commit_until_its_master_has_it() {
        let mut offsets = Offsets::new(0);
        offsets.keep_commit("g", "T", 0, 1);
        assert_eq!(offsets.take_left(), None, "a master");
        offsets.keep_commits();
        offsets.keep_commit("g", "T", 0, 5);
        offsets.keep_commit("g", "T", 0, 7);
        offsets.keep_commit("h", "T", 3, 9);
        let commit = offsets.take_left().unwrap();
        let place = (&*commit.group, commit.queue_id, commit.offset);
        assert_eq!(place, ("g", 0, 7));
        offsets.put_left_back(&commit);
        assert_eq!(offsets.take_left(), Some(commit.clone()));
        offsets.keep_commit("g", "T", 0, 8);
        offsets.put_left_back(&commit);
        assert_eq!(offsets.take_left().unwrap().offset, 8, "the newer one");
        assert_eq!(offsets.take_left().unwrap().group, "h");
        assert_eq!(offsets.take_left(), None);
    }
}
