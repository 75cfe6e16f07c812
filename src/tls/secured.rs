//! An [`Io`] whose ports for the remoting protocol take TLS and plain text, and whose connections to others may be over TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use super::handshakes::Handshakes;
use super::introductions::Introductions;
use super::security::{Security, Shared};
use super::stream::SecuredStream;
use crate::io::forward::{forward_clock, forward_disk, forward_thread};
use crate::io::{
    ACCEPTED_PER_TURN, Clock, DirEntry, Disk, Either, Io, Listener, Net, Now, OpenOptions,
    Openings, PerTurn, Space, Spawn, Stalls, Stream, TaskTime, select,
};
use crate::mem::LogBuffer;

#[derive(Clone)]
pub struct Secured<I: Io> {
    io: I,
    shared: Rc<Shared<I>>,
}

impl<I: Io> Secured<I> {
    pub fn new(io: I, security: Security) -> Self {
        let shared = Shared::new(io.clone(), security);
        Self { io, shared }
    }

    /// Counts for connections from now on; those that are open stay as they are.
    pub fn set(&self, security: Security) {
        self.shared.security.replace(security);
    }
}

impl<I: Io> Net for Secured<I> {
    type Listener = SecuredListener<I>;
    type Stream = SecuredStream<I>;

    fn listen(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
        Ok(SecuredListener {
            listener: self.io.listen(addr)?,
            remoting: None,
            shared: self.shared.clone(),
        })
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<Self::Stream> {
        let stream = self.io.connect(addr).await?;
        Ok(SecuredStream::plain(stream, &self.shared))
    }

    fn listen_remoting(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
        let remoting = Remoting {
            handshakes: Rc::default(),
            introductions: Introductions::new(),
            share: PerTurn::new(ACCEPTED_PER_TURN),
        };
        Ok(SecuredListener {
            listener: self.io.listen_remoting(addr)?,
            remoting: Some(remoting),
            shared: self.shared.clone(),
        })
    }

    async fn connect_remoting(&self, addr: SocketAddr, host: &str) -> io::Result<Self::Stream> {
        let stream = self.io.connect_remoting(addr, host).await?;
        let connector = self.shared.security.borrow().connects.clone();
        match connector {
            None => Ok(SecuredStream::plain(stream, &self.shared)),
            Some(connector) => {
                let session = connector.session(host)?;
                SecuredStream::connected(stream, &self.shared, session).await
            }
        }
    }

    fn openings(&self) -> Openings {
        self.shared.outcomes.so_far()
    }
}

pub struct SecuredListener<I: Io> {
    listener: I::Listener,
    /// `None`: the port is for plain text only, whatever the others take.
    remoting: Option<Remoting<I>>,
    shared: Rc<Shared<I>>,
}

/// What has begun at a port for the remoting protocol.
struct Remoting<I: Io> {
    handshakes: Rc<Handshakes>,
    introductions: Rc<Introductions<I>>,
    /// Connections of proxies that are taken in a turn.
    share: PerTurn,
}

impl<I: Io> Listener for SecuredListener<I> {
    type Stream = SecuredStream<I>;

    async fn accept(&self) -> io::Result<Self::Stream> {
        let Some(remoting) = &self.remoting else {
            let stream = self.listener.accept().await?;
            return Ok(SecuredStream::plain(stream, &self.shared));
        };
        loop {
            remoting.share.pass().await;
            let introduced = remoting.introductions.next();
            let stream = match select(introduced, self.listener.accept()).await {
                Either::Left(stream) => return Ok(stream),
                Either::Right(accepted) => accepted?,
            };
            let is_proxy = self.shared.is_proxy(stream.peer_addr().ip());
            let stream = SecuredStream::accepted(stream, &self.shared, &remoting.handshakes);
            if !is_proxy {
                return Ok(stream);
            }
            remoting.introductions.begin(stream, &self.shared.io);
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }
}

impl<I: Io> Drop for Remoting<I> {
    fn drop(&mut self) {
        self.introductions.end_all();
    }
}

impl<I: Io> Spawn for Secured<I> {
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        self.io.spawn(name, task);
    }

    forward_thread!();
}

forward_clock!(Secured);

forward_disk!(Secured);
