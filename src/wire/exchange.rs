//! Requests and their answers on one connection, one at a time. No I/O: it returns the bytes to send and is given those received.

use super::{Codec, Head, Scratch, Value, frame, header};

/// The requesting side of a connection.
#[derive(Default)]
pub struct Exchange {
    received: Vec<u8>,
    scratch: Scratch,
    opaque: i32,
}

/// A decoded answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub code: i32,
    pub remark: Option<String>,
    pub body: Vec<u8>,
    ext: Vec<(String, String)>,
}

impl Answer {
    pub fn of(reply: &header::Header<'_>, body: &[u8]) -> Self {
        let ext = reply.ext.iter();
        Self {
            code: reply.code,
            remark: reply.remark.map(str::to_owned),
            ext: ext
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: body.to_vec(),
        }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.ext.iter().filter(|(field, _)| field == name);
        found.next().map(|(_, value)| &**value)
    }
}

/// The other side does not speak the protocol.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be read: {0}")]
pub struct Broken(String);

impl Exchange {
    /// The bytes of the next request.
    pub fn request(&mut self, code: i32, ext: &[(&str, Value<'_>)], body: &[u8]) -> Vec<u8> {
        let mut out = self.request_head(code, ext, body.len());
        out.extend_from_slice(body);
        out
    }

    /// Those up to the body, which has this length and is sent behind them.
    pub fn request_head(
        &mut self,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body_bytes: usize,
    ) -> Vec<u8> {
        self.opaque += 1;
        let head = Head::request(Codec::Json, code, self.opaque);
        let mut out = Vec::new();
        frame::write_head(&mut out, &head, ext, body_bytes);
        out
    }

    pub fn received(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The answer to the last request, if all of it is there; anything else is dropped.
    pub fn answer(&mut self) -> Result<Option<Answer>, Broken> {
        loop {
            let frame = frame::split(&self.received).map_err(|error| Broken(error.to_string()))?;
            let Some(frame) = frame else { return Ok(None) };
            let reply = header::decode(&frame, &mut self.scratch);
            let reply = reply.map_err(|error| Broken(error.to_string()))?;
            let is_ours = reply.is_response() && reply.opaque == self.opaque;
            let answer = is_ours.then(|| Answer::of(&reply, frame.body));
            let len = frame.len;
            self.received.drain(..len);
            if answer.is_some() {
                return Ok(answer);
            }
        }
    }
}
