//! A connection of the asynchronous loads: requests are written without waiting, frames are read as they come.

use std::net::SocketAddr;

use ringmq::wire::frame::{self, Frame};
use ringmq::wire::{Codec, FLAG_ONEWAY, FLAG_RESPONSE, Head, Scratch, Value, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::caller::Result;

pub async fn connect(addr: SocketAddr) -> Result<(Writer, Reader)> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let writer = Writer {
        stream: write,
        bytes: Vec::new(),
    };
    let reader = Reader {
        stream: read,
        bytes: Vec::new(),
        consumed: 0,
        scratch: Scratch::default(),
    };
    Ok((writer, reader))
}

pub struct Writer {
    stream: OwnedWriteHalf,
    bytes: Vec<u8>,
}

impl Writer {
    /// Adds a request that is answered under this number.
    pub fn ask(&mut self, opaque: i32, code: i32, ext: &[(&str, Value<'_>)], body: &[u8]) {
        self.add(opaque, 0, code, ext, body);
    }

    /// Adds a request that is not answered.
    pub fn tell(&mut self, code: i32, ext: &[(&str, Value<'_>)]) {
        self.add(0, FLAG_ONEWAY, code, ext, &[]);
    }

    fn add(&mut self, opaque: i32, flag: i32, code: i32, ext: &[(&str, Value<'_>)], body: &[u8]) {
        let head = Head {
            flag,
            ..Head::request(Codec::Json, code, opaque)
        };
        frame::write(&mut self.bytes, &head, ext, body);
    }

    /// Sends what was added.
    pub async fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.bytes).await?;
        self.bytes.clear();
        Ok(())
    }
}

pub struct Reader {
    stream: OwnedReadHalf,
    bytes: Vec<u8>,
    consumed: usize,
    scratch: Scratch,
}

/// An answer: the number of its request, its code, and the field `nextBeginOffset` of a pull.
pub struct Answer {
    pub opaque: i32,
    pub code: i32,
    pub next_offset: Option<i64>,
}

impl Reader {
    /// The next answer. Requests of the broker are skipped. An error when the connection ends.
    pub async fn answer(&mut self) -> Result<Answer> {
        loop {
            match frame::split(&self.bytes[self.consumed..])? {
                Some(frame) => {
                    let (len, answer) = (frame.len, decode(&frame, &mut self.scratch)?);
                    self.consumed += len;
                    if let Some(answer) = answer {
                        return Ok(answer);
                    }
                }
                None => {
                    self.bytes.drain(..self.consumed);
                    self.consumed = 0;
                    if self.stream.read_buf(&mut self.bytes).await? == 0 {
                        return Err("the broker has closed a connection".into());
                    }
                }
            }
        }
    }
}

fn decode(frame: &Frame<'_>, scratch: &mut Scratch) -> Result<Option<Answer>> {
    let header = header::decode(frame, scratch)?;
    let answer = Answer {
        opaque: header.opaque,
        code: header.code,
        next_offset: header
            .ext
            .find("nextBeginOffset")
            .and_then(|text| text.parse().ok()),
    };
    Ok((header.flag & FLAG_RESPONSE != 0).then_some(answer))
}
