//! Messages whose visibility is decided after they are stored: sent half, then committed or rolled back by the result of the
//! application's own transaction. If no result comes in time, the broker checks for it.

use std::sync::Arc;

use super::ClientError;
use super::app::Client;
use super::half_message::send;
use super::message::Message;
use super::pending::Pending;
use super::producer::Producer;
use super::producer_config::ProducerConfig;
use super::received::Received;
use super::send_result::SendResult;
use super::transaction_state::TransactionState;

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
///     // The broker has no result: look it up where the transaction is recorded.
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
    /// `check` is called for half messages of the group, also for those of a process that has ended. It may block; a panic is
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
    /// Sends `message` half, runs `local` once the broker has it, and sends the broker its result. `local` may block; a panic is
    /// [`TransactionState::Unknown`]. Where the message could not be stored `local` is not run.
    pub fn send(
        &self,
        message: Message,
        local: impl FnOnce(&Message) -> TransactionState + Send + 'static,
    ) -> Pending<(SendResult, TransactionState)> {
        let membership = &self.producer.membership;
        let group = membership.group.clone();
        membership.client.call(|session| async move {
            let sender = session.producer(&group)?;
            send(&session.instance, &sender, message, local).await
        })
    }
}
