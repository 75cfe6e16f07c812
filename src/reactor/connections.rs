//! The connections of one reactor, all its ports together, and what they may hold together.
//!
//! ```text
//! connection_memory_bytes  |-- requests that have not come whole --|-- replies, calm --|-- replies, pressed --|
//! ```
//! A request that is larger than a receive buffer has its whole length reserved before more of it is received; a connection for
//! which nothing is left is not read until others have finished. Replies are written as they come. When the calm part is used
//! up, further pulls wait for their turn and get one reply at a time, a connection with unsent replies is not read, and beyond the
//! end the connection that holds most is closed. In both halves a connection that holds a part for seconds while others wait for
//! it is closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use tracing::{debug, info, warn};

use super::connection::{Connection, Service, read, write};
use super::gate::Gate;
use super::memory::{Memory, Relief};
use crate::io::{First, first};
use crate::io::{Io, Listener, Notify, Stream};

/// RocketMQ's clients give up after this time: the answer to a request that takes longer to arrive is not awaited.
const REQUEST_HINDERS_NS: u64 = 3_000_000_000;

/// Nothing of it came for so long.
const REQUEST_STOPS_NS: u64 = 500_000_000;

/// The kernel took nothing of a reply for so long, with a socket buffer of its own in between.
const REPLY_HINDERS_NS: u64 = 1_000_000_000;

/// Connections that one call of [`Connections::check_some`] looks at.
const CHECKED_AT_A_TIME: usize = 1024;

pub struct Connections<S: Stream> {
    open: RefCell<BTreeMap<u64, Rc<Connection<S>>>>,
    next_id: Cell<u64>,
    /// How many may be open: the store needs descriptors, too.
    max_open: usize,
    /// Connections closed at once because of it; 0 while there is room.
    refused: Cell<u64>,
    /// The last connection that [`Self::check_some`] has looked at.
    checked: Cell<u64>,
    /// One for each port that accepts, to tell it to stop.
    acceptors: RefCell<Vec<Rc<Notify>>>,
    /// Bytes of requests that have not come whole.
    pub requests: Rc<Gate>,
    /// Bytes of replies that are not with the kernel yet, or are being read from disk.
    pub replies: Rc<Gate>,
    memory: Rc<Memory>,
}

impl<S: Stream> Relief for Connections<S> {
    /// Closes the connection that holds most, as often as it takes.
    fn relieve(&self) {
        while self.memory.replies.used() > self.memory.max_reply_bytes() {
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
}

impl<S: Stream> Connections<S> {
    pub fn new(memory_bytes: usize, max_open: usize) -> Rc<Self> {
        let memory = Memory::new(memory_bytes);
        let connections = Rc::new(Connections {
            open: RefCell::default(),
            next_id: Cell::new(1),
            max_open,
            refused: Cell::new(0),
            checked: Cell::new(0),
            acceptors: RefCell::default(),
            requests: memory.requests.clone(),
            replies: memory.replies.clone(),
            memory,
        });
        let relief = Rc::downgrade(&connections);
        connections.memory.set_relief(relief);
        connections
    }

    pub fn find(&self, id: u64) -> Option<Rc<Connection<S>>> {
        self.open.borrow().get(&id).cloned()
    }

    /// Pulls of all of them that wait for a message.
    pub fn parked(&self) -> usize {
        self.memory.parked.get()
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

    /// Looks at the next connections, all of them in turns: closes the idle ones, and those that keep memory from others.
    pub fn check_some(&self, now_ns: u64, max_idle_s: u64) {
        let after = (Bound::Excluded(self.checked.get()), Bound::Unbounded);
        let some: Vec<_> = self
            .open
            .borrow()
            .range(after)
            .take(CHECKED_AT_A_TIME)
            .map(|(_, connection)| connection.clone())
            .collect();
        let last = some.last().filter(|_| some.len() == CHECKED_AT_A_TIME);
        self.checked.set(last.map_or(0, |last| last.id));
        let requests_wait = self.requests.has_line();
        let replies_wait = !self.replies.is_free();
        for connection in some {
            if now_ns.saturating_sub(connection.active_ns()) > max_idle_s * 1_000_000_000 {
                info!(peer = %connection.peer, "closing an idle connection");
                connection.close();
            } else if requests_wait && hinders_requests(&connection, now_ns) {
                warn!(peer = %connection.peer, "closing a client that does not finish its request while others wait for the memory");
                connection.close();
            } else if replies_wait
                && is_over(connection.sending_since_ns(), now_ns, REPLY_HINDERS_NS)
            {
                warn!(peer = %connection.peer, unsent_bytes = connection.unsent_bytes(), "closing a client that does not read while others wait for the memory");
                connection.close();
            }
        }
    }

    fn remove(&self, id: u64) {
        self.open.borrow_mut().remove(&id);
    }

    fn snapshot(&self) -> Vec<Rc<Connection<S>>> {
        self.open.borrow().values().cloned().collect()
    }

    /// Takes a new connection; `None` if there are as many as may be, and it is closed.
    fn add(&self, stream: S, now_ns: u64) -> Option<Rc<Connection<S>>> {
        let mut open = self.open.borrow_mut();
        if open.len() >= self.max_open {
            if self.refused.replace(self.refused.get() + 1) == 0 {
                warn!(
                    open = open.len(),
                    "closing new connections: the process may not open more files (ulimit -n, RLIMIT_NOFILE), and the store needs some"
                );
            }
            return None;
        }
        // Not each time that one leaves and another one comes.
        if self.refused.get() > 0 && open.len() <= self.max_open / 10 * 9 {
            let closed = self.refused.take();
            info!(
                closed,
                open = open.len(),
                "new connections are accepted again"
            );
        }
        let id = self.next_id.replace(self.next_id.get() + 1);
        let connection = Rc::new(Connection::new(id, stream, self.memory.clone(), now_ns));
        open.insert(id, connection.clone());
        Some(connection)
    }
}

fn hinders_requests<S: Stream>(connection: &Connection<S>, now_ns: u64) -> bool {
    let since_ns = connection.receiving_since_ns();
    let heard_ns = since_ns.map(|since_ns| since_ns.max(connection.active_ns()));
    is_over(since_ns, now_ns, REQUEST_HINDERS_NS) || is_over(heard_ns, now_ns, REQUEST_STOPS_NS)
}

fn is_over(since_ns: Option<u64>, now_ns: u64, limit_ns: u64) -> bool {
    since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > limit_ns)
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
    let mut is_failing = false;
    loop {
        match first(listener.accept(), stop.notified()).await {
            First::Left(Ok(stream)) => {
                is_failing = false;
                let Some(connection) = connections.add(stream, io.now().mono_ns) else {
                    continue;
                };
                debug!(peer = %connection.peer, "connected");
                io.spawn("connection-write", write(io.clone(), connection.clone()));
                let (io_of_task, service, connections) =
                    (io.clone(), service.clone(), connections.clone());
                io.spawn("connection-read", async move {
                    read(&io_of_task, &connection, &service).await;
                    connections.remove(connection.id);
                    service.closed(&connection);
                    debug!(peer = %connection.peer, "disconnected");
                });
            }
            // It is tried again and again; said once.
            First::Left(Err(error)) => {
                if !std::mem::replace(&mut is_failing, true) {
                    warn!(%error, "connections cannot be accepted (is `ulimit -n` too low?)");
                }
            }
            First::Right(()) => return,
        }
    }
}
