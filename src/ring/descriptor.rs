//! Open descriptors, each with its index in the ring's table of direct descriptors if it has one.
//!
//! The ordinary descriptor stays open beside the direct one, for the rare calls that io_uring lacks or would run on a
//! worker thread (`shutdown`, `getpeername`, `ftruncate`).

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::{Rc, Weak};

use io_uring::types;

use super::core::Core;

pub(super) struct Descriptor {
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    direct: Option<u32>,
    closing: Closing,
    core: Weak<Core>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// With `close(2)`, which is quick for anything but a file.
    AtOnce,
    /// On a worker thread of the kernel: the last `close` of a removed file frees its blocks, and with `discard` waits for the
    /// device, 0.4 s for a GiB and more.
    ByWorker,
}

impl Descriptor {
    pub(super) fn new(core: &Rc<Core>, fd: OwnedFd) -> Rc<Descriptor> {
        Descriptor::with_direct_index(core, fd, Closing::AtOnce)
    }

    /// For an open file.
    pub(super) fn file(core: &Rc<Core>, fd: OwnedFd) -> Rc<Descriptor> {
        Descriptor::with_direct_index(core, fd, Closing::ByWorker)
    }

    fn with_direct_index(core: &Rc<Core>, fd: OwnedFd, closing: Closing) -> Rc<Descriptor> {
        let direct = core
            .direct
            .borrow_mut()
            .add(&core.queues.borrow(), fd.as_raw_fd());
        Rc::new(Descriptor {
            fd: Some(fd),
            direct,
            closing,
            core: Rc::downgrade(core),
        })
    }

    /// Without a direct index: for descriptors that few operations use.
    pub(super) fn plain(core: &Rc<Core>, fd: OwnedFd) -> Rc<Descriptor> {
        Rc::new(Descriptor {
            fd: Some(fd),
            direct: None,
            closing: Closing::AtOnce,
            core: Rc::downgrade(core),
        })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        self.fd.as_ref().expect("taken only by drop")
    }

    pub(super) fn direct(&self) -> Option<types::Fixed> {
        self.direct.map(types::Fixed)
    }

    pub(super) fn raw(&self) -> types::Fd {
        types::Fd(self.fd().as_raw_fd())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else {
            return;
        };
        if let Some(index) = self.direct {
            let mut direct = core.direct.borrow_mut();
            direct.remove(&core.queues.borrow(), index);
        }
        // The table's reference is gone, so this close is the last one of the file.
        if let (Closing::ByWorker, Some(fd)) = (self.closing, self.fd.take()) {
            core.close(fd);
        }
    }
}

/// Builds an entry with the direct index where there is one, else with the descriptor.
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
