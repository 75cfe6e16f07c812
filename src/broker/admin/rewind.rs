//! Sending a group back or ahead: 222, and 314 (RocketMQ: `AdminBrokerProcessor.resetOffset`, `Broker2Client.resetOffset`).
//!
//! A rewind is admitted, then its targets are looked up in the queues (which may have to read the disk), then it is carried
//! out: by the broker itself, which tells the group's next pull of each queue, or, with `useServerSideResetOffset=false`,
//! by the group's clients.

use crate::broker::reply::{Reply, StoreView};
use crate::broker::topics::queue_count;
use crate::broker::{Broker, ConfigFile, Effect, Refusal};
use crate::wire::admin::{QueueOffset, ResetOffsetList};
use crate::wire::codes::{request, response};
use crate::wire::offset::{CloneGroupOffset, ResetOffset};
use crate::wire::stats::ResetOffsetBody;
use crate::wire::{Ext, Language, loose_json};

use super::relay::ClientRequest;

/// Where a group is to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewind {
    pub group: String,
    pub topic: String,
    pub queues: Vec<u32>,
    pub target: Target,
    timestamp_ms: i64,
    is_forced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Offset(u64),
    End,
    /// The first message that was stored at this time or later.
    Time(i64),
}

impl Broker {
    pub fn admit_rewind(&self, ext: &Ext<'_>, store: &dyn StoreView) -> Result<Rewind, Refusal> {
        let asked = ResetOffset::decode(ext)?;
        let (group, topic) = (asked.group, asked.topic);
        let Some(entry) = self.topics.find(topic) else {
            return Err(missing_topic(topic));
        };
        if !self.groups.contains(group) {
            return Err(missing_group(group));
        }
        let mut target = match asked.timestamp_ms {
            ..0 => Target::End,
            time_ms => Target::Time(time_ms),
        };
        let queues = match asked.queue_id.filter(|id| *id >= 0) {
            Some(id) if id as usize >= queue_count(&entry.config) => {
                let remark = format!("queueId[{id}] is illegal, topic is {topic}");
                return Err(Refusal::new(response::INVALID_PARAMETER, remark));
            }
            Some(id) => {
                let queue_id = id as u32;
                if let Some(offset) = asked.offset.filter(|offset| *offset != -1) {
                    let bounds = store.bounds(topic, queue_id);
                    let (min, max) = (bounds.min, bounds.max);
                    let offset = u64::try_from(offset)
                        .ok()
                        .filter(|offset| (min..=max + 1).contains(offset));
                    target = Target::Offset(offset.ok_or_else(|| {
                        let offset = asked.offset.unwrap_or(-1);
                        let remark = format!(
                            "Target offset {offset} not in consume queue range [{min}-{max}]"
                        );
                        Refusal::new(response::SYSTEM_ERROR, remark)
                    })?);
                }
                vec![queue_id]
            }
            None => (0..entry.config.read_queue_nums.max(0) as u32).collect(),
        };
        Ok(Rewind {
            group: group.into(),
            topic: topic.into(),
            queues,
            target,
            timestamp_ms: asked.timestamp_ms,
            is_forced: asked.force,
        })
    }

    /// Carries a rewind out, now that it is known where each queue is to go on.
    pub fn rewind(
        &mut self,
        rewind: &Rewind,
        offsets: &[(u32, u64)],
        language: Language,
    ) -> Result<Reply, Refusal> {
        if !self.config.server_side_reset {
            return self.rewind_clients(rewind, offsets, language);
        }
        let reply = self.reset_offsets(&rewind.group, &rewind.topic, offsets)?;
        self.persist(ConfigFile::ConsumerOffsets);
        Ok(reply)
    }

    /// The clients set their offsets themselves, and commit them.
    fn rewind_clients(
        &mut self,
        rewind: &Rewind,
        offsets: &[(u32, u64)],
        language: Language,
    ) -> Result<Reply, Refusal> {
        let (group, topic) = (&*rewind.group, &*rewind.topic);
        let mut body = ResetOffsetBody::default();
        for (queue_id, offset) in offsets {
            let committed = self.offsets.query(group, topic, *queue_id as i32);
            let Some(committed) = committed.filter(|committed| *committed >= 0) else {
                let remark = format!("THe consumer group <{group}> not exist");
                return Err(Refusal::new(response::SYSTEM_ERROR, remark));
            };
            let offset = *offset as i64;
            let offset = match rewind.is_forced {
                true => offset,
                false => offset.min(committed),
            };
            body.offset_table
                .insert(self.message_queue(topic, *queue_id), offset);
        }
        let conns = match self.clients.consumers(group) {
            Some(members) => members.connections().map(|(conn, _)| conn).collect(),
            None => Vec::new(),
        };
        if conns.is_empty() {
            return Err(Refusal::new(
                response::CONSUMER_NOT_ONLINE,
                format!(
                    "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {}",
                    rewind.timestamp_ms
                ),
            ));
        }
        let text = match language {
            Language::Cpp => loose_json::to_vec(&list(&body)),
            _ => loose_json::to_vec(&body),
        };
        let request = ClientRequest {
            code: request::RESET_CONSUMER_CLIENT_OFFSET,
            ext: vec![
                ("topic".into(), topic.into()),
                ("group".into(), group.into()),
                ("timestamp".into(), rewind.timestamp_ms.to_string()),
                ("isForce".into(), rewind.is_forced.to_string()),
            ],
            body: text,
        };
        self.effects.push(Effect::Tell { conns, request });
        Ok(Reply::json(&body))
    }

    /// A group takes over another's offsets. (RocketMQ does nothing if no topic is named.)
    pub(in crate::broker) fn clone_offsets(&mut self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let asked = CloneGroupOffset::decode(ext)?;
        let from = asked.src_group;
        let topics = match asked.topic.filter(|topic| !topic.trim().is_empty()) {
            Some(topic) => vec![topic],
            None => self.offsets.topics_of(from),
        };
        let online = self
            .clients
            .consumers(from)
            .filter(|group| !asked.offline && group.has_subscriptions());
        let topics = topics.into_iter().filter(|topic| {
            let is_subscribed = online.is_none_or(|group| group.subscription(topic).is_some());
            self.topics.contains(topic) && is_subscribed
        });
        let topics: Vec<String> = topics.map(str::to_owned).collect();
        for topic in &topics {
            self.offsets.clone_group(from, asked.dest_group, topic);
        }
        if !topics.is_empty() {
            self.persist(ConfigFile::ConsumerOffsets);
        }
        Ok(Reply::ok())
    }
}

fn list(body: &ResetOffsetBody) -> ResetOffsetList {
    let offsets = body.offset_table.iter();
    ResetOffsetList {
        offset_table: offsets
            .map(|(queue, offset)| QueueOffset {
                broker_name: queue.broker_name.clone(),
                offset: *offset,
                queue_id: queue.queue_id,
                topic: queue.topic.clone(),
            })
            .collect(),
    }
}

pub(super) fn missing_topic(topic: &str) -> Refusal {
    Refusal::new(
        response::TOPIC_NOT_EXIST,
        format!("Topic {topic} does not exist"),
    )
}

fn missing_group(group: &str) -> Refusal {
    Refusal::new(
        response::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("Group {group} does not exist"),
    )
}
