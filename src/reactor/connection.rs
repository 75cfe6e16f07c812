//! One client connection: frames in, replies out, each direction a task of its own.
//!
//! Replies are collected in `out` and sent with one operation per turn of the reactor. A client that stops reading is
//! first not read any more (it cannot ask for more than [`MAX_UNSENT_BYTES`] beyond what it takes), and if what
//! others cause to be sent to it (notifications) still piles up to half of what all replies may take, it is closed.

use std::cell::{Cell, RefCell, RefMut};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use tracing::{debug, info, warn};

use super::activity::Activity;
use super::caller::Caller;
use super::grant::FrameGrant;
use super::inbox::{FRAMES_PER_TURN, Flow, Inbox};
use super::latencies::{Kind, Outcome};
use super::memory::Memory;
use super::unproven::Stranger;
use super::unsent::Unsent;
use crate::auth::Visit;
use crate::broker::limits::{MAX_READING, MAX_UNSENT_BYTES, MAX_UNSENT_PRESSED_BYTES};
use crate::broker::{ConnId, Peer};
use crate::io::{Clock, Either, Gate, Io, Notify, Pass, PerTurn, Stream, select};
use crate::wire::frame;
use crate::wire::{Frame, Header, Scratch, Value};

/// An output buffer that one huge reply has grown is given back.
const KEPT_CAPACITY_BYTES: usize = 1 << 20;

/// What serves the frames of a port.
pub trait Service<S: Stream>: 'static {
    /// Takes one frame; replies now or later through [`Connection::reply`].
    fn frame(
        self: &Rc<Self>,
        connection: &Rc<Connection<S>>,
        frame: Frame<'_>,
        scratch: &mut Scratch,
    ) -> Flow;

    /// Done when a frame that was answered with [`Flow::Full`] is to be offered again; [`Connection::grant`] says why.
    fn room(&self, connection: &Connection<S>, bytes: usize) -> impl Future<Output = ()>;

    /// The same after [`Flow::Later`]; the connection then has its share.
    fn round(&self, connection: &Connection<S>, units: usize) -> impl Future<Output = ()>;

    /// The same after [`Flow::Unsaved`].
    fn saved(&self) -> impl Future<Output = ()>;

    fn closed(self: &Rc<Self>, connection: &Connection<S>);
}

pub struct Connection<S: Stream> {
    pub id: u64,
    pub peer: SocketAddr,
    stream: S,
    memory: Rc<Memory>,
    out: RefCell<Unsent>,
    /// What is in `out` or with the kernel.
    unsent_bytes: Cell<usize>,
    grant: FrameGrant,
    /// There is something in `out`, or the connection has closed.
    queued: Notify,
    /// `out` has been taken by the writer, or something has been read.
    taken: Notify,
    closed: Cell<bool>,
    /// Requests whose answer is being read from disk.
    reading: Cell<usize>,
    /// With little memory left it gets one reply at a time.
    replies: Rc<Gate>,
    /// The kernel has taken replies, or the connection has closed.
    sent: Notify,
    /// Pulls that wait for a message.
    parked: Cell<usize>,
    activity: Activity,
    /// What the checks of its requests have found.
    visit: RefCell<Visit>,
    /// No request of it has passed them yet.
    stranger: RefCell<Option<Stranger>>,
    /// It has been logged that it does not read: once, however often it begins to read again.
    is_backlog_logged: Cell<bool>,
}

impl<S: Stream> Connection<S> {
    pub(super) fn new(
        id: u64,
        stream: S,
        memory: Rc<Memory>,
        stranger: Option<Stranger>,
        now_ns: u64,
    ) -> Self {
        Connection {
            id,
            peer: stream.peer_addr(),
            stream,
            memory,
            out: RefCell::default(),
            unsent_bytes: Cell::new(0),
            grant: FrameGrant::default(),
            queued: Notify::default(),
            taken: Notify::default(),
            closed: Cell::new(false),
            reading: Cell::new(0),
            replies: Gate::new(1),
            sent: Notify::default(),
            parked: Cell::new(0),
            activity: Activity::new(now_ns),
            visit: RefCell::default(),
            stranger: RefCell::new(stranger),
            is_backlog_logged: Cell::new(false),
        }
    }

    /// The client as the rules see it, by what it says of itself in a request.
    pub fn as_peer(&self, header: &Header<'_>) -> Peer {
        Peer {
            conn: ConnId(self.id),
            addr: self.peer,
            language: header.language,
            version: header.version,
        }
    }

    /// Answers `caller`, unless the request is one-way.
    pub fn answer(
        &self,
        caller: Caller,
        code: i32,
        remark: Option<&str>,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
    ) {
        self.answered(caller, code);
        if !caller.is_oneway {
            self.write(|out| frame::write(out, &caller.head(code, remark), ext, body));
        }
    }

