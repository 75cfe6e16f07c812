//! Topics: 17, 18, 21, 215, 305, 351.

use std::collections::BTreeMap;

use super::pages::{Page, Table, TablePage};
use crate::broker::limits::{MAX_QUEUES, ROWS_PER_TURN};
use crate::broker::refusal::{missing_topic, topic_is_leaving};
use crate::broker::removal::{Removal, Removed};
use crate::broker::rows::Sliced;
use crate::broker::step::{Progress, Step, Work};
use crate::broker::store_view::At;
use crate::broker::topics::RESERVE_TIME;
use crate::broker::{Broker, Refusal, system_topics};
use crate::message::names;
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::route::TopicList;
use crate::wire::topic::{
    AllTopicConfigRequest, CreateTopic, QUEUE_TYPE, QUEUE_TYPES, TopicConfig, TopicConfigList,
    TopicFilterType, TopicRequest,
};

impl Broker {
    pub(super) fn update_topic(
        &mut self,
        asked: CreateTopic<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let known = self.topics.find(asked.topic);
        let known = known.map(|entry| entry.config.attributes.clone());
        let changes = asked.attributes.unwrap_or("");
        let filter_type = asked.topic_filter_type;
        let Some(topic_filter_type) = TopicFilterType::from_name(filter_type) else {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!("topicFilterType {filter_type:?}, expected SINGLE_TAG or MULTI_TAG"),
            ));
        };
        let config = TopicConfig {
            topic_name: asked.topic.into(),
            read_queue_nums: asked.read_queue_nums,
            write_queue_nums: asked.write_queue_nums,
            perm: asked.perm,
            topic_filter_type,
            topic_sys_flag: asked.topic_sys_flag.unwrap_or(0),
            order: asked.order,
            attributes: changed_attributes(known, changes)?,
        };
        self.check_topic_update(&config)?;
        self.put_topic(config, now_ms)?;
        Ok(Reply::ok())
    }

    /// All of them or none.
    pub(super) fn update_topics(&mut self, asked: TopicConfigList) -> Result<Step, Refusal> {
        for config in &asked.topic_config_list {
            self.check_topic_update(config)?;
            let known = self.topics.find(&config.topic_name);
            check_queue_type(config.queue_type())?;
            if known.is_some_and(|known| known.config.queue_type() != config.queue_type()) {
                return Err(queue_type_stays());
            }
        }
        let mut configs = asked.topic_config_list;
        configs.reverse();
        Ok(Step::Work(Box::new(PutTopics { configs })))
    }

    fn put_topic(&mut self, config: TopicConfig, now_ms: u64) -> Result<(), Refusal> {
        let topic = config.topic_name.clone();
        if self.topics.is_leaving(&topic) {
            return Err(topic_is_leaving(&topic));
        }
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
        let attribute = |name| config.attributes.get(name).map(String::as_str);
        if attribute("message.type") == Some("MIXED") {
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

    /// Deleting what is not there succeeds: mqadmin deletes retry topics that may never have been. Retry topics of POP consumers are
    /// deleted with their topic, in both ways of naming them.
    pub(super) fn delete_topic(&self, asked: TopicRequest<'_>) -> Result<Step, Refusal> {
        let topic = asked.topic;
        if topic.trim().is_empty() {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                "The specified topic is blank.",
            ));
        }
        self.check_not_system(topic)?;
        if self.topics.is_leaving(topic) {
            return Err(topic_is_leaving(topic));
        }
        let removal = Removal::with_retries(topic);
        Ok(Step::Work(Box::new(DeleteTopic { removal })))
    }

    pub(super) fn all_topics(&self, asked: AllTopicConfigRequest<'_>) -> Result<Step, Refusal> {
        let page = Page {
            begin: asked.topic_seq,
            most: asked.max_topic_num,
            version: asked.data_version,
            advice: "; ask for parts of it, with topicSeq, dataVersion and maxTopicNum",
        };
        let rows = TablePage::new(Table::Topics, &page, self);
        Ok(Sliced::step(rows.head(self), rows))
    }

    pub(super) fn topic_config(&self, asked: TopicRequest<'_>) -> Result<Reply, Refusal> {
        let topic = asked.topic;
        let entry = self.topics.find(topic);
        entry
            .map(|entry| Reply::json(&entry.config))
            .ok_or_else(|| missing_topic(topic))
    }

    pub(super) fn system_topics(&self) -> Result<Reply, Refusal> {
        Ok(Reply::json(&TopicList {
            topic_list: system_topics::names(&self.config),
            ..TopicList::default()
        }))
    }
}

/// Puts checked topics, the last one first.
#[derive(Debug)]
struct PutTopics {
    configs: Vec<TopicConfig>,
}

impl Work for PutTopics {
    fn turn(&mut self, broker: &mut Broker, at: At<'_>) -> Result<Progress, Refusal> {
        for _ in 0..ROWS_PER_TURN {
            let Some(config) = self.configs.pop() else {
                return Ok(Progress::Done(Reply::ok()));
            };
            broker.put_topic(config, at.now_ms)?;
        }
        Ok(Progress::More)
    }
}

#[derive(Debug)]
struct DeleteTopic {
    removal: Removal,
}

impl Work for DeleteTopic {
    fn turn(&mut self, broker: &mut Broker, at: At<'_>) -> Result<Progress, Refusal> {
        Ok(match self.removal.turn(broker, at.now_ms) {
            Removed::Some => Progress::More,
            Removed::AllButQueues(topic) => Progress::RemoveQueues(topic),
            Removed::All => Progress::Done(Reply::ok()),
        })
    }
}

fn check_queue_type(kind: &str) -> Result<(), Refusal> {
    if QUEUE_TYPES.contains(&kind) {
        return Ok(());
    }
    let expected = QUEUE_TYPES.join(" or ");
    Err(Refusal::new(
        response::SYSTEM_ERROR,
        format!("{QUEUE_TYPE} is {kind:.32?}, expected {expected}"),
    ))
}

/// Its queues have been written as what they are.
fn queue_type_stays() -> Refusal {
    Refusal::new(
        response::SYSTEM_ERROR,
        format!("{QUEUE_TYPE} is given when a topic is created, and cannot be changed or removed"),
    )
}

/// `+name=value` sets, `-name` removes, separated by commas (RocketMQ: `AttributeParser`).
fn changed_attributes(
    known: Option<BTreeMap<String, String>>,
    changes: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    let is_new = known.is_none();
    let mut attributes = known.unwrap_or_default();
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
            if name == QUEUE_TYPE {
                check_queue_type(value)?;
                if !is_new {
                    return Err(queue_type_stays());
                }
            }
            attributes.insert(name.into(), value.into());
        } else if let Some(name) = change.strip_prefix('-') {
            if name == QUEUE_TYPE {
                return Err(queue_type_stays());
            }
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
