//! The port of a controller: brokers, administrators and the other controllers.
//!
//! Heartbeats are taken in the order of a connection; other requests do not hold them up, so a request that waits for the other
//! controllers makes no broker look silent.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::warn;

use super::access::Links;
use super::desk::Desk;
use super::rpc::MAX_FRAME_BYTES;
use super::secured::{Connected, accepted};
use crate::auth::Visit;
use crate::wire::codes::{CONTROLLER_TO_CONTROLLER, request};
use crate::wire::header::Header;
use crate::wire::{CURRENT_VERSION, FLAG_RESPONSE, Head, Language, Reply, Scratch, frame, header};

/// As RocketMQ's servers (`serverChannelMaxIdleTimeSeconds`).
const MAX_IDLE: Duration = Duration::from_secs(120);
/// A peer that does not read its answers.
const MAX_WRITE: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 8_192;
/// Requests of one connection that are being answered.
const IN_FLIGHT: usize = 32;
const READ_BYTES: usize = 16 << 10;
/// What all connections together hold of requests that have not arrived completely.
const MEMORY_BYTES: usize = 256 << 20;
/// A connection may hold this much whatever the others hold.
const FREE_BYTES: usize = 64 << 10;

pub struct Server {
    desk: Arc<Desk>,
    links: Links,
    next: AtomicU64,
    open: AtomicUsize,
    held: AtomicUsize,
}

impl Server {
    pub fn new(desk: Arc<Desk>, links: Links) -> Arc<Self> {
        Arc::new(Self {
            desk,
            links,
            next: AtomicU64::new(1),
            open: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        })
    }

    pub async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) if self.open.load(Ordering::Relaxed) < MAX_CONNECTIONS => {
                    self.open.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(self.clone().connection(stream, peer));
                }
                Ok(_) => warn!(
                    limit = MAX_CONNECTIONS,
                    "closing a connection: there are too many"
                ),
                Err(error) => {
                    warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // With the handshake, which is part of it.
        let accepted = timeout(MAX_IDLE, accepted(stream, &self.links.security)).await;
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                warn!(%peer, %error, "closing a connection");
                self.open.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            Err(_) => {
                self.open.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        let (read, write) = tokio::io::split(stream);
        let (replies, to_write) = mpsc::channel(8);
        let writing = tokio::spawn(write_all(write, to_write));
        let mut connection = Connection {
            server: self.clone(),
            id,
            peer,
            visit: Visit::default(),
            read,
            replies,
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
            buffer: Vec::new(),
        };
        if let Err(error) = connection.run().await {
            warn!(%peer, %error, "closing a connection");
        }
        self.held
            .fetch_sub(connection.buffer.len(), Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
        drop(connection);
        writing.abort();
        self.desk.closed(id);
    }
}

struct Connection {
    server: Arc<Server>,
    id: u64,
    peer: SocketAddr,
    visit: Visit,
    read: ReadHalf<Connected>,
    replies: mpsc::Sender<Vec<u8>>,
    permits: Arc<Semaphore>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Until the peer ends it, or its bytes are no frames.
    async fn run(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let read = timeout(MAX_IDLE, self.read.read(&mut chunk)).await;
            let read = match read {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(read)) => read,
                // A peer that dies resets its connections.
                Ok(Err(error)) if is_end(&error) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            };
            self.buffer.extend_from_slice(&chunk[..read]);
            let held = self.server.held.fetch_add(read, Ordering::Relaxed) + read;
            if held > MEMORY_BYTES && self.buffer.len() > FREE_BYTES {
                return Err(io::Error::other("the connections hold too much together"));
            }
            while let Some(bytes) = self.next_frame()? {
                self.take(bytes).await?;
            }
        }
    }

    fn next_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let length = self
            .buffer
            .first_chunk()
            .map(|first| u32::from_be_bytes(*first) as usize);
        if length.is_some_and(|length| length > MAX_FRAME_BYTES) {
            return Err(io::Error::other(format!(
                "a frame of more than {MAX_FRAME_BYTES} bytes"
            )));
        }
        let frame = frame::split(&self.buffer).map_err(io::Error::other)?;
        let Some(len) = frame.map(|frame| frame.len) else {
            return Ok(None);
        };
        let rest = self.buffer.split_off(len);
        self.server.held.fetch_sub(len, Ordering::Relaxed);
        Ok(Some(std::mem::replace(&mut self.buffer, rest)))
    }

    async fn take(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let mut scratch = Scratch::default();
        let frame = frame::split(&bytes).map_err(io::Error::other)?;
        let frame = frame.ok_or_else(|| io::Error::other("no whole frame"))?;
        let header = header::decode(&frame, &mut scratch).map_err(io::Error::other)?;
        if header.is_response() {
            return Ok(());
        }
        if let Some(access) = &self.server.links.access {
            let (visit, peer) = (&mut self.visit, self.peer);
            if let Some(reply) = access.refusal(visit, peer, &header, frame.body).await {
                return self.reply(&header, frame.codec, reply).await;
            }
        }
        if header.code == request::BROKER_HEARTBEAT {
            let reply = self.server.desk.answer(&header, frame.body, self.id).await;
            return self.reply(&header, frame.codec, reply).await;
        }
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let work = Work {
            desk: self.server.desk.clone(),
            connection: self.id,
            replies: self.replies.clone(),
            bytes,
        };
        tokio::spawn(async move {
            work.run().await;
            drop(permit);
        });
        Ok(())
    }

    async fn reply(
        &self,
        header: &Header<'_>,
        codec: crate::wire::Codec,
        reply: Reply,
    ) -> io::Result<()> {
        if header.is_oneway() {
            return Ok(());
        }
        let bytes = reply_frame(header, codec, &reply);
        self.replies
            .send(bytes)
            .await
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A request that may have to wait.
struct Work {
    desk: Arc<Desk>,
    connection: u64,
    replies: mpsc::Sender<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Work {
    async fn run(self) {
        let mut scratch = Scratch::default();
        let Ok(Some(frame)) = frame::split(&self.bytes) else {
            return;
        };
        let Ok(header) = header::decode(&frame, &mut scratch) else {
            return;
        };
        let reply = match header.code {
            CONTROLLER_TO_CONTROLLER => match self.desk.answer_peer(&header, frame.body).await {
                Ok(reply) => reply,
                Err(error) => {
                    warn!(%error, "refusing a message of a controller");
                    Reply::error(error.to_string())
                }
            },
            _ => self.desk.answer(&header, frame.body, self.connection).await,
        };
        if !header.is_oneway() {
            let _ = self
                .replies
                .send(reply_frame(&header, frame.codec, &reply))
                .await;
        }
    }
}

/// Over TLS a peer may end without a word.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    [ConnectionReset, UnexpectedEof].contains(&error.kind())
}

fn reply_frame(header: &Header<'_>, codec: crate::wire::Codec, reply: &Reply) -> Vec<u8> {
    let head = Head {
        codec,
        code: reply.code,
        language: Language::Java,
        version: CURRENT_VERSION,
        opaque: header.opaque,
        flag: FLAG_RESPONSE,
        remark: reply.remark.as_deref(),
    };
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, &reply.ext_values(), &reply.body);
    bytes
}

async fn write_all(mut write: WriteHalf<Connected>, mut replies: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = replies.recv().await {
        if !timeout(MAX_WRITE, write.write_all(&bytes))
            .await
            .is_ok_and(|written| written.is_ok())
        {
            return;
        }
    }
}
