//! Subscription groups (RocketMQ: `SubscriptionGroupManager`).

use hashbrown::HashMap;

use super::system_topics;
use crate::message::names;
use crate::wire::DataVersion;
use crate::wire::group::SubscriptionGroupConfig;

/// All groups, with the topics that some may not read.
#[derive(Debug)]
pub struct Groups {
    table: HashMap<String, SubscriptionGroupConfig>,
    forbidden: HashMap<String, HashMap<String, i32>>,
    version: DataVersion,
}

/// Bit of the forbidden table that takes away reading.
const FORBIDDEN_READ: i32 = 1 << 2;

impl Groups {
    /// With the groups that are there from the start.
    pub fn new(now_ms: u64) -> Self {
        let table = system_topics::GROUPS.iter().map(|name| {
            let name = (*name).to_owned();
            (name.clone(), named(name))
        });
        Self {
            table: table.collect(),
            forbidden: HashMap::new(),
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
        self.table.contains_key(group)
    }

    /// In the order of their names.
    pub fn sorted(&self) -> Vec<&SubscriptionGroupConfig> {
        let mut groups: Vec<_> = self.table.values().collect();
        groups.sort_unstable_by(|a, b| a.group_name.cmp(&b.group_name));
        groups
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
        self.table.insert(config.group_name.clone(), config);
        self.next_version(now_ms);
    }

    pub fn remove(&mut self, group: &str, now_ms: u64) -> bool {
        self.forbidden.remove(group);
        let is_removed = self.table.remove(group).is_some();
        if is_removed {
            self.next_version(now_ms);
        }
        is_removed
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
        let topics = self.forbidden.entry_ref(group).or_default();
        let bits = topics.entry_ref(topic).or_default();
        *bits ^= FORBIDDEN_READ;
        if *bits == 0 {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.forbidden.remove(group);
        }
        self.next_version(now_ms);
        true
    }

    /// Group, topic and bits, in order.
    pub fn forbidden(&self) -> Vec<(&str, Vec<(&str, i32)>)> {
        let mut groups: Vec<_> = self
            .forbidden
            .iter()
            .map(|(group, topics)| {
                let mut topics: Vec<_> = topics.iter().map(|(t, bits)| (&**t, *bits)).collect();
                topics.sort_unstable();
                (&**group, topics)
            })
            .collect();
        groups.sort_unstable();
        groups
    }

    pub fn load(
        &mut self,
        configs: impl IntoIterator<Item = SubscriptionGroupConfig>,
        forbidden: impl IntoIterator<Item = (String, String, i32)>,
        version: DataVersion,
    ) {
        for config in configs {
            self.table.insert(config.group_name.clone(), config);
        }
        for (group, topic, bits) in forbidden {
            self.forbidden.entry(group).or_default().insert(topic, bits);
        }
        self.version = version;
    }

    fn next_version(&mut self, now_ms: u64) {
        self.version = self.version.next(now_ms as i64);
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
    fn a_topic_may_be_forbidden() {
        let mut groups = Groups::new(0);
        let version = groups.version();
        groups.load([], [("g".into(), "T".into(), FORBIDDEN_READ)], version);
        assert!(!groups.may_read("g", "T"));
        assert!(groups.may_read("g", "U") && groups.may_read("h", "T"));
        assert!(!groups.set_readable("g", "T", false, 1));
        assert!(groups.set_readable("g", "T", true, 1) && groups.may_read("g", "T"));
        assert!(groups.forbidden().is_empty());
        assert!(groups.set_readable("g", "U", false, 1) && !groups.may_read("g", "U"));
        assert_eq!(groups.forbidden(), [("g", vec![("U", FORBIDDEN_READ)])]);
    }
}
