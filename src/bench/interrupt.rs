//! A signal that ends a benchmark early: what was measured by then is reported, what was made is removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Set by a signal, looked at by every wait of a run. Clones are handles on the same one.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicI32>);

impl Interrupt {
    pub fn set(&self, signal: i32) {
        self.0.store(signal, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.signal().is_some()
    }

    pub fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }
}
