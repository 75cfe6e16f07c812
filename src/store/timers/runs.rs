//! Runs of timers on disk: the pending messages of the timer topic, sorted by time, so that neither a restart nor a full
//! memory has to read the messages themselves.
//!
//! ```text
//! timers/00000000000000065536     written once, never changed
//! [ at 8 | physicalOffset 8 | size 4 | kind 4 ] ...   sorted by time and offset
//! ```
//! Which runs there are, and up to where they cover the timer topic, is said elsewhere, once a run is on the device: a file
//! that is not named there was never finished.

use std::path::PathBuf;

use crate::io::{Io, OpenOptions};
use crate::mem::AlignedBuf;
use crate::store::medium::{Guarded, Medium};
use crate::store::{StoreError, whole_file};

pub(in crate::store) const ENTRY_BYTES: usize = 24;

/// A message that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    pub at_ms: u64,
    pub physical_offset: u64,
    pub size: u32,
    pub kind: TimerKind,
}

/// What happens with it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum TimerKind {
    /// Stored in its real topic.
    Deliver = 0,
    /// Written to the timer topic anew, ahead of the end of its retention.
    Roll = 1,
    /// It recalls another one.
    Recall = 2,
}

/// Where a timer stands among others.
pub type TimerKey = (u64, u64);

impl Timer {
    pub fn key(&self) -> TimerKey {
        (self.at_ms, self.physical_offset)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.at_ms.to_be_bytes());
        out.extend_from_slice(&self.physical_offset.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&(self.kind as u32).to_be_bytes());
    }

    pub(in crate::store) fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        debug_assert!(rest.is_empty());
        let last = u64::from_be_bytes(numbers[2]);
        Some(Self {
            at_ms: u64::from_be_bytes(numbers[0]),
            physical_offset: u64::from_be_bytes(numbers[1]),
            size: (last >> 32) as u32,
            kind: match last as u32 {
                0 => TimerKind::Deliver,
                1 => TimerKind::Roll,
                2 => TimerKind::Recall,
                _ => return None,
            },
        })
    }
}

/// The directory of a store's runs.
pub struct TimerRuns<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
}

/// One of them, open.
pub struct TimerRun<I: Io> {
    pub name: String,
    pub entries: u64,
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
        assert!(timers.is_sorted(), "a run is sorted");
        self.io.create_dir_all(&self.dir).await?;
        let path = self.dir.join(name);
        let mut bytes = Vec::with_capacity(timers.len() * ENTRY_BYTES);
        timers.iter().for_each(|timer| timer.encode(&mut bytes));
        let file = whole_file::write(&self.io, &path, bytes).await?;
        self.io.sync_dir(&self.dir).await?;
        Ok(TimerRun {
            name: name.to_owned(),
            entries: timers.len() as u64,
            file,
        })
    }

    pub async fn open(&self, name: &str, entries: u64) -> Result<TimerRun<I>, StoreError> {
        let path = self.dir.join(name);
        let file = self.io.open(&path, OpenOptions::default()).await?;
        let len_bytes = file.len_bytes().await?;
        Ok(TimerRun {
            name: name.to_owned(),
            entries: entries.min(len_bytes / ENTRY_BYTES as u64),
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

impl<I: Io> TimerRun<I> {
    /// Index of the first timer that is not before `key`.
    pub async fn seek(&self, key: TimerKey) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.read(middle, 1).await?.first() {
                Some(timer) if timer.key() < key => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Up to `count` timers from the one with this index on.
    pub async fn read(&self, first: u64, count: usize) -> Result<Vec<Timer>, StoreError> {
        let count = count.min(self.entries.saturating_sub(first) as usize);
        let len = count * ENTRY_BYTES;
        let buf = AlignedBuf::with_room_for(len);
        let (read, buf) = self
            .file
            .read_at(buf, len, first * ENTRY_BYTES as u64)
            .await;
        let (entries, _) = buf[..read?.min(len)].as_chunks::<ENTRY_BYTES>();
        Ok(entries.iter().filter_map(Timer::decode).collect())
    }
}
