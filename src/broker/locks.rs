//! Which client may consume which queue in order (RocketMQ: `RebalanceLockManager`). A lock lives 60 s from its last renewal.

use hashbrown::HashMap;

use crate::wire::MessageQueue;

#[derive(Debug)]
struct Lock {
    client_id: String,
    renewed_ms: u64,
}

/// The locks of all groups.
#[derive(Debug)]
pub struct Locks {
    expiry_ms: u64,
    groups: HashMap<String, HashMap<MessageQueue, Lock>>,
}

impl Locks {
    pub fn new(expiry_ms: u64) -> Self {
        Self {
            expiry_ms,
            groups: HashMap::new(),
        }
    }

    /// Takes or renews the lock if it is free, expired or the client's own.
    pub fn lock(
        &mut self,
        group: &str,
        queue: &MessageQueue,
        client_id: &str,
        now_ms: u64,
    ) -> bool {
        let expiry_ms = self.expiry_ms;
        let locks = self.groups.entry_ref(group).or_default();
        match locks.get_mut(queue) {
            Some(lock) if lock.client_id == client_id => lock.renewed_ms = now_ms,
            Some(lock) if lock.lives(now_ms, expiry_ms) && !mutant!(TwoLockOwners) => return false,
            _ => {
                let lock = Lock {
                    client_id: client_id.into(),
                    renewed_ms: now_ms,
                };
                locks.insert(queue.clone(), lock);
            }
        }
        true
    }

    /// Gives up the lock if it is the client's own.
    pub fn unlock(&mut self, group: &str, queue: &MessageQueue, client_id: &str) {
        let Some(locks) = self.groups.get_mut(group) else {
            return;
        };
        if locks
            .get(queue)
            .is_some_and(|lock| lock.client_id == client_id)
        {
            locks.remove(queue);
        }
        if locks.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Whether somebody of the group consumes in order now.
    pub fn holds_any(&self, group: &str, now_ms: u64) -> bool {
        self.groups.get(group).is_some_and(|locks| {
            locks
                .values()
                .any(|lock| lock.lives(now_ms, self.expiry_ms))
        })
    }

    /// Forgets what has expired; nothing that a client can tell.
    pub fn expire(&mut self, now_ms: u64) {
        let expiry_ms = self.expiry_ms;
        for locks in self.groups.values_mut() {
            locks.retain(|_, lock| lock.lives(now_ms, expiry_ms));
        }
        self.groups.retain(|_, locks| !locks.is_empty());
    }
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
        locks.expire(60_001);
        assert!(locks.groups.is_empty());
    }
}
