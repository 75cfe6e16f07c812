//! A broker's topics: 17, 18, 21, 215, 351; and what a topic's configuration is, in bodies and in `topics.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data_version::DataVersion;
use super::loose_json::{self, loose_enum};
use super::request::header_fields;

/// Bits of [`TopicConfig::perm`] (`PermName.java`).
pub mod perm {
    /// New topics may inherit from this one.
    pub const INHERIT: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const READ: i32 = 4;
    pub const PRIORITY: i32 = 8;

    pub fn is_readable(perm: i32) -> bool {
        perm & READ != 0
    }

    pub fn is_writeable(perm: i32) -> bool {
        perm & WRITE != 0
    }

    pub fn is_inherited(perm: i32) -> bool {
        perm & INHERIT != 0
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    pub attributes: BTreeMap<String, String>,
    pub order: bool,
    pub perm: i32,
    pub read_queue_nums: i32,
    pub topic_filter_type: TopicFilterType,
    pub topic_name: String,
    /// 1: of a unit; 2: a unit subscribes to it.
    pub topic_sys_flag: i32,
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: perm::READ | perm::WRITE,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::default(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// The attribute that says what its queues are: of type SimpleCQ or BatchCQ (RocketMQ: `TopicAttributes.QUEUE_TYPE_ATTRIBUTE`).
pub const QUEUE_TYPE: &str = "queue.type";
pub const QUEUE_TYPES: [&str; 2] = ["SimpleCQ", BATCH_QUEUE];
const BATCH_QUEUE: &str = "BatchCQ";

impl TopicConfig {
    pub fn queue_type(&self) -> &str {
        let found = self.attributes.get(QUEUE_TYPE);
        found.map_or(QUEUE_TYPES[0], String::as_str)
    }

    /// Whether one record of the topic may have all messages of a batch.
    pub fn takes_inner_batches(&self) -> bool {
        self.queue_type() == BATCH_QUEUE
    }

    /// `name read write perm filterType attributes`, as in a compressed registration.
    pub fn encode_line(&self) -> String {
        let Self {
            topic_name,
            read_queue_nums,
            write_queue_nums,
            perm,
            topic_filter_type,
            attributes,
            ..
        } = self;
        let attributes = String::from_utf8(loose_json::to_vec(attributes)).unwrap_or_default();
        format!(
            "{topic_name} {read_queue_nums} {write_queue_nums} {perm} {} {attributes}",
            topic_filter_type.name()
        )
    }

    /// `None` if it is no such line. Attributes that cannot be read are none, as in Java.
    pub fn decode_line(line: &str) -> Option<Self> {
        let mut parts = line.splitn(6, ' ');
        let mut next = || parts.next();
        let topic_name = next()?.to_owned();
        let read_queue_nums = next()?.parse().ok()?;
        let write_queue_nums = next()?.parse().ok()?;
        let perm = next()?.parse().ok()?;
        let topic_filter_type = TopicFilterType::from_name(next()?)?;
        let attributes = next()
            .and_then(|json| loose_json::from_slice(json.as_bytes()).ok())
            .unwrap_or_default();
        Some(Self {
            attributes,
            perm,
            read_queue_nums,
            topic_filter_type,
            topic_name,
            write_queue_nums,
            ..Self::default()
        })
    }
}

loose_enum! {
    pub enum TopicFilterType, default SingleTag {
        SingleTag = "SINGLE_TAG",
        MultiTag = "MULTI_TAG",
    }
}

header_fields! {
    /// UPDATE_AND_CREATE_TOPIC (17)
    pub struct CreateTopic<'a> {
        "topic" => topic: &'a str,
        "defaultTopic" => default_topic: &'a str,
        "readQueueNums" => read_queue_nums: i32,
        "writeQueueNums" => write_queue_nums: i32,
        "perm" => perm: i32,
        "topicFilterType" => topic_filter_type: &'a str,
        "topicSysFlag" => topic_sys_flag: Option<i32>,
        "order" => order: bool,
        /// `+message.type=FIFO,-other`
        "attributes" => attributes: Option<&'a str>,
        "force" => force: bool,
    }
}

/// The body of UPDATE_AND_CREATE_TOPIC_LIST (18).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigList {
    pub topic_config_list: Vec<TopicConfig>,
}

header_fields! {
    /// A request that names only a topic: 105, 202, 215, 217, 300, 351.
    pub struct TopicRequest<'a> {
        "topic" => topic: &'a str,
    }
}

header_fields! {
    /// GET_ALL_TOPIC_CONFIG (21). Without fields it asks for everything.
    pub struct AllTopicConfigRequest<'a> {
        "topicSeq" => topic_seq: Option<i32>,
        /// The requester's, as JSON.
        "dataVersion" => data_version: Option<&'a str>,
        "maxTopicNum" => max_topic_num: Option<i32>,
    }
}

header_fields! {
    pub struct AllTopicConfigReply {
        "totalTopicNum" => total_topic_num: i32,
    }
}

/// The reply's body of 21, a part of a registration, and (its first and third member) the content of `topics.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigTable {
    pub data_version: DataVersion,
    pub mapping_data_version: DataVersion,
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Of static topics, which are not supported; kept unchanged.
    pub topic_queue_mapping_detail_map: BTreeMap<String, serde_json::Value>,
    pub topic_queue_mapping_info_map: BTreeMap<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let mut config = TopicConfig {
            topic_name: "t".into(),
            read_queue_nums: 4,
            ..TopicConfig::default()
        };
        assert_eq!(config.encode_line(), "t 4 16 6 SINGLE_TAG {}");
        config
            .attributes
            .insert("message.type".into(), "A B".into());
        assert_eq!(
            TopicConfig::decode_line(&config.encode_line()),
            Some(config)
        );
        let short = TopicConfig::decode_line("t 4 16 6 MULTI_TAG").unwrap();
        assert_eq!(
            (short.write_queue_nums, short.topic_filter_type),
            (16, TopicFilterType::MultiTag)
        );
        for bad in [
            "",
            "t",
            "t 4 16 6",
            "t a 16 6 SINGLE_TAG",
            "t 4 16 6 NO_TAG",
        ] {
            assert_eq!(TopicConfig::decode_line(bad), None);
        }
    }
}
