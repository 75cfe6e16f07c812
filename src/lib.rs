//! ringmq

pub mod wire;
