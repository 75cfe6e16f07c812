//! ConsumeQueues beside the log.
//!
//! Each queue has a cursor that goes through its entries as its messages come by in the log, and a window of its file
//! around it. Afterwards each queue's files are read once by themselves.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Check, Listener};
use crate::io::Io;
use crate::message::{Record, sys_flag};
use crate::store::StoreError;
use crate::store::config::SCHEDULE_TOPIC;
use crate::store::entry_tags::entry_of;
use crate::store::queues::entry::BLANK;
use crate::store::queues::entry::{ENTRY_BYTES, Entry};
use crate::store::queues::files::{FILE_ENTRIES, Found, MAX_QUEUE_ID, QueueFiles};

/// Entries of a queue in memory, and of all of them.
const WINDOW_ENTRIES: usize = 64;
const MAX_WINDOWS_ENTRIES: usize = 4 << 20;

/// Entries read at a time when a queue is read by itself.
const READ_ENTRIES: usize = 16 << 10;

type Key = (String, u32);

#[derive(Default)]
pub(super) struct Queues {
    cursors: HashMap<Key, Cursor>,
    entries_in_windows: usize,
}

struct Cursor {
    found: Found,
    /// Entries that a message of the log has met: from, and up to.
    met: Option<(u64, u64)>,
    window_from: u64,
    window: Vec<Entry>,
}

impl Cursor {
    /// The entry at an offset, with the window moved there.
    async fn entry<I: Io>(
        &mut self,
        files: &QueueFiles<I>,
        offset: u64,
    ) -> Result<Option<Entry>, StoreError> {
        let place = |from: u64| offset.checked_sub(from).map(|place| place as usize);
        let is_here = place(self.window_from).is_some_and(|place| place < self.window.len());
        if !is_here {
            let (topic, queue_id) = (&self.found.topic, self.found.queue_id);
            self.window = files.load(topic, queue_id, offset, WINDOW_ENTRIES).await?;
            self.window_from = offset;
        }
        let place = place(self.window_from);
        Ok(place.and_then(|place| self.window.get(place).copied()))
    }
}

