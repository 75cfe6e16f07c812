//! What had been acknowledged, noted on the device, so that a start can report what a power cut has taken.
//!
//! Ahead of each flush (in sync mode: every flush interval) the file `acknowledged` says up to where messages have been
//! acknowledged by then. If the log ends before that at the next start, what is between is missing, and is reported as bytes
//! and messages. What was acknowledged after the last note, in async mode within one flush interval, is not known.
//!
//! ```text
//! 0       8        16         24     32         40        48        56
//! | magic | number | position | safe | messages | time ms | is sync | CRC-32 of all before |
//! ```
//! The notes go to two slots in turn (`two_slots.rs`): a power cut may tear the one that is being written, not the one before.
//!
//! `position` is the end of the last acknowledged message; up to `safe` the log was on the device already, and `messages` is
//! how many there are between the two. No power cut explains that anything below `safe` is missing, or anything at all in
//! sync mode: that is reported as an error.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tracing::{debug, error, warn};

use super::reader::{Crcs, Found, Walk};
use super::segments::Segments;
use crate::io::Io;
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::store::medium::Medium;
use crate::store::two_slots::{Slot, TwoSlots, whole};
use crate::store::{Flush, StoreError};

const FILE: &str = "acknowledged";
const MAGIC: &[u8; 8] = b"ringmqAk";
const CRC_AT: usize = 56;

/// A place in the log, the end of a message, and the number of messages before it, counted from the store's opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Mark {
    pub position: u64,
    pub messages: u64,
}

/// What was acknowledged and is not in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    pub bytes: u64,
    /// At least.
    pub messages: u64,
    /// They were acknowledged before this.
    pub noted_ms: i64,
    /// A power cut does not explain it.
    pub was_safe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Note {
    pub position: u64,
    pub safe: u64,
    messages: u64,
    noted_ms: i64,
    pub is_sync: bool,
}

pub(in crate::store) struct Acknowledged<I: Io> {
    io: Medium<I>,
    path: PathBuf,
    slots: Rc<TwoSlots<I>>,
    is_sync: bool,
    noted: Cell<Option<Mark>>,
    safe: Cell<Mark>,
    /// The last note could not be written; said once.
    has_failed: Cell<bool>,
    /// Found at the start.
    pub missing: Option<Missing>,
}

impl<I: Io> Acknowledged<I> {
    /// Compares what the last run has noted with the log as it was found, and says what is missing.
    pub async fn open(
        io: Medium<I>,
        dir: &Path,
        slots: Rc<TwoSlots<I>>,
        flush: Flush,
        segments: &Segments<I>,
        tail: u64,
        last: Option<Note>,
    ) -> Result<Self, StoreError> {
        let missing = match last {
            Some(note) => note.missing(segments, tail).await?,
            None => None,
        };
        if let Some(missing) = &missing {
            tell(dir, missing, tail);
        }
        let here = Mark {
            position: tail,
            messages: 0,
        };
        let acknowledged = Self {
            io,
            path: dir.join(FILE),
            slots,
            is_sync: flush == Flush::Sync,
            noted: Cell::default(),
            safe: Cell::new(here),
            has_failed: Cell::new(false),
            missing,
        };
        acknowledged.note(here).await;
        if acknowledged.has_failed.get() && last.is_some_and(|last| last.is_sync) {
            acknowledged.forget_sync_mode().await?;
        }
        acknowledged.io.sync_dir(dir).await?;
        Ok(acknowledged)
    }

    /// The last note says that no more than one write was ever unflushed. Where this run flushes later it must not stay.
    async fn forget_sync_mode(&self) -> Result<(), StoreError> {
        if self.is_sync {
            return Ok(());
        }
        self.io.remove_file(&self.path).await
    }

    /// Everything before this has been acknowledged. The broker goes on if that cannot be noted.
    pub async fn note(&self, mark: Mark) {
        if self.noted.get() == Some(mark) {
            return;
        }
        let safe = self.safe.get();
        let note = Note {
            position: mark.position,
            safe: safe.position,
            messages: mark.messages - safe.messages,
            noted_ms: self.io.now().unix_ms,
            is_sync: self.is_sync,
        };
        let saved = self.slots.write_next(&note).await;
        if saved.is_ok() {
            self.noted.set(Some(mark));
        }
        if let Err(error) = &saved
            && !self.has_failed.get()
        {
            warn!(%error, "what has been acknowledged cannot be noted; after a power cut a start cannot say what is missing");
        }
        self.has_failed.set(saved.is_err());
    }

    /// The log is on the device up to here.
    pub fn is_safe(&self, mark: Mark) {
        self.safe.set(mark);
    }
}

/// The slots of the notes in a store's folder.
pub(in crate::store) fn slots<I: Io>(io: Medium<I>, dir: &Path) -> TwoSlots<I> {
    TwoSlots::new(io, dir, FILE, 0)
}

