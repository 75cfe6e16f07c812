//! ringmq

pub mod cli;
pub mod config;
pub mod io;
pub mod mem;
