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

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use tracing::{debug, info, warn};

use super::connection::{Connection, Service, read, write};
use super::latencies::Latencies;
use super::memory::{Memory, Relief};
use super::slices::in_slices;
use super::slow_requests::SlowRequests;
use super::unproven::Unproven;
use crate::io::{
    ACCEPTED_PER_TURN, Either, Gate, Io, Listener, Notify, PerTurn, Stream, select, yield_now,
};
use crate::metrics::Histogram;

/// Connections that one call of [`Connections::check_some`] looks at.
const CHECKED_AT_A_TIME: usize = 1024;

/// Connections that are closed in one turn.
const CLOSED_AT_A_TIME: usize = 64;

pub struct Connections<S: Stream> {
    open: RefCell<BTreeMap<u64, Rc<Connection<S>>>>,
    next_id: Cell<u64>,
    /// How many may be open: the store needs descriptors, too.
    max_open: usize,
    /// Connections closed at once because of it; 0 while there is room.
    refused: Cell<u64>,
    /// The last connection that [`Self::check_some`] has looked at.
    checked: Cell<u64>,
    /// The last connection that [`Relief::relieve`] has looked at.
    relieved: Cell<u64>,
    /// One for each port that accepts, to end that.
    acceptors: RefCell<Vec<Rc<Notify>>>,
    /// No connection is taken any more, also one that an acceptor has got by now.
    is_over: Cell<bool>,
    /// Bytes of requests that have not come whole.
    pub requests: Rc<Gate>,
    /// Bytes of replies that are not with the kernel yet, or are being read from disk.
    pub replies: Rc<Gate>,
    memory: Rc<Memory>,
    /// `None`: requests are not checked, so nobody is a stranger.
    strangers: Option<Rc<Unproven>>,
}

impl<S: Stream> Relief for Connections<S> {
    /// Closes the connection that holds most, as often as it takes.
    fn relieve(&self) {
        while self.memory.replies.used() > self.memory.max_reply_bytes() {
            let Some(most) = self.largest() else { return };
            warn!(peer = %most.peer, unsent_bytes = most.unsent_bytes(), "closing a client that does not read, as the memory for replies is used up");
            most.close();
        }
    }
}

impl<S: Stream> Connections<S> {
    /// With `guards_strangers` each address may have few connections whose requests have not passed the checks.
    pub fn new(
        memory_bytes: usize,
        max_open: usize,
        latencies: Latencies,
        guards_strangers: bool,
    ) -> Rc<Self> {
        let memory = Memory::new(memory_bytes, latencies);
        let connections = Rc::new(Connections {
            open: RefCell::default(),
            next_id: Cell::new(1),
            max_open,
            refused: Cell::new(0),
            checked: Cell::new(0),
            relieved: Cell::new(0),
            acceptors: RefCell::default(),
            is_over: Cell::default(),
            requests: memory.requests.clone(),
            replies: memory.replies.clone(),
            memory,
            strangers: guards_strangers.then(Rc::default),
        });
        let relief = Rc::downgrade(&connections);
        connections.memory.set_relief(relief);
        connections
    }

    pub fn find(&self, id: u64) -> Option<Rc<Connection<S>>> {
        self.open.borrow().get(&id).cloned()
    }

    /// Those that are open.
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    pub fn slow_requests(&self) -> &SlowRequests {
        &self.memory.slow
    }

    /// Requests of all of them whose answer is being read from disk.
    pub fn reading(&self) -> usize {
        self.memory.reading.get()
    }

    /// What the unsent replies of all of them may take.
    pub fn max_reply_bytes(&self) -> usize {
        self.memory.max_reply_bytes()
    }

    pub fn latencies(&self) -> &Latencies {
        &self.memory.latencies
    }

