//! What is to be saved in `config/`, and what has been.

use std::rc::Rc;

use super::{Broker, ConfigFile};
use crate::wire::DataVersion;

/// Topics and groups that were made, changed or deleted since the last save. [`Broker::changes_saved`] or
/// [`Broker::changes_not_saved`] must follow.
#[derive(Debug)]
pub struct TableChanges {
    pub topics: Vec<Rc<str>>,
    pub groups: Vec<Rc<str>>,
    topics_version: DataVersion,
}

impl TableChanges {
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.groups.is_empty()
    }
}

impl Broker {
    pub fn begin_save(&mut self) -> TableChanges {
        TableChanges {
            topics: self.topics.begin_save(),
            groups: self.groups.begin_save(),
            topics_version: self.topics.version(),
        }
    }

    /// The changes are durable, as they were at [`Self::begin_save`] or later.
    pub fn changes_saved(&mut self, changes: &TableChanges) {
        self.topics.saved(&changes.topics, changes.topics_version);
        self.groups.saved(&changes.groups);
    }

    /// The changes are part of the next save.
    pub fn changes_not_saved(&mut self, changes: TableChanges) {
        self.topics.not_saved(changes.topics);
        self.groups.not_saved(changes.groups);
    }

    /// Whether a file of offsets has changed since the last time this was asked.
    pub fn take_changed_offsets(&mut self, file: ConfigFile) -> bool {
        match file {
            ConfigFile::ConsumerOffsets => self.offsets.take_dirty(),
            ConfigFile::PopOrders => self.pops.orders.take_dirty(),
            ConfigFile::DelayOffsets => self.delays.take_dirty(),
            ConfigFile::Topics
            | ConfigFile::SubscriptionGroups
            | ConfigFile::RequestModes
            | ConfigFile::Settings => unreachable!("{file:?} has no offsets"),
        }
    }
}
