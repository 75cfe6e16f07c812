//! Replies to requests (`producer.request`): a reply is a message that is handed to the client which waits for it, and
//! stored besides (RocketMQ: `ReplyMessageProcessor`).

use super::clients::Peer;
use super::{Broker, ConnId, Refusal, SendPlan};
use crate::message::properties;
use crate::wire::send::{PushReply, SendRequest};

/// What becomes of a reply.
#[derive(Clone, Debug)]
pub struct ReplyPlan<'a> {
    /// As of a sent message; None: replies are not stored.
    pub stored: Option<SendPlan<'a>>,
    /// The client that waits for it, or why there is none.
    pub asker: Result<Asker, String>,
    pub queue_id: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    pub conn: ConnId,
    pub client_id: String,
}

impl Broker {
    /// Decides on a reply. `Err` is the answer to its sender.
    pub fn admit_reply<'a>(
        &mut self,
        request: &SendRequest<'a>,
        body: &'a [u8],
        peer: &Peer,
        now_ms: u64,
    ) -> Result<ReplyPlan<'a>, Refusal> {
        let single = SendRequest {
            batch: false,
            ..*request
        };
        let plan = self.admit_send(&single, body, peer, now_ms)?;
        Ok(ReplyPlan {
            queue_id: plan.queue_id,
            asker: self.asker(request.properties.unwrap_or("")),
            stored: self.config.store_replies.then_some(plan),
        })
    }

    fn asker(&self, properties: &str) -> Result<Asker, String> {
        let Some(client_id) = properties::find(properties, properties::REPLY_TO_CLIENT) else {
            return Err(format!(
                "reply message properties[{}] is null",
                properties::REPLY_TO_CLIENT
            ));
        };
        match self.clients.producer_conn(client_id) {
            Some(conn) => Ok(Asker {
                conn,
                client_id: client_id.into(),
            }),
            None => Err(format!(
                "push reply message fail, channel of <{client_id}> not found."
            )),
        }
    }
}

/// The properties as the asker gets them: with the time at which it gets them.
pub fn pushed_properties(client_properties: &str, now_ms: u64) -> String {
    let mut text = client_properties.to_owned();
    if !text.is_empty() && !text.ends_with(char::from(properties::PROPERTY_SEPARATOR)) {
        text.push(char::from(properties::PROPERTY_SEPARATOR));
    }
    properties::push(&mut text, properties::PUSH_REPLY_TIME, &now_ms.to_string());
    text
}

/// What goes to the asker: what was sent, with the hosts and times that a stored message would have.
pub fn push<'a>(
    request: &SendRequest<'a>,
    properties: &'a str,
    hosts: &'a Hosts,
    now_ms: u64,
) -> PushReply<'a> {
    PushReply {
        producer_group: request.producer_group,
        topic: request.topic,
        default_topic: request.default_topic,
        default_topic_queue_nums: request.default_topic_queue_nums,
        queue_id: request.queue_id,
        sys_flag: request.sys_flag,
        born_timestamp_ms: request.born_timestamp_ms,
        flag: request.flag,
        properties: Some(properties),
        reconsume_times: request.reconsume_times,
        unit_mode: request.unit_mode,
        born_host: &hosts.born,
        store_host: &hosts.store,
        store_timestamp_ms: now_ms as i64,
    }
}

/// `ip:port` of the sender of the reply and of this broker.
#[derive(Clone, Debug)]
pub struct Hosts {
    pub born: String,
    pub store: String,
}
