//! What has become of connections where the protocol begins, and what has ended them below it: for the metrics.

use std::cell::Cell;
use std::io;

use crate::io::Openings;

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// TLS is off.
    Tls,
    /// Only TLS is taken.
    PlainText,
    /// A PROXY header of a stranger, or a second one.
    UnexpectedProxyHeader,
    /// One that is wrong, or has not come whole in time.
    ProxyHeader,
    /// The handshake took too long.
    Timeout,
    /// The peer has gone during the handshake, or it was the oldest of too many.
    Ended,
    /// The peer has shown no certificate, or one that is not good.
    Certificate,
    /// The peer has refused this side, for its certificate in most cases.
    ByPeer,
    /// Both sides have no version or cipher in common.
    NothingInCommon,
    /// What came is no handshake.
    NoHandshake,
    /// Behind the handshake: a record that cannot be opened.
    Record,
}

impl Reason {
    const ALL: [Self; 11] = [
        Self::Tls,
        Self::PlainText,
        Self::UnexpectedProxyHeader,
        Self::ProxyHeader,
        Self::Timeout,
        Self::Ended,
        Self::Certificate,
        Self::ByPeer,
        Self::NothingInCommon,
        Self::NoHandshake,
        Self::Record,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls_is_off",
            Self::PlainText => "plain_text",
            Self::UnexpectedProxyHeader => "unexpected_proxy_header",
            Self::ProxyHeader => "proxy_header",
            Self::Timeout => "handshake_timeout",
            Self::Ended => "handshake_ended",
            Self::Certificate => "client_certificate",
            Self::ByPeer => "refused_by_client",
            Self::NothingInCommon => "nothing_in_common",
            Self::NoHandshake => "no_handshake",
            Self::Record => "broken_record",
        }
    }

    /// Of a handshake that has failed so.
    pub fn of_handshake(error: &io::Error) -> Self {
        use rustls::Error::{
            AlertReceived, InvalidCertificate, NoCertificatesPresented, PeerIncompatible,
        };
        let of_tls = error.get_ref().and_then(|error| error.downcast_ref());
        match (error.kind(), of_tls) {
            (_, Some(NoCertificatesPresented | InvalidCertificate(_))) => Self::Certificate,
            (_, Some(AlertReceived(_))) => Self::ByPeer,
            (_, Some(PeerIncompatible(_))) => Self::NothingInCommon,
            (_, Some(_)) => Self::NoHandshake,
            (io::ErrorKind::TimedOut, _) => Self::Timeout,
            _ => Self::Ended,
        }
    }
}

#[derive(Default)]
pub struct Outcomes {
    full: Cell<u64>,
    resumed: Cell<u64>,
    refused: [Cell<u64>; Reason::ALL.len()],
}

impl Outcomes {
    pub fn refused(&self, reason: Reason) {
        add_one(&self.refused[reason as usize]);
    }

    pub fn done(&self, is_resumed: bool) {
        add_one(if is_resumed {
            &self.resumed
        } else {
            &self.full
        });
    }

    pub fn so_far(&self) -> Openings {
        let refused = Reason::ALL.into_iter();
        let refused = refused.map(|reason| (reason.name(), self.refused[reason as usize].get()));
        Openings {
            handshakes: vec![("full", self.full.get()), ("resumed", self.resumed.get())],
            refused: refused.collect(),
        }
    }
}

fn add_one(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_place_and_name() {
        let outcomes = Outcomes::default();
        for (nth, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, nth);
            (0..=nth).for_each(|_| outcomes.refused(reason));
        }
        outcomes.done(true);
        let so_far = outcomes.so_far();
        assert_eq!(so_far.handshakes, [("full", 0), ("resumed", 1)]);
        let counts = so_far.refused.iter().map(|(_, count)| *count);
        assert!(counts.eq(1..=Reason::ALL.len() as u64));
        let mut names: Vec<_> = so_far.refused.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
