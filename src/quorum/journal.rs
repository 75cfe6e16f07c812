//! A controller's journal: its vote and its log, in one file that only grows, and is written again when most of it is out of date.
//!
//! Nothing counts before `sync_data` has returned. After an error of a write or a sync the journal refuses everything: what the device
//! holds is unknown then, and the controller stops.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::record::{self, Record};
use super::types::{Entry, LogId, Vote};
use super::whole_file::{replace, sync_dir};

const NAME: &str = "journal";
/// A journal above this, of which less than half is of use, is written again.
const COMPACT_BYTES: u64 = if cfg!(test) { 2_000 } else { 4 << 20 };

#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    file: File,
    bytes: u64,
    bytes_when_compacted: u64,
    is_failed: bool,
    state: State,
}

/// What the records make.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

impl State {
    fn take(&mut self, record: Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Append(entries) => {
                let entries = entries.into_iter();
                self.entries
                    .extend(entries.map(|entry| (entry.log_id.index, entry)));
            }
            Record::Truncate(from) => drop(self.entries.split_off(&from.index)),
            Record::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(upto);
            }
        }
    }

    /// The shortest records that make it.
    fn records(&self) -> Vec<Record> {
        let vote = self.vote.map(Record::Vote);
        let purged = self.purged.map(Record::Purge);
        let entries: Vec<_> = self.entries.values().cloned().collect();
        let entries = (!entries.is_empty()).then_some(Record::Append(entries));
        [vote, purged, entries].into_iter().flatten().collect()
    }
}

impl Journal {
    /// Opens the journal of a directory, or begins one. A torn last record is cut off: it never counted.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(NAME);
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(&path)?;
        let bytes = std::fs::read(&path)?;
        let (records, good) = record::decode_all(&bytes)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        if good < bytes.len() {
            let torn = bytes.len() - good;
            tracing::warn!(file = %path.display(), torn, "cutting a record off that was not written completely");
            file.set_len(good as u64)?;
        }
        file.sync_all()?;
        sync_dir(dir)?;
        let mut state = State::default();
        records.into_iter().for_each(|record| state.take(record));
        Ok(Self {
            dir: dir.to_owned(),
            file,
            bytes: good as u64,
            bytes_when_compacted: good as u64,
            is_failed: false,
            state,
        })
    }

    pub fn vote(&self) -> Option<Vote> {
        self.state.vote
    }

    pub fn purged(&self) -> Option<LogId> {
        self.state.purged
    }

    pub fn last(&self) -> Option<LogId> {
        let last = self.state.entries.last_key_value();
        last.map(|(_, entry)| entry.log_id).or(self.state.purged)
    }

    pub fn entries(&self, range: impl std::ops::RangeBounds<u64>) -> Vec<Entry> {
        let start = range.start_bound().cloned();
        let end = range.end_bound().cloned();
        self.state
            .entries
            .range((start, end))
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// Returns when the record is on the device.
    pub fn write(&mut self, record: Record) -> io::Result<()> {
        if self.is_failed {
            return Err(io::Error::other("the journal failed before"));
        }
        let bytes = record::encode(&record);
        let written = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        self.is_failed = written.is_err();
        written?;
        self.bytes += bytes.len() as u64;
        self.state.take(record);
        if self.bytes > COMPACT_BYTES.max(2 * self.bytes_when_compacted) {
            let compacted = self.compact();
            self.is_failed = compacted.is_err();
            compacted?;
        }
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        let bytes: Vec<u8> = self
            .state
            .records()
            .iter()
            .flat_map(record::encode)
            .collect();
        replace(&self.dir, NAME, &bytes)?;
        self.file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(self.dir.join(NAME))?;
        self.bytes = bytes.len() as u64;
        self.bytes_when_compacted = self.bytes;
        Ok(())
    }
}

/// Whether a directory has a journal.
pub fn exists(dir: &Path) -> io::Result<bool> {
    dir.join(NAME).try_exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::{CommittedLeaderId, EntryPayload};

    fn log_id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1, 0), index)
    }

    fn entries(range: std::ops::Range<u64>) -> Record {
        let entries = range.map(|index| Entry {
            log_id: log_id(index),
            payload: EntryPayload::Blank,
        });
        Record::Append(entries.collect())
    }

    /// Every few records the journal is opened again: it has what the one in memory has, and it does not grow without bound.
    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        let mut next = 0;
        for round in 0..200_u64 {
            journal.write(Record::Vote(Vote::new(round, 1))).unwrap();
            journal.write(entries(next..next + 3)).unwrap();
            next += 3;
            if round % 3 == 0 {
                next -= 1;
                journal.write(Record::Truncate(log_id(next))).unwrap();
            }
            if round % 5 == 4 {
                journal.write(Record::Purge(log_id(next - 2))).unwrap();
            }
            let again = Journal::open(dir.path()).unwrap();
            assert_eq!(again.state, journal.state);
            assert_eq!((again.last(), again.bytes), (journal.last(), journal.bytes));
            assert!(journal.bytes < 4 * COMPACT_BYTES, "{}", journal.bytes);
            if round % 7 == 0 {
                journal = again;
            }
        }
        assert_eq!(journal.entries(next - 1..).len(), 1);
    }

    #[test]
    fn a_torn_record_is_cut_and_the_next_one_follows_the_last_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.write(entries(0..2)).unwrap();
        let path = dir.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&record::encode(&entries(2..3))[..20]);
        std::fs::write(&path, bytes).unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.write(entries(2..4)).unwrap();
        assert_eq!(Journal::open(dir.path()).unwrap().last(), Some(log_id(3)));
    }

    #[test]
    fn a_damaged_journal_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        for index in 0..3 {
            journal.write(entries(index..index + 1)).unwrap();
        }
        let path = dir.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = Journal::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("byte 0 is damaged"), "{error}");
    }

    #[test]
    fn nothing_is_written_after_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        // A file that cannot be written to.
        journal.file = File::open(dir.path().join(NAME)).unwrap();
        assert!(journal.write(entries(0..1)).is_err());
        journal.file = OpenOptions::new()
            .append(true)
            .open(dir.path().join(NAME))
            .unwrap();
        assert!(journal.write(entries(0..1)).is_err());
        assert_eq!(journal.last(), None);
    }
}
