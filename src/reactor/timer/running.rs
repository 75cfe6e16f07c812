//! Whether the timer service runs, and what it has.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::broker::timer::{TimerFigures, Timers};

#[derive(Default)]
pub(in crate::reactor) struct RunningTimers {
    /// None until they are read.
    timers: RefCell<Option<Rc<RefCell<Timers>>>>,
    is_running: Cell<bool>,
}

impl RunningTimers {
    pub(super) fn begin(&self, timers: Rc<RefCell<Timers>>) {
        self.timers.replace(Some(timers));
        self.is_running.set(true);
    }

    pub(super) fn end(&self) {
        self.is_running.set(false);
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

    /// `end` is the end of the timer topic's queue.
    pub fn figures(&self, end: u64, now_ms: u64) -> Option<TimerFigures> {
        let timers = self.timers.borrow();
        let timers = timers.as_ref()?.borrow();
        Some(timers.figures(end, now_ms))
    }
}
