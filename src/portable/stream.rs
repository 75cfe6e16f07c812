//! Connections: read when there is something to read, written when there is room.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::buffers::Chunk;
use super::core::Core;
use super::poller::Direction;
use super::source::Source;
use crate::io::Stream;
use crate::ring::linux::piece;

#[derive(Clone)]
pub struct PortableStream {
    connection: Rc<Connection>,
}

struct Connection {
    source: Source,
    peer_addr: SocketAddr,
    /// The turns of the last receive and of the last send. There is one of each in a turn, as with a ring: a peer that never stops sending
    /// holds up no other connection.
    received_in: Cell<u64>,
    sent_in: Cell<u64>,
}

impl PortableStream {
    /// Of a connected socket that does not block.
    pub(super) fn new(
        core: &Rc<Core>,
        fd: OwnedFd,
        peer_addr: SocketAddr,
    ) -> io::Result<PortableStream> {
        let source = Source::new(core, fd)?;
        Ok(PortableStream::of(source, peer_addr))
    }

    pub(super) fn of(source: Source, peer_addr: SocketAddr) -> PortableStream {
        let connection = Connection {
            source,
            peer_addr,
            received_in: Cell::new(0),
            sent_in: Cell::new(0),
        };
        PortableStream {
            connection: Rc::new(connection),
        }
    }
}

impl Stream for PortableStream {
    type Chunk = Chunk;

    fn recv(&self) -> impl Future<Output = io::Result<Chunk>> {
        poll_fn(|context| self.connection.poll_recv(context))
    }

    async fn recv_into(&self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let received = poll_fn(|context| self.connection.poll_read(context, &mut buf)).await;
        (received, buf)
    }

    async fn send(&self, buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let mut sent = 0;
        while sent < buf.len() {
            let piece = piece(&buf, sent);
            match poll_fn(|context| self.connection.poll_send(context, piece)).await {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buf),
                Ok(len) => sent += len,
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }

    fn shutdown(&self) {
        // An error means that the connection has ended already.
        let _ = shutdown(self.connection.source.fd(), Shutdown::Both);
    }

    fn peer_addr(&self) -> SocketAddr {
        self.connection.peer_addr
    }
}

impl Connection {
    fn poll_recv(&self, context: &Context<'_>) -> Poll<io::Result<Chunk>> {
        // No buffer is taken for a connection that is not ready.
        ready!(self.poll_turn(Direction::Read, context))?;
        let buffers = &self.source.core().buffers;
        let mut buffer = buffers.take();
        match self.poll_read(context, &mut buffer) {
            Poll::Ready(Ok(len)) => Poll::Ready(Ok(buffers.received(buffer, len))),
            other => {
                buffers.give_back(buffer);
                other.map_ok(|_| unreachable!("matched above"))
            }
        }
    }

    fn poll_read(&self, context: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_turn(Direction::Read, context))?;
            match rustix::io::read(self.source.fd(), &mut *buf) {
                Ok(len) => {
                    self.ended(Direction::Read, len < buf.len());
                    return Poll::Ready(Ok(len));
                }
                Err(Errno::AGAIN) => self.source.is_drained(Direction::Read),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_send(&self, context: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_turn(Direction::Write, context))?;
            match send(self.source.fd(), bytes, SendFlags::NOSIGNAL) {
                Ok(len) => {
                    self.ended(Direction::Write, len < bytes.len());
                    return Poll::Ready(Ok(len));
                }
                Err(Errno::AGAIN) => self.source.is_drained(Direction::Write),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Ready when the socket is, and it was not in this turn before.
    fn poll_turn(&self, direction: Direction, context: &Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.source.poll_ready(direction, context))?;
        let core = self.source.core();
        match self.last(direction).get() == core.this_turn() && !core.is_closed() {
            true => {
                core.wake_in_next_turn(context.waker());
                Poll::Pending
            }
            false => Poll::Ready(Ok(())),
        }
    }

    fn ended(&self, direction: Direction, is_short: bool) {
        self.last(direction).set(self.source.core().this_turn());
        if is_short {
            self.source.was_short(direction);
        }
    }

    fn last(&self, direction: Direction) -> &Cell<u64> {
        match direction {
            Direction::Read => &self.received_in,
            Direction::Write => &self.sent_in,
        }
    }
}
