//! How far groups have consumed: never further back after a crash than the interval in which offsets are saved.

use super::{MS, Oracle, Queue};
use crate::cluster::SAVE_OFFSETS_INTERVAL_MS;

/// Between the end of the interval and the saved file's last fsync, which waits for the log, which may be stalled.
const SAVE_SLACK_MS: u64 = 2_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    offset: i64,
    answered_ns: Option<u64>,
    /// It is saved when it is answered.
    is_saved: bool,
}

impl Commit {
    fn is_kept(&self, kept_ns: u64) -> bool {
        self.answered_ns
            .is_some_and(|ns| self.is_saved || ns <= kept_ns)
    }
}

impl Oracle {
    /// A consumer group is about to commit.
    pub fn commits(&mut self, group: &str, queue: &Queue, offset: i64) -> usize {
        self.will_be_at(group, queue, offset, false)
    }

    /// Somebody is about to send the group to another offset.
    pub fn rewinds(&mut self, group: &str, queue: &Queue, offset: i64) -> usize {
        self.will_be_at(group, queue, offset, true)
    }

    fn will_be_at(&mut self, group: &str, queue: &Queue, offset: i64, is_saved: bool) -> usize {
        self.story.note("commits", 0, Some(queue), offset as u64);
        let commits = self
            .commits
            .entry((group.to_owned(), queue.clone()))
            .or_default();
        commits.push(Commit {
            offset,
            answered_ns: None,
            is_saved,
        });
        commits.len() - 1
    }

    pub fn committed(&mut self, group: &str, queue: &Queue, commit: usize, now_ns: u64) {
        let commits = self
            .commits
            .entry((group.to_owned(), queue.clone()))
            .or_default();
        // The broker may have been restarted in the meantime, which starts the list anew.
        if let Some(commit) = commits.get_mut(commit) {
            commit.answered_ns = Some(now_ns);
        }
    }

    /// It was refused.
    pub fn does_not_commit(&mut self, group: &str, queue: &Queue, commit: usize) {
        let commits = self.commits.get_mut(&(group.to_owned(), queue.clone()));
        if let Some(commits) = commits.filter(|commits| commits.len() == commit + 1) {
            commits.pop();
        }
    }

    pub fn committed_queues(&self) -> Vec<(String, Queue)> {
        self.commits.keys().cloned().collect()
    }

    /// What a restarted broker says that the group has committed; it may have forgotten what is younger than the save
    /// interval. `ended_ns` is when it ended; `None` if it was stopped properly.
    pub fn recovered_commit(
        &mut self,
        group: &str,
        queue: &Queue,
        offset: Option<i64>,
        crashed_ns: Option<u64>,
    ) {
        self.story.looks_at(None, Some(queue));
        let commits = self
            .commits
            .entry((group.to_owned(), queue.clone()))
            .or_default();
        let kept_ns = match crashed_ns {
            Some(ns) => ns.saturating_sub((SAVE_OFFSETS_INTERVAL_MS + SAVE_SLACK_MS) * MS),
            None => u64::MAX,
        };
        let kept = commits.iter().rposition(|commit| commit.is_kept(kept_ns));
        let possible = &commits[kept.unwrap_or(0)..];
        let is_possible = match offset {
            Some(offset) => possible.iter().any(|commit| commit.offset == offset),
            None => kept.is_none(),
        };
        assert!(
            is_possible,
            "{group} has committed {offset:?} of {queue:?} after a restart (crash at {crashed_ns:?}); possible: {possible:?}"
        );
        // What is recovered has been saved.
        *commits = Vec::from_iter(offset.map(|offset| Commit {
            offset,
            answered_ns: Some(0),
            is_saved: true,
        }));
    }
}
