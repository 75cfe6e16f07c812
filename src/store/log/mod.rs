//! The CommitLog: its buffer, its files, its writer, and the one reader of what it holds. It knows no queue.

pub mod ack_watermark;
pub mod buffer;
pub mod cache;
pub mod damage;
pub mod reader;
mod recycle;
pub mod scrub;
pub mod segments;
pub mod unreadable;
pub mod writer;
pub mod zero_ahead;
