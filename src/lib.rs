//! ringmq

pub mod io;
pub mod mem;
pub mod message;
