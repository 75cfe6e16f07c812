//! Queries of a queue's offsets, at the broker that has the queue.

use std::rc::Rc;

use super::instance::Instance;
use super::queue_requests::{self, Pull, PullStatus, Queue};
use super::received::{Received, received};
use super::subscription::Subscription;
use super::{ClientError, Remote};
use crate::wire::MessageQueue;

/// What a pull found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullResult {
    pub status: PullStatus,
    /// The offset of the next pull.
    pub next_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    pub messages: Vec<Received>,
}

impl Instance {
    pub async fn addr_of(&self, queue: &MessageQueue) -> Result<String, ClientError> {
        if let Some(addr) = self.routes.broker_addr(&queue.broker_name) {
            return Ok(addr);
        }
        self.routes.route(&queue.topic).await?;
        self.routes
            .broker_addr(&queue.broker_name)
            .ok_or_else(|| ClientError::NoBroker {
                name: queue.broker_name.clone(),
            })
    }

    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.at_broker(queue, async |remote| remote.min_offset(at(queue)).await)
            .await
    }

    /// Behind the last message.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.at_broker(queue, async |remote| remote.max_offset(at(queue)).await)
            .await
    }

    /// Of the first message that was stored then or later.
    pub async fn offset_at(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        self.at_broker(queue, async |remote| {
            remote.offset_at(at(queue), timestamp_ms).await
        })
        .await
    }

    /// A group's offset; `None` if it has none.
    pub async fn committed(
        &self,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        self.at_broker(queue, async |remote| {
            remote.committed(group, at(queue)).await
        })
        .await
    }

    pub async fn commit(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        self.at_broker(queue, async |remote| {
            remote.commit(group, at(queue), offset).await
        })
        .await
    }

    /// The messages of `subscription`: the broker compares hashes of tags, this compares the tags.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        subscription: &Subscription,
        pull: &Pull<'_>,
    ) -> Result<PullResult, ClientError> {
        let found = self
            .at_broker(queue, async |remote| remote.pull(at(queue), pull).await)
            .await?;
        let mut messages = received(&found.records, queue, pull.group)?;
        messages.retain(|message| subscription.wants(message));
        let queue_requests::Pulled {
            status,
            next_offset,
            min_offset,
            max_offset,
            ..
        } = found;
        Ok(PullResult {
            status,
            next_offset,
            min_offset,
            max_offset,
            messages,
        })
    }

    async fn at_broker<T>(
        &self,
        queue: &MessageQueue,
        ask: impl AsyncFnOnce(Rc<Remote>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let addr = self.addr_of(queue).await?;
        let remote = self.remote(&addr).await?;
        self.noted(&addr, ask(remote).await)
    }
}

fn at(queue: &MessageQueue) -> Queue<'_> {
    Queue {
        topic: &queue.topic,
        id: queue.queue_id,
    }
}
