//! How long tasks have run, by name. The executor reads the clock between two polls anyway, so a poll costs two additions more.

use std::collections::BTreeMap;

use crate::io::TaskTime;

#[derive(Default)]
pub(super) struct TaskTimes {
    places: BTreeMap<&'static str, usize>,
    times: Vec<TaskTime>,
}

impl TaskTimes {
    /// Where the tasks of this name are counted.
    pub(super) fn place(&mut self, task: &'static str) -> usize {
        *self.places.entry(task).or_insert_with(|| {
            let (polls, ns) = (0, 0);
            self.times.push(TaskTime { task, polls, ns });
            self.times.len() - 1
        })
    }

    pub(super) fn name(&self, place: usize) -> &'static str {
        self.times[place].task
    }

    #[inline]
    pub(super) fn polled(&mut self, place: usize, ns: u64) {
        let time = &mut self.times[place];
        time.polls += 1;
        time.ns += ns;
    }

    pub(super) fn all(&self) -> Vec<TaskTime> {
        self.times.clone()
    }
}
