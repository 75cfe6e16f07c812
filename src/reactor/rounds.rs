//! How much administration one round of the executor has room for.
//!
//! Ready tasks run first in, first out. Ten thousand first heartbeats that arrive together, or a few dashboards that ask without a pause,
//! would make a send wait until all of them are handled. So requests that carry no messages take a share of the *round*: the time in
//! which each ready task runs once, and at most each paused one. A round has [`UNITS`]. What does not fit waits here, in the order of arrival, and a send waits for one
//! round at most.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::io::{Gate, Notify, Pass, yield_now};

/// Units of one round. A unit is a small request: some 10 to 50 us.
const UNITS: usize = 8;

/// A slice of a long answer has a round for itself: several dashboards take turns.
pub const SLICE_UNITS: usize = UNITS;

/// A body is decoded in one piece, and a heartbeat's entries are handled in one turn.
const BODY_BYTES_PER_UNIT: usize = 1024;

/// What a request without messages takes of a round.
pub fn units_of(body: &[u8]) -> usize {
    (1 + body.len() / BODY_BYTES_PER_UNIT).min(UNITS)
}

pub struct Rounds {
    gate: Rc<Gate>,
    /// What was taken in this round without waiting, and by those that have waited.
    taken: Cell<usize>,
    passes: RefCell<Vec<Pass>>,
    /// The first part of a round was taken.
    begun: Notify,
    has_ended: Cell<bool>,
}

impl Default for Rounds {
    fn default() -> Self {
        Rounds {
            gate: Gate::new(UNITS),
            taken: Cell::new(0),
            passes: RefCell::default(),
            begun: Notify::default(),
            has_ended: Cell::new(false),
        }
    }
}

impl Rounds {
    /// Takes a part of this round if one is left; `false`: wait with [`Self::take`].
    pub fn try_take(&self, units: usize) -> bool {
        if self.has_ended.get() {
            return true;
        }
        if self.gate.has_line() || self.gate.used() + units > UNITS {
            return false;
        }
        self.gate.take(units);
        self.taken.set(self.taken.get() + units);
        self.begun.notify();
        true
    }

    /// Takes a part of this round or of a later one, in the order of the calls.
    pub async fn take(&self, units: usize) {
        if self.has_ended.get() {
            return;
        }
        let entering = self.gate.enter(units);
        self.begun.notify();
        let pass = entering.await;
        self.passes.borrow_mut().push(pass);
    }

    /// Begins round after round while anything is taken, until `is_over`; from then on everything is granted at once.
    pub async fn run(&self, is_over: impl Fn() -> bool) {
        while !is_over() {
            self.begun.notified().await;
            while self.gate.used() > 0 {
                // All other tasks that are ready run before this one does again.
                yield_now().await;
                self.end();
            }
        }
        self.has_ended.set(true);
    }

    /// At the end: the task sees that the shard stops.
    pub fn wake(&self) {
        self.begun.notify();
    }

    fn end(&self) {
        drop(self.passes.take());
        self.gate.give_back(self.taken.take());
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

    fn waiting(rounds: &Rounds) -> Waiting<'_> {
        Box::pin(rounds.take(1))
    }

    /// Those that have their share are removed.
    fn granted(waiting: &mut Vec<Waiting<'_>>) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        let before = waiting.len();
        waiting.retain_mut(|request| request.as_mut().poll(&mut context).is_pending());
        before - waiting.len()
    }

    #[test]
    fn a_round_has_so_many_requests_and_the_others_come_in_order() {
        let rounds = Rounds::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut run = pin!(rounds.run(|| false));
        assert!(run.as_mut().poll(&mut context).is_pending());
        let taken = (0..100).filter(|_| rounds.try_take(1)).count();
        assert_eq!(taken, UNITS);
        let mut waiting: Vec<_> = (0..20).map(|_| waiting(&rounds)).collect();
        let mut slice = pin!(rounds.take(SLICE_UNITS));
        assert_eq!(granted(&mut waiting), 0);
        assert!(slice.as_mut().poll(&mut context).is_pending());
        for count in [8, 8, 4] {
            assert!(run.as_mut().poll(&mut context).is_pending());
            assert!(run.as_mut().poll(&mut context).is_pending());
            assert_eq!(granted(&mut waiting), count);
            assert!(!rounds.try_take(1), "a later one does not overtake");
        }
        assert!(slice.as_mut().poll(&mut context).is_pending());
        assert!(run.as_mut().poll(&mut context).is_pending());
        assert_eq!(slice.as_mut().poll(&mut context), Poll::Ready(()));
        assert!(!rounds.try_take(1), "a slice has its round alone");
    }

    #[test]
    fn after_the_end_nothing_waits() {
        let rounds = Rounds::default();
        let mut context = Context::from_waker(Waker::noop());
        let is_over = Cell::new(false);
        let mut run = pin!(rounds.run(|| is_over.get()));
        assert!(run.as_mut().poll(&mut context).is_pending());
        assert!(rounds.try_take(UNITS) && !rounds.try_take(1));
        let mut late = pin!(rounds.take(1));
        assert!(late.as_mut().poll(&mut context).is_pending());
        is_over.set(true);
        rounds.wake();
        for _ in 0..2 {
            assert!(run.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(late.as_mut().poll(&mut context), Poll::Ready(()));
        // The last round ends, and with it the task.
        assert!(run.as_mut().poll(&mut context).is_ready());
        assert!(rounds.try_take(UNITS) && rounds.try_take(1));
    }
}
