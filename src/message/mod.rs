//! A message as RocketMQ lays it out, on the wire of a pull reply and on disk alike.
//!
//! Pure functions of bytes: nothing here reads a clock or knows a file, and nothing on a message's way allocates.

pub mod batch;
mod crc;
pub mod division;
mod hash;
pub mod ids;
pub mod names;
pub mod properties;
mod record;
pub mod size;
pub mod sys_flag;
mod unique_key;
mod writer;

pub use crc::{CRC_PROPERTY_BYTES, ends_in_crc};
pub use hash::{java_hash, java_hash_on, tags_code};
pub use properties::Properties;
pub use record::{
    BLANK_MAGIC, Check, MAGIC_V1, MAGIC_V2, MAX_OWN_PROPERTIES_BYTES, MAX_PROPERTIES_BYTES,
    MAX_TOPIC_BYTES, Message, Record, RecordError, RecordFields, blank_record, holds_position,
};
pub use unique_key::KeyMaker;
