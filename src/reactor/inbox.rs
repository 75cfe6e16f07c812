//! Bytes of one connection as they come, turned into whole frames.

use crate::broker::limits::MAX_UNRESERVED_BYTES;
use crate::wire::frame::{self, Frame, FrameError};

/// What to do after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Taken; the next one may follow.
    Next,
    /// Not taken: the log has no room for this many bytes now. Offer the same frame again later.
    Full(usize),
    /// Not taken: the topic that it has made is to be saved first. Offer the same frame again then.
    Unsaved,
    /// Not taken: this round of the executor has no room for so many units of it. Offer the same frame again in a later one.
    Later(usize),
    /// Not taken: the connection has had its part of this turn. Offer the same frame again in the next one.
    Yield,
    /// Not taken: requests of it have failed a check. Offer the same frame again at this time.
    Slowed(u64),
    /// Not taken: the client has to receive some of its replies first.
    Pause,
    /// The connection has to end.
    Close,
}

/// Frames of one connection that are served in one turn. Chunks that have arrived are read without a wait in between, and each may have
/// more than a hundred small requests.
pub const FRAMES_PER_TURN: usize = 64;

/// Keeps what is not yet a whole frame. A frame that arrives whole is passed on where it lies, without a copy.
#[derive(Default)]
pub struct Inbox {
    held: Vec<u8>,
    /// A frame was passed on and taken since the last question.
    has_moved_on: bool,
}

impl Inbox {
    /// Hands every whole frame in what is held and in `bytes` to `each`, until there is none or `each` says otherwise.
    /// All of `bytes` is consumed: what is not given to `each` is held.
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
                        self.hold(rest);
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
                Flow::Next => {
                    self.has_moved_on = true;
                    rest = &rest[len..];
                }
                stop => {
                    self.hold(rest);
                    return Ok(stop);
                }
            }
        }
        self.hold(rest);
        Ok(Flow::Next)
    }

    /// Whether another frame stands in front than when this was asked last.
    pub fn has_moved_on(&mut self) -> bool {
        std::mem::take(&mut self.has_moved_on)
    }

    /// The length of the frame in front if it is larger than what may be held without reserving it.
    pub fn begun_large(&self) -> Option<usize> {
        let len = frame_len(&self.held)?;
        (len > MAX_UNRESERVED_BYTES).then_some(len)
    }

    /// The frame in front has this length.
    pub fn prepare(&mut self, len: usize) {
        let missing = len.saturating_sub(self.held.len());
        self.held.reserve_exact(missing);
    }

    /// Exactly, as what is held is accounted for.
    fn hold(&mut self, rest: &[u8]) {
        self.held.reserve_exact(rest.len());
        self.held.extend_from_slice(rest);
    }

    fn drop_front(&mut self, len: usize) {
        self.has_moved_on = true;
        self.held.drain(..len);
        if self.held.capacity() > MAX_UNRESERVED_BYTES.max(2 * self.held.len()) {
            self.held.shrink_to(MAX_UNRESERVED_BYTES);
        }
    }
}

/// How many bytes are missing to the end of the length field, or of the frame.
fn missing(held: &[u8]) -> usize {
    match frame_len(held) {
        None => 4 - held.len(),
        Some(len) => len.saturating_sub(held.len()).max(1),
    }
}

/// Of the frame that begins here, once its length field has come.
fn frame_len(held: &[u8]) -> Option<usize> {
    let length = held.first_chunk::<4>()?;
    Some(4 + u32::from_be_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::PerTurn;

    /// A frame with this number as its body.
    fn frame(number: u16) -> Vec<u8> {
        let header = [0, 0, 0, 0];
        let mut bytes = 6u32.to_be_bytes().to_vec();
        bytes.extend(header);
        bytes.extend(number.to_be_bytes());
        bytes
    }

    #[test]
    fn a_chunk_of_many_small_requests_takes_several_turns() {
        const FRAMES: u16 = 1_000;
        let chunk: Vec<u8> = (0..FRAMES).flat_map(frame).collect();
        let (mut inbox, share) = (Inbox::default(), PerTurn::new(FRAMES_PER_TURN));
        let (mut served, mut turns) = (Vec::new(), 0);
        let mut bytes = &chunk[..];
        loop {
            let before = served.len();
            let flow = inbox.feed(bytes, |frame| match share.take() {
                false => Flow::Yield,
                true => {
                    served.push(u16::from_be_bytes(frame.body.try_into().unwrap()));
                    Flow::Next
                }
            });
            turns += 1;
            assert!(served.len() - before <= FRAMES_PER_TURN);
            if flow == Ok(Flow::Next) {
                break;
            }
            assert_eq!(flow, Ok(Flow::Yield));
            bytes = &[];
            share.renew();
        }
        assert_eq!(turns, usize::from(FRAMES).div_ceil(FRAMES_PER_TURN));
        assert!(served.into_iter().eq(0..FRAMES));
    }
}
