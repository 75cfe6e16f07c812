//! Half messages: sent first, made visible or dropped by the end of their transaction, and checked by the broker if no end comes.
//!
//! Source: `DefaultMQProducerImpl.sendMessageInTransaction`, `endTransaction`, `checkTransactionState`.

use std::rc::Rc;

use tokio::task::spawn_blocking;

use super::instance::Instance;
use super::message::{Message, TIMER_DELAY_MS};
use super::received::Received;
use super::remote::Asked;
use super::send_result::{SendResult, SendStatus};
use super::sender::{Sender, Target};
use super::transaction_state::TransactionState;
use super::{ClientError, Remote};
use crate::message::ids::parse_offset_message_id;
use crate::message::{properties, sys_flag};
use crate::wire::codes::request;
use crate::wire::transaction::EndTransaction;

/// Sends `message` half, runs `local`, and sends the end of the transaction.
pub async fn send(
    instance: &Rc<Instance>,
    sender: &Sender,
    message: Message,
    local: impl FnOnce(&Message) -> TransactionState + Send + 'static,
) -> Result<(SendResult, TransactionState), ClientError> {
    let group = sender.config.group.as_str();
    let half = message
        .property(properties::TRANSACTION_PREPARED, "true")
        .property(properties::PRODUCER_GROUP, group);
    let delayed = [properties::DELAY, TIMER_DELAY_MS];
    if delayed.iter().any(|name| half.find(name).is_some()) {
        return Err(ClientError::illegal(
            "a message in a transaction cannot be delayed",
        ));
    }
    let outgoing = sender.outgoing(instance, vec![half.clone()], sys_flag::TRANSACTION_PREPARED)?;
    let sent = sender.transmit(instance, &outgoing, Target::InTurn).await?;
    let state = match sent.status {
        SendStatus::Ok => spawn_blocking(move || local(&half))
            .await
            .unwrap_or(TransactionState::Unknown),
        // A message that is not stored as configured is not made visible.
        _ => TransactionState::Rollback,
    };
    let (_, physical_offset) =
        parse_offset_message_id(&sent.offset_message_id).map_err(|error| ClientError::Answer {
            what: error.to_string(),
        })?;
    let end = EndTransaction {
        topic: Some(&outgoing.topic),
        producer_group: group,
        half_queue_offset: sent.queue_offset,
        half_physical_offset: physical_offset as i64,
        commit_or_rollback: state.commit_or_rollback(),
        from_transaction_check: false,
        msg_id: &sent.message_id,
        transaction_id: Some(&sent.message_id),
    };
    if let Err(error) = end_transaction(instance, &sent.queue.broker_name, &end).await {
        // The half message is stored, and the broker asks for its state later.
        tracing::warn!("the end of a transaction is not sent: {error}");
    }
    Ok((sent, state))
}

async fn end_transaction(
    instance: &Rc<Instance>,
    broker_name: &str,
    end: &EndTransaction<'_>,
) -> Result<(), ClientError> {
    let addr = instance
        .routes
        .broker_addr(broker_name)
        .ok_or_else(|| ClientError::NoBroker {
            name: broker_name.to_owned(),
        })?;
    let remote = instance.remote(&addr).await?;
    remote.one_way(request::END_TRANSACTION, &end.ext(), &[])
}

/// Answers a broker's request for the state of a half message.
pub async fn check(
    sender: &Sender,
    half: Received,
    asked: &Asked,
    remote: &Remote,
) -> Result<(), ClientError> {
    let group = sender.config.group.as_str();
    let Some(checker) = sender.checker.clone() else {
        return Err(ClientError::illegal(format!(
            "the producer of the group {group} takes part in no transactions"
        )));
    };
    let number = |name: &str| asked.find(name).and_then(|text| text.parse().ok());
    let (topic, id) = (half.topic.clone(), half.message_id.clone());
    let (queue_offset, physical_offset) = (half.queue_offset, half.physical_offset);
    let state = spawn_blocking(move || checker(&half))
        .await
        .unwrap_or(TransactionState::Unknown);
    let end = EndTransaction {
        topic: Some(&topic),
        producer_group: group,
        half_queue_offset: number("tranStateTableOffset").unwrap_or(queue_offset),
        half_physical_offset: number("commitLogOffset").unwrap_or(physical_offset),
        commit_or_rollback: state.commit_or_rollback(),
        from_transaction_check: true,
        msg_id: &id,
        transaction_id: asked.find("transactionId").or(Some(&id)),
    };
    remote.one_way(request::END_TRANSACTION, &end.ext(), &[])
}
