//! ringmq

pub mod bench;
pub mod cli;
pub mod client;
pub mod io;
pub mod mem;
pub mod message;
pub mod wire;
