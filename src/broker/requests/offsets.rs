//! Offsets of groups and bounds of queues: 14, 15, 30, 31, 43, 308, 314 (RocketMQ: `ConsumerManageProcessor`,
//! `AdminBrokerProcessor`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::Request;
use crate::broker::limits::{MAX_QUEUES, ROWS_PER_TURN};
use crate::broker::offsets::QueueOffsetMap;
use crate::broker::rows::{Json, Now, Rows, Sliced};
use crate::broker::step::{Progress, Step, Work};
use crate::broker::store_view::{At, StoreView, starts_recently};
use crate::broker::{Broker, ConfigFile, Refusal};
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::offset::{
    CloneGroupOffset, QueryConsumerOffset, QueueRequest, UpdateConsumerOffset,
};
use crate::wire::topic::TopicRequest;
use crate::wire::{Ext, loose_json};

impl Broker {
    /// A group without an offset starts at 0 in a queue whose first message is recent, whatever the client would have chosen
    /// (RocketMQ asks whether that message is in memory). Elsewhere the client chooses: it must not replay a log of days because
    /// its group is new.
    pub(super) fn query_offset(
        &mut self,
        asked: QueryConsumerOffset<'_>,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        let (group, topic, queue_id) = (asked.consumer_group, asked.topic, asked.queue_id);
        let missing = |remark| Err(Refusal::new(response::QUERY_NOT_FOUND, remark));
        if let Some(offset) = self.offsets.query(group, topic, queue_id)
            && offset >= 0
        {
            self.offsets.tell_reset(group, topic, queue_id);
            return Ok(Reply::ok().with("offset", offset));
        }
        if asked.set_zero_if_not_found == Some(false) {
            return missing("Not found, do not set to zero, maybe this group boot first");
        }
        match u32::try_from(queue_id) {
            Ok(id) if starts_recently(store, store.bounds(topic, id), topic, id) => {
                Ok(Reply::ok().with("offset", 0))
            }
            _ => missing("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first"),
        }
    }

    pub(super) fn update_offset(
        &mut self,
        asked: UpdateConsumerOffset<'_>,
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let (group, topic, queue_id) = (asked.consumer_group, asked.topic, asked.queue_id);
        if !self.groups.contains(group) {
            return Err(Refusal::new(
                response::SUBSCRIPTION_GROUP_NOT_EXIST,
                format!("Group {group} not exist!"),
            ));
        }
        if !self.topics.contains(topic) {
            return Err(Refusal::new(
                response::TOPIC_NOT_EXIST,
                format!("Topic {topic} not exist!"),
            ));
        }
        if !(0..MAX_QUEUES).contains(&queue_id) {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!("queueId[{queue_id}] is illegal, topic is {topic}"),
            ));
        }
        if self.offsets.has_reset(group, topic, queue_id) {
            return Ok(Reply::ok().remark("Offset has been previously reset"));
        }
        self.offsets
            .commit(group, topic, queue_id, asked.commit_offset, now_ms);
        Ok(Reply::ok())
    }

    pub(super) fn all_offsets(&self) -> Result<Step, Refusal> {
        let version = loose_json::to_vec(&self.offsets.version());
        let version = String::from_utf8_lossy(&version);
        let head = format!(r#"{{"dataVersion":{version},"offsetTable":{{"#);
        let rows = AllOffsets {
            topic: None,
            group: None,
        };
        Ok(Sliced::step(head, rows))
    }

    /// For each queue the least offset of all groups in the topic, without those to be left out (RocketMQ:
    /// `queryCorrectionOffset`, which forgets their offsets as well; this broker does not).
    pub(super) fn correction_offsets(&self, asked: TopicRequest<'_>, ext: &Ext<'_>) -> Step {
        let left_out = ext.find("filterGroups").unwrap_or("").split(',');
        Step::Work(Box::new(CorrectionOffsets {
            topic: asked.topic.into(),
            compare: ext.find("compareGroup").unwrap_or("").into(),
            left_out: left_out.map(str::to_owned).collect(),
            groups: self
                .offsets
                .groups_of(asked.topic)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            least: BTreeMap::new(),
        }))
    }

    /// A group takes over another's offsets. (RocketMQ does nothing if no topic is named.)
    pub(super) fn clone_offsets(&self, asked: CloneGroupOffset<'_>) -> Step {
        let named = asked.topic.filter(|topic| !topic.trim().is_empty());
        Step::Work(Box::new(CloneOffsets {
            from: asked.src_group.into(),
            to: asked.dest_group.into(),
            topic: named.map(str::to_owned),
            after: None,
            is_offline: asked.offline,
        }))
    }

    /// Whether the group's offsets in the topic are to be taken over.
    fn is_cloned(&self, from: &str, topic: &str, is_offline: bool) -> bool {
        let online = self.clients.consumers(from);
        let online = online.filter(|group| !is_offline && group.has_subscriptions());
        self.topics.contains(topic)
            && online.is_none_or(|group| group.subscription(topic).is_some())
    }
}

