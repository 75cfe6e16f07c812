//! The messages of one queue that are pulled and not consumed yet. Pure.
//!
//! The offset that may be saved is that of the first message that is not consumed, even if later ones are: a restart repeats some
//! messages and skips none.
//!
//! Source: `ProcessQueue`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::client::received::Received;

#[derive(Debug, Default)]
pub struct ProcessQueue {
    /// By queue offset.
    waiting: BTreeMap<i64, Arc<Received>>,
    /// Taken by an orderly consumer, and neither committed nor put back.
    taken: BTreeMap<i64, Arc<Received>>,
    /// Behind the last message that was ever added.
    end_offset: i64,
    bytes: usize,
}

impl ProcessQueue {
    pub fn put(&mut self, messages: impl IntoIterator<Item = Arc<Received>>) {
        for message in messages {
            let offset = message.queue_offset;
            self.end_offset = self.end_offset.max(offset + 1);
            self.bytes += message.size_bytes();
            if let Some(old) = self.waiting.insert(offset, message) {
                self.bytes -= old.size_bytes();
            }
        }
    }

    /// These are consumed. Returns the offset that may be saved now.
    pub fn remove(&mut self, offsets: impl IntoIterator<Item = i64>) -> i64 {
        for offset in offsets {
            if let Some(done) = self.waiting.remove(&offset) {
                self.bytes -= done.size_bytes();
            }
        }
        let first = self.waiting.first_key_value();
        first.map_or(self.end_offset, |(offset, _)| *offset)
    }

    /// The next messages in order, which stay here until [`commit`](Self::commit) or [`put_back`](Self::put_back).
    pub fn take(&mut self, most: usize) -> Vec<Arc<Received>> {
        let mut messages = Vec::new();
        while messages.len() < most
            && let Some((offset, message)) = self.waiting.pop_first()
        {
            self.taken.insert(offset, Arc::clone(&message));
            messages.push(message);
        }
        messages
    }

    /// The taken messages are consumed. Returns the offset that may be saved now; `None` if none was taken.
    pub fn commit(&mut self) -> Option<i64> {
        let (last, _) = self.taken.last_key_value()?;
        let offset = last + 1;
        for message in std::mem::take(&mut self.taken).into_values() {
            self.bytes -= message.size_bytes();
        }
        Some(offset)
    }

    /// The taken messages are consumed again, in the state of `messages`.
    pub fn put_back(&mut self, messages: Vec<Arc<Received>>) {
        for message in messages {
            if self.taken.remove(&message.queue_offset).is_some() {
                self.waiting.insert(message.queue_offset, message);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.taken.is_empty()
    }

    pub fn count(&self) -> usize {
        self.waiting.len() + self.taken.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// From the first to the last offset.
    pub fn span(&self) -> i64 {
        let ends = self
            .waiting
            .first_key_value()
            .zip(self.waiting.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::received::tests_support::message_at;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn orderly_messages_are_committed_or_come_again() {
        let mut queue = ProcessQueue::default();
        queue.put((10..14).map(message_at));
        let first = queue.take(2);
        assert_eq!(
            first.iter().map(|m| m.queue_offset).collect::<Vec<_>>(),
            [10, 11]
        );
        queue.put_back(first);
        assert_eq!(queue.take(3).len(), 3);
        assert_eq!(queue.commit(), Some(13));
        assert_eq!(queue.commit(), None);
        assert_eq!((queue.count(), queue.take(9).len()), (1, 1));
        assert_eq!(queue.commit(), Some(14));
        assert_eq!((queue.is_empty(), queue.bytes()), (true, 0));
    }

    proptest! {
        /// In any order of arrival and of being done.
        #[test]
        fn the_offset_never_passes_a_message_that_is_not_done(
            steps in prop::collection::vec((any::<bool>(), 0_usize..64, 1_i64..4), 1..200),
        ) {
            let mut queue = ProcessQueue::default();
            let mut next = 100;
            let mut open = BTreeSet::new();
            let mut saved = 0;
            for (arrives, which, count) in steps {
                if arrives || open.is_empty() {
                    // Filtered messages leave gaps.
                    next += which as i64 % 3;
                    queue.put((next..next + count).map(message_at));
                    open.extend(next..next + count);
                    next += count;
                } else {
                    let done = *open.iter().nth(which % open.len()).unwrap();
                    open.remove(&done);
                    let offset = queue.remove([done]);
                    prop_assert_eq!(offset, open.first().copied().unwrap_or(next));
                    prop_assert!(offset >= saved);
                    saved = offset;
                }
                prop_assert_eq!(queue.count(), open.len());
                let span = open.first().zip(open.last()).map_or(0, |(first, last)| last - first);
                prop_assert_eq!(queue.span(), span);
                prop_assert_eq!(queue.bytes(), open.len() * message_at(0).size_bytes());
            }
        }
    }
}
