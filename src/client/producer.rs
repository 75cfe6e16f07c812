//! The producer as an application holds it; how it sends is in `sender`.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::ClientError;
use super::app::Client;
use super::message::Message;
use super::pending::Pending;
use super::sender::{Sender, Target, in_order};
use super::transaction::Checker;
use crate::message::names::check_group;
use crate::message::properties;
use crate::wire::MessageQueue;

/// A producer's rules; the defaults are RocketMQ's, with one exception, `avoid_slow_brokers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    pub group: String,
    /// For a send with all its tries.
    pub send_timeout: Duration,
    /// For one try, so that a broker which does not answer leaves time for another; `None` gives the first all of it.
    pub try_timeout: Option<Duration>,
    /// Tries after the first one, each on another broker where there is one.
    pub retries: u32,
    /// A topic without a route is asked for again until `send_timeout`, rather than refused at once as RocketMQ's clients do it: right
    /// after its start a broker is not registered yet.
    pub awaits_route: bool,
    /// Leaves brokers alone for a while that were slow or failed (`sendLatencyFaultEnable`, there off by default).
    pub avoid_slow_brokers: bool,
    /// A body from this size on is sent compressed.
    pub compress_from_bytes: usize,
    pub max_message_bytes: usize,
    /// Queues on each broker of a topic that the first send makes.
    pub new_topic_queues: u32,
}

impl ProducerConfig {
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            send_timeout: Duration::from_secs(3),
            try_timeout: None,
            retries: 2,
            awaits_route: false,
            avoid_slow_brokers: true,
            compress_from_bytes: 4 << 10,
            max_message_bytes: 4 << 20,
            new_topic_queues: 4,
        }
    }
}

/// How durable a message is that a broker has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// As much as the broker is configured to.
    Ok,
    /// In its memory, but not flushed in time.
    FlushDiskTimeout,
    /// Not on a replica in time.
    FlushSlaveTimeout,
    /// There is no replica.
    SlaveNotAvailable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    pub status: SendStatus,
    /// The id that this client gave the message; those of a batch joined by commas.
    pub message_id: String,
    /// Where the broker put it.
    pub offset_message_id: String,
    pub queue: MessageQueue,
    /// Of a batch the first message's.
    pub queue_offset: i64,
    /// What a delayed message can be taken back with.
    pub recall_handle: Option<String>,
}

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
        // Nobody waits for it.
        drop(self.client.call(|instance| async move {
            instance.remove_producer(&group).await;
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
            |instance| async move {
                instance.add_producer(Sender::new(config, checker))?;
                // So that brokers find the group when they have a question.
                spawn_local(async move { instance.heartbeat().await });
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
            |instance| async move {
                let sender = instance.producer(&group)?;
                sender.send(&instance, vec![message], Target::InTurn).await
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
        self.membership.client.call(|instance| async move {
            let sender = instance.producer(&group)?;
            sender.send_one_way(&instance, message).await
        })
    }

    /// The topic's queues that can be sent to.
    pub fn queues(&self, topic: impl Into<String>) -> Pending<Vec<MessageQueue>> {
        let topic = topic.into();
        self.membership.client.call(|instance| async move {
            let routed = instance.route_to_send(&topic).await?;
            Ok(in_order(&routed, &topic))
        })
    }

    fn dispatch(&self, messages: Vec<Message>, target: Target) -> Pending<SendResult> {
        let group = self.membership.group.clone();
        self.membership.client.call(|instance| async move {
            let sender = instance.producer(&group)?;
            sender.send(&instance, messages, target).await
        })
    }
}
