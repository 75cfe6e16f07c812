//! Wakes a reactor from another thread: the only operation on it that is safe there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// Several rings before the next wait count as one.
#[derive(Clone, Debug)]
pub struct Doorbell {
    eventfd: Arc<OwnedFd>,
}

impl Doorbell {
    pub fn new() -> io::Result<Doorbell> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Doorbell {
            eventfd: Arc::new(eventfd(0, flags)?),
        })
    }

    /// From any thread; never blocks.
    pub fn ring(&self) {
        // The only error is a counter at its maximum, which still reads as rung.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    /// Whether it has rung since the last time.
    pub fn answer(&self) -> io::Result<bool> {
        match rustix::io::read(&self.eventfd, &mut [0; 8]) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A descriptor that is readable when it has rung: one of its own, as an operation may outlive the bell.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.eventfd.as_fd().try_clone_to_owned()
    }
}
