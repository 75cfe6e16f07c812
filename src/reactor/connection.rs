//! One client connection: frames in, replies out, each direction a task of its own.
//!
//! Replies are collected in `out` and sent with one operation per turn of the reactor. A client that stops reading is
//! first not read any more (it cannot ask for more than [`PAUSE_READING_BYTES`] beyond what it takes), and if what
//! others cause to be sent to it (notifications) still piles up to [`MAX_UNSENT_BYTES`], it is closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use tracing::{debug, info, warn};

use super::inbox::{Flow, Inbox};
use crate::io::{First, first};
use crate::io::{Io, Listener, Notify, Stream};
use crate::wire::frame;
use crate::wire::{
    CURRENT_VERSION, Codec, FLAG_RESPONSE, Frame, Head, Header, Language, Scratch, Value,
};

/// Unsent replies above which the client's further requests wait.
const PAUSE_READING_BYTES: usize = 4 << 20;

/// Requests of one client that are being read from disk for at a time; its further ones wait. A pull's reply is up to
/// 256 KiB, so this bounds what such replies take.
const MAX_READING: usize = 32;

/// Unsent replies above which the client is given up.
const MAX_UNSENT_BYTES: usize = 64 << 20;

/// An output buffer that one huge reply has grown is given back.
const KEPT_CAPACITY_BYTES: usize = 1 << 20;

/// What stands behind a port.
pub trait Service<S: Stream>: 'static {
    /// Takes one frame; replies now or later through [`Connection::reply`].
    fn frame(
        self: &Rc<Self>,
        connection: &Rc<Connection<S>>,
        frame: Frame<'_>,
        scratch: &mut Scratch,
    ) -> Flow;

    /// Done when there may be room for a frame that was answered with [`Flow::Full`].
    fn room(&self, bytes: usize) -> impl Future<Output = ()>;

    fn closed(&self, connection: &Connection<S>);
}

/// How to answer a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub opaque: i32,
    pub codec: Codec,
    /// Nobody waits for the answer.
    pub is_oneway: bool,
}

impl Caller {
    pub fn new(frame: &Frame<'_>, header: &Header<'_>) -> Self {
        Caller {
            opaque: header.opaque,
            codec: frame.codec,
            is_oneway: header.is_oneway(),
        }
    }

    /// The head of the reply, in the codec of the request: C++ and Node clients read no other.
    pub fn head<'a>(&self, code: i32, remark: Option<&'a str>) -> Head<'a> {
        Head {
            codec: self.codec,
            code,
            language: Language::Java,
            version: CURRENT_VERSION,
            opaque: self.opaque,
            flag: FLAG_RESPONSE,
            remark,
        }
    }
}

pub struct Connection<S: Stream> {
    pub id: u64,
    pub peer: SocketAddr,
    stream: S,
    out: RefCell<Vec<u8>>,
    /// There is something in `out`, or the connection has closed.
    queued: Notify,
    /// `out` has been taken by the writer, or something has been read.
    taken: Notify,
    closed: Cell<bool>,
    /// Requests whose answer is being read from disk.
    reading: Cell<usize>,
    sending: Cell<bool>,
    active_ns: Cell<u64>,
}

impl<S: Stream> Connection<S> {
    /// Answers `caller`, unless nobody waits for it.
    pub fn answer(
        &self,
        caller: Caller,
        code: i32,
        remark: Option<&str>,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
    ) {
        if !caller.is_oneway {
            self.write(|out| frame::write(out, &caller.head(code, remark), ext, body));
        }
    }

    /// Lets `write` append one or more whole frames to what is sent next.
    pub fn write<T>(&self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut out = self.out.borrow_mut();
        let written = write(&mut out);
        if self.closed.get() {
            out.clear();
        } else if out.len() > MAX_UNSENT_BYTES {
            warn!(peer = %self.peer, unsent_bytes = out.len(), "closing a client that does not read");
            out.clear();
            drop(out);
            self.close();
        } else {
            self.queued.notify();
        }
        written
    }

    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub fn close(&self) {
        if !self.closed.replace(true) {
            self.stream.shutdown();
            self.queued.notify();
            self.taken.notify();
        }
    }

    /// Nothing waits to be sent or is being sent, nor read to be sent.
    pub fn is_drained(&self) -> bool {
        self.out.borrow().is_empty() && !self.sending.get() && self.reading.get() == 0
    }

    /// Counts a request as one that is being read for, until the guard is dropped.
    pub fn start_reading(self: &Rc<Self>) -> Reading<S> {
        self.reading.set(self.reading.get() + 1);
        Reading {
            connection: self.clone(),
        }
    }

