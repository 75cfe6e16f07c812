//! The right to append before all others, of the first request in the admission queue.

use std::cell::Cell;
use std::rc::Rc;

use crate::io::Pass;

/// There is room for the request that waited, before all others, until this is dropped.
pub struct Permit {
    first_since_ns: Rc<Cell<Option<u64>>>,
    _pass: Pass,
}

impl Permit {
    /// `first_since_ns` says since when the first request in the queue has been waiting.
    pub fn new(pass: Pass, first_since_ns: Rc<Cell<Option<u64>>>, since_ns: u64) -> Self {
        first_since_ns.set(Some(since_ns));
        Permit {
            first_since_ns,
            _pass: pass,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.first_since_ns.set(None);
    }
}
