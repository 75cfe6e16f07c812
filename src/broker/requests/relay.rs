//! What a client is asked on an administrator's behalf: 307, 309 and 223 (RocketMQ: `AdminBrokerProcessor.callConsumer`,
//! `Broker2Client.getConsumeStatus`). The reactor asks the client and waits for its answer.

use crate::broker::clients::Member;
use crate::broker::limits::MAX_STATUS_BYTES;
use crate::broker::rows::Json;
use crate::broker::step::{ClientRequest, Relay, StatusAsked};
use crate::broker::{Broker, ConnId, Refusal};
use crate::message::ids::parse_offset_message_id;
use crate::wire::admin::QueueOffsets;
use crate::wire::auth::OF_SIGNATURE;
use crate::wire::codes::{V3_1_8_SNAPSHOT, request, response};
use crate::wire::consumer::{ConsumeMessageDirectly, ConsumerRunningInfo};
use crate::wire::offset::ConsumerStatusRequest;
use crate::wire::stats::ConsumerStatusBody;
use crate::wire::{Ext, Reply, loose_json};

impl Broker {
    /// What a consumer is doing, with the stacks of its threads if that is wished for.
    pub(in crate::broker) fn relay_running_info(
        &self,
        asked: ConsumerRunningInfo<'_>,
        ext: &Ext<'_>,
    ) -> Result<Relay, Refusal> {
        self.relay(
            request::GET_CONSUMER_RUNNING_INFO,
            asked.consumer_group,
            asked.client_id,
            ext,
        )
    }

    /// A message that a consumer is to consume at once; also where it is in the log, for the request's body.
    pub(in crate::broker) fn relay_message(
        &self,
        asked: ConsumeMessageDirectly<'_>,
        ext: &Ext<'_>,
    ) -> Result<(Relay, u64), Refusal> {
        let message_id = asked.msg_id.unwrap_or("");
        let (_, physical_offset) = parse_offset_message_id(message_id)
            .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
        let mut relay = self.relay(
            request::CONSUME_MESSAGE_DIRECTLY,
            asked.consumer_group,
            asked.client_id.unwrap_or(""),
            ext,
        )?;
        let mut put = |name: &str, value: String| {
            let fields = &mut relay.request.ext;
            fields.retain(|(known, _)| known != name);
            fields.push((name.into(), value));
        };
        put("brokerName", self.config.broker_name.clone());
        if let Some(topic) = asked.topic.and_then(|topic| self.topics.find(topic)) {
            put("topicSysFlag", topic.config.topic_sys_flag.to_string());
        }
        if let Some(group) = self.groups.find(asked.consumer_group) {
            put("groupSysFlag", group.group_sys_flag.to_string());
        }
        Ok((relay, physical_offset))
    }

    /// How far each client of a group is, or the one that is named. RocketMQ answers a group that is not online with a null pointer, and
    /// we as it answers one whose clients have just gone.
    pub(in crate::broker) fn relay_status(
        &self,
        asked: ConsumerStatusRequest<'_>,
    ) -> Result<StatusAsked, Refusal> {
        let group = asked.group;
        if self.clients.consumers(group).is_none() {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("No Any Consumer online in the consumer group: [{group}]"),
            ));
        }
        let client_id = asked.client_addr.filter(|id| !id.trim().is_empty());
        Ok(StatusAsked {
            group: group.into(),
            topic: asked.topic.into(),
            client_id: client_id.map(str::to_owned),
            after: None,
        })
    }

    /// Looks at `looked_at` further clients of the group at most; what to ask those among them that are to be asked, `most` at most.
    /// `None`: there are no more.
    pub fn next_to_ask(
        &self,
        asked: &mut StatusAsked,
        most: usize,
        looked_at: usize,
    ) -> Option<Vec<Relay>> {
        let members = self.clients.consumers(&asked.group)?;
        let before = asked.after;
        let mut chosen = Vec::new();
        for (conn, member) in members.members_after(before).take(looked_at) {
            if chosen.len() == most {
                break;
            }
            asked.after = Some(conn);
            let wanted = asked.client_id.as_ref();
            if wanted.is_none_or(|wanted| *wanted == member.client_id) {
                chosen.push(Relay {
                    conn,
                    name: member.client_id.clone(),
                    request: ClientRequest {
                        code: request::GET_CONSUMER_STATUS_FROM_CLIENT,
                        ext: vec![
                            ("topic".into(), asked.topic.clone()),
                            ("group".into(), asked.group.clone()),
                        ],
                        body: Vec::new(),
                    },
                });
            }
        }
        (asked.after != before).then_some(chosen)
    }

    fn relay(
        &self,
        code: i32,
        group: &str,
        client_id: &str,
        ext: &Ext<'_>,
    ) -> Result<Relay, Refusal> {
        let (conn, member) = self.find_consumer(group, client_id).ok_or_else(|| {
            let remark = format!("The Consumer <{group}> <{client_id}> not online");
            Refusal::new(response::SYSTEM_ERROR, remark)
        })?;
        if member.version < V3_1_8_SNAPSHOT {
            let remark = format!(
                "The Consumer <{client_id}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
                member.version
            );
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        }
        // A signature is good for other requests, too: it is for nobody behind this broker.
        let fields = ext.iter().filter(|(name, _)| !OF_SIGNATURE.contains(name));
        Ok(Relay {
            conn,
            name: format!("<{group}> <{client_id}>"),
            request: ClientRequest {
                code,
                ext: fields
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect(),
                body: Vec::new(),
            },
        })
    }

    fn find_consumer(&self, group: &str, client_id: &str) -> Option<(ConnId, &Member)> {
        let members = self.clients.consumers(group)?;
        members
            .connections()
            .find(|(_, member)| member.client_id == client_id)
    }
}

/// How far clients are, as one answer, to which each client's own answer is added when it comes.
#[derive(Debug)]
pub struct StatusTable {
    out: Json,
}

impl Default for StatusTable {
    fn default() -> Self {
        let out = Json::new(r#"{"consumerTable":{"#.into());
        Self { out }
    }
}

impl StatusTable {
    /// Adds a client's answer. One that cannot be read, or that takes long to read, is left out.
    pub fn add(&mut self, client_id: &str, answer: &[u8]) -> Result<(), Refusal> {
        if answer.len() > MAX_STATUS_BYTES {
            return Ok(());
        }
        match loose_json::from_slice::<ConsumerStatusBody>(answer) {
            Ok(status) => {
                let offsets = QueueOffsets(status.message_queue_table);
                self.out.member(client_id, &offsets)
            }
            Err(_) => Ok(()),
        }
    }

    pub fn into_reply(mut self) -> Reply {
        self.out.text(r#"},"messageQueueTable":{}}"#);
        Reply::ok().with_body(self.out.take())
    }
}
