//! The note beside a log of which nothing was ever confirmed: such a log may be removed as a whole.
//!
//! It is made while the log is empty, and goes with the first message that the group has confirmed. A log that has none, such as one that was
//! written before or without a controller, is never removed as a whole.

use tracing::warn;

use super::files::Files;
use super::steering::TermView;
use crate::io::Io;
use crate::reactor::term::Orders;

#[derive(Default)]
pub(super) struct Unconfirmed {
    /// The last change of the note failed; it is tried again, and logged once.
    has_failed: bool,
}

impl Unconfirmed {
    /// Makes and removes the note.
    pub async fn follow<I: Io>(&mut self, files: &Files<I>, orders: &Orders, term: &dyn TermView) {
        let is_empty = term.facts().log_end == 0;
        let noted = match (orders.is_noted_unconfirmed(), orders.has_confirmed()) {
            (false, false) if is_empty => files.note_unconfirmed().await.map(|()| true),
            (true, true) => files.forget_unconfirmed().await.map(|()| false),
            _ => return,
        };
        let had_failed = std::mem::replace(&mut self.has_failed, noted.is_err());
        match noted {
            Ok(is_noted) => orders.noted_unconfirmed(is_noted),
            Err(error) if !had_failed => {
                warn!(%error, "whether something of the log was confirmed cannot be noted");
            }
            Err(_) => {}
        }
    }
}
