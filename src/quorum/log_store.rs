//! The journal as the engine wants it.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError};

use super::journal::Journal;
use super::record::Record;
use super::types::{Entry, LogId, StorageError, Types, Vote};

/// Writes block the engine's thread for the time of a sync: a controller with a stalled disk cannot lead.
#[derive(Clone, Debug)]
pub struct LogStore {
    journal: Arc<Mutex<Journal>>,
}

impl LogStore {
    pub fn open(dir: &Path) -> io::Result<Self> {
        let journal = Arc::new(Mutex::new(Journal::open(dir)?));
        Ok(Self { journal })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Journal) -> T) -> T {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut journal)
    }

    fn write(&self, record: Record, subject: ErrorSubject<u64>) -> Result<(), Box<StorageError>> {
        let written = self.with(|journal| journal.write(record));
        written.map_err(|error| {
            tracing::error!(%error, "the journal cannot be written; this controller stops");
            Box::new(StorageIOError::new(subject, ErrorVerb::Write, &error).into())
        })
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.with(|journal| journal.entries(range)))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        Ok(self.with(|journal| LogState {
            last_purged_log_id: journal.purged(),
            last_log_id: journal.last(),
        }))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.write(Record::Vote(*vote), ErrorSubject::Vote)
            .map_err(|error| *error)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.with(|journal| journal.vote()))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        self.write(Record::Append(entries), ErrorSubject::Logs)
            .map_err(|error| *error)?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.write(Record::Truncate(from), ErrorSubject::Logs)
            .map_err(|error| *error)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.write(Record::Purge(upto), ErrorSubject::Logs)
            .map_err(|error| *error)
    }
}
