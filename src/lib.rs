//! ringmq

pub mod message;
