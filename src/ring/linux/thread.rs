//! The tasks of a thread, its timers and its reading of the clocks, and the loop over them.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Waker;

use super::clock::{mono_ns, read_clocks, utc_offset_s};
use super::executor::{Executor, Turn};
use super::timers::{Next, TimerKey, TimerSchedule, Timers, Wait};
use crate::io::{Now, Stalls, TaskTime};

pub struct Thread {
    executor: Executor,
    timers: RefCell<Timers>,
    now: Cell<Now>,
    turns: Cell<u64>,
}

impl Thread {
    /// A poll of a task that takes longer than the limit is a stall.
    pub fn new(stall_limit_ns: u64) -> Rc<Thread> {
        Rc::new(Thread {
            executor: Executor::new(stall_limit_ns),
            timers: RefCell::default(),
            now: Cell::new(read_clocks()),
            turns: Cell::new(0),
        })
    }

    /// The reading of this turn: taken when the thread woke up, the same until it sleeps again.
    pub fn now(&self) -> Now {
        self.now.get()
    }

    pub fn utc_offset_s(&self) -> i32 {
        utc_offset_s(self.now().unix_ms)
    }

    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(name, task);
    }

    pub fn watch_stalls(&self) {
        self.executor.watch_stalls();
    }

    pub fn stalls(&self) -> Stalls {
        self.executor.stalls()
    }

    pub fn turns(&self) -> u64 {
        self.turns.get()
    }

    pub fn task_times(&self) -> Vec<TaskTime> {
        self.executor.task_times()
    }

    /// Makes this executor the calling thread's one until the guard is dropped.
    pub fn enter<C: ShutDown>(self: &Rc<Thread>, core: Rc<C>) -> Running<C> {
        self.executor.enter_thread();
        Running {
            thread: self.clone(),
            core,
        }
    }

    /// Turn after turn until `main` is done. `enter` enters the kernel, waits as it is asked, calls [`Thread::woken`], and wakes the
    /// tasks of what has completed.
    pub fn run<F: Future>(
        &self,
        mut main: Pin<&mut F>,
        mut enter: impl FnMut(Wait) -> io::Result<()>,
    ) -> io::Result<F::Output> {
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
                    enter(wait)?;
                    began_ns = self.now.get().mono_ns;
                }
            }
        }
    }

    /// The kernel has returned, after it was asked to wait like this: a new turn begins.
    pub fn woken(&self, wait: Wait) {
        self.now.set(read_clocks());
        self.turns.set(self.turns.get() + 1);
        let now_ns = self.now.get().mono_ns;
        self.executor.entered(now_ns, wait != Wait::No);
    }

    /// Drops all tasks, and refuses those that their destructors spawn.
    pub fn drop_tasks(&self) {
        self.executor.drop_tasks();
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

    /// The key of a sleep that begins, or the one that it has, and the waker that is replaced.
    pub(super) fn sleep(
        &self,
        key: Option<TimerKey>,
        deadline_ns: u64,
        waker: Waker,
    ) -> (TimerKey, Option<Waker>) {
        let mut timers = self.timers.borrow_mut();
        let key = key.unwrap_or_else(|| timers.new_key(deadline_ns));
        (key, timers.insert(key, waker))
    }

    pub(super) fn end_sleep(&self, key: TimerKey) -> Option<Waker> {
        self.timers.borrow_mut().remove(key)
    }

    #[cfg(test)]
    pub fn sleeping(&self) -> usize {
        self.timers.borrow().len()
    }
}

/// What a thread's loop runs on.
pub trait ShutDown {
    /// Drops all tasks, and ends all operations.
    fn shut_down(&self);
}

/// While it lives, wakers on this thread reach the executor's tasks. When it is dropped, after `main` or a panic of it, the loop is shut down.
pub struct Running<C: ShutDown> {
    thread: Rc<Thread>,
    core: Rc<C>,
}

impl<C: ShutDown> Drop for Running<C> {
    fn drop(&mut self) {
        self.core.shut_down();
        self.thread.executor.leave_thread();
    }
}
