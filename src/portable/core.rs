//! What a reactor consists of, and its turn.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use super::PortableConfig;
use super::buffers::Buffers;
use super::calls::Calls;
use super::poller::Poller;
use super::pool::{Done, Pool};
use crate::ring::linux::{self, Doorbell, Running, ShutDown, Thread, Wait};

/// Directories whose file systems are flushed, kept open: the kernel reports a lost write once to each descriptor, but not to one that is
/// opened after another thread's descriptor got the report.
pub(super) type SyncedTrees = Arc<Mutex<HashMap<PathBuf, Arc<File>>>>;

pub(super) struct Core {
    pub(super) thread: Rc<Thread>,
    pub(super) poller: Poller,
    pub(super) calls: Calls,
    pub(super) buffers: Rc<Buffers>,
    pub(super) synced_trees: SyncedTrees,
    /// Tasks that have used up what they may do in this turn.
    next_turn: RefCell<Vec<Waker>>,
    turn: Cell<u64>,
    /// The core that the thread is pinned to.
    core: Option<usize>,
}

impl Core {
    pub(super) fn new(config: &PortableConfig) -> io::Result<Rc<Core>> {
        linux::raise_limits();
        let core = config.core.filter(|&id| linux::pin_to(id));
        let bell = Doorbell::new()?;
        let poller = Poller::new(bell.clone())?;
        Ok(Rc::new(Core {
            thread: Thread::new(config.stall_limit_ns),
            poller,
            calls: Calls::new(Pool::start(bell)?),
            buffers: Buffers::new(config.recv_buffers, config.recv_buffer_bytes),
            synced_trees: SyncedTrees::default(),
            next_turn: RefCell::default(),
            turn: Cell::new(1),
            core,
        }))
    }

    /// Makes this executor the thread's one until the guard is dropped.
    pub(super) fn enter_thread(self: &Rc<Core>) -> Running<Core> {
        self.thread.enter(self.clone())
    }

    pub(super) fn run<F: Future>(&self, main: Pin<&mut F>) -> io::Result<F::Output> {
        let mut done = Vec::new();
        self.thread.run(main, |wait| self.turn(wait, &mut done))
    }

    /// The number of this turn; 0 is none's.
    pub(super) fn this_turn(&self) -> u64 {
        self.turn.get()
    }

    /// Wakes a task in the next turn.
    pub(super) fn wake_in_next_turn(&self, waker: &Waker) {
        self.next_turn.borrow_mut().push(waker.clone());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }

    pub(super) fn capabilities(&self) -> String {
        let kernel = linux::kernel_release();
        let pinned = match self.core {
            Some(core) => format!("pinned to core {core}"),
            None => "not pinned".to_owned(),
        };
        format!("without io_uring (epoll and threads) on Linux {kernel}, {pinned}")
    }

    fn turn(&self, wait: Wait, done: &mut Vec<Done>) -> io::Result<()> {
        let has_more = !self.next_turn.borrow().is_empty();
        let wait = match has_more || !self.calls.pool.may_sleep(wait) {
            true => Wait::No,
            false => wait,
        };
        self.poller.wait(wait)?;
        self.calls.pool.take(done);
        self.turn.set(self.turn.get() + 1);
        self.thread.woken(wait);
        for waker in self.next_turn.borrow_mut().drain(..) {
            waker.wake();
        }
        self.poller.wake();
        done.drain(..).for_each(|done| self.calls.complete(done));
        Ok(())
    }
}

impl ShutDown for Core {
    /// Drops all tasks, and waits for the calls that have begun.
    fn shut_down(&self) {
        self.calls.close();
        self.thread.drop_tasks();
        self.calls.cancel_queued();
        let mut done = Vec::new();
        while self.calls.in_flight() > 0 {
            if self.turn(Wait::Forever, &mut done).is_err() {
                // What a call uses must outlive it.
                std::process::abort();
            }
        }
    }
}
