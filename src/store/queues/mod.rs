//! The ConsumeQueues: their entries in memory, and what of them is where on disk.
//!
//! [`Queues`] owns all of it. A message enters with [`Queues::assign`] and becomes visible with [`Queues::show`]; the saver
//! (`saver.rs`) writes entries behind the log.

pub mod cadence;
pub mod checkpoint;
pub mod compare;
mod entries;
pub mod entry;
pub mod evict;
pub mod files;
pub mod journal;
mod journal_row;
mod ledger;
pub mod memory;
pub mod messages;
mod repair;
mod saver;
pub mod scan;
pub mod search;

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use self::cadence::Cadence;
use self::checkpoint::CheckpointFile;
use self::entry::Entry;
use self::files::QueueFiles;
use self::journal::Journal;
use self::memory::{ConsumeQueues, QueueBounds, QueueIndex};
use self::repair::Repairs;
use super::StoreError;
use super::config::StoreConfig;
use super::gate::Gate;
use super::index::KeyIndex;
use super::log::Log;
use super::medium::Medium;
use crate::io::{Io, Notify, Waiters};

pub(in crate::store) struct Queues<I: Io> {
    io: Medium<I>,
    config: Rc<StoreConfig>,
    log: Rc<Log<I>>,
    gate: Rc<Gate>,
    /// None: messages are not found by key. The checkpoint says how far it is.
    index: Option<Rc<KeyIndex<I>>>,
    memory: RefCell<ConsumeQueues>,
    /// Watched queues that have got an entry.
    arrivals: RefCell<Vec<QueueIndex>>,
    files: QueueFiles<I>,
    journal: Journal<I>,
    checkpoint: CheckpointFile<I>,
    /// Up to here the queues' files are complete, and a checkpoint states it.
    checkpointed: Cell<u64>,
    repairs: Repairs,
    cadence: Cell<Cadence>,
    /// The saver should look now.
    save_now: Notify,
    /// Topics whose queue files are to be removed, with these queues. The saver does it, before it writes files of a
    /// topic that has the same name.
    deleted: RefCell<VecDeque<(String, Vec<u32>)>>,
    /// The same, once the journal says that they are deleted.
    removable: RefCell<VecDeque<(String, Vec<u32>)>>,
    /// How many there have been of these.
    deletions: Cell<u64>,
    deletions_moved: Waiters,
}

/// What the queues are made of.
pub(in crate::store) struct Parts<I: Io> {
    pub io: Medium<I>,
    pub config: Rc<StoreConfig>,
    pub log: Rc<Log<I>>,
    pub gate: Rc<Gate>,
    pub index: Option<Rc<KeyIndex<I>>>,
    pub memory: ConsumeQueues,
    pub files: QueueFiles<I>,
    pub journal: Journal<I>,
    pub checkpoint: CheckpointFile<I>,
    pub checkpointed: u64,
}

impl<I: Io> Queues<I> {
    pub fn new(parts: Parts<I>) -> Self {
        Self {
            io: parts.io,
            config: parts.config,
            log: parts.log,
            gate: parts.gate,
            index: parts.index,
            memory: RefCell::new(parts.memory),
            arrivals: RefCell::default(),
            files: parts.files,
            journal: parts.journal,
            checkpoint: parts.checkpoint,
            checkpointed: Cell::new(parts.checkpointed),
            repairs: Repairs::default(),
            cadence: Cell::default(),
            save_now: Notify::default(),
            deleted: RefCell::default(),
            removable: RefCell::default(),
            deletions: Cell::new(0),
            deletions_moved: Waiters::default(),
        }
    }

