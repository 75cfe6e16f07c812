//! The JSON header codec, written by hand: a send's header is decoded in one pass and without an allocation.
//!
//! It accepts what fastjson does: keys in any order, unknown keys with any value, raw numbers and booleans in `extFields` (Node, C++),
//! `null` for anything, `extFields` missing, numbers as text, single quotes, comments, stray commas, white space and NULs after the
//! end (C++). `tests/golden/loose_json.txt` has what RocketMQ made of such headers.

mod learned;
mod reader;
mod writer;

pub(super) use learned::{Learned, read};
pub(super) use writer::write;
