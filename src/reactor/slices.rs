//! Long loops, in slices: what one poll of a task does is bounded, and other tasks run in between.

use crate::io::yield_now;

/// Repeats `step` until it returns `false`, at most `most` times in one turn.
pub(super) async fn in_slices(most: usize, mut step: impl FnMut() -> bool) {
    loop {
        for _ in 0..most {
            if !step() {
                return;
            }
        }
        yield_now().await;
    }
}

/// What a task may still do in this turn, for loops that mostly wait for nothing, but may.
pub(super) struct Turn {
    most: usize,
    left: usize,
}

impl Turn {
    /// So many units in each turn.
    pub fn of(most: usize) -> Self {
        Self { most, left: most }
    }

    /// Counts what was done. If that was all for this turn, the other tasks run first.
    pub async fn spend(&mut self, units: usize) {
        self.left = self.left.saturating_sub(units);
        if self.left == 0 {
            yield_now().await;
            self.left = self.most;
        }
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

    #[test]
    fn a_task_pauses_when_its_turn_is_spent() {
        let done = Cell::new(0);
        let mut task = pin!(async {
            let mut turn = Turn::of(16);
            for units in [1, 3, 40, 0].into_iter().cycle().take(400) {
                done.set(done.get() + units);
                turn.spend(units).await;
            }
        });
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 0;
        while task.as_mut().poll(&mut context) == Poll::Pending {
            // 1, 3 and 40: the last one alone is more than a turn has.
            assert_eq!(done.take(), 44);
            polls += 1;
        }
        assert_eq!(polls, 100);
    }
}
