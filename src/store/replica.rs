//! What replication asks of a store: the log as bytes, out of a master's and into a slave's.

use super::log::buffer::floor;
use super::{AppendError, FollowError, Store, StoreError};
use crate::io::Io;

/// At a master.
impl<I: Io> Store<I> {
    /// Up to here the log is on this broker's device, as durable as the flush mode promises.
    pub fn persisted(&self) -> u64 {
        self.log.marks().persisted()
    }

    /// Done when the log is persisted beyond `position`, with how far it is then; fails when it never will be.
    pub async fn persisted_beyond(&self, position: u64) -> Result<u64, StoreError> {
        self.log.persisted_beyond(position).await
    }

    /// Up to here the log was given to this broker's device.
    pub fn sealed(&self) -> u64 {
        self.log.sealed()
    }

    /// Done when `is_so`, which is asked now, and when a write of the log begins or has ended.
    pub async fn until_grown(&self, is_so: impl Fn() -> bool) {
        self.log.until_grown(is_so).await;
    }

    /// What is persisted is committed up to here: the replicas that are needed have it. `u64::MAX`: none is needed.
    pub fn confirm(&self, position: u64) {
        self.log.confirm(position);
        if !self.follow.is_active() {
            self.log.commit_more(|end| self.appends.dispatch(end));
        }
    }

    /// End of the last visible message, which may stand before the end of what is committed.
    pub fn visible_to(&self) -> u64 {
        self.log.marks().dispatched()
    }

    /// Size of the log's files: a piece of it that is sent does not cross their ends.
    pub fn segment_bytes(&self) -> u64 {
        self.config.segment_bytes
    }

    /// Appends bytes of the log to `out`, if all of them are in memory.
    pub fn copy_log(&self, position: u64, len: usize, out: &mut Vec<u8>) -> bool {
        let buffer = self.log.buffer();
        let bytes = buffer.hot(position, len);
        out.extend_from_slice(bytes.unwrap_or_default());
        bytes.is_some()
    }

    /// Up to `len` bytes of the log from the device, within one of its files. They must have been written.
    pub async fn read_log(&self, position: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let segments = self.log.segments();
        let start = floor(position);
        let in_block = (position - start) as usize;
        let read = segments.read(start, in_block + len).await;
        let read = read.map_err(|error| self.log.or_removed(position, error))?;
        let log_min = self.log.min();
        // The file may have been removed, and even be in use again, while it was read.
        let block = read
            .filter(|_| position >= log_min)
            .ok_or(StoreError::Removed {
                physical_offset: position,
                log_min,
            })?;
        let in_file = segments.start_of(position) + self.config.segment_bytes - position;
        let end = (in_block + len.min(in_file as usize)).min(block.len());
        Ok(block[in_block.min(end)..end].to_vec())
    }
}

/// At a slave.
impl<I: Io> Store<I> {
    /// Whether the log may lack something at its end that this broker had reported before a crash (`doubt.rs`).
    pub fn is_end_in_doubt(&self) -> bool {
        self.doubt.is_there()
    }

    /// The log has all that its group has confirmed, or is the master's.
    pub fn trust_end(&self) {
        if self.doubt.dispel() || !self.follows() {
            let doubt = self.doubt.clone();
            let removal = async move { doubt.remove_file().await };
            self.tasks.spawn(&self.io, "trust-end", removal);
        }
    }

    /// Whether the log is a copy of a master's.
    pub fn follows(&self) -> bool {
        self.follow.is_active()
    }

    /// Appends as much of the master's log as there is room for, and returns how many bytes that is.
    pub fn append_log(&self, position: u64, bytes: &[u8]) -> Result<usize, FollowError> {
        self.follow.append(position, bytes)
    }

    /// Why nothing more of the master's log is taken, if so.
    pub fn follow_trouble(&self) -> Option<FollowError> {
        self.follow.trouble()
    }

    /// All whole records that may be committed were found to be records, and are in their queues.
    pub fn has_taken_all(&self) -> bool {
        self.follow.has_taken_all()
    }

    /// Nothing is in the log.
    pub fn is_empty(&self) -> bool {
        self.tail() == self.log_min()
    }

    /// Done when there is room for some of the master's log, or when there never will be.
    pub async fn wait_for_log_room(&self) {
        self.follow.wait_for_room().await;
    }

    /// Messages come from the master only.
    pub(super) fn refuse_if_following(&self) -> Result<(), AppendError> {
        match self.follow.is_active() {
            true => Err(AppendError::Follows),
            false => Ok(()),
        }
    }
}