    async fn until_it_may_ask(&self) {
        while !self.closed.get()
            && (self.out.borrow().len() > PAUSE_READING_BYTES || self.reading.get() >= MAX_READING)
        {
            self.taken.notified().await;
        }
    }
}

/// See [`Connection::start_reading`].
pub struct Reading<S: Stream> {
    connection: Rc<Connection<S>>,
}

impl<S: Stream> Drop for Reading<S> {
    fn drop(&mut self) {
        let reading = &self.connection.reading;
        reading.set(reading.get() - 1);
        self.connection.taken.notify();
    }
}

/// The connections of one reactor, all its ports together.
pub struct Connections<S: Stream> {
    open: RefCell<BTreeMap<u64, Rc<Connection<S>>>>,
    next_id: Cell<u64>,
    /// One for each port that accepts, to tell it to stop.
    acceptors: RefCell<Vec<Rc<Notify>>>,
}

impl<S: Stream> Default for Connections<S> {
    fn default() -> Self {
        Connections {
            open: RefCell::default(),
            next_id: Cell::new(1),
            acceptors: RefCell::default(),
        }
    }
}

impl<S: Stream> Connections<S> {
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
            if now_ns.saturating_sub(connection.active_ns.get()) > max_idle_s * 1_000_000_000 {
                info!(peer = %connection.peer, "closing an idle connection");
                connection.close();
            }
        }
    }

    fn snapshot(&self) -> Vec<Rc<Connection<S>>> {
        self.open.borrow().values().cloned().collect()
    }

    fn add(&self, stream: S, now_ns: u64) -> Rc<Connection<S>> {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let connection = Rc::new(Connection {
            id,
            peer: stream.peer_addr(),
            stream,
            out: RefCell::default(),
            queued: Notify::default(),
            taken: Notify::default(),
            closed: Cell::new(false),
            reading: Cell::new(0),
            sending: Cell::new(false),
            active_ns: Cell::new(now_ns),
        });
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
                io.spawn(write(io.clone(), connection.clone()));
                io.spawn(read(
                    io.clone(),
                    connection,
                    service.clone(),
                    connections.clone(),
                ));
            }
            First::Left(Err(error)) => warn!(%error, "accept failed"),
            First::Right(()) => return,
        }
    }
}

async fn read<I: Io, V: Service<I::Stream>>(
    io: I,
    connection: Rc<Connection<I::Stream>>,
    service: Rc<V>,
    connections: Rc<Connections<I::Stream>>,
) {
    let mut inbox = Inbox::default();
    let mut scratch = Scratch::default();
    'receiving: while !connection.is_closed() {
        let mut step = match connection.stream.recv().await {
            Ok(chunk) if chunk.is_empty() => break,
            Err(error) => {
                debug!(peer = %connection.peer, %error, "receive failed");
                break;
            }
            Ok(chunk) => inbox.feed(&chunk, |frame| {
                service.frame(&connection, frame, &mut scratch)
            }),
        };
        connection.active_ns.set(io.now().mono_ns);
        loop {
            match step {
                Ok(Flow::Next) => break,
                Ok(Flow::Full(bytes)) => service.room(bytes).await,
                Ok(Flow::Close) => break 'receiving,
                Err(error) => {
                    warn!(peer = %connection.peer, %error, "closing a connection that sent a broken frame");
                    break 'receiving;
                }
            }
            if connection.is_closed() {
                break 'receiving;
            }
            step = inbox.feed(&[], |frame| service.frame(&connection, frame, &mut scratch));
        }
        connection.until_it_may_ask().await;
    }
    connection.close();
    connections.open.borrow_mut().remove(&connection.id);
    service.closed(&connection);
    debug!(peer = %connection.peer, "disconnected");
}

async fn write<I: Io>(io: I, connection: Rc<Connection<I::Stream>>) {
    let mut flying = Vec::new();
    loop {
        connection.queued.notified().await;
        if connection.is_closed() {
            return;
        }
        std::mem::swap(&mut *connection.out.borrow_mut(), &mut flying);
        connection.taken.notify();
        if flying.is_empty() {
            continue;
        }
        connection.sending.set(true);
        let (sent, buf) = connection.stream.send(flying).await;
        connection.sending.set(false);
        connection.active_ns.set(io.now().mono_ns);
        if let Err(error) = sent {
            debug!(peer = %connection.peer, %error, "send failed");
            connection.close();
            return;
        }
        flying = buf;
        flying.clear();
        if flying.capacity() > KEPT_CAPACITY_BYTES {
            flying = Vec::new();
        }
    }
}
