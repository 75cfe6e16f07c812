//! Messages that cannot be read any more: a sector has rotted, or the device does not give it.
//!
//! RocketMQ sends such bytes on, and its client drops them silently, with everything behind them in the reply. Here they
//! are not sent: a reader passes over such a message at once and gets its neighbours. Refusing it, once or a hundred times,
//! would block everything behind it and recover nothing. The loss is reported in three places: one log line with its
//! place, a count in the runtime figures, and `config/unreadable.json` (`ringmq store inspect` shows it). The bytes stay as
//! they are until retention removes their file: an administrator who has a copy can restore them and rewind the group.
//!
//! An error of the device is such a loss only if the device gives other parts of the same file. Otherwise the disk itself
//! is gone, and readers are refused with the reason as long as that lasts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracing::error;

use super::Log;
use crate::io::Io;
use crate::store::StoreError;

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

    /// How many there are; a message that is not kept counts each time that it is found.
    pub fn len(&self) -> u64 {
        self.places.borrow().len() as u64 + self.not_kept.get()
    }

    pub fn at(&self, position: u64) -> Option<Unreadable> {
        self.places.borrow().get(&position).cloned()
    }

    /// `false`: it was known, and as much of it.
    pub fn is_new(&self, position: u64, has_place: bool) -> bool {
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

impl<I: Io> Log<I> {
    /// Why a message that could not be read, with this error, is lost. An error: it has gone by right, or nothing can be
    /// read at all.
    pub async fn why_lost(
        &self,
        physical_offset: u64,
        error: StoreError,
    ) -> Result<String, StoreError> {
        match error {
            StoreError::Unreadable { reason, .. } => Ok(reason),
            StoreError::Io { .. } if self.segments.answers_near(physical_offset).await => {
                Ok(error.to_string())
            }
            error => Err(error),
        }
    }

    /// The same for a part of the log, which is noted.
    pub async fn note_unreadable(
        &self,
        position: u64,
        size: u64,
        error: StoreError,
    ) -> Result<(), StoreError> {
        let reason = self.why_lost(position, error).await?;
        if self.unreadable.is_new(position, false) {
            self.note_lost(position, size, reason, None);
        }
        Ok(())
    }

    pub fn note_lost(&self, position: u64, size: u64, reason: String, of: Option<Place>) {
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
}
