//! The log: its files, and its records one behind the other.

use std::path::PathBuf;

use serde::Serialize;

use super::queues::Queues;
use super::{Check, Listener, Subject};
use crate::io::Io;
use crate::message::Record;
use crate::store::StoreConfig;
use crate::store::StoreError;
use crate::store::log::damage::Known;
use crate::store::log::reader::{Crcs, Found, Walk};
use crate::store::log::segments::Segments;
use crate::store::medium::Medium;
use crate::store::names::{offset_name, parse_offset_name};
use crate::store::recovery::evidence;

/// A file of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogFile {
    pub start: u64,
    pub path: PathBuf,
    pub len_bytes: u64,
}

/// Those of a store, in their order.
pub struct LogFiles<I: Io> {
    pub files: Vec<LogFile>,
    pub(in crate::store) segments: Segments<I>,
    config: StoreConfig,
    flushed_to: u64,
    pub(in crate::store) crcs: Crcs,
}

impl<I: Io> LogFiles<I> {
    /// Opens what is there, to be read only. The largest file has the size that all should have.
    pub async fn open(io: &I, subject: &Subject) -> Result<Self, StoreError> {
        let io = &Medium::new(io.clone());
        let dir = &subject.log_dir;
        let listed = io.list(dir).await?;
        let files: Vec<_> = listed
            .into_iter()
            .filter_map(|entry| {
                Some(LogFile {
                    start: parse_offset_name(&entry.path)?,
                    path: entry.path,
                    len_bytes: entry.len_bytes,
                })
            })
            .collect();
        let largest = files.iter().map(|file| file.len_bytes).max();
        let segment_bytes = largest.unwrap_or(0).next_multiple_of(4096).max(8192);
        let whole = files.iter().filter(|file| {
            file.len_bytes == segment_bytes && file.start.is_multiple_of(segment_bytes)
        });
        let starts: Vec<_> = whole.map(|file| file.start).collect();
        let segments = Segments::view(io, dir, segment_bytes, &starts).await?;
        let config = StoreConfig {
            dir: subject.dir.clone(),
            segment_bytes,
            ..StoreConfig::default()
        };
        Ok(Self {
            files,
            segments,
            config,
            flushed_to: 0,
            crcs: Crcs::of_log(evidence::ours_from(io, &subject.dir).await?),
        })
    }

    pub(in crate::store) fn known(&self) -> Known<'_, I> {
        Known {
            segments: &self.segments,
            config: &self.config,
            flushed_to: self.flushed_to,
            unflushed_bytes: self.config.max_unflushed_bytes,
            crcs: self.crcs,
        }
    }

    /// The first whole record that begins at `position` or behind it.
    pub async fn record_from(&self, position: u64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let found = self.known().first_record(position, self.end()).await?;
        let Some(found) = found else { return Ok(None) };
        let mut walk = Walk::probe(self.crcs);
        let Look::Record(record) = self.look(&mut walk, found).await? else {
            return Ok(None);
        };
        let size = record.total_size as usize;
        let bytes = walk.bytes(&self.segments, found, size).await?;
        Ok(Some((found, bytes.to_vec())))
    }

    /// Where the log ends, read from a record of it on.
    pub async fn end_from(&self, position: u64) -> Result<u64, StoreError> {
        let (mut at, mut walk) = (position, Walk::new(self.crcs));
        loop {
            at += match self.look(&mut walk, at).await? {
                Look::Record(record) => record.total_size.into(),
                Look::Blank(size) => size,
                Look::Bad(_) => return Ok(at),
            };
        }
    }

    pub fn path_of(&self, position: u64) -> (PathBuf, u64) {
        let start = self.segments.start_of(position);
        let path = self.segments.dir().join(offset_name(start));
        (path, position - start)
    }

    pub fn min(&self) -> u64 {
        self.segments.min_position().unwrap_or(0)
    }

    pub fn end(&self) -> u64 {
        self.segments.end().unwrap_or(0)
    }

    /// What stands at a position; what the device does not give is nothing that can be read.
    pub(in crate::store) async fn look<'w>(
        &self,
        walk: &'w mut Walk,
        position: u64,
    ) -> Result<Look<'w>, StoreError> {
        match walk.at(&self.segments, position).await {
            Ok(Found::Record(record)) => Ok(Look::Record(record)),
            Ok(Found::Blank { size }) => Ok(Look::Blank(size)),
            Ok(Found::None(none)) => Ok(Look::Bad(none.to_string())),
            Err(error @ (StoreError::Io { .. } | StoreError::Unreadable { .. })) => {
                Ok(Look::Bad(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

pub(in crate::store) enum Look<'w> {
    Record(Record<'w>),
    Blank(u64),
    Bad(String),
}

impl<I: Io, L: Listener> Check<'_, I, L> {
    pub(super) async fn open_log(&mut self) -> Result<(Vec<LogFile>, LogFiles<I>), StoreError> {
        let mut log = LogFiles::open(self.io.io(), self.subject).await?;
        log.flushed_to = self.checkpointed().unwrap_or(0);
        let files = log.files.clone();
        let segment_bytes = log.segments.segment_bytes();
        let mut expected = None;
        for file in &files {
            if let Some(missing) = expected.filter(|expected| *expected < file.start) {
                let path = self.subject.log_dir.join(offset_name(missing));
                self.damage(&path, 0, "no file", "a file of the log");
            }
            let is_named = file.start.is_multiple_of(segment_bytes);
            if file.len_bytes != segment_bytes || !is_named {
                let found = format!("{} bytes", file.len_bytes);
                let expected = format!("{segment_bytes} bytes, as the largest file of the log has");
                self.damage(&file.path, file.len_bytes, found, expected);
            }
            expected = file.start.checked_add(segment_bytes);
        }
        self.report.log_files = files.len() as u64;
        self.report.log_min = log.min();
        Ok((files, log))
    }

    pub(super) async fn walk(
        &mut self,
        log: &LogFiles<I>,
        queues: &mut Queues,
    ) -> Result<(), StoreError> {
        let mut walk = Walk::new(log.crcs);
        let mut position = log.min();
        while position < log.end() {
            let (next, bad) = match log.look(&mut walk, position).await? {
                Look::Record(record) => {
                    self.report.records += 1;
                    self.check_entry(queues, &record).await?;
                    (position + u64::from(record.total_size), None)
                }
                Look::Blank(size) => (position + size, None),
                Look::Bad(found) => match self.behind(log, position).await? {
                    Some(next) => (next, Some(found)),
                    None => break,
                },
            };
            if let Some(found) = bad {
                let (file, offset) = log.path_of(position);
                let expected =
                    format!("a record of position {position}; the next one is at {next}");
                self.damage(&file, offset, found, expected);
            }
            self.went_on(next - position);
            position = next;
        }
        self.report.log_end = position;
        Ok(())
    }

    /// Where the log goes on; `None` if it ends there, maybe torn.
    async fn behind(&self, log: &LogFiles<I>, position: u64) -> Result<Option<u64>, StoreError> {
        let known = log.known();
        let next = known.first_record(position + 1, log.end()).await?;
        let Some(next) = next else {
            return Ok(None);
        };
        // What a power cut has left of what was not flushed is wiped by the next start.
        let is_damage = self.report.was_closed || known.damage_at(position).await?.is_some();
        Ok(is_damage.then_some(next))
    }
}
