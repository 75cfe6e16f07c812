//! Checks a store that is not open, without changing anything: `ringmq store verify`.
//!
//! | Looked at | against |
//! |---|---|
//! | log files | one another: sizes, names, gaps |
//! | records | their position, layout, body CRC, CRC over all of it |
//! | the log | each message's entry in its ConsumeQueue: place, size, tags code; what has none |
//! | ConsumeQueues | ascending, within the log; each entry met by a message |
//! | index files | header, entries, slots, chains; each key really the message's |
//! | checkpoint, timers | their own sums and order, and the log |
//!
//! The log is read once in its order, and the queues' entries beside it in windows, so that memory follows the number of
//! queues and not that of messages; then once more beside the index. What a crash leaves and a start makes good again is
//! no damage: a torn end, queues and index behind the log.

mod index;
mod inspect;
mod log;
mod queues;
mod timers;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use self::inspect::{Overview, QueueFilesFound, inspect};
pub use self::log::{LogFile, LogFiles};

use super::StoreError;
use super::abort::{Abort, LastShutdown};
use super::index::Shape;
use super::medium::Medium;
use super::queues::checkpoint::{self, Checkpoint, CheckpointFile};
use crate::io::{Io, OpenOptions};
use crate::mem::AlignedBuf;

/// What is checked.
#[derive(Clone, Debug)]
pub struct Subject {
    pub dir: PathBuf,
    pub log_dir: PathBuf,
    pub index_shape: Shape,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub file: PathBuf,
    pub offset: u64,
    pub found: String,
    pub expected: String,
}

/// What was looked at, and how much of it is damaged.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub log_files: u64,
    pub log_min: u64,
    pub log_end: u64,
    pub records: u64,
    pub queues: u64,
    pub queue_entries: u64,
    pub index_files: u64,
    pub index_entries: u64,
    pub timers: u64,
    /// The store was closed; otherwise a start has something to make good.
    pub was_closed: bool,
    pub damages: u64,
}

/// Where findings and progress go.
pub trait Listener {
    fn found(&mut self, finding: Finding);
    /// So many of so many bytes have been read.
    fn progress(&mut self, read: u64, of: u64);
}

/// One check of a store.
pub(super) struct Check<'a, I: Io, L> {
    io: Medium<I>,
    subject: &'a Subject,
    listener: &'a mut L,
    pub report: Report,
    checkpoint: Option<Checkpoint>,
    /// Bytes read, and to be read.
    read: u64,
    of: u64,
}

/// Reads all of a store. An error: it could not be read.
pub async fn verify<I: Io, L: Listener>(
    io: &I,
    subject: &Subject,
    listener: &mut L,
) -> Result<Report, StoreError> {
    let mut check = Check::new(io, subject, listener).await?;
    check.run().await?;
    Ok(check.report)
}

impl<'a, I: Io, L: Listener> Check<'a, I, L> {
    async fn new(io: &I, subject: &'a Subject, listener: &'a mut L) -> Result<Self, StoreError> {
        let io = Medium::new(io.clone());
        let found = CheckpointFile::new(io.clone(), &subject.dir).load().await?;
        let checkpoint = match found {
            checkpoint::Found::Ours(checkpoint) => Some(checkpoint),
            checkpoint::Found::Times { .. } | checkpoint::Found::None { .. } => None,
        };
        let last_shutdown = Abort::new(io.clone(), &subject.dir).last_shutdown().await?;
        Ok(Self {
            io,
            subject,
            listener,
            report: Report {
                was_closed: last_shutdown == LastShutdown::Clean,
                ..Report::default()
            },
            checkpoint,
            read: 0,
            of: 0,
        })
    }
}

impl<I: Io, L: Listener> Check<'_, I, L> {
    async fn run(&mut self) -> Result<(), StoreError> {
        let (files, log) = self.open_log().await?;
        let mut queues = self.open_queues().await?;
        let index_files = self.index_files().await?;
        let log_bytes = files.iter().map(|file| file.len_bytes).sum::<u64>();
        self.of = log_bytes * if index_files.is_empty() { 1 } else { 2 };
        self.walk(&log, &mut queues).await?;
        self.check_checkpoint();
        self.finish_queues(&queues).await?;
        for file in index_files {
            self.check_index(&log, &file).await?;
        }
        self.check_timers().await?;
        self.listener.progress(self.of, self.of);
        Ok(())
    }

    fn damage(
        &mut self,
        file: &Path,
        offset: u64,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.report.damages += 1;
        self.listener.found(Finding {
            file: file.to_owned(),
            offset,
            found: found.into(),
            expected: expected.into(),
        });
    }

    fn went_on(&mut self, bytes: u64) {
        self.read += bytes;
        self.listener.progress(self.read.min(self.of), self.of);
    }

    fn check_checkpoint(&mut self) {
        let log_end = self.report.log_end;
        if let Some(position) = self.checkpointed().filter(|position| *position > log_end) {
            let file = self.subject.dir.join("checkpoint");
            let found = format!("a log that ends at {log_end}");
            self.damage(&file, 48, found, format!("one up to {position}"));
        }
    }

    fn checkpointed(&self) -> Option<u64> {
        self.checkpoint.map(|checkpoint| checkpoint.position)
    }

    /// Up to here the queues' entries are in their files, whatever happened.
    fn complete_to(&self) -> u64 {
        match self.report.was_closed {
            true => u64::MAX,
            false => self.checkpointed().unwrap_or(0),
        }
    }

    async fn len_bytes(&self, path: &Path) -> Result<u64, StoreError> {
        let file = self.io.open(path, OpenOptions::default()).await?;
        file.len_bytes().await
    }

    /// A part of a file; less at its end.
    async fn part(&self, path: &Path, at: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let file = self.io.open(path, OpenOptions::default()).await?;
        let (read, buf) = file.read_at(AlignedBuf::with_room_for(len), len, at).await;
        Ok(buf[..read?.min(len)].to_vec())
    }
}
