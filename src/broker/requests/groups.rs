//! Groups: 200, 201, 207, 225, 352, 353.

use super::pages::{Page, Table, TablePage};
use crate::broker::limits::MAX_QUEUES;
use crate::broker::refusal::missing_group;
use crate::broker::removal::GroupRemoval;
use crate::broker::rows::Sliced;
use crate::broker::step::Step;
use crate::broker::{Broker, ConfigFile, Refusal};
use crate::message::names;
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::group::{
    AllSubscriptionGroupRequest, DeleteGroup, GroupForbidden, GroupForbiddenRequest, GroupRequest,
    SubscriptionGroupConfig,
};

impl Broker {
    /// All of them or none.
    pub(super) fn update_groups(
        &mut self,
        configs: Vec<SubscriptionGroupConfig>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let invalid = |remark| Refusal::new(response::INVALID_PARAMETER, remark);
        for config in &configs {
            let SubscriptionGroupConfig {
                group_name,
                retry_queue_nums,
                ..
            } = config;
            names::check_group(group_name).map_err(invalid)?;
            // RocketMQ takes any number, and makes as many queues.
            if *retry_queue_nums > MAX_QUEUES {
                return Err(invalid(format!(
                    "group[{group_name}] wants retryQueueNums {retry_queue_nums}, limit {MAX_QUEUES}"
                )));
            }
        }
        for config in configs {
            self.groups.put(config, now_ms);
            self.persist(ConfigFile::SubscriptionGroups);
        }
        Ok(Reply::ok())
    }

    pub(super) fn all_groups(
        &self,
        asked: AllSubscriptionGroupRequest<'_>,
    ) -> Result<Step, Refusal> {
        let page = Page {
            begin: asked.group_seq,
            most: asked.max_group_num,
            version: asked.data_version,
            advice: "; ask for parts of it, with groupSeq, dataVersion and maxGroupNum",
        };
        let rows = TablePage::new(Table::Groups, &page, self);
        Ok(Sliced::step(rows.head(self), rows))
    }

    pub(super) fn group_config(
        &mut self,
        asked: GroupRequest<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let group = asked.group;
        let config = self.find_or_create_group(group, now_ms);
        config.map(Reply::json).ok_or_else(|| missing_group(group))
    }

    /// Whether a group may read a topic; the request may set it.
    pub(super) fn group_forbidden(
        &mut self,
        asked: GroupForbiddenRequest<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let (group, topic) = (asked.group, asked.topic);
        if let Some(readable) = asked.readable
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

    pub(super) fn delete_group(&mut self, asked: DeleteGroup<'_>, now_ms: u64) -> Step {
        let removal = GroupRemoval::begin(self, asked.group_name, asked.clean_offset, now_ms);
        Step::Work(Box::new(removal))
    }
}
