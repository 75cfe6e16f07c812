//! The producer as an application holds it; how it sends is in `sender`.

use std::sync::Arc;

use tokio::task::spawn_local;

use super::ClientError;
use super::app::Client;
use super::message::Message;
use super::pending::Pending;
use super::producer_config::ProducerConfig;
use super::send_result::SendResult;
use super::sender::{Sender, Target, in_order};
use super::transaction_state::Checker;
use crate::message::names::check_group;
use crate::message::properties;
use crate::wire::MessageQueue;

/// Sends messages. Clones are handles on the same producer, which leaves its group when the last is dropped.
///
/// ```no_run
/// use ringmq::client::{Client, ClientConfig, Message, ProducerConfig};
///
/// # async fn example() -> Result<(), ringmq::client::ClientError> {
/// let client = Client::start(ClientConfig::new("127.0.0.1:9876"))?;
/// let producer = client.producer(ProducerConfig::new("order-service"))?;
///
/// // In any executor:
/// let sent = producer.send(Message::new("Orders", "one")).await?;
/// println!("{} is at {} of {:?}", sent.message_id, sent.queue_offset, sent.queue);
///
/// // With a callback, on the client's thread:
/// producer.send_then(Message::new("Orders", "two"), |result| {
///     if let Err(error) = result {
///         eprintln!("not sent: {error}");
///     }
/// });
/// # Ok(())
/// # }
///
/// // Without any executor:
/// # fn blocking(producer: ringmq::client::Producer) -> Result<(), ringmq::client::ClientError> {
/// producer.send(Message::new("Orders", "three")).wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    pub(super) membership: Arc<Membership>,
}

pub(super) struct Membership {
    pub client: Client,
    pub group: String,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let group = std::mem::take(&mut self.group);
        // The shutdown continues without the caller.
        drop(self.client.call(|session| async move {
            session.remove_producer(&group).await;
            Ok(())
        }));
    }
}

impl Client {
    /// A producer of a group that this client has no other producer of.
    pub fn producer(&self, config: ProducerConfig) -> Result<Producer, ClientError> {
        self.join(config, None)
    }

    pub(super) fn join(
        &self,
        config: ProducerConfig,
        checker: Option<Checker>,
    ) -> Result<Producer, ClientError> {
        check_group(&config.group).map_err(ClientError::illegal)?;
        let (to_caller, added) = std::sync::mpsc::channel();
        let group = config.group.clone();
        self.call_then(
            |session| async move {
                session.add_producer(Sender::new(config, checker))?;
                // So that brokers know the group when they ask for a transaction's state.
                spawn_local(async move { session.instance.heartbeat().await });
                Ok(())
            },
            move |result| {
                // The caller waits for exactly this.
                let _ = to_caller.send(result);
            },
        );
        added.recv().map_err(|_| ClientError::Stopped)??;
        Ok(Producer {
            membership: Arc::new(Membership {
                client: self.clone(),
                group,
            }),
        })
    }
}

impl Producer {
    /// To the next queue in turn.
    pub fn send(&self, message: Message) -> Pending<SendResult> {
        self.dispatch(vec![message], Target::InTurn)
    }

    /// The same; `done` is called on the client's thread and must not block it.
    pub fn send_then(
        &self,
        message: Message,
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) {
        let group = self.membership.group.clone();
        self.membership.client.call_then(
            |session| async move {
                let sender = session.producer(&group)?;
                let messages = vec![message];
                sender
                    .send(&session.instance, messages, Target::InTurn)
                    .await
            },
            done,
        );
    }

    /// All messages with one `key` go to one queue, in the order of their sending, as long as the topic's queues stay the same. Not
    /// tried again: it would be out of order.
    pub fn send_ordered(&self, message: Message, key: impl Into<String>) -> Pending<SendResult> {
        let key = key.into();
        let message = message.property(properties::SHARDING_KEY, key.as_str());
        self.dispatch(vec![message], Target::Key(key))
    }

    /// To this queue; see [`queues`](Self::queues). Not tried again.
    pub fn send_to(&self, message: Message, queue: MessageQueue) -> Pending<SendResult> {
        self.dispatch(vec![message], Target::Queue(queue))
    }

    /// Several messages of one topic, without delay, in one request: they go to one queue, all or none.
    pub fn send_batch(&self, messages: Vec<Message>) -> Pending<SendResult> {
        self.dispatch(messages, Target::InTurn)
    }

    /// Sent once and not answered: it ends well when the message is on its way.
    pub fn send_one_way(&self, message: Message) -> Pending<()> {
        let group = self.membership.group.clone();
        self.membership.client.call(|session| async move {
            let sender = session.producer(&group)?;
            sender.send_one_way(&session.instance, message).await
        })
    }

    /// The topic's queues that can be sent to.
    pub fn queues(&self, topic: impl Into<String>) -> Pending<Vec<MessageQueue>> {
        let topic = topic.into();
        self.membership.client.call(|session| async move {
            let routed = session.instance.routes.route_to_send(&topic).await?;
            Ok(in_order(&routed, &topic))
        })
    }

    fn dispatch(&self, messages: Vec<Message>, target: Target) -> Pending<SendResult> {
        let group = self.membership.group.clone();
        self.membership.client.call(|session| async move {
            let sender = session.producer(&group)?;
            sender.send(&session.instance, messages, target).await
        })
    }
}
