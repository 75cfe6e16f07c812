//! What a consumer asks about a queue: its bounds, the offset of a time, and its messages.

use std::time::Duration;

use super::instance::Instance;
use super::message::{Received, received};
use super::reader::{PullStatus, pulled};
use super::subscription::Subscription;
use super::{API_TIMEOUT, ClientError, Response};
use crate::wire::MessageQueue;
use crate::wire::codes::request;
use crate::wire::frame::Value;
use crate::wire::offset::{Boundary, QueueRequest, SearchOffset};
use crate::wire::pull::{PullRequest, pull_sys_flag};

/// How much longer than the broker may hold a pull its answer may take (`consumerTimeoutMillisWhenSuspend`).
const PULL_GRACE: Duration = Duration::from_secs(15);
const PULL_TIMEOUT: Duration = Duration::from_secs(10);

/// One pull.
pub(super) struct Pull<'a> {
    pub group: &'a str,
    pub subscription: &'a Subscription,
    pub offset: i64,
    pub max_messages: u32,
    /// How long the broker may hold it.
    pub suspend: Option<Duration>,
    pub commit_offset: Option<i64>,
    /// For whoever has not told the broker by heartbeat.
    pub brings_subscription: bool,
}

/// What a pull found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullResult {
    pub status: PullStatus,
    /// To go on from.
    pub next_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    pub messages: Vec<Received>,
}

impl Instance {
    /// Asks the broker of a queue.
    pub async fn call_broker(
        &self,
        queue: &MessageQueue,
        code: i32,
        ext: &[(&str, Value<'_>)],
    ) -> Result<Response, ClientError> {
        let addr = self.addr_of(queue).await?;
        self.call(&addr, code, ext, &[], API_TIMEOUT).await
    }

    pub async fn addr_of(&self, queue: &MessageQueue) -> Result<String, ClientError> {
        if let Some(addr) = self.broker_addr(&queue.broker_name) {
            return Ok(addr);
        }
        self.route(&queue.topic).await?;
        self.broker_addr(&queue.broker_name)
            .ok_or_else(|| ClientError::NoBroker {
                name: queue.broker_name.clone(),
            })
    }

    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.bound(queue, request::GET_MIN_OFFSET).await
    }

    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.bound(queue, request::GET_MAX_OFFSET).await
    }

    async fn bound(&self, queue: &MessageQueue, code: i32) -> Result<i64, ClientError> {
        let header = QueueRequest {
            topic: &queue.topic,
            queue_id: queue.queue_id,
        };
        let answer = self.call_broker(queue, code, &header.ext()).await?;
        answer.success()?.number("offset")
    }

    /// The first message that was stored then or later.
    pub async fn offset_at(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        let header = SearchOffset {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            timestamp_ms,
            boundary: Boundary::Lower,
        };
        let code = request::SEARCH_OFFSET_BY_TIMESTAMP;
        let answer = self.call_broker(queue, code, &header.ext()).await?;
        answer.success()?.number("offset")
    }

    pub async fn pull(
        &self,
        queue: &MessageQueue,
        pull: &Pull<'_>,
    ) -> Result<PullResult, ClientError> {
        let mut sys_flag = 0;
        if pull.commit_offset.is_some() {
            sys_flag |= pull_sys_flag::COMMIT_OFFSET;
        }
        if pull.suspend.is_some() {
            sys_flag |= pull_sys_flag::SUSPEND;
        }
        if pull.brings_subscription {
            sys_flag |= pull_sys_flag::SUBSCRIPTION;
        }
        let data = pull.subscription.data();
        let header = PullRequest {
            consumer_group: pull.group,
            topic: &queue.topic,
            queue_id: queue.queue_id,
            queue_offset: pull.offset,
            max_msg_nums: pull.max_messages as i32,
            sys_flag,
            commit_offset: pull.commit_offset.unwrap_or(0),
            suspend_timeout_ms: pull.suspend.unwrap_or_default().as_millis() as i64,
            subscription: pull.brings_subscription.then_some(&*data.sub_string),
            sub_version: data.sub_version,
            expression_type: Some(&data.expression_type),
            max_msg_bytes: None,
            request_source: None,
        };
        let addr = self.addr_of(queue).await?;
        let timeout = pull.suspend.map_or(PULL_TIMEOUT, |held| held + PULL_GRACE);
        let answer = self
            .call(&addr, request::PULL_MESSAGE, &header.ext(), &[], timeout)
            .await?;
        let found = pulled(answer)?;
        let mut messages = received(&found.records, queue, pull.group)?;
        messages.retain(|message| pull.subscription.wants(message));
        Ok(PullResult {
            status: found.status,
            next_offset: found.next_offset,
            min_offset: found.min_offset,
            max_offset: found.max_offset,
            messages,
        })
    }
}
