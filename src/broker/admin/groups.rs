//! Groups: 200, 201, 207, 225, 352.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::broker::reply::{Reply, flag, required};
use crate::broker::send::missing_group;
use crate::broker::{Broker, ConfigFile, Refusal, names};
use crate::wire::codes::response;
use crate::wire::group::SubscriptionGroupConfig;
use crate::wire::topic::DataVersion;
use crate::wire::{Ext, loose_json};

impl Broker {
    pub(in crate::broker) fn update_group(
        &mut self,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        self.put_groups(vec![loose_json::from_slice(body)?], now_ms)
    }

    pub(in crate::broker) fn update_groups(
        &mut self,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct GroupConfigList {
            group_config_list: Vec<SubscriptionGroupConfig>,
        }
        let list: GroupConfigList = loose_json::from_slice(body)?;
        self.put_groups(list.group_config_list, now_ms)
    }

    fn put_groups(
        &mut self,
        configs: Vec<SubscriptionGroupConfig>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        for config in &configs {
            names::check_group(&config.group_name)
                .map_err(|remark| Refusal::new(response::INVALID_PARAMETER, remark))?;
        }
        for config in configs {
            self.groups.put(config, now_ms);
            self.persist(ConfigFile::SubscriptionGroups);
        }
        Ok(Reply::ok())
    }

    pub(in crate::broker) fn all_groups(&self) -> Result<Reply, Refusal> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Groups<'a> {
            data_version: &'a DataVersion,
            forbidden_table: BTreeMap<&'a str, BTreeMap<&'a str, i32>>,
            subscription_group_table: BTreeMap<&'a str, &'a SubscriptionGroupConfig>,
        }
        let groups = self.groups.sorted();
        let forbidden = self.groups.forbidden().into_iter();
        let body = Groups {
            data_version: self.groups.version(),
            forbidden_table: forbidden
                .map(|(group, topics)| (group, topics.into_iter().collect()))
                .collect(),
            subscription_group_table: groups.iter().map(|g| (&*g.group_name, *g)).collect(),
        };
        Ok(Reply::json(&body).with("totalGroupNum", groups.len()))
    }

    pub(in crate::broker) fn group_config(
        &mut self,
        ext: &Ext<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let group = required(ext, "group")?;
        let config = self.find_or_create_group(group, now_ms);
        config.map(Reply::json).ok_or_else(|| missing_group(group))
    }

    pub(in crate::broker) fn delete_group(
        &mut self,
        ext: &Ext<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let group = required(ext, "groupName")?;
        if self.groups.remove(group, now_ms) {
            self.persist(ConfigFile::SubscriptionGroups);
        }
        if flag(ext, "cleanOffset") {
            self.offsets.remove_group(group);
        }
        Ok(Reply::ok())
    }
}
