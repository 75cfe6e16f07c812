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

impl<I: Io, L: Listener> Check<'_, I, L> {
    pub(super) async fn index_files(&mut self) -> Result<Vec<IndexFile>, StoreError> {
        let dir = self.subject.dir.join("index");
        let listed = self
            .io
            .list(&dir)
            .await
            .map_err(StoreError::io("list", &dir))?;
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
        let mut slots = vec![0_u32; shape.slots as usize];
        let mut walk = Walk::default();
        let (mut number, mut last, mut keys) = (1, 0, (u64::MAX, None));
        while number < header.count {
            let at = shape.entry_at(number);
            let count = READ_ENTRIES.min((header.count - number) as usize);
            let bytes = self.part(&file.path, at, count * ENTRY_BYTES).await?;
            let entries = bytes.as_chunks::<ENTRY_BYTES>().0;
            if entries.is_empty() {
                break;
            }
            for bytes in entries {
                let (entry, at) = (Entry::decode(bytes), shape.entry_at(number));
                self.report.index_entries += 1;
                let slot = &mut slots[shape.slot_of(entry.hash) as usize];
                if entry.previous != *slot {
                    let (found, expected) = (entry.previous, *slot);
                    *slot = number;
                    self.damage(
                        &file.path,
                        at + 16,
                        format!("previous entry {found}"),
                        format!("{expected}, the one before in its slot"),
                    );
                } else {
                    *slot = number;
                }
                if entry.physical_offset < last {
                    let found = format!("position {}", entry.physical_offset);
                    self.damage(&file.path, at + 4, found, format!("one from {last} on"));
                }
                last = last.max(entry.physical_offset);
                if keys.0 != entry.physical_offset {
                    let read = self.keys_at(log, &mut walk, entry.physical_offset).await?;
                    let ahead = entry
                        .physical_offset
                        .abs_diff(keys.0.min(entry.physical_offset));
                    self.went_on(ahead);
                    keys = (entry.physical_offset, read);
                }
                let is_known = keys
                    .1
                    .as_ref()
                    .is_none_or(|keys: &Vec<u32>| keys.contains(&entry.hash));
                if !is_known {
                    let found = format!(
                        "hash {} for the message at {}",
                        entry.hash, entry.physical_offset
                    );
                    self.damage(&file.path, at, found, "the hash of one of its keys");
                }
                number += 1;
            }
        }
        if header.count > 1 && last != header.end_offset {
            let found = format!("end offset {}", header.end_offset);
            self.damage(
                &file.path,
                24,
                found,
                format!("{last}, that of the last entry"),
            );
        }
        Ok(slots)
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
