//! The files of `config/` in RocketMQ's shapes: fastjson's dialect, indented by tabs.
//!
//! Reading is tolerant: missing and unknown fields are fine, and so are files that RocketMQ wrote. [`text`] writes them, and
//! [`changes`] is what stands beside those of topics and groups.

pub mod changes;
mod follow;
pub mod text;

pub use follow::{MasterDelays, Page, Pages, follow_whole};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::delay::Delays;
use super::offsets::QueueOffsetMap;
use super::pop::OrderTable;
use super::{Broker, ConfigFile};
use crate::wire::DataVersion;
use crate::wire::group::{SubscriptionGroupConfig, SubscriptionGroupTable};
use crate::wire::loose_json::{self, BodyError};
use crate::wire::topic::TopicConfig;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicsFile {
    data_version: DataVersion,
    topic_config_table: BTreeMap<String, TopicConfig>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OffsetsFile {
    data_version: DataVersion,
    group_topic_map: BTreeMap<String, Vec<String>>,
    offset_table: BTreeMap<String, QueueOffsetMap>,
    pull_offset_table: BTreeMap<String, QueueOffsetMap>,
    /// Ours, of a slave: what it has to give to its master. RocketMQ ignores it.
    ringmq_left_table: BTreeMap<String, QueueOffsetMap>,
}

impl OffsetsFile {
    /// Its offsets one by one: topic, group, queue, offset.
    fn each(
        table: BTreeMap<String, QueueOffsetMap>,
    ) -> impl Iterator<Item = (String, String, i32, i64)> {
        table.into_iter().flat_map(|(key, queues)| {
            let Some((topic, group)) = key.split_once(TOPIC_GROUP_SEPARATOR) else {
                return Vec::new();
            };
            let queues = queues.into_iter();
            queues
                .map(|(id, offset)| (topic.to_owned(), group.to_owned(), id, offset))
                .collect()
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DelaysFile {
    data_version: DataVersion,
    offset_table: BTreeMap<i32, i64>,
    /// Ours; RocketMQ ignores it, and a file that it has written does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ringmq_known_position: Option<u64>,
    /// In a master's answer: what these offsets count as delivered was written to its log before this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    ringmq_log_end: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OrdersFile {
    table: OrderTable,
}

/// Between topic and group in the offset table's keys.
const TOPIC_GROUP_SEPARATOR: char = '@';

impl Broker {
    /// Takes in what a file says; before the first request.
    pub fn load_file(&mut self, file: ConfigFile, text: &str) -> Result<(), BodyError> {
        match file {
            ConfigFile::Topics => {
                let file: TopicsFile = loose_json::from_slice(text.as_bytes())?;
                let configs = file.topic_config_table.into_iter();
                let named = configs.map(|(topic_name, config)| TopicConfig {
                    topic_name,
                    ..config
                });
                self.topics.load(named, file.data_version);
            }
            ConfigFile::SubscriptionGroups => {
                let file: SubscriptionGroupTable = loose_json::from_slice(text.as_bytes())?;
                let configs = file.subscription_group_table.into_iter();
                let named = configs.map(|(group_name, config)| SubscriptionGroupConfig {
                    group_name,
                    ..config
                });
                let forbidden = file.forbidden_table;
                self.groups.load(named, forbidden, file.data_version);
            }
            ConfigFile::ConsumerOffsets => {
                let file: OffsetsFile = loose_json::from_slice(text.as_bytes())?;
                let offsets = OffsetsFile::each(file.offset_table);
                self.offsets.load(offsets, file.data_version);
                self.offsets
                    .load_left(OffsetsFile::each(file.ringmq_left_table));
            }
            ConfigFile::DelayOffsets => {
                let file: DelaysFile = loose_json::from_slice(text.as_bytes())?;
                self.delays.load(file.offset_table, file.data_version);
                if let Some(position) = file.ringmq_known_position {
                    self.delays.known_up_to(position);
                }
            }
            ConfigFile::RequestModes => self.pops.modes = loose_json::from_slice(text.as_bytes())?,
            ConfigFile::PopOrders => {
                let file: OrdersFile = loose_json::from_slice(text.as_bytes())?;
                self.pops.orders.load(file.table);
            }
            ConfigFile::Settings => {
                let loaded = self.load_changed_settings(text);
                return loaded.map_err(|refusal| BodyError::Content {
                    reason: refusal.remark.into_owned(),
                });
            }
        }
        Ok(())
    }
}

impl DelaysFile {
    pub(super) fn of(delays: &Delays) -> Self {
        Self {
            data_version: delays.version(),
            offset_table: delays.offsets().clone(),
            ringmq_known_position: delays.known_position(),
            ringmq_log_end: None,
        }
    }

    /// The answer to a slave.
    pub(super) fn answer(delays: &Delays, log_end: u64) -> Self {
        Self {
            ringmq_known_position: Some(delays.known_of_now(log_end)),
            ringmq_log_end: Some(log_end),
            ..Self::of(delays)
        }
    }
}

/// Whether a file of RocketMQ's has something in this table of it; also if it cannot be read.
pub fn has_entries(text: &str, table: &str) -> bool {
    type File = BTreeMap<String, serde_json::Value>;
    match loose_json::from_slice::<File>(text.as_bytes()) {
        Ok(file) => match file.get(table) {
            Some(serde_json::Value::Object(entries)) => !entries.is_empty(),
            _ => false,
        },
        Err(_) => true,
    }
}
