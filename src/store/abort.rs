//! The file `abort`: the store is open, or was not closed. RocketMQ writes its process id into it; this broker writes its
//! name ahead of its own, so that a start can tell which of the two was killed. That matters for a RocketMQ that was killed
//! before its first checkpoint: everything else says that the store was ours, but RocketMQ's messages, which have no CRC over
//! the whole record, stand at the end of the log.

use std::path::{Path, PathBuf};

use super::StoreError;
use super::error::if_there;
use super::fault::DiskFault;
use super::medium::Medium;
use crate::io::{Durability, Io, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES};

const OURS: &[u8] = b"ringmq ";

/// How the previous process left the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastShutdown {
    /// The store was closed, or is new.
    Clean,
    /// This broker had it open.
    Unclean,
    UncleanByRocketMq,
}

pub(super) struct Abort<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
}

impl<I: Io> Abort<I> {
    pub fn new(io: Medium<I>, dir: &Path) -> Self {
        Self {
            io,
            dir: dir.to_owned(),
        }
    }

    pub async fn last_shutdown(&self) -> Result<LastShutdown, StoreError> {
        let opened = self.io.open(&self.path(), OpenOptions::default()).await;
        let Some(file) = if_there(opened)? else {
            return Ok(LastShutdown::Clean);
        };
        let (read, buf) = file
            .read_at(AlignedBuf::zeroed(BLOCK_BYTES), OURS.len(), 0)
            .await;
        let read = match read {
            // A power cut may have left a sector that cannot be read: that the file exists is enough.
            Err(error) if error.fault() == Some(DiskFault::Device) => 0,
            read => read?,
        };
        let text = &buf[..read];
        // This broker may have created it on a full disk.
        match text.is_empty() || text.starts_with(OURS) {
            true => Ok(LastShutdown::Unclean),
            false => Ok(LastShutdown::UncleanByRocketMq),
        }
    }

    /// Marks the store as open by this broker.
    pub async fn mark(&self) -> Result<(), StoreError> {
        let created = self.io.create(&self.path()).await;
        let file = created.map_err(StoreError::not_writable(&self.dir))?;
        let text = [OURS, std::process::id().to_string().as_bytes()].concat();
        match file.write_at(text, 0, Durability::Synced).await.0 {
            // The file's existence is enough: a full disk can be read, and old messages can be removed.
            Err(error) if error.is_no_space() => {}
            written => written.map_err(StoreError::not_writable(&self.dir))?,
        }
        self.io.sync_dir(&self.dir).await
    }

    pub async fn remove(&self) -> Result<(), StoreError> {
        self.io.remove_file(&self.path()).await?;
        self.io.sync_dir(&self.dir).await
    }

    fn path(&self) -> PathBuf {
        self.dir.join("abort")
    }
}
