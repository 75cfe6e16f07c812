//! The checkpoint: up to where the ConsumeQueues' files agree with the log.
//!
//! ```text
//! 0  physicMsgTimestamp 8 | logicsMsgTimestamp 8 | indexMsgTimestamp 8 | masterFlushedOffset 8 | confirmPhyOffset 8
//! 40 magic "ringmq01" 8 | savedPosition 8 | CRC32 of the two 4
//! ```
//! The first line is RocketMQ's (`StoreCheckpoint`), which reads and writes only that; the second is ours. A position
//! without its CRC does not count.

use super::StoreError;
use crate::io::{Durability, File, Io, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"ringmq01";
const OURS_AT: usize = 40;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Store time of the last message before the position.
    pub store_time_ms: i64,
    /// Messages before this position are in the files of their queues.
    pub saved_position: Option<u64>,
}

impl Checkpoint {
    fn encode(&self) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        for place in buf[..24].chunks_exact_mut(8) {
            place.copy_from_slice(&self.store_time_ms.to_be_bytes());
        }
        if let Some(position) = self.saved_position {
            buf[OURS_AT..OURS_AT + 8].copy_from_slice(MAGIC);
            buf[OURS_AT + 8..OURS_AT + 16].copy_from_slice(&position.to_be_bytes());
            let crc = crc32fast::hash(&buf[OURS_AT..OURS_AT + 16]);
            buf[OURS_AT + 16..OURS_AT + 20].copy_from_slice(&crc.to_be_bytes());
        }
        buf
    }

    fn decode(bytes: &[u8]) -> Checkpoint {
        let time = |at: usize| {
            bytes
                .get(at..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |time| i64::from_be_bytes(*time))
        };
        let ours = bytes.get(OURS_AT..OURS_AT + 20).filter(|ours| {
            ours.starts_with(MAGIC) && ours[16..] == crc32fast::hash(&ours[..16]).to_be_bytes()
        });
        let position = ours
            .and_then(|ours| ours[8..].first_chunk())
            .map(|position| u64::from_be_bytes(*position));
        Checkpoint {
            store_time_ms: time(0).min(time(8)),
            saved_position: position,
        }
    }
}

/// The file `checkpoint` of a store.
pub(super) struct CheckpointFile<I: Io> {
    io: I,
    path: PathBuf,
}

impl<I: Io> CheckpointFile<I> {
    pub fn new(io: I, dir: &Path) -> Self {
        Self {
            io,
            path: dir.join("checkpoint"),
        }
    }

    pub async fn load(&self) -> Result<Checkpoint, StoreError> {
        let file = match self.io.open(&self.path, OpenOptions::default()).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Checkpoint::default());
            }
            Err(error) => return Err(StoreError::io("open", &self.path)(error)),
        };
        let (read, buf) = file
            .read_at(AlignedBuf::zeroed(BLOCK_BYTES), BLOCK_BYTES, 0)
            .await;
        let read = read.map_err(StoreError::io("read", &self.path))?;
        Ok(Checkpoint::decode(&buf[..read]))
    }

    /// All in the first sector of the file, which a power cut leaves old or new; torn, its CRC fails.
    pub async fn save(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let options = OpenOptions {
            write: true,
            create: true,
            direct: false,
        };
        let file = self
            .io
            .open(&self.path, options)
            .await
            .map_err(StoreError::io("open", &self.path))?;
        let (written, _) = file
            .write_at(checkpoint.encode(), 0, Durability::Synced)
            .await;
        written.map_err(StoreError::io("write", &self.path))
    }
}
