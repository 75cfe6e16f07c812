//! Which hosts are cut off from each other, and in which direction.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::process::HostId;

/// Since when nothing passes from one host to another.
#[derive(Default)]
pub(super) struct Partitions(RefCell<BTreeMap<(HostId, HostId), u64>>);

impl Partitions {
    pub fn begin(&self, from: HostId, to: HostId, now_ns: u64) {
        self.0.borrow_mut().entry((from, to)).or_insert(now_ns);
    }

    /// In both directions.
    pub fn end(&self, [a, b]: [HostId; 2]) {
        let mut cut = self.0.borrow_mut();
        cut.remove(&(a, b));
        cut.remove(&(b, a));
    }

    pub fn cut_at_ns(&self, from: HostId, to: HostId) -> Option<u64> {
        self.0.borrow().get(&(from, to)).copied()
    }

    /// Whether both directions are open, as a connection needs them to come about.
    pub fn are_connected(&self, [a, b]: [HostId; 2]) -> bool {
        self.cut_at_ns(a, b).is_none() && self.cut_at_ns(b, a).is_none()
    }
}

/// The lower number first.
pub(super) fn pair([a, b]: [HostId; 2]) -> [HostId; 2] {
    [a.min(b), a.max(b)]
}
