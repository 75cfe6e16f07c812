//! Topics: 17, 18, 21, 215, 305, 351.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::broker::reply::{Reply, flag, number, required};
use crate::broker::send::missing_topic;
use crate::broker::topics::MAX_QUEUES;
use crate::broker::{Broker, Effect, Refusal, names, system_topics};
use crate::wire::codes::response;
use crate::wire::topic::{DataVersion, TopicConfig};
use crate::wire::{Ext, loose_json};

impl Broker {
    pub(in crate::broker) fn update_topic(
        &mut self,
        ext: &Ext<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let topic = required(ext, "topic")?;
        let known = self.topics.find(topic).map(|entry| &entry.config.attributes);
        let changes = ext.find("attributes").unwrap_or("");
        let config = TopicConfig {
            topic_name: topic.into(),
            read_queue_nums: number(ext, "readQueueNums")?,
            write_queue_nums: number(ext, "writeQueueNums")?,
            perm: number(ext, "perm")?,
            topic_filter_type: ext.find("topicFilterType").unwrap_or("SINGLE_TAG").into(),
            topic_sys_flag: match ext.find("topicSysFlag") {
                Some(_) => number(ext, "topicSysFlag")?,
                None => 0,
            },
            order: flag(ext, "order"),
            attributes: changed_attributes(known.cloned().unwrap_or_default(), changes)?,
        };
        self.put_topic(config, now_ms)?;
        Ok(Reply::ok())
    }

    pub(in crate::broker) fn update_topics(
        &mut self,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct TopicConfigList {
            topic_config_list: Vec<TopicConfig>,
        }
        let list: TopicConfigList = loose_json::from_slice(body)?;
        for config in &list.topic_config_list {
            self.check_topic_update(config)?;
        }
        for config in list.topic_config_list {
            self.put_topic(config, now_ms)?;
        }
        Ok(Reply::ok())
    }

    fn put_topic(&mut self, config: TopicConfig, now_ms: u64) -> Result<(), Refusal> {
        self.check_topic_update(&config)?;
        let topic = config.topic_name.clone();
        if self.topics.put(config, now_ms) {
            self.topic_changed(&topic);
        }
        Ok(())
    }

    fn check_topic_update(&self, config: &TopicConfig) -> Result<(), Refusal> {
        let invalid = |remark| Err(Refusal::new(response::INVALID_PARAMETER, remark));
        let topic = &config.topic_name;
        if let Err(remark) = names::check_topic(topic) {
            return invalid(remark);
        }
        self.check_not_system(topic)?;
        let queues = [config.read_queue_nums, config.write_queue_nums];
        if queues.iter().any(|nums| !(0..=MAX_QUEUES).contains(nums)) {
            return invalid(format!(
                "topic[{topic}] wants {queues:?} queues to read and write, limit {MAX_QUEUES}"
            ));
        }
        if config.attributes.get("message.type").map(String::as_str) == Some("MIXED") {
            return invalid("MIXED message type is not supported.".into());
        }
        Ok(())
    }

    fn check_not_system(&self, topic: &str) -> Result<(), Refusal> {
        if !system_topics::is_system(topic, &self.config) {
            return Ok(());
        }
        Err(Refusal::new(
            response::INVALID_PARAMETER,
            format!("The topic[{topic}] is conflict with system topic."),
        ))
    }

    /// Deleting what is not there succeeds: mqadmin deletes retry topics that may never have been.
    pub(in crate::broker) fn delete_topic(
        &mut self,
        ext: &Ext<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let topic = required(ext, "topic")?;
        if topic.trim().is_empty() {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                "The specified topic is blank.",
            ));
        }
        self.check_not_system(topic)?;
        let mut doomed = vec![topic.to_owned()];
        for group in self.offsets.groups_of(topic) {
            // Retry topics of POP consumers, in both ways of naming them.
            let retry = names::retry_topic(group);
            doomed.extend([format!("{retry}_{topic}"), format!("{retry}+{topic}")]);
        }
        for topic in doomed {
            if self.topics.remove(&topic, now_ms) {
                self.offsets.remove_topic(&topic);
                self.topic_changed(&topic);
                self.effects.retain(|effect| {
                    !matches!(effect, Effect::Register { topic: other } if *other == topic)
                });
                self.effects.push(Effect::DeleteTopic { topic });
            }
        }
        Ok(Reply::ok())
    }

    pub(in crate::broker) fn all_topics(&self) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct TopicConfigs<'a> {
            data_version: &'a DataVersion,
            topic_config_table: BTreeMap<&'a str, &'a TopicConfig>,
            topic_queue_mapping_detail_map: BTreeMap<&'a str, ()>,
        }
        let topics = self.topics.sorted();
        let table = topics.iter().map(|config| (&*config.topic_name, *config));
        let body = TopicConfigs {
            data_version: self.topics.version(),
            topic_config_table: table.collect(),
            topic_queue_mapping_detail_map: BTreeMap::new(),
        };
        Ok(Reply::json(&body).with("totalTopicNum", topics.len()))
    }

    pub(in crate::broker) fn topic_config(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let topic = required(ext, "topic")?;
        let entry = self.topics.find(topic);
        entry
            .map(|entry| Reply::json(&entry.config))
            .ok_or_else(|| missing_topic(topic))
    }

    pub(in crate::broker) fn system_topics(&self) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct TopicList {
            topic_list: Vec<String>,
        }
        Ok(Reply::json(&TopicList {
            topic_list: system_topics::names(&self.config),
        }))
    }
}

/// `+name=value` sets, `-name` removes, separated by commas (RocketMQ: `AttributeParser`).
fn changed_attributes(
    mut attributes: BTreeMap<String, String>,
    changes: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    for change in changes.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        if let Some((name, value)) = change.strip_prefix('+').and_then(|set| set.split_once('=')) {
            attributes.insert(name.into(), value.into());
        } else if let Some(name) = change.strip_prefix('-') {
            attributes.remove(name);
        } else {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("attribute change {change:?}, expected +name=value or -name"),
            ));
        }
    }
    Ok(attributes)
}
