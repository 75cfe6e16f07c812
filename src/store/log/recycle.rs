//! A file of the log whose retention is over becomes the log's next file. It has all its blocks, so that writing to it
//! changes no metadata.
//!
//! What it holds is harmless. Its records say another position than the one where they would be read. Of each former use
//! all bytes were overwritten by the next one, up to the very end, so that a single blank record is left, which says no
//! position and is made zeros here. So is the beginning, where RocketMQ, which looks at no position, would continue after a
//! clean stop. Between its two names it is the spare, in a directory of its own:
//!
//! ```text
//! commitlog/N -> commitlog/recycled/spare | sync commitlog | zero beginning and blank record | ... | -> commitlog/M | sync
//! ```
//! Before the first sync a power cut leaves the old file as it was. After it no file of the log is touched until the
//! second. A start removes a spare that it finds. RocketMQ maps every regular file in `commitlog` and fails at one that is
//! not named by an offset; it skips directories. (Older versions of this broker had the spare in `commitlog` itself.)

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::buffer::floor;
use crate::io::{Durability, Io};
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::message::BLANK_MAGIC;
use crate::store::StoreError;
use crate::store::error::if_there;
use crate::store::medium::{Guarded, Medium};

const DIR: &str = "recycled";
const SPARE: &str = "spare";

/// The blank record at the end of a file is looked for so far from the end; no message is longer.
const MAX_BLANK_BYTES: u64 = 32 << 20;

/// Read at a time to find it.
const CHUNK_BYTES: u64 = 256 << 10;

/// A file without a place in the log, until it gets the next one.
pub(super) struct Spare<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
    segment_bytes: u64,
    file: RefCell<Option<Guarded<I>>>,
}

impl<I: Io> Spare<I> {
    /// None.
    pub fn new(io: Medium<I>, log_dir: &Path, segment_bytes: u64) -> Self {
        Self {
            io,
            dir: log_dir.join(DIR),
            segment_bytes,
            file: RefCell::default(),
        }
    }

    /// Removes what a killed process left, in the place of now or in the former one.
    pub async fn remove_left(io: &Medium<I>, log_dir: &Path) -> Result<(), StoreError> {
        let dir = log_dir.join(DIR);
        for path in [dir.join(SPARE), log_dir.join(SPARE)] {
            if_there(io.remove_file(&path).await)?;
        }
        // It may hold something that is not ours.
        let _ = io.remove_dir(&dir).await;
        Ok(())
    }

    pub fn is_there(&self) -> bool {
        self.file.borrow().is_some()
    }

    /// Takes a file out of the log. The caller makes that durable, and then calls [`Self::clear`].
    pub async fn receive(&self, file: &Guarded<I>) -> Result<(), StoreError> {
        self.io.create_dir(&self.dir).await?;
        self.io.rename_open(file, &self.path()).await
    }

    /// Makes zeros of what could be taken for the log's in another place of it. A file without a blank record at its end is
    /// not as we know it, and is removed.
    pub async fn clear(&self, file: Guarded<I>) -> Result<(), StoreError> {
        let Some(blank) = self.find_blank(&file).await? else {
            return self.io.remove_file(&self.path()).await;
        };
        let last = floor(blank + 7);
        for block in [0, floor(blank), last] {
            let zeros = AlignedBuf::zeroed(BLOCK_BYTES);
            file.write_at(zeros, block, Durability::Synced).await.0?;
        }
        self.file.replace(Some(file));
        Ok(())
    }

    /// Gives the spare its new name, which the caller makes durable. After an error it stays the spare.
    pub async fn place(&self, path: &Path) -> Result<Option<Guarded<I>>, StoreError> {
        let Some(file) = self.file.take() else {
            return Ok(None);
        };
        if let Err(error) = self.io.rename_open(&file, path).await {
            self.file.replace(Some(file));
            return Err(error);
        }
        Ok(Some(file))
    }

    pub async fn remove(&self) -> Result<(), StoreError> {
        if self.is_there() {
            if_there(self.io.remove_file(&self.path()).await)?;
            self.file.take();
        }
        if_there(self.io.remove_dir(&self.dir).await).map(drop)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(SPARE)
    }

    /// Where the blank record is that ends a full file.
    async fn find_blank(&self, file: &Guarded<I>) -> Result<Option<u64>, StoreError> {
        let lowest = self.segment_bytes.saturating_sub(MAX_BLANK_BYTES);
        let mut to = self.segment_bytes;
        while to > lowest {
            let from = to.saturating_sub(CHUNK_BYTES).max(lowest);
            // A block more, as the record may begin in the chunk before.
            let start = from.saturating_sub(BLOCK_BYTES as u64);
            let len = (to - start) as usize;
            let (read, bytes) = file
                .read_at(AlignedBuf::with_room_for(len), len, start)
                .await;
            read?;
            let Some(last) = bytes[..len].iter().rposition(|byte| *byte != 0) else {
                to = from;
                continue;
            };
            let Some(record) = (last + 1).checked_sub(8) else {
                return Ok(None);
            };
            let blank = start + record as u64;
            let expected = ((self.segment_bytes - blank) as u32)
                .to_be_bytes()
                .into_iter();
            let expected = expected.chain(BLANK_MAGIC.to_be_bytes());
            let is_blank = bytes[record..=last].iter().copied().eq(expected);
            return Ok(is_blank.then_some(blank));
        }
        Ok(None)
    }
}
