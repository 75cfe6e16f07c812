//! Connections of a controller over TLS, or in plain text: as those of brokers (`tls/`), here on tokio.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::{Accepts, HANDSHAKE_RECORD, Security};

const MAX_HANDSHAKE: Duration = Duration::from_secs(10);

/// How connections are secured now.
pub type SecurityNow = watch::Receiver<Security>;

/// A connection, whatever it goes over.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Bytes for T {}

pub type Connected = Box<dyn Bytes>;

/// The side that was connected to. The first byte decides; an error: it is not what the port takes.
pub async fn accepted(stream: TcpStream, security: &SecurityNow) -> io::Result<Connected> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    stream.peek(&mut first).await?;
    let accepts = security.borrow().accepts.clone();
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    match (accepts, first == [HANDSHAKE_RECORD]) {
        (Accepts::Plain, true) => refused("it begins with TLS, which is off here"),
        (Accepts::Tls(_), false) => {
            refused("it does not begin with TLS, and no other is taken here")
        }
        (Accepts::Both(config) | Accepts::Tls(config), true) => {
            let accepting = TlsAcceptor::from(config).accept(stream);
            let accepted = timeout(MAX_HANDSHAKE, accepting).await;
            let accepted = accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(Box::new(accepted))
        }
        (Accepts::Plain | Accepts::Both(_), false) => Ok(Box::new(stream)),
    }
}

/// To `HOST:PORT`.
pub async fn connect(address: &str, security: &SecurityNow) -> io::Result<Connected> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let connector = security.borrow().connects.clone();
    let Some(connector) = connector else {
        return Ok(Box::new(stream));
    };
    let name = connector.name_of(address)?;
    let connecting = TlsConnector::from(connector.config()).connect(name, stream);
    Ok(Box::new(connecting.await?))
}
