//! The table of operations that the kernel was asked for.
//!
//! A slot owns what the kernel uses (buffer, descriptor) from the submission to the last completion, also when the
//! future of the operation is dropped before:
//!
//! ```text
//! submit -> Waiting --completion--> Done --poll--> (slot free, buffer back to the caller)
//!              |
//!              +--future dropped--> Orphan (cancelled) --last completion--> (slot free, buffer freed)
//! ```
//!
//! A multishot operation has no future: its completions go to its [`Multishot`] until the last one.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::mem;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::queues::Completion;
use crate::mem::Buf;

#[derive(Default)]
pub(super) struct Slots {
    slots: RefCell<Slab<Slot>>,
    next_generation: Cell<u32>,
    in_flight: Cell<usize>,
    closed: Cell<bool>,
}

pub(super) struct Slot {
    generation: u32,
    state: State,
    buf: Buf,
    /// Keeps the descriptor open: its number must not be used again before the kernel has looked it up.
    _descriptor: Option<Rc<dyn Any>>,
    /// A result that is not an error is a new descriptor, which has to be closed.
    opens: bool,
}

enum State {
    Waiting(Option<Waker>),
    Done(i32),
    Orphan,
    /// Never cancelled: a cancelled close would leave the descriptor open.
    Closing(OwnedFd),
    Multishot(Rc<dyn Multishot>),
}

/// Takes the completions of a multishot operation.
pub(super) trait Multishot {
    fn complete(&self, completion: Completion, now_ns: u64) -> Demand;
}

/// What becomes of a multishot operation after a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// It goes on, or has ended by itself.
    Unchanged,
    /// It is to be cancelled.
    Paused,
}

/// Names an operation to the kernel (`user_data`) and back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OpKey {
    index: u32,
    generation: u32,
}

/// `user_data` of a submission whose completion is ignored.
pub(super) const IGNORED: u64 = u64::MAX;

/// What a completion means for its slot.
pub(super) enum Settled {
    Nothing,
    Wake(Waker),
    Orphan(Slot),
    Closed(Slot),
    Multishot(Rc<dyn Multishot>),
}

impl Slots {
    /// Operations whose last completion has not come.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Slots in use: those in flight and those whose result has not been taken.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// From now on nothing is submitted; a new operation starts as cancelled.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The slot of an operation that is submitted next.
    pub(super) fn insert_in_flight(&self, slot: Slot) -> OpKey {
        self.in_flight.update(|count| count + 1);
        self.insert(slot)
    }

    /// The slot of an operation that is not submitted, as the ring shuts down.
    pub(super) fn insert_cancelled(&self, mut slot: Slot) -> OpKey {
        slot.state = State::Done(-libc::ECANCELED);
        self.insert(slot)
    }

    fn insert(&self, mut slot: Slot) -> OpKey {
        let generation = self.next_generation.get();
        // Stays below the generation in `IGNORED`.
        self.next_generation.set((generation + 1) & (u32::MAX >> 1));
        slot.generation = generation;
        let index = self.slots.borrow_mut().insert(slot) as u32;
        OpKey { index, generation }
    }

    pub(super) fn settle(&self, key: OpKey, result: i32, last: bool) -> Settled {
        if last {
            self.in_flight.update(|count| count - 1);
        }
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(key.index as usize);
        let slot = slot.expect("a slot stays until its last completion");
        assert_eq!(
            slot.generation, key.generation,
            "a completion after the last"
        );
        let settled = match &mut slot.state {
            State::Waiting(waker) => {
                assert!(last, "several completions of a single operation");
                let waker = waker.take();
                slot.state = State::Done(result);
                return waker.map_or(Settled::Nothing, Settled::Wake);
            }
            State::Done(_) => unreachable!("a completion after the last"),
            State::Orphan if last => return Settled::Orphan(slots.remove(key.index as usize)),
            State::Orphan => Settled::Nothing,
            State::Closing(_) => return Settled::Closed(slots.remove(key.index as usize)),
            State::Multishot(to) => Settled::Multishot(to.clone()),
        };
        let ended = last.then(|| slots.remove(key.index as usize));
        drop(slots);
        // May close a descriptor, outside of the borrow.
        drop(ended);
        settled
    }

