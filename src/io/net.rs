//! TCP, as a broker needs it: accept, receive what has come, send a whole buffer.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

pub trait Net {
    type Listener: Listener<Stream = Self::Stream>;
    type Stream: Stream;

    fn listen(&self, addr: SocketAddr) -> io::Result<Self::Listener>;

    fn connect(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;

    /// A port for the remoting protocol: an implementation may take TLS there as well.
    fn listen_remoting(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
        self.listen(addr)
    }

    /// A connection to such a port, over TLS if the implementation is set up for that. `host` is what `addr` was found by: a name or an address.
    fn connect_remoting(
        &self,
        addr: SocketAddr,
        host: &str,
    ) -> impl Future<Output = io::Result<Self::Stream>> {
        let _ = host;
        self.connect(addr)
    }

    /// What has become of connections to such ports since the core has begun, as far as the implementation does something below the protocol.
    fn openings(&self) -> Openings {
        Openings::default()
    }
}

/// Numbers with their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Openings {
    /// Handshakes that were done, by their kinds.
    pub handshakes: Vec<(&'static str, u64)>,
    /// Connections that were closed below the protocol, by the reasons.
    pub refused: Vec<(&'static str, u64)>,
}

/// Connections that a port takes in one turn. Each makes tasks and starts receiving; of thousands that come together the others would run behind
/// all of them.
pub const ACCEPTED_PER_TURN: usize = 4;

pub trait Listener: 'static {
    type Stream: Stream;

    /// The next connection. An error concerns this accept only (out of descriptors, say); the listener stays usable.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>>;

    fn local_addr(&self) -> SocketAddr;
}

/// A connection. A clone is another handle on the same one; it is closed when the last is dropped.
pub trait Stream: Clone + 'static {
    /// Received bytes in memory lent by the implementation; dropping it gives the memory back.
    type Chunk: Deref<Target = [u8]>;

    /// The next bytes, empty at the end of the stream. One caller at a time. Not calling it is the backpressure: the
    /// implementation stops receiving after a few chunks, and TCP does the rest.
    fn recv(&self) -> impl Future<Output = io::Result<Self::Chunk>>;

    /// The next bytes, into `buf`, and how many; 0 at the end of the stream. For streams that bring much: few receives, each of as much as has
    /// arrived. `buf` has room for a chunk of `recv` at least. May follow `recv`, and be followed by it. One caller at a time.
    fn recv_into(&self, mut buf: Vec<u8>) -> impl Future<Output = (io::Result<usize>, Vec<u8>)> {
        async move {
            let received = self.recv().await.map(|chunk| {
                buf[..chunk.len()].copy_from_slice(&chunk);
                chunk.len()
            });
            (received, buf)
        }
    }

    /// Sends all of `buf` and gives it back. One caller at a time.
    fn send(&self, buf: Vec<u8>) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// How much memory of its own sending so many bytes takes.
    fn copied(&self, bytes: usize) -> usize {
        let _ = bytes;
        0
    }

    /// Ends the connection in both directions: a pending `recv` returns the end, a pending `send` an error.
    fn shutdown(&self);

    fn peer_addr(&self) -> SocketAddr;
}
