//! What a ring consists of, and its loop.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use io_uring::{cqueue, opcode, squeue, types};

use super::RingConfig;
use super::capabilities::{self, Capabilities};
use super::direct::DirectTable;
use super::queues::{Completion, Queues};
use super::recv_buffers::RecvBuffers;
use super::slots::{Demand, IGNORED, OpKey, Settled, Slot, Slots};
use crate::mem::LogSlice;
use crate::ring::linux::{self, Running, ShutDown, Thread, Wait};

pub(super) struct Core {
    // Fields are dropped in order: the ring first, then the memory that the kernel may write to.
    pub(super) queues: RefCell<Queues>,
    pub(super) slots: Slots,
    pub(super) recv_buffers: Rc<RecvBuffers>,
    pub(super) direct: RefCell<DirectTable>,
    /// Log buffers by their index in the ring's table of registered buffers.
    pub(super) registered: RefCell<Vec<Option<LogSlice>>>,
    pub(super) thread: Rc<Thread>,
    /// Directories whose file systems are flushed, kept open.
    pub(super) synced_trees: RefCell<HashMap<PathBuf, Arc<File>>>,
    /// The kernel has no `ftruncate` for rings (before Linux 6.9).
    pub(super) lacks_truncate: Cell<bool>,
    pub(super) capabilities: RefCell<Capabilities>,
}

impl Core {
    pub(super) fn new(config: &RingConfig) -> io::Result<Rc<Core>> {
        linux::raise_limits();
        let mut capabilities =
            capabilities::probe().map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why))?;
        capabilities.core = config.core.filter(|&id| linux::pin_to(id));
        let queues = Queues::new(config.entries, capabilities.no_iowait)
            .map_err(capabilities::unsupported)?;
        let recv_buffers = RecvBuffers::new(config.recv_buffers, config.recv_buffer_bytes);
        recv_buffers.register(&queues)?;
        let direct = DirectTable::register(
            &queues,
            config.direct_descriptors.min(linux::descriptor_limit()),
        );
        capabilities.direct_descriptors = direct.capacity();
        Ok(Rc::new(Core {
            queues: RefCell::new(queues),
            slots: Slots::default(),
            recv_buffers,
            direct: RefCell::new(direct),
            registered: RefCell::default(),
            thread: Thread::new(config.stall_limit_ns),
            synced_trees: RefCell::default(),
            lacks_truncate: Cell::new(false),
            capabilities: RefCell::new(capabilities),
        }))
    }

    /// Makes this ring's executor the thread's one until the guard is dropped.
    pub(super) fn enter_thread(self: &Rc<Core>) -> Running<Core> {
        self.thread.enter(self.clone())
    }

    pub(super) fn run<F: Future>(&self, main: Pin<&mut F>) -> io::Result<F::Output> {
        let mut completions = Vec::new();
        let enter = |wait| self.turn(wait, &mut completions);
        self.thread.run(main, enter)
    }

    fn turn(&self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        {
            let mut queues = self.queues.borrow_mut();
            queues.enter(wait)?;
            queues.take(completions);
        }
        self.thread.woken(wait);
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        Ok(())
    }

    /// Submits an operation; after the shutdown has begun it ends as cancelled.
    pub(super) fn start(&self, entry: squeue::Entry, slot: Slot) -> OpKey {
        if self.slots.is_closed() {
            return self.slots.insert_cancelled(slot);
        }
        let key = self.slots.insert_in_flight(slot);
        let entry = entry.user_data(key.to_user_data());
        self.queues.borrow_mut().push(entry);
        key
    }

    /// Closes a descriptor on a worker of the kernel; at once after the shutdown has begun.
    pub(super) fn close(&self, fd: OwnedFd) {
        if self.slots.is_closed() {
            return;
        }
        let entry = opcode::Close::new(types::Fd(fd.as_raw_fd()))
            .build()
            .flags(squeue::Flags::ASYNC);
        self.start(entry, Slot::closing(fd));
    }

    /// Asks for the end of an operation, whose last completion still comes.
    pub(super) fn cancel(&self, key: OpKey) {
        let entry = opcode::AsyncCancel::new(key.to_user_data())
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(IGNORED);
        self.queues.borrow_mut().push(entry);
    }

    fn complete(&self, completion: Completion) {
        let Completion {
            user_data,
            result,
            flags,
        } = completion;
        if user_data == IGNORED {
            return;
        }
        let key = OpKey::from_user_data(user_data);
        let last = !cqueue::more(flags);
        match self.slots.settle(key, result, last) {
            Settled::Nothing => {}
            Settled::Wake(waker) => waker.wake(),
            Settled::Orphan(slot) => slot.discard(result),
            Settled::Closed(slot) => slot.closed(result),
            Settled::Multishot(to) => {
                let now_ns = self.thread.now().mono_ns;
                if to.complete(completion, now_ns) == Demand::Paused {
                    self.cancel(key);
                }
            }
        }
    }
}

impl ShutDown for Core {
    /// Drops all tasks, cancels all operations, and waits until the kernel uses none of their memory any more.
    fn shut_down(&self) {
        self.slots.close();
        self.thread.drop_tasks();
        for key in self.slots.keys_to_cancel() {
            self.cancel(key);
        }
        let mut completions = Vec::new();
        while self.slots.in_flight() > 0 {
            if self.turn(Wait::Forever, &mut completions).is_err() {
                // Memory that the kernel may still write to must never be freed.
                std::process::abort();
            }
        }
        for buffer in self.registered.take().into_iter().flatten() {
            buffer.mark_registered(None);
        }
    }
}
