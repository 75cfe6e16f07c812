//! Subscription groups (RocketMQ: `SubscriptionGroupManager`).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::limits::MAX_QUEUES;
use super::named_table::NamedTable;
use super::system_topics;
use super::topics::newer;
use super::unsaved::Unsaved;
use crate::message::names;
use crate::wire::DataVersion;
use crate::wire::group::SubscriptionGroupConfig;

/// All groups, with the topics that some may not read.
#[derive(Debug)]
pub struct Groups {
    table: NamedTable<SubscriptionGroupConfig>,
    forbidden: NamedTable<Forbidden>,
    version: DataVersion,
    unsaved: Unsaved,
}

/// Topic -> bits of what a group may not do with it.
pub type Forbidden = BTreeMap<String, i32>;

/// Bit of the forbidden table that takes away reading.
const FORBIDDEN_READ: i32 = 1 << 2;

impl Groups {
    /// With the groups that are there from the start.
    pub fn new(now_ms: u64) -> Self {
        let mut table = NamedTable::default();
        for name in system_topics::GROUPS {
            table.insert(name, named((*name).to_owned()));
        }
        Self {
            table,
            forbidden: NamedTable::default(),
            unsaved: Unsaved::default(),
            version: DataVersion {
                timestamp_ms: now_ms as i64,
                ..DataVersion::default()
            },
        }
    }

    pub fn find(&self, group: &str) -> Option<&SubscriptionGroupConfig> {
        self.table.get(group)
    }

    pub fn contains(&self, group: &str) -> bool {
        self.table.contains(group)
    }

    /// In the order of their names.
    pub fn sorted(&self) -> Vec<&SubscriptionGroupConfig> {
        self.after(None).collect()
    }

    /// Those behind this name, in order.
    pub fn after(&self, group: Option<&str>) -> impl Iterator<Item = &SubscriptionGroupConfig> {
        self.table.after(group).map(|(_, config)| config)
    }

    /// The name at this place of their order.
    pub fn name_at(&self, place: usize) -> Option<&str> {
        self.table.name_at(place)
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Never: the system's own groups are there from the start.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn version(&self) -> DataVersion {
        self.version
    }

    /// Makes the group if it is not there and its name is legal; says whether it made it.
    pub fn create(&mut self, group: &str, now_ms: u64) -> bool {
        if self.contains(group) || names::check_group(group).is_err() {
            return false;
        }
        self.put(named(group.into()), now_ms);
        true
    }

    pub fn put(&mut self, config: SubscriptionGroupConfig, now_ms: u64) {
        let config = within_limits(config);
        self.unsaved.note(&config.group_name);
        self.table.insert(&config.group_name.clone(), config);
        self.next_version(now_ms);
    }

    pub fn remove(&mut self, group: &str, now_ms: u64) -> bool {
        let is_removed = self.table.remove(group).is_some();
        if is_removed | self.forbidden.remove(group).is_some() {
            self.unsaved.note(group);
            self.next_version(now_ms);
        }
        is_removed
    }

    /// The table is that of a master with this version.
    pub fn set_version(&mut self, version: DataVersion) {
        self.version = version;
    }

    /// All that a group may not do: without a new version, as a file or a master has it.
    pub fn set_forbidden(&mut self, group: &str, topics: Forbidden) {
        match topics.is_empty() {
            true => drop(self.forbidden.remove(group)),
            false => drop(self.forbidden.insert(group, topics)),
        }
    }

    pub fn may_read(&self, group: &str, topic: &str) -> bool {
        let forbidden = self
            .forbidden
            .get(group)
            .and_then(|topics| topics.get(topic));
        forbidden.is_none_or(|bits| bits & FORBIDDEN_READ == 0)
    }

    /// Lets the group read the topic or not; whether that is a change.
    pub fn set_readable(&mut self, group: &str, topic: &str, readable: bool, now_ms: u64) -> bool {
        if self.may_read(group, topic) == readable {
            return false;
        }
        let mut topics = self.forbidden.remove(group).unwrap_or_default();
        let bits = topics.entry(topic.to_owned()).or_default();
        *bits ^= FORBIDDEN_READ;
        if *bits == 0 {
            topics.remove(topic);
        }
        if !topics.is_empty() {
            self.forbidden.insert(group, topics);
        }
        self.unsaved.note(group);
        self.next_version(now_ms);
        true
    }

    /// What groups behind this one may not do, in order.
    pub fn forbidden_after(&self, group: Option<&str>) -> impl Iterator<Item = (&str, &Forbidden)> {
        self.forbidden.after(group)
    }

