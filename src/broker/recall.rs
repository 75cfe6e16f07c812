//! Recalling a timed message (RocketMQ: `RecallMessageProcessor`): a message in the timer topic that is due just before the one
//! that it recalls.

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
    /// Decides on a recall: what to store for it, and the unique key of the message that is recalled. What was due by `reached_ms`
    /// may have been delivered, also if the clock was set back since.
    pub fn admit_recall(
        &self,
        request: &RecallRequest<'_>,
        peer: &Peer,
        now_ms: u64,
        reached_ms: u64,
    ) -> Result<(SendPlan<'static>, String), Refusal> {
        self.check_recalls_allowed(request.topic)?;
        let handle = self.recalled(request)?;
        let at_ms: i64 = handle.timestamp.parse().unwrap_or(-1);
        let left_ms = at_ms.saturating_sub(now_ms as i64);
        let limit_ms = self.config.timer_max_delay_s.saturating_mul(1000) as i64;
        if left_ms <= 0 || at_ms <= reached_ms as i64 || (limit_ms > 0 && left_ms >= limit_ms) {
            return Err(too_late());
        }
        let text = recall_properties(request, &handle.unique_key, at_ms, now_ms);
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

    fn check_recalls_allowed(&self, topic: &str) -> Result<(), Refusal> {
        let config = &self.config;
        if !config.recall {
            let remark = "recall failed, operation is forbidden (recallMessageEnable is false)";
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        if !perm::is_writeable(config.broker_permission) && !config.recall_when_not_writeable {
            let remark = "recall failed, broker service not available";
            return Err(Refusal::new(response::SERVICE_NOT_AVAILABLE, remark));
        }
        if !self.topics.contains(topic) {
            let remark = format!("recall failed, the topic[{topic}] not exist");
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
        }
        Ok(())
    }

    /// The message that the request's handle names.
    fn recalled(&self, request: &RecallRequest<'_>) -> Result<RecallHandle, Refusal> {
        let handle = RecallHandle::decode(request.recall_handle)
            .ok_or_else(|| illegal("recall handle is invalid"))?;
        if handle.topic != request.topic {
            return Err(illegal("recall failed, topic not match"));
        }
        if handle.broker_name != self.config.broker_name {
            return Err(illegal("recall failed, broker service not available"));
        }
        Ok(handle)
    }

    /// The handle by which the producer of a timed message can recall it.
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

/// Properties of the message that recalls another one.
fn recall_properties(
    request: &RecallRequest<'_>,
    unique_key: &str,
    at_ms: i64,
    now_ms: u64,
) -> String {
    let producer_group = request.producer_group.unwrap_or("");
    let mut text = String::new();
    for (name, value) in [
        (properties::TIMER_DELETE_UNIQUE_KEY, unique_key),
        (properties::UNIQUE_KEY, unique_key),
        (properties::TIMER_DELIVER_MS, &at_ms.to_string()),
        (BORN_TIMESTAMP, &now_ms.to_string()),
        (properties::PRODUCER_GROUP, producer_group),
        (properties::TAGS, TAG),
    ] {
        properties::push(&mut text, name, value);
    }
    text
}

/// The message is due, or its time is none of a timer.
fn too_late() -> Refusal {
    illegal("recall failed, timestamp invalid")
}

fn illegal(remark: &'static str) -> Refusal {
    Refusal::new(response::ILLEGAL_OPERATION, remark)
}
