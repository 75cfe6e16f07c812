//! Whether the store takes messages: it is not fenced, has space, and is not being closed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::medium::Fence;
use super::{AppendError, StoreError};
use crate::io::{Notify, Waiters};

/// What lacks space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The disk is fuller than it should be.
    Disk,
    /// The log itself cannot be written.
    Log,
    /// The queues' files and the journal cannot be written.
    Queues,
    /// The files of config/ cannot be written.
    Texts,
}

pub(super) struct Gate {
    fence: Rc<Fence>,
    /// By [`Lack`]: the reason.
    lacks: RefCell<[Option<Arc<str>>; 4]>,
    is_closing: Cell<bool>,
    /// Woken when there may be room for a message, or never will be.
    pub room: Waiters,
    /// Retention looks at once whether files can be removed.
    pub clean_now: Rc<Notify>,
}

impl Gate {
    pub fn new(fence: Rc<Fence>, clean_now: Rc<Notify>) -> Self {
        Self {
            fence,
            lacks: RefCell::default(),
            is_closing: Cell::new(false),
            room: Waiters::default(),
            clean_now,
        }
    }

    pub fn is_fenced(&self) -> bool {
        self.fence.is_set()
    }

    /// Why nothing can be appended any more, if so.
    pub fn fence_reason(&self) -> Option<Arc<str>> {
        self.fence.reason()
    }

    pub fn check_fence(&self) -> Result<(), StoreError> {
        match self.fence.reason() {
            Some(reason) => Err(StoreError::Fenced { reason }),
            None => Ok(()),
        }
    }

    /// What the device has is unknown from now on.
    pub fn fence_off(&self, error: &StoreError) {
        self.fence.set(error);
    }

    pub fn is_closing(&self) -> bool {
        self.is_closing.get()
    }

    /// No message is taken from now on.
    pub fn close(&self) {
        self.is_closing.set(true);
        self.clean_now.notify();
        self.room.wake_all();
    }

    pub fn check_open(&self) -> Result<(), AppendError> {
        match (self.fence.reason(), self.full()) {
            (Some(reason), _) => Err(AppendError::Fenced { reason }),
            (None, _) if self.is_closing.get() => Err(AppendError::Closing),
            (None, Some(reason)) => Err(AppendError::NoSpace { reason }),
            (None, None) => Ok(()),
        }
    }

    /// Why there is no space, if so.
    pub fn full(&self) -> Option<Arc<str>> {
        self.lacks.borrow().iter().find_map(Option::clone)
    }

    pub fn has_lack(&self, lack: Lack) -> bool {
        self.lacks.borrow()[lack as usize].is_some()
    }

    /// The reason, or that there is space.
    pub fn note(&self, lack: Lack, reason: Option<Arc<str>>) {
        self.lacks.borrow_mut()[lack as usize] = reason;
        self.room.wake_all();
    }

    /// By the result of a write. An error of another kind changes nothing.
    pub fn note_written<T>(&self, lack: Lack, written: &Result<T, StoreError>) {
        match written {
            Ok(_) => self.note(lack, None),
            Err(error) if error.is_no_space() => {
                self.clean_now.notify();
                self.note(lack, Some(error.to_string().into()));
            }
            Err(_) => {}
        }
    }
}
