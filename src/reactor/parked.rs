//! Pulls that found nothing and wait for a message: suspended, never polled.
//!
//! A parked pull leaves when its queue gets an entry, or at its deadline, whichever is first. Pulls whose client has
//! gone are dropped together, within a second.

use std::collections::BTreeMap;

use crate::store::QueueIndex;

/// When a pull gives up, with a number that makes it unique.
type Deadline = (u64, u64);

/// Parked pulls of type `P`, by queue and by deadline.
pub struct Parked<P> {
    by_queue: BTreeMap<QueueIndex, Vec<(Deadline, P)>>,
    by_deadline: BTreeMap<Deadline, QueueIndex>,
    parked_ever: u64,
}

impl<P> Default for Parked<P> {
    fn default() -> Self {
        Parked {
            by_queue: BTreeMap::new(),
            by_deadline: BTreeMap::new(),
            parked_ever: 0,
        }
    }
}

impl<P> Parked<P> {
    pub fn park(&mut self, queue: QueueIndex, deadline_ns: u64, pull: P) {
        let deadline = (deadline_ns, self.parked_ever);
        self.parked_ever += 1;
        self.by_queue
            .entry(queue)
            .or_default()
            .push((deadline, pull));
        self.by_deadline.insert(deadline, queue);
    }

    /// All pulls that wait for this queue, in the order in which they were parked.
    pub fn take_queue(&mut self, queue: QueueIndex) -> Vec<(u64, P)> {
        let pulls = self.by_queue.remove(&queue).unwrap_or_default();
        for (deadline, _) in &pulls {
            self.by_deadline.remove(deadline);
        }
        pulls
            .into_iter()
            .map(|((deadline_ns, _), pull)| (deadline_ns, pull))
            .collect()
    }

    /// The next pull whose deadline has passed, with the queue it waited for.
    pub fn take_due(&mut self, now_ns: u64) -> Option<(QueueIndex, P)> {
        let entry = self.by_deadline.first_entry()?;
        if entry.key().0 > now_ns {
            return None;
        }
        let (deadline, queue) = entry.remove_entry();
        let pulls = self
            .by_queue
            .get_mut(&queue)
            .expect("a deadline has its pull");
        let place = pulls
            .iter()
            .position(|(other, _)| *other == deadline)
            .expect("a deadline has its pull");
        let (_, pull) = pulls.remove(place);
        if pulls.is_empty() {
            self.by_queue.remove(&queue);
        }
        Some((queue, pull))
    }

    /// Drops those that `keeps` does not want.
    pub fn retain(&mut self, keeps: impl Fn(&P) -> bool) {
        let by_deadline = &mut self.by_deadline;
        self.by_queue.retain(|_, pulls| {
            pulls.retain(|(deadline, pull)| {
                let is_kept = keeps(pull);
                if !is_kept {
                    by_deadline.remove(deadline);
                }
                is_kept
            });
            !pulls.is_empty()
        });
    }

    pub fn len(&self) -> usize {
        self.by_deadline.len()
    }

    pub fn waits_for(&self, queue: QueueIndex) -> bool {
        self.by_queue.contains_key(&queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_leaves_once_by_queue_or_by_deadline() {
        let (a, b) = (QueueIndex(1), QueueIndex(2));
        let mut parked = Parked::default();
        parked.park(a, 30, "a30");
        parked.park(b, 10, "b10");
        parked.park(a, 20, "a20");
        assert_eq!(parked.take_due(9), None);
        assert_eq!(parked.take_due(20), Some((b, "b10")));
        assert!(!parked.waits_for(b));
        assert_eq!(parked.take_due(20), Some((a, "a20")));
        assert_eq!(parked.take_queue(a), vec![(30, "a30")]);
        parked.park(a, 40, "gone");
        parked.park(b, 40, "b40");
        parked.park(b, 50, "gone");
        parked.retain(|pull| *pull != "gone");
        assert_eq!((parked.len(), parked.waits_for(a)), (1, false));
        assert_eq!(parked.take_due(50), Some((b, "b40")));
        assert_eq!(parked.take_due(u64::MAX), None);
        assert!(!parked.waits_for(a) && parked.by_queue.is_empty());
    }
}
