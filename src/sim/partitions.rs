//! Which hosts are cut off from each other.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::process::HostId;

/// Since when nothing passes between two hosts.
#[derive(Default)]
pub(super) struct Partitions(RefCell<BTreeMap<[HostId; 2], u64>>);

impl Partitions {
    pub fn begin(&self, hosts: [HostId; 2], now_ns: u64) {
        self.0.borrow_mut().entry(pair(hosts)).or_insert(now_ns);
    }

    pub fn end(&self, hosts: [HostId; 2]) {
        self.0.borrow_mut().remove(&pair(hosts));
    }

    pub fn cut_at_ns(&self, hosts: [HostId; 2]) -> Option<u64> {
        self.0.borrow().get(&pair(hosts)).copied()
    }
}

/// The lower number first.
pub(super) fn pair([a, b]: [HostId; 2]) -> [HostId; 2] {
    [a.min(b), a.max(b)]
}
