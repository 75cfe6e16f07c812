//! Following a master's log: its bytes are appended as they come, and its records get their entries in the queues once they are committed.
//!
//! ```text
//!        at                      persisted       tail
//! -------|=======================|===============|........   log positions
//! queues | whole records, or the | being written | not received yet
//! have it| beginning of one      |               |
//! ```
//! The log buffer keeps what is not in the queues, as the records are read from it. The master may be RocketMQ, whose records need not
//! carry a CRC over all of them: the first one without waits until the checkpoint does not exclude it (`log/ours.rs`).

mod received;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tracing::warn;

use self::received::Received;
use super::config::StoreConfig;
use super::entry_tags::entry_of;
use super::error::AppendError;
use super::gate::Gate;
use super::log::Log;
use super::log::reader::{self, Found, HEAD_BYTES, NoRecord};
use super::log::watermarks::Dispatched;
use super::queues::Queues;
use super::queues::files::MAX_QUEUE_ID;
use super::queues::memory::{chunks_for, chunks_of};
use crate::io::{Io, yield_now};
use crate::message::{Record, sys_flag};

/// Records that get their entries in one turn.
const RECORDS_AT_A_TIME: usize = 512;

/// Queues of a topic that was made again which are removed in one turn.
const QUEUES_AT_A_TIME: usize = 1024;

/// Why a log is not followed any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    #[error("it sends position {got}, and the log here ends at {end}")]
    Position { got: u64, end: u64 },
    #[error("what it sent has no record at {position}: {reason}")]
    NoRecord { position: u64, reason: String },
    #[error(
        "the record at {position} has offset {offset} of queue {queue_id} of {topic}, which goes on at {next}"
    )]
    QueueOffset {
        position: u64,
        topic: String,
        queue_id: u32,
        offset: u64,
        next: u64,
    },
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl FollowError {
    /// From where on what was received cannot be used.
    pub fn wrong_from(&self) -> Option<u64> {
        match self {
            Self::NoRecord { position, .. } | Self::QueueOffset { position, .. } => Some(*position),
            Self::Position { .. } | Self::Append(_) => None,
        }
    }
}

pub(super) struct Follow<I: Io> {
    config: Rc<StoreConfig>,
    log: Rc<Log<I>>,
    queues: Rc<Queues<I>>,
    gate: Rc<Gate>,
    is_active: Cell<bool>,
    received: Received,
    /// Up to here the records are in their queues.
    at: Cell<u64>,
    /// Nothing whole was left to be taken before this position.
    taken_before: Cell<u64>,
    /// The topic of the next record was made again, and its former queues are being removed.
    is_leaving: Cell<bool>,
    /// So many chunks are needed for the entries of the next record.
    needs_chunks: Cell<usize>,
    trouble: RefCell<Option<FollowError>>,
}

/// What stands next in the log.
enum Next {
    /// More of it has to come first.
    Incomplete,
    /// The rest of a segment is blank up to here.
    Blank {
        end: u64,
    },
    /// A record of a topic whose former queues are not all removed.
    Leaving,
    /// A batch with more entries than there is memory for.
    NoRoom,
    Taken(Dispatched),
}

impl<I: Io> Follow<I> {
    pub fn new(
        config: Rc<StoreConfig>,
        log: Rc<Log<I>>,
        queues: Rc<Queues<I>>,
        gate: Rc<Gate>,
    ) -> Self {
        Self {
            received: Received::new(log.tail()),
            at: Cell::new(log.marks().committed()),
            taken_before: Cell::new(log.marks().committed()),
            is_active: Cell::new(config.follows),
            is_leaving: Cell::new(false),
            needs_chunks: Cell::new(0),
            config,
            log,
            queues,
            gate,
            trouble: RefCell::default(),
        }
    }

    pub fn is_active(&self) -> bool {
        self.is_active.get()
    }

    /// Appends as much of a master's log as there is room for, and returns how many bytes that is.
    pub fn append(&self, position: u64, bytes: &[u8]) -> Result<usize, FollowError> {
        if let Some(trouble) = self.trouble.borrow().clone() {
            return Err(trouble);
        }
        self.gate.check_open()?;
        let end = self.log.tail();
        if position != end {
            return Err(FollowError::Position { got: position, end });
        }
        let taken = self.room().min(bytes.len());
        let taken = self.received.look(&self.log, &bytes[..taken]);
        self.log.check_file_for_bytes(taken)?;
        self.log.append_bytes(&bytes[..taken]);
        Ok(taken)
    }

    /// Nothing whole is left that may be committed.
    pub fn has_taken_all(&self) -> bool {
        self.taken_before.get() >= self.log.may_be_committed()
    }

    /// Why the log is not followed any further, if so.
    pub fn trouble(&self) -> Option<FollowError> {
        self.trouble.borrow().clone()
    }

    /// Done when some bytes may be appended, or when none ever will be.
    pub async fn wait_for_room(&self) {
        let is_there = || {
            let has_ended = self.gate.check_open().is_err() || self.trouble.borrow().is_some();
            let has_room = !self.log.ours().has_to_be_stated() && self.room() > 0;
            (has_ended || has_room).then_some(())
        };
        self.gate.room.until(is_there).await;
    }

    /// Bytes that can be appended now: in the log buffer, and with chunks for the entries of all that is not in the queues yet.
    fn room(&self) -> usize {
        let (at, tail) = (self.at.get(), self.log.tail());
        let free = self.queues.memory().free_chunks();
        let in_buffer = self.log.buffer().room_for_bytes(at);
        match chunks_for((tail - at) as usize + in_buffer) <= free {
            true => in_buffer,
            false if chunks_for((tail - at) as usize + MIN_ROOM_BYTES) <= free => {
                in_buffer.min(MIN_ROOM_BYTES)
            }
            false => 0,
        }
    }