    /// The same with a body that may be large: it is not copied then.
    pub fn answer_with(
        &self,
        caller: Caller,
        code: i32,
        remark: Option<&str>,
        ext: &[(&str, Value<'_>)],
        body: Vec<u8>,
    ) {
        self.answered(caller, code);
        if caller.is_oneway {
            return;
        }
        self.push(|out| {
            let head = caller.head(code, remark);
            frame::write_head(out.collected(), &head, ext, body.len());
            out.push_body(body);
        });
    }

    /// Counts a request whose answer is written now, or that has none.
    pub fn answered(&self, caller: Caller, code: i32) {
        let kind = Kind {
            request: caller.code,
            response: code,
            is_parked: caller.is_parked,
            outcome: match (caller.is_oneway, self.closed.get()) {
                (true, _) => Outcome::Oneway,
                (false, true) => Outcome::NotWritten,
                (false, false) => Outcome::Success,
            },
        };
        let now_ns = self.memory.latencies.answered(kind, caller.arrived_ns);
        if !caller.is_parked {
            let took_ns = now_ns.saturating_sub(caller.arrived_ns);
            let slow = &self.memory.slow;
            slow.answered(caller.code, code, self.peer, took_ns, now_ns);
        }
    }

    /// Lets `write` append one or more whole frames to what is sent next.
    pub fn write<T>(&self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.push(|out| write(out.collected()))
    }

    fn push<T>(&self, write: impl FnOnce(&mut Unsent) -> T) -> T {
        let mut out = self.out.borrow_mut();
        let before = out.bytes();
        let written = write(&mut out);
        let added = out.bytes() - before;
        if self.closed.get() {
            out.clear();
            return written;
        }
        drop(out);
        self.set_unsent(self.unsent_bytes.get() + added);
        self.memory.replies.take(added);
        if self.unsent_bytes.get() > self.memory.max_reply_bytes() / 2 {
            warn!(peer = %self.peer, unsent_bytes = self.unsent_bytes.get(), "closing a client that does not read");
            self.close();
        }
        self.memory.relieve();
        self.queued.notify();
        written
    }

    /// `bytes` are sent, or never will be.
    pub(super) fn forget_unsent(&self, bytes: usize) {
        let bytes = bytes.min(self.unsent_bytes.get());
        self.set_unsent(self.unsent_bytes.get() - bytes);
        self.memory.replies.give_back(bytes);
    }

    fn set_unsent(&self, bytes: usize) {
        let before = self.unsent_bytes.replace(bytes);
        self.memory.unsent_changed(self.id, before, bytes);
    }

    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes.get()
    }

    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    pub fn visit(&self) -> RefMut<'_, Visit> {
        self.visit.borrow_mut()
    }

    /// A request of it has passed the checks.
    pub fn has_proven(&self) {
        self.stranger.take();
    }

    /// None has for too long.
    pub fn is_overdue(&self, now_ns: u64) -> bool {
        let stranger = self.stranger.borrow();
        stranger.as_ref().is_some_and(|it| it.is_overdue(now_ns))
    }

    /// What the frame that is being offered has waited for.
    pub fn grant(&self) -> &FrameGrant {
        &self.grant
    }

    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub fn close(&self) {
        if !self.closed.replace(true) {
            self.stream.shutdown();
            let all = &self.memory.reading;
            all.set(all.get() - self.reading.get());
            self.out.borrow_mut().clear();
            self.forget_unsent(usize::MAX);
            self.queued.notify();
            self.taken.notify();
            self.sent.notify();
        }
    }

    /// Counts a request as one that is being read for, until the guard is dropped.
    pub fn start_reading(self: &Rc<Self>) -> Reading<S> {
        self.reading.set(self.reading.get() + 1);
        if !self.closed.get() {
            let all = &self.memory.reading;
            all.set(all.get() + 1);
        }
        Reading {
            connection: self.clone(),
        }
    }

    /// Counts a pull as one that waits for a message, until the guard is dropped.
    pub fn start_parking(self: &Rc<Self>) -> Parking<S> {
        for parked in [&self.parked, &self.memory.parked] {
            parked.set(parked.get() + 1);
        }
        Parking {
            connection: self.clone(),
        }
    }

    pub fn parked(&self) -> usize {
        self.parked.get()
    }

    /// Its turn for one more large reply; `None` if the connection closes first.
    pub async fn reply_turn(&self) -> Option<Pass> {
        let pass = self.replies.enter(1).await;
        while self.is_backlogged() {
            self.sent.notified().await;
        }
        (!self.closed.get()).then_some(pass)
    }

    fn must_wait(&self) -> bool {
        self.is_backlogged() || self.reading.get() >= MAX_READING
    }

    async fn until_it_may_ask(&self) {
        while !self.closed.get() && self.must_wait() {
            if self.is_backlogged() && !self.is_backlog_logged.replace(true) {
                info!(peer = %self.peer, unsent_bytes = self.unsent_bytes.get(), "a client does not read its replies: its requests wait");
            }
            self.taken.notified().await;
        }
    }

    /// The client has to receive replies first.
    fn is_backlogged(&self) -> bool {
        let unsent = self.unsent_bytes.get();
        let is_pressed = || !self.memory.replies.is_free();
        unsent > MAX_UNSENT_BYTES || (unsent > MAX_UNSENT_PRESSED_BYTES && is_pressed())
    }