    pub fn forbidden_of(&self, group: &str) -> Option<&Forbidden> {
        self.forbidden.get(group)
    }

    /// Groups that were made, changed or deleted since the last time this was asked: what is to be saved.
    pub fn begin_save(&mut self) -> Vec<Rc<str>> {
        self.unsaved.begin()
    }

    pub fn saved(&mut self, groups: &[Rc<str>]) {
        self.unsaved.saved(groups);
    }

    pub fn not_saved(&mut self, groups: Vec<Rc<str>>) {
        self.unsaved.not_saved(groups);
    }

    pub fn load(
        &mut self,
        configs: impl IntoIterator<Item = SubscriptionGroupConfig>,
        forbidden: impl IntoIterator<Item = (String, Forbidden)>,
        version: DataVersion,
    ) {
        for config in configs.into_iter().map(within_limits) {
            self.table.insert(&config.group_name.clone(), config);
        }
        for (group, topics) in forbidden {
            self.forbidden.insert(&group, topics);
        }
        self.version = version;
    }

    /// A change that was saved after the file was: all there is of a group, or that it was deleted.
    pub fn replay(
        &mut self,
        group: &str,
        config: Option<SubscriptionGroupConfig>,
        forbidden: Forbidden,
        version: DataVersion,
    ) {
        match config {
            Some(config) => drop(self.table.insert(group, within_limits(config))),
            None => drop(self.table.remove(group)),
        }
        self.set_forbidden(group, forbidden);
        self.version = newer(self.version, version);
    }

    fn next_version(&mut self, now_ms: u64) {
        self.version = self.version.next(now_ms as i64);
    }
}

/// A retry topic has as many queues as its group says.
fn within_limits(config: SubscriptionGroupConfig) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        retry_queue_nums: config.retry_queue_nums.clamp(0, MAX_QUEUES),
        ..config
    }
}

fn named(group_name: String) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        group_name,
        ..SubscriptionGroupConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_made_once_and_only_with_legal_names() {
        let mut groups = Groups::new(0);
        assert!(groups.contains("TOOLS_CONSUMER"));
        assert!(groups.create("g", 7) && !groups.create("g", 8));
        assert!(!groups.create("a b", 8) && !groups.create("", 8));
        assert_eq!(groups.find("g").unwrap().retry_max_times, 16);
        assert_eq!(
            (groups.version().counter, groups.version().timestamp_ms),
            (1, 7)
        );
        assert!(groups.remove("g", 9) && !groups.remove("g", 9));
        assert_eq!(groups.version().counter, 2);
    }

    #[test]
    fn queues_of_retry_topics_are_limited_at_every_door() {
        let mut groups = Groups::new(0);
        let config = |name: &str, nums| SubscriptionGroupConfig {
            group_name: name.into(),
            retry_queue_nums: nums,
            ..SubscriptionGroupConfig::default()
        };
        groups.put(config("put", i32::MAX), 0);
        groups.load([config("loaded", -7)], [], groups.version());
        assert_eq!(groups.find("put").unwrap().retry_queue_nums, MAX_QUEUES);
        assert_eq!(groups.find("loaded").unwrap().retry_queue_nums, 0);
    }

    #[test]
    fn a_topic_may_be_forbidden() {
        let mut groups = Groups::new(0);
        let version = groups.version();
        let bits = Forbidden::from([("T".into(), FORBIDDEN_READ)]);
        groups.load([], [("g".into(), bits)], version);
        assert!(!groups.may_read("g", "T"));
        assert!(groups.may_read("g", "U") && groups.may_read("h", "T"));
        assert!(!groups.set_readable("g", "T", false, 1));
        assert!(groups.set_readable("g", "T", true, 1) && groups.may_read("g", "T"));
        assert!(groups.forbidden_of("g").is_none());
        assert!(groups.set_readable("g", "U", false, 1) && !groups.may_read("g", "U"));
        let bits = Forbidden::from([("U".into(), FORBIDDEN_READ)]);
        assert_eq!(groups.forbidden_of("g"), Some(&bits));
        let version = groups.version();
        let (mut again, config) = (Groups::new(0), named("g".into()));
        again.replay("g", Some(config), bits, version);
        assert!(again.contains("g") && !again.may_read("g", "U"));
        again.replay("g", None, Forbidden::new(), version);
        assert!(!again.contains("g") && again.may_read("g", "U"));
    }
}
