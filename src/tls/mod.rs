//! TLS, as RocketMQ has it: on the same port as plain text.
//!
//! [`Secured`] is an [`crate::io::Io`] around another one. Its ports for the remoting protocol look at the first byte of a connection, so the reactor,
//! the protocol and the rules are the same with TLS and without. A plain connection costs a comparison for each receive and send. TLS itself is
//! rustls', with `ring` for the cryptography. From a proxy that is trusted, whose connection it is stands in front of that first byte, and the reactor
//! gets the connection as one of that address.
//!
//! | File | has |
//! |---|---|
//! | `secured` | the [`crate::io::Io`] and its ports |
//! | `security` | how they are secured now, and what the connections of a core share |
//! | `stream` | a connection that is plain or TLS |
//! | `session` | rustls' side of a connection, without a socket; the client has it, too |
//! | `handshakes` | how many may be in progress, and their share of a core |
//! | `outcomes` | what has become of connections, for the metrics |
//! | `introductions` | connections of proxies that have not said yet whose they are |
//! | `proxy_header` | how they say it: the PROXY protocol |
//! | `buffers` | memory that the connections of a core take in turns |
//! | `server`, `client`, `pem`, `protocols` | from files and names to rustls' configuration |
//!
//! rustls allocates once for each record that is opened or sealed: replies of one turn are one run of records, and small requests of a client share
//! records as they share packets.

mod buffers;
mod client;
mod handshakes;
mod introductions;
mod outcomes;
mod pem;
mod protocols;
pub mod proxy_header;
mod secured;
mod security;
mod server;
mod session;
mod stream;
#[cfg(test)]
mod tests;

pub use client::{Checks, ClientFiles, Connector, connector, host_of};
pub use handshakes::MAX_HANDSHAKES;
pub use introductions::MAX_INTRODUCTIONS;
pub use pem::PemFile;
pub use protocols::Protocols;
pub use secured::{Secured, SecuredListener};
pub use security::{Accepts, Security};
pub use server::{ClientCertificate, ServerFiles, server_config};
pub use session::Session;
pub use stream::{Chunk, HANDSHAKE_RECORD, SecuredStream};

/// What the files and settings of TLS cannot be used for. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    #[error("{path} {what}")]
    File { path: String, what: String },
    #[error("the key in {key} is not that of the certificate in {certificate}")]
    KeyDoesNotFit { key: String, certificate: String },
    #[error(
        "clients are to show a certificate, and there is nobody whose signature would make one good: set tls.server.trustCertPath"
    )]
    NobodyTrusted,
    #[error("{setting}: allowed are {allowed}, with commas between them")]
    Name {
        setting: &'static str,
        allowed: String,
    },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}