    /// What is in memory of them.
    pub fn memory(&self) -> Ref<'_, ConsumeQueues> {
        self.memory.borrow()
    }

    /// The queue, made in memory when it is new.
    pub fn find_or_create(&self, topic: &str, queue_id: u32) -> QueueIndex {
        self.memory.borrow_mut().find_or_create(topic, queue_id)
    }

    pub fn bounds(&self, queue: QueueIndex) -> QueueBounds {
        self.memory.borrow().queue(queue).bounds
    }

    /// The queue begins anew, with `offset` as its next one.
    pub fn restart(&self, queue: QueueIndex, offset: u64) {
        self.memory.borrow_mut().restart(queue, offset);
    }

    /// So many offsets of a queue were given to messages that wait for their commit.
    pub fn assign(&self, queue: QueueIndex, offsets: u64) {
        self.memory.borrow_mut().queue_mut(queue).bounds.next += offsets;
    }

    /// Makes the messages of a record of this store time visible: all of a batch at once.
    pub fn show(&self, queue: QueueIndex, first: Entry, store_time_ms: i64) {
        let memory = &mut *self.memory.borrow_mut();
        if memory.queue(queue).gone {
            return;
        }
        first.to_last().for_each(|entry| memory.push(queue, &entry));
        let target = memory.queue_mut(queue);
        target.last_store_time_ms = store_time_ms;
        // Reported once: a reader that waits for more watches again.
        if std::mem::take(&mut target.watched) {
            self.arrivals.borrow_mut().push(queue);
        }
    }

    /// Whether the next entry of this queue is reported as an arrival.
    pub fn watch(&self, queue: QueueIndex, on: bool) {
        self.memory.borrow_mut().queue_mut(queue).watched = on;
    }

    /// Watched queues that have got entries since the last call; appended to `into`.
    pub fn take_arrivals(&self, into: &mut Vec<QueueIndex>) {
        into.append(&mut self.arrivals.borrow_mut());
    }

    /// Topics that have queues, with the number of queues they need.
    pub fn topics(&self) -> Vec<(String, u32)> {
        let memory = self.memory.borrow();
        let topics = memory.topics();
        topics
            .map(|(topic, queues)| (topic.to_owned(), queues))
            .collect()
    }

    /// Forgets queues of the topic, `most` at most, and removes their files in the background; its messages stay in the log until
    /// retention removes their file. Whether there may be more queues.
    pub fn delete_some(&self, topic: &str, most: usize) -> bool {
        let (queue_ids, has_more) = self.memory.borrow_mut().remove_some(topic, most);
        if mutant!(DeletedTopicReturns) {
            return has_more;
        }
        let deleted = (topic.to_owned(), queue_ids);
        self.deleted.borrow_mut().push_back(deleted);
        self.save_now.notify();
        has_more
    }

    /// How many deletions of topics there have been, ended or not.
    pub fn deletions(&self) -> u64 {
        self.deletions.get() + self.deleted.borrow().len() as u64
    }

    /// Done when no crash brings the topics back that the first so many deletions removed. Without space that may take long; a
    /// store that cannot write any more does not do it.
    pub async fn deleted_up_to(&self, deletions: u64) {
        let has_ended = || self.gate.is_fenced() || self.gate.is_closing();
        let is_over = || (self.deletions.get() >= deletions || has_ended()).then_some(());
        self.deletions_moved.until(is_over).await;
    }

    /// The queue begins at `min`, with the message at this position.
    pub fn raise_min(&self, queue: QueueIndex, min: u64, first_position: Option<u64>) {
        let mut memory = self.memory.borrow_mut();
        memory.raise_min(queue, min, first_position);
    }

    /// Up to here the queues' files are complete, and a checkpoint states it.
    pub fn checkpointed(&self) -> u64 {
        self.checkpointed.get()
    }

    /// Bytes of the journal since its table, and up to where it has the entries of the log.
    pub fn journaled(&self) -> (u64, u64) {
        let position = self.journal.coverage().position;
        (self.journal.grown_bytes(), position)
    }

    /// Number of the journal's generation that grows.
    #[cfg(test)]
    pub fn generation(&self) -> Option<u64> {
        self.journal.generation()
    }

    /// Removes the files of a queue all of whose messages are gone.
    pub async fn remove_files_below_min(&self, queue: QueueIndex) -> Result<(), StoreError> {
        let (topic, queue_id, min) = {
            let memory = self.memory.borrow();
            let target = memory.queue(queue);
            if target.gone || target.bounds.min == target.files_cleaned_to {
                return Ok(());
            }
            let topic = memory.topic_of(queue).to_owned();
            (topic, target.queue_id, target.bounds.min)
        };
        self.files.remove_below(&topic, queue_id, min).await?;
        self.memory.borrow_mut().queue_mut(queue).files_cleaned_to = min;
        Ok(())
    }

    /// Whatever waits for them looks again: the store is fenced or being closed.
    pub fn wake(&self) {
        self.save_now.notify();
        self.deletions_moved.wake_all();
    }
}
