//! Timers beside the store: runs of them on disk, and RocketMQ's own files of them.

pub(in crate::store) mod entries;
pub(in crate::store) mod rocketmq;
pub(in crate::store) mod runs;
