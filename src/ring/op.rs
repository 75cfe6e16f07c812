//! Operations that the kernel has been asked for.
//!
//! An operation's slot owns what the kernel uses (buffer, descriptor) from submission to the last completion, whatever
//! becomes of the future that waits for it:
//!
//! ```text
//! submit -> Waiting --completion--> Done --poll--> (slot free, buffer back to the caller)
//!              |
//!              +--future dropped--> Orphan (cancel asked for) --last completion--> (slot free, buffer freed)
//! ```
//!
//! Multishot operations have no future; their completions go to a listener or a stream until the last one.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::{cqueue, opcode, squeue, types};
use slab::Slab;

use super::core::Core;
use super::desc::Desc;
use super::net::Accepting;
use super::queues::Completion;
use super::stream::Receiving;
use crate::mem::Buf;

#[derive(Default)]
pub(super) struct Ops {
    slots: RefCell<Slab<Slot>>,
    next_generation: Cell<u32>,
    in_flight: Cell<usize>,
    closed: Cell<bool>,
}

struct Slot {
    generation: u32,
    state: State,
    buf: Buf,
    /// Keeps the descriptor open; its number must not be used again while the kernel has yet to look it up.
    _desc: Option<Rc<Desc>>,
    /// A result that is not an error is a descriptor, which somebody has to close.
    opens: bool,
}

enum State {
    Waiting(Option<Waker>),
    Done(i32),
    Orphan,
    /// Not cancelled, as then nothing would close it.
    Closing(OwnedFd),
    Receiving(Rc<Receiving>),
    Accepting(Rc<Accepting>),
}

/// Names an operation to the kernel (`user_data`) and back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct OpKey {
    index: u32,
    generation: u32,
}

/// `user_data` of what nobody waits for.
const NOBODY: u64 = u64::MAX;

/// What is to be done, as an entry of the submission queue, with what it needs.
pub(super) struct Request {
    pub(super) entry: squeue::Entry,
    pub(super) buf: Buf,
    pub(super) desc: Option<Rc<Desc>>,
    pub(super) opens: bool,
}

impl Request {
    pub(super) fn new(entry: squeue::Entry, desc: &Rc<Desc>) -> Request {
        Request {
            entry,
            buf: Buf::Empty,
            desc: Some(desc.clone()),
            opens: false,
        }
    }

    pub(super) fn with_buf(self, buf: Buf) -> Request {
        Request { buf, ..self }
    }
}

impl Core {
    /// The bytes that `request.entry` points to must be those of `request.buf`.
    pub(super) fn submit(self: &Rc<Core>, request: Request) -> Op {
        let slot = Slot {
            generation: 0,
            state: State::Waiting(None),
            buf: request.buf,
            _desc: request.desc,
            opens: request.opens,
        };
        Op {
            key: self.start(request.entry, slot),
            core: self.clone(),
        }
    }

    /// `None` after the ring was shut down.
    pub(super) fn submit_recv(
        &self,
        entry: squeue::Entry,
        desc: &Rc<Desc>,
        to: &Rc<Receiving>,
    ) -> Option<OpKey> {
        self.submit_multishot(entry, desc, State::Receiving(to.clone()))
    }

    pub(super) fn submit_accept(
        &self,
        entry: squeue::Entry,
        desc: &Rc<Desc>,
        to: &Rc<Accepting>,
    ) -> Option<OpKey> {
        self.submit_multishot(entry, desc, State::Accepting(to.clone()))
    }

    /// Closes a descriptor on a worker of the kernel; at once after the ring was shut down.
    pub(super) fn close(&self, fd: OwnedFd) {
        if self.ops.closed.get() {
            return;
        }
        let entry = opcode::Close::new(types::Fd(fd.as_raw_fd()))
            .build()
            .flags(squeue::Flags::ASYNC);
        self.start(
            entry,
            Slot {
                generation: 0,
                state: State::Closing(fd),
                buf: Buf::Empty,
                _desc: None,
                opens: false,
            },
        );
    }

    /// Asks for the end of an operation; the last completion is still to come.
    pub(super) fn cancel(&self, key: OpKey) {
        let entry = opcode::AsyncCancel::new(key.to_user_data())
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(NOBODY);
        self.queues.borrow_mut().push(entry);
    }

    pub(super) fn cancel_all(&self) {
        let keys: Vec<OpKey> = self.ops.keys_in_flight();
        for key in keys {
            self.cancel(key);
        }
    }

