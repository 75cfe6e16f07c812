//! Messages that cannot be read any more: a sector has rotted, or the device does not give it.
//!
//! RocketMQ would send such bytes on, and its client drops them without a word, with all that stand behind them in the
//! reply. Here nobody gets them, everybody gets their neighbours, and the queue goes on: whoever comes to such a message
//! passes it over at once. To refuse it, once or a hundred times, would hold up all that is behind it and bring nothing
//! back. That it was lost is said where it is looked for: one line in the log with its place, a count in the runtime
//! figures, and `config/unreadable.json` (`ringmq store inspect` shows it). Its bytes stay as they are until their file's
//! time is over: who has them from elsewhere can put them back and rewind the group.
//!
//! An error of the device is such a loss only if the device gives other parts of the same file; else it is the disk
//! that has gone, and readers are refused with the reason for as long as that is so.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracing::error;

use crate::io::Io;
use crate::store::{Position, QueueIndex, Store, StoreError};

/// More are counted and logged, but not kept.
const MAX_KEPT: usize = 10_000;

/// A message, or a stretch of the log, that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    pub position: u64,
    pub size: u64,
    pub reason: String,
    pub found_ms: i64,
    /// Whose it was, if a queue's entry led there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Place>,
}

/// A message's place in its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    pub topic: String,
    pub queue_id: u32,
    pub queue_offset: u64,
}

/// All that are known, by their positions.
#[derive(Default)]
pub(in crate::store) struct Known {
    places: RefCell<BTreeMap<u64, Unreadable>>,
    /// Found while there were [`MAX_KEPT`] already.
    not_kept: Cell<u64>,
    /// Something has changed since they were saved.
    pub changed: Cell<bool>,
}

impl Known {
    pub fn restore(&self, places: Vec<Unreadable>) {
        let places = places.into_iter().map(|place| (place.position, place));
        self.places.replace(places.collect());
    }

    pub fn all(&self) -> Vec<Unreadable> {
        self.places.borrow().values().cloned().collect()
    }

    /// How many there are; a message that is not kept counts each time that it is come upon.
    pub fn len(&self) -> u64 {
        self.places.borrow().len() as u64 + self.not_kept.get()
    }

    /// `false`: it was known, and as much of it.
    fn is_new(&self, position: u64, has_place: bool) -> bool {
        let places = self.places.borrow();
        match places.get(&position) {
            Some(known) => has_place && known.of.is_none(),
            None => true,
        }
    }

    fn add(&self, unreadable: Unreadable) {
        let mut places = self.places.borrow_mut();
        if places.len() >= MAX_KEPT && !places.contains_key(&unreadable.position) {
            self.not_kept.set(self.not_kept.get() + 1);
            return;
        }
        places.insert(unreadable.position, unreadable);
        self.changed.set(true);
    }

    /// What begins in this part of the log can be read, or is gone.
    pub fn forget(&self, from: u64, to: u64) {
        let mut places = self.places.borrow_mut();
        let before = places.len();
        places.retain(|position, _| !(from..to).contains(position));
        if places.len() < before {
            self.changed.set(true);
        }
    }
}

impl<I: Io> Store<I> {
    /// What cannot be read of the log, as far as it was come upon.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        self.unreadable.all()
    }

    /// Why this message cannot be read, if so.
    pub fn unreadable_at(&self, physical_offset: u64) -> Option<Unreadable> {
        self.unreadable
            .places
            .borrow()
            .get(&physical_offset)
            .cloned()
    }

    /// A message could not be read, with this error: it is lost, unless it has gone by right or nothing can be read at all.
    pub(in crate::store) async fn note_unreadable(
        &self,
        queue: Option<QueueIndex>,
        position: &Position,
        error: StoreError,
    ) -> Result<(), StoreError> {
        let reason = match error {
            StoreError::Unreadable { reason, .. } => reason,
            StoreError::Io { .. } if self.segments.answers_near(position.physical_offset).await => {
                error.to_string()
            }
            error => return Err(error),
        };
        let physical_offset = position.physical_offset;
        if !self.unreadable.is_new(physical_offset, queue.is_some()) {
            return Ok(());
        }
        let of = match queue {
            Some(queue) => self.place_in(queue, physical_offset).await?,
            None => None,
        };
        self.lost(physical_offset, position.size.into(), reason, of);
        Ok(())
    }

    pub(in crate::store) fn lost(
        &self,
        position: u64,
        size: u64,
        reason: String,
        of: Option<Place>,
    ) {
        let (topic, queue_id, queue_offset) = match &of {
            Some(of) => (of.topic.as_str(), Some(of.queue_id), Some(of.queue_offset)),
            None => ("", None, None),
        };
        error!(
            topic, queue_id, queue_offset, position, size, reason,
            dir = %self.config.dir.display(),
            "a message in the log cannot be read and is passed over"
        );
        self.unreadable.add(Unreadable {
            position,
            size,
            reason,
            found_ms: self.io.now().unix_ms,
            of,
        });
    }

    /// Which message of the queue stands there.
    async fn place_in(
        &self,
        queue: QueueIndex,
        physical_offset: u64,
    ) -> Result<Option<Place>, StoreError> {
        let offset = self.offset_of(queue, physical_offset).await?;
        let state = self.state.borrow();
        Ok(offset.map(|queue_offset| Place {
            topic: state.queues.topic_of(queue).to_owned(),
            queue_id: state.queues.queue(queue).queue_id,
            queue_offset,
        }))
    }
}
