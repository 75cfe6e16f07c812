//! A small file with two slots that are written in turn: a torn write leaves the value before it whole.
//!
//! Each value carries a number and a CRC, and the newest whole one counts. After a failed write the same slot is written
//! again, since the other one may hold the only whole value. A slot that the device does not give is not whole: a power cut may
//! leave a sector that cannot be read until it is written again.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::error::if_there;
use super::fault::DiskFault;
use super::medium::{Guarded, Medium};
use crate::io::{Durability, Io, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES};

/// A value of at most one block.
pub(super) trait Slot: Sized {
    /// The block, with its number and CRC.
    fn encode(&self, number: u64) -> AlignedBuf;

    /// The value and its number; `None` unless the block is whole.
    fn decode(block: &[u8]) -> Option<(u64, Self)>;
}

/// The whole values in the bytes of the slots, the newest first.
pub(super) fn whole<T: Slot>(slots: &[u8]) -> [Option<(u64, T)>; 2] {
    let slot = |at: usize| slots.get(at..).and_then(T::decode);
    let (first, second) = (slot(0), slot(BLOCK_BYTES));
    let number = |slot: &Option<(u64, T)>| slot.as_ref().map(|(number, _)| *number);
    match number(&first) < number(&second) {
        true => [second, first],
        false => [first, second],
    }
}

pub(super) struct TwoSlots<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
    path: PathBuf,
    /// Blocks of the file ahead of the slots.
    blocks_before: usize,
    /// Number of the last whole value.
    last: Cell<u64>,
    /// The file's name is durable, and so is what an earlier process wrote.
    is_durable: Cell<bool>,
}

impl<I: Io> TwoSlots<I> {
    pub fn new(io: Medium<I>, dir: &Path, name: &str, blocks_before: usize) -> Self {
        Self {
            io,
            dir: dir.to_owned(),
            path: dir.join(name),
            blocks_before,
            last: Cell::new(0),
            is_durable: Cell::new(false),
        }
    }

    /// All bytes of the file, zeros for a block that the device does not give while it gives others; `None` if the file does not exist.
    pub async fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let opened = self.io.open(&self.path, OpenOptions::default()).await;
        let Some(file) = if_there(opened)? else {
            return Ok(None);
        };
        let len = (self.blocks_before + 2) * BLOCK_BYTES;
        let (read, buf) = file.read_at(AlignedBuf::zeroed(len), len, 0).await;
        let bytes = match read {
            Ok(read) => Ok(buf[..read].to_vec()),
            Err(error) if error.fault() == Some(DiskFault::Device) => {
                read_blocks(&file, len, error).await
            }
            Err(error) => Err(error),
        };
        bytes.map(Some)
    }

    /// The slots in the bytes of the file.
    pub fn slots_of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let at = self.blocks_before * BLOCK_BYTES;
        bytes.get(at..).unwrap_or_default()
    }

    /// The next value gets the number behind this one.
    pub fn continue_from(&self, last: u64) {
        self.last.set(last);
    }

    /// Writes the next value in place of the last but one. It is durable when this returns.
    pub async fn write_next<T: Slot>(&self, value: &T) -> Result<(), StoreError> {
        let number = self.last.get() + 1;
        self.write_numbered(value, number).await?;
        self.last.set(number);
        Ok(())
    }

    /// Writes the last value once more.
    pub async fn write_again<T: Slot>(&self, value: &T) -> Result<(), StoreError> {
        self.write_numbered(value, self.last.get()).await
    }

    async fn write_numbered<T: Slot>(&self, value: &T, number: u64) -> Result<(), StoreError> {
        let at = (self.blocks_before as u64 + number % 2) * BLOCK_BYTES as u64;
        self.write(value.encode(number), at).await
    }

    pub async fn write(&self, bytes: AlignedBuf, at: u64) -> Result<(), StoreError> {
        let options = OpenOptions {
            write: true,
            create: true,
            direct: false,
        };
        let file = self.io.open(&self.path, options).await?;
        if !self.is_durable.get() {
            file.sync_data().await?;
            self.io.sync_dir(&self.dir).await?;
            self.is_durable.set(true);
        }
        file.write_at(bytes, at, Durability::Synced).await.0
    }
}

/// As much as the device gives of a file of which it does not give all. `error` if it gives no block.
async fn read_blocks<I: Io>(
    file: &Guarded<I>,
    len: usize,
    error: StoreError,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; len];
    let mut end = None;
    for at in (0..len).step_by(BLOCK_BYTES) {
        let block = AlignedBuf::zeroed(BLOCK_BYTES);
        if let (Ok(read), block) = file.read_at(block, BLOCK_BYTES, at as u64).await {
            bytes[at..at + read].copy_from_slice(&block[..read]);
            end = Some(at + read);
        }
    }
    bytes.truncate(end.ok_or(error)?);
    Ok(bytes)
}