    /// Gives committed records their entries, until the store ends or follows no more.
    pub async fn run(&self) {
        loop {
            let limit = self.log.may_be_committed();
            match self.take_some(limit) {
                Ok(true) => yield_now().await,
                Ok(false) if self.needs_chunks.get() > 0 => {
                    let has_more = || (self.has_ended() || self.has_chunks()).then_some(());
                    self.gate.room.until(has_more).await;
                    self.needs_chunks.set(0);
                }
                Ok(false) if self.taken_before.replace(limit) != limit => {}
                Ok(false) if self.has_ended() => return,
                Ok(false) => {
                    let has_more = || self.has_ended() || self.log.may_be_committed() > limit;
                    self.log.until_moved(|| has_more().then_some(())).await;
                }
                Err(trouble) => {
                    warn!(%trouble, "the master's log is not followed any further");
                    self.trouble.replace(Some(trouble));
                    self.gate.room.wake_all();
                    self.log.wake();
                    return;
                }
            }
        }
    }

    /// What is left then the next start reads from the log.
    fn has_ended(&self) -> bool {
        !self.is_active() || self.gate.is_fenced() || self.gate.is_closing()
    }

    /// Whether there is more to take before `limit`, for which nothing has to be waited.
    fn take_some(&self, limit: u64) -> Result<bool, FollowError> {
        let before = self.at.get();
        let (mut taken, mut has_more): (Option<Dispatched>, _) = (None, true);
        for _ in 0..RECORDS_AT_A_TIME {
            match self.take_next(limit)? {
                Next::Leaving => break,
                Next::Incomplete | Next::NoRoom => {
                    has_more = false;
                    break;
                }
                Next::Blank { end } => self.at.set(end),
                Next::Taken(next) => {
                    self.at.set(next.end);
                    taken = Some(taken.map_or(next, |before| before.followed_by(next)));
                }
            }
        }
        let at = self.at.get();
        if at > before {
            self.log.commit(at, taken);
        }
        Ok(has_more)
    }

    fn take_next(&self, limit: u64) -> Result<Next, FollowError> {
        let position = self.at.get();
        if position + HEAD_BYTES as u64 > limit {
            return Ok(Next::Incomplete);
        }
        let buffer = self.log.buffer();
        let no_record = |none: NoRecord| FollowError::NoRecord {
            position,
            reason: none.to_string(),
        };
        let end = reader::announced_end(&buffer, position);
        let end = end.ok_or_else(|| no_record(NoRecord::Head))?;
        if end > limit {
            return Ok(Next::Incomplete);
        }
        match reader::in_buffer(&buffer, position, self.log.crcs()) {
            Found::Blank { size } => Ok(Next::Blank {
                end: position + size,
            }),
            Found::None(none) => Err(no_record(none)),
            Found::Record(record) if !self.has_room_for(&record) => Ok(Next::NoRoom),
            Found::Record(record) if !self.put(&record)? => Ok(Next::Leaving),
            Found::Record(record) => Ok(Next::Taken(Dispatched {
                end,
                last_record: position,
                messages: 1,
                first_ms: record.store_timestamp_ms,
                last_ms: record.store_timestamp_ms,
            })),
        }
    }

    /// What was received was counted as records of one message ([`Self::room`]); a batch may have more for its bytes.
    fn has_room_for(&self, record: &Record<'_>) -> bool {
        self.needs_chunks.set(chunks_of(record.messages()));
        let has_room = self.has_chunks();
        if has_room {
            self.needs_chunks.set(0);
        }
        has_room
    }

    fn has_chunks(&self) -> bool {
        self.needs_chunks.get() <= self.queues.memory().free_chunks()
    }

    /// The record's entries, in its queue; `false` if others are to be removed first.
    fn put(&self, record: &Record<'_>) -> Result<bool, FollowError> {
        // Prepared and rolled back ones stand at offset 0 of a queue that they are not in.
        if record.queue_id >= MAX_QUEUE_ID || !sys_flag::is_consumable(record.sys_flag) {
            return Ok(true);
        }
        if self.is_leaving.get() {
            let are_left = self.queues.delete_some(record.topic, QUEUES_AT_A_TIME);
            self.is_leaving.set(are_left);
            if are_left {
                return Ok(false);
            }
        }
        let queue = self.queues.find_or_create(record.topic, record.queue_id);
        let next = self.queues.bounds(queue).max;
        match record.queue_offset {
            offset if offset == next => {}
            // The first one that this broker gets of the queue.
            offset if next == 0 => self.queues.restart(queue, offset),
            // The topic was deleted and made again.
            0 => {
                self.is_leaving.set(true);
                return self.put(record);
            }
            // The master has given an offset twice: the first message has it.
            offset if offset < next => {
                warn!(
                    topic = record.topic,
                    record.queue_id,
                    offset,
                    "a message with the offset of an earlier one is in no queue"
                );
                return Ok(true);
            }
            offset => {
                return Err(FollowError::QueueOffset {
                    position: record.physical_offset,
                    topic: record.topic.to_owned(),
                    queue_id: record.queue_id,
                    offset,
                    next,
                });
            }
        }
        let first = entry_of(record, &self.config.delay_levels_ms);
        self.queues.assign(queue, first.messages().into());
        self.queues.show(queue, first, record.store_timestamp_ms);
        Ok(true)
    }
}

/// Received at a time when memory for queue entries is short.
const MIN_ROOM_BYTES: usize = 64 << 10;
