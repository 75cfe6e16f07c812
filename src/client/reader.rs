//! Reads queues of a topic over io_uring, for the load generator: it joins no group and decodes no messages.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::queue_requests::{Pull, Pulled, Queue};
use super::route::{NameServer, RoutedQueue};
use super::stream::Dial;
use super::subscription::Subscription;
use super::{ClientError, Remote, resolve};
use crate::wire::Codec;

/// How long the broker may hold a pull that finds nothing (`brokerSuspendMaxTimeMillis` of push consumers).
const SUSPEND: Duration = Duration::from_secs(15);
/// `pullBatchSize` of push consumers, and the most that RocketMQ's broker gives from memory.
const MAX_MESSAGES: u32 = 32;

/// A queue and the offset to pull next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePosition {
    pub queue: RoutedQueue,
    pub offset: i64,
}

pub struct QueueReader {
    group: String,
    subscription: Subscription,
    dial: Dial,
    codec: Codec,
    /// One connection for each broker, by address.
    remotes: RefCell<HashMap<String, Rc<Remote>>>,
}

impl QueueReader {
    pub fn new(group: &str, topic: &str, dial: Dial, codec: Codec) -> Self {
        Self {
            group: group.to_owned(),
            subscription: Subscription::all(topic),
            dial,
            codec,
            remotes: RefCell::default(),
        }
    }

    /// All queues of the topic, each at the offset committed by this group or at its start.
    pub async fn positions(&self, names: &NameServer) -> Result<Vec<QueuePosition>, ClientError> {
        let mut positions = Vec::new();
        for queue in names.queues_to_pull(self.subscription.topic()).await? {
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
        let pull = Pull {
            group: &self.group,
            subscription: self.subscription.data(),
            offset,
            max_messages: MAX_MESSAGES,
            suspend: Some(SUSPEND),
            commit_offset: None,
            brings_subscription: true,
        };
        let remote = self.remote(queue).await?;
        remote.pull(self.at(queue), &pull).await
    }

    /// The group's offset of the queue, if it has one.
    pub async fn committed(&self, queue: &RoutedQueue) -> Result<Option<i64>, ClientError> {
        let remote = self.remote(queue).await?;
        remote.committed(&self.group, self.at(queue)).await
    }

    pub async fn commit(&self, queue: &RoutedQueue, offset: i64) -> Result<(), ClientError> {
        let remote = self.remote(queue).await?;
        remote.commit(&self.group, self.at(queue), offset).await
    }

    pub async fn min_offset(&self, queue: &RoutedQueue) -> Result<i64, ClientError> {
        self.remote(queue).await?.min_offset(self.at(queue)).await
    }

    pub async fn max_offset(&self, queue: &RoutedQueue) -> Result<i64, ClientError> {
        self.remote(queue).await?.max_offset(self.at(queue)).await
    }

    fn at(&self, queue: &RoutedQueue) -> Queue<'_> {
        Queue {
            topic: self.subscription.topic(),
            id: queue.queue_id as i32,
        }
    }

    /// The open connection to the queue's broker, or a new one.
    async fn remote(&self, queue: &RoutedQueue) -> Result<Rc<Remote>, ClientError> {
        let known = self.remotes.borrow().get(&queue.addr).cloned();
        if let Some(remote) = known.filter(|remote| !remote.is_closed()) {
            return Ok(remote);
        }
        let to = resolve(&queue.addr)?;
        let remote = Rc::new(Remote::connect_by(&self.dial, &to, self.codec).await?);
        self.remotes
            .borrow_mut()
            .insert(queue.addr.clone(), Rc::clone(&remote));
        Ok(remote)
    }
}
