//! Lines of the audit: who was denied what, and who has changed something. Never a secret.

use std::net::{IpAddr, SocketAddr};

use tracing::{info, warn};

use super::guard::{Denial, Reason};
use super::signature::name_of;
use crate::wire::Header;

/// Denials that are written in a second.
const LINES_PER_SECOND: u32 = 20;

const SECOND_NS: u64 = 1_000_000_000;

/// Denials of one port: all are counted, and some in a second written; the next line has the number of those that were left out.
#[derive(Debug, Default)]
pub struct Denials {
    counts: [u64; Reason::ALL.len()],
    second: u64,
    /// In this second.
    lines: u32,
    unwritten: u64,
}

impl Denials {
    /// `now_ns`: of a clock that does not go back.
    pub fn note(&mut self, now_ns: u64, from: IpAddr, code: i32, denial: &Denial) {
        self.counts[denial.reason as usize] += 1;
        let second = now_ns / SECOND_NS;
        if second != self.second {
            (self.second, self.lines) = (second, 0);
        }
        if self.lines >= LINES_PER_SECOND {
            self.unwritten += 1;
            return;
        }
        self.lines += 1;
        warn!(
            target: "ringmq::audit",
            user = denial.user.as_deref().unwrap_or_default(),
            peer = %from,
            code,
            resource = denial.resource.as_deref().unwrap_or_default(),
            reason = %denial.reason,
            unwritten = std::mem::take(&mut self.unwritten),
            "denied"
        );
    }

    /// So far, by their reasons.
    pub fn counts(&self) -> [(&'static str, u64); Reason::ALL.len()] {
        Reason::ALL.map(|reason| (reason.name(), self.counts[reason as usize]))
    }
}

/// Somebody asks for a change. The answer says whether it was made.
pub fn note_administration(header: &Header<'_>, peer: SocketAddr) {
    let field = |name| header.ext.find(name).unwrap_or_default();
    let of = ["topic", "group", "groupName", "consumerGroup", "brokerName"].map(field);
    let of = of.iter().find(|text| !text.is_empty());
    info!(
        target: "ringmq::audit",
        user = name_of(&header.ext).unwrap_or_default(),
        peer = %peer,
        code = header.code,
        of = of.copied().unwrap_or_default(),
        "administration"
    );
}