    /// What the client has sent. Requests in it have arrived at the time of now.
    async fn receive(&self, clock: &impl Clock) -> io::Result<S::Chunk> {
        let received = self.stream.recv().await;
        self.activity.received(clock.now().mono_ns);
        received
    }

    /// Waits until `bytes` of a request may be held; `None` if the connection closes first.
    async fn reserve(&self, bytes: usize) -> Option<Pass> {
        let mut entering = pin!(self.memory.requests.enter(bytes));
        while !self.closed.get() {
            if let Either::Left(pass) = select(entering.as_mut(), self.taken.notified()).await {
                return Some(pass);
            }
        }
        None
    }
}

/// See [`Connection::start_reading`].
pub struct Reading<S: Stream> {
    connection: Rc<Connection<S>>,
}

impl<S: Stream> Drop for Reading<S> {
    fn drop(&mut self) {
        let Connection {
            reading,
            memory,
            closed,
            ..
        } = &*self.connection;
        reading.set(reading.get() - 1);
        // Those of a closed connection do not count.
        if !closed.get() {
            memory.reading.set(memory.reading.get() - 1);
        }
        self.connection.taken.notify();
    }
}

/// See [`Connection::start_parking`].
pub struct Parking<S: Stream> {
    connection: Rc<Connection<S>>,
}

impl<S: Stream> Drop for Parking<S> {
    fn drop(&mut self) {
        for parked in [&self.connection.parked, &self.connection.memory.parked] {
            parked.set(parked.get() - 1);
        }
    }
}

/// Offers what the client sends to the service, until either ends the connection.
pub(super) async fn read<I: Io, V: Service<I::Stream>>(
    io: &I,
    connection: &Rc<Connection<I::Stream>>,
    service: &Rc<V>,
) {
    let mut inbox = Inbox::default();
    let mut scratch = Scratch::default();
    let mut reserved = None;
    let share = PerTurn::new(FRAMES_PER_TURN);
    let mut offer = |frame: Frame<'_>| match connection.must_wait() {
        true => Flow::Pause,
        false if !share.take() => Flow::Yield,
        false => served(service, connection, frame, &mut scratch),
    };
    'receiving: while !connection.is_closed() {
        let mut step = match connection.receive(io).await {
            Ok(chunk) if chunk.is_empty() => break,
            Err(error) => {
                debug!(peer = %connection.peer, %error, "receive failed");
                break;
            }
            Ok(chunk) => inbox.feed(&chunk, &mut offer),
        };
        loop {
            match step {
                Ok(Flow::Next) => break,
                Ok(Flow::Full(bytes)) => service.room(connection, bytes).await,
                Ok(Flow::Unsaved) => service.saved().await,
                Ok(Flow::Later(units)) => service.round(connection, units).await,
                Ok(Flow::Yield) => share.next_turn().await,
                Ok(Flow::Slowed(until_ns)) => io.sleep_until(until_ns).await,
                Ok(Flow::Pause) => connection.until_it_may_ask().await,
                Ok(Flow::Close) => break 'receiving,
                Err(error) => {
                    warn!(peer = %connection.peer, %error, "closing a connection that sent a broken frame");
                    break 'receiving;
                }
            }
            if connection.is_closed() {
                break 'receiving;
            }
            step = inbox.feed(&[], &mut offer);
            connection.grant.end_offer();
        }
        connection.until_it_may_ask().await;
        if inbox.has_moved_on() {
            connection.activity.large_request_ended();
            reserved = None;
        }
        if let Some(bytes) = inbox.begun_large()
            && reserved.is_none()
        {
            reserved = connection.reserve(bytes).await;
            connection.activity.large_request_begins(io.now().mono_ns);
            inbox.prepare(bytes);
        }
    }
    connection.grant.end_offer();
    connection.close();
}

fn served<S: Stream, V: Service<S>>(
    service: &Rc<V>,
    connection: &Rc<Connection<S>>,
    frame: Frame<'_>,
    scratch: &mut Scratch,
) -> Flow {
    let flow = service.frame(connection, frame, scratch);
    scratch.shrink();
    flow
}

pub(super) async fn write<I: Io>(io: I, connection: Rc<Connection<I::Stream>>) {
    let mut flying = Vec::new();
    loop {
        connection.queued.notified().await;
        if connection.is_closed() {
            return;
        }
        let next = connection.out.borrow_mut().take(flying);
        flying = next;
        if flying.is_empty() {
            continue;
        }
        let began_ns = io.now().mono_ns;
        connection.activity.send_begins(began_ns);
        let copied = connection.stream.copied(flying.len());
        connection.memory.replies.take(copied);
        let (sent, buf) = connection.stream.send(flying).await;
        connection.memory.replies.give_back(copied);
        let ended_ns = io.now().mono_ns;
        connection.activity.send_ended(ended_ns);
        connection.memory.sent(ended_ns - began_ns);
        connection.forget_unsent(buf.len());
        connection.taken.notify();
        connection.sent.notify();
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
        if !connection.out.borrow().is_empty() {
            connection.queued.notify();
        }
    }
}
