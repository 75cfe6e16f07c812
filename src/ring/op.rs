//! Asking the kernel for an operation, and the future of its result.

use std::any::Any;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use io_uring::squeue;

use super::core::Core;
use super::descriptor::Descriptor;
use super::slots::{Multishot, OpKey, Slot, os_result};
use crate::mem::Buf;

/// An entry of the submission queue, with the buffer and the descriptor that it uses.
pub(super) struct Request {
    pub(super) entry: squeue::Entry,
    pub(super) buf: Buf,
    pub(super) descriptor: Option<Rc<Descriptor>>,
    /// The result is a new descriptor.
    pub(super) opens: bool,
}

impl Request {
    pub(super) fn new(entry: squeue::Entry, descriptor: &Rc<Descriptor>) -> Request {
        Request {
            entry,
            buf: Buf::Empty,
            descriptor: Some(descriptor.clone()),
            opens: false,
        }
    }

    pub(super) fn with_buf(self, buf: Buf) -> Request {
        Request { buf, ..self }
    }
}

impl Core {
    /// The bytes that `request.entry` points to must be those of `request.buf`.
    pub(super) fn submit(self: &Rc<Core>, request: Request) -> Op {
        let descriptor = request
            .descriptor
            .map(|descriptor| descriptor as Rc<dyn Any>);
        let slot = Slot::single(request.buf, descriptor, request.opens);
        Op {
            key: self.start(request.entry, slot),
            core: self.clone(),
        }
    }

    /// `None` after the ring was shut down.
    pub(super) fn submit_multishot(
        &self,
        entry: squeue::Entry,
        descriptor: &Rc<Descriptor>,
        to: Rc<dyn Multishot>,
    ) -> Option<OpKey> {
        if self.slots.is_closed() {
            return None;
        }
        let slot = Slot::multishot(to, descriptor.clone());
        Some(self.start(entry, slot))
    }
}

/// Waits for a single operation. Dropping it cancels the operation.
pub(super) struct Op {
    core: Rc<Core>,
    key: OpKey,
}

impl Future for Op {
    type Output = (io::Result<u32>, Buf);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.core.slots.poll(self.key, context);
        polled.map(|(result, buf)| (os_result(result), buf))
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        if self.core.slots.orphan(self.key) {
            self.core.cancel(self.key);
        }
    }
}
