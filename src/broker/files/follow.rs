//! A slave takes over what its master has besides messages. The answers to 21, 43, 45, 201 and 402 have the shapes of the files.

use std::collections::BTreeSet;

use super::{ConfigFile, DelaysFile, TopicsFile};
use crate::broker::offsets::Offsets;
use crate::broker::{Broker, Effect};
use crate::wire::group::{SubscriptionGroupConfig, SubscriptionGroupTable};
use crate::wire::loose_json::{self, BodyError};
use crate::wire::topic::TopicConfig;

impl Broker {
    /// Takes over the master's topics, groups, offsets or modes. What the master does not have any more goes, topics with their queues.
    /// Without a change of the version of topics or groups nothing is compared.
    pub fn follow_file(
        &mut self,
        file: ConfigFile,
        body: &[u8],
        now_ms: u64,
    ) -> Result<(), BodyError> {
        match file {
            ConfigFile::Topics => self.follow_topics(loose_json::from_slice(body)?, now_ms),
            ConfigFile::SubscriptionGroups => {
                self.follow_groups(loose_json::from_slice(body)?, now_ms);
            }
            ConfigFile::DelayOffsets => {
                let theirs: DelaysFile = loose_json::from_slice(body)?;
                self.delays.load(theirs.offset_table, theirs.data_version);
                self.delays.set_dirty();
            }
            ConfigFile::ConsumerOffsets => {
                // All of the table: an offset in a topic that was deleted, and perhaps made again since, would be beyond the new messages.
                let before = std::mem::replace(&mut self.offsets, Offsets::new(now_ms));
                if let Err(error) = self.load_file(file, &String::from_utf8_lossy(body)) {
                    self.offsets = before;
                    return Err(error);
                }
                self.offsets.set_dirty();
            }
            ConfigFile::RequestModes => {
                self.load_file(file, &String::from_utf8_lossy(body))?;
                self.persist(file);
            }
            ConfigFile::PopOrders | ConfigFile::Settings => {}
        }
        Ok(())
    }

    fn follow_topics(&mut self, theirs: TopicsFile, now_ms: u64) {
        if self.topics.version() == theirs.data_version {
            return;
        }
        let table = &theirs.topic_config_table;
        let gone = self.topics.after(None).map(|config| &config.topic_name);
        let gone: Vec<_> = gone
            .filter(|topic| !table.contains_key(*topic))
            .cloned()
            .collect();
        for topic in gone {
            self.topics.remove(&topic, now_ms);
            self.offsets.remove_topic(&topic);
            if self.pops.forget_topic(&topic) {
                self.persist(ConfigFile::PopOrders);
            }
            self.effects.push(Effect::DeleteTopic { topic });
        }
        for (topic_name, config) in theirs.topic_config_table {
            self.topics.put(
                TopicConfig {
                    topic_name,
                    ..config
                },
                now_ms,
            );
        }
        // All of them are there; the version is the master's.
        self.topics.load([], theirs.data_version);
        self.persist(ConfigFile::Topics);
        self.effects.push(Effect::RegisterAll);
    }

