//! Queues that have got messages while pulls were parked there, served in turns.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::parked::Ticket;
use crate::store::QueueIndex;

/// Which parked pulls have to look at their queue again: those with a ticket below the queue's.
#[derive(Default)]
pub struct Waking {
    order: VecDeque<QueueIndex>,
    before: HashMap<QueueIndex, Ticket>,
}

impl Waking {
    pub fn add(&mut self, queue: QueueIndex, before: Ticket) {
        if self.before.insert(queue, before).is_none() {
            self.order.push_back(queue);
        }
    }

    /// The queue whose turn it is.
    pub fn first(&self) -> Option<(QueueIndex, Ticket)> {
        let queue = *self.order.front()?;
        Some((queue, self.before[&queue]))
    }

    /// No pull of the first queue is left.
    pub fn finish_first(&mut self) {
        if let Some(queue) = self.order.pop_front() {
            self.before.remove(&queue);
        }
    }

    /// The other queues come first now.
    pub fn rotate(&mut self) {
        if let Some(queue) = self.order.pop_front() {
            self.order.push_back(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_take_turns_and_are_named_once() {
        let (a, b) = (QueueIndex(1), QueueIndex(2));
        let mut waking = Waking::default();
        waking.add(a, 3);
        waking.add(b, 3);
        waking.add(a, 5);
        assert_eq!(waking.first(), Some((a, 5)));
        waking.rotate();
        assert_eq!(waking.first(), Some((b, 3)));
        waking.finish_first();
        assert_eq!(waking.first(), Some((a, 5)));
        waking.finish_first();
        assert!(waking.first().is_none() && waking.before.is_empty());
        waking.add(b, 7);
        assert_eq!(waking.first(), Some((b, 7)));
    }
}
