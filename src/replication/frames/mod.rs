//! What master and slave say to one another, as bytes.
//!
//! All numbers are big-endian. `stream.rs` finds the frames of a master in a stream of bytes, in both protocols.

pub mod classic;
pub mod epoch;
pub mod stream;

/// A frame has at most so many bytes of the log (RocketMQ: `haTransferBatchSize`; its slaves take what their buffer of 4 MiB holds).
pub const MAX_BODY_BYTES: usize = 32 << 10;

/// A slave of ours believes a size up to this.
pub const MAX_TAKEN_BODY_BYTES: u32 = 4 << 20;

/// Why the other side's bytes make no sense. The connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes")]
    Size(i64),
    #[error("a position of {0}")]
    Position(i64),
    #[error("{got} where the state {wanted} was expected")]
    State { got: i32, wanted: i32 },
    #[error("a list of epochs of {0} bytes")]
    EpochList(i64),
    #[error("the flag {0} in a handshake")]
    Flag(i16),
    #[error("an epoch {0}")]
    Epoch(i32),
    #[error(transparent)]
    Epochs(#[from] super::epochs::EpochError),
}

/// How many bytes of the log a frame has.
fn size(stated: i32) -> Result<u32, FrameError> {
    match u32::try_from(stated) {
        Ok(size) if size <= MAX_TAKEN_BODY_BYTES => Ok(size),
        _ => Err(FrameError::Size(stated.into())),
    }
}

/// Takes numbers from the front of bytes that are known to be long enough.
struct Numbers<'b>(&'b [u8]);

impl Numbers<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self
            .0
            .split_first_chunk()
            .expect("the caller has checked the length");
        self.0 = rest;
        *first
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn position(&mut self) -> Result<u64, FrameError> {
        let position = self.i64();
        u64::try_from(position).map_err(|_| FrameError::Position(position))
    }
}
