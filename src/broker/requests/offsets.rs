//! Offsets of groups and bounds of queues: 14, 15, 30, 31, 43, 308, 314 (RocketMQ: `ConsumerManageProcessor`,
//! `AdminBrokerProcessor`).

use std::collections::BTreeMap;
use std::ops::Bound;

use hashbrown::HashSet;

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

/// A field of the answer to 43: what its offsets refer to was written to the log before this position. RocketMQ has nothing of the kind, and its
/// slaves ignore it.
pub const LOG_END: &str = "ringmqLogEnd";

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
        self.offsets
            .keep_commit(group, topic, queue_id, asked.commit_offset);
        Ok(Reply::ok())
    }

    pub(super) fn all_offsets(&self) -> Result<Step, Refusal> {
        let version = loose_json::to_vec(&self.offsets.version());
        let version = String::from_utf8_lossy(&version);
        let head = format!(r#"{{"dataVersion":{version},"offsetTable":{{"#);
        let rows = AllOffsets {
            row: None,
            queue_id: None,
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
            stage: Stage::Gather {
                group: None,
                is_read: true,
            },
            queue_id: None,
            least: BTreeMap::new(),
            out: Json::new(r#"{"correctionOffsets":{"#.into()),
        }))
    }

    /// A group takes over another's offsets. (RocketMQ does nothing if no topic is named.)
    pub(super) fn clone_offsets(&self, asked: CloneGroupOffset<'_>) -> Step {
        let named = asked.topic.filter(|topic| !topic.trim().is_empty());
        Step::Work(Box::new(CloneOffsets {
            from: asked.src_group.into(),
            to: asked.dest_group.into(),
            begun: None,
            only: named.map(str::to_owned),
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

/// All committed offsets. (What groups have pulled is of the file only.) A row of `offsetTable` is a group in a topic; its queues may be
/// more than one slice has. The field [`LOG_END`] says for which log they are: a pop moves its group's offset with its check point, and a consumer
/// commits behind a message that it has sent back. A slave that had the offset and not that record would skip the message.
#[derive(Clone, Debug)]
struct AllOffsets {
    /// The topic and the group of the last row.
    row: Option<(String, String)>,
    /// The last queue of it that was written; `None`: its row is complete.
    queue_id: Option<i32>,
}

impl Rows for AllOffsets {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let offsets = &at.broker.offsets;
        let mut left = ROWS_PER_TURN;
        while left > 0 {
            let begun = self.row.as_ref().zip(self.queue_id);
            let (queues, after) = match begun {
                Some(((topic, group), queue_id)) => (offsets.of(group, topic), Some(queue_id)),
                None => {
                    let row = self.row.as_ref();
                    let row = row.map(|(topic, group)| (&**topic, &**group));
                    let Some((topic, group, queues)) = offsets.after(row).next() else {
                        return Ok(true);
                    };
                    out.comma();
                    out.value(&format!("{topic}@{group}"));
                    out.text(":{");
                    self.row = Some((topic.to_owned(), group.to_owned()));
                    (Some(queues), None)
                }
            };
            let mut behind = queues.into_iter().flat_map(|queues| behind(queues, after));
            self.queue_id = None;
            for (queue_id, offset) in behind.by_ref().take(left) {
                out.number(*queue_id, *offset)?;
                self.queue_id = Some(*queue_id);
                left -= 1;
            }
            if behind.next().is_none() {
                out.text("}");
                out.go_on();
                self.queue_id = None;
                left = left.saturating_sub(1);
            }
        }
        Ok(false)
    }

    fn finish(&self, at: &Now<'_>, out: &mut Json) -> Reply {
        out.text("}}");
        Reply::ok().with(LOG_END, at.store.log_end())
    }
}

/// Those of the queues behind this one.
fn behind(queues: &QueueOffsetMap, queue_id: Option<i32>) -> impl Iterator<Item = (&i32, &i64)> {
    let from = queue_id.map_or(Bound::Unbounded, Bound::Excluded);
    queues.range((from, Bound::Unbounded))
}

#[derive(Debug)]
struct CorrectionOffsets {
    topic: String,
    compare: String,
    left_out: HashSet<String>,
    stage: Stage,
    /// The last queue of the stage that was looked at, or of its group.
    queue_id: Option<i32>,
    least: BTreeMap<i32, i64>,
    out: Json,
}

#[derive(Debug)]
enum Stage {
    /// The least offset of each queue.
    Gather {
        group: Option<String>,
        /// All queues of the group have been looked at.
        is_read: bool,
    },
    /// A queue in which another group is behind all of them has no offset to go by.
    Compare,
    Write,
}

impl Work for CorrectionOffsets {
    fn turn(&mut self, broker: &mut Broker, at: At<'_>) -> Result<Progress, Refusal> {
        let mut left = ROWS_PER_TURN;
        while left > 0 {
            match &self.stage {
                Stage::Gather { .. } => self.gather(broker, at, &mut left),
                Stage::Compare => self.compare(broker, &mut left),
                Stage::Write => {
                    let from = self.queue_id.map_or(Bound::Unbounded, Bound::Excluded);
                    for (queue_id, offset) in self.least.range((from, Bound::Unbounded)).take(left)
                    {
                        self.out.number(*queue_id, *offset)?;
                        self.queue_id = Some(*queue_id);
                        left -= 1;
                    }
                    if left > 0 {
                        self.out.text("}}");
                        let body = self.out.take();
                        return Ok(Progress::Done(Reply {
                            body,
                            ..Reply::ok()
                        }));
                    }
                }
            }
        }
        Ok(Progress::More)
    }
}

impl CorrectionOffsets {
    /// Looks at the next queues of the group, or goes on to the next group.
    fn gather(&mut self, broker: &Broker, at: At<'_>, left: &mut usize) {
        let Stage::Gather { group, is_read } = &mut self.stage else {
            return;
        };
        if *is_read {
            let next = {
                let mut groups = broker
                    .offsets
                    .groups_of_after(&self.topic, group.as_deref());
                groups.next().map(str::to_owned)
            };
            *left -= 1;
            let Some(next) = next else {
                (self.stage, self.queue_id) = (Stage::Compare, None);
                return;
            };
            *is_read = self.left_out.contains(&next);
            (*group, self.queue_id) = (Some(next), None);
            return;
        }
        let group = group.as_deref().unwrap_or_default();
        let (queues, after) = (broker.offsets.of(group, &self.topic), self.queue_id);
        let behind = queues.into_iter().flat_map(|queues| behind(queues, after));
        for (queue_id, offset) in behind.take(*left) {
            let min = at.store.bounds(&self.topic, (*queue_id).max(0) as u32).min as i64;
            if *offset >= min {
                let known = self.least.entry(*queue_id).or_insert(*offset);
                *known = (*known).min(*offset);
            }
            self.queue_id = Some(*queue_id);
            *left -= 1;
        }
        *is_read = *left > 0;
    }

    fn compare(&mut self, broker: &Broker, left: &mut usize) {
        let (queues, after) = (broker.offsets.of(&self.compare, &self.topic), self.queue_id);
        let behind = queues.into_iter().flat_map(|queues| behind(queues, after));
        for (queue_id, offset) in behind.take(*left) {
            if let Some(known) = self.least.get_mut(queue_id)
                && *known > *offset
            {
                *known = i64::MAX;
            }
            self.queue_id = Some(*queue_id);
            *left -= 1;
        }
        if *left > 0 {
            (self.stage, self.queue_id) = (Stage::Write, None);
        }
    }
}

#[derive(Debug)]
struct CloneOffsets {
    from: String,
    to: String,
    /// The only topic; `None`: all.
    only: Option<String>,
    /// The topic whose offsets are being taken over, or were the last time, and the last queue of them if there may be more.
    begun: Option<(String, Option<i32>)>,
    is_offline: bool,
}

impl Work for CloneOffsets {
    fn turn(&mut self, broker: &mut Broker, _: At<'_>) -> Result<Progress, Refusal> {
        let mut left = ROWS_PER_TURN;
        while left > 0 {
            let (topic, after) = match self.begun.take() {
                Some((topic, after @ Some(_))) => (topic, after),
                before => {
                    let before = before.map(|(topic, _)| topic);
                    let Some(topic) = self.topic_behind(broker, before.as_deref()) else {
                        return Ok(Progress::Done(Reply::ok()));
                    };
                    (topic, None)
                }
            };
            left -= 1;
            let mut last = None;
            if after.is_some() || broker.is_cloned(&self.from, &topic, self.is_offline) {
                // A slice of its own for the rest of a large topic.
                let most = ROWS_PER_TURN;
                let (from, to) = (&*self.from, &*self.to);
                last = broker.offsets.clone_some(from, to, &topic, after, most);
                broker.persist(ConfigFile::ConsumerOffsets);
                let queues = broker.offsets.of(from, &topic);
                left = left.saturating_sub(queues.map_or(0, QueueOffsetMap::len));
            }
            self.begun = Some((topic, last));
        }
        Ok(Progress::More)
    }
}

impl CloneOffsets {
    fn topic_behind(&self, broker: &Broker, topic: Option<&str>) -> Option<String> {
        match (&self.only, topic) {
            (Some(only), None) => Some(only.clone()),
            (Some(_), Some(_)) => None,
            (None, topic) => {
                let mut topics = broker.offsets.topics_after(&self.from, topic);
                topics.next().map(str::to_owned)
            }
        }
    }
}
