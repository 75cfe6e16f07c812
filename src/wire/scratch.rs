//! What decoding keeps from one header to the next.

use super::fields::Fields;
use super::json::Learned;

/// Buffers that decoding reuses, so that it does not allocate, and what it has learned. One per connection.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) fields: Fields,
    /// A whole JSON header that was not UTF-8, repaired.
    pub(super) lossy: String,
    pub(super) learned: Learned,
}

/// What a header above the usual size leaves behind is given back.
const KEPT_TEXT_BYTES: usize = 64 << 10;

impl Scratch {
    /// Gives back what one long header has taken.
    pub fn shrink(&mut self) {
        if self.fields.text.capacity() > KEPT_TEXT_BYTES {
            self.fields.text = String::new();
        }
        if self.lossy.capacity() > KEPT_TEXT_BYTES {
            self.lossy = String::new();
        }
    }
}
