//! The topics of this broker and what is to happen with a topic that is not there (RocketMQ: `TopicConfigManager`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::limits::MAX_QUEUES;
use super::named_table::NamedTable;
use super::perm;
use super::system_topics;
use super::unsaved::Unsaved;
use crate::message::names;
use crate::store::QueueIndex;
use crate::wire::DataVersion;
use crate::wire::topic::TopicConfig;

/// A topic, with room for the handles of its queues so that a message costs one look-up.
#[derive(Clone, Debug)]
pub struct TopicEntry {
    pub config: TopicConfig,
    /// Filled in at the first look-up in the store; empty again after the topic was deleted and made anew.
    pub queues: Vec<Option<QueueIndex>>,
    /// The version of the table that was the first to have it, as long as the disk does not have it.
    unsaved_since: Option<i64>,
    /// Another one for each topic that is made.
    epoch: u64,
}

/// All topics. Whatever changes them advances [`Self::version`], which name servers and slaves compare.
#[derive(Debug)]
pub struct Topics {
    table: NamedTable<TopicEntry>,
    version: DataVersion,
    unsaved: Unsaved,
    last_epoch: u64,
    reserved: Reserved,
    /// Topics that are gone, and whose offsets and queues are still being removed: none of their names is given to a new topic.
    leaving: BTreeSet<String>,
}

/// Topics that keep their messages for a time of their own (`reserve.time`, in hours, as in RocketMQ's tiered store).
#[derive(Debug, Default)]
struct Reserved {
    ms: BTreeMap<String, u64>,
    is_changed: bool,
}

impl Reserved {
    fn put(&mut self, config: &TopicConfig) {
        let hours = config.attributes.get(RESERVE_TIME);
        let hours = hours.and_then(|hours| hours.parse::<u64>().ok());
        match hours.filter(|hours| *hours > 0) {
            Some(hours) => {
                let ms = hours.saturating_mul(3_600_000);
                let before = self.ms.insert(config.topic_name.clone(), ms);
                self.is_changed |= before != Some(ms);
            }
            None => self.remove(&config.topic_name),
        }
    }

    fn remove(&mut self, topic: &str) {
        self.is_changed |= self.ms.remove(topic).is_some();
    }
}

/// A topic that a send may create from a template.
#[derive(Clone, Copy, Debug)]
pub struct NewTopic<'a> {
    pub topic: &'a str,
    pub template: &'a str,
    pub queue_nums: i32,
    pub topic_sys_flag: i32,
}

/// A topic's attribute.
pub const RESERVE_TIME: &str = "reserve.time";

impl Topics {
    pub fn new(now_ms: u64) -> Self {
        let version = DataVersion {
            timestamp_ms: now_ms as i64,
            ..DataVersion::default()
        };
        Self {
            table: NamedTable::default(),
            version,
            unsaved: Unsaved::default(),
            last_epoch: 0,
            reserved: Reserved::default(),
            leaving: BTreeSet::new(),
        }
    }

    pub fn find(&self, topic: &str) -> Option<&TopicEntry> {
        self.table.get(topic)
    }

    pub fn find_mut(&mut self, topic: &str) -> Option<&mut TopicEntry> {
        self.table.get_mut(topic)
    }

