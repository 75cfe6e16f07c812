//! The address of a name server. A host's name may get another address while the broker runs, as in a cluster of containers; it is resolved on another
//! thread, and the shard takes the newest address when it connects.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone, Debug)]
pub struct NameServer {
    /// HOST:PORT
    name: Arc<str>,
    addr: Arc<Mutex<Option<SocketAddr>>>,
}

impl NameServer {
    pub fn unresolved(name: &str) -> Self {
        Self {
            name: name.into(),
            addr: Arc::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Without its port.
    pub fn host(&self) -> &str {
        let (host, _) = self.name.rsplit_once(':').unwrap_or((&self.name, ""));
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The newest address.
    ///
    /// # Errors
    /// If the name has not been resolved yet.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        let addr = *self.addr.lock().unwrap_or_else(PoisonError::into_inner);
        addr.ok_or_else(|| io::Error::other("its name cannot be resolved"))
    }

    /// From any thread.
    pub fn resolved(&self, addr: SocketAddr) {
        *self.addr.lock().unwrap_or_else(PoisonError::into_inner) = Some(addr);
    }
}

impl From<SocketAddr> for NameServer {
    fn from(addr: SocketAddr) -> Self {
        let server = Self::unresolved(&addr.to_string());
        server.resolved(addr);
        server
    }
}
