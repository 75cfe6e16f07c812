//! Listening and connecting.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::{cqueue, opcode};
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::Ring;
use super::core::Core;
use super::descriptor::{Descriptor, entry};
use super::op::Request;
use super::queues::Completion;
use super::slots::{Demand, Multishot, OpKey};
use super::stream::RingStream;
use crate::io::{Listener, Net};
use crate::ring::linux::{self, Sleep, cannot};

/// Connections that the multishot accept has delivered and `accept` has not taken. At this number the multishot accept
/// is cancelled, and further connections stay in the backlog.
const QUEUED_CONNECTIONS: usize = 64;
/// After an error (out of descriptors, say) an immediate retry would most likely fail as well.
const PAUSE_AFTER_ERROR_NS: u64 = 100_000_000;

impl Net for Ring {
    type Listener = RingListener;
    type Stream = RingStream;

    fn listen(&self, addr: SocketAddr) -> io::Result<RingListener> {
        let (socket, local_addr) = linux::listen(addr)?;
        let fd = OwnedFd::from(socket);
        Ok(RingListener {
            descriptor: Descriptor::plain(&self.core, fd),
            core: self.core.clone(),
            local_addr,
            accepting: Rc::default(),
        })
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<RingStream> {
        let fd = open_socket(addr)?;
        set_tcp_nodelay(&fd, true)?;
        let name = encode_addr(addr);
        let len = name.len() as libc::socklen_t;
        let descriptor = Descriptor::plain(&self.core, fd.try_clone()?);
        let entry = opcode::Connect::new(descriptor.raw(), name.as_ptr().cast(), len).build();
        let request = Request::new(entry, &descriptor).with_buf(name.into());
        let (result, _) = self.core.submit(request).await;
        result.map_err(|error| cannot("connect to", addr, error))?;
        Ok(RingStream::new(&self.core, fd, addr))
    }
}

pub struct RingListener {
    core: Rc<Core>,
    descriptor: Rc<Descriptor>,
    local_addr: SocketAddr,
    accepting: Rc<Accepting>,
}

/// Where the completions of a listener's accept go.
#[derive(Default)]
pub(super) struct Accepting {
    accepted: RefCell<VecDeque<io::Result<OwnedFd>>>,
    acceptor: RefCell<Option<Waker>>,
    armed: Cell<Option<OpKey>>,
    pausing: Cell<bool>,
    retry_at_ns: Cell<u64>,
    closed: Cell<bool>,
}

impl Listener for RingListener {
    type Stream = RingStream;

