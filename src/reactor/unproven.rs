//! Connections of which no request has passed the checks yet. They are strangers: each address may have some of them, and each of them has a few seconds.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use crate::broker::limits::{MAX_UNPROVEN_PER_ADDRESS, UNPROVEN_S};

/// How many there are of each address.
#[derive(Default)]
pub struct Unproven {
    counts: RefCell<HashMap<IpAddr, usize>>,
}

impl Unproven {
    /// One more of this address; `None`: it has enough of them.
    pub fn enter(self: &Rc<Self>, address: IpAddr, now_ns: u64) -> Option<Stranger> {
        let address = address.to_canonical();
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry(address).or_default();
        if *count >= MAX_UNPROVEN_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Stranger {
            all: self.clone(),
            address,
            since_ns: now_ns,
        })
    }
}

/// Counts a connection until it is dropped: when its first request has passed, or with the connection.
pub struct Stranger {
    all: Rc<Unproven>,
    address: IpAddr,
    since_ns: u64,
}

impl Stranger {
    pub fn is_overdue(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.since_ns) > UNPROVEN_S * 1_000_000_000
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.all.counts.borrow_mut();
        let left = counts.get(&self.address).map_or(0, |count| count - 1);
        match left {
            0 => drop(counts.remove(&self.address)),
            left => drop(counts.insert(self.address, left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_each_its_time() {
        let all = Rc::new(Unproven::default());
        let [one, other, mapped] =
            ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1"].map(|text| text.parse().unwrap());
        let mut inside: Vec<_> = (0..MAX_UNPROVEN_PER_ADDRESS)
            .map(|_| all.enter(one, 5).unwrap())
            .collect();
        assert!(all.enter(one, 5).is_none() && all.enter(mapped, 5).is_none());
        let of_other = all.enter(other, 5).unwrap();
        let limit_ns = UNPROVEN_S * 1_000_000_000;
        assert!(!of_other.is_overdue(5 + limit_ns) && of_other.is_overdue(6 + limit_ns));
        inside.pop();
        assert!(all.enter(one, 5).is_some());
        drop((inside, of_other));
        assert!(all.counts.borrow().is_empty());
    }
}
