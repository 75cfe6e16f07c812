//! A small asynchronous client for RocketMQ-compatible brokers, on tokio-uring: one thread, one runtime.
//!
//! Connections match answers to requests by opaque ([`connection`], [`Remote`]); the name server says where a topic's
//! queues are ([`NameServer`]); a [`Producer`] walks round them and tries another broker when one fails; a
//! [`PullConsumer`] reads them with long polling.

pub mod connection;
mod consumer;
#[cfg(test)]
pub(crate) mod fake;
mod producer;
mod remote;
mod route;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use consumer::{PullConsumer, PullStatus, Pulled, QueuePosition};
pub use producer::{Producer, SendResult};
pub use remote::{Remote, resolve};
pub use route::{MessageQueue, NameServer, TopicRoute};

/// What API calls other than sends and pulls may take (`mqClientApiTimeout` of the Java client).
pub const API_TIMEOUT: Duration = Duration::from_secs(3);

/// An answer, whatever its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub code: i32,
    pub remark: Option<String>,
    pub ext: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn find(&self, key: &str) -> Option<&str> {
        let field = self.ext.iter().find(|(name, _)| name == key)?;
        Some(&field.1)
    }

    /// A numeric header field of the answer.
    pub fn number(&self, key: &'static str) -> Result<i64, ClientError> {
        let text = self.find(key).unwrap_or_default();
        text.parse().map_err(|_| ClientError::Answer {
            what: format!("field {key}: got {text:?}, expected a number"),
        })
    }

    /// Only a success goes on.
    pub fn success(self) -> Result<Self, ClientError> {
        if self.code == crate::wire::codes::response::SUCCESS {
            return Ok(self);
        }
        Err(ClientError::Refused {
            code: self.code,
            remark: self.remark.unwrap_or_default(),
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no address for {text:?}: {error}")]
    Address { text: String, error: io::Error },
    #[error("cannot connect to {addr}: {error}")]
    Connect { addr: SocketAddr, error: io::Error },
    #[error("connection to {addr}: {reason}")]
    Closed { addr: SocketAddr, reason: String },
    #[error("{addr} did not answer request {code} within {timeout:?}")]
    Timeout {
        addr: SocketAddr,
        code: i32,
        timeout: Duration,
    },
    #[error("answered with code {code}: {remark}")]
    Refused { code: i32, remark: String },
    #[error("an answer that makes no sense: {what}")]
    Answer { what: String },
    #[error("topic {topic} has no queue that can be {used}")]
    NoQueue { topic: String, used: &'static str },
}

impl ClientError {
    fn closed(addr: SocketAddr, reason: &str) -> Self {
        Self::Closed {
            addr,
            reason: reason.to_owned(),
        }
    }
}
