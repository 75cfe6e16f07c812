//! The network between the hosts: who listens where, who is cut off from whom.
//!
//! Host number n has the address 10.0.0.n. A port listened on at 127.0.0.1 is reached from its own host only.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::rc::{Rc, Weak};

use super::SimIo;
use super::clock::Signal;
use super::conn::{Conn, Side};
use super::world::{HostId, Power, World};
use crate::io::{Listener, Net, Stream};

/// Where Linux begins to hand out ports by itself.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

pub(super) struct Network {
    listeners: RefCell<BTreeMap<(HostId, u16), Rc<Backlog>>>,
    /// Since when nothing passes between two hosts, the lower number first.
    partitions: RefCell<BTreeMap<[HostId; 2], u64>>,
    connections: RefCell<Vec<Weak<Conn>>>,
    next_port: Cell<u16>,
    failing_accepts: RefCell<BTreeMap<HostId, u64>>,
    /// A partition healed, a host came or went: attempts to connect look again.
    changed: Rc<Signal>,
}

struct Backlog {
    addr: SocketAddr,
    waiting: RefCell<VecDeque<(Rc<Conn>, SocketAddr)>>,
    /// Somebody waits to be accepted.
    arrived: Rc<Signal>,
    /// There is room for one more.
    room: Rc<Signal>,
    closed: Cell<bool>,
}

pub struct SimListener {
    io: SimIo,
    backlog: Rc<Backlog>,
}

#[derive(Clone)]
pub struct SimStream(Rc<Endpoint>);

