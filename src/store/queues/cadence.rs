//! When the saver writes what of the queues. Pure; `saver.rs` carries it out.
//!
//! | Condition | The saver |
//! |---|---|
//! | memory is short, a file of the log is complete, or the journal has grown | saves every queue's entries to its files |
//! | a block is due, the journal is far behind the log, or lacks a deletion | writes a block |
//! | the mark of the key index is due | writes it into the checkpoint |

/// Interval between blocks of the journal. After a crash the log is read from the last block on.
const BLOCK_NS: u64 = 1_000_000_000;

/// A block is due at once when the journal is so far behind the log.
const BLOCK_LOG_BYTES: u64 = 128 << 20;

/// Interval at which the checkpoint gets the mark of the key index.
const MARK_NS: u64 = 5_000_000_000;

/// The state on which the saver decides.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Look {
    pub now_ns: u64,
    pub is_short_of_memory: bool,
    /// The log's current file begins here.
    pub segment_start: u64,
    /// The queues' files are complete up to here.
    pub checkpointed: u64,
    pub journal_bytes: u64,
    pub max_journal_bytes: u64,
    /// Log that is not in the journal.
    pub log_ahead_bytes: u64,
    pub has_deletions: bool,
}

/// When the next regular writes are due.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Cadence {
    block_due_ns: u64,
    mark_due_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Action {
    SaveAll,
    Write { block: bool, mark: bool },
}

impl Cadence {
    pub fn new(now_ns: u64) -> Self {
        Self {
            block_due_ns: now_ns,
            mark_due_ns: now_ns + MARK_NS,
        }
    }

    /// What is due; the regular writes of it are due again an interval later.
    pub fn due(&mut self, look: &Look) -> Action {
        let is_log_file_complete = look.segment_start > look.checkpointed;
        let has_grown = look.journal_bytes >= look.max_journal_bytes;
        if look.is_short_of_memory || is_log_file_complete || has_grown {
            return Action::SaveAll;
        }
        let block = self.block_is_due(look);
        let mark = look.now_ns >= self.mark_due_ns;
        if mark {
            self.mark_due_ns = look.now_ns + MARK_NS;
        }
        Action::Write { block, mark }
    }

    /// Asked also during a save of all queues, which takes longer than the interval between blocks.
    pub fn block_is_due(&mut self, look: &Look) -> bool {
        let is_urgent = look.log_ahead_bytes >= BLOCK_LOG_BYTES || look.has_deletions;
        let is_due = is_urgent || look.now_ns >= self.block_due_ns;
        if is_due {
            self.block_due_ns = look.now_ns + BLOCK_NS;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Look = Look {
        now_ns: 0,
        is_short_of_memory: false,
        segment_start: 10,
        checkpointed: 10,
        journal_bytes: 0,
        max_journal_bytes: 100,
        log_ahead_bytes: 0,
        has_deletions: false,
    };

    const NOTHING: Action = Action::Write {
        block: false,
        mark: false,
    };

    #[test]
    fn all_queues_are_saved_for_three_reasons() {
        for look in [
            Look {
                is_short_of_memory: true,
                ..QUIET
            },
            Look {
                segment_start: 11,
                ..QUIET
            },
            Look {
                journal_bytes: 100,
                ..QUIET
            },
        ] {
            assert_eq!(Cadence::new(0).due(&look), Action::SaveAll);
        }
    }

    #[test]
    fn blocks_and_marks_are_apart() {
        let mut cadence = Cadence::new(0);
        let (mut blocks, mut marks) = (0, 0);
        for now_ns in (0..20 * BLOCK_NS).step_by(50_000_000) {
            let Action::Write { block, mark } = cadence.due(&Look { now_ns, ..QUIET }) else {
                panic!("nothing is behind");
            };
            blocks += u32::from(block);
            marks += u32::from(mark);
        }
        assert_eq!((blocks, marks), (20, 3));
    }

    #[test]
    fn an_urgent_block_is_written_at_once() {
        let mut cadence = Cadence::new(0);
        assert!(cadence.block_is_due(&QUIET));
        assert_eq!(cadence.due(&QUIET), NOTHING);
        for look in [
            Look {
                has_deletions: true,
                ..QUIET
            },
            Look {
                log_ahead_bytes: BLOCK_LOG_BYTES,
                ..QUIET
            },
        ] {
            assert!(cadence.block_is_due(&look));
        }
        assert_eq!(cadence.due(&QUIET), NOTHING);
    }
}
