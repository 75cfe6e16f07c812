//! What every handle on a thread can do.

use std::future::Future;
use std::rc::Rc;

use super::clock::mono_ns;
use super::sleep::Sleep;
use super::thread::Thread;
use crate::io::{Clock, Now, Spawn, Stalls, TaskTime};

/// A handle on a thread, which has the thread's clock and executor.
pub trait OnThread {
    fn thread(&self) -> &Rc<Thread>;
}

impl<T: OnThread> Clock for T {
    fn now(&self) -> Now {
        self.thread().now()
    }

    fn exact_ns(&self) -> u64 {
        mono_ns()
    }

    fn utc_offset_s(&self) -> i32 {
        self.thread().utc_offset_s()
    }

    fn sleep_until(&self, mono_ns: u64) -> impl Future<Output = ()> {
        Sleep::new(self.thread(), mono_ns)
    }
}

impl<T: OnThread> Spawn for T {
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        self.thread().spawn(name, task);
    }

    fn watch_stalls(&self) {
        self.thread().watch_stalls();
    }

    fn stalls(&self) -> Stalls {
        self.thread().stalls()
    }

    fn turns(&self) -> u64 {
        self.thread().turns()
    }

    fn task_times(&self) -> Vec<TaskTime> {
        self.thread().task_times()
    }
}
