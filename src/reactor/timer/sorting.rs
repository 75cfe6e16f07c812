//! Sorting in slices: what one poll of a task does is bounded.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::io::yield_now;

/// Items that one turn sorts, copies or merges.
pub(super) const SLICE: usize = 8192;

/// The items in order: slices are sorted one a turn, then merged a slice a turn.
pub(super) async fn sorted<T: Ord + Copy>(mut items: Vec<T>) -> Vec<T> {
    let mut heads = BinaryHeap::new();
    for start in (0..items.len()).step_by(SLICE) {
        let end = items.len().min(start + SLICE);
        items[start..end].sort_unstable();
        heads.push(Reverse((items[start], start, end)));
        yield_now().await;
    }
    let mut merged = Vec::with_capacity(items.len());
    while let Some(Reverse((item, index, end))) = heads.pop() {
        merged.push(item);
        if index + 1 < end {
            heads.push(Reverse((items[index + 1], index + 1, end)));
        }
        if merged.len() % SLICE == 0 {
            yield_now().await;
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// How many turns it takes.
    fn sort(items: Vec<u64>) -> (Vec<u64>, usize) {
        let mut sorting = pin!(sorted(items));
        let mut context = Context::from_waker(Waker::noop());
        for turns in 1.. {
            if let Poll::Ready(items) = sorting.as_mut().poll(&mut context) {
                return (items, turns);
            }
        }
        unreachable!()
    }

    #[test]
    fn a_turn_sorts_a_slice() {
        let mut state = 1_u64;
        let items: Vec<_> = (0..10 * SLICE + 7)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state >> 50
            })
            .collect();
        let mut wanted = items.clone();
        wanted.sort_unstable();
        let (got, turns) = sort(items);
        assert!(got == wanted);
        assert_eq!(turns, 11 + 10 + 1, "11 slices are sorted, 10 merged whole");
        assert_eq!(sort(Vec::new()), (Vec::new(), 1));
        assert_eq!(sort(vec![3, 1, 2]).0, [1, 2, 3]);
    }
}
