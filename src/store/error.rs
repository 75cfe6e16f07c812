//! What can go wrong with a store, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cause::Cause;
use super::fault::DiskFault;

/// The store cannot be opened, or an operation on it failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{name} is {got}: it must be {expected}")]
    Config {
        name: &'static str,
        got: u64,
        expected: &'static str,
    },
    #[error("store directory {} is in use by another process: stop it, or choose another directory", dir.display())]
    InUse { dir: PathBuf },
    #[error("store directory {} cannot be written ({source}): make it writable for this user, or choose another", dir.display())]
    NotWritable { dir: PathBuf, source: io::Error },
    #[error("{} has {got} bytes but the segment size is {expected}: set mappedFileSizeCommitLog to the size that the store was made with; if the file was cut, put it back, or let `--skip-damaged` start without what is missing of it", path.display())]
    SegmentBytes {
        path: PathBuf,
        got: u64,
        expected: u64,
    },
    #[error("{} is missing between the CommitLog files before and behind it: put it back, or let `--skip-damaged` start without it", path.display())]
    SegmentMissing { path: PathBuf },
    #[error("{}: {what}. This is not read here: {remedy}", path.display())]
    Foreign {
        path: PathBuf,
        what: &'static str,
        remedy: &'static str,
    },
    /// Its end would take away messages that stand behind it.
    #[error(
        "the store {} is damaged: the log cannot be read at {position} ({} + {offset}), and {reason}; nothing was changed. \
         `ringmq store verify {}` says what can be read; `--skip-damaged` starts behind the damage, without what is in it",
        dir.display(), file.display(), dir.display()
    )]
    Damaged {
        dir: PathBuf,
        position: u64,
        file: PathBuf,
        offset: u64,
        reason: String,
    },
    #[error(
        "the store {} is damaged: it has had messages up to {flushed_to}, but {reason}; nothing was changed. Put the files back \
         (is a disk not mounted?), or let `--skip-damaged` start without them", dir.display()
    )]
    LogMissing {
        dir: PathBuf,
        reason: String,
        flushed_to: u64,
    },
    #[error("no memory for {what}: {source}")]
    Memory {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the log has nothing readable at {physical_offset}: {reason}")]
    Unreadable {
        physical_offset: u64,
        reason: String,
    },
    /// Another broker of the group may have it.
    #[error(
        "the message at {physical_offset} cannot be read here: it is to be fetched from another broker of the group, try again later"
    )]
    AwaitsRepair { physical_offset: u64 },
    /// Its retention is over.
    #[error(
        "what was at {physical_offset} has been removed from the log, which begins at {log_min}"
    )]
    Removed { physical_offset: u64, log_min: u64 },
    #[error(
        "the log is to be cut at {position}, and begins at {log_min}: nothing of it would stay. Empty the store of this slave to copy the master's"
    )]
    CutTooDeep { position: u64, log_min: u64 },
    #[error("the log cannot begin at {position}: it has messages already, or no file begins there")]
    NotBeginnable { position: u64 },
    #[error("{} is damaged: it is no text from byte {at} on, and there is no backup of it", path.display())]
    NoText { path: PathBuf, at: usize },

    #[error(
        "the files of queue {queue_id} of {topic} lack offset {offset}: the next start makes them again from the log"
    )]
    QueueFileLacks {
        topic: String,
        queue_id: u32,
        offset: u64,
    },
    /// The timer topic has the same timers.
    #[error("{} is damaged or missing, from byte {at} on: its timers are read again from the log", path.display())]
    TimersDamaged { path: PathBuf, at: u64 },
    #[error("{}: {reason}", Cause::Fenced)]
    Fenced { reason: Arc<str> },
    #[error(
        "the key index is being made from the log: it has come to {position} of {end}, try again later"
    )]
    NotIndexed { position: u64, end: u64 },
    #[error(
        "more than {limit} messages with this key or like it were looked at: ask for a time nearer to theirs"
    )]
    TooManyEntries { limit: usize },
}

impl StoreError {
    /// It works when there is space again.
    pub fn is_no_space(&self) -> bool {
        self.fault() == Some(DiskFault::NoSpace)
    }

    pub fn is_damage_of_timers(&self) -> bool {
        matches!(self, Self::TimersDamaged { .. })
    }

    /// It works when descriptors or memory are available again.
    pub(super) fn is_shortage(&self) -> bool {
        self.fault() == Some(DiskFault::Shortage)
    }

    /// What it means for a writer, if it is an error of the disk.
    pub(super) fn fault(&self) -> Option<DiskFault> {
        match self {
            Self::Io { source, .. } => Some(DiskFault::of(source)),
            _ => None,
        }
    }

    /// The disk's, if it is an error of the disk.
    pub(super) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        }
    }

    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// The directory cannot be made or written to. A fence remains a fence, and an error of the device one of the device.
    pub(super) fn not_writable(dir: &Path) -> impl FnOnce(Self) -> Self {
        move |error| match error {
            Self::Io { source, .. } if source.raw_os_error() != Some(libc::EIO) => {
                let dir = dir.to_owned();
                Self::NotWritable { dir, source }
            }
            error => error,
        }
    }
}

/// `None`: there is nothing of this name.
pub(crate) fn if_there<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// A message that was not taken; nothing of it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the body has {got} bytes, the limit is {limit}")]
    BodySize { got: usize, limit: usize },
    #[error("the properties have {got} bytes, the limit is {limit}")]
    PropertiesSize { got: usize, limit: usize },
    #[error("the topic has {got} bytes, the limit is {limit}")]
    TopicSize { got: usize, limit: usize },
    #[error("the message has {got} bytes as a record, the limit is {limit}")]
    RecordSize { got: usize, limit: usize },
    /// Wait with `wait_for_room` and try again.
    #[error("the log buffer is full")]
    NoRoom,
    #[error("the topic was deleted")]
    NoQueue,
    #[error("{}: {reason}", Cause::NoSpace)]
    NoSpace { reason: Arc<str> },
    #[error("this broker is a slave")]
    Follows,
    #[error("the store is closing")]
    Closing,
    #[error("{}: {reason}", Cause::Fenced)]
    Fenced { reason: Arc<str> },
}

impl AppendError {
    /// Whether the message itself is not to blame.
    pub fn is_for_now(&self) -> bool {
        matches!(
            self,
            Self::NoRoom
                | Self::NoQueue
                | Self::NoSpace { .. }
                | Self::Follows
                | Self::Closing
                | Self::Fenced { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_not_writable_a_fence_and_a_device_are_something_else() {
        let dir = Path::new("/store");
        let of_errno = |errno| {
            let error = StoreError::io("create", dir)(io::Error::from_raw_os_error(errno));
            StoreError::not_writable(dir)(error)
        };
        for errno in [libc::EACCES, libc::EROFS, libc::ENOTDIR] {
            assert!(matches!(of_errno(errno), StoreError::NotWritable { .. }));
        }
        assert!(matches!(of_errno(libc::EIO), StoreError::Io { .. }));
        let behind = StoreError::Fenced {
            reason: "a flush failed".into(),
        };
        let fenced = StoreError::not_writable(dir)(behind);
        assert!(matches!(fenced, StoreError::Fenced { reason } if &*reason == "a flush failed"));
    }
}
