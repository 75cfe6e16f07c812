//! From where on a restart has to look through the log for messages that were delivered, although by what was saved they still wait.

use serde::{Deserialize, Serialize};

/// A restart looks through so much of the log at most, besides what was written since the last save.
pub const SPAN_BYTES: u64 = 256 << 20;

/// Whatever was delivered before this log position is over by what is, or will be, saved beside it. None: that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KnownPosition {
    position: Option<u64>,
    /// As it was saved last, or is about to be.
    #[serde(skip)]
    saved: u64,
}

impl KnownPosition {
    pub fn get(&self) -> Option<u64> {
        self.position
    }

    /// Whether it is so far beyond the one that was saved last that it has to be saved.
    pub fn set(&mut self, position: u64) -> bool {
        self.position = Some(position);
        position.saturating_sub(self.saved) >= SPAN_BYTES
    }

    pub fn note_save(&mut self) {
        self.saved = self.position.unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_saved_again_when_it_is_far_beyond_the_last_save() {
        let mut known = KnownPosition::default();
        assert!(!known.set(SPAN_BYTES - 1));
        assert!(known.set(SPAN_BYTES));
        known.note_save();
        assert!(!known.set(2 * SPAN_BYTES - 1));
        assert!(known.set(2 * SPAN_BYTES));
        assert_eq!(known.get(), Some(2 * SPAN_BYTES));
    }
}
