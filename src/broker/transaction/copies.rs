//! Which half messages have copies that wait. Hardly any has two: only a crash leaves one that its first stands beside.

use std::collections::BTreeMap;

use super::offset_set::OffsetSet;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Copies {
    firsts: OffsetSet,
    /// How many more than one.
    more: BTreeMap<u64, u32>,
}

impl Copies {
    pub fn has(&self, first: u64) -> bool {
        self.firsts.contains(first)
    }

    pub fn firsts(&self) -> &OffsetSet {
        &self.firsts
    }

    pub fn add(&mut self, first: u64) {
        match self.has(first) {
            true => *self.more.entry(first).or_default() += 1,
            false => self.firsts.insert(first),
        }
    }

    pub fn remove(&mut self, first: u64) {
        match self.more.get_mut(&first) {
            None => self.firsts.remove(first),
            Some(1) => drop(self.more.remove(&first)),
            Some(more) => *more -= 1,
        }
    }
}
