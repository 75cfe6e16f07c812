//! What decisions ask of the store: bounds, times and figures that are known without reading the disk.

use super::timer::figures::TimerFigures;
use crate::store::QueueBounds;

/// What the store can say at once.
pub trait StoreView {
    /// All zero for a queue that is not there.
    fn bounds(&self, topic: &str, queue_id: u32) -> QueueBounds;

    /// When the message at this offset was stored, if that is known without reading the disk.
    fn store_time_ms(&self, topic: &str, queue_id: u32, offset: u64) -> Option<i64>;

    /// Whether the message at this offset is among the newest of the log ([`super::limits::RECENT_BYTES`]).
    fn is_recent(&self, topic: &str, queue_id: u32, offset: u64) -> bool;

    fn figures(&self) -> ShardFigures;

    /// The log's end, visible or not.
    fn log_end(&self) -> u64 {
        let figures = self.figures();
        figures.log_max + figures.not_dispatched_bytes
    }

    fn replication(&self) -> ReplicationView {
        ReplicationView::Alone
    }

    /// Which master wrote which part of the log. `None`: there is no controller.
    fn epochs(&self) -> Option<EpochsView> {
        None
    }

    /// None: there are no timers.
    fn timers(&self) -> Option<TimerFigures> {
        None
    }
}

/// How the broker takes part in replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicationView {
    /// Neither a slave, nor a master that takes replicas.
    Alone,
    Master {
        /// Where replicas connect to.
        port: u16,
        replicas: Vec<ReplicaView>,
    },
    Slave(SlaveView),
}

/// The epochs of the log, and the broker's id at the name server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochsView {
    pub broker_id: i64,
    /// Number, start and end each.
    pub epochs: Vec<(i32, u64, u64)>,
}

/// A replica that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaView {
    pub addr: String,
    /// The end of what it has of the log.
    pub has: u64,
    pub is_in_sync: bool,
    pub bytes_per_s: u64,
}

/// A slave's link to its master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlaveView {
    /// Empty: it is not connected.
    pub master_addr: String,
    pub last_read_ms: i64,
    pub last_write_ms: i64,
    pub bytes_per_s: u64,
}

/// The time, and what the store holds.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub now_ms: u64,
    pub store: &'a dyn StoreView,
}

/// Whether a new group starts with the queue's first message: it is there, and not long ago.
pub fn starts_recently(
    store: &dyn StoreView,
    bounds: QueueBounds,
    topic: &str,
    queue_id: u32,
) -> bool {
    bounds.min == 0 && bounds.max > 0 && store.is_recent(topic, queue_id, 0)
}

/// Ranges of times that sends took: the longest of each, in milliseconds, and RocketMQ's name.
pub const PUT_TIMES: [(u64, &str); 13] = [
    (0, "<=0ms"),
    (10, "0~10ms"),
    (50, "10~50ms"),
    (100, "50~100ms"),
    (200, "100~200ms"),
    (500, "200~500ms"),
    (1_000, "500ms~1s"),
    (2_000, "1~2s"),
    (3_000, "2~3s"),
    (4_000, "3~4s"),
    (5_000, "4~5s"),
    (10_000, "5~10s"),
    (u64::MAX, "10s~"),
];

/// Figures of the store and its disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardFigures {
    pub log_min: u64,
    pub log_max: u64,
    pub not_flushed_bytes: u64,
    pub not_dispatched_bytes: u64,
    /// None: there is no message.
    pub earliest_message_ms: Option<i64>,
    pub log_dir: String,
    /// Writes to the log and flushes of its device since the start, for benchmarks.
    pub log_writes: u64,
    pub log_written_bytes: u64,
    pub log_flushes: u64,
    /// Stages of a send in their order, each with the sum of its times in nanoseconds and their number, for benchmarks.
    pub send_stages: Vec<(&'static str, u64, u64)>,
    /// What the shard does its I/O with, and why that is not io_uring.
    pub io: &'static str,
    pub io_reason: String,
    /// Messages that were found to be unreadable, and up to where the log has been read through.
    pub unreadable_messages: u64,
    pub scrubbed_to: u64,
    /// Tasks that kept the shard's thread longer than `stallWarnMillis`, since the start.
    pub stalls: u64,
    pub stall_max_ms: u64,
    /// Those among them that the shard made itself: neither the host nor another process had the core.
    pub stalls_own: u64,
    pub stall_own_max_ms: u64,
    /// Of the device that holds the log, and the one with the ConsumeQueues.
    pub log_disk_used: f64,
    pub queue_disk_used: f64,
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
    /// 99 and 99.9 % of the sends of the last minute were acknowledged within so many milliseconds.
    pub put_latency_p99_ms: f64,
    pub put_latency_p999_ms: f64,
    /// How many sends of the last minute took how long; see [`PUT_TIMES`].
    pub put_times: [u64; PUT_TIMES.len()],
    /// How long the oldest message that is not acknowledged has waited for that.
    pub oldest_send_ms: u64,
    /// Sends that wait for room in the log buffer, pulls that wait for a message.
    pub waiting_sends: u64,
    pub parked_pulls: u64,
    /// The reason of the fence, if the shard is fenced.
    pub fence: Option<String>,
    /// The reason why sends are refused, if the disk is full.
    pub full: Option<String>,
    /// What had been acknowledged and was not there at the start.
    pub missing_bytes: u64,
    pub missing_messages: u64,
}
