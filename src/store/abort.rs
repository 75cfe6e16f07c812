//! The file `abort`: the store is open, or was not closed. RocketMQ writes its process id into it; this broker writes its
//! name ahead of its own, so that a start can tell which of the two was killed. That matters for a RocketMQ that was killed
//! before its first checkpoint: everything else says that the store was ours, but RocketMQ's messages, which have no CRC over
//! the whole record, stand at the end of the log.

use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::medium::DiskFault;
use crate::io::{Durability, File, Io, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES};

const OURS: &[u8] = b"ringmq ";

/// How the previous process left the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Closed,
    Open,
    OpenByRocketMq,
}

pub(super) struct Abort<I: Io> {
    io: I,
    dir: PathBuf,
}

impl<I: Io> Abort<I> {
    pub fn new(io: I, dir: &Path) -> Self {
        Self {
            io,
            dir: dir.to_owned(),
        }
    }

    pub async fn left(&self) -> Result<Left, StoreError> {
        let path = self.path();
        let file = match self.io.open(&path, OpenOptions::default()).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Left::Closed),
            Err(error) => return Err(StoreError::io("open", &path)(error)),
        };
        let (read, buf) = file
            .read_at(AlignedBuf::zeroed(BLOCK_BYTES), OURS.len(), 0)
            .await;
        let read = match read {
            // A power cut may have left a sector that cannot be read: that the file exists is enough.
            Err(error) if DiskFault::of(&error) == DiskFault::Device => 0,
            read => read.map_err(StoreError::io("read", &path))?,
        };
        let text = &buf[..read];
        // This broker may have created it on a full disk.
        match text.is_empty() || text.starts_with(OURS) {
            true => Ok(Left::Open),
            false => Ok(Left::OpenByRocketMq),
        }
    }

    /// Marks the store as open by this broker.
    pub async fn mark(&self) -> Result<(), StoreError> {
        let options = OpenOptions {
            write: true,
            create: true,
            direct: false,
        };
        let opened = self.io.open(&self.path(), options).await;
        let file = opened.map_err(StoreError::not_writable("make", &self.dir))?;
        let text = [OURS, std::process::id().to_string().as_bytes()].concat();
        match file.write_at(text, 0, Durability::Synced).await.0 {
            // The file's existence is enough: a full disk can be read, and old messages can be removed.
            Err(error) if DiskFault::of(&error) == DiskFault::NoSpace => {}
            written => written.map_err(StoreError::not_writable("write", &self.dir))?,
        }
        self.sync_dir().await
    }

    pub async fn remove(&self) -> Result<(), StoreError> {
        let path = self.path();
        let removed = self.io.remove_file(&path).await;
        removed.map_err(StoreError::io("remove", &path))?;
        self.sync_dir().await
    }

    async fn sync_dir(&self) -> Result<(), StoreError> {
        let synced = self.io.sync_dir(&self.dir).await;
        synced.map_err(StoreError::io("sync", &self.dir))
    }

    fn path(&self) -> PathBuf {
        self.dir.join("abort")
    }
}
