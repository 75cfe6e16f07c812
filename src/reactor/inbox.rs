//! Bytes of one connection as they come, turned into whole frames.

use crate::wire::frame::{self, Frame, FrameError};

/// What to do after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Taken; the next one, please.
    Next,
    /// Not taken: the log has no room for this many bytes now. Offer the same frame again when it has.
    Full(usize),
    /// The connection has to end.
    Close,
}

/// Keeps what is not yet a whole frame. A frame that arrives whole is handed on where it lies, without a copy.
#[derive(Default)]
pub struct Inbox {
    held: Vec<u8>,
}

/// A buffer that one huge frame has grown is given back once it is empty.
const KEPT_CAPACITY_BYTES: usize = 256 << 10;

impl Inbox {
    /// Hands every whole frame in what is held and in `bytes` to `each`, until there is none or `each` says otherwise.
    /// All of `bytes` is consumed: what is not handed on is held.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Frame<'_>) -> Flow,
    ) -> Result<Flow, FrameError> {
        let mut rest = bytes;
        while !self.held.is_empty() {
            if let Some(frame) = frame::split(&self.held)? {
                let len = frame.len;
                match each(frame) {
                    Flow::Next => self.drop_front(len),
                    stop => {
                        self.held.extend_from_slice(rest);
                        return Ok(stop);
                    }
                }
            } else if rest.is_empty() {
                return Ok(Flow::Next);
            } else {
                let take = missing(&self.held).min(rest.len());
                self.held.extend_from_slice(&rest[..take]);
                rest = &rest[take..];
            }
        }
        while let Some(frame) = frame::split(rest)? {
            let len = frame.len;
            match each(frame) {
                Flow::Next => rest = &rest[len..],
                stop => {
                    self.held.extend_from_slice(rest);
                    return Ok(stop);
                }
            }
        }
        self.held.extend_from_slice(rest);
        Ok(Flow::Next)
    }

    fn drop_front(&mut self, len: usize) {
        self.held.drain(..len);
        if self.held.is_empty() && self.held.capacity() > KEPT_CAPACITY_BYTES {
            self.held = Vec::new();
        }
    }
}

/// How many bytes are missing to the end of the length field, or of the frame.
fn missing(held: &[u8]) -> usize {
    match held.first_chunk::<4>() {
        None => 4 - held.len(),
        Some(length) => (4 + u32::from_be_bytes(*length) as usize)
            .saturating_sub(held.len())
            .max(1),
    }
}
