//! The classic protocol (`DefaultHAService`): a slave reports a position, a master sends the log from there.
//!
//! | Direction | Bytes |
//! |---|---|
//! | slave to master | i64: the end of the slave's log. The first one says where to begin; a slave without a log sends 0 |
//! | master to slave | i64 position, i32 size, `size` bytes of the log. Size 0 is a heartbeat |

use super::{FrameError, Numbers};

pub const REPORT_BYTES: usize = 8;
pub const HEADER_BYTES: usize = 12;

/// What precedes a piece of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub position: u64,
    pub size: u32,
}

impl Header {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
    }

    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let mut numbers = Numbers(bytes);
        Ok(Self {
            position: numbers.position()?,
            size: super::size(numbers.i32())?,
        })
    }
}

pub fn encode_report(end: u64) -> Vec<u8> {
    end.to_be_bytes().to_vec()
}

pub fn decode_report(bytes: &[u8; REPORT_BYTES]) -> Result<u64, FrameError> {
    Numbers(bytes).position()
}