    pub(super) fn complete(&self, completion: Completion) {
        if completion.user_data == NOBODY {
            return;
        }
        let key = OpKey::from_user_data(completion.user_data);
        let last = !cqueue::more(completion.flags);
        if last {
            self.ops.in_flight.update(|count| count - 1);
        }
        match self.ops.settle(key, completion.result, last) {
            Settled::Nothing => {}
            Settled::Wake(waker) => waker.wake(),
            Settled::Orphan(slot) => slot.discard(completion.result),
            Settled::Closed(slot) => slot.closed(completion.result),
            Settled::Received(to) => to.complete(self, key, completion),
            Settled::Accepted(to) => to.complete(self, key, completion),
        }
    }

    fn submit_multishot(
        &self,
        entry: squeue::Entry,
        desc: &Rc<Desc>,
        state: State,
    ) -> Option<OpKey> {
        if self.ops.closed.get() {
            return None;
        }
        let slot = Slot {
            generation: 0,
            state,
            buf: Buf::Empty,
            _desc: Some(desc.clone()),
            opens: false,
        };
        Some(self.start(entry, slot))
    }

    fn start(&self, entry: squeue::Entry, mut slot: Slot) -> OpKey {
        if self.ops.closed.get() {
            slot.state = State::Done(-libc::ECANCELED);
            return self.ops.insert(slot);
        }
        let key = self.ops.insert(slot);
        self.ops.in_flight.update(|count| count + 1);
        let entry = entry.user_data(key.to_user_data());
        self.queues.borrow_mut().push(entry);
        key
    }
}

enum Settled {
    Nothing,
    Wake(Waker),
    Orphan(Slot),
    Closed(Slot),
    Received(Rc<Receiving>),
    Accepted(Rc<Accepting>),
}

impl Ops {
    /// Operations of which the kernel has not said its last word.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Slots in use: those in flight and those whose result has not been taken.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// From now on nothing is submitted; every new operation is cancelled already.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    fn insert(&self, mut slot: Slot) -> OpKey {
        let generation = self.next_generation.get();
        // Stays below the one in `NOBODY`.
        self.next_generation.set((generation + 1) & (u32::MAX >> 1));
        slot.generation = generation;
        let index = self.slots.borrow_mut().insert(slot) as u32;
        OpKey { index, generation }
    }

    fn settle(&self, key: OpKey, result: i32, last: bool) -> Settled {
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
            State::Receiving(to) => Settled::Received(to.clone()),
            State::Accepting(to) => Settled::Accepted(to.clone()),
        };
        let ended = last.then(|| slots.remove(key.index as usize));
        drop(slots);
        // May close a descriptor, outside of the borrow.
        drop(ended);
        settled
    }

    fn keys_in_flight(&self) -> Vec<OpKey> {
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
    /// What the kernel has not begun is done here; after any other error the number is free already (`close(2)`).
    fn closed(self, result: i32) {
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

    /// Nobody wants the result any more.
    fn discard(self, result: i32) {
        if self.opens && result >= 0 {
            // SAFETY: the kernel has just opened it for us, and nobody else was told.
            drop(unsafe { OwnedFd::from_raw_fd(result) });
        }
    }
}

impl OpKey {
    fn to_user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_user_data(user_data: u64) -> OpKey {
        OpKey {
            index: user_data as u32,
            generation: (user_data >> 32) as u32,
        }
    }
}

/// Waits for a single operation. Dropping it cancels the operation.
pub(super) struct Op {
    core: Rc<Core>,
    key: OpKey,
}

impl Future for Op {
    type Output = (io::Result<u32>, Buf);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slots = self.core.ops.slots.borrow_mut();
        let slot = slots
            .get_mut(self.key.index as usize)
            .filter(|slot| slot.generation == self.key.generation)
            .expect("not polled after it was done");
        match &mut slot.state {
            State::Done(result) => {
                let result = os_result(*result);
                let slot = slots.remove(self.key.index as usize);
                drop(slots);
                Poll::Ready((result, slot.buf))
            }
            State::Waiting(waker) => {
                let old = waker.replace(context.waker().clone());
                // Wakers of others than our executor may do anything when they are dropped: not within the borrow.
                drop(slots);
                drop(old);
                Poll::Pending
            }
            _ => unreachable!("a single operation whose future lives"),
        }
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        let mut slots = self.core.ops.slots.borrow_mut();
        let slot = slots
            .get_mut(self.key.index as usize)
            .filter(|slot| slot.generation == self.key.generation);
        let Some(slot) = slot else {
            return; // its result has been taken
        };
        match mem::replace(&mut slot.state, State::Orphan) {
            State::Done(result) => {
                let slot = slots.remove(self.key.index as usize);
                drop(slots);
                slot.discard(result);
            }
            _ => {
                drop(slots);
                self.core.cancel(self.key);
            }
        }
    }
}

pub(super) fn os_result(result: i32) -> io::Result<u32> {
    match u32::try_from(result) {
        Ok(value) => Ok(value),
        Err(_) => Err(io::Error::from_raw_os_error(-result)),
    }
}
