//! Messages whose visibility is decided after they are at the broker: sent half, then committed or rolled back by what the
//! application's own transaction came to. Where that is not known in time, the broker asks back.
//!
//! Source: `DefaultMQProducerImpl.sendMessageInTransaction`, `endTransaction`, `checkTransactionState`.

use std::rc::Rc;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::app::Client;
use super::instance::Instance;
use super::message::{Message, Received, received_alone};
use super::pending::Pending;
use super::producer::{Producer, ProducerConfig, SendResult, SendStatus};
use super::remote::Asked;
use super::sender::Target;
use super::{ClientError, Remote};
use crate::message::ids::parse_offset_message_id;
use crate::message::{properties, sys_flag};
use crate::wire::codes::request;
use crate::wire::transaction::{
    EndTransaction, TRANSACTION_COMMIT_TYPE, TRANSACTION_NOT_TYPE, TRANSACTION_ROLLBACK_TYPE,
};

/// What became of the application's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    /// Consumers get the message.
    Commit,
    /// Nobody ever gets it.
    Rollback,
    /// Not known yet: the broker asks again later.
    Unknown,
}

impl TransactionState {
    fn commit_or_rollback(self) -> i32 {
        match self {
            Self::Commit => TRANSACTION_COMMIT_TYPE,
            Self::Rollback => TRANSACTION_ROLLBACK_TYPE,
            Self::Unknown => TRANSACTION_NOT_TYPE,
        }
    }
}

/// Answers what became of the transaction of a half message, on one of the client's threads for the application's code.
pub(super) type Checker = Arc<dyn Fn(&Received) -> TransactionState + Send + Sync>;

/// A producer whose messages take part in the application's transactions.
///
/// ```no_run
/// use ringmq::client::{Client, ClientConfig, Message, ProducerConfig, TransactionState};
///
/// # fn pay(order: &str) -> bool { true }
/// # fn was_paid(order: &str) -> Option<bool> { Some(true) }
/// # async fn example() -> Result<(), ringmq::client::ClientError> {
/// let client = Client::start(ClientConfig::new("127.0.0.1:9876"))?;
/// let producer = client.transaction_producer(ProducerConfig::new("payments"), |half| {
///     // The broker has heard nothing: look it up where the transaction left its trace.
///     match half.keys().next().and_then(was_paid) {
///         Some(true) => TransactionState::Commit,
///         Some(false) => TransactionState::Rollback,
///         None => TransactionState::Unknown,
///     }
/// })?;
/// let paid = Message::new("Paid", "order-7").key("order-7");
/// let (sent, state) = producer
///     .send(paid, |message| match pay("order-7") {
///         true => TransactionState::Commit,
///         false => TransactionState::Rollback,
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TransactionProducer {
    producer: Producer,
}

impl Client {
    /// `check` is asked about half messages of the group, also those of another process that is gone. It may block; a panic is
    /// [`TransactionState::Unknown`].
    pub fn transaction_producer(
        &self,
        config: ProducerConfig,
        check: impl Fn(&Received) -> TransactionState + Send + Sync + 'static,
    ) -> Result<TransactionProducer, ClientError> {
        let producer = self.join(config, Some(Arc::new(check)))?;
        Ok(TransactionProducer { producer })
    }
}

impl TransactionProducer {
    /// Sends `message` half, runs `local` once the broker has it, and tells the broker what it came to. `local` may block; a panic is
    /// [`TransactionState::Unknown`]. Where the message could not be stored `local` is not run.
    pub fn send(
        &self,
        message: Message,
        local: impl FnOnce(&Message) -> TransactionState + Send + 'static,
    ) -> Pending<(SendResult, TransactionState)> {
        let membership = &self.producer.membership;
        let group = membership.group.clone();
        membership
            .client
            .call(|instance| async move { send(&instance, &group, message, local).await })
    }
}

async fn send(
    instance: &Rc<Instance>,
    group: &str,
    message: Message,
    local: impl FnOnce(&Message) -> TransactionState + Send + 'static,
) -> Result<(SendResult, TransactionState), ClientError> {
    let sender = instance.producer(group)?;
    let half = message
        .property(properties::TRANSACTION_PREPARED, "true")
        .property(properties::PRODUCER_GROUP, group);
    let delayed = [properties::DELAY, super::message::TIMER_DELAY_MS];
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
        // What is not stored as it should be is not to be shown.
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
    if let Err(error) = tell(instance, &sent.queue.broker_name, &end).await {
        // The half message is safe, and the broker asks what became of it.
        tracing::warn!("the broker was not told the end of a transaction: {error}");
    }
    Ok((sent, state))
}

async fn tell(
    instance: &Rc<Instance>,
    broker_name: &str,
    end: &EndTransaction<'_>,
) -> Result<(), ClientError> {
    let addr = instance
        .broker_addr(broker_name)
        .ok_or_else(|| ClientError::NoBroker {
            name: broker_name.to_owned(),
        })?;
    let remote = instance.remote(&addr).await?;
    remote.one_way(request::END_TRANSACTION, &end.ext(), &[])
}

/// CHECK_TRANSACTION_STATE (39): the broker asks about a half message, on the connection on which it wants the answer.
pub(super) async fn check(instance: Rc<Instance>, asked: Asked, remote: Rc<Remote>) {
    if let Err(error) = try_check(&instance, &asked, &remote).await {
        tracing::warn!("{} asked about a transaction: {error}", asked.peer);
    }
}

async fn try_check(
    instance: &Rc<Instance>,
    asked: &Asked,
    remote: &Remote,
) -> Result<(), ClientError> {
    let half = received_alone(&asked.body)?;
    let group = half
        .find(properties::PRODUCER_GROUP)
        .unwrap_or_default()
        .to_owned();
    let sender = instance.producer(&group)?;
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
        producer_group: &group,
        half_queue_offset: number("tranStateTableOffset").unwrap_or(queue_offset),
        half_physical_offset: number("commitLogOffset").unwrap_or(physical_offset),
        commit_or_rollback: state.commit_or_rollback(),
        from_transaction_check: true,
        msg_id: &id,
        transaction_id: asked.find("transactionId").or(Some(&id)),
    };
    remote.one_way(request::END_TRANSACTION, &end.ext(), &[])
}
