//! One host's way into the network: connecting, accepting, and the two ends of a connection.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;

use super::SimIo;
use super::conn::{Conn, Side};
use super::descriptors::{Descriptor, Kind};
use super::network::Backlog;
use super::process::{HostId, Power};
use crate::io::{Listener, Net, Stream};

pub struct SimListener {
    io: SimIo,
    backlog: Rc<Backlog>,
    retry_at_ns: Cell<u64>,
    _descriptor: Descriptor,
}

/// As in `ring/`: for so long nothing is accepted after there was no descriptor.
const PAUSE_AFTER_ERROR_NS: u64 = 100_000_000;

#[derive(Clone)]
pub struct SimStream(Rc<Endpoint>);

struct Endpoint {
    io: SimIo,
    conn: Rc<Conn>,
    side: Side,
    peer_addr: SocketAddr,
    receiving: Cell<bool>,
    sending: Cell<bool>,
    _descriptor: Descriptor,
}

pub struct SimChunk(Vec<u8>);

impl Net for SimIo {
    type Listener = SimListener;
    type Stream = SimStream;

    fn listen(&self, addr: SocketAddr) -> io::Result<SimListener> {
        if !self.is_alive() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let ip = addr.ip();
        if !ip.is_unspecified() && !ip.is_loopback() && ip != self.ip() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let descriptor = self.descriptor(Kind::Other)?;
        let backlog = self.world.network.bind(self.owner.host, addr)?;
        Ok(SimListener {
            io: self.clone(),
            backlog,
            retry_at_ns: Cell::new(0),
            _descriptor: descriptor,
        })
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<SimStream> {
        let descriptor = self.descriptor(Kind::Other)?;
        let deadline_ns = self.world.timeline.now_ns() + self.world.config.net_connect_timeout_ns;
        self.one_way().await;
        let ip = match addr.ip() {
            ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            ip => ip,
        };
        let host = match ip.is_loopback() {
            true => Some(self.owner.host),
            false => self.world.host_at(ip),
        };
        let host = host.ok_or(io::ErrorKind::HostUnreachable)?;
        if !self.answers_before(host, deadline_ns).await {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let backlog = self.world.network.listener(host, addr.port());
        let Some(backlog) = backlog.filter(|backlog| backlog.listens_at(ip)) else {
            self.one_way().await;
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let most = self.world.config.net_backlog;
        let open = backlog
            .room
            .until(|| backlog.has_room_for_one_of(most))
            .await;
        self.alive().await;
        if !open {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let conn = Rc::new(Conn::between([self.owner.host, host]));
        let stream = SimStream::new(self, Rc::clone(&conn), 0, addr, descriptor);
        let from = match ip.is_loopback() {
            true => ip,
            false => self.ip(),
        };
        let from = SocketAddr::new(from, self.world.network.ephemeral_port());
        self.world.network.remember(&conn);
        self.world.trace(
            "connect",
            self.owner.host as u64,
            host as u64,
            addr.port().into(),
        );
        backlog.waiting.borrow_mut().push_back((conn, from));
        backlog.arrived.notify();
        self.one_way().await;
        Ok(stream)
    }
}

impl SimIo {
    async fn one_way(&self) {
        self.pause(self.world.within(&self.world.config.net_delay_ns))
            .await;
    }

    /// Waits for as long as `host` is without power or cut off; `false` at the deadline.
    async fn answers_before(&self, host: HostId, deadline_ns: u64) -> bool {
        let (world, network) = (&self.world, &self.world.network);
        let look = || {
            let reachable = world.power(host) != Power::Off
                && world.partitions.are_connected([self.owner.host, host]);
            let late = world.timeline.now_ns() >= deadline_ns;
            (reachable || late).then_some(reachable)
        };
        if look().is_none() {
            world.timeline.notify_at(deadline_ns, &network.changed);
        }
        let answers = network.changed.until(look).await;
        self.alive().await;
        answers
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&self) -> io::Result<SimStream> {
        let (backlog, timeline) = (&self.backlog, &self.io.world.timeline);
        if timeline.now_ns() < self.retry_at_ns.get() {
            timeline.sleep_until(self.retry_at_ns.get()).await;
        }
        let take = || backlog.waiting.borrow_mut().pop_front();
        let (conn, peer_addr) = backlog.arrived.until(take).await;
        self.io.alive().await;
        if self.io.world.network.fails_accept(self.io.owner.host) {
            backlog.waiting.borrow_mut().push_front((conn, peer_addr));
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        match self.io.descriptor(Kind::Other) {
            Ok(descriptor) => {
                backlog.room.notify();
                Ok(SimStream::new(&self.io, conn, 1, peer_addr, descriptor))
            }
            Err(error) => {
                backlog.waiting.borrow_mut().push_front((conn, peer_addr));
                self.retry_at_ns
                    .set(timeline.now_ns() + PAUSE_AFTER_ERROR_NS);
                Err(error)
            }
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.backlog.addr
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if self.io.is_alive() {
            self.io.world.network.unbind(
                &self.io.world,
                self.io.owner.host,
                self.backlog.addr.port(),
            );
        }
    }
}

impl Stream for SimStream {
    type Chunk = SimChunk;

    async fn recv(&self) -> io::Result<SimChunk> {
        let end = &*self.0;
        end.io.alive().await;
        let _only = Only::caller_of(&end.receiving, "recv");
        let received = end.conn.recv(&end.io.world, end.side).await;
        end.io.alive().await;
        received.map(SimChunk)
    }

    async fn send(&self, buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let end = &*self.0;
        end.io.alive().await;
        let _only = Only::caller_of(&end.sending, "send");
        let sent = end.conn.send(&end.io.world, end.side, &buf).await;
        end.io.alive().await;
        (sent, buf)
    }

    fn shutdown(&self) {
        if self.0.io.is_alive() {
            self.0.conn.shutdown(&self.0.io.world, self.0.side);
        }
    }

    fn peer_addr(&self) -> SocketAddr {
        self.0.peer_addr
    }
}

impl SimStream {
    fn new(
        io: &SimIo,
        conn: Rc<Conn>,
        side: Side,
        peer_addr: SocketAddr,
        descriptor: Descriptor,
    ) -> Self {
        Self(Rc::new(Endpoint {
            io: io.clone(),
            conn,
            side,
            peer_addr,
            receiving: Cell::new(false),
            sending: Cell::new(false),
            _descriptor: descriptor,
        }))
    }

    /// Half-closes: the peer reads the end, while this side goes on receiving. Clients of the broker may do that.
    pub fn finish_sending(&self) {
        if self.0.io.is_alive() {
            self.0.conn.finish(&self.0.io.world, self.0.side);
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if self.io.is_alive() {
            self.conn.close(&self.io.world, self.side);
        }
    }
}

impl Deref for SimChunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Holds callers to "one at a time".
struct Only<'a>(&'a Cell<bool>);

impl<'a> Only<'a> {
    fn caller_of(taken: &'a Cell<bool>, what: &str) -> Self {
        assert!(!taken.replace(true), "two callers of {what} on one stream");
        Self(taken)
    }
}

impl Drop for Only<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
