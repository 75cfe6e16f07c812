//! At the start of a broker that follows a master: what the journal of the queues does not have may not have been confirmed.
//!
//! Entries are journaled once their messages are visible, and the messages of a replica are visible once its master has confirmed
//! them. What is in the log behind that may be gone at the master, so it is not visible before the master confirms it (again). All of the
//! log is read nevertheless, to find its end and to see whether the queues fit it; then the last entries are taken back.

use hashbrown::HashMap;

use super::{KEEP_SHARE, Recovery};
use crate::io::Io;
use crate::store::config::StoreConfig;
use crate::store::queues::journal::{Coverage, Origin};
use crate::store::queues::memory::QueueIndex;

/// What was restored from the log behind the end of the journal.
pub(super) struct Unconfirmed {
    /// What the journal has.
    from: Coverage,
    added: HashMap<QueueIndex, Added>,
    /// A queue was begun anew, or some of it is in the journal by now.
    stays: bool,
}

/// Entries of one queue.
struct Added {
    entries: u64,
    store_time_before_ms: i64,
}

impl Unconfirmed {
    pub fn behind(from: Coverage) -> Self {
        Self {
            from,
            added: HashMap::new(),
            stays: false,
        }
    }
}

/// The log buffer holds so much of it, and has room for what comes.
fn most_bytes(config: &StoreConfig) -> u64 {
    config.log_buffer_bytes as u64 / 2
}

impl<I: Io> Recovery<'_, I> {
    /// How much of the log is read before it is put into the journal: what is to be taken back must not be there.
    pub(super) fn keep_bytes(&self) -> u64 {
        let usual = self.config.segment_bytes / KEEP_SHARE;
        match self.unconfirmed {
            Some(_) => usual.max(most_bytes(self.config)),
            None => usual,
        }
    }

    /// The queues are restored as the journal has them, and the log is about to be read.
    pub(super) fn begin_unconfirmed(&mut self, origin: Origin) {
        let is_known = self.config.follows && origin == Origin::Usual && self.cut.is_none();
        let unconfirmed = || Unconfirmed::behind(self.reached);
        self.unconfirmed = is_known.then(unconfirmed);
    }

    /// The queue is about to get an entry of a record that was read from the log.
    pub(super) fn adds_unconfirmed(&mut self, queue: QueueIndex) {
        let store_time_before_ms = self.queues.queue(queue).last_store_time_ms;
        if let Some(unconfirmed) = &mut self.unconfirmed {
            let added = unconfirmed.added.entry(queue).or_insert(Added {
                entries: 0,
                store_time_before_ms,
            });
            added.entries += 1;
        }
    }

    /// All that was restored stays.
    pub(super) fn keeps_unconfirmed(&mut self) {
        if let Some(unconfirmed) = &mut self.unconfirmed {
            unconfirmed.stays = true;
        }
    }

    /// Takes the entries back of a log that ends at `tail`, if the log buffer has room for their messages: from there they are read
    /// when they are confirmed.
    pub(super) fn take_unconfirmed_back(&mut self, tail: u64) {
        let Some(unconfirmed) = self.unconfirmed.take() else {
            return;
        };
        let bytes = tail - unconfirmed.from.position;
        let is_shown = mutant!(UnconfirmedShown);
        if is_shown || unconfirmed.stays || bytes > most_bytes(self.config) {
            return;
        }
        for (queue, added) in unconfirmed.added {
            self.queues.take_back(queue, added.entries);
            self.queues.queue_mut(queue).last_store_time_ms = added.store_time_before_ms;
            self.messages -= added.entries;
        }
        self.reached = unconfirmed.from;
    }
}
