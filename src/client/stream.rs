//! The socket under a connection: on io_uring for the load generator, on plain tokio (epoll) for applications.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream as StdStream};

use tokio_uring::buf::BoundedBuf;

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Needs a tokio-uring runtime on this thread.
    Uring,
    /// Needs a tokio runtime with I/O and a `LocalSet` on this thread.
    Epoll,
}

pub(super) enum Stream {
    Uring(tokio_uring::net::TcpStream),
    Epoll {
        stream: tokio::net::TcpStream,
        /// A second handle on the same socket: tokio's own can only be shut down by its one owner.
        closer: StdStream,
    },
}

impl Stream {
    pub async fn connect(peer: SocketAddr, transport: Transport) -> io::Result<Self> {
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

    /// Reads behind the `filled` bytes of `buffer`, which has room; 0 is the end of the stream.
    pub async fn read(&self, mut buffer: Vec<u8>, filled: usize) -> (io::Result<usize>, Vec<u8>) {
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

    pub async fn write_all(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match self {
            Self::Uring(stream) => stream.write_all(bytes).await,
            Self::Epoll { stream, .. } => (write_all(stream, &bytes).await, bytes),
        }
    }

    /// Ends reads and writes in flight.
    pub fn shutdown(&self) {
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
