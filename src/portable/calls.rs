//! The table of calls that the pool was asked for.
//!
//! ```text
//! submit -> Waiting --ended--> Done --poll--> (slot free, buffer back to the caller)
//!              |
//!              +--future dropped--> taken back if it has not begun, else Orphan --ended--> (slot free, buffer freed)
//! ```

use std::cell::{Cell, RefCell};
use std::mem;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::pool::{Done, Job, Lane, Pool};
use super::work::{Outcome, Work};
use crate::mem::LogSlice;

pub(super) struct Calls {
    pub(super) pool: Pool,
    slots: RefCell<Slab<Slot>>,
    in_flight: Cell<usize>,
    is_closed: Cell<bool>,
}

struct Slot {
    lane: Lane,
    /// Of a buffer that was lent to the pool.
    kept: Option<LogSlice>,
    state: State,
}

enum State {
    Waiting(Option<Waker>),
    Done(Outcome),
    /// Nothing takes its result.
    Orphan,
    /// A close, which is not cancelled: the descriptor would stay open.
    Closing,
}

impl Calls {
    pub(super) fn new(pool: Pool) -> Calls {
        Calls {
            pool,
            slots: RefCell::default(),
            in_flight: Cell::new(0),
            is_closed: Cell::new(false),
        }
    }

    /// Calls that the pool has, or whose end was not taken from it yet.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Slots in use: those in flight and those whose result has not been taken.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// From now on nothing is submitted; a new call starts as cancelled.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// The key of its slot.
    pub(super) fn submit(&self, lane: Lane, work: Work, kept: Option<LogSlice>) -> usize {
        let is_close = matches!(work, Work::Close(_));
        let mut slots = self.slots.borrow_mut();
        if self.is_closed.get() && !is_close {
            let state = State::Done(work.cancelled());
            return slots.insert(Slot { lane, kept, state });
        }
        let state = match is_close {
            true => State::Closing,
            false => State::Waiting(None),
        };
        let key = slots.insert(Slot { lane, kept, state });
        drop(slots);
        self.in_flight.update(|count| count + 1);
        self.pool.submit(lane, Job { key, work });
        key
    }

    pub(super) fn complete(&self, done: Done) {
        let Done { key, outcome } = done;
        self.in_flight.update(|count| count - 1);
        let mut slots = self.slots.borrow_mut();
        match &mut slots[key].state {
            State::Waiting(waker) => {
                let waker = waker.take();
                slots[key].state = State::Done(outcome);
                drop(slots);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Done(_) => unreachable!("a call ends once"),
            State::Orphan | State::Closing => {
                let slot = slots.remove(key);
                drop(slots);
                // What it opened is closed.
                drop((slot, outcome));
            }
        }
    }

    /// The outcome of a call once it has ended, with what the owner kept of its buffer. Frees its slot.
    pub(super) fn poll(
        &self,
        key: usize,
        context: &Context<'_>,
    ) -> Poll<(Outcome, Option<LogSlice>)> {
        let mut slots = self.slots.borrow_mut();
        if let State::Waiting(waker) = &mut slots[key].state {
            let old = waker.replace(context.waker().clone());
            // A foreign waker may run any code when it is dropped: not within the borrow.
            drop(slots);
            drop(old);
            return Poll::Pending;
        }
        let Slot { kept, state, .. } = slots.remove(key);
        match state {
            State::Done(outcome) => Poll::Ready((outcome, kept)),
            _ => unreachable!("a call whose future lives"),
        }
    }

    /// The future of a call was dropped, whose outcome was not taken.
    pub(super) fn orphan(&self, key: usize) {
        let mut slots = self.slots.borrow_mut();
        let lane = slots[key].lane;
        let is_done = matches!(slots[key].state, State::Done(_));
        let taken_back = match is_done {
            true => None,
            false => self.pool.take_back(lane, key),
        };
        if taken_back.is_some() {
            self.in_flight.update(|count| count - 1);
        }
        if is_done || taken_back.is_some() {
            let slot = slots.remove(key);
            drop(slots);
            drop((slot, taken_back));
            return;
        }
        let old = mem::replace(&mut slots[key].state, State::Orphan);
        drop(slots);
        drop(old);
    }

    /// Takes back all that has not begun, but the closes.
    pub(super) fn cancel_queued(&self) {
        let waiting: Vec<_> = self
            .slots
            .borrow()
            .iter()
            .filter(|(_, slot)| matches!(slot.state, State::Waiting(_)))
            .map(|(key, slot)| (key, slot.lane))
            .collect();
        for (key, lane) in waiting {
            if let Some(work) = self.pool.take_back(lane, key) {
                let outcome = work.cancelled();
                self.complete(Done { key, outcome });
            }
        }
    }
}
