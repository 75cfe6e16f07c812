//! The state of one host's disk. It outlives the host's processes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::faults::Rules;
use super::names::Names;
use super::rng::Rng;
use super::sectors::Inode;
use super::tally::Tally;
use super::versions::Seq;

pub(super) struct HostDisk {
    pub names: RefCell<Names>,
    pub rules: RefCell<Rules>,
    next_seq: Cell<Seq>,
    /// What others have of this disk.
    pub occupied_bytes: Cell<u64>,
    /// By path and process.
    pub locks: RefCell<Vec<(PathBuf, u64)>>,
    pub late_writes: LateWrites,
}

impl HostDisk {
    pub fn new() -> Self {
        Self {
            names: RefCell::new(Names::new()),
            rules: RefCell::default(),
            next_seq: Cell::new(1),
            occupied_bytes: Cell::new(0),
            locks: RefCell::default(),
            late_writes: LateWrites::default(),
        }
    }

    pub fn file(&self, path: &Path) -> io::Result<Rc<RefCell<Inode>>> {
        self.names.borrow().file(&absolute(path))
    }

    pub fn lose_power(&self, unreadable_one_in: u64, rng: &mut Rng, tally: &mut Tally) {
        for inode in self.names.borrow().files() {
            inode.borrow_mut().unreadable_one_in = unreadable_one_in;
        }
        self.names.borrow_mut().lose_power(rng, tally);
    }

    /// A flush failed: whatever was not flushed may be lost.
    pub fn lose_cache(&self, rng: &mut Rng, tally: &mut Tally) {
        for inode in self.names.borrow().files() {
            inode.borrow_mut().forget_dirty(rng, tally);
        }
    }

    pub fn next_seq(&self) -> Seq {
        let seq = self.next_seq.get();
        self.next_seq.set(seq + 1);
        seq
    }

    pub fn used_bytes(&self) -> u64 {
        let names = self.names.borrow();
        let taken = names.files().map(|inode| inode.borrow().taken_bytes());
        self.occupied_bytes.get() + taken.sum::<u64>()
    }
}

/// How many writes of which dead process are still to come.
#[derive(Default)]
pub(super) struct LateWrites(RefCell<BTreeMap<u64, usize>>);

impl LateWrites {
    pub fn of(&self, incarnation: u64) -> usize {
        self.0.borrow().get(&incarnation).copied().unwrap_or(0)
    }

    pub fn begin(&self, incarnation: u64) {
        *self.0.borrow_mut().entry(incarnation).or_default() += 1;
    }

    pub fn end(&self, incarnation: u64) {
        *self.0.borrow_mut().entry(incarnation).or_default() -= 1;
    }
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    let parts = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    Path::new("/").join(parts.collect::<PathBuf>())
}
