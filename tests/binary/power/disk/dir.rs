//! A directory: its names now, and those that a power cut leaves.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::common::random::Random;

#[derive(Default)]
pub struct Dir {
    pub now: BTreeMap<OsString, u64>,
    pub durable: BTreeMap<OsString, u64>,
    pub pending: Vec<Change>,
}

pub enum Change {
    Bind(OsString, u64),
    Unbind(OsString),
    Rename(OsString, OsString),
}

impl Dir {
    pub fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    pub fn sync(&mut self) {
        self.pending.clear();
        self.durable = self.now.clone();
    }

    pub fn lose_power(&mut self, random: &mut Random) {
        let kept = random.below(self.pending.len() + 1);
        for change in self.pending.drain(..).take(kept) {
            change.apply(&mut self.durable);
        }
        self.now = self.durable.clone();
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        match self {
            Change::Bind(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Change::Unbind(name) => {
                names.remove(name);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}
