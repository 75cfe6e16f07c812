//! Administrators' requests (RocketMQ: `AdminBrokerProcessor`).

mod cleaning;
mod connections;
mod groups;
mod runtime;
mod settings;
mod stats;
mod topics;
