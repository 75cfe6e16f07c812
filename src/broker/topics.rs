//! The topics of this broker and what is to happen with a topic that is not there (RocketMQ: `TopicConfigManager`).

use hashbrown::HashMap;

use super::config::perm;
use super::system_topics;
use crate::message::names;
use crate::store::QueueIndex;
use crate::wire::DataVersion;
use crate::wire::topic::TopicConfig;

/// A topic, with room for the handles of its queues so that a message costs one look-up.
#[derive(Clone, Debug)]
pub struct TopicEntry {
    pub config: TopicConfig,
    /// Filled in by whoever asks the store; empty again after the topic was deleted and made anew.
    pub queues: Vec<Option<QueueIndex>>,
    /// The version of the table that was the first to have it.
    made_in: i64,
}

/// All topics. Whatever changes them advances [`Self::version`], which name servers and slaves compare.
#[derive(Debug)]
pub struct Topics {
    table: HashMap<String, TopicEntry>,
    version: DataVersion,
    /// The version that the file has, and the one that was the first to have the newest topic.
    saved: i64,
    last_made_in: i64,
}

/// A template through which a send may create its topic.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
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
            table: HashMap::new(),
            version,
            saved: version.counter,
            last_made_in: version.counter,
        }
    }

    pub fn find(&self, topic: &str) -> Option<&TopicEntry> {
        self.table.get(topic)
    }

    pub fn find_mut(&mut self, topic: &str) -> Option<&mut TopicEntry> {
        self.table.get_mut(topic)
    }

    pub fn contains(&self, topic: &str) -> bool {
        self.table.contains_key(topic)
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// In the order of their names.
    pub fn sorted(&self) -> Vec<&TopicConfig> {
        let mut topics: Vec<_> = self.table.values().map(|entry| &entry.config).collect();
        topics.sort_unstable_by(|a, b| a.topic_name.cmp(&b.topic_name));
        topics
    }

    /// Topics that keep their messages for so many milliseconds only (`reserve.time`, in hours, as in RocketMQ's tiered
    /// store).
    pub fn reserved_ms(&self) -> Vec<(String, u64)> {
        let reserved = self.table.values().filter_map(|TopicEntry { config, .. }| {
            let hours = config.attributes.get(RESERVE_TIME)?.parse::<i64>().ok()?;
            let hours = u64::try_from(hours).ok().filter(|hours| *hours > 0)?;
            Some((config.topic_name.clone(), hours.saturating_mul(3_600_000)))
        });
        let mut reserved: Vec<_> = reserved.collect();
        reserved.sort_unstable();
        reserved
    }

    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// Whether the topic was made since the file was written.
    pub fn is_unsaved(&self, topic: &str) -> bool {
        self.last_made_in > self.saved
            && self
                .find(topic)
                .is_some_and(|entry| entry.made_in > self.saved)
    }

    /// The file has this version, or a later one.
    pub fn saved(&mut self, version: DataVersion) {
        self.saved = self.saved.max(version.counter);
    }

    pub fn is_order(&self, topic: &str) -> bool {
        self.find(topic).is_some_and(|entry| entry.config.order)
    }

    /// Makes or replaces a topic; says whether that changed anything.
    pub fn put(&mut self, config: TopicConfig, now_ms: u64) -> bool {
        if self
            .find(&config.topic_name)
            .is_some_and(|entry| entry.config == config)
        {
            return false;
        }
        self.next_version(now_ms);
        self.put_quietly(config);
        true
    }

    /// Without a new version: for what the broker knows from the start or from its file.
    pub fn put_quietly(&mut self, config: TopicConfig) {
        let queues = queue_count(&config);
        match self.table.get_mut(&config.topic_name) {
            Some(entry) => {
                // A queue beyond the new count keeps its handle: what it holds can still be read once it is back.
                let keep = entry.queues.len().max(queues);
                entry.queues.resize(keep, None);
                entry.config = config;
            }
            None => {
                let entry = TopicEntry {
                    queues: vec![None; queues],
                    config,
                    made_in: self.version.counter,
                };
                self.last_made_in = self.version.counter;
                self.table.insert(entry.config.topic_name.clone(), entry);
            }
        }
    }

    pub fn remove(&mut self, topic: &str, now_ms: u64) -> bool {
        let is_removed = self.table.remove(topic).is_some();
        if is_removed {
            self.next_version(now_ms);
        }
        is_removed
    }

    /// Makes a topic as a send to it wishes, if the template is there and lets its permissions be inherited.
    pub fn create_from_template(&mut self, wish: Wish<'_>, auto_create: bool, now_ms: u64) -> bool {
        if wish.template == system_topics::TEMPLATE && !auto_create {
            return false;
        }
        let Some(template) = self.find(wish.template) else {
            return false;
        };
        let template = &template.config;
        if !perm::is_inherited(template.perm) {
            return false;
        }
        let queue_nums = wish.queue_nums.min(template.write_queue_nums).max(0);
        let config = TopicConfig {
            topic_name: wish.topic.into(),
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm: template.perm & !perm::INHERIT,
            topic_sys_flag: wish.topic_sys_flag,
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

    /// What was saved replaces what the broker made at its start, except for the system's own topics that are not in it. A `+`
    /// stands in the newer names of POP's retry topics.
    pub fn load(&mut self, configs: impl IntoIterator<Item = TopicConfig>, version: DataVersion) {
        for config in configs {
            if names::check_topic(&config.topic_name.replacen('+', "_", 1)).is_ok() {
                self.put_quietly(config);
            }
        }
        self.version = version;
        self.saved = version.counter;
        self.last_made_in = version.counter;
        self.table
            .values_mut()
            .for_each(|entry| entry.made_in = version.counter);
    }

    /// What name servers are told of the topics has changed, though not here.
    pub fn changed(&mut self, now_ms: u64) {
        self.next_version(now_ms);
    }

    fn next_version(&mut self, now_ms: u64) {
        self.version = self.version.next(now_ms as i64);
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

/// Bounds what a topic's table of queues may cost; no use is known that comes near.
pub const MAX_QUEUES: i32 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        let mut topics = Topics::new(0);
        topics.put_quietly(TopicConfig {
            topic_name: "TBW102".into(),
            read_queue_nums: 8,
            write_queue_nums: 8,
            perm: 7,
            ..TopicConfig::default()
        });
        topics
    }

    fn wish(topic: &str, queue_nums: i32) -> Wish<'_> {
        Wish {
            topic,
            template: "TBW102",
            queue_nums,
            topic_sys_flag: 0,
        }
    }

    #[test]
    fn a_template_limits_queues_and_is_not_inherited_further() {
        let mut topics = topics();
        assert!(topics.create_from_template(wish("a", 4), true, 5));
        assert!(topics.create_from_template(wish("b", 99), true, 5));
        assert!(topics.create_from_template(wish("c", -3), true, 5));
        let queues = |name| topics.find(name).unwrap().config.write_queue_nums;
        assert_eq!((queues("a"), queues("b"), queues("c")), (4, 8, 0));
        assert_eq!(topics.find("a").unwrap().config.perm, 6);
        assert_eq!(
            (topics.version().counter, topics.version().timestamp_ms),
            (3, 5)
        );
        assert!(!topics.create_from_template(wish("d", 4), false, 5));
        let from_a = Wish {
            template: "a",
            ..wish("e", 4)
        };
        assert!(!topics.create_from_template(from_a, true, 5));
    }

    #[test]
    fn handles_of_queues_survive_a_change_of_their_number() {
        let mut topics = topics();
        topics.create_from_template(wish("a", 4), true, 0);
        topics.find_mut("a").unwrap().queues[3] = Some(QueueIndex(7));
        let mut fewer = topics.find("a").unwrap().config.clone();
        fewer.read_queue_nums = 2;
        fewer.write_queue_nums = 2;
        assert!(topics.put(fewer.clone(), 0));
        assert!(!topics.put(fewer, 0));
        assert_eq!(topics.find("a").unwrap().queues[3], Some(QueueIndex(7)));
        assert!(topics.remove("a", 0) && !topics.remove("a", 0));
        topics.create_from_template(wish("a", 4), true, 0);
        assert_eq!(topics.find("a").unwrap().queues, [None; 4]);
    }

    #[test]
    fn a_derived_topic_takes_over_order() {
        let mut topics = topics();
        assert!(topics.create_derived("%RETRY%g", 1, false, 0, 0));
        assert!(!topics.create_derived("%RETRY%g", 1, false, 0, 0));
        assert!(topics.create_derived("%RETRY%g", 1, true, 0, 0));
        assert!(topics.is_order("%RETRY%g"));
    }

    #[test]
    fn unit_flags() {
        assert_eq!(unit_sys_flag("T", false), 0);
        assert_eq!(unit_sys_flag("T", true), 1);
        assert_eq!(unit_sys_flag("%RETRY%g", true), 2);
    }

    #[test]
    fn a_topic_is_unsaved_until_the_file_has_it() {
        let mut topics = topics();
        assert!(!topics.is_unsaved("TBW102"));
        topics.create_from_template(wish("a", 4), true, 0);
        let with_a = topics.version();
        topics.create_from_template(wish("b", 4), true, 0);
        assert!(topics.is_unsaved("a"));
        topics.saved(with_a);
        assert!(!topics.is_unsaved("a") && topics.is_unsaved("b"));
        topics.changed(0);
        topics.saved(topics.version());
        assert!(!topics.is_unsaved("b") && !topics.is_unsaved("nowhere"));
    }
}
