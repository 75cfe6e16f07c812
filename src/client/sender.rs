//! Sends with the rules of RocketMQ's own producer: queues in rotation, another broker when one fails, all within one timeout.
//!
//! Source: `DefaultMQProducerImpl.sendDefaultImpl`, `SelectMessageQueueByHash`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::faults::{Faults, Outcome, choose};
use super::instance::Instance;
use super::message::{Message, compressed};
use super::producer_config::ProducerConfig;
use super::route::RoutedQueue;
use super::routes::Routed;
use super::send_result::SendResult;
use super::transaction_state::Checker;
use super::{ClientError, unix_ms};
use crate::message::batch::{self, BatchItem};
use crate::message::{java_hash, properties, sys_flag};
use crate::wire::MessageQueue;
use crate::wire::codes::{request, response};
use crate::wire::send::SendRequest;

const DEFAULT_TOPIC: &str = "TBW102";
/// Between two questions for a route that is missing.
const ROUTE_PAUSE: Duration = Duration::from_millis(100);

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
    /// Only of a producer of transactions.
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
            // Not every process begins at the first queue.
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
            let routed = self.route(instance, &outgoing.topic, started).await?;
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

    /// The topic's route. If so configured, a missing route is queried until the timeout.
    async fn route(
        &self,
        instance: &Rc<Instance>,
        topic: &str,
        started: Instant,
    ) -> Result<Rc<Routed>, ClientError> {
        loop {
            let found = instance.routes.route_to_send(topic).await;
            let is_missing = match &found {
                Ok(routed) => routed.to_send.is_empty(),
                Err(ClientError::NoRoute { .. }) => true,
                Err(error) => worth_another_try(error),
            };
            let left = self.config.send_timeout.saturating_sub(started.elapsed());
            if !self.config.awaits_route || !is_missing || left < ROUTE_PAUSE {
                return found;
            }
            tokio::time::sleep(ROUTE_PAUSE).await;
            if found.is_ok() {
                instance.refresh_route(topic).await;
            }
        }
    }

    pub async fn send_one_way(
        &self,
        instance: &Rc<Instance>,
        message: Message,
    ) -> Result<(), ClientError> {
        let outgoing = self.outgoing(instance, vec![message], 0)?;
        let routed = instance.routes.route_to_send(&outgoing.topic).await?;
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
        let connecting = tokio::time::timeout(timeout, instance.remote(&queue.addr));
        // Not what was left of it: the route may have taken the most.
        let remote = connecting.await.map_err(|_| ClientError::Unreachable {
            addr: queue.addr.clone(),
            timeout: self.config.send_timeout,
        })??;
        let left = timeout.saturating_sub(began.elapsed());
        let code = match outgoing.is_batch {
            true => request::SEND_BATCH_MESSAGE,
            false => request::SEND_MESSAGE_V2,
        };
        let header = self.header(outgoing, queue);
        let answer = remote
            .call(code, &header.ext(), &outgoing.body, left)
            .await?;
        SendResult::of(answer, &outgoing.topic, &outgoing.message_id, queue)
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

    /// The content of a request: checked, with ids, compressed.
    pub fn outgoing(
        &self,
        instance: &Rc<Instance>,
        mut messages: Vec<Message>,
        sys_flag: i32,
    ) -> Result<Outgoing, ClientError> {
        for message in &mut messages {
            message.put(properties::WAIT, "true");
            if message.find(properties::UNIQUE_KEY).is_none() {
                message.put(properties::UNIQUE_KEY, instance.make_message_id());
            }
            // With what was added: the limit is that of the message as it is sent.
            message.check(self.config.max_message_bytes)?;
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

fn message_id(message: &Message) -> String {
    message
        .find(properties::UNIQUE_KEY)
        .unwrap_or_default()
        .to_owned()
}

/// Broker by broker, as Java's clients number a topic's queues: both choose the same for a key.
pub(super) fn in_order(routed: &Routed, topic: &str) -> Vec<MessageQueue> {
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
        error => error.is_of_connection(),
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
