//! ringmq

pub mod bench;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod io;
pub mod mem;
pub mod message;
pub mod namesrv;
pub mod reactor;
pub mod ring;
pub mod sim;
pub mod store;
pub mod wire;
