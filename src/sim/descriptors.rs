//! The open descriptors of one process, and how many it may have (`RLIMIT_NOFILE`).
//!
//! What holds one is what holds one in `ring/`: a file, a lock, a listener, a connection; for the time of the call a
//! listing and a flush of a directory; and for good each directory whose tree was flushed. The ring's own descriptors are
//! not counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::SimIo;

pub(super) struct Descriptors {
    /// Those that are open stay open when it is lowered below their number.
    most: Cell<usize>,
    open: Cell<usize>,
    /// How many of them are files.
    files: Cell<usize>,
    /// The directories whose trees were flushed.
    trees: RefCell<BTreeSet<PathBuf>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Other,
}

/// An open descriptor; it is closed when this is dropped.
pub(super) struct Descriptor {
    of: Rc<Descriptors>,
    kind: Kind,
}

impl Descriptors {
    pub fn at_most(most: usize) -> Rc<Self> {
        Rc::new(Self {
            most: Cell::new(most),
            open: Cell::new(0),
            files: Cell::new(0),
            trees: RefCell::default(),
        })
    }

    pub fn most(&self) -> usize {
        self.most.get()
    }

    pub fn limit(&self, most: usize) {
        self.most.set(most);
    }

    pub fn open(&self) -> usize {
        self.open.get() + self.trees.borrow().len()
    }

    pub fn files(&self) -> usize {
        self.files.get()
    }

    fn has_room(&self) -> bool {
        self.open() < self.most.get()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let (open, files) = (&self.of.open, &self.of.files);
        open.set(open.get() - 1);
        files.set(files.get() - usize::from(self.kind == Kind::File));
    }
}

impl SimIo {
    /// The next free descriptor of this process, or EMFILE.
    pub(super) fn descriptor(&self, kind: Kind) -> io::Result<Descriptor> {
        let of = &self.descriptors;
        if !of.has_room() {
            return Err(self.no_descriptor());
        }
        of.open.set(of.open.get() + 1);
        of.files
            .set(of.files.get() + usize::from(kind == Kind::File));
        Ok(Descriptor {
            of: Rc::clone(of),
            kind,
        })
    }

    /// The descriptor by which the tree below `dir` is flushed: it is opened once.
    pub(super) fn keep_tree(&self, dir: &Path) -> io::Result<()> {
        let of = &self.descriptors;
        if !of.trees.borrow().contains(dir) {
            if !of.has_room() {
                return Err(self.no_descriptor());
            }
            of.trees.borrow_mut().insert(dir.to_owned());
        }
        Ok(())
    }

    fn no_descriptor(&self) -> io::Error {
        self.world.count_fault("EMFILE at the limit", 1);
        io::Error::from_raw_os_error(libc::EMFILE)
    }
}