impl<I: Io, L: Listener> Check<'_, I, L> {
    fn queue_files(&self) -> QueueFiles<I> {
        QueueFiles::view(self.io.clone(), self.subject.dir.join("consumequeue"))
    }

    pub(super) async fn open_queues(&mut self) -> Result<Queues, StoreError> {
        let mut queues = Queues::default();
        for found in self.queue_files().find_all().await? {
            if !found.is_whole {
                let path = self.queue_dir(&found.topic, found.queue_id);
                self.damage(
                    &path,
                    0,
                    "a file is missing or short",
                    "files of 6000000 bytes",
                );
            }
            let key = (found.topic.clone(), found.queue_id);
            let cursor = Cursor {
                found,
                met: None,
                window_from: 0,
                window: Vec::new(),
            };
            queues.cursors.insert(key, cursor);
        }
        self.report.queues = queues.cursors.len() as u64;
        Ok(queues)
    }

    /// The entry of a message that the log has.
    pub(super) async fn check_entry(
        &mut self,
        queues: &mut Queues,
        record: &Record<'_>,
    ) -> Result<(), StoreError> {
        if record.queue_id >= MAX_QUEUE_ID || !sys_flag::is_consumable(record.sys_flag) {
            return Ok(());
        }
        let key = (record.topic.to_owned(), record.queue_id);
        // Without any file its topic was deleted.
        let Some(cursor) = queues.cursors.get_mut(&key) else {
            return Ok(());
        };
        let files = self.queue_files();
        let window_entries = cursor.window.len();
        let expected = entry_of(record, &[]).to_last();
        for (offset, expected) in (record.queue_offset..).zip(expected) {
            let entry = cursor.entry(&files, offset).await?;
            self.compare(cursor, offset, entry, &expected, record);
        }
        queues.entries_in_windows -= window_entries;
        queues.entries_in_windows += cursor.window.len();
        if queues.entries_in_windows > MAX_WINDOWS_ENTRIES {
            for cursor in queues.cursors.values_mut() {
                cursor.window = Vec::new();
            }
            queues.entries_in_windows = 0;
        }
        Ok(())
    }

    /// The entry of a queue with the message that it should lead to.
    fn compare(
        &mut self,
        cursor: &mut Cursor,
        offset: u64,
        entry: Option<Entry>,
        right: &Entry,
        record: &Record<'_>,
    ) {
        let (path, at) = self.place(record.topic, record.queue_id, offset);
        let expected = format!(
            "position {}, size {}, of a message in the log",
            record.physical_offset, record.total_size
        );
        match entry {
            // The topic was deleted and made again, and this message is of the time before.
            Some(entry)
                if entry.physical_offset > record.physical_offset && offset < cursor.found.max => {}
            Some(entry) => {
                let (from, to) = cursor.met.unwrap_or((offset, offset));
                cursor.met = Some((from.min(offset), to.max(offset + 1)));
                let place = (entry.physical_offset, entry.size);
                if place != (record.physical_offset, record.total_size) || entry.part != right.part
                {
                    let found = format!("position {}, size {}", place.0, place.1);
                    let found = format!("{found}, {}", entry.part);
                    self.damage(&path, at, found, format!("{expected}, {}", right.part));
                } else if entry.tags_code != right.tags_code && record.topic != SCHEDULE_TOPIC {
                    let found = format!("tags code {}", entry.tags_code);
                    let expected = format!("tags code {}", right.tags_code);
                    self.damage(&path, at, found, expected);
                }
            }
            None if offset < cursor.found.min => {}
            None if record.physical_offset < self.complete_to() => {
                self.damage(&path, at, "no entry", expected);
            }
            None => {}
        }
    }

    /// Each queue by itself, and what no message of the log has met.
    pub(super) async fn finish_queues(&mut self, queues: &Queues) -> Result<(), StoreError> {
        for cursor in queues.cursors.values() {
            self.read_queue(cursor).await?;
        }
        Ok(())
    }

    async fn read_queue(&mut self, cursor: &Cursor) -> Result<(), StoreError> {
        let Found {
            topic,
            queue_id,
            min,
            max,
            ..
        } = &cursor.found;
        let (log_min, log_end) = (self.report.log_min, self.report.log_end);
        let (mut offset, mut last_end) = (*min, 0);
        while offset < *max {
            let entries = self
                .queue_files()
                .read(
                    topic,
                    *queue_id,
                    offset,
                    READ_ENTRIES.min((max - offset) as usize),
                )
                .await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let (path, at) = self.place(topic, *queue_id, offset);
                offset += 1;
                self.report.queue_entries += 1;
                if entry == BLANK && last_end == 0 {
                    continue;
                }
                let found = format!("position {}, size {}", entry.physical_offset, entry.size);
                let is_met = cursor
                    .met
                    .is_some_and(|(from, to)| (from..to).contains(&(offset - 1)));
                if entry.physical_offset < last_end && entry.begins_record() {
                    let expected =
                        format!("a position from {last_end} on, where the entry before it ends");
                    self.damage(&path, at, found, expected);
                    continue;
                }
                last_end = entry.end();
                if entry.physical_offset < log_min || is_met {
                    continue;
                }
                // A start erases what is ahead of the log's end.
                if entry.end() > log_end && !self.report.was_closed {
                    continue;
                }
                let expected =
                    format!("a message of the log, {log_min} to {log_end}, with this queue offset");
                self.damage(&path, at, found, expected);
            }
        }
        Ok(())
    }

    fn queue_dir(&self, topic: &str, queue_id: u32) -> PathBuf {
        let dir: &Path = &self.subject.dir;
        dir.join("consumequeue")
            .join(topic)
            .join(queue_id.to_string())
    }

    fn place(&self, topic: &str, queue_id: u32, offset: u64) -> (PathBuf, u64) {
        let first = offset / FILE_ENTRIES * FILE_ENTRIES * ENTRY_BYTES as u64;
        let path = self
            .queue_dir(topic, queue_id)
            .join(crate::store::names::offset_name(first));
        (path, offset % FILE_ENTRIES * ENTRY_BYTES as u64)
    }
}
