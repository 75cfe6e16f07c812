//! The state of each file of `config/`: changed, being written, written, failed. No I/O.
//!
//! ```text
//!            name                begin                     end: Ok
//!   Clean ---------> Named ------------------> Writing --------------> Clean
//!                    ^  ^                       |  |
//!                    |  '--- end, and it was ---'  | end: an error
//!                    |       named meanwhile       v
//!                    '--------------------------- Failed
//!                        name, or retry
//! ```
//!
//! Files are written in the order in which they were named: one that changes all the time, or cannot be written, does not keep the
//! others from being written.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::broker::ConfigFile;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Clean,
    Named,
    Writing {
        /// The file has changed since its text was begun.
        again: bool,
    },
    Failed {
        /// When it is tried again, if time alone may help: there was no space.
        retry_ns: Option<u64>,
    },
}

#[derive(Clone, Debug, Default)]
struct Entry {
    stage: Stage,
    /// Why the last try failed; kept while the next one is under way.
    trouble: Option<Rc<str>>,
    tries_begun: u64,
    tries_ended: u64,
}

/// Why a file could not be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub reason: Rc<str>,
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Of the file system; there may be space later.
    NoSpace,
    /// The shard is fenced, which has been logged.
    Fenced,
    Other,
}

/// The pause before a file is tried again for which there was no space.
pub(super) const RETRY_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Files {
    entries: [Entry; ConfigFile::ALL.len()],
    named: VecDeque<ConfigFile>,
}

impl Files {
    /// The file has changed.
    pub fn name(&mut self, file: ConfigFile) {
        let entry = &mut self.entries[file as usize];
        match &mut entry.stage {
            Stage::Named => {}
            Stage::Writing { again } => *again = true,
            Stage::Clean | Stage::Failed { .. } => {
                entry.stage = Stage::Named;
                self.named.push_back(file);
            }
        }
    }

    /// Begins to write the first of these that was named.
    pub fn begin(&mut self, among: &[ConfigFile]) -> Option<ConfigFile> {
        let place = self.named.iter().position(|file| among.contains(file))?;
        let file = self.named.remove(place)?;
        let entry = &mut self.entries[file as usize];
        entry.stage = Stage::Writing { again: false };
        entry.tries_begun += 1;
        Some(file)
    }

    pub fn end(&mut self, file: ConfigFile, result: Result<(), Failure>, now_ns: u64) {
        let entry = &mut self.entries[file as usize];
        let Stage::Writing { again } = entry.stage else {
            unreachable!("{file:?} is not being written");
        };
        entry.tries_ended += 1;
        entry.stage = match &result {
            Ok(()) => Stage::Clean,
            Err(failure) => Stage::Failed {
                retry_ns: (failure.cause == Cause::NoSpace).then_some(now_ns + RETRY_NS),
            },
        };
        entry.trouble = result.err().map(|failure| failure.reason);
        if again {
            self.name(file);
        }
    }

    /// Names the files whose retry is due.
    pub fn retry(&mut self, among: &[ConfigFile], now_ns: u64) {
        for file in among {
            if let Stage::Failed { retry_ns: Some(ns) } = self.entries[*file as usize].stage
                && ns <= now_ns
            {
                self.name(*file);
            }
        }
    }

    pub fn next_retry_ns(&self, among: &[ConfigFile]) -> Option<u64> {
        let stages = among.iter().map(|file| self.entries[*file as usize].stage);
        let retries = stages.filter_map(|stage| match stage {
            Stage::Failed { retry_ns } => retry_ns,
            Stage::Clean | Stage::Named | Stage::Writing { .. } => None,
        });
        retries.min()
    }

    /// The number of the try that has, or will have, all changes up to now.
    pub fn current_try(&self, file: ConfigFile) -> u64 {
        let entry = &self.entries[file as usize];
        match entry.stage {
            Stage::Named | Stage::Writing { again: true } => entry.tries_begun + 1,
            Stage::Writing { again: false } => entry.tries_begun,
            Stage::Clean | Stage::Failed { .. } => entry.tries_ended,
        }
    }

