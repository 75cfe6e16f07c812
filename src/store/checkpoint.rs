//! The checkpoint: up to where the ConsumeQueues' files agree with the log. It is behind the journal, which counts only as
//! long as the checkpoint is ours.
//!
//! ```text
//!  0  physicMsgTimestamp 8 | logicsMsgTimestamp 8 | indexMsgTimestamp 8 | masterFlushedOffset 8 | confirmPhyOffset 8
//! 40  magic "ringmq01" 8 | savedPosition 8 | digest of the queues 8 | CRC32 of all before it 4
//! 68  mark of the key index 68 | CRC32 of all before it 4
//! ```
//! The first line is RocketMQ's (`StoreCheckpoint`), which reads and writes only that; the others are ours. Without its
//! CRC none of it counts: it is torn, or RocketMQ has had the store meanwhile. The third line may be missing.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::index::Mark;
use crate::io::{Durability, File, Io, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES};

const MAGIC: &[u8; 8] = b"ringmq01";
const MAGIC_AT: usize = 40;
const POSITION_AT: usize = MAGIC_AT + 8;
const DIGEST_AT: usize = POSITION_AT + 8;
const CRC_AT: usize = DIGEST_AT + 8;
const INDEX_AT: usize = CRC_AT + 4;
const INDEX_CRC_AT: usize = INDEX_AT + Mark::BYTES;
const END: usize = INDEX_CRC_AT + 4;
/// RocketMQ's indexMsgTimestamp.
const INDEX_TIME_AT: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Messages before this position, and no others, are in the files of their queues.
    pub position: u64,
    /// Store time of the last message before the position.
    pub store_time_ms: i64,
    /// [`super::consume_queue::ConsumeQueues::saved_digest`] of these files.
    pub queues_digest: u64,
    /// None: messages are not indexed.
    pub index: Option<Mark>,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Ours(Checkpoint),
    /// RocketMQ's, or a torn one: the older of the times of its log and its queues.
    Times {
        store_time_ms: i64,
    },
    None,
}

impl Checkpoint {
    fn encode(&self) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        for place in buf[..24].chunks_exact_mut(8) {
            place.copy_from_slice(&self.store_time_ms.to_be_bytes());
        }
        buf[MAGIC_AT..POSITION_AT].copy_from_slice(MAGIC);
        buf[POSITION_AT..DIGEST_AT].copy_from_slice(&self.position.to_be_bytes());
        buf[DIGEST_AT..CRC_AT].copy_from_slice(&self.queues_digest.to_be_bytes());
        if let Some(mark) = &self.index {
            buf[INDEX_TIME_AT..INDEX_TIME_AT + 8]
                .copy_from_slice(&mark.header.end_time_ms.to_be_bytes());
        }
        seal(&mut buf, CRC_AT);
        if let Some(mark) = &self.index {
            buf[INDEX_AT..INDEX_CRC_AT].copy_from_slice(&mark.encode());
            seal(&mut buf, INDEX_CRC_AT);
        }
        buf
    }

    fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        let bytes = bytes.get(..END)?;
        let number = |at: usize| bytes[at..].first_chunk().map(|n| u64::from_be_bytes(*n));
        let is_whole = bytes[MAGIC_AT..].starts_with(MAGIC) && is_sealed(bytes, CRC_AT);
        let mark = bytes[INDEX_AT..].first_chunk().and_then(Mark::decode);
        Some(Checkpoint {
            position: number(POSITION_AT).filter(|_| is_whole)?,
            store_time_ms: number(0)? as i64,
            queues_digest: number(DIGEST_AT)?,
            index: mark.filter(|_| is_sealed(bytes, INDEX_CRC_AT)),
        })
    }
}

fn found(bytes: &[u8]) -> Found {
    let time_ms = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(i64::from_be_bytes(*bytes)).filter(|time_ms| *time_ms > 0)
    };
    match (Checkpoint::decode(bytes), time_ms(0), time_ms(8)) {
        (Some(ours), ..) => Found::Ours(ours),
        (None, Some(physic_ms), Some(logics_ms)) => Found::Times {
            store_time_ms: physic_ms.min(logics_ms),
        },
        _ => Found::None,
    }
}

/// Puts the CRC of all before it there.
fn seal(bytes: &mut [u8], at: usize) {
    let crc = crc32fast::hash(&bytes[..at]);
    bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
}

fn is_sealed(bytes: &[u8], at: usize) -> bool {
    bytes[at..].starts_with(&crc32fast::hash(&bytes[..at]).to_be_bytes())
}

/// The file `checkpoint` of a store.
pub(super) struct CheckpointFile<I: Io> {
    io: I,
    dir: PathBuf,
    path: PathBuf,
    /// The file's name is on the device.
    is_named: Cell<bool>,
    /// It has one that can be relied on.
    is_whole: Cell<bool>,
}

impl<I: Io> CheckpointFile<I> {
    pub fn new(io: I, dir: &Path) -> Self {
        Self {
            io,
            dir: dir.to_owned(),
            path: dir.join("checkpoint"),
            is_named: Cell::new(false),
            is_whole: Cell::new(false),
        }
    }

    pub async fn load(&self) -> Result<Found, StoreError> {
        let file = match self.io.open(&self.path, OpenOptions::default()).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Found::None);
            }
            Err(error) => return Err(StoreError::io("open", &self.path)(error)),
        };
        let (read, buf) = file
            .read_at(AlignedBuf::zeroed(BLOCK_BYTES), BLOCK_BYTES, 0)
            .await;
        let read = read.map_err(StoreError::io("read", &self.path))?;
        let found = found(&buf[..read]);
        self.is_whole.set(!matches!(found, Found::None));
        Ok(found)
    }

    /// All in the first sector of the file, which a power cut leaves old or new; torn, its CRC fails.
    pub async fn save(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let saved = self.write(checkpoint.encode()).await;
        // Even if not all of it was, and whoever revoked meanwhile has not revoked this one.
        self.is_whole.set(true);
        saved
    }

    /// Before the queues' files are made again: until that is done nothing can be relied on.
    pub async fn revoke(&self) -> Result<(), StoreError> {
        // Where there is none there may be no room for one either.
        if self.is_whole.get() {
            self.write(AlignedBuf::zeroed(BLOCK_BYTES)).await?;
            self.is_whole.set(false);
        }
        Ok(())
    }

    async fn write(&self, bytes: AlignedBuf) -> Result<(), StoreError> {
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
        let (written, _) = file.write_at(bytes, 0, Durability::Synced).await;
        written.map_err(StoreError::io("write", &self.path))?;
        if !self.is_named.replace(true) {
            self.io
                .sync_dir(&self.dir)
                .await
                .map_err(StoreError::io("sync", &self.dir))?;
        }
        Ok(())
    }
}
