//! Wakes a ring from another thread: the only operation on a ring that is safe there.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, FromRawFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::opcode;

use super::core::Core;
use super::descriptor::Descriptor;
use super::op::Request;

/// Several rings before the next wait count as one.
#[derive(Clone, Debug)]
pub struct Doorbell {
    eventfd: Arc<File>,
}

impl Doorbell {
    pub fn new() -> io::Result<Doorbell> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nothing else knows its number.
        let eventfd = unsafe { File::from_raw_fd(fd) };
        Ok(Doorbell {
            eventfd: Arc::new(eventfd),
        })
    }

    /// From any thread; never blocks.
    pub fn ring(&self) {
        // The only error is a counter at its maximum, which still reads as rung.
        let _ = (&*self.eventfd).write(&1u64.to_ne_bytes());
    }

    /// Completes when it has been rung, also if that was before the call. Dropping the future loses no ring: only a completed
    /// future consumes one.
    pub(super) fn wait_on(&self, core: &Rc<Core>) -> impl Future<Output = io::Result<()>> + use<> {
        let (core, doorbell) = (core.clone(), self.clone());
        async move {
            while !doorbell.answer()? {
                // A descriptor of its own, as the operation may outlive the bell.
                let fd = doorbell.eventfd.as_fd().try_clone_to_owned()?;
                let descriptor = Descriptor::plain(&core, fd);
                let entry = opcode::PollAdd::new(descriptor.raw(), libc::POLLIN as u32).build();
                let (result, _) = core.submit(Request::new(entry, &descriptor)).await;
                result?;
            }
            Ok(())
        }
    }

    /// Whether it has rung since the last time.
    fn answer(&self) -> io::Result<bool> {
        match (&*self.eventfd).read(&mut [0; 8]) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
