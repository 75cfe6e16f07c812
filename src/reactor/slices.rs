//! Long loops, in slices: what one poll of a task does is bounded, and other tasks run in between.

use crate::io::pause;

/// Repeats `step` until it returns `false`, at most `most` times in one turn.
pub(super) async fn in_slices(most: usize, mut step: impl FnMut() -> bool) {
    loop {
        for _ in 0..most {
            if !step() {
                return;
            }
        }
        pause().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_turn_takes_no_more_steps_than_allowed() {
        let (left, steps) = (Cell::new(50_000), Cell::new(0));
        let mut sliced = pin!(in_slices(32, || {
            steps.set(steps.get() + 1);
            left.set(left.get() - 1);
            left.get() > 0
        }));
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 0;
        while sliced.as_mut().poll(&mut context) == Poll::Pending {
            assert_eq!(steps.take(), 32);
            polls += 1;
        }
        assert_eq!((polls, left.get()), (50_000 / 32, 0));
    }
}
