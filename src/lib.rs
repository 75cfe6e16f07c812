//! ringmq

pub mod io;
pub mod mem;
