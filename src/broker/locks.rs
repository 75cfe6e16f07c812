//! Which client may consume which queue in order (RocketMQ: `RebalanceLockManager`). A lock lives 60 s from its last renewal.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::rc::Rc;

use super::limits::MAX_LOCKS;
use crate::parted::PartedMap;
use crate::wire::MessageQueue;

#[derive(Debug)]
struct Lock {
    client_id: String,
    renewed_ms: u64,
    /// Its place in [`Locks::oldest`].
    noted_ms: u64,
}

/// The locks of a group.
#[derive(Debug, Default)]
struct Held {
    by_queue: BTreeMap<MessageQueue, Lock>,
    /// When one of them was taken or renewed last, also if that one was given up since.
    newest_ms: u64,
}

/// The locks of all groups.
#[derive(Debug)]
pub struct Locks {
    expiry_ms: u64,
    groups: PartedMap<Rc<str>, Held>,
    /// Each lock once, with a time that is not later than its last renewal: a renewal does not move it, and [`Self::expire`]
    /// moves it on.
    oldest: BTreeSet<(u64, Rc<str>, MessageQueue)>,
}

impl Locks {
    /// Those that are held, and some that have just expired.
    pub fn held(&self) -> usize {
        self.oldest.len()
    }

    pub fn new(expiry_ms: u64) -> Self {
        Self {
            expiry_ms,
            groups: PartedMap::default(),
            oldest: BTreeSet::new(),
        }
    }

    /// Takes or renews the lock if it is free, expired or the client's own, unless there are too many.
    pub fn lock(
        &mut self,
        group: &str,
        queue: &MessageQueue,
        client_id: &str,
        now_ms: u64,
    ) -> bool {
        let expiry_ms = self.expiry_ms;
        let known = self.groups.get_mut(group);
        match known.and_then(|held| held.by_queue.get_mut(queue)) {
            Some(lock) if lock.client_id == client_id => lock.renewed_ms = now_ms,
            Some(lock) if lock.lives(now_ms, expiry_ms) && !mutant!(TwoLockOwners) => return false,
            Some(lock) => {
                lock.client_id = client_id.into();
                lock.renewed_ms = now_ms;
            }
            None if self.oldest.len() >= MAX_LOCKS => return false,
            None => self.add(group, queue, client_id, now_ms),
        }
        if let Some(held) = self.groups.get_mut(group) {
            held.newest_ms = now_ms;
        }
        true
    }

    fn add(&mut self, group: &str, queue: &MessageQueue, client_id: &str, now_ms: u64) {
        let group = match self.groups.get_key_value(group) {
            Some((group, _)) => group.clone(),
            None => group.into(),
        };
        self.oldest.insert((now_ms, group.clone(), queue.clone()));
        let lock = Lock {
            client_id: client_id.into(),
            renewed_ms: now_ms,
            noted_ms: now_ms,
        };
        let new = || (group.clone(), Held::default());
        let held = self.groups.get_or_insert_with(&group, new);
        held.by_queue.insert(queue.clone(), lock);
    }

    /// Gives up the lock if it is the client's own.
    pub fn unlock(&mut self, group: &str, queue: &MessageQueue, client_id: &str) {
        let held = self.groups.get(group);
        let lock = held.and_then(|held| held.by_queue.get(queue));
        if lock.is_some_and(|lock| lock.client_id == client_id) {
            self.remove(group, queue);
        }
    }

