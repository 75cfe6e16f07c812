//! Sending a group back or ahead: 222, and 314 (RocketMQ: `AdminBrokerProcessor.resetOffset`, `Broker2Client.resetOffset`).
//!
//! A rewind is admitted, then its targets are looked up in the queues (which may have to read the disk), then it is carried
//! out: by the broker itself, which answers the group's next pull of each queue with it, or, with `useServerSideResetOffset=false`,
//! by the group's clients.

use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::rows::Json;
use crate::broker::step::{ClientRequest, Progress, Rewind, Step, Target, Work};
use crate::broker::store_view::{At, StoreView};
use crate::broker::topics::queue_count;
use crate::broker::{Broker, ConfigFile, Effect, Refusal};
use crate::wire::Language;
use crate::wire::Reply;
use crate::wire::admin::QueueOffset;
use crate::wire::codes::{request, response};
use crate::wire::offset::ResetOffset;

impl Broker {
    pub(in crate::broker) fn admit_rewind(
        &self,
        asked: ResetOffset<'_>,
        store: &dyn StoreView,
    ) -> Result<Rewind, Refusal> {
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
    ) -> Result<Step, Refusal> {
        match self.config.server_side_reset {
            true => self.reset_offsets(&rewind.group, &rewind.topic, offsets),
            false => Ok(Step::Work(Box::new(TellClients::new(
                rewind, offsets, language,
            )))),
        }
    }

    /// Sends a group to these offsets (222), which the caller has found by time or has been given: its next pull of each
    /// queue is answered with the offset, and until then its own commits do not count.
    pub fn reset_offsets(
        &self,
        group: &str,
        topic: &str,
        offsets: &[(u32, u64)],
    ) -> Result<Step, Refusal> {
        self.check_reset(group, topic)?;
        if offsets.is_empty() {
            let remark = "No queues to reset.";
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        Ok(Step::Work(Box::new(Resets {
            group: group.into(),
            topic: topic.into(),
            offsets: Vec::from(offsets).into_iter(),
            out: Json::new(r#"{"offsetTable":{"#.into()),
        })))
    }

    fn check_reset(&self, group: &str, topic: &str) -> Result<(), Refusal> {
        if !self.topics.contains(topic) {
            return Err(missing_topic(topic));
        }
        match self.groups.contains(group) {
            true => Ok(()),
            false => Err(missing_group(group)),
        }
    }
}

/// Offsets that are reset, a slice in each turn.
#[derive(Debug)]
struct Resets {
    group: String,
    topic: String,
    /// Queues, and where they are to go on.
    offsets: std::vec::IntoIter<(u32, u64)>,
    out: Json,
}

impl Work for Resets {
    fn turn(&mut self, broker: &mut Broker, _: At<'_>) -> Result<Progress, Refusal> {
        let (group, topic) = (&*self.group, &*self.topic);
        broker.check_reset(group, topic)?;
        for (queue_id, offset) in self.offsets.by_ref().take(ROWS_PER_TURN) {
            let offset = offset as i64;
            broker.offsets.reset(group, topic, queue_id as i32, offset);
            let queue = broker.message_queue(topic, queue_id);
            self.out.member(&queue, &offset)?;
        }
        broker.persist(ConfigFile::ConsumerOffsets);
        if self.offsets.len() > 0 {
            return Ok(Progress::More);
        }
        self.out.text("}}");
        let body = self.out.take();
        Ok(Progress::Done(Reply {
            body,
            ..Reply::ok()
        }))
    }
}

/// The offsets are sent to the clients, which set and commit them themselves (220). A slice of the text is made in each turn.
#[derive(Debug)]
struct TellClients {
    /// Without its queues.
    rewind: Rewind,
    offsets: std::vec::IntoIter<(u32, u64)>,
    /// The body of the answer, and of the request to the clients.
    out: Json,
    /// The body of the request to clients in C++, which read a list.
    list: Option<Json>,
}

impl TellClients {
    fn new(rewind: &Rewind, offsets: &[(u32, u64)], language: Language) -> Self {
        let list = || Json::new(r#"{"offsetTable":["#.into());
        Self {
            rewind: Rewind {
                group: rewind.group.clone(),
                topic: rewind.topic.clone(),
                queues: Vec::new(),
                ..*rewind
            },
            offsets: Vec::from(offsets).into_iter(),
            out: Json::new(r#"{"offsetTable":{"#.into()),
            list: (language == Language::Cpp).then(list),
        }
    }

    fn add(&mut self, broker: &Broker, queue_id: u32, offset: u64) -> Result<(), Refusal> {
        let (group, topic) = (&*self.rewind.group, &*self.rewind.topic);
        let committed = broker.offsets.query(group, topic, queue_id as i32);
        let Some(committed) = committed.filter(|committed| *committed >= 0) else {
            let remark = format!("THe consumer group <{group}> not exist");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        let offset = match self.rewind.is_forced {
            true => offset as i64,
            false => committed.min(offset as i64),
        };
        let queue = broker.message_queue(topic, queue_id);
        self.out.member(&queue, &offset)?;
        match &mut self.list {
            Some(list) => list.element(&QueueOffset {
                broker_name: queue.broker_name,
                offset,
                queue_id: queue.queue_id,
                topic: queue.topic,
            }),
            None => Ok(()),
        }
    }

    fn tell(&mut self, broker: &mut Broker) -> Result<Reply, Refusal> {
        let Rewind {
            group,
            topic,
            timestamp_ms,
            is_forced,
            ..
        } = &self.rewind;
        let conns = match broker.clients.consumers(group) {
            Some(members) => members.connections().map(|(conn, _)| conn).collect(),
            None => Vec::new(),
        };
        if conns.is_empty() {
            return Err(Refusal::new(
                response::CONSUMER_NOT_ONLINE,
                format!(
                    "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {timestamp_ms}"
                ),
            ));
        }
        self.out.text("}}");
        let body = self.out.take();
        let told = match &mut self.list {
            Some(list) => {
                list.text("]}");
                list.take()
            }
            None => body.clone(),
        };
        let request = ClientRequest {
            code: request::RESET_CONSUMER_CLIENT_OFFSET,
            ext: vec![
                ("topic".into(), topic.clone()),
                ("group".into(), group.clone()),
                ("timestamp".into(), timestamp_ms.to_string()),
                ("isForce".into(), is_forced.to_string()),
            ],
            body: told,
        };
        broker.effects.push(Effect::Tell { conns, request });
        Ok(Reply {
            body,
            ..Reply::ok()
        })
    }
}

impl Work for TellClients {
    fn turn(&mut self, broker: &mut Broker, _: At<'_>) -> Result<Progress, Refusal> {
        for _ in 0..ROWS_PER_TURN {
            let Some((queue_id, offset)) = self.offsets.next() else {
                return Ok(Progress::Done(self.tell(broker)?));
            };
            self.add(broker, queue_id, offset)?;
        }
        Ok(Progress::More)
    }
}

fn missing_topic(topic: &str) -> Refusal {
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
