//! Timed messages that are taken back before they are due.

use super::{Oracle, Told};
use crate::sent::Sent;

impl Oracle {
    /// Somebody is about to take a timed message back.
    pub fn recalls(&mut self, sent: &Sent) {
        self.story.note("recalls", sent.number, None, 0);
        self.recalls.entry(sent.number).or_default();
    }

    /// It was granted: nobody may ever see the message.
    pub fn recalled(&mut self, sent: &Sent, told: Told) {
        self.story.note("is recalled", sent.number, None, 0);
        if !self.may_be_taken_back(told) {
            self.recalls.insert(sent.number, Some(told));
        }
    }
}
