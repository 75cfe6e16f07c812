//! The connections of one reactor, all its ports together, and what they may hold together.
//!
//! ```text
//! connection_memory_bytes  |-- requests that have not come whole --|-- replies, calm --|-- replies, pressed --|
//! ```
//! A request that is larger than a receive buffer has its whole length reserved before more of it is received; who finds
//! nothing left is not read until others have finished. Replies are written as they come, but when the calm part is used up
//! further pulls wait for their turn, who has taken nothing of what it got asks for no more, and beyond the end whoever
//! holds most is closed. Then each gets one reply at a time. In both halves who holds a part for seconds while others wait for it
//! is closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tracing::{debug, info, warn};

use super::connection::{Connection, Service, read, write};
use super::gate::Gate;
use crate::io::{First, first};
use crate::io::{Io, Listener, Notify, Stream};

/// RocketMQ's clients give up after this time: a request that takes longer to come is one that nobody waits for.
const REQUEST_HINDERS_NS: u64 = 3_000_000_000;

/// Nothing of it came for so long.
const REQUEST_STOPS_NS: u64 = 500_000_000;

/// The kernel took nothing of a reply for so long, with a socket buffer of its own in between.
const REPLY_HINDERS_NS: u64 = 1_000_000_000;

pub struct Connections<S: Stream> {
    open: RefCell<BTreeMap<u64, Rc<Connection<S>>>>,
    next_id: Cell<u64>,
    /// One for each port that accepts, to tell it to stop.
    acceptors: RefCell<Vec<Rc<Notify>>>,
    /// Bytes of requests that have not come whole.
    pub requests: Rc<Gate>,
    /// Bytes of replies that are not with the kernel yet, or are being read from disk.
    pub replies: Rc<Gate>,
}

impl<S: Stream> Connections<S> {
    pub fn new(memory_bytes: usize) -> Rc<Self> {
        Rc::new(Connections {
            open: RefCell::default(),
            next_id: Cell::new(1),
            acceptors: RefCell::default(),
            requests: Gate::new(memory_bytes / 2),
            replies: Gate::new(memory_bytes / 4),
        })
    }

    pub fn find(&self, id: u64) -> Option<Rc<Connection<S>>> {
        self.open.borrow().get(&id).cloned()
    }

    pub fn are_drained(&self) -> bool {
        self.open
            .borrow()
            .values()
            .all(|connection| connection.is_drained())
    }

    pub fn stop_accepting(&self) {
        for acceptor in self.acceptors.borrow().iter() {
            acceptor.notify();
        }
    }

    pub fn close_all(&self) {
        for connection in self.snapshot() {
            connection.close();
        }
    }

    /// Closes who has been silent in both directions for so long (`serverChannelMaxIdleTimeSeconds`).
    pub fn close_idle(&self, now_ns: u64, max_idle_s: u64) {
        for connection in self.snapshot() {
            if now_ns.saturating_sub(connection.active_ns()) > max_idle_s * 1_000_000_000 {
                info!(peer = %connection.peer, "closing an idle connection");
                connection.close();
            }
        }
    }

    /// Closes who keeps memory from others that wait for it.
    pub fn close_hindering(&self, now_ns: u64) {
        let is_over = |since_ns: Option<u64>, limit_ns| {
            since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > limit_ns)
        };
        if self.requests.has_line() {
            for connection in self.snapshot() {
                let since_ns = connection.receiving_since_ns();
                let heard_ns = since_ns.map(|since_ns| since_ns.max(connection.active_ns()));
                if is_over(since_ns, REQUEST_HINDERS_NS) || is_over(heard_ns, REQUEST_STOPS_NS) {
                    warn!(peer = %connection.peer, "closing a client that does not finish its request while others wait for the memory");
                    connection.close();
                }
            }
        }
        if !self.replies.is_free() {
            for connection in self.snapshot() {
                if is_over(connection.sending_since_ns(), REPLY_HINDERS_NS) {
                    warn!(peer = %connection.peer, unsent_bytes = connection.unsent_bytes(), "closing a client that does not read while others wait for the memory");
                    connection.close();
                }
            }
        }
    }

    /// What all replies may take, at most.
    pub fn max_reply_bytes(&self) -> usize {
        self.replies.limit() * 2
    }

    /// Closes whoever holds most, as often as it takes.
    pub(super) fn relieve(&self) {
        while self.replies.used() > self.max_reply_bytes() {
            let open = self.open.borrow();
            let most = open
                .values()
                .max_by_key(|connection| connection.unsent_bytes());
            let Some(most) = most.filter(|most| most.unsent_bytes() > 0).cloned() else {
                return;
            };
            drop(open);
            warn!(peer = %most.peer, unsent_bytes = most.unsent_bytes(), "closing a client that does not read, as the memory for replies is used up");
            most.close();
        }
    }

    pub(super) fn remove(&self, id: u64) {
        self.open.borrow_mut().remove(&id);
    }

    fn snapshot(&self) -> Vec<Rc<Connection<S>>> {
        self.open.borrow().values().cloned().collect()
    }

    fn add(self: &Rc<Self>, stream: S, now_ns: u64) -> Rc<Connection<S>> {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let connection = Rc::new(Connection::new(id, stream, Rc::downgrade(self), now_ns));
        self.open.borrow_mut().insert(id, connection.clone());
        connection
    }
}

/// Accepts until [`Connections::stop_accepting`].
pub async fn accept<I: Io, V: Service<I::Stream>>(
    io: I,
    listener: I::Listener,
    service: Rc<V>,
    connections: Rc<Connections<I::Stream>>,
) {
    let stop = Rc::new(Notify::default());
    connections.acceptors.borrow_mut().push(stop.clone());
    loop {
        match first(listener.accept(), stop.notified()).await {
            First::Left(Ok(stream)) => {
                let connection = connections.add(stream, io.now().mono_ns);
                debug!(peer = %connection.peer, "connected");
                io.spawn("connection-write", write(io.clone(), connection.clone()));
                io.spawn(
                    "connection-read",
                    read(io.clone(), connection, service.clone(), connections.clone()),
                );
            }
            First::Left(Err(error)) => warn!(%error, "accept failed"),
            First::Right(()) => return,
        }
    }
}
