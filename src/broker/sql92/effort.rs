//! What evaluations cost, and how much they may.
//!
//! The unit is a step: a node that is evaluated, or 64 bytes of text that are read. It takes some tens of nanoseconds.

use std::cell::Cell;

pub use crate::broker::limits::MAX_FILTER_STEPS as MAX_STEPS;

/// Steps of one look at a queue, except for those of its last message.
const STEPS_OF_A_LOOK: usize = 4_000;

const BYTES_OF_A_STEP: usize = 64;

/// What one look at a queue may still cost. The messages behind are evaluated by the next look.
#[derive(Clone, Debug)]
pub struct Effort {
    left: usize,
}

impl Effort {
    pub fn of_a_look() -> Self {
        Self {
            left: STEPS_OF_A_LOOK,
        }
    }

    /// Whether one more message may be evaluated.
    pub fn is_left(&self) -> bool {
        self.left > 0
    }

    pub(super) fn spend(&mut self, steps: usize) {
        // Every message costs something, a property that is not there too.
        self.left = self.left.saturating_sub(steps.max(1));
    }
}

/// The steps of one evaluation.
#[derive(Debug)]
pub(super) struct Steps {
    left: Cell<usize>,
}

impl Steps {
    pub fn new() -> Self {
        Self {
            left: Cell::new(MAX_STEPS),
        }
    }

    /// Whether there are so many left; takes them.
    pub fn take(&self, steps: usize) -> bool {
        let left = self.left.get().checked_sub(steps);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// As [`Self::take`], for text that is read.
    pub fn take_text(&self, bytes: usize) -> bool {
        self.take(bytes / BYTES_OF_A_STEP)
    }

    pub fn taken(&self) -> usize {
        MAX_STEPS - self.left.get()
    }
}