    async fn accept(&self) -> io::Result<RingStream> {
        loop {
            Sleep::new(&self.core.thread, self.accepting.retry_at_ns.get()).await;
            let socket = TcpStream::from(poll_fn(|context| self.poll_accept(context)).await?);
            // A peer that has disconnected already needs no connection and no error.
            if let Ok(peer_addr) = socket.peer_addr() {
                return Ok(RingStream::new(&self.core, socket.into(), peer_addr));
            }
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl RingListener {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        let accepting = &self.accepting;
        if let Some(accepted) = accepting.accepted.borrow_mut().pop_front() {
            return Poll::Ready(accepted);
        }
        if accepting.armed.get().is_none() {
            let entry = entry!(self.descriptor, |fd| opcode::AcceptMulti::new(fd)
                .flags(libc::SOCK_CLOEXEC)
                .build());
            let key = self
                .core
                .submit_multishot(entry, &self.descriptor, accepting.clone());
            accepting.armed.set(key);
            if key.is_none() {
                return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
            }
        }
        let old = accepting.acceptor.replace(Some(context.waker().clone()));
        drop(old);
        Poll::Pending
    }
}

impl Drop for RingListener {
    fn drop(&mut self) {
        self.accepting.closed.set(true);
        self.accepting.accepted.take();
        if let Some(key) = self.accepting.armed.get() {
            self.core.cancel(key);
        }
    }
}

impl Multishot for Accepting {
    fn complete(&self, completion: Completion, now_ns: u64) -> Demand {
        let last = !cqueue::more(completion.flags);
        if last {
            self.armed.set(None);
            self.pausing.set(false);
        }
        let accepted = match completion.result {
            fd @ 0.. => {
                // SAFETY: the kernel has just opened it for this accept, and nothing else knows its number.
                Some(Ok(unsafe { OwnedFd::from_raw_fd(fd) }))
            }
            error => match -error {
                libc::ECANCELED => None, // the pause
                error => {
                    self.retry_at_ns.set(now_ns + PAUSE_AFTER_ERROR_NS);
                    Some(Err(io::Error::from_raw_os_error(error)))
                }
            },
        };
        if self.closed.get() {
            return Demand::Unchanged; // the new connection is closed
        }
        let mut queue = self.accepted.borrow_mut();
        queue.extend(accepted);
        let is_full = queue.len() >= QUEUED_CONNECTIONS;
        drop(queue);
        let acceptor = self.acceptor.borrow_mut().take();
        if let Some(acceptor) = acceptor {
            acceptor.wake();
        }
        match !last && is_full && !self.pausing.replace(true) {
            true => Demand::Paused,
            false => Demand::Unchanged,
        }
    }
}

fn open_socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// `struct sockaddr_in` and `struct sockaddr_in6`:
///
/// ```text
/// family 2 (ours) | port 2 (big-endian) | IPv4 4 | zeros 8
/// family 2 (ours) | port 2 (big-endian) | flow 4 (big-endian) | IPv6 16 | scope 4 (ours)
/// ```
fn encode_addr(addr: SocketAddr) -> Vec<u8> {
    let mut name = Vec::with_capacity(size_of::<libc::sockaddr_in6>());
    match addr {
        SocketAddr::V4(addr) => {
            name.extend((libc::AF_INET as libc::sa_family_t).to_ne_bytes());
            name.extend(addr.port().to_be_bytes());
            name.extend(addr.ip().octets());
            name.extend([0; 8]);
        }
        SocketAddr::V6(addr) => {
            name.extend((libc::AF_INET6 as libc::sa_family_t).to_ne_bytes());
            name.extend(addr.port().to_be_bytes());
            name.extend(addr.flowinfo().to_be_bytes());
            name.extend(addr.ip().octets());
            name.extend(addr.scope_id().to_ne_bytes());
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Clock, Stream};
    use crate::ring::linux::tests::loopback;
    use crate::ring::tests::{on_ring, small};

    #[test]
    fn an_error_is_reported_once_and_then_pauses() {
        on_ring(small(), async |ring| {
            let listener = ring.listen(loopback()).unwrap();
            let out_of_descriptors = Completion {
                user_data: 0,
                result: -libc::EMFILE,
                flags: 0,
            };
            let failed_ns = ring.now().mono_ns;
            let demand = listener.accepting.complete(out_of_descriptors, failed_ns);
            assert_eq!(demand, Demand::Unchanged);
            let client = ring.connect(listener.local_addr()).await.unwrap();
            let error = listener.accept().await.err().unwrap();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            let server = listener.accept().await.unwrap();
            assert!(ring.now().mono_ns >= failed_ns + PAUSE_AFTER_ERROR_NS);
            assert_eq!(
                client.peer_addr().ip(),
                server.peer_addr().ip(),
                "both on loopback"
            );
        });
    }

    #[test]
    fn connections_wait_for_a_slow_acceptor() {
        on_ring(small(), async |ring| {
            let listener = ring.listen(loopback()).unwrap();
            let addr = listener.local_addr();
            let mut ends = vec![ring.connect(addr).await.unwrap()];
            ends.push(listener.accept().await.unwrap());
            for _ in 0..2 * QUEUED_CONNECTIONS {
                ends.push(ring.connect(addr).await.unwrap());
            }
            assert!(listener.accepting.accepted.borrow().len() < 2 * QUEUED_CONNECTIONS);
            for _ in 0..2 * QUEUED_CONNECTIONS {
                ends.push(listener.accept().await.unwrap());
            }
        });
    }
}