pub(super) fn max_offset(asked: QueueRequest<'_>, request: &Request<'_>) -> Result<Reply, Refusal> {
    let queue_id = u32::try_from(asked.queue_id).ok();
    let bounds = queue_id.map(|id| request.store.bounds(asked.topic, id));
    Ok(Reply::ok().with("offset", bounds.map_or(0, |bounds| bounds.max)))
}

pub(super) fn min_offset(asked: QueueRequest<'_>, request: &Request<'_>) -> Result<Reply, Refusal> {
    let queue_id = u32::try_from(asked.queue_id).ok();
    let bounds = queue_id.map(|id| request.store.bounds(asked.topic, id));
    Ok(Reply::ok().with("offset", bounds.map_or(0, |bounds| bounds.min)))
}

/// All committed offsets. (What groups have pulled is of the file only.)
#[derive(Clone, Debug)]
struct AllOffsets {
    /// The last row's.
    topic: Option<String>,
    group: Option<String>,
}

impl Rows for AllOffsets {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let mut left = ROWS_PER_TURN;
        while left > 0 {
            let offsets = &at.broker.offsets;
            let after = self.topic.as_deref().zip(self.group.as_deref());
            let Some((topic, group, queues)) = offsets.after(after).next() else {
                return Ok(true);
            };
            out.member(&format!("{topic}@{group}"), queues)?;
            left = left.saturating_sub(queues.len().max(1));
            let place = (topic.to_owned(), group.to_owned());
            (self.topic, self.group) = (Some(place.0), Some(place.1));
        }
        Ok(false)
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text("}}");
        Reply::ok()
    }
}

#[derive(Debug)]
struct CorrectionOffsets {
    topic: String,
    compare: String,
    left_out: Vec<String>,
    /// Those that are left.
    groups: Vec<String>,
    least: BTreeMap<i32, i64>,
}

impl Work for CorrectionOffsets {
    fn turn(&mut self, broker: &mut Broker, at: At<'_>) -> Result<Progress, Refusal> {
        let mut left = ROWS_PER_TURN;
        while left > 0 {
            let Some(group) = self.groups.pop() else {
                return Ok(Progress::Done(self.reply(broker)));
            };
            left -= 1;
            if self.left_out.contains(&group) {
                continue;
            }
            let queues = broker.offsets.of(&group, &self.topic);
            left = left.saturating_sub(queues.map_or(0, QueueOffsetMap::len));
            for (queue_id, offset) in queues.into_iter().flatten() {
                let min = at.store.bounds(&self.topic, (*queue_id).max(0) as u32).min as i64;
                if *offset >= min {
                    let known = self.least.entry(*queue_id).or_insert(*offset);
                    *known = (*known).min(*offset);
                }
            }
        }
        Ok(Progress::More)
    }
}

impl CorrectionOffsets {
    fn reply(&mut self, broker: &Broker) -> Reply {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            correction_offsets: BTreeMap<i32, i64>,
        }
        let compared = broker.offsets.of(&self.compare, &self.topic);
        for (queue_id, offset) in compared.into_iter().flatten() {
            if let Some(known) = self.least.get_mut(queue_id)
                && *known > *offset
            {
                *known = i64::MAX;
            }
        }
        Reply::json(&Body {
            correction_offsets: std::mem::take(&mut self.least),
        })
    }
}

#[derive(Debug)]
struct CloneOffsets {
    from: String,
    to: String,
    /// The only one, or all.
    topic: Option<String>,
    after: Option<String>,
    is_offline: bool,
}

impl Work for CloneOffsets {
    fn turn(&mut self, broker: &mut Broker, _: At<'_>) -> Result<Progress, Refusal> {
        let topics: Vec<String> = match self.topic.take() {
            Some(topic) => vec![topic],
            None => {
                let topics = broker
                    .offsets
                    .topics_after(&self.from, self.after.as_deref());
                topics.take(ROWS_PER_TURN).map(str::to_owned).collect()
            }
        };
        for topic in &topics {
            if broker.is_cloned(&self.from, topic, self.is_offline) {
                broker.offsets.clone_group(&self.from, &self.to, topic);
                broker.persist(ConfigFile::ConsumerOffsets);
            }
        }
        let is_last = topics.len() < ROWS_PER_TURN;
        self.after = topics.into_iter().last();
        Ok(match is_last {
            true => Progress::Done(Reply::ok()),
            false => Progress::More,
        })
    }
}
