//! Whether the timer service runs, and what it has.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::broker::timer::{MasterTimers, TimerFigures, Timers};
use crate::io::Notify;

#[derive(Default)]
pub(in crate::reactor) struct RunningTimers {
    /// None until they are read.
    timers: RefCell<Option<Rc<RefCell<Timers>>>>,
    is_running: Cell<bool>,
    /// At a slave: what the master has said last.
    master: RefCell<Option<MasterTimers>>,
    /// Wakes the task that follows.
    bell: RefCell<Rc<Notify>>,
}

impl RunningTimers {
    pub(super) fn begin(&self, timers: Rc<RefCell<Timers>>, bell: Rc<Notify>) {
        self.timers.replace(Some(timers));
        self.bell.replace(bell);
        self.is_running.set(true);
    }

    pub(super) fn end(&self) {
        self.is_running.set(false);
    }

    /// The master of this slave has said what it has delivered.
    pub fn hear_master(&self, said: MasterTimers) {
        self.master.replace(Some(said));
        self.bell.borrow().notify();
    }

    pub(super) fn take_master(&self) -> Option<MasterTimers> {
        self.master.take()
    }

    /// While they do, how far timed messages have been delivered may still have to be saved.
    pub fn are_running(&self) -> bool {
        self.is_running.get()
    }

    /// Timed messages that were due by then may have been delivered, also if the clock was set back since.
    pub fn reached_ms(&self) -> u64 {
        let timers = self.timers.borrow();
        timers
            .as_ref()
            .map_or(0, |timers| timers.borrow().reached_ms())
    }

    /// Timers in memory.
    pub fn in_memory(&self) -> usize {
        let timers = self.timers.borrow();
        timers.as_ref().map_or(0, |timers| timers.borrow().len())
    }

    /// `end` is the end of the timer topic's queue.
    pub fn figures(&self, end: u64, now_ms: u64) -> Option<TimerFigures> {
        let timers = self.timers.borrow();
        let timers = timers.as_ref()?.borrow();
        Some(timers.figures(end, now_ms))
    }
}
