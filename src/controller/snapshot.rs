//! The whole agreed state as bytes.
//!
//! ```text
//!  0   8 magic    "ringmqCS"
//!  8   4 version  1
//! 12   4 length   of the text
//! 16   4 crc32    of the text
//! 20   n text     Agreed as JSON, its maps in order: equal states have equal bytes
//! ```

use super::agreed::Agreed;

const MAGIC: &[u8; 8] = b"ringmqCS";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 20;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("{got} bytes are no snapshot of a controller")]
    Short { got: usize },
    #[error("this is no snapshot of a controller: it begins with {got:02x?}")]
    Magic { got: [u8; 8] },
    #[error("the snapshot has version {got}; this program reads {VERSION}")]
    Version { got: u32 },
    #[error("the snapshot's text has {got} bytes, its head says {expected}")]
    Length { got: usize, expected: u32 },
    #[error("the snapshot's text has CRC {got:08x}, its head says {expected:08x}")]
    Crc { got: u32, expected: u32 },
    #[error("the snapshot's text: {0}")]
    Text(String),
}

pub fn encode(agreed: &Agreed) -> Vec<u8> {
    let text = serde_json::to_vec(agreed).expect("maps with texts and numbers as keys");
    let length = u32::try_from(text.len()).expect("bounded by the limits of groups and replicas");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + text.len());
    bytes.extend_from_slice(MAGIC);
    for number in [VERSION, length, crc32fast::hash(&text)] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(&text);
    bytes
}

pub fn decode(bytes: &[u8]) -> Result<Agreed, SnapshotError> {
    let short = SnapshotError::Short { got: bytes.len() };
    let Some((head, text)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Err(short);
    };
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if !head.starts_with(MAGIC) {
        let mut got = [0; MAGIC.len()];
        got.copy_from_slice(&head[..MAGIC.len()]);
        return Err(SnapshotError::Magic { got });
    }
    let (version, expected, crc) = (number(8), number(12), number(16));
    if version != VERSION {
        return Err(SnapshotError::Version { got: version });
    }
    if text.len() != expected as usize {
        let got = text.len();
        return Err(SnapshotError::Length { got, expected });
    }
    let got = crc32fast::hash(text);
    if got != crc {
        return Err(SnapshotError::Crc { got, expected: crc });
    }
    serde_json::from_slice(text).map_err(|error| SnapshotError::Text(error.to_string()))
}
