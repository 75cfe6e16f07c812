//! Requests about one queue, on a connection to its broker: bounds, offsets, pulls. For consumers and for the load generator.

use std::time::Duration;

use super::{API_TIMEOUT, ClientError, Remote, Response};
use crate::wire::Value;
use crate::wire::codes::{request, response};
use crate::wire::heartbeat::SubscriptionData;
use crate::wire::offset::{
    Boundary, QueryConsumerOffset, QueueRequest, SearchOffset, UpdateConsumerOffset,
};
use crate::wire::pull::{PullRequest, pull_sys_flag};

/// How much longer than the broker may hold a pull its answer may take (`consumerTimeoutMillisWhenSuspend`).
const PULL_GRACE: Duration = Duration::from_secs(15);
const PULL_TIMEOUT: Duration = Duration::from_secs(10);

/// A queue of the broker at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a> {
    pub topic: &'a str,
    pub id: i32,
}

/// One pull.
pub struct Pull<'a> {
    pub group: &'a str,
    pub subscription: &'a SubscriptionData,
    pub offset: i64,
    pub max_messages: u32,
    /// How long the broker may hold it.
    pub suspend: Option<Duration>,
    pub commit_offset: Option<i64>,
    /// For a group without a heartbeat.
    pub brings_subscription: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStatus {
    Found,
    /// The end of the queue: no message arrived while the broker held the pull.
    NoNewMessage,
    /// No scanned message matched the subscription.
    NoMatch,
    /// The offset is outside of the queue's bounds.
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

/// On a connection to the queue's broker.
impl Remote {
    pub async fn min_offset(&self, queue: Queue<'_>) -> Result<i64, ClientError> {
        self.bound(queue, request::GET_MIN_OFFSET).await
    }

    /// Behind the last message.
    pub async fn max_offset(&self, queue: Queue<'_>) -> Result<i64, ClientError> {
        self.bound(queue, request::GET_MAX_OFFSET).await
    }

    async fn bound(&self, queue: Queue<'_>, code: i32) -> Result<i64, ClientError> {
        let header = QueueRequest {
            topic: queue.topic,
            queue_id: queue.id,
        };
        self.offset(code, &header.ext()).await
    }

    /// Of the first message that was stored then or later.
    pub async fn offset_at(&self, queue: Queue<'_>, timestamp_ms: i64) -> Result<i64, ClientError> {
        let header = SearchOffset {
            topic: queue.topic,
            queue_id: queue.id,
            timestamp_ms,
            boundary: Boundary::Lower,
        };
        let code = request::SEARCH_OFFSET_BY_TIMESTAMP;
        self.offset(code, &header.ext()).await
    }

    async fn offset(&self, code: i32, ext: &[(&str, Value<'_>)]) -> Result<i64, ClientError> {
        let answer = self.call(code, ext, &[], API_TIMEOUT).await?;
        answer.success()?.number("offset")
    }

    /// The group's offset; `None` if it has none.
    pub async fn committed(
        &self,
        group: &str,
        queue: Queue<'_>,
    ) -> Result<Option<i64>, ClientError> {
        let header = QueryConsumerOffset {
            consumer_group: group,
            topic: queue.topic,
            queue_id: queue.id,
            set_zero_if_not_found: None,
        };
        let code = request::QUERY_CONSUMER_OFFSET;
        let answer = self.call(code, &header.ext(), &[], API_TIMEOUT).await?;
        if answer.code == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.success()?.number("offset")?))
    }

    /// Returns once the broker has it: the next owner of the queue begins there.
    pub async fn commit(
        &self,
        group: &str,
        queue: Queue<'_>,
        offset: i64,
    ) -> Result<(), ClientError> {
        let header = UpdateConsumerOffset {
            consumer_group: group,
            topic: queue.topic,
            queue_id: queue.id,
            commit_offset: offset,
        };
        let code = request::UPDATE_CONSUMER_OFFSET;
        let answer = self.call(code, &header.ext(), &[], API_TIMEOUT).await?;
        answer.success().map(drop)
    }

    pub async fn pull(&self, queue: Queue<'_>, pull: &Pull<'_>) -> Result<Pulled, ClientError> {
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
        let data = pull.subscription;
        let header = PullRequest {
            consumer_group: pull.group,
            topic: queue.topic,
            queue_id: queue.id,
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
        let timeout = pull.suspend.map_or(PULL_TIMEOUT, |held| held + PULL_GRACE);
        let code = request::PULL_MESSAGE;
        pulled(self.call(code, &header.ext(), &[], timeout).await?)
    }
}

fn pulled(answer: Response) -> Result<Pulled, ClientError> {
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
