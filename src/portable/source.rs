//! A descriptor whose readiness is known.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::core::Core;
use super::poller::Direction;
use crate::ring::linux::Doorbell;

/// Closed when it is dropped.
pub(super) struct Source {
    core: Rc<Core>,
    fd: OwnedFd,
    key: usize,
}

impl Source {
    /// Of a socket, which must not block.
    pub(super) fn new(core: &Rc<Core>, fd: OwnedFd) -> io::Result<Source> {
        Ok(Source {
            core: core.clone(),
            key: core.poller.add(&fd)?,
            fd,
        })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// One waiter a direction. An error if it is not ready and the reactor has ended.
    pub(super) fn poll_ready(
        &self,
        direction: Direction,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.core.poller.is_ready(self.key, direction) {
            return Poll::Ready(Ok(()));
        }
        if self.core.is_closed() {
            return Poll::Ready(Err(cancelled()));
        }
        let waker = context.waker().clone();
        self.core.poller.wake_when_ready(self.key, direction, waker);
        Poll::Pending
    }

    /// The last operation found nothing more to do in this direction.
    pub(super) fn is_drained(&self, direction: Direction) {
        self.core.poller.is_drained(self.key, direction);
    }

    /// The last operation has transferred less than it could have.
    pub(super) fn was_short(&self, direction: Direction) {
        self.core.poller.was_short(self.key, direction);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.core.poller.remove(self.key, &self.fd);
    }
}

pub(super) fn cancelled() -> io::Error {
    io::Error::from_raw_os_error(libc::ECANCELED)
}

/// Done when the bell has been rung, also if that was before. Dropping the future loses no ring.
pub(super) async fn wait_for(core: Rc<Core>, bell: Doorbell) -> io::Result<()> {
    let source = Source::new(&core, bell.descriptor()?)?;
    while !bell.answer()? {
        source.is_drained(Direction::Read);
        std::future::poll_fn(|context| source.poll_ready(Direction::Read, context)).await?;
    }
    Ok(())
}
