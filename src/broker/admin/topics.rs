//! Topics: 17, 18, 21, 215, 305, 351.

use std::collections::BTreeMap;

use crate::broker::reply::Reply;
use crate::broker::send::missing_topic;
use crate::broker::topics::{MAX_QUEUES, RESERVE_TIME};
use crate::broker::{Broker, ConfigFile, Effect, Refusal, system_topics};
use crate::message::names;
use crate::wire::codes::response;
use crate::wire::route::TopicList;
use crate::wire::topic::{
    AllTopicConfigRequest, CreateTopic, TopicConfig, TopicConfigList, TopicConfigTable,
    TopicFilterType, TopicRequest,
};
use crate::wire::{Ext, loose_json};

impl Broker {
    pub(in crate::broker) fn update_topic(
        &mut self,
        ext: &Ext<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let request = CreateTopic::decode(ext)?;
        let known = self.topics.find(request.topic);
        let known = known.map(|entry| entry.config.attributes.clone());
        let changes = request.attributes.unwrap_or("");
        let filter_type = request.topic_filter_type;
        let Some(topic_filter_type) = TopicFilterType::from_name(filter_type) else {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!("topicFilterType {filter_type:?}, expected SINGLE_TAG or MULTI_TAG"),
            ));
        };
        let config = TopicConfig {
            topic_name: request.topic.into(),
            read_queue_nums: request.read_queue_nums,
            write_queue_nums: request.write_queue_nums,
            perm: request.perm,
            topic_filter_type,
            topic_sys_flag: request.topic_sys_flag.unwrap_or(0),
            order: request.order,
            attributes: changed_attributes(known.unwrap_or_default(), changes)?,
        };
        self.put_topic(config, now_ms)?;
        Ok(Reply::ok())
    }

    pub(in crate::broker) fn update_topics(
        &mut self,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
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
        let topic = TopicRequest::decode(ext)?.topic;
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
                self.stats.forget_topic(&topic);
                self.pops.forget_topic(&topic);
                self.persist(ConfigFile::Topics);
                // Else a topic of the same name would begin with them after a crash.
                self.persist(ConfigFile::ConsumerOffsets);
                self.effects.push(Effect::DeleteTopic { topic });
            }
        }
        Ok(Reply::ok())
    }

    /// All, or a page of them.
    pub(in crate::broker) fn all_topics(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let request = AllTopicConfigRequest::decode(ext)?;
        let version = self.topics.version();
        let (from, most) = version.page(
            request.topic_seq,
            request.data_version,
            request.max_topic_num,
        );
        let topics = self.topics.sorted().into_iter();
        let topics = topics.skip(from).take(most).cloned();
        let body = TopicConfigTable {
            data_version: version,
            topic_config_table: topics.map(|t| (t.topic_name.clone(), t)).collect(),
            ..TopicConfigTable::default()
        };
        Ok(Reply::json(&body).with("totalTopicNum", self.topics.len()))
    }

    pub(in crate::broker) fn topic_config(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let topic = TopicRequest::decode(ext)?.topic;
        let entry = self.topics.find(topic);
        entry
            .map(|entry| Reply::json(&entry.config))
            .ok_or_else(|| missing_topic(topic))
    }

    pub(in crate::broker) fn system_topics(&self) -> Result<Reply, Refusal> {
        Ok(Reply::json(&TopicList {
            topic_list: system_topics::names(&self.config),
            ..TopicList::default()
        }))
    }
}

/// `+name=value` sets, `-name` removes, separated by commas (RocketMQ: `AttributeParser`).
fn changed_attributes(
    mut attributes: BTreeMap<String, String>,
    changes: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    for change in changes
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        if let Some((name, value)) = change.strip_prefix('+').and_then(|set| set.split_once('=')) {
            if name == RESERVE_TIME && value.parse::<i64>().map_or(true, |hours| hours < -1) {
                return Err(Refusal::new(
                    response::SYSTEM_ERROR,
                    format!(
                        "{RESERVE_TIME} is {value:?}, expected hours, or -1 for fileReservedTime"
                    ),
                ));
            }
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
