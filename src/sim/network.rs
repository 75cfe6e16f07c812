//! The network between the hosts: listeners, connections and partitions.
//!
//! Host number n has the address 10.0.0.n. A port listened on at 127.0.0.1 is reached from its own host only.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};

use super::clock::Signal;
use super::conn::{Conn, Side};
use super::env::Env;
use super::partitions::pair;
use super::process::HostId;

/// Where Linux begins to hand out ports by itself.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

pub(super) struct Network {
    listeners: RefCell<BTreeMap<(HostId, u16), Rc<Backlog>>>,
    connections: RefCell<Vec<Weak<Conn>>>,
    next_port: Cell<u16>,
    failing_accepts: RefCell<BTreeMap<HostId, u64>>,
    /// A partition healed, a host came or went: attempts to connect look again.
    pub changed: Rc<Signal>,
}

/// The connections to one port that are not accepted yet.
pub(super) struct Backlog {
    pub addr: SocketAddr,
    pub waiting: RefCell<VecDeque<(Rc<Conn>, SocketAddr)>>,
    /// A connection waits to be accepted.
    pub arrived: Rc<Signal>,
    /// There is room for one more.
    pub room: Rc<Signal>,
    closed: Cell<bool>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            listeners: RefCell::default(),
            connections: RefCell::default(),
            next_port: Cell::new(FIRST_EPHEMERAL_PORT),
            failing_accepts: RefCell::default(),
            changed: Rc::default(),
        }
    }
}

impl Network {
    pub fn heal_partition(&self, env: &Env, a: HostId, b: HostId) {
        env.partitions.end([a, b]);
        self.changed.notify();
        self.each_connection(|conn| {
            if pair(conn.hosts) == pair([a, b]) {
                conn.notify();
            }
        });
    }

    pub fn reset_connections(&self, env: &Env, a: HostId, b: HostId) {
        self.each_connection(|conn| {
            if pair(conn.hosts) == pair([a, b]) {
                conn.reset(env, 0);
                conn.reset(env, 1);
            }
        });
    }

    pub fn fail_accepts(&self, host: HostId, times: u64) {
        self.failing_accepts.borrow_mut().insert(host, times);
    }

    /// The process is gone; its kernel closes what it had.
    pub fn kill(&self, env: &Env, host: HostId) {
        for port in self.ports_of(host) {
            self.unbind(env, host, port);
        }
        self.each_side_of(host, |conn, side| conn.close(env, side));
    }

    pub fn power_down(&self, env: &Env, host: HostId) {
        self.each_side_of(host, |conn, side| conn.power_down(env, side));
        for port in self.ports_of(host) {
            self.unbind(env, host, port);
        }
    }

    pub fn power_up(&self, env: &Env, host: HostId) {
        self.each_side_of(host, |conn, side| conn.power_up(env, side));
        self.changed.notify();
    }

    pub fn bind(&self, host: HostId, addr: SocketAddr) -> io::Result<Rc<Backlog>> {
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

    /// A connection that was not accepted yet gets a reset.
    pub fn unbind(&self, env: &Env, host: HostId, port: u16) {
        let Some(backlog) = self.listeners.borrow_mut().remove(&(host, port)) else {
            return;
        };
        backlog.closed.set(true);
        backlog.room.notify();
        for (conn, _) in backlog.waiting.take() {
            conn.reset(env, 0);
            conn.close(env, 1);
        }
    }

    pub fn listener(&self, host: HostId, port: u16) -> Option<Rc<Backlog>> {
        self.listeners.borrow().get(&(host, port)).cloned()
    }

    fn ports_of(&self, host: HostId) -> Vec<u16> {
        let listeners = self.listeners.borrow();
        let own = listeners.range((host, 0)..=(host, u16::MAX));
        own.map(|(&(_, port), _)| port).collect()
    }

    pub fn ephemeral_port(&self) -> u16 {
        let port = self.next_port.get();
        let next = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        self.next_port.set(next);
        port
    }

    pub fn fails_accept(&self, host: HostId) -> bool {
        match self.failing_accepts.borrow_mut().get_mut(&host) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }

    pub fn remember(&self, conn: &Rc<Conn>) {
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

impl Backlog {
    pub fn listens_at(&self, ip: IpAddr) -> bool {
        self.addr.ip().is_unspecified() || self.addr.ip() == ip
    }

    /// `Some(false)` when no process listens any more.
    pub fn has_room_for_one_of(&self, most: usize) -> Option<bool> {
        if self.closed.get() {
            return Some(false);
        }
        (self.waiting.borrow().len() < most).then_some(true)
    }
}