    /// The result and the buffer of a single operation, once it is done. Frees its slot.
    pub(super) fn poll(&self, key: OpKey, context: &mut Context<'_>) -> Poll<(i32, Buf)> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.generation == key.generation)
            .expect("not polled after it was done");
        match &mut slot.state {
            State::Done(result) => {
                let result = *result;
                let slot = slots.remove(key.index as usize);
                drop(slots);
                Poll::Ready((result, slot.buf))
            }
            State::Waiting(waker) => {
                let old = waker.replace(context.waker().clone());
                // A foreign waker may run any code when it is dropped: not within the borrow.
                drop(slots);
                drop(old);
                Poll::Pending
            }
            _ => unreachable!("a single operation whose future lives"),
        }
    }

    /// The future of a single operation was dropped. `true` if the operation is in flight and so has to be cancelled.
    #[must_use]
    pub(super) fn orphan(&self, key: OpKey) -> bool {
        let mut slots = self.slots.borrow_mut();
        let slot = slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.generation == key.generation);
        let Some(slot) = slot else {
            return false; // its result has been taken
        };
        match mem::replace(&mut slot.state, State::Orphan) {
            State::Done(result) => {
                let slot = slots.remove(key.index as usize);
                drop(slots);
                slot.discard(result);
                false
            }
            _ => true,
        }
    }

    /// What a shutdown cancels: everything in flight but the closes.
    pub(super) fn keys_to_cancel(&self) -> Vec<OpKey> {
        let slots = self.slots.borrow();
        let in_flight = slots
            .iter()
            .filter(|(_, slot)| !matches!(slot.state, State::Done(_) | State::Closing(_)));
        in_flight
            .map(|(index, slot)| OpKey {
                index: index as u32,
                generation: slot.generation,
            })
            .collect()
    }
}

impl Slot {
    pub(super) fn single(buf: Buf, descriptor: Option<Rc<dyn Any>>, opens: bool) -> Slot {
        Slot {
            generation: 0,
            state: State::Waiting(None),
            buf,
            _descriptor: descriptor,
            opens,
        }
    }

    pub(super) fn multishot(to: Rc<dyn Multishot>, descriptor: Rc<dyn Any>) -> Slot {
        Slot {
            state: State::Multishot(to),
            ..Slot::single(Buf::Empty, Some(descriptor), false)
        }
    }

    pub(super) fn closing(fd: OwnedFd) -> Slot {
        Slot {
            state: State::Closing(fd),
            ..Slot::single(Buf::Empty, None, false)
        }
    }

    /// A close that the kernel has not begun is done here; after any other error the number is free already (`close(2)`).
    pub(super) fn closed(self, result: i32) {
        let State::Closing(fd) = self.state else {
            unreachable!("only of a close")
        };
        match -result {
            libc::ECANCELED | libc::EAGAIN | libc::ENOMEM | libc::EINVAL => drop(fd),
            _ => {
                let _ = fd.into_raw_fd();
            }
        }
    }

    /// The result of an orphan is not used; a descriptor in it is closed.
    pub(super) fn discard(self, result: i32) {
        if self.opens && result >= 0 {
            // SAFETY: the kernel has just opened it for this operation, and nothing else knows its number.
            drop(unsafe { OwnedFd::from_raw_fd(result) });
        }
    }
}

impl OpKey {
    pub(super) fn to_user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_user_data(user_data: u64) -> OpKey {
        OpKey {
            index: user_data as u32,
            generation: (user_data >> 32) as u32,
        }
    }
}

pub(super) fn os_result(result: i32) -> io::Result<u32> {
    match u32::try_from(result) {
        Ok(value) => Ok(value),
        Err(_) => Err(io::Error::from_raw_os_error(-result)),
    }
}
