//! Lines of polls that have to be woken, served in turns.

use std::collections::{BTreeSet, VecDeque};

use super::polls::{LineKey, Polls};
use crate::store::QueueIndex;

/// What is to be woken: by a message the first poll of each line that watches its queue, by messages left behind the first
/// one of a line.
#[derive(Default)]
pub struct Waking {
    order: VecDeque<Work>,
    /// Queues whose lines have all to be looked at.
    fresh: BTreeSet<QueueIndex>,
}

enum Work {
    Queue {
        queue: QueueIndex,
        /// Lines up to this one have been looked at.
        after: Option<LineKey>,
    },
    Line(LineKey),
}

impl Waking {
    pub fn queue(&mut self, queue: QueueIndex) {
        if self.fresh.insert(queue) {
            self.order.push_back(Work::Queue { queue, after: None });
        }
    }

    pub fn line(&mut self, line: LineKey) {
        self.order.push_back(Work::Line(line));
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The next poll that is woken; `None`: the step has found none, and another one may.
    pub fn step<P>(&mut self, polls: &mut Polls<P>) -> Option<P> {
        match self.order.pop_front()? {
            Work::Line(line) => polls.take_first(&line),
            Work::Queue { queue, after } => {
                self.fresh.remove(&queue);
                let (line, poll) = polls.take_next_for_queue(queue, after.as_ref())?;
                let after = Some(line);
                self.order.push_back(Work::Queue { queue, after });
                Some(poll)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::polls::Ask;
    use super::*;

    fn key(group: usize) -> LineKey {
        LineKey {
            topic: "T".into(),
            group: Rc::from(format!("g{group:04}")),
            queue_id: None,
            ask: Ask::Pop,
        }
    }

    #[test]
    fn a_message_wakes_one_of_each_of_thousands_of_lines_one_a_step() {
        const LINES: usize = 3_000;
        let (queue, mut polls, mut waking) = (QueueIndex(1), Polls::default(), Waking::default());
        for line in 0..LINES {
            polls.park(key(line), [queue], 10, 1, line);
            polls.park(key(line), [queue], 20, 1, line);
        }
        waking.queue(queue);
        waking.queue(queue);
        let (mut woken, mut steps) = (Vec::new(), 0);
        while !waking.is_empty() {
            woken.extend(waking.step(&mut polls));
            steps += 1;
        }
        assert!(woken.iter().copied().eq(0..LINES));
        assert_eq!((steps, polls.len()), (LINES + 1, LINES));
        waking.line(key(5));
        assert_eq!(waking.step(&mut polls), Some(5));
        assert!(waking.is_empty());
    }

    #[test]
    fn a_message_that_comes_meanwhile_starts_over() {
        let (queue, mut polls, mut waking) = (QueueIndex(1), Polls::default(), Waking::default());
        for deadline in [10, 20] {
            polls.park(key(1), [queue], deadline, 1, deadline);
            polls.park(key(2), [queue], deadline, 1, deadline + 1);
        }
        waking.queue(queue);
        assert_eq!(waking.step(&mut polls), Some(10));
        waking.queue(queue);
        let mut woken = Vec::new();
        while !waking.is_empty() {
            woken.extend(waking.step(&mut polls));
        }
        woken.sort_unstable();
        assert_eq!(woken, [11, 20, 21]);
    }
}
