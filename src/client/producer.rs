//! Sends with the retry rules of RocketMQ's own producer: queues in turn, and another broker when one fails.
//!
//! Source: `DefaultMQProducerImpl.sendDefaultImpl`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::route::{MessageQueue, NameServer};
use super::{ClientError, Remote, Response, resolve};
use crate::wire::Codec;
use crate::wire::codes::{request, response};
use crate::wire::send::SendRequest;

/// One try and two more, as `retryTimesWhenSendFailed` 2.
const TRIES: usize = 3;
const SEND_TIMEOUT: Duration = Duration::from_secs(3);
const DEFAULT_TOPIC: &str = "TBW102";
const DEFAULT_TOPIC_QUEUES: i32 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    /// 0, or one of those that say "stored, but not as durable as configured": 10, 11, 12.
    pub code: i32,
    /// Where the broker put it, as RocketMQ's offset message id.
    pub offset_message_id: String,
    pub queue: MessageQueue,
    pub queue_offset: i64,
}

pub struct Producer {
    group: String,
    codec: Codec,
    names: NameServer,
    brokers: Brokers,
    turn: Cell<usize>,
}

impl Producer {
    pub fn new(names: NameServer, group: &str, codec: Codec) -> Self {
        Self {
            group: group.to_owned(),
            codec,
            names,
            brokers: Brokers::default(),
            turn: Cell::new(0),
        }
    }

    /// `properties` is RocketMQ's property string.
    pub async fn send(
        &self,
        topic: &str,
        properties: &str,
        body: &[u8],
    ) -> Result<SendResult, ClientError> {
        self.with_retries(topic, properties, body, Kind::Single)
            .await
    }

    /// `body` holds messages in the layout of [`crate::message::batch`]; they go to one queue, in order.
    pub async fn send_batch(&self, topic: &str, body: &[u8]) -> Result<SendResult, ClientError> {
        self.with_retries(topic, "", body, Kind::Batch).await
    }

    /// Sent to the next queue, without an answer and without another try.
    pub async fn send_one_way(
        &self,
        topic: &str,
        properties: &str,
        body: &[u8],
    ) -> Result<(), ClientError> {
        let queue = self.next_queue(topic, None).await?;
        let remote = self.brokers.remote(&queue, self.codec).await?;
        let header = header(&self.group, topic, &queue, properties, Kind::Single);
        remote.one_way(request::SEND_MESSAGE_V2, &header.ext(), body)
    }

    async fn with_retries(
        &self,
        topic: &str,
        properties: &str,
        body: &[u8],
        kind: Kind,
    ) -> Result<SendResult, ClientError> {
        let mut failed_broker: Option<String> = None;
        let mut tried = 0;
        loop {
            let queue = self.next_queue(topic, failed_broker.as_deref()).await?;
            tried += 1;
            match self.try_send(topic, &queue, properties, body, kind).await {
                Err(error) if tried < TRIES && worth_another_try(&error) => {
                    failed_broker = Some(queue.broker);
                }
                other => return other,
            }
        }
    }

    async fn try_send(
        &self,
        topic: &str,
        queue: &MessageQueue,
        properties: &str,
        body: &[u8],
        kind: Kind,
    ) -> Result<SendResult, ClientError> {
        let remote = self.brokers.remote(queue, self.codec).await?;
        let header = header(&self.group, topic, queue, properties, kind);
        let code = match kind {
            Kind::Single => request::SEND_MESSAGE_V2,
            Kind::Batch => request::SEND_BATCH_MESSAGE,
        };
        sent(
            remote.call(code, &header.ext(), body, SEND_TIMEOUT).await?,
            queue,
        )
    }

    /// The next queue in turn, past those of the broker that has just failed where there is another.
    async fn next_queue(
        &self,
        topic: &str,
        failed_broker: Option<&str>,
    ) -> Result<MessageQueue, ClientError> {
        let queues = self.names.queues_to_send(topic).await?;
        let start = self.turn.replace(self.turn.get().wrapping_add(1));
        let at = |step: usize| &queues[start.wrapping_add(step) % queues.len()];
        let other = (0..queues.len()).find(|&step| Some(at(step).broker.as_str()) != failed_broker);
        Ok(at(other.unwrap_or(0)).clone())
    }
}

/// One connection for each broker.
#[derive(Default)]
pub(super) struct Brokers {
    remotes: RefCell<HashMap<String, Rc<Remote>>>,
}

impl Brokers {
    /// The open connection to the queue's broker, or a new one.
    pub async fn remote(
        &self,
        queue: &MessageQueue,
        codec: Codec,
    ) -> Result<Rc<Remote>, ClientError> {
        let known = self.remotes.borrow().get(&queue.addr).cloned();
        if let Some(remote) = known.filter(|remote| !remote.is_closed()) {
            return Ok(remote);
        }
        let remote = Rc::new(Remote::connect(resolve(&queue.addr)?, codec).await?);
        self.remotes
            .borrow_mut()
            .insert(queue.addr.clone(), Rc::clone(&remote));
        Ok(remote)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Batch,
}

fn header<'a>(
    group: &'a str,
    topic: &'a str,
    queue: &MessageQueue,
    properties: &'a str,
    kind: Kind,
) -> SendRequest<'a> {
    SendRequest {
        producer_group: group,
        topic,
        default_topic: DEFAULT_TOPIC,
        default_topic_queue_nums: DEFAULT_TOPIC_QUEUES,
        queue_id: queue.queue_id as i32,
        sys_flag: 0,
        born_timestamp_ms: unix_ms(),
        flag: 0,
        properties: Some(properties),
        reconsume_times: Some(0),
        unit_mode: false,
        max_reconsume_times: None,
        batch: kind == Kind::Batch,
        broker_name: None,
    }
}

fn sent(answer: Response, queue: &MessageQueue) -> Result<SendResult, ClientError> {
    const STORED: [i32; 4] = [
        response::SUCCESS,
        response::FLUSH_DISK_TIMEOUT,
        response::SLAVE_NOT_AVAILABLE,
        response::FLUSH_SLAVE_TIMEOUT,
    ];
    if !STORED.contains(&answer.code) {
        return Err(ClientError::Refused {
            code: answer.code,
            remark: answer.remark.unwrap_or_default(),
        });
    }
    let queue_offset = answer.number("queueOffset")?;
    Ok(SendResult {
        code: answer.code,
        offset_message_id: answer.find("msgId").unwrap_or_default().to_owned(),
        queue: queue.clone(),
        queue_offset,
    })
}

/// The codes on which the Java producer tries another broker, and every failure of the connection.
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
        ClientError::Connect { .. } | ClientError::Closed { .. } => true,
        // The Java producer's timeout spans all tries.
        ClientError::Timeout { .. } => false,
        _ => false,
    }
}

pub(super) fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
