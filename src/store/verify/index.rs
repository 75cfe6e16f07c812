//! Index files: what their header says, their chains, and whether the messages have the keys.

use std::path::PathBuf;

use super::log::{LogFiles, Look};
use super::{Check, Listener};
use crate::io::Io;
use crate::store::StoreError;
use crate::store::index::{
    Entry, Header, INDEX_ENTRY_BYTES as ENTRY_BYTES, INDEX_HEADER_BYTES as HEADER_BYTES, Name,
    each_key,
};
use crate::store::log::reader::Walk;

/// Entries and slots read at a time.
const READ_ENTRIES: usize = 16 << 10;
const SLOT_BYTES: usize = 4;

pub(super) struct IndexFile {
    name: Name,
    path: PathBuf,
    is_last: bool,
}

/// What the entries that were read say.
struct Chains {
    /// The latest entry of each slot.
    slots: Vec<u32>,
    /// The highest position of a message.
    last_position: u64,
    /// The hashes of the keys of the message at a position; `None` if it cannot be read.
    keys_of: u64,
    keys: Option<Vec<u32>>,
    walk: Walk,
}

impl<I: Io, L: Listener> Check<'_, I, L> {
    pub(super) async fn index_files(&mut self) -> Result<Vec<IndexFile>, StoreError> {
        let dir = self.subject.dir.join("index");
        let listed = self.io.list(&dir).await?;
        let mut files: Vec<_> = listed
            .into_iter()
            .filter_map(|entry| {
                Some(IndexFile {
                    name: Name::parse(&entry.path)?,
                    path: entry.path,
                    is_last: false,
                })
            })
            .collect();
        if let Some(last) = files.last_mut() {
            last.is_last = true;
        }
        self.report.index_files = files.len() as u64;
        Ok(files)
    }

    pub(super) async fn check_index(
        &mut self,
        log: &LogFiles<I>,
        file: &IndexFile,
    ) -> Result<(), StoreError> {
        let shape = self.subject.index_shape;
        let len = self.len_bytes(&file.path).await?;
        if len != shape.file_bytes() {
            let expected = format!("{} bytes (maxHashSlotNum, maxIndexNum)", shape.file_bytes());
            self.damage(&file.path, len, format!("{len} bytes"), expected);
            return Ok(());
        }
        let mark = self.checkpoint.and_then(|checkpoint| checkpoint.index);
        let mark = mark.filter(|mark| mark.last == file.name);
        // A file that grew when the broker was killed has no header and no slots yet.
        let is_whole = self.report.was_closed || !file.is_last;
        let header = match mark.filter(|_| !is_whole) {
            Some(mark) => mark.header,
            None => match self.part(&file.path, 0, HEADER_BYTES).await?.first_chunk() {
                Some(bytes) => Header::decode(bytes),
                None => return Ok(()),
            },
        };
        if !(1..=shape.entries).contains(&header.count) {
            if is_whole {
                let expected = format!("a count from 1 to {}", shape.entries);
                self.damage(&file.path, 36, format!("count {}", header.count), expected);
            }
            return Ok(());
        }
        let slots = self.check_index_entries(log, file, &header).await?;
        if is_whole {
            self.check_slots(file, &header, &slots).await?;
        }
        Ok(())
    }

    /// The latest entry of each slot, as the entries have it.
    async fn check_index_entries(
        &mut self,
        log: &LogFiles<I>,
        file: &IndexFile,
        header: &Header,
    ) -> Result<Vec<u32>, StoreError> {
        let shape = self.subject.index_shape;
        let mut chains = Chains {
            slots: vec![0; shape.slots as usize],
            last_position: 0,
            keys_of: u64::MAX,
            keys: None,
            walk: Walk::new(log.crcs),
        };
        let mut number = 1;
        while number < header.count {
            let count = READ_ENTRIES.min((header.count - number) as usize);
            let read = self.part(&file.path, shape.entry_at(number), count * ENTRY_BYTES);
            let bytes = read.await?;
            let entries = bytes.as_chunks::<ENTRY_BYTES>().0;
            if entries.is_empty() {
                break;
            }
            for bytes in entries {
                let entry = Entry::decode(bytes);
                self.check_chain(file, number, &entry, &mut chains);
                self.check_keys(log, file, number, &entry, &mut chains)
                    .await?;
                number += 1;
            }
        }
        let last = chains.last_position;
        if header.count > 1 && last != header.end_offset {
            let found = format!("end offset {}", header.end_offset);
            let expected = format!("{last}, that of the last entry");
            self.damage(&file.path, 24, found, expected);
        }
        Ok(chains.slots)
    }

    /// The entry leads to the one before it in its slot, and its message is not ahead of that of the entry before it.
    fn check_chain(&mut self, file: &IndexFile, number: u32, entry: &Entry, chains: &mut Chains) {
        let shape = self.subject.index_shape;
        let at = shape.entry_at(number);
        self.report.index_entries += 1;
        let slot = &mut chains.slots[shape.slot_of(entry.hash) as usize];
        let before = std::mem::replace(slot, number);
        if entry.previous != before {
            let found = format!("previous entry {}", entry.previous);
            let expected = format!("{before}, the one before in its slot");
            self.damage(&file.path, at + 16, found, expected);
        }
        let last = chains.last_position;
        if entry.physical_offset < last {
            let found = format!("position {}", entry.physical_offset);
            self.damage(&file.path, at + 4, found, format!("one from {last} on"));
        }
        chains.last_position = last.max(entry.physical_offset);
    }

    /// The message has the key.
    async fn check_keys(
        &mut self,
        log: &LogFiles<I>,
        file: &IndexFile,
        number: u32,
        entry: &Entry,
        chains: &mut Chains,
    ) -> Result<(), StoreError> {
        let position = entry.physical_offset;
        if chains.keys_of != position {
            let before = chains.keys_of.min(position);
            chains.keys = self.keys_at(log, &mut chains.walk, position).await?;
            chains.keys_of = position;
            self.went_on(position - before);
        }
        let has_key = |keys: &Vec<u32>| keys.contains(&entry.hash);
        if !chains.keys.as_ref().is_none_or(has_key) {
            let found = format!("hash {} for the message at {position}", entry.hash);
            let at = self.subject.index_shape.entry_at(number);
            self.damage(&file.path, at, found, "the hash of one of its keys");
        }
        Ok(())
    }

    /// Hashes of a message's keys. None: it has gone, or is no longer whole, which has been said.
    async fn keys_at(
        &mut self,
        log: &LogFiles<I>,
        walk: &mut Walk,
        position: u64,
    ) -> Result<Option<Vec<u32>>, StoreError> {
        if position < self.report.log_min {
            return Ok(None);
        }
        if position >= self.report.log_end {
            return Ok(self.report.was_closed.then(Vec::new));
        }
        Ok(match log.look(walk, position).await? {
            Look::Record(record) => {
                let mut keys = Vec::new();
                each_key(&record, |hash| keys.push(hash));
                Some(keys)
            }
            _ => None,
        })
    }

    async fn check_slots(
        &mut self,
        file: &IndexFile,
        header: &Header,
        slots: &[u32],
    ) -> Result<(), StoreError> {
        let shape = self.subject.index_shape;
        for (piece, expected) in slots.chunks(READ_ENTRIES).enumerate() {
            let at = shape.slot_at((piece * READ_ENTRIES) as u32);
            let bytes = self
                .part(&file.path, at, expected.len() * SLOT_BYTES)
                .await?;
            let found = bytes
                .as_chunks::<SLOT_BYTES>()
                .0
                .iter()
                .map(|slot| u32::from_be_bytes(*slot));
            for (place, (found, expected)) in found.zip(expected).enumerate() {
                if found != *expected {
                    let at = at + (place * SLOT_BYTES) as u64;
                    self.damage(
                        &file.path,
                        at,
                        format!("slot leads to entry {found}"),
                        format!("entry {expected}"),
                    );
                }
            }
        }
        let used = slots.iter().filter(|slot| **slot > 0).count() as u32;
        if header.used_slots != used {
            let found = format!("{} used slots", header.used_slots);
            self.damage(&file.path, 32, found, format!("{used}"));
        }
        Ok(())
    }
}