    pub fn contains(&self, topic: &str) -> bool {
        self.table.contains(topic)
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// In the order of their names.
    pub fn sorted(&self) -> Vec<&TopicConfig> {
        self.after(None).collect()
    }

    /// Those behind this name, in order.
    pub fn after(&self, topic: Option<&str>) -> impl Iterator<Item = &TopicConfig> {
        self.table.after(topic).map(|(_, entry)| &entry.config)
    }

    /// The name at this place of their order.
    pub fn name_at(&self, place: usize) -> Option<&str> {
        self.table.name_at(place)
    }

    /// Topics that keep their messages for so many milliseconds only, by name; `None` if that has not changed since the last call.
    pub fn take_reserved_ms(&mut self) -> Option<Vec<(String, u64)>> {
        let is_changed = std::mem::take(&mut self.reserved.is_changed);
        let reserved = self.reserved.ms.iter();
        is_changed.then(|| reserved.map(|(topic, ms)| (topic.clone(), *ms)).collect())
    }

    /// Tells a topic from an earlier or later one of the same name.
    pub fn epoch(&self, topic: &str) -> Option<u64> {
        self.find(topic).map(|entry| entry.epoch)
    }

    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// Whether a restart might not know the topic yet.
    pub fn is_unsaved(&self, topic: &str) -> bool {
        !self.unsaved.is_empty()
            && self
                .find(topic)
                .is_some_and(|entry| entry.unsaved_since.is_some())
    }

    /// Topics that were made, changed or deleted since the last time this was asked: what is to be saved.
    pub fn begin_save(&mut self) -> Vec<Rc<str>> {
        self.unsaved.begin()
    }

    /// These topics have been saved as they were at `version` or later.
    pub fn saved(&mut self, topics: &[Rc<str>], version: DataVersion) {
        self.unsaved.saved(topics);
        for topic in topics {
            if let Some(entry) = self.table.get_mut(topic)
                && entry
                    .unsaved_since
                    .is_some_and(|since| since <= version.counter)
            {
                entry.unsaved_since = None;
            }
        }
    }

    pub fn not_saved(&mut self, topics: Vec<Rc<str>>) {
        self.unsaved.not_saved(topics);
    }

    pub fn is_order(&self, topic: &str) -> bool {
        self.find(topic).is_some_and(|entry| entry.config.order)
    }

    /// Makes or replaces a topic; says whether that changed anything. A topic that [`Self::is_leaving`] is not made.
    pub fn put(&mut self, config: TopicConfig, now_ms: u64) -> bool {
        let known = self.find(&config.topic_name);
        if known.is_some_and(|entry| entry.config == config) || self.is_leaving(&config.topic_name)
        {
            return false;
        }
        self.next_version(now_ms);
        self.unsaved.note(&config.topic_name);
        let unsaved_since = Some(self.version.counter);
        self.place(config, unsaved_since);
        true
    }

    /// Without a new version: for what the broker knows from the start or from its file. Numbers of queues are brought within
    /// their limits.
    pub fn put_quietly(&mut self, config: TopicConfig) {
        self.place(config, None);
    }

    fn place(&mut self, mut config: TopicConfig, unsaved_since: Option<i64>) {
        config.read_queue_nums = config.read_queue_nums.clamp(0, MAX_QUEUES);
        config.write_queue_nums = config.write_queue_nums.clamp(0, MAX_QUEUES);
        let queues = queue_count(&config);
        self.reserved.put(&config);
        match self.table.get_mut(&config.topic_name) {
            Some(entry) => {
                // A queue beyond the new count keeps its handle: what it holds can still be read once it is back.
                let keep = entry.queues.len().max(queues);
                entry.queues.resize(keep, None);
                entry.config = config;
            }
            None => {
                let topic = config.topic_name.clone();
                self.last_epoch += 1;
                let entry = TopicEntry {
                    epoch: self.last_epoch,
                    queues: vec![None; queues],
                    config,
                    unsaved_since,
                };
                self.table.insert(&topic, entry);
            }
        }
    }

    /// Whether the topic is gone, and what it had is still being removed.
    pub fn is_leaving(&self, topic: &str) -> bool {
        self.leaving.contains(topic)
    }

    /// Takes the topic out of the table. Its name is not given to another one before [`Self::end_removal`].
    pub fn begin_removal(&mut self, topic: &str, now_ms: u64) -> Option<TopicEntry> {
        let entry = self.table.remove(topic)?;
        self.reserved.remove(topic);
        self.leaving.insert(topic.to_owned());
        self.next_version(now_ms);
        Some(entry)
    }

    /// Nothing of the topic is left. Only now is its removal saved: after a crash before that it is still there.
    pub fn end_removal(&mut self, topic: &str, now_ms: u64) {
        if self.leaving.remove(topic) {
            self.unsaved.note(topic);
            self.next_version(now_ms);
        }
    }

    #[cfg(test)]
    pub fn remove(&mut self, topic: &str, now_ms: u64) -> bool {
        let is_removed = self.begin_removal(topic, now_ms).is_some();
        self.end_removal(topic, now_ms);
        is_removed
    }

    /// Makes a topic from its template, if the template is there and lets its permissions be inherited.
    pub fn create_by_template(&mut self, new: NewTopic<'_>, automatic: bool, now_ms: u64) -> bool {
        if new.template == system_topics::TEMPLATE && !automatic {
            return false;
        }
        let Some(template) = self.find(new.template) else {
            return false;
        };
        let template = &template.config;
        if !perm::is_inherited(template.perm) {
            return false;
        }
        let queue_nums = new.queue_nums.min(template.write_queue_nums).max(0);
        let config = TopicConfig {
            topic_name: new.topic.into(),
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm: template.perm & !perm::INHERIT,
            topic_sys_flag: new.topic_sys_flag,
            topic_filter_type: template.topic_filter_type,
            ..TopicConfig::default()
        };
        self.put(config, now_ms)
    }

    /// Makes a topic that the broker itself needs (retry and dead letters); says whether anything changed.
    pub fn create_derived(
        &mut self,
        topic: &str,
        queue_nums: i32,
        order: bool,
        topic_sys_flag: i32,
        now_ms: u64,
    ) -> bool {
        if let Some(entry) = self.find_mut(topic) {
            if entry.config.order == order {
                return false;
            }
            entry.config.order = order;
            self.unsaved.note(topic);
            self.next_version(now_ms);
            return true;
        }
        let config = TopicConfig {
            topic_name: topic.into(),
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm: perm::READ | perm::WRITE,
            topic_sys_flag,
            order,
            ..TopicConfig::default()
        };
        self.put(config, now_ms)
    }

    /// What was saved replaces what the broker made at its start, except for the system's own topics that are not in it.
    pub fn load(&mut self, configs: impl IntoIterator<Item = TopicConfig>, version: DataVersion) {
        for config in configs {
            if is_legal(&config.topic_name) {
                self.put_quietly(config);
            }
        }
        self.version = version;
    }

    /// A change that was saved after the file was: the topic, or that it was deleted.
    pub fn replay(&mut self, topic: &str, config: Option<TopicConfig>, version: DataVersion) {
        match config {
            Some(config) if is_legal(topic) => self.put_quietly(config),
            Some(_) => {}
            None => {
                self.reserved.remove(topic);
                self.table.remove(topic);
            }
        }
        self.version = newer(self.version, version);
    }

    /// The registration has changed, though no topic has: its version has to change with it.
    pub fn changed(&mut self, now_ms: u64) {
        self.next_version(now_ms);
    }

    fn next_version(&mut self, now_ms: u64) {
        self.version = self.version.next(now_ms as i64);
    }
}

/// A `+` stands in the newer names of POP's retry topics.
fn is_legal(topic: &str) -> bool {
    names::check_topic(&topic.replacen('+', "_", 1)).is_ok()
}

pub(super) fn newer(a: DataVersion, b: DataVersion) -> DataVersion {
    match a.counter < b.counter {
        true => b,
        false => a,
    }
}

/// `topicSysFlag` of a topic that a client in unit mode makes (RocketMQ: `TopicSysFlag`).
pub fn unit_sys_flag(topic: &str, unit_mode: bool) -> i32 {
    const UNIT: i32 = 1;
    const UNIT_SUB: i32 = 2;
    match (unit_mode, names::retry_group(topic)) {
        (false, _) => 0,
        (true, None) => UNIT,
        (true, Some(_)) => UNIT_SUB,
    }
}

/// Queues that a client may name.
pub fn queue_count(config: &TopicConfig) -> usize {
    config
        .write_queue_nums
        .max(config.read_queue_nums)
        .clamp(0, MAX_QUEUES) as usize
}

#[cfg(test)]
mod tests;
