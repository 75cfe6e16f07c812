//! The queues as the journal has them.

use hashbrown::HashMap;
use tracing::warn;

use super::{IsKept, Recovery};
use crate::io::Io;
use crate::store::StoreError;
use crate::store::log::reader::{Crcs, Found, Walk};
use crate::store::queues::entry::Entry;
use crate::store::queues::files::MAX_QUEUE_ID;
use crate::store::queues::journal::{Coverage, Item, Origin, QueueItem, Reader};
use crate::store::queues::memory::QueueIndex;

impl<I: Io> Recovery<'_, I> {
    /// Restores the queues from the newest generation that is whole and belongs to this log.
    pub(super) async fn restore_from_journal(
        &mut self,
        log_min: u64,
        is_certain: bool,
    ) -> Result<Option<Origin>, StoreError> {
        for generation in self.journal.generations().await? {
            let mut reader = self.journal.reader(generation).await?;
            reader.stop_at(self.cut.unwrap_or(u64::MAX));
            let fits = self.take_blocks(&mut reader).await?;
            self.reached = reader.reached();
            if fits
                && reader.counts()
                && self.is_of_log(log_min).await?
                && self.have_folders().await?
            {
                let origin = reader.origin();
                match self.cut {
                    // Its further blocks are of what goes.
                    Some(_) => self.begin(origin).await?,
                    None => self.journal.go_on(reader, is_certain).await?,
                }
                return Ok(Some(origin));
            }
            self.queues.clear();
            self.gone.clear();
        }
        Ok(None)
    }

    /// `false`: its items contradict each other.
    async fn take_blocks(&mut self, reader: &mut Reader<I>) -> Result<bool, StoreError> {
        let mut journaled = Journaled {
            generation: reader.generation(),
            queues: HashMap::new(),
            minimums: HashMap::new(),
        };
        loop {
            let items = match reader.next().await {
                Ok(Some(items)) => items,
                Ok(None) => break,
                Err(error) => {
                    warn!(%error, "the journal of the queues cannot be read any further");
                    break;
                }
            };
            let mut items = &items[..];
            while !items.is_empty() {
                let Some(item) = Item::take_from(&mut items) else {
                    return Ok(false);
                };
                if !self.take_item(&mut journaled, item).await? {
                    return Ok(false);
                }
                if reader.counts() {
                    self.remove_gone().await?;
                }
            }
        }
        for (queue, (min, first_position)) in journaled.minimums {
            self.queues.restore_min(queue, min, first_position);
        }
        Ok(true)
    }

    async fn take_item(
        &mut self,
        journaled: &mut Journaled,
        item: Item<'_>,
    ) -> Result<bool, StoreError> {
        match item {
            Item::Queue(queue) => return self.take_queue(journaled, &queue).await,
            Item::Entries {
                number,
                first,
                entries,
            } => {
                let Some(queue) = journaled.queues.get(&number).copied() else {
                    return Ok(false);
                };
                if self.queues.queue(queue).bounds.max != first || self.queues.queue(queue).gone {
                    return Ok(false);
                }
                for entry in entries {
                    self.make_room(1, IsKept::Already).await?;
                    self.queues.push(queue, &Entry::decode(entry));
                }
                let restored = self.queues.queue_mut(queue);
                restored.bounds.next = restored.bounds.max;
                self.queues.journaled(queue);
            }
            Item::Deleted { number } => {
                if let Some(queue) = journaled.queues.get(&number).copied() {
                    self.forget(queue);
                }
            }
        }
        Ok(true)
    }

    async fn take_queue(
        &mut self,
        journaled: &mut Journaled,
        item: &QueueItem<'_>,
    ) -> Result<bool, StoreError> {
        if item.queue_id >= MAX_QUEUE_ID || item.number == u32::MAX {
            return Ok(false);
        }
        let queue = match journaled.queues.get(&item.number).copied() {
            Some(queue) => queue,
            None => {
                if let Some(former) = self.queues.find(item.topic, item.queue_id) {
                    // Its topic was deleted and made again.
                    self.forget(former);
                }
                let queue = self.queues.find_or_create(item.topic, item.queue_id);
                self.queues
                    .restore(queue, item.min.min(item.base), item.base);
                self.queues
                    .known_by(queue, journaled.generation, item.number);
                journaled.queues.insert(item.number, queue);
                queue
            }
        };
        journaled
            .minimums
            .insert(queue, (item.min, item.first_position));
        Ok(true)
    }

    /// Forgets a queue: another one may get its name. Its files are to go.
    pub(super) fn forget(&mut self, queue: QueueIndex) {
        if !self.queues.queue(queue).gone {
            let topic = self.queues.topic_of(queue).to_owned();
            self.gone.push((topic, self.queues.queue(queue).queue_id));
            self.queues.remove(queue);
        }
    }

    pub(super) async fn remove_gone(&mut self) -> Result<(), StoreError> {
        for (topic, queue_id) in std::mem::take(&mut self.gone) {
            let named = self.queues.find(&topic, queue_id);
            // The new queue of that name has saved entries already, in the same files.
            if !named.is_some_and(|queue| self.queues.is_saved(queue)) {
                self.queue_files.remove(&topic, &[queue_id]).await?;
            }
        }
        Ok(())
    }

    /// Whether there is a folder for each topic that has queue files. Removing the folder is the way to have them made again, as with
    /// RocketMQ; a single file that lacks is found when it is read.
    async fn have_folders(&self) -> Result<bool, StoreError> {
        let topics = self.queue_files.topics().await?;
        let is_missing =
            |queue| self.queues.is_saved(queue) && !topics.contains(self.queues.topic_of(queue));
        Ok(!self.queues.all().any(is_missing))
    }

    /// Whether queues and log belong together: the last message of the journal is in the log.
    async fn is_of_log(&self, log_min: u64) -> Result<bool, StoreError> {
        let Coverage {
            position,
            last_record,
            ..
        } = self.reached;
        let log_end = self.segments.end().unwrap_or(0);
        if !(log_min..=log_end).contains(&position) {
            return Ok(false);
        }
        // That message may be lost with a damaged part of the log.
        if last_record < log_min || last_record >= position || self.config.skip_damaged {
            return Ok(true);
        }
        let mut walk = Walk::probe(Crcs::of_log(self.ours_from));
        let found = walk.at(self.segments, last_record).await?;
        Ok(matches!(found, Found::Record(_)))
    }
}

/// The queues by their numbers in the journal.
struct Journaled {
    generation: u64,
    queues: HashMap<u32, QueueIndex>,
    minimums: HashMap<QueueIndex, (u64, Option<u64>)>,
}
