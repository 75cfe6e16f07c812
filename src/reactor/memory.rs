//! The memory that the connections of one reactor hold together, and what is measured of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::{Rc, Weak};

use super::latencies::Latencies;
use super::slow_requests::SlowRequests;
use crate::io::Gate;
use crate::metrics::Histogram;
use crate::metrics::families::REPLY_SECONDS;

/// A connection with more unsent replies is among the first that are closed when the memory is used up.
const HEAVY_BYTES: usize = 1 << 20;

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
    /// Requests of open connections whose answer is being read from disk.
    pub reading: Cell<usize>,
    /// How long requests take, and how long the kernel takes replies.
    pub latencies: Latencies,
    pub slow: SlowRequests,
    pub reply_us: RefCell<Histogram>,
    /// Connections with more than [`HEAVY_BYTES`] of unsent replies: few, as all together have a limit.
    heavy: RefCell<BTreeSet<u64>>,
    relief: RefCell<Option<Weak<dyn Relief>>>,
}

impl Memory {
    pub fn new(bytes: usize, latencies: Latencies) -> Rc<Self> {
        Rc::new(Memory {
            requests: Gate::new(bytes / 2),
            replies: Gate::new(bytes / 4),
            parked: Cell::new(0),
            reading: Cell::new(0),
            latencies,
            slow: SlowRequests::default(),
            reply_us: RefCell::new(Histogram::of(&REPLY_SECONDS)),
            heavy: RefCell::default(),
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

    /// The unsent replies of a connection have become more or less.
    pub fn unsent_changed(&self, connection: u64, before: usize, after: usize) {
        match (before > HEAVY_BYTES, after > HEAVY_BYTES) {
            (false, true) => drop(self.heavy.borrow_mut().insert(connection)),
            (true, false) => drop(self.heavy.borrow_mut().remove(&connection)),
            _ => {}
        }
    }

    pub fn heavy(&self) -> Vec<u64> {
        self.heavy.borrow().iter().copied().collect()
    }

    /// The kernel has taken replies, after so long.
    pub fn sent(&self, took_ns: u64) {
        self.reply_us.borrow_mut().record(took_ns / 1_000);
    }

    /// Nothing waits to be sent or is being sent, nor read to be sent.
    pub fn is_drained(&self) -> bool {
        self.replies.used() == 0 && self.reading.get() == 0
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
