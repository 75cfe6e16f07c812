//! ringmq

pub mod io;
pub mod mem;
pub mod message;
pub mod store;
