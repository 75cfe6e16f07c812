//! A queue in chunks. It grows without moving what it has, and all of one is appended to another by its chunks.
//!
//! A vector that is full moves all its entries into one of twice the size, in one call: of a million timers that takes milliseconds.

use std::collections::VecDeque;

/// Entries of a chunk.
const CHUNK: usize = 1024;

#[derive(Debug)]
pub struct Crowd<T> {
    /// None of them is empty, except for a single one.
    chunks: VecDeque<VecDeque<T>>,
    len: usize,
}

impl<T> Default for Crowd<T> {
    fn default() -> Self {
        Self {
            chunks: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Crowd<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many it has memory for in its first chunk.
    pub fn first_capacity(&self) -> usize {
        self.chunks.front().map_or(0, VecDeque::capacity)
    }

    pub fn front(&self) -> Option<&T> {
        self.chunks.front()?.front()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    pub fn push_back(&mut self, entry: T) {
        self.len += 1;
        match self.chunks.back_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push_back(entry),
            None => self.chunks.push_back(VecDeque::from([entry])),
        }
    }

    pub fn pop_front(&mut self) -> Option<T> {
        let chunk = self.chunks.front_mut()?;
        let entry = chunk.pop_front()?;
        if chunk.is_empty() && self.chunks.len() > 1 {
            self.chunks.pop_front();
        }
        self.len -= 1;
        Some(entry)
    }

    /// Moves all of `other` behind what is here.
    pub fn append(&mut self, mut other: Self) {
        if self.is_empty() {
            *self = other;
        } else if !other.is_empty() {
            self.chunks.append(&mut other.chunks);
            self.len += other.len;
        }
    }

    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.chunks
            .iter_mut()
            .for_each(|chunk| chunk.retain(|entry| keep(entry)));
        self.chunks.retain(|chunk| !chunk.is_empty());
        self.len = self.chunks.iter().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Pop(usize),
        Append(usize),
        Retain(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..2_000_usize).prop_map(Step::Push),
            (0..2_000_usize).prop_map(Step::Pop),
            (0..2_000_usize).prop_map(Step::Append),
            (1..5_usize).prop_map(Step::Retain),
        ]
    }

    proptest! {
        #[test]
        fn as_a_queue(steps in prop::collection::vec(step(), 0..20)) {
            let (mut crowd, mut model, mut next) = (Crowd::default(), VecDeque::new(), 0);
            for step in steps {
                match step {
                    Step::Push(count) => for entry in next..next + count {
                        crowd.push_back(entry);
                        model.push_back(entry);
                    },
                    Step::Pop(count) => for _ in 0..count {
                        prop_assert_eq!(crowd.pop_front(), model.pop_front());
                    },
                    Step::Append(count) => {
                        let mut other = Crowd::default();
                        (next..next + count).for_each(|entry| other.push_back(entry));
                        crowd.append(other);
                        model.extend(next..next + count);
                    }
                    Step::Retain(divisor) => {
                        crowd.retain(|entry| entry % divisor == 0);
                        model.retain(|entry| entry % divisor == 0);
                    }
                }
                next += 2_000;
                prop_assert_eq!((crowd.len(), crowd.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(crowd.front(), model.front());
                prop_assert!(crowd.iter().eq(&model));
                prop_assert!(crowd.chunks.iter().all(|chunk| chunk.capacity() <= CHUNK));
                prop_assert!(crowd.chunks.len() < 2 || crowd.chunks.iter().all(|chunk| !chunk.is_empty()));
            }
        }
    }
}