    /// How long the kernel took replies.
    pub fn reply_times(&self) -> Ref<'_, Histogram> {
        self.memory.reply_us.borrow()
    }

    /// Pulls of all of them that wait for a message.
    pub fn parked(&self) -> usize {
        self.memory.parked.get()
    }

    /// The connection with the most unsent replies, if one has any. Where none has very many, and the connections are more than one turn
    /// may look at, it is the first of a slice of them: then it matters little which.
    fn largest(&self) -> Option<Rc<Connection<S>>> {
        let heavy = self.memory.heavy().into_iter();
        let heavy = heavy.filter_map(|id| self.find(id));
        if let Some(most) = heavy.max_by_key(|connection| connection.unsent_bytes()) {
            return Some(most);
        }
        let some = self.next_slice(&self.relieved);
        let most = some
            .into_iter()
            .max_by_key(|connection| connection.unsent_bytes());
        most.filter(|most| most.unsent_bytes() > 0)
    }

    /// The next connections behind the last one that `cursor` has seen; they come again when all had their turn.
    fn next_slice(&self, cursor: &Cell<u64>) -> Vec<Rc<Connection<S>>> {
        let after = (Bound::Excluded(cursor.get()), Bound::Unbounded);
        let open = self.open.borrow();
        let some: Vec<_> = open
            .range(after)
            .take(CHECKED_AT_A_TIME)
            .map(|(_, connection)| connection.clone())
            .collect();
        let last = some.last().filter(|_| some.len() == CHECKED_AT_A_TIME);
        cursor.set(last.map_or(0, |last| last.id));
        some
    }

    /// Nothing waits to be sent or is being sent on any of them, nor read to be sent.
    pub fn are_drained(&self) -> bool {
        self.memory.is_drained()
    }

    pub fn stop_accepting(&self) {
        self.is_over.set(true);
        for acceptor in self.acceptors.borrow().iter() {
            acceptor.notify();
        }
    }

    /// Closes a slice of them each turn.
    pub async fn close_all(&self) {
        let mut open = self.snapshot().into_iter();
        in_slices(CLOSED_AT_A_TIME, || {
            let next = open.next();
            if let Some(connection) = &next {
                connection.close();
            }
            next.is_some()
        })
        .await;
    }

    /// Looks at the next connections, all of them in turns: closes the idle ones, and those that keep memory from others.
    pub fn check_some(&self, now_ns: u64, max_idle_s: u64) {
        let some = self.next_slice(&self.checked);
        let requests_wait = self.requests.has_line();
        let replies_wait = !self.replies.is_free();
        for connection in some {
            let activity = connection.activity();
            if connection.is_overdue(now_ns) {
                info!(peer = %connection.peer, "closing a connection of which no request has passed the checks");
                connection.close();
            } else if activity.is_idle(now_ns, max_idle_s * 1_000_000_000) {
                info!(peer = %connection.peer, "closing an idle connection");
                connection.close();
            } else if requests_wait && activity.hinders_requests(now_ns) {
                warn!(peer = %connection.peer, "closing a client that does not finish its request while others wait for the memory");
                connection.close();
            } else if replies_wait && activity.hinders_replies(now_ns) {
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

    /// Takes a new connection; `None` if there are as many as may be, or its address has many that are strangers, or none is taken any more, and it is closed.
    fn add(&self, stream: S, now_ns: u64) -> Option<Rc<Connection<S>>> {
        if self.is_over.get() {
            return None;
        }
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
        // Not each time that one connection is closed and another one opened.
        if self.refused.get() > 0 && open.len() <= self.max_open / 10 * 9 {
            let closed = self.refused.take();
            info!(
                closed,
                open = open.len(),
                "new connections are accepted again"
            );
        }
        let stranger = match &self.strangers {
            None => None,
            Some(strangers) => Some(strangers.enter(stream.peer_addr().ip(), now_ns)?),
        };
        let id = self.next_id.replace(self.next_id.get() + 1);
        let memory = self.memory.clone();
        let connection = Rc::new(Connection::new(id, stream, memory, stranger, now_ns));
        open.insert(id, connection.clone());
        Some(connection)
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
    let mut is_failing = false;
    let share = PerTurn::new(ACCEPTED_PER_TURN);
    loop {
        share.pass().await;
        match select(listener.accept(), stop.notified()).await {
            Either::Left(Ok(stream)) => {
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
                    // Of many that end together one is handled in each turn.
                    yield_now().await;
                    connections.remove(connection.id);
                    service.closed(&connection);
                    debug!(peer = %connection.peer, "disconnected");
                });
            }
            // It is tried again and again, and logged once.
            Either::Left(Err(error)) => {
                if !std::mem::replace(&mut is_failing, true) {
                    warn!(%error, "connections cannot be accepted (is `ulimit -n` too low?)");
                }
            }
            Either::Right(()) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use super::*;

    /// A client that takes nothing.
    #[derive(Clone)]
    struct Deaf;

    impl Stream for Deaf {
        type Chunk = Vec<u8>;

        async fn recv(&self) -> io::Result<Vec<u8>> {
            std::future::pending().await
        }

        async fn send(&self, _: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
            std::future::pending().await
        }

        fn shutdown(&self) {}

        fn peer_addr(&self) -> SocketAddr {
            SocketAddr::from(([127, 0, 0, 1], 9))
        }
    }

    fn latencies() -> Latencies {
        Latencies::new(crate::metrics::families::RPC_LATENCY, 1, || 0)
    }

    fn write(connection: &Connection<Deaf>, bytes: usize) {
        connection.write(|out| out.resize(out.len() + bytes, 0));
    }

    #[test]
    fn the_largest_holder_is_closed_when_the_memory_is_used_up() {
        let connections = Connections::new(64 << 20, 5_000, latencies(), false);
        let most = connections.memory.max_reply_bytes();
        assert_eq!(most, 32 << 20);
        let open: Vec<_> = (0..3_000)
            .map(|_| connections.add(Deaf, 0).unwrap())
            .collect();
        let (heavy, light) = open.split_last().unwrap();
        write(heavy, 3 << 20);
        light
            .iter()
            .for_each(|connection| write(connection, 10 << 10));
        assert!(heavy.is_closed());
        assert!(light.iter().all(|connection| !connection.is_closed()));
        assert_eq!(connections.replies.used(), light.len() * (10 << 10));
        // None of the others has much, and they are more than one turn looks at.
        light
            .iter()
            .for_each(|connection| write(connection, 2 << 10));
        let closed = light.iter().filter(|connection| connection.is_closed());
        assert!((1..500).contains(&closed.count()));
        assert!(connections.replies.used() <= most);
    }

    /// An acceptor may have got it before it heard of the end. What it would be answered comes after the last saves.
    #[test]
    fn after_the_end_no_connection_is_taken() {
        let connections = Connections::new(64 << 20, 5_000, latencies(), false);
        assert!(connections.add(Deaf, 0).is_some());
        connections.stop_accepting();
        assert!(connections.add(Deaf, 0).is_none());
    }

    #[test]
    fn connections_are_drained_when_nothing_is_unsent_or_being_read() {
        let connections = Connections::new(64 << 20, 10, latencies(), false);
        let (first, second) = (connections.add(Deaf, 0).unwrap(), connections.add(Deaf, 0));
        assert!(connections.are_drained());
        write(&first, 1);
        assert!(!connections.are_drained());
        first.forget_unsent(1);
        assert!(connections.are_drained());
        let reading = [first.start_reading(), first.start_reading()];
        let second = second.unwrap();
        let other = second.start_reading();
        assert!(!connections.are_drained());
        first.close();
        assert!(!connections.are_drained());
        drop(other);
        assert!(
            connections.are_drained(),
            "a closed connection does not count"
        );
        drop(reading);
        assert_eq!(connections.memory.reading.get(), 0);
    }
}
