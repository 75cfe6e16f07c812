//! What cannot be read of the log, for a broker whose group may have it.

use std::cell::RefCell;
use std::rc::Rc;

use super::log::unreadable::Hole;
use super::{Store, StoreError};
use crate::io::{Io, Waiters};

/// Looked at in one turn.
const HOLES_AT_A_TIME: usize = 64;

impl<I: Io> Store<I> {
    /// Whether another broker of the group may have what cannot be read here: then its readers get an error until it was repaired or given up.
    pub fn await_repair(&self, awaits: bool) {
        self.log.known_unreadable().await_repair(awaits);
    }

    /// A part of the log cannot be read, and was not given up.
    pub fn has_holes(&self) -> bool {
        self.log.known_unreadable().has_holes()
    }

    /// The first of these parts.
    pub fn holes(&self) -> Vec<Hole> {
        self.log.known_unreadable().holes(HOLES_AT_A_TIME)
    }

    /// Done when another part was found that cannot be read.
    pub async fn hole_found(&self) {
        self.log.known_unreadable().found.notified().await;
    }

    /// No other broker has these bytes: readers pass over them from now on.
    pub fn give_up(&self, hole: Hole) {
        self.log.known_unreadable().give_up(hole.position);
    }

    /// What was found, repaired and given up is known after a crash.
    pub async fn keep_holes(&self) {
        self.scrub.save().await;
    }

    /// Puts the record of another broker into its place, and returns up to where the log can be read then. `None`: that cannot be done yet. It is a task
    /// of the store, so that nothing is written to the log when the store is closed.
    pub async fn mend(&self, position: u64, record: Vec<u8>) -> Result<Option<u64>, StoreError> {
        if self.gate.is_closing() {
            return Ok(None);
        }
        let outcome = Rc::new((RefCell::new(None), Waiters::default()));
        let (log, queues, ended) = (self.log.clone(), self.queues.clone(), outcome.clone());
        let mending = async move {
            let mended = log.mend(position, &record).await;
            if let Ok(Some(_)) = mended {
                queues.compare_with(&record).await;
            }
            ended.0.replace(Some(mended));
            ended.1.wake_all();
        };
        self.tasks.spawn(&self.io, "repair-log", mending);
        outcome.1.until(|| outcome.0.take()).await
    }
}
