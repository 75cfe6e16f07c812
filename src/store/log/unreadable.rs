//! Messages that cannot be read any more: a sector has rotted, or the device does not give it.
//!
//! RocketMQ sends such bytes on, and its client drops them silently, with everything behind them in the reply. Here they
//! are not sent: a reader passes over such a message at once and gets its neighbours. Refusing it, once or a hundred times,
//! would block everything behind it and recover nothing. The loss is reported in three places: one log line with its
//! place, a count in the runtime figures, and `config/unreadable.json` (`ringmq store inspect` shows it). The bytes stay as
//! they are until retention removes their file: an administrator who has a copy can restore them and rewind the group.
//!
//! Where another broker of the group may have the message ([`Known::await_repair`]), its readers get an error instead, until it was repaired
//! (`mend.rs`) or given up.
//!
//! An error of the device is such a loss only if the device gives other parts of the same file. Otherwise the disk itself
//! is gone, and readers are refused with the reason as long as that lasts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracing::error;

use super::Log;
use crate::io::{Io, Notify};
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
    /// No other broker of the group can give it either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_given_up: bool,
}

/// A part of the log that another broker may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub position: u64,
    pub size: u64,
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
    /// Another broker of the group may have what cannot be read here.
    awaits: Cell<bool>,
    pub found: Notify,
}

impl Known {
    /// Whether readers wait for what another broker may have.
    pub fn await_repair(&self, awaits: bool) {
        self.awaits.set(awaits);
    }

    /// An error: the message at this position is to come from another broker.
    pub fn check_awaited(&self, physical_offset: u64) -> Result<(), StoreError> {
        let places = self.places.borrow();
        let place = places.get(&physical_offset);
        match self.awaits.get() && place.is_some_and(|place| !place.is_given_up) {
            true => Err(StoreError::AwaitsRepair { physical_offset }),
            false => Ok(()),
        }
    }

    /// What was not given up, `most` of it.
    pub fn holes(&self, most: usize) -> Vec<Hole> {
        let places = self.places.borrow();
        let holes = places.values().filter(|place| !place.is_given_up);
        let holes = holes.map(|place| Hole {
            position: place.position,
            size: place.size,
        });
        holes.take(most).collect()
    }

    pub fn has_holes(&self) -> bool {
        let places = self.places.borrow();
        self.not_kept.get() > 0 || places.values().any(|place| !place.is_given_up)
    }

    /// No other broker has the record at this position: readers pass over it from now on.
    pub fn give_up(&self, position: u64) {
        if let Some(place) = self.places.borrow_mut().get_mut(&position) {
            place.is_given_up = true;
            self.changed.set(true);
        }
    }

    /// Where the last of the places ends that begin in this part of the log.
    pub fn end_of_holes(&self, from: u64, to: u64) -> u64 {
        let places = self.places.borrow();
        let ends = places
            .range(from..to)
            .map(|(position, place)| position + place.size);
        ends.max().unwrap_or(from)
    }

    /// A record was put into its place. What a longer place has behind it is still unreadable.
    pub fn mended(&self, from: u64, to: u64) {
        let rest = {
            let places = self.places.borrow();
            let mut within = places.range(from..to).map(|(_, place)| place);
            let longest = within.find(|place| place.position + place.size > to);
            longest.map(|place| Unreadable {
                position: to,
                size: place.position + place.size - to,
                of: None,
                ..place.clone()
            })
        };
        self.forget(from, to);
        let mut places = self.places.borrow_mut();
        if let Some(rest) = rest {
            places.entry(to).or_insert(rest);
        }
        if places.is_empty() {
            // The next pass of the scrub finds what was not kept.
            self.not_kept.set(0);
        }
    }

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

    fn add(&self, mut unreadable: Unreadable) {
        let mut places = self.places.borrow_mut();
        if let Some(known) = places.get(&unreadable.position) {
            unreadable.is_given_up = known.is_given_up;
            unreadable.size = unreadable.size.max(known.size);
        }
        if places.len() >= MAX_KEPT && !places.contains_key(&unreadable.position) {
            self.not_kept.set(self.not_kept.get() + 1);
            return;
        }
        places.insert(unreadable.position, unreadable);
        self.changed.set(true);
        self.found.notify();
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
            "a message in the log cannot be read and is {}",
            match self.unreadable.awaits.get() {
                true => "fetched from another broker of the group",
                false => "passed over",
            }
        );
        self.unreadable.add(Unreadable {
            position,
            size,
            reason,
            found_ms: self.io.now().unix_ms,
            of,
            is_given_up: false,
        });
    }
}
