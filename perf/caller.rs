//! A blocking connection with one request at a time, for the programs of this folder. Of the broker's own code it uses only the
//! codec.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringmq::wire::codes::request;
use ringmq::wire::{Codec, Head, Scratch, Value, frame, header};

use crate::message::message_to;

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub struct Caller {
    stream: TcpStream,
    bytes: Vec<u8>,
    scratch: Scratch,
}

impl Caller {
    pub fn connect(addr: SocketAddr) -> Result<Caller> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Caller {
            stream,
            bytes: Vec::new(),
            scratch: Scratch::default(),
        })
    }

    /// The answer's code and body. Requests of the broker that arrive before are skipped.
    pub fn ask(
        &mut self,
        code: i32,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
    ) -> Result<(i32, &[u8])> {
        let head = Head::request(Codec::Json, code, 1);
        self.bytes.clear();
        frame::write(&mut self.bytes, &head, ext, body);
        self.stream.write_all(&self.bytes)?;
        loop {
            self.receive()?;
            let frame = frame::split(&self.bytes)?.ok_or("the answer is cut off")?;
            let header = header::decode(&frame, &mut self.scratch)?;
            if header.is_response() {
                let (code, body) = (header.code, frame.len - frame.body.len()..frame.len);
                return Ok((code, &self.bytes[body]));
            }
        }
    }

    /// Sends a message of 1 KiB; the answer's code.
    pub fn send(&mut self, topic: &str, queue_id: i32) -> Result<i32> {
        self.send_body(topic, queue_id, &[b'x'; 1024])
    }

    pub fn send_body(&mut self, topic: &str, queue_id: i32, body: &[u8]) -> Result<i32> {
        let request = message_to(topic, queue_id);
        let (code, _) = self.ask(request::SEND_MESSAGE_V2, &request.ext(), body)?;
        Ok(code)
    }

    /// The next whole frame.
    fn receive(&mut self) -> Result<()> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        self.bytes.clear();
        self.bytes.extend_from_slice(&len);
        self.bytes.resize(4 + u32::from_be_bytes(len) as usize, 0);
        self.stream.read_exact(&mut self.bytes[4..])?;
        Ok(())
    }
}
