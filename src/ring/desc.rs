//! Descriptors, and their short cuts in the ring's own table.
//!
//! An operation by table index spares the kernel the process's shared table (and its atomics) twice each time. The
//! ordinary descriptor stays open beside it, for the rare calls that io_uring lacks or would hand to a worker thread
//! (`shutdown`, `getpeername`, `ftruncate`). A full table is no error: what comes then works by descriptor.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};

use io_uring::types;

use super::core::Core;
use super::queues::Queues;

pub(super) struct Desc {
    /// Until it is dropped.
    fd: Option<OwnedFd>,
    direct: Option<u32>,
    closing: Closing,
    core: Weak<Core>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// By `close`, which is quick for what is no file.
    AtOnce,
    /// By a worker of the kernel: the last `close` of a removed file frees its blocks, and with `discard` waits for the
    /// device, 0.4 s for a GiB and more.
    ByWorker,
}

impl Desc {
    pub(super) fn new(core: &Rc<Core>, fd: OwnedFd) -> Rc<Desc> {
        Desc::direct_one(core, fd, Closing::AtOnce)
    }

    /// Of an open file.
    pub(super) fn file(core: &Rc<Core>, fd: OwnedFd) -> Rc<Desc> {
        Desc::direct_one(core, fd, Closing::ByWorker)
    }

    fn direct_one(core: &Rc<Core>, fd: OwnedFd, closing: Closing) -> Rc<Desc> {
        let direct = core
            .direct
            .borrow_mut()
            .add(&core.queues.borrow(), fd.as_raw_fd());
        Rc::new(Desc {
            fd: Some(fd),
            direct,
            closing,
            core: Rc::downgrade(core),
        })
    }

    /// For operations whose descriptor is used so rarely that a place in the table would not pay.
    pub(super) fn plain(core: &Rc<Core>, fd: OwnedFd) -> Rc<Desc> {
        Rc::new(Desc {
            fd: Some(fd),
            direct: None,
            closing: Closing::AtOnce,
            core: Rc::downgrade(core),
        })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        self.fd.as_ref().expect("there until it is dropped")
    }

    pub(super) fn direct(&self) -> Option<types::Fixed> {
        self.direct.map(types::Fixed)
    }

    pub(super) fn raw(&self) -> types::Fd {
        types::Fd(self.fd().as_raw_fd())
    }
}

impl Drop for Desc {
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else {
            return;
        };
        if let Some(index) = self.direct {
            let mut direct = core.direct.borrow_mut();
            direct.remove(&core.queues.borrow(), index);
        }
        // After the table's reference, so that this one is the last.
        if let (Closing::ByWorker, Some(fd)) = (self.closing, self.fd.take()) {
            core.close(fd);
        }
    }
}

/// Builds an entry by table index where there is one, else by descriptor.
macro_rules! entry {
    ($desc:expr, |$target:ident| $entry:expr) => {
        match $desc.direct() {
            Some($target) => $entry,
            None => {
                let $target = $desc.raw();
                $entry
            }
        }
    };
}
pub(super) use entry;

/// Which places of the ring's table are taken.
pub(super) struct DirectTable {
    capacity: u32,
    fresh: u32,
    freed: Vec<u32>,
}

const EMPTY: RawFd = -1;

impl DirectTable {
    pub(super) fn register(queues: &Queues, capacity: u32) -> DirectTable {
        let registered = capacity > 0
            && queues
                .uring()
                .submitter()
                .register_files_sparse(capacity)
                .is_ok();
        DirectTable {
            capacity: if registered { capacity } else { 0 },
            fresh: 0,
            freed: Vec::new(),
        }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.fresh as usize - self.freed.len()
    }

    fn add(&mut self, queues: &Queues, fd: RawFd) -> Option<u32> {
        let index = match self.freed.pop() {
            Some(index) => index,
            None if self.fresh < self.capacity => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        };
        if update(queues, index, fd) {
            return Some(index);
        }
        self.freed.push(index);
        None
    }

    fn remove(&mut self, queues: &Queues, index: u32) {
        if update(queues, index, EMPTY) {
            self.freed.push(index);
        }
    }
}

fn update(queues: &Queues, index: u32, fd: RawFd) -> bool {
    let submitter = queues.uring().submitter();
    submitter
        .register_files_update(index, &[fd])
        .is_ok_and(|updated| updated == 1)
}
