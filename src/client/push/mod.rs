//! The push consumer: takes its share of a group's queues, pulls them with long polling and hands each message to the
//! application's listener.
//!
//! ```text
//! rebalance -> which queues are ours -> pulling (one task a queue) -> process_queue -> consuming (listener) -> offsets
//! ```
//!
//! An offset is saved only up to the first message that the listener has not done. After a crash of this process the next owner of the
//! queue begins there: every message is consumed at least once.
//!
//! Source: `DefaultMQPushConsumerImpl`.

mod assigned;
mod config;
mod consumer;
mod consuming;
pub(super) mod member;
mod offsets;
mod process_queue;
mod pulling;
mod rebalance;

pub use config::{ConsumeFrom, PushConfig, Verdict};
pub use consumer::PushConsumer;
