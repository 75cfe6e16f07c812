//! Sends of several messages: a record for each, or in a topic of type BatchCQ one for all of them, an inner batch (RocketMQ:
//! `SendMessageProcessor.sendBatchMessage`, `HookUtils.checkInnerBatch`, `BatchConsumeQueue`).

use super::send_plan::{SendPlan, check_properties, illegal};
use super::send_properties::SendProperties;
use super::{Broker, Refusal};
use crate::message::batch::{self, MAX_INNER_MESSAGES};
use crate::message::{CRC_PROPERTY_BYTES, names, properties, sys_flag};
use crate::wire::send::SendRequest;

/// What the records of a batch may take beside `maxMessageSize`, as in the store: a batch is appended in one piece.
const BATCH_BESIDE_BODY_BYTES: usize = 64 << 10;

/// Whether the send may be of an inner batch, if its topic takes one.
pub(super) fn may_be_inner(request: &SendRequest<'_>) -> bool {
    request.batch || is_inner(request.sys_flag)
}

fn is_inner(sys_flag: i32) -> bool {
    sys_flag & sys_flag::INNER_BATCH != 0
}

/// A record that says how many messages it has without being an inner batch would mislead a RocketMQ that gets the store.
fn check_no_inner_batch(sys_flag: i32, requested: &SendProperties<'_>) -> Result<(), Refusal> {
    if is_inner(sys_flag) {
        return Err(illegal(
            "the message is illegal, it is an inner batch and its topic is not of queue.type BatchCQ, or it has no UNIQ_KEY"
                .into(),
        ));
    }
    match requested.inner_number {
        None => Ok(()),
        Some(_) => Err(illegal(
            "the message is illegal, it has INNER_NUM and is not an inner batch".into(),
        )),
    }
}

/// Messages of an inner batch, which are well formed.
fn count_messages(body: &[u8]) -> Result<u16, Refusal> {
    let mut messages: u16 = 0;
    for item in batch::iter(body) {
        item.map_err(|error| illegal(format!("batch is malformed: {error}")))?;
        if messages == MAX_INNER_MESSAGES {
            return Err(illegal(format!(
                "the message is illegal, its batch has more than {MAX_INNER_MESSAGES} messages"
            )));
        }
        messages += 1;
    }
    Ok(messages)
}

/// RocketMQ would look for its topic of delays among those that take inner batches.
fn check_not_delayed(requested: &SendProperties<'_>) -> Result<(), Refusal> {
    match requested.delay_level()? > 0 || requested.timer.is_timed() || requested.is_half {
        false => Ok(()),
        true => Err(illegal(
            "the message is illegal, an inner batch cannot be delayed or half of a transaction"
                .into(),
        )),
    }
}

/// How many messages one has that is sent as a single one. A client may send an inner batch so.
pub(super) fn messages_in_single(
    sys_flag: i32,
    requested: &SendProperties<'_>,
    body: &[u8],
    takes_inner_batches: bool,
) -> Result<u16, Refusal> {
    if !(is_inner(sys_flag) && takes_inner_batches) {
        return check_no_inner_batch(sys_flag, requested).map(|()| 1);
    }
    check_not_delayed(requested)?;
    let messages = count_messages(body)?;
    match requested.inner_number.and_then(batch::inner_number) {
        Some(number) if number == messages => Ok(number),
        _ => Err(illegal(format!(
            "the message is illegal, its INNER_NUM is not {messages}, the number of its messages"
        ))),
    }
}

impl Broker {
    /// Each message of the batch becomes a record of its own.
    pub(super) fn finish_batch(
        &self,
        request: &SendRequest<'_>,
        requested: &SendProperties<'_>,
        plan: &mut SendPlan<'_>,
    ) -> Result<(), Refusal> {
        if names::retry_group(request.topic).is_some() {
            return Err(illegal(format!(
                "batch to retry topic {} is not allowed",
                request.topic
            )));
        }
        check_no_inner_batch(plan.sys_flag, requested)?;
        let (mut messages, mut bytes) = (0, 0);
        let limit = self.config.max_message_bytes + BATCH_BESIDE_BODY_BYTES;
        for item in batch::iter(plan.body) {
            let item = item.map_err(|error| illegal(format!("batch is malformed: {error}")))?;
            let message = plan.batch_message(&item);
            check_properties(message.properties)?;
            messages += 1;
            bytes += plan.record_bytes(&message, self.config.advertise);
            // The CRC that a record ends in does not count (RocketMQ: `MessageExtEncoder.encode`).
            if bytes - messages as usize * CRC_PROPERTY_BYTES > limit {
                return Err(illegal(format!(
                    "the message is illegal, the records of its batch are more than {limit} bytes"
                )));
            }
        }
        if messages == 0 {
            return Err(illegal("batch is empty".into()));
        }
        plan.batch = Some(messages);
        plan.batch_bytes = bytes;
        Ok(())
    }

    /// The body is stored as it is, in one record that has an offset for each message.
    pub(super) fn finish_inner_batch(
        &self,
        requested: &SendProperties<'_>,
        plan: &mut SendPlan<'_>,
    ) -> Result<(), Refusal> {
        check_not_delayed(requested)?;
        let messages = count_messages(plan.body)?;
        plan.messages = messages;
        plan.sys_flag |= sys_flag::NEED_UNWRAP | sys_flag::INNER_BATCH;
        let own = &mut plan.own_properties;
        properties::push(own, properties::INNER_NUM, &messages.to_string());
        check_properties(plan.properties())
    }
}
