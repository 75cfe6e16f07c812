//! Where to begin, and as whom.

use std::time::Instant;

use crate::auth::Credentials;
use crate::tls::Connector;

#[derive(Clone, Debug)]
pub struct Plan {
    /// Name servers that were named: one that does not answer is a fault.
    pub servers: Vec<String>,
    /// Addresses of this host where a name server or a broker may be.
    pub guesses: Vec<String>,
    /// The user that signs the requests.
    pub credentials: Option<Credentials>,
    /// `None`: in plain text.
    pub tls: Option<Connector>,
    /// When to look a second time.
    pub second: Instant,
}
