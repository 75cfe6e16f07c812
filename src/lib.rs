//! ringmq

pub mod cli;
pub mod config;
pub mod io;
pub mod mem;
pub mod message;
pub mod namesrv;
pub mod ring;
pub mod sim;
pub mod wire;
