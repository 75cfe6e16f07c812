//! What the broker asks of the log (`log/`) and of what follows it: the index, and what cannot be read.

use crate::io::Io;
use crate::store::{KeyMatches, KeyQuery, Position, Store, StoreError, Unreadable};

impl<I: Io> Store<I> {
    pub fn committed(&self) -> u64 {
        self.log.marks().committed()
    }

    /// The log's end, committed or not.
    pub fn tail(&self) -> u64 {
        self.log.tail()
    }

    /// Position of the first message that is kept.
    pub fn log_min(&self) -> u64 {
        self.log.min()
    }

    /// Done when the log is committed beyond `position`, with how far it is then; fails when it never will be.
    pub async fn committed_beyond(&self, position: u64) -> Result<u64, StoreError> {
        self.log.committed_beyond(position).await
    }

    /// Done when everything that is in the log now is as durable as the flush mode promises.
    pub async fn committed_so_far(&self) -> Result<(), StoreError> {
        self.log.committed_so_far().await
    }

    /// Done when everything that is visible now is on the device for good.
    pub async fn visible_is_durable(&self) -> Result<(), StoreError> {
        self.log.visible_is_durable().await
    }

    /// Done when everything that is in the log now is on the device for good, whatever the flush mode promises.
    pub async fn durable_so_far(&self) -> Result<(), StoreError> {
        self.log.durable_so_far().await
    }

    /// Whether the message is in the log buffer.
    pub fn is_hot(&self, position: &Position) -> bool {
        self.log.is_hot(position)
    }

    /// Appends a message from the log buffer to `out`; `false` if it is no longer there.
    pub fn copy_hot(&self, position: &Position, out: &mut Vec<u8>) -> bool {
        self.log.copy_hot(position, out)
    }

    /// The record at a log position, if one begins there.
    pub async fn record_at(&self, physical_offset: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let record = self.log.record_at(physical_offset).await?;
        if record.is_none() {
            self.log.known_unreadable().check_awaited(physical_offset)?;
        }
        Ok(record)
    }

    /// The same for one that goes from record to record, to whom a place without a record is the blank rest of a file, or damage. That is noted, so that
    /// another broker of the group is asked for it.
    pub async fn next_record_at(&self, position: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let record = self.record_at(position).await?;
        if record.is_none() && !mutant!(RottenHeadPassed) {
            self.scrub.look_at(position).await?;
            self.log.known_unreadable().check_awaited(position)?;
        }
        Ok(record)
    }

    /// The record at this position is read from the device the next time, unless it is in the log buffer.
    pub async fn forget_read(&self, physical_offset: u64) {
        if let Ok(Some(record)) = self.log.record_at(physical_offset).await {
            let end = physical_offset + record.len() as u64;
            self.log.forget_read(physical_offset, end);
        }
    }

    /// A reader takes this position for that of a record, and none begins there: that part of the log is looked through for damage.
    pub fn doubt(&self, physical_offset: u64) {
        self.scrub.doubt(physical_offset);
    }

    /// The first record that begins behind this position and before `to`. What is there is read from the device.
    pub async fn record_behind(&self, position: u64, to: u64) -> Result<Option<u64>, StoreError> {
        self.log.first_record(position + 1, to).await
    }

    /// The record at this position, if one is there: for records here and there in the log, as what is not in memory is
    /// read by itself, and not within a large block.
    pub async fn record_alone(&self, position: &Position) -> Result<Option<Vec<u8>>, StoreError> {
        let record = self.log.record_alone(position).await?;
        if record.is_none() {
            let known = self.log.known_unreadable();
            known.check_awaited(position.physical_offset)?;
        }
        Ok(record)
    }

    /// What cannot be read of the log, as far as a reader or the scrub has found it.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        self.log.known_unreadable().all()
    }

    /// Why this message cannot be read, if so.
    pub fn unreadable_at(&self, physical_offset: u64) -> Option<Unreadable> {
        self.log.known_unreadable().at(physical_offset)
    }

    /// The newest messages with a key; all that were committed count.
    pub async fn find_by_key(&self, query: &KeyQuery<'_>) -> Result<KeyMatches, StoreError> {
        match &self.index {
            Some(index) => index.find(query).await,
            None => Ok(KeyMatches::default()),
        }
    }
}
