//! Settings as administrators see them (RocketMQ: `AdminBrokerProcessor`).

mod settings;
