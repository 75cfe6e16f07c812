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
use super::clock::{mono_ns, read_clocks};
use super::direct::DirectTable;
use super::exec::{Executor, Turn};
use super::queues::{Completion, Queues, Wait};
use super::recv_buffers::RecvBuffers;
use super::slots::{Demand, IGNORED, OpKey, Settled, Slot, Slots};
use super::timers::{Next, TimerSchedule, Timers};
use crate::io::Now;
use crate::mem::LogSlice;

pub(super) struct Core {
    // Fields are dropped in order: the ring first, then the memory that the kernel may write to.
    pub(super) queues: RefCell<Queues>,
    pub(super) slots: Slots,
    pub(super) recv_buffers: Rc<RecvBuffers>,
    pub(super) direct: RefCell<DirectTable>,
    /// Log buffers by their index in the ring's table of registered buffers.
    pub(super) registered: RefCell<Vec<Option<LogSlice>>>,
    pub(super) timers: RefCell<Timers>,
    pub(super) executor: Executor,
    pub(super) now: Cell<Now>,
    /// Directories whose file systems are flushed, kept open.
    pub(super) synced_trees: RefCell<HashMap<PathBuf, Arc<File>>>,
    /// The kernel has no `ftruncate` for rings (before Linux 6.9).
    pub(super) lacks_truncate: Cell<bool>,
    pub(super) capabilities: RefCell<Capabilities>,
}

impl Core {
    pub(super) fn new(config: &RingConfig) -> io::Result<Rc<Core>> {
        capabilities::raise_limits();
        let mut capabilities =
            capabilities::probe().map_err(|why| io::Error::new(io::ErrorKind::Unsupported, why))?;
        capabilities.core = config.core.filter(|&id| pin_to(id));
        let queues = Queues::new(config.entries, capabilities.no_iowait)?;
        let recv_buffers = RecvBuffers::new(config.recv_buffers, config.recv_buffer_bytes);
        recv_buffers.register(&queues)?;
        let direct = DirectTable::register(
            &queues,
            config
                .direct_descriptors
                .min(capabilities::descriptor_limit()),
        );
        capabilities.direct_descriptors = direct.capacity();
        Ok(Rc::new(Core {
            queues: RefCell::new(queues),
            slots: Slots::default(),
            recv_buffers,
            direct: RefCell::new(direct),
            registered: RefCell::default(),
            timers: RefCell::default(),
            executor: Executor::new(config.stall_limit_ns),
            now: Cell::new(read_clocks()),
            synced_trees: RefCell::default(),
            lacks_truncate: Cell::new(false),
            capabilities: RefCell::new(capabilities),
        }))
    }

    /// Makes this ring's executor the thread's one until the guard is dropped.
    pub(super) fn enter_thread(self: &Rc<Core>) -> Running {
        self.executor.enter_thread();
        Running { core: self.clone() }
    }

    pub(super) fn run<F: Future>(&self, mut main: Pin<&mut F>) -> io::Result<F::Output> {
        let mut completions = Vec::new();
        let mut schedule = TimerSchedule::default();
        let mut began_ns = self.now.get().mono_ns;
        loop {
            let idle_ns = match self.executor.run(main.as_mut(), began_ns) {
                Turn::Done(output) => return Ok(output),
                Turn::Unfinished => None,
                Turn::Idle { now_ns } => Some(now_ns),
            };
            let deadline_ns = self.timers.borrow().next_deadline_ns();
            match schedule.next(idle_ns, deadline_ns, self.now.get().mono_ns) {
                Next::Fire => {
                    self.fire_timers();
                    began_ns = idle_ns.unwrap_or_else(mono_ns);
                }
                Next::Enter(wait) => {
                    self.turn(wait, &mut completions)?;
                    began_ns = self.now.get().mono_ns;
                }
            }
        }
    }

    fn turn(&self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        {
            let mut queues = self.queues.borrow_mut();
            queues.enter(wait)?;
            queues.take(completions);
        }
        self.now.set(read_clocks());
        let now_ns = self.now.get().mono_ns;
        self.executor.entered(now_ns, wait != Wait::No);
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        Ok(())
    }

    fn fire_timers(&self) {
        let now_ns = self.now.get().mono_ns;
        loop {
            let due = self.timers.borrow_mut().take_due(now_ns);
            match due {
                Some(waker) => waker.wake(),
                None => return,
            }
        }
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
                let now_ns = self.now.get().mono_ns;
                if to.complete(completion, now_ns) == Demand::Paused {
                    self.cancel(key);
                }
            }
        }
    }

    /// Drops all tasks, cancels all operations, and waits until the kernel uses none of their memory any more.
    fn shut_down(&self) {
        self.slots.close();
        self.executor.drop_tasks();
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

/// While it lives, wakers on this thread reach the ring's tasks.
pub(super) struct Running {
    core: Rc<Core>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.core.shut_down();
        self.core.executor.leave_thread();
    }
}

fn pin_to(id: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id })
}