    /// How a try ended, if it has.
    pub fn outcome(&self, file: ConfigFile, of_try: u64) -> Option<Result<(), Rc<str>>> {
        let entry = &self.entries[file as usize];
        let ended = entry.tries_ended >= of_try;
        ended.then(|| entry.trouble.clone().map_or(Ok(()), Err))
    }

    pub fn tries_ended(&self, file: ConfigFile) -> u64 {
        self.entries[file as usize].tries_ended
    }

    /// Why the file could not be saved the last time.
    pub fn trouble(&self, file: ConfigFile) -> Option<Rc<str>> {
        self.entries[file as usize].trouble.clone()
    }

    /// The file has all changes, or cannot be written.
    pub fn is_settled(&self, file: ConfigFile) -> bool {
        let entry = &self.entries[file as usize];
        entry.trouble.is_some() || matches!(entry.stage, Stage::Clean | Stage::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ConfigFile::{ConsumerOffsets, PopOrders, Topics};

    const ALL: [ConfigFile; 7] = ConfigFile::ALL;

    fn no_space() -> Result<(), Failure> {
        Err(Failure {
            reason: "no space".into(),
            cause: Cause::NoSpace,
        })
    }

    #[test]
    fn first_named_is_first_written_even_if_it_fails() {
        let mut files = Files::default();
        [ConsumerOffsets, Topics, ConsumerOffsets]
            .iter()
            .for_each(|file| files.name(*file));
        assert_eq!(files.begin(&ALL), Some(ConsumerOffsets));
        files.name(PopOrders);
        files.name(ConsumerOffsets);
        files.end(ConsumerOffsets, no_space(), 7);
        assert_eq!(files.begin(&ALL), Some(Topics), "the others are tried");
        files.end(Topics, no_space(), 7);
        assert_eq!(files.begin(&ALL), Some(PopOrders));
        files.end(PopOrders, Ok(()), 7);
        assert_eq!(files.begin(&ALL), Some(ConsumerOffsets));
        files.end(ConsumerOffsets, Ok(()), 7);
        assert_eq!(files.begin(&ALL), None);
        assert_eq!(files.next_retry_ns(&ALL), Some(7 + RETRY_NS));
        assert_eq!(files.next_retry_ns(&[PopOrders]), None);
        files.retry(&ALL, 6 + RETRY_NS);
        assert_eq!(files.begin(&ALL), None);
        files.retry(&ALL, 7 + RETRY_NS);
        assert_eq!(files.begin(&ALL), Some(Topics));
    }

    #[test]
    fn a_try_is_over_for_the_changes_before_its_begin() {
        let mut files = Files::default();
        assert_eq!(
            files.outcome(Topics, files.current_try(Topics)),
            Some(Ok(()))
        );
        files.name(Topics);
        let first = files.current_try(Topics);
        files.begin(&ALL);
        assert_eq!(files.current_try(Topics), first);
        files.name(Topics);
        let second = files.current_try(Topics);
        assert_eq!(files.outcome(Topics, first), None);
        files.end(Topics, no_space(), 7);
        assert_eq!(files.outcome(Topics, first), Some(Err("no space".into())));
        assert_eq!(files.outcome(Topics, second), None);
        assert!(files.is_settled(Topics), "it is known that it cannot be");
        files.begin(&ALL);
        files.end(Topics, Ok(()), 7);
        assert_eq!(files.outcome(Topics, second), Some(Ok(())));
        assert_eq!(files.trouble(Topics), None);
    }

    #[test]
    fn a_change_while_it_is_written_is_written_as_well() {
        let mut files = Files::default();
        files.name(Topics);
        files.begin(&ALL);
        files.name(Topics);
        assert!(!files.is_settled(Topics));
        files.end(Topics, Ok(()), 7);
        assert!(!files.is_settled(Topics));
        assert_eq!(files.begin(&ALL), Some(Topics));
        files.end(Topics, Ok(()), 7);
        assert!(files.is_settled(Topics));
    }
}
