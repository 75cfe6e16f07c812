//! Where a task of a simulation runs: a host, and one of its processes.

use std::net::{IpAddr, Ipv4Addr};

pub(super) type HostId = usize;

/// A process: one incarnation of a host. What belongs to an earlier one is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub host: HostId,
    pub incarnation: u64,
}

impl Owner {
    /// What a host's kernel does on its own: it ends with the power.
    pub fn kernel(host: HostId) -> Owner {
        Owner {
            host,
            incarnation: u64::MAX,
        }
    }
}

/// What is left of a host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    /// A process runs, or could.
    Up,
    /// The process is gone, its kernel still answers.
    Killed,
    /// Nothing answers.
    Off,
}

/// 10.0.0.1 and so on.
pub(super) fn ip_of(host: HostId) -> IpAddr {
    let [.., high, low] = (host as u32 + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}
