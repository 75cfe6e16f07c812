//! Whole frames of a fixed size, from a stream that is cut anywhere.

use std::io;

use crate::io::{Io, Stream};
use crate::reactor::remoting_client::within;

pub(super) struct Inbox<I: Io> {
    io: I,
    stream: I::Stream,
    received: Vec<u8>,
    silence_ns: u64,
}

impl<I: Io> Inbox<I> {
    /// An error when nothing comes for `silence_ns`.
    pub fn new(io: &I, stream: I::Stream, silence_ns: u64) -> Self {
        Self {
            io: io.clone(),
            stream,
            received: Vec::new(),
            silence_ns,
        }
    }

    /// The next `N` bytes.
    pub async fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        loop {
            if let Some(frame) = self.received.first_chunk().copied() {
                self.received.drain(..N);
                return Ok(frame);
            }
            let chunk = receive(&self.io, &self.stream, self.silence_ns).await?;
            self.received.extend_from_slice(&chunk);
        }
    }

    /// Whether so many bytes are here already.
    pub fn has(&self, bytes: usize) -> bool {
        self.received.len() >= bytes
    }
}

/// What came next, at the beginning of `buf`, and how much. Errors as in [`receive`].
pub(super) async fn receive_into<I: Io>(
    io: &I,
    stream: &I::Stream,
    buf: Vec<u8>,
    silence_ns: u64,
) -> io::Result<(usize, Vec<u8>)> {
    let received = async {
        let (len, buf) = stream.recv_into(buf).await;
        Ok((len?, buf))
    };
    let (len, buf) = within(io, silence_ns, received).await?;
    match len {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        len => Ok((len, buf)),
    }
}

/// What came next. An error: nothing for `silence_ns`, or the end of the stream.
pub(super) async fn receive<I: Io>(
    io: &I,
    stream: &I::Stream,
    silence_ns: u64,
) -> io::Result<<I::Stream as Stream>::Chunk> {
    let chunk = within(io, silence_ns, stream.recv()).await?;
    match chunk.is_empty() {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(chunk),
    }
}
