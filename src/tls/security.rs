//! How the connections of a core are secured, and what they share.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::{fmt, io};

use rustls::ServerConfig;
use tracing::warn;

use super::buffers::Buffers;
use super::client::Connector;
use super::handshakes::Steps;
use super::outcomes::{Outcomes, Reason};
use crate::auth::Source;
use crate::io::Io;

/// A log line about connections that were refused, at most so often.
const REPORT_EVERY_NS: u64 = 1_000_000_000;

/// What a port takes.
#[derive(Clone, Default)]
pub enum Accepts {
    /// Plain text only.
    #[default]
    Plain,
    Both(Arc<ServerConfig>),
    /// TLS only.
    Tls(Arc<ServerConfig>),
}

/// How the connections of a core are secured. A new one counts for new connections.
#[derive(Clone, Default)]
pub struct Security {
    pub accepts: Accepts,
    /// `None`: connections to others are plain.
    pub connects: Option<Connector>,
    /// Whose word is taken for whom a connection comes from.
    pub proxies: Arc<[Source]>,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accepts = match &self.accepts {
            Accepts::Plain => "plain text",
            Accepts::Both(_) => "plain text and TLS",
            Accepts::Tls(_) => "TLS",
        };
        let connects_over_tls = self.connects.is_some();
        f.debug_struct("Security")
            .field("accepts", &accepts)
            .field("connects_over_tls", &connects_over_tls)
            .field("proxies", &self.proxies)
            .finish()
    }
}

/// What the connections of a core have in common.
pub struct Shared<I> {
    pub io: I,
    pub security: RefCell<Security>,
    pub buffers: Rc<Buffers>,
    pub steps: Steps,
    pub outcomes: Outcomes,
    refusals: Refusals,
}

impl<I: Io> Shared<I> {
    pub fn new(io: I, security: Security) -> Rc<Self> {
        Rc::new(Self {
            io,
            security: RefCell::new(security),
            buffers: Rc::default(),
            steps: Steps::default(),
            outcomes: Outcomes::default(),
            refusals: Refusals::default(),
        })
    }

    pub fn is_proxy(&self, address: IpAddr) -> bool {
        let security = self.security.borrow();
        let mut proxies = security.proxies.iter();
        proxies.any(|proxy| proxy.contains(address))
    }

    /// A connection is closed, and nothing more of it is served.
    pub fn refused(&self, peer: SocketAddr, reason: Reason, error: &io::Error) {
        self.outcomes.refused(reason);
        let now_ns = self.io.now().mono_ns;
        if let Some(others) = self.refusals.report(now_ns) {
            warn!(%peer, %error, others, "a connection is refused");
        }
    }
}

/// Counts what is not reported: anybody can cause as many as it likes.
#[derive(Default)]
struct Refusals {
    reported_ns: Cell<Option<u64>>,
    unreported: Cell<u64>,
}

impl Refusals {
    /// Whether this one is reported, and how many before it were not.
    fn report(&self, now_ns: u64) -> Option<u64> {
        let last_ns = self.reported_ns.get();
        if last_ns.is_some_and(|last_ns| now_ns < last_ns + REPORT_EVERY_NS) {
            self.unreported.set(self.unreported.get() + 1);
            return None;
        }
        self.reported_ns.set(Some(now_ns));
        Some(self.unreported.take())
    }
}
