//! Sends with the rules of RocketMQ's own producer: queues in turn, another broker when one fails, all within one timeout.
//!
//! Source: `DefaultMQProducerImpl.sendDefaultImpl`, `SelectMessageQueueByHash`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::app::Client;
use super::faults::{Faults, Outcome, choose};
use super::instance::{Instance, Routed};
use super::message::{Message, compressed};
use super::names::check_group;
use super::pending::Pending;
use super::route::RoutedQueue;
use super::transaction::Checker;
use super::{ClientError, Response, unix_ms};
use crate::message::batch::{self, BatchItem};
use crate::message::{java_hash, properties, sys_flag};
use crate::wire::MessageQueue;
use crate::wire::codes::{request, response};
use crate::wire::send::SendRequest;

const DEFAULT_TOPIC: &str = "TBW102";

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

/// Which queue a message goes to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    InTurn,
    Key(String),
    Queue(MessageQueue),
}

/// A producer's part on the client's thread.
pub(super) struct Sender {
    pub config: ProducerConfig,
    /// Of a producer that takes part in transactions.
    pub checker: Option<Checker>,
    faults: RefCell<Faults>,
    turn: Cell<usize>,
}

/// A request's content, the same for every try.
pub(super) struct Outgoing {
    pub topic: String,
    pub body: Vec<u8>,
    pub properties: String,
    pub message_id: String,
    pub flag: i32,
    pub sys_flag: i32,
    pub is_batch: bool,
    pub reconsume_times: i32,
    pub max_reconsume_times: Option<i32>,
}

impl Sender {
    pub fn new(config: ProducerConfig, checker: Option<Checker>) -> Self {
        Self {
            config,
            checker,
            faults: RefCell::default(),
            // So that not all processes begin at the first queue.
            turn: Cell::new(unix_ms() as usize % 1009),
        }
    }

    pub async fn send(
        &self,
        instance: &Rc<Instance>,
        messages: Vec<Message>,
        target: Target,
    ) -> Result<SendResult, ClientError> {
        let outgoing = self.outgoing(instance, messages, 0)?;
        self.transmit(instance, &outgoing, target).await
    }

    /// All tries of one request.
    pub async fn transmit(
        &self,
        instance: &Rc<Instance>,
        outgoing: &Outgoing,
        target: Target,
    ) -> Result<SendResult, ClientError> {
        let started = Instant::now();
        let mut retries_left = match target {
            Target::InTurn => self.config.retries,
            Target::Key(_) | Target::Queue(_) => 0,
        };
        let mut just_failed: Option<String> = None;
        loop {
            let routed = instance.route_to_send(&outgoing.topic).await?;
            let now_ms = instance.elapsed_ms();
            let queue = self.queue(&routed, outgoing, &target, just_failed.as_deref(), now_ms)?;
            let left = self.config.send_timeout.saturating_sub(started.elapsed());
            let timeout = self.config.try_timeout.map_or(left, |one| left.min(one));
            let tried = self.one_try(instance, outgoing, &queue, timeout).await;
            self.note(instance, &queue, &tried, now_ms);
            if tried.is_ok() {
                instance.topic_may_exist(&outgoing.topic);
            }
            match tried {
                Err(error)
                    if retries_left > 0
                        && worth_another_try(&error)
                        && started.elapsed() < self.config.send_timeout =>
                {
                    tracing::debug!("{}: tried again: {error}", queue.broker);
                    retries_left -= 1;
                    just_failed = Some(queue.broker);
                }
                ended => return ended,
            }
        }
    }

    pub async fn send_one_way(
        &self,
        instance: &Rc<Instance>,
        message: Message,
    ) -> Result<(), ClientError> {
        let outgoing = self.outgoing(instance, vec![message], 0)?;
        let routed = instance.route_to_send(&outgoing.topic).await?;
        let now_ms = instance.elapsed_ms();
        let queue = self.queue(&routed, &outgoing, &Target::InTurn, None, now_ms)?;
        let remote = instance.remote(&queue.addr).await?;
        let header = self.header(&outgoing, &queue);
        remote.one_way(request::SEND_MESSAGE_V2, &header.ext(), &outgoing.body)
    }

    async fn one_try(
        &self,
        instance: &Rc<Instance>,
        outgoing: &Outgoing,
        queue: &RoutedQueue,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let began = Instant::now();
        let remote = within(timeout, &queue.addr, instance.remote(&queue.addr)).await??;
        let left = timeout.saturating_sub(began.elapsed());
        let code = match outgoing.is_batch {
            true => request::SEND_BATCH_MESSAGE,
            false => request::SEND_MESSAGE_V2,
        };
        let header = self.header(outgoing, queue);
        let answer = remote
            .call(code, &header.ext(), &outgoing.body, left)
            .await?;
        sent(answer, outgoing, queue)
    }