struct Endpoint {
    io: SimIo,
    conn: Rc<Conn>,
    side: Side,
    peer_addr: SocketAddr,
    receiving: Cell<bool>,
    sending: Cell<bool>,
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
        let backlog = self.world.network.bind(self.owner.host, addr)?;
        Ok(SimListener {
            io: self.clone(),
            backlog,
        })
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<SimStream> {
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
        let stream = SimStream::new(self, Rc::clone(&conn), 0, addr);
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
                && network.cut_at_ns([self.owner.host, host]).is_none();
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
        let backlog = &self.backlog;
        let take = || backlog.waiting.borrow_mut().pop_front();
        let (conn, peer_addr) = backlog.arrived.until(take).await;
        self.io.alive().await;
        if self.io.world.network.fails_accept(self.io.owner.host) {
            backlog.waiting.borrow_mut().push_front((conn, peer_addr));
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        backlog.room.notify();
        Ok(SimStream::new(&self.io, conn, 1, peer_addr))
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
    fn new(io: &SimIo, conn: Rc<Conn>, side: Side, peer_addr: SocketAddr) -> Self {
        Self(Rc::new(Endpoint {
            io: io.clone(),
            conn,
            side,
            peer_addr,
            receiving: Cell::new(false),
            sending: Cell::new(false),
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

impl Backlog {
    fn listens_at(&self, ip: IpAddr) -> bool {
        self.addr.ip().is_unspecified() || self.addr.ip() == ip
    }

    /// `Some(false)` when nobody listens any more.
    fn has_room_for_one_of(&self, most: usize) -> Option<bool> {
        if self.closed.get() {
            return Some(false);
        }
        (self.waiting.borrow().len() < most).then_some(true)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            listeners: RefCell::default(),
            partitions: RefCell::default(),
            connections: RefCell::default(),
            next_port: Cell::new(FIRST_EPHEMERAL_PORT),
            failing_accepts: RefCell::default(),
            changed: Rc::default(),
        }
    }
}

impl Network {
    pub fn partition(&self, world: &World, a: HostId, b: HostId) {
        let since_ns = world.timeline.now_ns();
        let mut partitions = self.partitions.borrow_mut();
        partitions.entry(pair([a, b])).or_insert(since_ns);
    }

    pub fn heal_partition(&self, a: HostId, b: HostId) {
        self.partitions.borrow_mut().remove(&pair([a, b]));
        self.changed.notify();
        self.each_connection(|conn| {
            if pair(conn.hosts) == pair([a, b]) {
                conn.notify();
            }
        });
    }

    pub fn cut_at_ns(&self, hosts: [HostId; 2]) -> Option<u64> {
        self.partitions.borrow().get(&pair(hosts)).copied()
    }

    pub fn reset_connections(&self, world: &World, a: HostId, b: HostId) {
        self.each_connection(|conn| {
            if pair(conn.hosts) == pair([a, b]) {
                conn.reset(world, 0);
                conn.reset(world, 1);
            }
        });
    }

    pub fn fail_accepts(&self, host: HostId, times: u64) {
        self.failing_accepts.borrow_mut().insert(host, times);
    }

    /// The process is gone; its kernel closes what it had.
    pub fn kill(&self, world: &World, host: HostId) {
        for port in self.ports_of(host) {
            self.unbind(world, host, port);
        }
        self.each_side_of(host, |conn, side| conn.close(world, side));
    }

    pub fn power_down(&self, world: &World, host: HostId) {
        self.each_side_of(host, |conn, side| conn.power_down(world, side));
        for port in self.ports_of(host) {
            self.unbind(world, host, port);
        }
    }

    pub fn power_up(&self, world: &World, host: HostId) {
        self.each_side_of(host, |conn, side| conn.power_up(world, side));
        self.changed.notify();
    }

    fn bind(&self, host: HostId, addr: SocketAddr) -> io::Result<Rc<Backlog>> {
        let mut listeners = self.listeners.borrow_mut();
        let port = match addr.port() {
            0 => self.ephemeral_port(),
            port => port,
        };
        if listeners.contains_key(&(host, port)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Rc::new(Backlog {
            addr: SocketAddr::new(addr.ip(), port),
            waiting: RefCell::default(),
            arrived: Rc::default(),
            room: Rc::default(),
            closed: Cell::new(false),
        });
        listeners.insert((host, port), Rc::clone(&backlog));
        Ok(backlog)
    }

    /// Whoever was not accepted yet gets a reset.
    fn unbind(&self, world: &World, host: HostId, port: u16) {
        let Some(backlog) = self.listeners.borrow_mut().remove(&(host, port)) else {
            return;
        };
        backlog.closed.set(true);
        backlog.room.notify();
        for (conn, _) in backlog.waiting.take() {
            conn.reset(world, 0);
            conn.close(world, 1);
        }
    }

    fn listener(&self, host: HostId, port: u16) -> Option<Rc<Backlog>> {
        self.listeners.borrow().get(&(host, port)).cloned()
    }

    fn ports_of(&self, host: HostId) -> Vec<u16> {
        let listeners = self.listeners.borrow();
        let own = listeners.range((host, 0)..=(host, u16::MAX));
        own.map(|(&(_, port), _)| port).collect()
    }

    fn ephemeral_port(&self) -> u16 {
        let port = self.next_port.get();
        let next = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        self.next_port.set(next);
        port
    }

    fn fails_accept(&self, host: HostId) -> bool {
        match self.failing_accepts.borrow_mut().get_mut(&host) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }

    fn remember(&self, conn: &Rc<Conn>) {
        let mut connections = self.connections.borrow_mut();
        // Doubling bounds both the list and the work of cleaning it.
        if connections.len() == connections.capacity() {
            connections.retain(|conn| conn.strong_count() > 0);
        }
        connections.push(Rc::downgrade(conn));
    }

    fn each_connection(&self, mut act: impl FnMut(&Conn)) {
        let connections = self.connections.borrow().clone();
        for conn in connections.iter().filter_map(Weak::upgrade) {
            act(&conn);
        }
    }

    fn each_side_of(&self, host: HostId, mut act: impl FnMut(&Conn, Side)) {
        self.each_connection(|conn| {
            for side in (0..2).filter(|&side| conn.hosts[side] == host) {
                act(conn, side);
            }
        });
    }
}

fn pair([a, b]: [HostId; 2]) -> [HostId; 2] {
    [a.min(b), a.max(b)]
}
