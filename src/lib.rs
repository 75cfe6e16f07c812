//! ringmq

pub mod bench;
