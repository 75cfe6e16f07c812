//! Reads queues of a topic over io_uring: long polling, and offsets kept at the broker. For the load generator: it joins no
//! group and makes no messages of what it reads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::route::{NameServer, RoutedQueue};
use super::{API_TIMEOUT, ClientError, Remote, Response, resolve, unix_ms};
use crate::wire::Codec;
use crate::wire::codes::{request, response};
use crate::wire::offset::{QueryConsumerOffset, QueueRequest, UpdateConsumerOffset};
use crate::wire::pull::{PullRequest, pull_sys_flag};

/// How long the broker may hold a pull that finds nothing (`brokerSuspendMaxTimeMillis` of push consumers), and how
/// long the client waits for it.
const SUSPEND: Duration = Duration::from_secs(15);
const PULL_TIMEOUT: Duration = Duration::from_secs(30);
/// `pullBatchSize` of push consumers, and the most that RocketMQ's broker gives from memory.
const MAX_MESSAGES: i32 = 32;

/// A queue and the offset to pull next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePosition {
    pub queue: RoutedQueue,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    Found,
    /// The end of the queue: nothing came while the broker held the pull.
    NoNewMessage,
    /// The scanned entries were none of this consumer's.
    NoMatch,
    /// The offset is outside of what the queue holds.
    OffsetMoved,
}

#[derive(Clone, Debug)]
pub struct Pulled {
    pub status: PullStatus,
    pub next_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    /// Records one after the other, as the CommitLog holds them.
    pub records: Vec<u8>,
}

pub struct QueueReader {
    group: String,
    topic: String,
    codec: Codec,
    brokers: Brokers,
}

impl QueueReader {
    pub fn new(group: &str, topic: &str, codec: Codec) -> Self {
        Self {
            group: group.to_owned(),
            topic: topic.to_owned(),
            codec,
            brokers: Brokers::default(),
        }
    }

    /// All queues of the topic, each at the offset committed by this group or at its start.
    pub async fn positions(&self, names: &NameServer) -> Result<Vec<QueuePosition>, ClientError> {
        let mut positions = Vec::new();
        for queue in names.queues_to_pull(&self.topic).await? {
            let offset = match self.committed(&queue).await? {
                Some(offset) => offset,
                None => self.min_offset(&queue).await?,
            };
            positions.push(QueuePosition { queue, offset });
        }
        Ok(positions)
    }

    /// One pull; returns when there is something or when the broker has held it for 15 s.
    pub async fn pull(&self, queue: &RoutedQueue, offset: i64) -> Result<Pulled, ClientError> {
        let remote = self.brokers.remote(queue, self.codec).await?;
        let header = PullRequest {
            consumer_group: &self.group,
            topic: &self.topic,
            queue_id: queue.queue_id as i32,
            queue_offset: offset,
            max_msg_nums: MAX_MESSAGES,
            sys_flag: pull_sys_flag::SUSPEND | pull_sys_flag::SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_ms: SUSPEND.as_millis() as i64,
            subscription: Some("*"),
            sub_version: unix_ms(),
            expression_type: Some("TAG"),
            max_msg_bytes: None,
            request_source: None,
        };
        pulled(
            remote
                .call(request::PULL_MESSAGE, &header.ext(), &[], PULL_TIMEOUT)
                .await?,
        )
    }

    /// What the group has committed for the queue, if anything.
    pub async fn committed(&self, queue: &RoutedQueue) -> Result<Option<i64>, ClientError> {
        let remote = self.brokers.remote(queue, self.codec).await?;
        let header = QueryConsumerOffset {
            consumer_group: &self.group,
            topic: &self.topic,
            queue_id: queue.queue_id as i32,
            set_zero_if_not_found: None,
        };
        let answer = remote
            .call(
                request::QUERY_CONSUMER_OFFSET,
                &header.ext(),
                &[],
                API_TIMEOUT,
            )
            .await?;
        if answer.code == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.success()?.number("offset")?))
    }

    /// One-way, as every client does it.
    pub async fn commit(&self, queue: &RoutedQueue, offset: i64) -> Result<(), ClientError> {
        let remote = self.brokers.remote(queue, self.codec).await?;
        let header = UpdateConsumerOffset {
            consumer_group: &self.group,
            topic: &self.topic,
            queue_id: queue.queue_id as i32,
            commit_offset: offset,
        };
        remote.one_way(request::UPDATE_CONSUMER_OFFSET, &header.ext(), &[])
    }

    pub async fn min_offset(&self, queue: &RoutedQueue) -> Result<i64, ClientError> {
        self.bound(queue, request::GET_MIN_OFFSET).await
    }

    pub async fn max_offset(&self, queue: &RoutedQueue) -> Result<i64, ClientError> {
        self.bound(queue, request::GET_MAX_OFFSET).await
    }

    async fn bound(&self, queue: &RoutedQueue, code: i32) -> Result<i64, ClientError> {
        let remote = self.brokers.remote(queue, self.codec).await?;
        let header = QueueRequest {
            topic: &self.topic,
            queue_id: queue.queue_id as i32,
        };
        let answer = remote.call(code, &header.ext(), &[], API_TIMEOUT).await?;
        answer.success()?.number("offset")
    }
}

/// One connection for each broker.
#[derive(Default)]
struct Brokers {
    remotes: RefCell<HashMap<String, Rc<Remote>>>,
}

impl Brokers {
    /// The open connection to the queue's broker, or a new one.
    async fn remote(&self, queue: &RoutedQueue, codec: Codec) -> Result<Rc<Remote>, ClientError> {
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

pub(super) fn pulled(answer: Response) -> Result<Pulled, ClientError> {
    let status = match answer.code {
        response::SUCCESS => PullStatus::Found,
        response::PULL_NOT_FOUND => PullStatus::NoNewMessage,
        response::PULL_RETRY_IMMEDIATELY => PullStatus::NoMatch,
        response::PULL_OFFSET_MOVED => PullStatus::OffsetMoved,
        code => {
            return Err(ClientError::Refused {
                code,
                remark: answer.remark.unwrap_or_default(),
            });
        }
    };
    Ok(Pulled {
        status,
        next_offset: answer.number("nextBeginOffset")?,
        min_offset: answer.number("minOffset")?,
        max_offset: answer.number("maxOffset")?,
        records: answer.body,
    })
}
