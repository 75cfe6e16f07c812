//! What happened to each message and queue; the last of it is printed when a history fails.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;

use super::Queue;

/// Of all lines; older ones are forgotten.
const KEPT_LINES: usize = 200_000;
/// Of those about what the failure is about.
const SHOWN_LINES: usize = 40;

#[derive(Default)]
pub(super) struct Story {
    lines: VecDeque<Line>,
    now_ns: Cell<u64>,
    /// What is being checked.
    number: Cell<Option<u64>>,
    queue: RefCell<Option<Queue>>,
}

struct Line {
    at_ns: u64,
    what: &'static str,
    number: u64,
    queue: Option<Queue>,
    value: u64,
}

impl Story {
    /// Lines that follow happened then.
    pub fn time_is(&self, now_ns: u64) {
        self.now_ns.set(self.now_ns.get().max(now_ns));
    }

    /// `number` 0: it concerns all. The check that comes next is about this.
    pub fn note(&mut self, what: &'static str, number: u64, queue: Option<&Queue>, value: u64) {
        self.looks_at(Some(number), queue);
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Line {
            at_ns: self.now_ns.get(),
            what,
            number,
            queue: queue.cloned(),
            value,
        });
    }

    pub fn looks_at(&self, number: Option<u64>, queue: Option<&Queue>) {
        if number.is_some() {
            self.number.set(number);
        }
        if queue.is_some() && *self.queue.borrow() != queue.cloned() {
            self.queue.replace(queue.cloned());
        }
    }

    fn concerns(&self, line: &Line) -> bool {
        (line.number == 0 && line.queue.is_none()) || Some(line.number) == self.number.get()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line {
            at_ns,
            what,
            number,
            value,
            ..
        } = self;
        write!(f, "{:>12} us  {number} {what}", at_ns / 1000)?;
        match &self.queue {
            Some(queue) => write!(f, ", {} {} at {value}", queue.topic, queue.id),
            None => write!(f, " ({value})"),
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if !std::thread::panicking() || self.lines.is_empty() {
            return;
        }
        let (number, queue) = (self.number.get(), self.queue.take());
        eprintln!("what concerns message {number:?}, and the end of {queue:?}:");
        let mut shown: Vec<_> = self
            .lines
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, line)| self.concerns(line))
            .take(SHOWN_LINES)
            .collect();
        let of_queue = self.lines.iter().enumerate().rev();
        let of_queue = of_queue.filter(|(_, line)| queue.is_some() && line.queue == queue);
        shown.extend(of_queue.take(SHOWN_LINES / 2));
        shown.sort_by_key(|(index, _)| *index);
        shown.dedup_by_key(|(index, _)| *index);
        for (_, line) in shown {
            eprintln!("{line}");
        }
    }
}