/// The last note; the next one is written behind it.
pub(in crate::store) async fn load<I: Io>(slots: &TwoSlots<I>) -> Result<Option<Note>, StoreError> {
    let bytes = match slots.read().await {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) if error.is_shortage() => return Err(error),
        Err(error) => {
            warn!(%error, "what had been acknowledged cannot be read");
            return Ok(None);
        }
    };
    let newest = newest(&bytes);
    slots.continue_from(newest.map_or(0, |(number, _)| number));
    Ok(newest.map(|(_, note)| note))
}

/// What the file says, and the number of that note.
pub(in crate::store) fn newest(bytes: &[u8]) -> Option<(u64, Note)> {
    let [newest, _] = whole(bytes);
    newest
}

fn tell(dir: &Path, missing: &Missing, tail: u64) {
    let Missing {
        bytes,
        messages,
        noted_ms,
        was_safe,
    } = *missing;
    let dir = dir.display();
    match was_safe {
        true => {
            error!(%dir, tail, bytes, messages, noted_ms, "acknowledged messages are missing at the end of the log although they were on the device: it does not keep what it has flushed, or files were put back")
        }
        false => {
            warn!(%dir, tail, bytes, messages, noted_ms, "acknowledged messages are missing at the end of the log: the power went before they were flushed (flushDiskType=SYNC_FLUSH waits for that)")
        }
    }
}

impl Note {
    #[cfg(test)]
    pub fn of(safe: u64, is_sync: bool) -> Self {
        Self {
            position: safe,
            safe,
            messages: 0,
            noted_ms: 0,
            is_sync,
        }
    }

    /// The log is cut: nothing behind this is missed at the next start.
    pub fn up_to(self, position: u64) -> Self {
        match self.position <= position {
            true => self,
            false => Self {
                position,
                safe: self.safe.min(position),
                messages: 0,
                ..self
            },
        }
    }

    async fn missing<I: Io>(
        &self,
        segments: &Segments<I>,
        tail: u64,
    ) -> Result<Option<Missing>, StoreError> {
        if tail >= self.position {
            debug!(
                noted_ms = self.noted_ms,
                "recovery: all messages that were acknowledged up to this time are in the log"
            );
            return Ok(None);
        }
        let found = count(segments, self.safe, tail).await?;
        Ok(Some(Missing {
            bytes: self.position - tail,
            messages: self.messages.saturating_sub(found),
            noted_ms: self.noted_ms,
            was_safe: self.is_sync || tail < self.safe,
        }))
    }
}

impl Slot for Note {
    fn encode(&self, number: u64) -> AlignedBuf {
        let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
        block[..8].copy_from_slice(MAGIC);
        let fields = [
            number,
            self.position,
            self.safe,
            self.messages,
            self.noted_ms as u64,
            self.is_sync.into(),
        ];
        for (place, field) in block[8..CRC_AT].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        let crc = crc32fast::hash(&block[..CRC_AT]);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        block
    }

    fn decode(block: &[u8]) -> Option<(u64, Self)> {
        let (noted, crc) = block.split_at_checked(CRC_AT)?;
        let is_whole =
            noted.starts_with(MAGIC) && crc.starts_with(&crc32fast::hash(noted).to_be_bytes());
        let mut fields = noted[8..].chunks_exact(8).map(|field| {
            let bytes = field.first_chunk().filter(|_| is_whole)?;
            Some(u64::from_be_bytes(*bytes))
        });
        let mut next = || fields.next().flatten();
        let number = next()?;
        let note = Self {
            position: next()?,
            safe: next()?,
            messages: next()?,
            noted_ms: next()? as i64,
            is_sync: next()? != 0,
        };
        Some((number, note))
    }
}

/// Messages of the log between two places.
async fn count<I: Io>(segments: &Segments<I>, from: u64, to: u64) -> Result<u64, StoreError> {
    let mut walk = Walk::new(Crcs::Skipped);
    let (mut at, mut messages) = (from, 0);
    while at < to {
        let found = walk.at(segments, at).await?;
        messages += u64::from(matches!(found, Found::Record(_)));
        match found.len() {
            Some(len) => at += len,
            None => break,
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_or_not_at_all() {
        let note = Note {
            position: 4096,
            safe: 77,
            messages: 3,
            noted_ms: -1,
            is_sync: true,
        };
        let block = note.encode(1);
        assert_eq!(Note::decode(&block), Some((1, note)));
        for bit in 0..(CRC_AT + 4) * 8 {
            let mut torn = block.to_vec();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Note::decode(&torn), None, "bit {bit}");
        }
        assert_eq!(Note::decode(&block[..CRC_AT]), None);
        let both = [&note.encode(2)[..], &block[..]].concat();
        assert_eq!(newest(&both), Some((2, note)));
        assert_eq!(newest(&both[1..]), None, "no note begins elsewhere");
        assert_eq!(Note::decode(&[0; 4096]), None);
    }
}
