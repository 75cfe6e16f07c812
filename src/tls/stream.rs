//! A connection that is plain or TLS. The first byte that a peer sends decides: a record of a TLS handshake begins with 0x16, and a frame of the
//! remoting protocol with the highest byte of its length, which is 0 or 1.
//!
//! ```text
//! undecided ─► plain ─────────────────► received bytes are passed on where they lie, sent ones as they are
//!          └─► handshaking ─► open ───► received ones are opened into a buffer of the core, sent ones sealed into another one
//! ```
//! The reader's task does the handshake, within its receive. What TLS itself sends later (an alert, a new key) and what the writer's task sends
//! go over the same socket, one after another.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;

use super::buffers::Opened;
use super::handshakes::{HANDSHAKE_NS, Handshakes};
use super::outcomes::Reason;
use super::proxy_header::Beginning;
use super::security::{Accepts, Shared};
use super::session::Session;
use crate::io::{Either, Io, Net, Notify, Stream, select};

/// The type of a record that a TLS connection begins with.
pub const HANDSHAKE_RECORD: u8 = 0x16;

/// What is sealed in one turn, some 50 us.
const SEALED_AT_A_TIME: usize = 128 << 10;

#[derive(Clone)]
pub struct SecuredStream<I: Io> {
    link: Rc<Link<I>>,
}

struct Link<I: Io> {
    stream: I::Stream,
    shared: Rc<Shared<I>>,
    state: Cell<State>,
    session: RefCell<Option<Box<Session>>>,
    /// Those of its port; `None`: this side has connected.
    handshakes: Option<Rc<Handshakes>>,
    /// Opened, or come behind the header of a proxy, and not received yet.
    left: RefCell<Option<Opened>>,
    /// Whose connection it is, as the proxy that it comes from has said.
    announced: Cell<Option<SocketAddr>>,
    /// It is plain, or open, or over.
    decided: Notify,
    is_sending: Cell<bool>,
    sent: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Undecided,
    Plain,
    Handshaking,
    Open,
    Over,
}

/// Received bytes.
pub enum Chunk<C> {
    Plain(C),
    Opened(Opened),
}

type First<I> = (Arc<ServerConfig>, Received<I>);

type Received<I> = Chunk<<<I as Net>::Stream as Stream>::Chunk>;

impl<C: Deref<Target = [u8]>> Deref for Chunk<C> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Plain(chunk) => chunk,
            Self::Opened(opened) => opened,
        }
    }
}

impl<I: Io> SecuredStream<I> {
    pub(super) fn plain(stream: I::Stream, shared: &Rc<Shared<I>>) -> Self {
        Self::of(stream, shared, State::Plain, None)
    }

    pub(super) fn accepted(
        stream: I::Stream,
        shared: &Rc<Shared<I>>,
        handshakes: &Rc<Handshakes>,
    ) -> Self {
        Self::of(stream, shared, State::Undecided, Some(handshakes.clone()))
    }

    /// Done when the handshake is.
    pub(super) async fn connected(
        stream: I::Stream,
        shared: &Rc<Shared<I>>,
        session: Session,
    ) -> io::Result<Self> {
        let secured = Self::of(stream, shared, State::Handshaking, None);
        let link = &secured.link;
        link.session.replace(Some(Box::new(session)));
        link.shake_hands(None).await?;
        Ok(secured)
    }

    fn of(
        stream: I::Stream,
        shared: &Rc<Shared<I>>,
        state: State,
        handshakes: Option<Rc<Handshakes>>,
    ) -> Self {
        let link = Link {
            stream,
            shared: shared.clone(),
            state: Cell::new(state),
            session: RefCell::default(),
            handshakes,
            left: RefCell::default(),
            announced: Cell::default(),
            decided: Notify::default(),
            is_sending: Cell::new(false),
            sent: Notify::default(),
        };
        Self {
            link: Rc::new(link),
        }
    }