    fn follow_groups(&mut self, theirs: SubscriptionGroupTable, now_ms: u64) {
        if self.groups.version() == theirs.data_version {
            return;
        }
        let names: BTreeSet<_> = theirs.subscription_group_table.keys().collect();
        let gone = self.groups.after(None).map(|config| &config.group_name);
        let gone: Vec<_> = gone
            .filter(|group| !names.contains(group))
            .cloned()
            .collect();
        for group in gone {
            self.groups.remove(&group, now_ms);
            if self.pops.forget_group(&group) {
                self.persist(ConfigFile::PopOrders);
            }
        }
        for (group_name, config) in theirs.subscription_group_table {
            let config = SubscriptionGroupConfig {
                group_name,
                ..config
            };
            if self.groups.find(&config.group_name) != Some(&config) {
                self.groups.put(config, now_ms);
            }
        }
        self.groups.set_forbidden(theirs.forbidden_table);
        self.groups.set_version(theirs.data_version);
        self.persist(ConfigFile::SubscriptionGroups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerConfig;

    fn broker() -> Broker {
        Broker::new(BrokerConfig::default(), 0)
    }

    fn topic(name: &str, queues: i32) -> TopicConfig {
        TopicConfig {
            topic_name: name.into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            ..TopicConfig::default()
        }
    }

    fn deleted(broker: &mut Broker) -> Vec<String> {
        let mut effects = Vec::new();
        broker.take_effects(&mut effects);
        let topics = effects.into_iter().filter_map(|effect| match effect {
            Effect::DeleteTopic { topic } => Some(topic),
            _ => None,
        });
        topics.collect()
    }

    #[test]
    fn topics_become_the_masters() {
        let (mut master, mut slave) = (broker(), broker());
        for name in ["kept", "changed", "deleted"] {
            master.topics.put(topic(name, 4), 1);
        }
        let file = ConfigFile::Topics;
        slave
            .follow_file(file, master.file_text(file).as_bytes(), 2)
            .unwrap();
        assert_eq!(slave.topics.version(), master.topics.version());
        assert!(deleted(&mut slave).is_empty());
        master.topics.put(topic("changed", 8), 3);
        master.topics.remove("deleted", 3);
        slave
            .follow_file(file, master.file_text(file).as_bytes(), 4)
            .unwrap();
        assert_eq!(slave.topics.sorted(), master.topics.sorted());
        assert_eq!(deleted(&mut slave), ["deleted"]);
        slave
            .follow_file(file, master.file_text(file).as_bytes(), 5)
            .unwrap();
        let mut effects = Vec::new();
        slave.take_effects(&mut effects);
        assert!(effects.is_empty(), "the same version: {effects:?}");
    }

    #[test]
    fn groups_and_offsets_become_the_masters() {
        let (mut master, mut slave) = (broker(), broker());
        for group in ["kept", "deleted"] {
            master.groups.create(group, 1);
        }
        master.groups.set_readable("kept", "T", false, 1);
        master.offsets.commit("kept", "T", 3, 77, 1);
        let follow = |slave: &mut Broker, master: &Broker, file| {
            let text = master.file_text(file);
            slave.follow_file(file, text.as_bytes(), 2).unwrap();
        };
        follow(&mut slave, &master, ConfigFile::SubscriptionGroups);
        follow(&mut slave, &master, ConfigFile::ConsumerOffsets);
        assert!(slave.groups.contains("deleted") && !slave.groups.may_read("kept", "T"));
        assert_eq!(slave.offsets.query("kept", "T", 3), Some(77));
        assert!(slave.offsets.take_dirty(), "they are saved");
        master.groups.remove("deleted", 3);
        master.groups.set_readable("kept", "T", true, 3);
        follow(&mut slave, &master, ConfigFile::SubscriptionGroups);
        assert!(!slave.groups.contains("deleted") && slave.groups.may_read("kept", "T"));
        assert_eq!(slave.groups.version(), master.groups.version());
    }

    #[test]
    fn offsets_of_a_topic_that_was_made_again_go() {
        let (mut master, mut slave) = (broker(), broker());
        master.offsets.commit("g", "T", 0, 40, 1);
        master.offsets.commit("g", "other", 0, 7, 1);
        let file = ConfigFile::ConsumerOffsets;
        let follow = |slave: &mut Broker, text: &str| slave.follow_file(file, text.as_bytes(), 2);
        follow(&mut slave, &master.file_text(file)).unwrap();
        master.offsets.remove_topic("T");
        assert!(follow(&mut slave, "{").is_err());
        assert_eq!(slave.offsets.query("g", "T", 0), Some(40), "not read");
        follow(&mut slave, &master.file_text(file)).unwrap();
        assert_eq!(slave.offsets.query("g", "T", 0), None);
        assert_eq!(slave.offsets.query("g", "other", 0), Some(7));
    }

    /// RocketMQ's table of offsets of pulls has bare numbers as keys, which its own slave cannot read.
    #[test]
    fn offsets_are_read_from_rocketmqs_answer() {
        let mut slave = broker();
        let body = br#"{"offsetTable":{"T@g":{0:5,1:6}},"pullOffsetTable":{"T@g":{0:9}}}"#;
        slave
            .follow_file(ConfigFile::ConsumerOffsets, body, 1)
            .unwrap();
        assert_eq!(slave.offsets.query("g", "T", 1), Some(6));
    }
}
