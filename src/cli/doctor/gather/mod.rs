//! Gathers the facts. Nothing here judges; everything that may hang has a deadline.

pub mod brokers;
pub mod cluster;
pub mod disk;
pub mod groups;
pub mod machine;
pub mod notes;
pub mod plan;
pub mod remote;
pub mod running;
pub mod sockets;
