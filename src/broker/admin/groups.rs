//! Groups: 200, 201, 207, 225, 352, 353.

use crate::broker::reply::Reply;
use crate::broker::send::missing_group;
use crate::broker::{Broker, ConfigFile, Refusal};
use crate::message::names;
use crate::wire::codes::response;
use crate::wire::group::{
    AllSubscriptionGroupRequest, DeleteGroup, GroupForbidden, GroupForbiddenRequest, GroupRequest,
    SubscriptionGroupConfig, SubscriptionGroupList,
};
use crate::wire::{Ext, loose_json};

impl Broker {
    pub(in crate::broker) fn update_group(
        &mut self,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        self.put_groups(vec![SubscriptionGroupConfig::decode(body)?], now_ms)
    }

    pub(in crate::broker) fn update_groups(
        &mut self,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let list: SubscriptionGroupList = loose_json::from_slice(body)?;
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

    /// All, or a page of them.
    pub(in crate::broker) fn all_groups(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let request = AllSubscriptionGroupRequest::decode(ext)?;
        let (from, most) = self.groups.version().page(
            request.group_seq,
            request.data_version,
            request.max_group_num,
        );
        let mut body = self.groups_file();
        let total = body.subscription_group_table.len();
        let groups = body.subscription_group_table.into_iter();
        body.subscription_group_table = groups.skip(from).take(most).collect();
        Ok(Reply::json(&body).with("totalGroupNum", total))
    }

    pub(in crate::broker) fn group_config(
        &mut self,
        ext: &Ext<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let group = GroupRequest::decode(ext)?.group;
        let config = self.find_or_create_group(group, now_ms);
        config.map(Reply::json).ok_or_else(|| missing_group(group))
    }

    /// Whether a group may read a topic; changed if the request says so.
    pub(in crate::broker) fn group_forbidden(
        &mut self,
        ext: &Ext<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let request = GroupForbiddenRequest::decode(ext)?;
        let (group, topic) = (request.group, request.topic);
        if let Some(readable) = request.readable
            && self.groups.set_readable(group, topic, readable, now_ms)
        {
            self.persist(ConfigFile::SubscriptionGroups);
        }
        Ok(Reply::json(&GroupForbidden {
            group: group.into(),
            readable: self.groups.may_read(group, topic),
            topic: topic.into(),
        }))
    }

    pub(in crate::broker) fn delete_group(
        &mut self,
        ext: &Ext<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let request = DeleteGroup::decode(ext)?;
        let group = request.group_name;
        if self.groups.remove(group, now_ms) {
            self.persist(ConfigFile::SubscriptionGroups);
            self.pops.forget_group(group);
        }
        if request.clean_offset {
            self.offsets.remove_group(group);
            self.persist(ConfigFile::ConsumerOffsets);
        }
        Ok(Reply::ok())
    }
}
