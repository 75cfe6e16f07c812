//! Which sockets are ready, by epoll.
//!
//! Readiness is remembered: epoll tells of each change once (EPOLLET). A direction counts as ready from an event until an operation finds
//! that it is not.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::Waker;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use slab::Slab;

use crate::ring::linux::{Doorbell, Wait};

/// Events that one turn takes; further ones are the next turn's.
const EVENTS_PER_TURN: usize = 1024;

/// A longer wait ends early and is begun again.
const LONGEST_WAIT_MS: u64 = 24 * 3_600 * 1_000;

/// Of the bell that the pool rings, instead of a source's key.
const BELL: u64 = u64::MAX;

pub(super) struct Poller {
    epoll: OwnedFd,
    sources: RefCell<Slab<State>>,
    events: RefCell<Vec<epoll::Event>>,
    bell: Doorbell,
    _bell_descriptor: OwnedFd,
}

#[derive(Default)]
struct State {
    read: Readiness,
    write: Readiness,
    /// Neither an operation that transfers less than it could nor anything else makes it unready again: the peer has ended the stream, or it failed.
    has_ended: bool,
}

#[derive(Default)]
struct Readiness {
    is_ready: bool,
    waiter: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Poller {
    pub(super) fn new(bell: Doorbell) -> io::Result<Poller> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let descriptor = bell.descriptor()?;
        let data = EventData::new_u64(BELL);
        epoll::add(&epoll, &descriptor, data, EventFlags::IN)?;
        Ok(Poller {
            epoll,
            sources: RefCell::default(),
            events: RefCell::new(Vec::with_capacity(EVENTS_PER_TURN)),
            bell,
            _bell_descriptor: descriptor,
        })
    }

    /// Waits for an event as asked.
    pub(super) fn wait(&self, wait: Wait) -> io::Result<()> {
        let ms = match wait {
            Wait::No => Some(0),
            // Never early.
            Wait::AtMost { ns } => Some(ns.div_ceil(1_000_000).min(LONGEST_WAIT_MS)),
            Wait::Forever => None,
        };
        let timeout = ms.map(|ms| Timespec {
            tv_sec: (ms / 1_000) as i64,
            tv_nsec: (ms % 1_000 * 1_000_000) as i64,
        });
        let mut events = self.events.borrow_mut();
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Wakes the tasks that the events of the last wait concern.
    pub(super) fn wake(&self) {
        let mut sources = self.sources.borrow_mut();
        for event in self.events.borrow_mut().drain(..) {
            let (key, flags) = (event.data.u64(), event.flags);
            if key == BELL {
                // An error would show again.
                let _ = self.bell.answer();
                continue;
            }
            let Some(source) = sources.get_mut(key as usize) else {
                continue;
            };
            let failed = EventFlags::HUP | EventFlags::ERR;
            source.has_ended |= flags.intersects(EventFlags::RDHUP | failed);
            if flags.intersects(EventFlags::IN | EventFlags::RDHUP | failed) {
                source.read.set();
            }
            if flags.intersects(EventFlags::OUT | failed) {
                source.write.set();
            }
        }
    }

    /// Watches a descriptor that does not block, in both directions; its key.
    pub(super) fn add(&self, fd: &OwnedFd) -> io::Result<usize> {
        let key = self.sources.borrow_mut().insert(State::default());
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(key as u64);
        if let Err(error) = epoll::add(&self.epoll, fd, data, flags) {
            self.sources.borrow_mut().remove(key);
            return Err(error.into());
        }
        Ok(key)
    }

    /// It is closed next.
    pub(super) fn remove(&self, key: usize, fd: &OwnedFd) {
        // A duplicate of the descriptor may stay open, and would stay in the set.
        let removed = epoll::delete(&self.epoll, fd);
        debug_assert!(removed.is_ok());
        let state = self.sources.borrow_mut().remove(key);
        // Dropping a foreign waker may run any code: not within the borrow.
        drop(state);
    }

    pub(super) fn is_ready(&self, key: usize, direction: Direction) -> bool {
        self.sources.borrow_mut()[key].of(direction).is_ready
    }

    /// Wakes this task when it becomes ready. One a direction: a second one replaces the first.
    pub(super) fn wake_when_ready(&self, key: usize, direction: Direction, waker: Waker) {
        let mut sources = self.sources.borrow_mut();
        let old = sources[key].of(direction).waiter.replace(waker);
        drop(sources);
        drop(old);
    }

    /// The last operation found nothing more to do in this direction.
    pub(super) fn is_drained(&self, key: usize, direction: Direction) {
        self.sources.borrow_mut()[key].of(direction).is_ready = false;
    }

    /// The last operation has transferred less than it could have. An end of the stream that came before it shows in no later event.
    pub(super) fn was_short(&self, key: usize, direction: Direction) {
        let source = &mut self.sources.borrow_mut()[key];
        if !source.has_ended {
            source.of(direction).is_ready = false;
        }
    }

    #[cfg(test)]
    pub(super) fn sources(&self) -> usize {
        self.sources.borrow().len()
    }
}

impl Readiness {
    fn set(&mut self) {
        self.is_ready = true;
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

impl State {
    fn of(&mut self, direction: Direction) -> &mut Readiness {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}