    fn note(
        &self,
        instance: &Rc<Instance>,
        queue: &RoutedQueue,
        tried: &Result<SendResult, ClientError>,
        began_ms: u64,
    ) {
        let now_ms = instance.elapsed_ms();
        let outcome = match tried {
            Ok(_) => Outcome::Answered {
                latency_ms: now_ms - began_ms,
            },
            Err(_) => Outcome::Failed,
        };
        self.faults
            .borrow_mut()
            .note(&queue.broker, outcome, now_ms);
    }

    fn queue(
        &self,
        routed: &Routed,
        outgoing: &Outgoing,
        target: &Target,
        just_failed: Option<&str>,
        now_ms: u64,
    ) -> Result<RoutedQueue, ClientError> {
        let queues = &routed.to_send;
        let chosen = match target {
            Target::InTurn => {
                let turn = self.turn.replace(self.turn.get().wrapping_add(1));
                let faults = self.faults.borrow();
                let available = |broker: &str| {
                    !self.config.avoid_slow_brokers || faults.is_available(broker, now_ms)
                };
                choose(queues, turn, |queue| &queue.broker, just_failed, available)
            }
            Target::Key(key) => {
                let in_order = in_order(routed, &outgoing.topic);
                let wanted = by_key(&in_order, key);
                wanted.and_then(|wanted| find(queues, wanted))
            }
            Target::Queue(wanted) => find(queues, wanted),
        };
        chosen.cloned().ok_or_else(|| ClientError::NoQueue {
            topic: outgoing.topic.clone(),
            used: "sent to",
        })
    }

    /// Checked, with ids, compressed.
    pub fn outgoing(
        &self,
        instance: &Rc<Instance>,
        mut messages: Vec<Message>,
        sys_flag: i32,
    ) -> Result<Outgoing, ClientError> {
        for message in &mut messages {
            message.check(self.config.max_message_bytes)?;
            message.put(properties::WAIT, "true");
            if message.find(properties::UNIQUE_KEY).is_none() {
                message.put(properties::UNIQUE_KEY, instance.make_message_id());
            }
        }
        if messages.len() == 1
            && let Some(message) = messages.pop()
        {
            return Ok(self.single(message, sys_flag));
        }
        self.batch(&messages)
    }

    fn single(&self, message: Message, mut sys_flag: i32) -> Outgoing {
        let properties = message.property_text();
        let message_id = message_id(&message);
        let is_long = message.body.len() >= self.config.compress_from_bytes;
        let smaller = is_long.then(|| compressed(&message.body)).flatten();
        if smaller.is_some() {
            sys_flag |= sys_flag::COMPRESSED | sys_flag::COMPRESSION_ZLIB;
        }
        Outgoing {
            topic: message.topic,
            body: smaller.unwrap_or(message.body),
            properties,
            message_id,
            flag: message.flag,
            sys_flag,
            is_batch: false,
            reconsume_times: 0,
            max_reconsume_times: None,
        }
    }

    /// `MessageBatch.generateFromList`
    fn batch(&self, messages: &[Message]) -> Result<Outgoing, ClientError> {
        const DELAYS: [&str; 4] = [
            properties::DELAY,
            super::message::TIMER_DELAY_MS,
            super::message::TIMER_DELIVER_MS,
            "TIMER_DELAY_SEC",
        ];
        let Some(first) = messages.first() else {
            return Err(ClientError::illegal("a batch has at least one message"));
        };
        let mut body = Vec::new();
        for message in messages {
            if message.topic != first.topic {
                return Err(ClientError::illegal(format!(
                    "a batch is for one topic, this one for {} and {}",
                    first.topic, message.topic
                )));
            }
            if DELAYS.iter().any(|name| message.find(name).is_some()) {
                return Err(ClientError::illegal("a batch cannot be delayed"));
            }
            let properties = message.property_text();
            let item = BatchItem {
                flag: message.flag,
                body: &message.body,
                properties: properties.as_bytes(),
            };
            batch::push(&mut body, &item);
        }
        if body.len() > self.config.max_message_bytes {
            return Err(ClientError::illegal(format!(
                "the batch has {} bytes, the limit is {}",
                body.len(),
                self.config.max_message_bytes
            )));
        }
        let ids: Vec<String> = messages.iter().map(message_id).collect();
        let mut properties = String::new();
        properties::push(&mut properties, properties::WAIT, "true");
        Ok(Outgoing {
            topic: first.topic.clone(),
            body,
            properties,
            message_id: ids.join(","),
            flag: 0,
            sys_flag: 0,
            is_batch: true,
            reconsume_times: 0,
            max_reconsume_times: None,
        })
    }

