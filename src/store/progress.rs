//! How far the opening of a store has come.

use std::fmt;

/// How far the opening of a store has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another term begins: the store is closed, to be opened again.
    Reopening,
    /// The store was not closed; its log is read from this position on.
    Recovering { from: u64 },
    /// The queues' files do not fit the log: they are made again from all of it.
    Rebuilding,
    /// So much of the log has been read, of about so much.
    Read { read_bytes: u64, total_bytes: u64 },
    Opened {
        log_min: u64,
        log_max: u64,
        queues: usize,
        recovered_messages: u64,
    },
}

impl Progress {
    /// How much of the work is done.
    pub fn percent(&self) -> u64 {
        match self {
            Self::Reopening | Self::Recovering { .. } | Self::Rebuilding => 0,
            Self::Read {
                read_bytes,
                total_bytes,
            } => read_bytes * 100 / (*total_bytes).max(1),
            Self::Opened { .. } => 100,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reopening => write!(f, "closing the store, to open it for another role"),
            Self::Recovering { from } => {
                write!(
                    f,
                    "the store was not closed cleanly: reading its log from {from} on"
                )
            }
            Self::Rebuilding => write!(
                f,
                "the queue files do not fit the log: making them again from all of it"
            ),
            Self::Read {
                read_bytes,
                total_bytes,
            } => write!(
                f,
                "read {} of {} MiB of the log ({} %)",
                read_bytes >> 20,
                total_bytes >> 20,
                self.percent()
            ),
            Self::Opened {
                log_min,
                log_max,
                queues,
                recovered_messages,
            } => write!(
                f,
                "store opened: log {log_min}..{log_max}, {queues} queues, {recovered_messages} messages read from the log"
            ),
        }
    }
}
