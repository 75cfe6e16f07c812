//! What is under a connection: a socket, on io_uring for the load generator, on plain tokio (epoll) for applications; and TLS on it, if it is asked for.

use std::cell::RefCell;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream as StdStream};

use tokio_uring::buf::BoundedBuf;

use crate::auth::Credentials;
use crate::tls::{Connector, Session};

const ENCRYPTED_BYTES: usize = 64 << 10;

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Needs a tokio-uring runtime on this thread.
    Uring,
    /// Needs a tokio runtime with I/O and a `LocalSet` on this thread.
    Epoll,
}

/// How connections are made, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    pub transport: Transport,
    /// `None`: they are plain.
    pub tls: Option<Connector>,
    /// `None`: requests are not signed.
    pub credentials: Option<Credentials>,
}

impl From<Transport> for Dial {
    fn from(transport: Transport) -> Self {
        Self {
            transport,
            tls: None,
            credentials: None,
        }
    }
}

/// A broker or a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub addr: SocketAddr,
    /// What the address was found by: with TLS the certificate may have to be of this name.
    pub host: String,
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        let host = addr.ip().to_string();
        Self { addr, host }
    }
}

pub(super) struct Stream {
    socket: Socket,
    tls: Option<RefCell<Session>>,
}

impl Stream {
    pub async fn connect(to: &Endpoint, dial: &Dial) -> io::Result<Self> {
        let socket = Socket::connect(to.addr, dial.transport).await?;
        let Some(connector) = &dial.tls else {
            return Ok(Self { socket, tls: None });
        };
        let mut session = connector.session(&to.host)?;
        let mut chunk = Vec::with_capacity(ENCRYPTED_BYTES);
        // Stays empty: a server of RocketMQ's protocol sends nothing before the first request.
        let mut unasked = Vec::new();
        let mut shaken = Ok(());
        loop {
            let mut bytes = Vec::new();
            session.take_output(&mut bytes)?;
            if !bytes.is_empty() {
                socket.write_all(bytes).await.0?;
            }
            shaken?;
            if !session.is_handshaking() {
                let tls = Some(RefCell::new(session));
                return Ok(Self { socket, tls });
            }
            chunk.clear();
            let (read, filled) = socket.read(chunk, 0).await;
            chunk = filled;
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            shaken = session.receive(&chunk, &mut unasked);
        }
    }

    /// Reads behind the `filled` bytes of `buffer`, which has room; 0 is the end of the stream.
    pub async fn read(&self, buffer: Vec<u8>, filled: usize) -> (io::Result<usize>, Vec<u8>) {
        match &self.tls {
            None => self.socket.read(buffer, filled).await,
            Some(session) => self.read_encrypted(session, buffer).await,
        }
    }

    async fn read_encrypted(
        &self,
        session: &RefCell<Session>,
        mut buffer: Vec<u8>,
    ) -> (io::Result<usize>, Vec<u8>) {
        let filled = buffer.len();
        let mut chunk = Vec::with_capacity(ENCRYPTED_BYTES);
        while !session.borrow().is_over() {
            chunk.clear();
            let (read, bytes) = self.socket.read(chunk, 0).await;
            chunk = bytes;
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return (Err(error), buffer),
            }
            // What TLS has to say by itself goes with what is written next.
            if let Err(error) = session.borrow_mut().receive(&chunk, &mut buffer) {
                return (Err(error), buffer);
            }
            if buffer.len() > filled {
                break;
            }
        }
        (Ok(buffer.len() - filled), buffer)
    }

    pub async fn write_all(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let Some(session) = &self.tls else {
            return self.socket.write_all(bytes).await;
        };
        let sealed = {
            let (mut session, mut sealed) = (session.borrow_mut(), Vec::new());
            let written = session.write(&bytes);
            let taken = written.and_then(|()| session.take_output(&mut sealed));
            taken.map(|()| sealed)
        };
        match sealed {
            Ok(sealed) => (self.socket.write_all(sealed).await.0, bytes),
            Err(error) => (Err(error), bytes),
        }
    }

    /// Ends reads and writes in flight.
    pub fn shutdown(&self) {
        self.socket.shutdown();
    }
}

enum Socket {
    Uring(tokio_uring::net::TcpStream),
    Epoll {
        stream: tokio::net::TcpStream,
        /// A second handle on the same socket: tokio's own can only be shut down by its one owner.
        closer: StdStream,
    },
}

impl Socket {
    async fn connect(peer: SocketAddr, transport: Transport) -> io::Result<Self> {
        let stream = match transport {
            Transport::Uring => Self::Uring(tokio_uring::net::TcpStream::connect(peer).await?),
            Transport::Epoll => {
                let stream = tokio::net::TcpStream::connect(peer).await?.into_std()?;
                let closer = stream.try_clone()?;
                Self::Epoll {
                    stream: tokio::net::TcpStream::from_std(stream)?,
                    closer,
                }
            }
        };
        match &stream {
            Self::Uring(stream) => stream.set_nodelay(true)?,
            Self::Epoll { stream, .. } => stream.set_nodelay(true)?,
        }
        Ok(stream)
    }

    async fn read(&self, mut buffer: Vec<u8>, filled: usize) -> (io::Result<usize>, Vec<u8>) {
        match self {
            Self::Uring(stream) => {
                let (read, slice) = stream.read(buffer.slice(filled..)).await;
                (read, slice.into_inner())
            }
            Self::Epoll { stream, .. } => loop {
                if let Err(error) = stream.readable().await {
                    return (Err(error), buffer);
                }
                match stream.try_read_buf(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return (read, buffer),
                }
            },
        }
    }

    async fn write_all(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match self {
            Self::Uring(stream) => stream.write_all(bytes).await,
            Self::Epoll { stream, .. } => (write_all(stream, &bytes).await, bytes),
        }
    }

    fn shutdown(&self) {
        // An error means that it is closed already.
        let _ = match self {
            Self::Uring(stream) => stream.shutdown(Shutdown::Both),
            Self::Epoll { closer, .. } => closer.shutdown(Shutdown::Both),
        };
    }
}

async fn write_all(stream: &tokio::net::TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