    fn header<'a>(&'a self, outgoing: &'a Outgoing, queue: &RoutedQueue) -> SendRequest<'a> {
        SendRequest {
            producer_group: &self.config.group,
            topic: &outgoing.topic,
            default_topic: DEFAULT_TOPIC,
            default_topic_queue_nums: self.config.new_topic_queues as i32,
            queue_id: queue.queue_id as i32,
            sys_flag: outgoing.sys_flag,
            born_timestamp_ms: unix_ms(),
            flag: outgoing.flag,
            properties: Some(&outgoing.properties),
            reconsume_times: Some(outgoing.reconsume_times),
            unit_mode: false,
            max_reconsume_times: outgoing.max_reconsume_times,
            batch: outgoing.is_batch,
            broker_name: None,
        }
    }
}

async fn within<T>(
    timeout: Duration,
    addr: &str,
    work: impl Future<Output = T>,
) -> Result<T, ClientError> {
    let timed_out = || ClientError::Unreachable {
        addr: addr.to_owned(),
        timeout,
    };
    tokio::time::timeout(timeout, work)
        .await
        .map_err(|_| timed_out())
}

fn message_id(message: &Message) -> String {
    message
        .find(properties::UNIQUE_KEY)
        .unwrap_or_default()
        .to_owned()
}

/// Broker by broker, as Java's clients number a topic's queues: both choose the same for a key.
fn in_order(routed: &Routed, topic: &str) -> Vec<MessageQueue> {
    let mut queues: Vec<_> = routed
        .to_send
        .iter()
        .map(|queue| queue.named(topic))
        .collect();
    queues.sort();
    queues
}

fn by_key<'a>(queues: &'a [MessageQueue], key: &str) -> Option<&'a MessageQueue> {
    let count = i32::try_from(queues.len())
        .ok()
        .filter(|count| *count > 0)?;
    queues.get((java_hash(key) % count).unsigned_abs() as usize)
}

fn find<'a>(queues: &'a [RoutedQueue], wanted: &MessageQueue) -> Option<&'a RoutedQueue> {
    queues.iter().find(|queue| {
        queue.broker == wanted.broker_name
            && i64::from(queue.queue_id) == i64::from(wanted.queue_id)
    })
}

fn sent(
    answer: Response,
    outgoing: &Outgoing,
    queue: &RoutedQueue,
) -> Result<SendResult, ClientError> {
    let status = match answer.code {
        response::SUCCESS => SendStatus::Ok,
        response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
        response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
        response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
        code => {
            return Err(ClientError::Refused {
                code,
                remark: answer.remark.unwrap_or_default(),
            });
        }
    };
    let queue_id = answer.number("queueId")?;
    Ok(SendResult {
        status,
        message_id: outgoing.message_id.clone(),
        offset_message_id: answer.find("msgId").unwrap_or_default().to_owned(),
        queue: MessageQueue {
            queue_id: queue_id as i32,
            ..queue.named(&outgoing.topic)
        },
        queue_offset: answer.number("queueOffset")?,
        recall_handle: answer.find("recallHandle").map(str::to_owned),
    })
}

/// The codes on which the Java producer tries another broker, and every failure of the connection. After a timeout there is time left
/// only if a try has a timeout of its own.
fn worth_another_try(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code, .. } => [
            response::TOPIC_NOT_EXIST,
            response::SERVICE_NOT_AVAILABLE,
            response::SYSTEM_ERROR,
            response::SYSTEM_BUSY,
            response::NO_PERMISSION,
            response::NO_BUYER_ID,
            response::NOT_IN_CURRENT_UNIT,
            response::GO_AWAY,
        ]
        .contains(code),
        ClientError::Connect { .. }
        | ClientError::Closed { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Timeout { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_queue_that_java_gives_it() {
        let queues: Vec<_> = (0..6)
            .map(|queue_id| MessageQueue {
                broker_name: "b".into(),
                queue_id,
                topic: "T".into(),
            })
            .collect();
        // By `SelectMessageQueueByHash` of 5.5.0; the hash of the last is Integer.MIN_VALUE.
        for (key, at) in [
            ("TagA", 1),
            ("", 0),
            ("order-7", 2),
            ("polygenelubricants", 2),
        ] {
            assert_eq!(by_key(&queues, key), queues.get(at), "{key:?}");
        }
        assert_eq!(by_key(&[], "x"), None);
    }

    #[test]
    fn what_is_tried_again() {
        let refused = |code| {
            let remark = String::new();
            worth_another_try(&ClientError::Refused { code, remark })
        };
        for code in [17, 14, 1, 2, 16, 204, 205, 1500] {
            assert!(refused(code), "{code}");
        }
        for code in [13, 29, 3, 26] {
            assert!(!refused(code), "{code}");
        }
        assert!(!worth_another_try(&ClientError::Stopped));
    }
}
