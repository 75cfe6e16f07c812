//! ringmq

pub mod broker;
pub mod io;
pub mod mem;
pub mod message;
pub mod wire;
