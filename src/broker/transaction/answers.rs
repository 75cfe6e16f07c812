//! Answers that may still come: of half messages about which a producer was asked, and which have ended.

use std::collections::VecDeque;

use super::copies::Copies;
use super::offset_set::OffsetSet;

/// How long the answer to a question may take. It is one-way, and may stand in the producer's queue or in a broken network.
pub(super) const LATEST_MS: u64 = 60_000;

/// Of those that are too late, at most this many are dropped in one turn.
const AT_ONCE: usize = 1_024;

/// Which half messages have an end that is kept for an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    firsts: Copies,
    /// In the order of their times.
    ended: VecDeque<(u64, u64)>,
}

impl Answers {
    pub fn firsts(&self) -> &OffsetSet {
        self.firsts.firsts()
    }

    /// The half message has ended; an answer may come.
    pub fn expect(&mut self, first: u64, now_ms: u64) {
        self.firsts.add(first);
        self.ended.push_back((first, now_ms));
        self.drop_late(now_ms, 2);
    }

    /// Drops those to which no answer comes any more.
    pub fn pass_time(&mut self, now_ms: u64) {
        self.drop_late(now_ms, AT_ONCE);
    }

    fn drop_late(&mut self, now_ms: u64, most: usize) {
        for _ in 0..most {
            match self.ended.front() {
                Some((first, ended_ms)) if now_ms.saturating_sub(*ended_ms) > LATEST_MS => {
                    self.firsts.remove(*first);
                    self.ended.pop_front();
                }
                _ => return,
            }
        }
    }
}
