//! Pulls without a message, by queue, by deadline and by connection.
//!
//! A parked pull is removed by an entry of its queue, by its deadline, or by the end of its connection, whichever is first. Every
//! removal is one step of logarithmic cost, so that the caller decides how many it takes in a turn.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::store::QueueIndex;

/// The number of a parked pull, in the order in which pulls were parked.
pub type Ticket = u64;

/// Parked pulls of type `P`.
pub struct Parked<P> {
    by_queue: BTreeMap<(QueueIndex, Ticket), Pull<P>>,
    by_deadline: BTreeMap<(u64, Ticket), QueueIndex>,
    by_connection: BTreeMap<(u64, Ticket), QueueIndex>,
    next_ticket: Ticket,
}

struct Pull<P> {
    deadline_ns: u64,
    connection: u64,
    pull: P,
}

impl<P> Default for Parked<P> {
    fn default() -> Self {
        Parked {
            by_queue: BTreeMap::new(),
            by_deadline: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            next_ticket: 0,
        }
    }
}

impl<P> Parked<P> {
    pub fn park(&mut self, queue: QueueIndex, deadline_ns: u64, connection: u64, pull: P) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.by_deadline.insert((deadline_ns, ticket), queue);
        self.by_connection.insert((connection, ticket), queue);
        let pull = Pull {
            deadline_ns,
            connection,
            pull,
        };
        self.by_queue.insert((queue, ticket), pull);
    }

    /// The ticket of the next pull that is parked: all that are parked now have smaller ones.
    pub fn next_ticket(&self) -> Ticket {
        self.next_ticket
    }

    /// The oldest pull of this queue with a ticket below `before`.
    pub fn take_first(&mut self, queue: QueueIndex, before: Ticket) -> Option<P> {
        let mut range = self.by_queue.range((queue, 0)..(queue, before));
        let (_, ticket) = *range.next()?.0;
        Some(self.remove(queue, ticket).pull)
    }

    /// The next pull whose deadline has passed.
    pub fn take_due(&mut self, now_ns: u64) -> Option<P> {
        let ((deadline_ns, ticket), queue) = self.by_deadline.first_key_value()?;
        if *deadline_ns > now_ns {
            return None;
        }
        let (queue, ticket) = (*queue, *ticket);
        Some(self.remove(queue, ticket).pull)
    }

    /// The oldest pull of this connection.
    pub fn take_of_connection(&mut self, connection: u64) -> Option<P> {
        let all = (connection, 0)..=(connection, Ticket::MAX);
        let ((_, ticket), queue) = self.by_connection.range(all).next()?;
        let (queue, ticket) = (*queue, *ticket);
        Some(self.remove(queue, ticket).pull)
    }

    pub fn len(&self) -> usize {
        self.by_queue.len()
    }

    pub fn waits_for(&self, queue: QueueIndex) -> bool {
        let mut range = self.by_queue.range((queue, 0)..=(queue, Ticket::MAX));
        range.next().is_some()
    }

    fn remove(&mut self, queue: QueueIndex, ticket: Ticket) -> Pull<P> {
        let Entry::Occupied(entry) = self.by_queue.entry((queue, ticket)) else {
            unreachable!("every index names a pull that is parked");
        };
        let pull = entry.remove();
        self.by_deadline.remove(&(pull.deadline_ns, ticket));
        self.by_connection.remove(&(pull.connection, ticket));
        pull
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: QueueIndex = QueueIndex(1);
    const B: QueueIndex = QueueIndex(2);

    #[test]
    fn a_pull_leaves_once_by_queue_deadline_or_connection() {
        let mut parked = Parked::default();
        parked.park(A, 30, 1, "a30");
        parked.park(B, 10, 1, "b10");
        parked.park(A, 20, 2, "a20");
        assert_eq!(parked.take_due(9), None);
        assert_eq!(parked.take_due(20), Some("b10"));
        assert!(!parked.waits_for(B) && parked.waits_for(A));
        assert_eq!(parked.take_due(20), Some("a20"));
        assert_eq!(parked.take_first(A, 99), Some("a30"));
        parked.park(A, 40, 7, "closed");
        parked.park(B, 40, 8, "b40");
        parked.park(B, 50, 7, "closed");
        assert_eq!(parked.take_of_connection(7), Some("closed"));
        assert_eq!(parked.take_of_connection(7), Some("closed"));
        assert_eq!(parked.take_of_connection(7), None);
        assert_eq!((parked.len(), parked.waits_for(A)), (1, false));
        assert_eq!(parked.take_due(50), Some("b40"));
        assert_eq!(parked.take_due(u64::MAX), None);
        assert!(parked.by_deadline.is_empty() && parked.by_connection.is_empty());
    }

    #[test]
    fn a_pull_that_is_parked_again_is_not_taken_twice_for_one_message() {
        let mut parked = Parked::default();
        parked.park(A, 30, 1, "first");
        parked.park(A, 20, 2, "second");
        let before = parked.next_ticket();
        assert_eq!(parked.take_first(A, before), Some("first"));
        parked.park(A, 30, 1, "first");
        assert_eq!(parked.take_first(A, before), Some("second"));
        assert_eq!(parked.take_first(A, before), None);
        assert_eq!(parked.len(), 1);
    }
}