    fn remove(&mut self, group: &str, queue: &MessageQueue) {
        let Some((name, _)) = self.groups.get_key_value(group) else {
            return;
        };
        let name = name.clone();
        if let Some(held) = self.groups.get_mut(group) {
            if let Some(lock) = held.by_queue.remove(queue) {
                self.oldest.remove(&(lock.noted_ms, name, queue.clone()));
            }
            if held.by_queue.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Whether a member of the group consumes in order now. A group may have a lock for each of many thousand queues, so they are not
    /// looked at: if the newest one was given up and only expired ones are left, the group still counts until they are forgotten.
    pub fn holds_any(&self, group: &str, now_ms: u64) -> bool {
        let held = self.groups.get(group);
        held.is_some_and(|held| now_ms.saturating_sub(held.newest_ms) <= self.expiry_ms)
    }

    /// Gives up all locks of a group. [`Self::forget`] is to be called with what is returned.
    pub fn remove_group(&mut self, group: &str) -> Forgotten {
        let (group, held) = self.groups.remove_entry(group).unzip();
        Forgotten {
            group,
            locks: held.unwrap_or_default().by_queue.into_iter(),
        }
    }

    /// Forgets the next lock of a group that was removed; `false` if there is none.
    pub fn forget(&mut self, forgotten: &mut Forgotten) -> bool {
        let next = forgotten.group.clone().zip(forgotten.locks.next());
        let Some((group, (queue, lock))) = next else {
            return false;
        };
        let is_held_anew = self.groups.get(&group).is_some_and(|held| {
            let anew = held.by_queue.get(&queue);
            anew.is_some_and(|anew| anew.noted_ms == lock.noted_ms)
        });
        if !is_held_anew {
            self.oldest.remove(&(lock.noted_ms, group, queue));
        }
        true
    }

    /// Forgets what has expired; nothing that a client can tell. At most `most` locks are examined; the others are examined in the
    /// next call.
    pub fn expire(&mut self, now_ms: u64, most: usize) {
        for _ in 0..most {
            let Some((noted_ms, group, queue)) = self.oldest.first() else {
                return;
            };
            if now_ms.saturating_sub(*noted_ms) <= self.expiry_ms {
                return;
            }
            let (group, queue) = (group.clone(), queue.clone());
            let held = self.groups.get_mut(&group);
            match held.and_then(|held| held.by_queue.get_mut(&queue)) {
                Some(lock) if lock.lives(now_ms, self.expiry_ms) => {
                    lock.noted_ms = lock.renewed_ms;
                    let renewed_ms = lock.renewed_ms;
                    self.oldest.pop_first();
                    self.oldest.insert((renewed_ms, group, queue));
                }
                Some(_) => self.remove(&group, &queue),
                None => drop(self.oldest.pop_first()),
            }
        }
    }
}

/// The locks of a group that was removed.
#[derive(Debug)]
pub struct Forgotten {
    group: Option<Rc<str>>,
    locks: btree_map::IntoIter<MessageQueue, Lock>,
}

impl Lock {
    fn lives(&self, now_ms: u64, expiry_ms: u64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) <= expiry_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue {
            topic: "T".into(),
            broker_name: "b".into(),
            queue_id,
        }
    }

    #[test]
    fn a_lock_excludes_others_until_it_expires() {
        let mut locks = Locks::new(60_000);
        assert!(locks.lock("g", &queue(0), "a", 0));
        assert!(!locks.lock("g", &queue(0), "b", 1));
        assert!(locks.lock("g", &queue(1), "b", 1));
        assert!(locks.lock("other", &queue(0), "b", 1));
        assert!(locks.lock("g", &queue(0), "a", 50_000), "renewed");
        assert!(!locks.lock("g", &queue(0), "b", 110_000));
        assert!(locks.lock("g", &queue(0), "b", 110_001));
        assert!(!locks.lock("g", &queue(0), "a", 110_002));
    }

    #[test]
    fn only_the_owner_unlocks() {
        let mut locks = Locks::new(60_000);
        assert!(locks.lock("g", &queue(0), "a", 0));
        locks.unlock("g", &queue(0), "b");
        assert!(!locks.lock("g", &queue(0), "b", 1));
        locks.unlock("g", &queue(0), "a");
        assert!(locks.lock("g", &queue(0), "b", 2));
    }

    #[test]
    fn expired_locks_do_not_count_and_are_forgotten() {
        let mut locks = Locks::new(60_000);
        assert!(!locks.holds_any("g", 0));
        locks.lock("g", &queue(0), "a", 0);
        assert!(locks.holds_any("g", 60_000));
        assert!(!locks.holds_any("g", 60_001));
        locks.lock("g", &queue(1), "a", 0);
        locks.lock("g", &queue(0), "a", 1);
        locks.expire(60_001, 9);
        assert!(locks.holds_any("g", 60_001), "renewed");
        locks.expire(60_002, 9);
        assert!(locks.groups.is_empty() && locks.oldest.is_empty());
    }

    #[test]
    fn whether_a_group_holds_any_is_one_look_up() {
        let mut locks = Locks::new(60_000);
        for id in 0..1_000 {
            locks.lock("g", &queue(id), "a", 0);
        }
        locks.lock("g", &queue(999), "a", 50_000);
        assert!(locks.holds_any("g", 110_000) && !locks.holds_any("g", 110_001));
        locks.unlock("g", &queue(999), "a");
        locks.expire(60_001, 1_000);
        assert!(!locks.holds_any("g", 60_001), "none is left");
        locks.lock("g", &queue(0), "a", 60_001);
        assert!(!locks.lock("g", &queue(0), "b", 70_000));
        assert!(!locks.holds_any("g", 120_002), "nobody got it later");
    }

    #[test]
    fn few_are_examined_at_a_time() {
        let mut locks = Locks::new(60_000);
        for id in 0..10 {
            locks.lock("g", &queue(id), "a", 0);
        }
        locks.expire(60_001, 4);
        assert_eq!(locks.oldest.len(), 6);
        let mut forgotten = locks.remove_group("g");
        assert!(
            locks.lock("g", &queue(9), "b", 60_001),
            "all of them are free"
        );
        while locks.forget(&mut forgotten) {}
        assert_eq!((locks.groups.len(), locks.oldest.len()), (1, 1));
        let mut forgotten = locks.remove_group("g");
        while locks.forget(&mut forgotten) {}
        assert!(locks.groups.is_empty() && locks.oldest.is_empty());
    }

    #[test]
    fn there_is_a_limit() {
        let mut locks = Locks::new(60_000);
        for id in 0..MAX_LOCKS as i32 {
            assert!(locks.lock("g", &queue(id), "a", 0));
        }
        assert!(!locks.lock("h", &queue(0), "a", 0));
        assert!(locks.lock("g", &queue(0), "a", 0), "it is held already");
        locks.unlock("g", &queue(0), "a");
        assert!(locks.lock("h", &queue(0), "a", 0));
        assert_eq!(locks.oldest.len(), MAX_LOCKS);
    }
}
