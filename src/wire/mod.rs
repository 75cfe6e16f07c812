//! RocketMQ's remoting protocol: bytes to values and back, nothing else.
//!
//! [`frame`] cuts a frame out of what a connection received and writes one, [`header`] decodes its header in either of
//! the two codecs, and one small file per request family gives the header fields and bodies their types. A request's
//! way in: `frame::split` -> `header::decode` -> the family's `decode(&ext)` (and its `body`); a reply's way out: the
//! family's `ext()` -> `frame::write`. Nothing on the path of a send or a pull allocates. The source of every name and
//! rule is RocketMQ's `remoting` module.

pub mod admin;
pub mod assignment;
pub mod auth;
pub mod codes;
pub mod consumer;
pub mod controller;
pub mod data_version;
pub mod exchange;
pub mod frame;
pub mod group;
pub mod header;
pub mod heartbeat;
pub mod kv_config;
pub mod language;
pub mod lock;
pub mod loose_json;
pub mod message_queue;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod query;
pub mod recall;
pub mod register;
pub mod reply;
pub mod request;
pub mod route;
pub mod send;
pub mod send_back;
pub mod stats;
pub mod topic;
pub mod transaction;

mod binary;
mod fields;
mod head;
mod json;
mod scratch;

pub use codes::CURRENT_VERSION;
pub use data_version::DataVersion;
pub use fields::HeaderError;
pub use frame::{Frame, FrameError};
pub use head::{Codec, EMPTY_EXT, Head, Value};
pub use header::{Ext, Header, KeptExt};
pub use language::Language;
pub use loose_json::BodyError;
pub use message_queue::MessageQueue;
pub use reply::Reply;
pub use request::FieldError;
pub use scratch::Scratch;

/// Bit of a header's `flag`: this frame answers another.
pub const FLAG_RESPONSE: i32 = 1;

/// Bit of a header's `flag`: the request must not be answered.
pub const FLAG_ONEWAY: i32 = 2;

#[cfg(test)]
mod family_tests;
