//! A start: the end of the log is found, and the queues are brought to agree with the log.
//!
//! ```text
//! journal       | table of all queues | blocks ... | log, read from the last block on          our store, however it ended
//! queue files   | what they have up to a position | log, read from there on     RocketMQ's store, or ours without journal
//! neither       | log, read from its beginning on                                             they do not fit one another
//! ```
//! Each record of the log is checked to be the successor of the one before (its own position, size, magic, body CRC, CRC
//! over all of it), and its queue entry is derived again. The first record that is not ends the log. After a crash the bytes behind the end
//! are wiped: they may have right positions and CRCs, and a later start would read them as part of the log.
//!
//! The progress of reading the log goes into the journal, so that a start that is interrupted resumes there.

pub(super) mod batch_queues;
mod carry_out;
mod cut;
pub(super) mod decide;
pub(super) mod evidence;
mod from_files;
mod from_journal;
mod replay;
mod search;
mod tail;
mod unconfirmed;

use self::batch_queues::BatchQueues;
use self::decide::Plan;
use self::unconfirmed::Unconfirmed;
use super::config::StoreConfig;
use super::doubt::Doubt;
use super::index::Mark;
use super::log::ack_watermark::Note;
use super::log::damage::Gap;
pub(super) use super::log::reader::store_time_at;
use super::log::segments::Segments;
use super::queues::checkpoint::CheckpointFile;
use super::queues::entry::Entry;
use super::queues::files::QueueFiles;
use super::queues::journal::{Coverage, Journal};
use super::queues::memory::ConsumeQueues;
use super::two_slots::TwoSlots;
use crate::io::Io;

/// What has been read is put into the journal after this part of a file: 128 MiB.
const KEEP_SHARE: u64 = 8;

pub(super) struct Recovery<'a, I: Io> {
    config: &'a StoreConfig,
    segments: &'a Segments<I>,
    queue_files: &'a QueueFiles<I>,
    batch_queues: &'a BatchQueues<I>,
    checkpoint: &'a CheckpointFile<I>,
    journal: &'a Journal<I>,
    queues: &'a mut ConsumeQueues,
    /// Up to here the queues have the entries of the log.
    pub reached: Coverage,
    pub messages: u64,
    /// Up to here the queues' files are complete.
    pub checkpointed: u64,
    /// What the checkpoint says of the key index.
    pub index: Option<Mark>,
    /// The log's records from here on are this broker's; `None`: not known.
    pub ours_from: Option<u64>,
    /// As in the plan.
    durable_to: u64,
    unflushed_bytes: u64,
    /// Bytes of the log that were skipped as damaged, and the last skipped part.
    lost_bytes: u64,
    gap: Option<Gap>,
    /// All of these parts.
    pub gaps: Vec<Gap>,
    /// Queues whose files are removed once it is known that the generation which deletes them counts.
    gone: Vec<(String, u32)>,
    /// The log is to end here at the latest.
    cut: Option<u64>,
    /// What the files had of the queues before the log was read, if the checkpoint is to say another thing than it does.
    of_files: Option<(Coverage, u64)>,
    /// The newest entry of the queues' files, as far as they count.
    newest: Option<Entry>,
    unconfirmed: Option<Unconfirmed>,
    notes: &'a TwoSlots<I>,
    doubt: &'a Doubt<I>,
    /// What had been acknowledged, as far as the log is to keep it.
    pub note: Option<Note>,
}

/// The files that a recovery reads and writes.
pub(super) struct Files<'a, I: Io> {
    pub segments: &'a Segments<I>,
    pub queue_files: &'a QueueFiles<I>,
    pub batch_queues: &'a BatchQueues<I>,
    pub checkpoint: &'a CheckpointFile<I>,
    pub journal: &'a Journal<I>,
    /// The notes of what had been acknowledged.
    pub notes: &'a TwoSlots<I>,
    pub doubt: &'a Doubt<I>,
}

/// The queues do not fit the log.
struct Mismatch;

impl<'a, I: Io> Recovery<'a, I> {
    pub fn new(
        config: &'a StoreConfig,
        files: Files<'a, I>,
        queues: &'a mut ConsumeQueues,
        plan: &Plan,
        note: Option<Note>,
    ) -> Self {
        let checkpoint = files.checkpoint.saved();
        Self {
            config,
            segments: files.segments,
            queue_files: files.queue_files,
            batch_queues: files.batch_queues,
            checkpoint: files.checkpoint,
            journal: files.journal,
            queues,
            reached: Coverage::default(),
            messages: 0,
            checkpointed: checkpoint.map_or(0, |checkpoint| checkpoint.position),
            index: checkpoint.and_then(|checkpoint| checkpoint.index),
            ours_from: plan.ours_from,
            durable_to: plan.durable_to,
            unflushed_bytes: plan.unflushed_bytes,
            lost_bytes: 0,
            gap: None,
            gaps: Vec::new(),
            gone: Vec::new(),
            cut: plan.cut,
            of_files: None,
            newest: None,
            unconfirmed: None,
            notes: files.notes,
            doubt: files.doubt,
            note,
        }
    }
}

/// Whether what has been restored is in the journal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsKept {
    Already,
    NotYet,
}