    /// Of a connection from a proxy: takes its header, if there is one. `false`: it has ended without a byte.
    pub(super) async fn introduced(&self) -> io::Result<bool> {
        let link = &*self.link;
        let mut came = Vec::new();
        loop {
            let chunk = link.stream.recv().await?;
            if chunk.is_empty() {
                return match came.is_empty() {
                    true => Ok(false),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            came.extend_from_slice(&chunk);
            match Beginning::of(&came).map_err(io::Error::other)? {
                Beginning::Incomplete => continue,
                Beginning::Other => {}
                Beginning::Header { len, source } => {
                    link.announced.set(source);
                    drop(came.drain(..len));
                }
            }
            link.keep(came);
            return Ok(true);
        }
    }

    /// Ends it before anything of it is served.
    pub(super) fn refuse(&self, reason: Reason, why: &str) {
        self.link.refuse(reason, why);
    }
}

impl<I: Io> Stream for SecuredStream<I> {
    type Chunk = Chunk<<I::Stream as Stream>::Chunk>;

    async fn recv(&self) -> io::Result<Self::Chunk> {
        let link = &*self.link;
        loop {
            match link.state.get() {
                State::Plain => return link.stream.recv().await.map(Chunk::Plain),
                State::Open => {
                    if let Some(opened) = link.left.take() {
                        return Ok(Chunk::Opened(opened));
                    }
                    if !link.open().await? {
                        return Ok(link.nothing());
                    }
                }
                State::Undecided => {
                    let first = link.first().await?;
                    let Some(config) = link.tls_of(&first)? else {
                        return Ok(first);
                    };
                    // Boxed: a plain connection needs none of its memory.
                    Box::pin(link.shake_hands(Some((config, first)))).await?;
                }
                State::Handshaking | State::Over => return Ok(link.nothing()),
            }
        }
    }

    async fn recv_into(&self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let link = &*self.link;
        if link.state.get() == State::Plain {
            return link.stream.recv_into(buf).await;
        }
        let received = self.recv().await.map(|chunk| match chunk {
            Chunk::Plain(chunk) => {
                buf[..chunk.len()].copy_from_slice(&chunk);
                chunk.len()
            }
            Chunk::Opened(mut opened) => {
                let len = opened.move_to(&mut buf);
                link.left
                    .replace(Some(opened).filter(|left| !left.is_empty()));
                len
            }
        });
        (received, buf)
    }

    async fn send(&self, buf: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let link = &*self.link;
        loop {
            match link.state.get() {
                State::Plain => return link.stream.send(buf).await,
                State::Open => {
                    let sent = link.send_sealed(&buf).await;
                    return (sent, buf);
                }
                State::Over => return (Err(io::ErrorKind::BrokenPipe.into()), buf),
                State::Undecided | State::Handshaking => link.decided.notified().await,
            }
        }
    }

    /// The sealed part.
    fn copied(&self, bytes: usize) -> usize {
        match self.link.state.get() {
            State::Plain => 0,
            _ => bytes.min(SEALED_AT_A_TIME),
        }
    }

    fn shutdown(&self) {
        self.link.stream.shutdown();
        if matches!(self.link.state.get(), State::Undecided | State::Handshaking) {
            self.link.decide(State::Over);
        }
    }

    fn peer_addr(&self) -> SocketAddr {
        self.link.peer()
    }
}

impl<I: Io> Link<I> {
    fn decide(&self, state: State) {
        self.state.set(state);
        self.decided.notify();
    }

    /// The end of the stream.
    fn nothing(&self) -> Received<I> {
        Chunk::Opened(Opened::new(Vec::new(), &self.shared.buffers))
    }

    fn peer(&self) -> SocketAddr {
        let announced = self.announced.get();
        announced.unwrap_or_else(|| self.stream.peer_addr())
    }

    async fn first(&self) -> io::Result<Received<I>> {
        match self.left.take() {
            Some(left) => Ok(Chunk::Opened(left)),
            None => self.stream.recv().await.map(Chunk::Plain),
        }
    }

    /// Decides by what has come first; `None`: it is plain. An error: it is not what the port takes.
    fn tls_of(&self, first: &[u8]) -> io::Result<Option<Arc<ServerConfig>>> {
        if Beginning::is_header(first) {
            let is_proxy = self.shared.is_proxy(self.stream.peer_addr().ip());
            let why = match is_proxy {
                false => {
                    "it begins with a PROXY header, and its address is none of proxyProtocolFrom"
                }
                true => "a second PROXY header follows the first",
            };
            return Err(self.refuse(Reason::UnexpectedProxyHeader, why));
        }
        let begins_tls = first.first() == Some(&HANDSHAKE_RECORD);
        let accepts = self.shared.security.borrow().accepts.clone();
        let config = match accepts {
            Accepts::Plain if begins_tls => {
                return Err(self.refuse(Reason::Tls, "it begins with TLS, which is off here"));
            }
            Accepts::Tls(_) if !begins_tls && !first.is_empty() => {
                let why = "it does not begin with TLS, and no other is taken here";
                return Err(self.refuse(Reason::PlainText, why));
            }
            Accepts::Both(config) | Accepts::Tls(config) if begins_tls => config,
            _ => {
                self.decide(State::Plain);
                return Ok(None);
            }
        };
        self.state.set(State::Handshaking);
        Ok(Some(config))
    }

    fn refuse(&self, reason: Reason, why: &str) -> io::Error {
        let error = io::Error::new(io::ErrorKind::PermissionDenied, why);
        self.shared.refused(self.peer(), reason, &error);
        self.stream.shutdown();
        self.decide(State::Over);
        error
    }

    /// Of the side that was connected to: with what has come first.
    async fn shake_hands(&self, first: Option<First<I>>) -> io::Result<()> {
        let shared = &*self.shared;
        let in_progress = self.handshakes.as_ref();
        let one = in_progress.map(Handshakes::begin);
        let late = shared
            .io
            .sleep_until(shared.io.now().mono_ns + HANDSHAKE_NS);
        let displaced = async {
            match &one {
                Some(one) => one.has_to_end().await,
                None => pending().await,
            }
        };
        let mut plain = shared.buffers.take();
        let done = match select(self.exchange(first, &mut plain), select(late, displaced)).await {
            Either::Left(done) => done,
            Either::Right(Either::Left(())) => Err(io::ErrorKind::TimedOut.into()),
            Either::Right(Either::Right(())) => {
                Err(io::Error::other("it was the oldest of too many"))
            }
        };
        match &done {
            Ok(()) => {
                // What the peer has sent behind its last message of the handshake.
                self.keep(plain);
                if in_progress.is_some() {
                    let is_resumed = self.with_session(|session| session.is_resumed());
                    shared.outcomes.done(is_resumed);
                }
                self.decide(State::Open);
            }
            Err(error) => {
                // A side that has connected gives the error to its caller.
                if in_progress.is_some() {
                    let reason = Reason::of_handshake(error);
                    let error = io::Error::other(format!("its TLS handshake has failed: {error}"));
                    shared.refused(self.peer(), reason, &error);
                }
                self.stream.shutdown();
                self.decide(State::Over);
            }
        }
        done
    }

    async fn exchange(&self, first: Option<First<I>>, plain: &mut Vec<u8>) -> io::Result<()> {
        let (mut config, mut came) = first.unzip();
        loop {
            if let Some(chunk) = came.take() {
                let steps = &self.shared.steps;
                let step = || {
                    // The beginning of a session takes longer than most messages.
                    if let Some(config) = config.take() {
                        let session = Session::server(config).map_err(io::Error::other)?;
                        self.session.replace(Some(Box::new(session)));
                    }
                    self.with_session(|session| session.receive(&chunk, plain))
                };
                let taken = steps.take(&self.shared.io, step).await;
                drop(chunk);
                if self.session.borrow().is_none() {
                    return taken;
                }
                // An alert, too.
                let flushed = self.flush().await;
                taken.and(flushed)?;
            } else {
                self.flush().await?;
            }
            if !self.with_session(|session| session.is_handshaking()) {
                return Ok(());
            }
            let chunk = self.stream.recv().await?;
            if chunk.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            came = Some(Chunk::Plain(chunk));
        }
    }

    fn with_session<T>(&self, does: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = self.session.borrow_mut();
        does(session.as_mut().expect("a TLS connection has one"))
    }

    /// Opens what comes next, which may be no plain text; `false` at the end of the stream. If it is dropped where it waits, nothing is lost.
    async fn open(&self) -> io::Result<bool> {
        if self.with_session(|session| session.is_over()) {
            return Ok(false);
        }
        let chunk = self.stream.recv().await?;
        if chunk.is_empty() {
            return Ok(false);
        }
        let mut plain = self.shared.buffers.take();
        let opened = self.with_session(|session| session.receive(&chunk, &mut plain));
        drop(chunk);
        if let Err(error) = &opened
            && self.handshakes.is_some()
        {
            let why = format!("a record of TLS was changed on its way, or is none: {error}");
            let error = io::Error::other(why);
            self.shared.refused(self.peer(), Reason::Record, &error);
        }
        self.keep(plain);
        if self.with_session(|session| session.has_output()) {
            // Boxed, as it is rare.
            Box::pin(self.flush()).await?;
        }
        opened.map(|()| true)
    }

    /// For the next receive.
    fn keep(&self, plain: Vec<u8>) {
        let opened = Opened::new(plain, &self.shared.buffers);
        self.left
            .replace(Some(opened).filter(|left| !left.is_empty()));
    }

    /// Sends what TLS has to say by itself.
    async fn flush(&self) -> io::Result<()> {
        let _sending = self.begin_sending().await;
        let mut out = self.shared.buffers.take();
        self.with_session(|session| session.take_output(&mut out))?;
        self.transmit(out).await
    }

    /// A part in each turn.
    async fn send_sealed(&self, plain: &[u8]) -> io::Result<()> {
        for piece in plain.chunks(SEALED_AT_A_TIME) {
            let _sending = self.begin_sending().await;
            let mut out = self.shared.buffers.take();
            self.with_session(|session| {
                session.write(piece)?;
                session.take_output(&mut out)
            })?;
            self.transmit(out).await?;
        }
        Ok(())
    }

    async fn transmit(&self, out: Vec<u8>) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let (sent, out) = self.stream.send(out).await;
        self.shared.buffers.give_back(out);
        sent
    }

    /// One at a time: the records have to arrive in the order in which they are sealed. No more than the reader's task and the writer's wait here.
    async fn begin_sending(&self) -> Sending<'_, I> {
        while self.is_sending.replace(true) {
            self.sent.notified().await;
        }
        Sending { link: self }
    }
}

struct Sending<'a, I: Io> {
    link: &'a Link<I>,
}

impl<I: Io> Drop for Sending<'_, I> {
    fn drop(&mut self) {
        self.link.is_sending.set(false);
        self.link.sent.notify();
    }
}
