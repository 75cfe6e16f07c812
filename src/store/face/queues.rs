//! What the broker asks of the queues (`queues/`): their entries, and the messages that these point to.

use crate::io::Io;
use crate::store::{
    Boundary, Position, QueueBounds, QueueIndex, Readable, Scan, ScanLimits, Store, StoreError,
};

impl<I: Io> Store<I> {
    /// The queue, made in memory when it is new.
    pub fn queue(&self, topic: &str, queue_id: u32) -> QueueIndex {
        self.queues.find_or_create(topic, queue_id)
    }

    pub fn find_queue(&self, topic: &str, queue_id: u32) -> Option<QueueIndex> {
        self.queues.memory().find(topic, queue_id)
    }

    pub fn bounds(&self, queue: QueueIndex) -> QueueBounds {
        self.queues.bounds(queue)
    }

    /// Whether the next entry of this queue is reported as an arrival.
    pub fn watch(&self, queue: QueueIndex, on: bool) {
        self.queues.watch(queue, on);
    }

    /// Watched queues that have got entries since the last call; appended to `into`.
    pub fn take_arrivals(&self, into: &mut Vec<QueueIndex>) {
        self.queues.take_arrivals(into);
    }

    /// Topics that have queues, with the number of queues they need.
    pub fn topics(&self) -> Vec<(String, u32)> {
        self.queues.topics()
    }

    /// Forgets queues of the topic, `most` at most, and removes their files in the background; whether there may be more.
    pub fn delete_some(&self, topic: &str, most: usize) -> bool {
        self.queues.delete_some(topic, most)
    }

    /// How many deletions of topics there have been, ended or not.
    pub fn deletions(&self) -> u64 {
        self.queues.deletions()
    }

    /// Done when no crash brings the topics back that the first so many deletions removed, or when the store cannot do it.
    pub async fn deleted_up_to(&self, deletions: u64) {
        self.queues.deleted_up_to(deletions).await;
    }

    /// Records of a queue from `offset` on that `filter` lets through, by the offset of their first message and their tags code; appended to
    /// `out`.
    pub fn scan(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        filter: impl FnMut(u64, i64) -> bool,
        out: &mut Vec<Position>,
    ) -> Scan {
        self.queues.scan(queue, offset, limits, filter, out)
    }

    /// As [`Self::scan`], with a filter that looks at the messages; from the first one on they must be in the log buffer.
    pub fn scan_messages(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        filter: impl FnMut(&[u8]) -> Option<bool>,
        out: &mut Vec<Position>,
    ) -> Scan {
        self.queues
            .scan_messages(queue, offset, limits, filter, out)
    }

    /// As [`Self::scan`], reading from the queue's files what is not in memory.
    pub async fn scan_cold(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        filter: impl FnMut(u64, i64) -> bool,
        out: &mut Vec<Position>,
    ) -> Result<Scan, StoreError> {
        let scan = self.queues.scan_cold(queue, offset, limits, filter, out);
        scan.await
    }

    /// As [`Self::scan_messages`], reading from the disk what is not in memory; messages are appended to `out` and counted.
    pub async fn scan_messages_cold(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        filter: impl FnMut(&[u8]) -> Option<bool>,
        out: Vec<u8>,
    ) -> Result<(Scan, Vec<u8>, usize), StoreError> {
        let queues = &self.queues;
        queues
            .scan_messages_cold(queue, offset, limits, filter, out)
            .await
    }

    /// Messages of a queue, appended to `records`, without those that cannot be read any more: these are noted. An error: one
    /// of them has gone meanwhile, and with it all before the queue's minimum, or nothing can be read.
    pub async fn read_readable(
        &self,
        queue: QueueIndex,
        positions: &[Position],
        records: Vec<u8>,
    ) -> Result<Readable, StoreError> {
        self.queues.read_readable(queue, positions, records).await
    }

    /// A message of a queue; `None` if it has gone, or cannot be read and has been noted.
    pub async fn record_of(
        &self,
        queue: QueueIndex,
        position: &Position,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.queues.record_of(queue, position).await
    }

    /// Where a reader goes on that looked at `offset` and found that messages have gone meanwhile.
    pub fn goes_on_at(&self, queue: QueueIndex, offset: u64) -> u64 {
        self.queues.goes_on_at(queue, offset)
    }

    /// The offset at which a consumer that starts at this time begins.
    pub async fn offset_by_time(
        &self,
        queue: QueueIndex,
        timestamp_ms: i64,
        boundary: Boundary,
    ) -> Result<u64, StoreError> {
        let queues = &self.queues;
        queues.offset_by_time(queue, timestamp_ms, boundary).await
    }

    /// When the first message of the queue was stored.
    pub async fn earliest_store_time(&self, queue: QueueIndex) -> Result<Option<i64>, StoreError> {
        self.queues.earliest_store_time(queue).await
    }

    /// When the message at a queue offset was stored, if memory holds that.
    pub fn store_time_hot(&self, queue: QueueIndex, offset: u64) -> Option<i64> {
        self.queues.store_time_hot(queue, offset)
    }

    /// The same, read from disk where it is not in memory.
    pub async fn store_time(
        &self,
        queue: QueueIndex,
        offset: u64,
    ) -> Result<Option<i64>, StoreError> {
        self.queues.store_time(queue, offset).await
    }
}
