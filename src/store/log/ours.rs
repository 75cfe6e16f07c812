//! From where on each record of the log carries the CRC over all of it (`message/crc.rs`). A start takes a record without one
//! for torn from there on, so a record without one is not written before the checkpoint on disk states no such place.

use std::cell::Cell;

pub(in crate::store) struct Ours {
    /// All records from here on have the CRC.
    from: Cell<u64>,
    /// Of the records that came from a master since the last one without a CRC: the first.
    since: Cell<Option<u64>>,
    /// The checkpoint on disk may state a position.
    is_stated: Cell<bool>,
}

impl Ours {
    /// A record without a CRC may come at any time: the log is a copy of a log that RocketMQ writes.
    pub const NOWHERE: u64 = u64::MAX;

    pub fn new(from: u64) -> Self {
        Self {
            from: Cell::new(from),
            since: Cell::new(None),
            is_stated: Cell::new(from != Self::NOWHERE),
        }
    }

    pub fn from(&self) -> u64 {
        self.from.get()
    }

    /// What the next checkpoint states.
    pub fn to_state(&self) -> u64 {
        if let Some(since) = self.since.get()
            && self.from.get() == Self::NOWHERE
        {
            self.from.set(since);
        }
        let from = self.from.get();
        if from != Self::NOWHERE {
            self.is_stated.set(true);
        }
        from
    }

    /// A checkpoint that states this is durable.
    pub fn stated(&self, from: u64) {
        if from == Self::NOWHERE {
            self.is_stated.set(false);
        }
    }

    /// The master sends a record with a CRC, at this position.
    pub fn comes_with_crc(&self, position: u64) {
        if self.since.get().is_none() {
            self.since.set(Some(position));
        }
    }

    /// The master sends a record without one. Whether it may be written: no checkpoint on disk excludes it.
    pub fn comes_without(&self) -> bool {
        self.from.set(Self::NOWHERE);
        self.since.set(None);
        !self.has_to_be_stated()
    }

    /// A checkpoint has to be saved before the log can go on.
    pub fn has_to_be_stated(&self) -> bool {
        let is_excluded = self.from.get() == Self::NOWHERE && self.is_stated.get();
        is_excluded && !mutant!(ForeignNotStated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_a_crc_waits_for_a_checkpoint_that_allows_it() {
        let ours = Ours::new(0);
        ours.comes_with_crc(0);
        assert!(!ours.comes_without() && ours.has_to_be_stated());
        let in_flight = 0;
        ours.stated(in_flight);
        assert!(!ours.comes_without(), "that save began before");
        let from = ours.to_state();
        assert_eq!(from, Ours::NOWHERE);
        assert!(!ours.comes_without(), "it is not durable yet");
        ours.stated(from);
        assert!(ours.comes_without() && !ours.has_to_be_stated());
    }

    #[test]
    fn the_next_checkpoint_states_since_when_all_have_one() {
        let ours = Ours::new(Ours::NOWHERE);
        assert!(ours.comes_without());
        for position in [100, 200] {
            ours.comes_with_crc(position);
        }
        assert_eq!(ours.from(), Ours::NOWHERE, "none of them had to have one");
        assert_eq!(ours.to_state(), 100);
        // Also if the save fails: some of it may have been written.
        assert!(!ours.comes_without());
        ours.stated(ours.to_state());
        assert!(ours.comes_without());
    }
}
