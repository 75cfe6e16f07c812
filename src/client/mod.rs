//! The client: for applications, and for the load generator.
//!
//! # For applications
//!
//! A [`Client`] is a handle on one thread of its own that does all the work of its producers and consumers: connections, routes,
//! heartbeats, rebalancing. Every call starts at once and gives back a [`Pending`], which can be awaited in any executor (tokio or
//! another) or waited for in a thread without one. Handles are `Send`, so an application can use them from any thread.
//! That thread runs plain tokio on epoll rather than io_uring: containers commonly forbid io_uring, and a client has to run where
//! the application runs. The rules are those of RocketMQ's Java client, so that members of one group may be of both kinds.
//!
//! * [`Client::producer`] makes a [`Producer`]: [`send`](Producer::send), [`send_then`](Producer::send_then) with a callback,
//!   [`send_ordered`](Producer::send_ordered), [`send_batch`](Producer::send_batch), [`send_one_way`](Producer::send_one_way).
//! * [`Client::transaction_producer`] makes a [`TransactionProducer`].
//! * [`Client::push_consumer`] makes a [`PushConsumer`]: concurrent or orderly, clustering or broadcasting.
//! * [`Client::pull_consumer`] makes a [`PullConsumer`].
//!
//! ```no_run
//! use ringmq::client::{Client, ClientConfig, Message, ProducerConfig, PushConfig, Subscription, Verdict};
//!
//! # fn main() -> Result<(), ringmq::client::ClientError> {
//! let client = Client::start(ClientConfig::new("127.0.0.1:9876"))?;
//! let producer = client.producer(ProducerConfig::new("greeters"))?;
//! producer.send(Message::new("Greetings", "hello").tag("plain")).wait()?;
//!
//! let config = PushConfig::new("listeners", vec![Subscription::all("Greetings")]);
//! let consumer = client
//!     .push_consumer(config, |messages| {
//!         for message in messages {
//!             println!("{:?}", message.text());
//!         }
//!         Verdict::Consumed
//!     })
//!     .wait()?;
//! // ...
//! client.shutdown().wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! In an application's Cargo.toml: `ringmq = { path = "../ringmq" }`, or `git` with the address that this source came from. The client is a part
//! of the one crate, so the broker is compiled with it; at run time it needs neither io_uring nor anything else of the broker.
//!
//! # For the load generator
//!
//! On tokio-uring, on the caller's thread: [`connection`] and [`Remote`] match answers to requests by opaque, [`NameServer`] has
//! where a topic's queues are, [`QueueReader`] reads them, without the rules of an application's client.

mod app;
mod config;
pub mod connection;
#[cfg(test)]
pub(crate) mod fake;
mod faults;
mod half_message;
mod identity;
mod instance;
mod message;
mod outages;
mod pending;
mod producer;
mod producer_config;
mod pull;
mod push;
mod queue_requests;
mod queues;
mod reader;
mod received;
mod remote;
mod requests;
mod route;
mod routes;
mod runtime;
mod send_result;
mod sender;
mod session;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;
mod transaction;
mod transaction_state;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use app::Client;
pub use config::ClientConfig;
pub use message::{Message, is_reserved};
pub use pending::Pending;
pub use producer::Producer;
pub use producer_config::ProducerConfig;
pub use pull::{PullConfig, PullConsumer};
pub use push::{ConsumeFrom, PushConfig, PushConsumer, Verdict};
pub use queue_requests::{PullStatus, Pulled};
pub use queues::PullResult;
pub use reader::{QueuePosition, QueueReader};
pub use received::Received;
pub use remote::{Remote, resolve};
pub use route::{NameServer, RoutedQueue, TopicRoute};
pub use send_result::{SendResult, SendStatus};
pub use stream::{Dial, Endpoint, Transport};
pub use subscription::Subscription;
pub use transaction::TransactionProducer;
pub use transaction_state::TransactionState;

pub use crate::wire::MessageQueue;
pub use crate::wire::heartbeat::MessageModel;

/// Time limit of API calls other than sends and pulls (`mqClientApiTimeout` of the Java client).
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

    /// An error unless it is a success.
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
    #[error("cannot connect to the name server {addr}: {error}")]
    NameServer { addr: SocketAddr, error: io::Error },
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
    #[error("an answer that cannot be read: {what}")]
    Answer { what: String },
    #[error("topic {topic} has no queue that can be {used}")]
    NoQueue { topic: String, used: &'static str },
    #[error("no broker serves topic {topic} (name server {names} has no route of it)")]
    NoRoute { topic: String, names: String },
    #[error("the routes name no broker {name}")]
    NoBroker { name: String },
    #[error("{addr} cannot be reached within {timeout:?}")]
    Unreachable { addr: String, timeout: Duration },
    #[error("{reason}")]
    Illegal { reason: String },
    #[error("the offsets in {file}: {error}", file = file.display())]
    Offsets { file: PathBuf, error: io::Error },
    #[error("the client cannot start: {0}")]
    Start(io::Error),
    #[error("the client has been shut down")]
    Stopped,
}

impl ClientError {
    /// The code with which a broker or name server refused.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the connection failed, rather than that something was refused.
    pub fn is_of_connection(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::NameServer { .. }
                | Self::Closed { .. }
                | Self::Unreachable { .. }
                | Self::Timeout { .. }
        )
    }

    fn illegal(reason: impl Into<String>) -> Self {
        Self::Illegal {
            reason: reason.into(),
        }
    }

    fn closed(addr: SocketAddr, reason: &str) -> Self {
        Self::Closed {
            addr,
            reason: reason.to_owned(),
        }
    }
}

fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
