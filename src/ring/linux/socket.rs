//! Sockets as both implementations make them, and how much of a buffer is sent at a time.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::sockopt::set_tcp_nodelay;

/// The listen backlog: connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Bytes that one operation sends. The kernel copies them, and delivers them to a receiver on the same machine, within the
/// system call: so it is bounded like a turn, whatever the size of a reply.
const SEND_AT_MOST: usize = 256 << 10;

/// The same of a buffer that is larger, which is no reply to a pull: several of them must not delay the messages of all others.
pub const PIECE_OF_LARGE: usize = 64 << 10;

/// The bytes behind the first `sent` ones that the next operation sends.
pub fn piece(buf: &[u8], sent: usize) -> &[u8] {
    let most = match buf.len() {
        ..=SEND_AT_MOST => SEND_AT_MOST,
        _ => PIECE_OF_LARGE,
    };
    let rest = &buf[sent..];
    &rest[..rest.len().min(most)]
}

pub fn listen(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    // SO_REUSEADDR is what std sets on Unix.
    let socket = TcpListener::bind(addr).map_err(|error| cannot("listen on", addr, error))?;
    let local_addr = socket.local_addr()?;
    // A second `listen` only changes the backlog.
    rustix::net::listen(&socket, BACKLOG)?;
    // Connections inherit it, which spares a call for each.
    set_tcp_nodelay(&socket, true)?;
    Ok((socket, local_addr))
}

pub fn cannot(what: &str, addr: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {addr}: {error}"))
}
