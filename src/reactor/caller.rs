//! Who is to be answered.

use crate::wire::{Codec, Frame, Head, Header};

/// How to answer a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub opaque: i32,
    pub codec: Codec,
    /// The request has no answer.
    pub is_oneway: bool,
    /// What was asked, when it arrived, and whether it was parked since: for the metrics.
    pub code: i32,
    pub arrived_ns: u64,
    pub is_parked: bool,
}

impl Caller {
    /// Of a request that arrived at this time.
    pub fn new(frame: &Frame<'_>, header: &Header<'_>, arrived_ns: u64) -> Self {
        Caller {
            opaque: header.opaque,
            codec: frame.codec,
            is_oneway: header.is_oneway(),
            code: header.code,
            arrived_ns,
            is_parked: false,
        }
    }

    /// The same request, which waits for a message.
    pub fn parked(self) -> Self {
        Self {
            is_parked: true,
            ..self
        }
    }

    /// The head of the reply, in the codec of the request: C++ and Node clients read no other.
    pub fn head<'a>(&self, code: i32, remark: Option<&'a str>) -> Head<'a> {
        Head {
            remark,
            ..Head::reply(self.codec, code, self.opaque)
        }
    }
}
