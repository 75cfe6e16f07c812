//! Taking a timed message back (RocketMQ: `RecallMessageProcessor`): a message of its own in the timer topic, which comes up
//! just ahead of the one that it takes back.

use std::borrow::Cow;

use super::perm;
use super::send_plan::{OwnMessage, SendPlan};
use super::send_properties::SendProperties;
use super::{Broker, Peer, Refusal};
use crate::message::names;
use crate::message::properties;
use crate::wire::codes::response;
use crate::wire::recall::RecallHandle;
use crate::wire::send::RecallRequest;

const TAG: &str = "_RECALL_TAG_";
const BODY: &[u8] = b"0";
const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";

impl Broker {
    /// Decides on a recall: what to store for it, and the unique key of the message that it takes back.
    pub fn admit_recall(
        &self,
        request: &RecallRequest<'_>,
        peer: &Peer,
        now_ms: u64,
    ) -> Result<(SendPlan<'static>, String), Refusal> {
        let config = &self.config;
        if !config.recall {
            let remark = "recall failed, operation is forbidden (recallMessageEnable is false)";
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        if !perm::is_writeable(config.broker_permission) && !config.recall_when_not_writeable {
            let remark = "recall failed, broker service not available";
            return Err(Refusal::new(response::SERVICE_NOT_AVAILABLE, remark));
        }
        let topic = request.topic;
        if !self.topics.contains(topic) {
            let remark = format!("recall failed, the topic[{topic}] not exist");
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
        }
        let handle = RecallHandle::decode(request.recall_handle)
            .ok_or_else(|| illegal("recall handle is invalid"))?;
        if handle.topic != topic {
            return Err(illegal("recall failed, topic not match"));
        }
        if handle.broker_name != config.broker_name {
            return Err(illegal("recall failed, broker service not available"));
        }
        let at_ms: i64 = handle.timestamp.parse().unwrap_or(-1);
        let left_ms = at_ms.saturating_sub(now_ms as i64);
        let limit_ms = config.timer_max_delay_s.saturating_mul(1000) as i64;
        if left_ms <= 0 || (limit_ms > 0 && left_ms >= limit_ms) {
            return Err(too_late());
        }
        let noted_time = at_ms.to_string();
        let mut text = String::new();
        let unique_key = &*handle.unique_key;
        for (name, value) in [
            (properties::TIMER_DELETE_UNIQUE_KEY, unique_key),
            (properties::UNIQUE_KEY, unique_key),
            (properties::TIMER_DELIVER_MS, &noted_time),
            (BORN_TIMESTAMP, &now_ms.to_string()),
            (
                properties::PRODUCER_GROUP,
                request.producer_group.unwrap_or(""),
            ),
            (properties::TAGS, TAG),
        ] {
            properties::push(&mut text, name, value);
        }
        let own = OwnMessage {
            topic: Cow::Owned(handle.topic),
            queue_id: 0,
            queue: None,
            reconsume_times: 0,
            properties: text.clone(),
        };
        let mut plan = SendPlan::of_broker(BODY, peer.addr, own);
        plan.born_timestamp_ms = now_ms as i64;
        self.postpone(&mut plan, &SendProperties::of(&text), now_ms)
            .map_err(|refusal| Refusal::new(response::SYSTEM_ERROR, refusal.remark))?;
        Ok((plan, handle.unique_key))
    }

    /// What the reply to a timed send gives its producer, to take the message back by.
    pub fn recall_handle(&self, plan: &SendPlan<'_>) -> Option<String> {
        let out_ms = plan.timer_out_ms?;
        let topic = plan.properties().find(properties::REAL_TOPIC)?;
        let is_retry = names::retry_group(topic).is_some();
        let handle = RecallHandle {
            topic: topic.into(),
            broker_name: self.config.broker_name.clone(),
            timestamp: (out_ms + 1).to_string(),
            unique_key: plan.unique_key.as_str()?.into(),
        };
        (!is_retry).then(|| handle.encode())
    }
}

/// It is due, or no time of a timer. So is one that became due while its recall was written: it may have been delivered.
pub fn too_late() -> Refusal {
    illegal("recall failed, timestamp invalid")
}

fn illegal(remark: &'static str) -> Refusal {
    Refusal::new(response::ILLEGAL_OPERATION, remark)
}
