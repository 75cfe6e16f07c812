//! The memory that the connections of one reactor hold together.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::gate::Gate;

/// Frees memory of replies when more is used than there is.
pub trait Relief {
    fn relieve(&self);
}

pub struct Memory {
    /// Bytes of requests that have not come whole.
    pub requests: Rc<Gate>,
    /// Bytes of replies that are not with the kernel yet, or are being read from disk.
    pub replies: Rc<Gate>,
    /// Pulls that wait for a message.
    pub parked: Cell<usize>,
    relief: RefCell<Option<Weak<dyn Relief>>>,
}

impl Memory {
    pub fn new(bytes: usize) -> Rc<Self> {
        Rc::new(Memory {
            requests: Gate::new(bytes / 2),
            replies: Gate::new(bytes / 4),
            parked: Cell::new(0),
            relief: RefCell::default(),
        })
    }

    pub fn set_relief(&self, relief: Weak<dyn Relief>) {
        self.relief.replace(Some(relief));
    }

    /// What all replies may take, at most.
    pub fn max_reply_bytes(&self) -> usize {
        self.replies.limit() * 2
    }

    /// Closes connections if replies take more than they may.
    pub fn relieve(&self) {
        if self.replies.used() > self.max_reply_bytes() {
            let relief = self.relief.borrow().as_ref().and_then(Weak::upgrade);
            if let Some(relief) = relief {
                relief.relieve();
            }
        }
    }
}
