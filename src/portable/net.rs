//! Listening and connecting.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, connect, socket_with};

use super::Portable;
use super::poller::Direction;
use super::source::{Source, cancelled};
use super::stream::PortableStream;
use crate::io::{Listener, Net};
use crate::ring::linux::{self, Sleep, cannot};

/// Connections that are accepted in one turn.
const ACCEPTED_PER_TURN: u32 = 64;
/// After an error (out of descriptors, say) an immediate retry would most likely fail as well.
const PAUSE_AFTER_ERROR_NS: u64 = 100_000_000;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

impl Net for Portable {
    type Listener = PortableListener;
    type Stream = PortableStream;

    fn listen(&self, addr: SocketAddr) -> io::Result<PortableListener> {
        let (socket, local_addr) = linux::listen(addr)?;
        socket.set_nonblocking(true)?;
        Ok(PortableListener {
            source: Source::new(&self.core, socket.into())?,
            local_addr,
            retry_at_ns: Cell::default(),
            accepted: Cell::default(),
        })
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<PortableStream> {
        if self.core.is_closed() {
            return Err(cancelled());
        }
        let family = match addr {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
        set_tcp_nodelay(&socket, true)?;
        let begun = match connect(&socket, &addr) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Source::new(&self.core, socket)?),
            Err(error) => Err(error.into()),
        };
        let connected = match begun {
            Ok(source) => until_connected(source).await,
            Err(error) => Err(error),
        };
        let source = connected.map_err(|error| cannot("connect to", addr, error))?;
        Ok(PortableStream::of(source, addr))
    }
}

async fn until_connected(source: Source) -> io::Result<Source> {
    poll_fn(|context| source.poll_ready(Direction::Write, context)).await?;
    socket_error(source.fd())??;
    Ok(source)
}

pub struct PortableListener {
    source: Source,
    local_addr: SocketAddr,
    retry_at_ns: Cell<u64>,
    /// A turn, and the number of connections that were accepted in it.
    accepted: Cell<(u64, u32)>,
}

impl Listener for PortableListener {
    type Stream = PortableStream;

    async fn accept(&self) -> io::Result<PortableStream> {
        loop {
            let core = self.source.core();
            Sleep::new(&core.thread, self.retry_at_ns.get()).await;
            let (fd, peer_addr) = poll_fn(|context| self.poll_accept(context)).await?;
            // A peer that has disconnected already needs no connection and no error.
            if let Some(peer_addr) = peer_addr {
                return PortableStream::new(core, fd, peer_addr);
            }
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl PortableListener {
    fn poll_accept(
        &self,
        context: &Context<'_>,
    ) -> Poll<io::Result<(OwnedFd, Option<SocketAddr>)>> {
        let core = self.source.core();
        loop {
            ready!(self.source.poll_ready(Direction::Read, context))?;
            let turn = core.this_turn();
            let before = match self.accepted.get() {
                (last, count) if last == turn => count,
                _ => 0,
            };
            if before >= ACCEPTED_PER_TURN {
                core.wake_in_next_turn(context.waker());
                return Poll::Pending;
            }
            match acceptfrom_with(self.source.fd(), FLAGS) {
                Ok((fd, peer)) => {
                    self.accepted.set((turn, before + 1));
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    return Poll::Ready(Ok((fd, peer)));
                }
                Err(Errno::AGAIN) => self.source.is_drained(Direction::Read),
                Err(Errno::INTR) => {}
                Err(error) => {
                    let now_ns = core.thread.now().mono_ns;
                    self.retry_at_ns.set(now_ns + PAUSE_AFTER_ERROR_NS);
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }
}
