//! What a broker answers to a send.

use super::route::RoutedQueue;
use super::{ClientError, Response};
use crate::wire::MessageQueue;
use crate::wire::codes::response;

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

impl SendResult {
    pub(super) fn of(
        answer: Response,
        topic: &str,
        message_id: &str,
        queue: &RoutedQueue,
    ) -> Result<Self, ClientError> {
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
        Ok(Self {
            status,
            message_id: message_id.to_owned(),
            offset_message_id: answer.find("msgId").unwrap_or_default().to_owned(),
            queue: MessageQueue {
                queue_id: queue_id as i32,
                ..queue.named(topic)
            },
            queue_offset: answer.number("queueOffset")?,
            recall_handle: answer.find("recallHandle").map(str::to_owned),
        })
    }
}
