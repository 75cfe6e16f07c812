//! Runs of timers on disk: the pending messages of the timer topic, sorted by time, so that neither a restart nor a full
//! memory has to read the messages themselves.
//!
//! ```text
//! timers/00000000000000065536     written once, never changed
//! [ timer 24 ] ...                sorted by time and offset
//! [ seal 24 ] ...                 one for each 512 of them (`entries`); an earlier version wrote none
//! ```
//! Which runs there are, and up to where they cover the timer topic, is said elsewhere, once a run is on the device: a file
//! that is not named there was never finished.
//!
//! Timers are read in whole blocks, each by its seal. One that is not as it was written is an error ([`StoreError::TimersDamaged`]): the
//! timer topic has all that the runs have.

use std::path::PathBuf;

use super::entries::{BLOCK_ENTRIES, ENTRY_BYTES, blocks, decode_blocks, decode_seal, encode_seal};
use super::entries::{Timer, TimerKey};
use crate::io::{Io, OpenOptions, yield_now};
use crate::mem::AlignedBuf;
use crate::store::error::if_there;
use crate::store::medium::{Guarded, Medium};
use crate::store::{StoreError, whole_file};

/// Timers that are encoded in one turn.
const ENCODED_PER_TURN: usize = 16 * BLOCK_ENTRIES;

/// The directory of a store's runs.
pub struct TimerRuns<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
}

/// One of them, open.
pub struct TimerRun<I: Io> {
    pub name: String,
    pub entries: u64,
    path: PathBuf,
    /// Of its blocks; None: it was written without seals.
    crcs: Option<Vec<u32>>,
    file: Guarded<I>,
}

impl<I: Io> TimerRuns<I> {
    pub fn new(io: Medium<I>, store_dir: &std::path::Path) -> Self {
        Self {
            io,
            dir: store_dir.join("timers"),
        }
    }

    /// On the device when it returns. `timers` are sorted.
    pub async fn write(&self, name: &str, timers: &[Timer]) -> Result<TimerRun<I>, StoreError> {
        self.io.create_dir_all(&self.dir).await?;
        let path = self.dir.join(name);
        let (bytes, crcs) = encoded(timers).await;
        let file = whole_file::write(&self.io, &path, bytes).await?;
        self.io.sync_dir(&self.dir).await?;
        Ok(TimerRun {
            name: name.to_owned(),
            entries: timers.len() as u64,
            path,
            crcs: Some(crcs),
            file,
        })
    }

    /// The run of this name, which was written with so many timers.
    pub async fn open(&self, name: &str, entries: u64) -> Result<TimerRun<I>, StoreError> {
        let path = self.dir.join(name);
        let file = if_there(self.io.open(&path, OpenOptions::default()).await)?;
        let Some(file) = file else {
            return Err(StoreError::TimersDamaged { path, at: 0 });
        };
        let len_bytes = file.len_bytes().await?;
        let end = entries.saturating_mul(ENTRY_BYTES as u64);
        let crcs = match len_bytes.checked_sub(end) {
            Some(0) => Some(None),
            Some(bytes) if bytes == blocks(entries) * ENTRY_BYTES as u64 => {
                read_seals(&file, end, bytes as usize).await?.map(Some)
            }
            _ => None,
        };
        let Some(crcs) = crcs else {
            return Err(StoreError::TimersDamaged { path, at: end });
        };
        Ok(TimerRun {
            name: name.to_owned(),
            entries,
            path,
            crcs,
            file,
        })
    }

    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.io.remove_file(&self.dir.join(name)).await
    }

    /// Removes every run but these.
    pub async fn keep_only(&self, names: &[&str]) -> Result<(), StoreError> {
        for entry in self.io.list(&self.dir).await? {
            let name = entry.path.file_name().and_then(|name| name.to_str());
            if let Some(name) = name
                && !names.contains(&name)
            {
                self.remove(name).await?;
            }
        }
        Ok(())
    }
}

/// The bytes of a run, and the CRCs of its blocks.
async fn encoded(timers: &[Timer]) -> (Vec<u8>, Vec<u32>) {
    let count = blocks(timers.len() as u64) as usize;
    let mut bytes = Vec::with_capacity((timers.len() + count) * ENTRY_BYTES);
    let mut crcs = Vec::with_capacity(count);
    let mut last = None;
    for some in timers.chunks(ENCODED_PER_TURN) {
        assert!(some.is_sorted() && last <= some.first(), "a run is sorted");
        last = some.last();
        for block in some.chunks(BLOCK_ENTRIES) {
            let begin = bytes.len();
            block.iter().for_each(|timer| timer.encode(&mut bytes));
            crcs.push(crc32fast::hash(&bytes[begin..]));
        }
        yield_now().await;
    }
    for (block, crc) in (0..).zip(&crcs) {
        encode_seal(block, *crc, &mut bytes);
    }
    (bytes, crcs)
}

/// What the seals say, of which there are so many bytes; None if these are no seals.
async fn read_seals<I: Io>(
    file: &Guarded<I>,
    at: u64,
    len: usize,
) -> Result<Option<Vec<u32>>, StoreError> {
    let (read, buf) = file.read_at(AlignedBuf::with_room_for(len), len, at).await;
    let (seals, _) = buf[..read?.min(len)].as_chunks::<ENTRY_BYTES>();
    let crcs = (0..)
        .zip(seals)
        .map(|(block, seal)| decode_seal(block, seal));
    Ok(crcs.collect())
}

impl<I: Io> TimerRun<I> {
    /// Index of the first timer that is not before `key`.
    pub async fn seek(&self, key: TimerKey) -> Result<u64, StoreError> {
        let is_before = |timer: &Timer| timer.key() < key;
        let (mut low, mut high) = (0, blocks(self.entries));
        let mut found = self.entries;
        while low < high {
            let middle = low + (high - low) / 2;
            let first = middle * BLOCK_ENTRIES as u64;
            let timers = self.read(first, BLOCK_ENTRIES).await?;
            if timers.last().is_some_and(is_before) {
                low = middle + 1;
            } else {
                found = first + timers.partition_point(is_before) as u64;
                high = middle;
            }
        }
        Ok(found)
    }

    /// Up to `count` timers from the one with this index on.
    pub async fn read(&self, first: u64, count: usize) -> Result<Vec<Timer>, StoreError> {
        let end = self.entries.min(first.saturating_add(count as u64));
        if first >= end {
            return Ok(Vec::new());
        }
        let block = first / BLOCK_ENTRIES as u64;
        let from = block * BLOCK_ENTRIES as u64;
        let to = self.entries.min(end.next_multiple_of(BLOCK_ENTRIES as u64));
        let len = (to - from) as usize * ENTRY_BYTES;
        let buf = AlignedBuf::with_room_for(len);
        let (read, buf) = self.file.read_at(buf, len, from * ENTRY_BYTES as u64).await;
        let read = read?.min(len);
        let crcs = self.crcs.as_ref().map(|crcs| &crcs[block as usize..]);
        let timers = match read == len {
            true => decode_blocks(&buf[..len], crcs),
            false => Err(read / (BLOCK_ENTRIES * ENTRY_BYTES)),
        };
        let mut timers = timers.map_err(|index| StoreError::TimersDamaged {
            path: self.path.clone(),
            at: (from as usize + index * BLOCK_ENTRIES) as u64 * ENTRY_BYTES as u64,
        })?;
        timers.truncate((end - from) as usize);
        timers.drain(..(first - from) as usize);
        Ok(timers)
    }
}
