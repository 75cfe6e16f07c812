//! Administrators' requests (RocketMQ: `AdminBrokerProcessor`).

mod cleaning;
mod connections;
mod groups;
mod queues;
pub(super) mod relay;
mod replicas;
pub(super) mod rewind;
mod runtime;
mod settings;
mod stats;
mod timers;
mod topics;
pub(super) mod unsupported;
