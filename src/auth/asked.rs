//! A request as it is asked about.

use std::net::IpAddr;

use crate::wire::Header;

/// Whose port it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    Broker { cluster: &'a str },
    NameServer,
    Controller,
}

impl<'a> Place<'a> {
    /// The cluster that is served here; `None`: all, as a name server and a controller are for all of them.
    pub(super) fn cluster(&self) -> Option<&'a str> {
        match self {
            Self::Broker { cluster } => Some(cluster),
            Self::NameServer | Self::Controller => None,
        }
    }
}

/// A request.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub place: Place<'a>,
    pub header: &'a Header<'a>,
    pub body: &'a [u8],
    pub from: IpAddr,
    /// It changes the broker, the name server or the controller, or is about users.
    pub administers: bool,
}
