//! What the rules may read of the store and the shard when they answer at once.

use hdrhistogram::Histogram;

use crate::broker::limits::RECENT_BYTES;
use crate::broker::store_view::{EpochsView, PUT_TIMES, ReplicationView, ShardFigures, StoreView};
use crate::broker::timer::{TIMER, TimerFigures};
use crate::io::Io;
use crate::store::{QueueBounds, ScanLimits};

use super::core::Core;

pub(super) struct View<'a, I: Io> {
    pub core: &'a Core<I>,
}

impl<I: Io> StoreView for View<'_, I> {
    fn bounds(&self, topic: &str, queue_id: u32) -> QueueBounds {
        let store = &self.core.store;
        store
            .find_queue(topic, queue_id)
            .map(|queue| store.bounds(queue))
            .unwrap_or_default()
    }

    fn store_time_ms(&self, topic: &str, queue_id: u32, offset: u64) -> Option<i64> {
        let store = &self.core.store;
        store
            .find_queue(topic, queue_id)
            .and_then(|queue| store.store_time_hot(queue, offset))
    }

    fn is_recent(&self, topic: &str, queue_id: u32, offset: u64) -> bool {
        let store = &self.core.store;
        let figures = store.figures();
        if figures.log_max - figures.log_min <= RECENT_BYTES {
            return true;
        }
        let Some(queue) = store.find_queue(topic, queue_id) else {
            return false;
        };
        let limits = ScanLimits {
            max_messages: 1,
            max_bytes: usize::MAX,
            max_entries: 1,
        };
        let mut positions = Vec::new();
        store.scan(queue, offset, &limits, |_, _| true, &mut positions);
        let first = positions.first();
        first.is_some_and(|first| figures.log_max - first.physical_offset <= RECENT_BYTES)
    }

    fn figures(&self) -> ShardFigures {
        let store = self.core.store.figures();
        let stalls = self.core.io.stalls();
        let log_dir = self.core.setup.store.commit_log_dir();
        let space = self.core.store.disk_space();
        let now_ns = self.core.io.now().mono_ns;
        let mut times = self.core.acks.times();
        let took_us = times.recent(now_ns);
        let used = 1.0 - space.available_bytes as f64 / space.total_bytes.max(1) as f64;
        ShardFigures {
            log_min: store.log_min,
            log_max: store.log_max,
            not_flushed_bytes: store.not_flushed_bytes,
            not_dispatched_bytes: store.not_committed_bytes,
            earliest_message_ms: store.first_store_time_ms,
            log_dir: log_dir.display().to_string(),
            log_writes: store.writes,
            log_written_bytes: store.written_bytes,
            log_flushes: store.flushes,
            send_stages: self.send_stages(),
            io: self.core.setup.io.name,
            io_reason: self.core.setup.io.reason.clone(),
            unreadable_messages: store.unreadable,
            scrubbed_to: store.scrubbed_to,
            stalls: stalls.count,
            stall_max_ms: stalls.max_ns / 1_000_000,
            stalls_own: stalls.own,
            stall_own_max_ms: stalls.own_max_ns / 1_000_000,
            log_disk_used: used,
            queue_disk_used: used,
            disk_total_bytes: space.total_bytes,
            disk_free_bytes: space.available_bytes,
            put_latency_p99_ms: ms_of(took_us, 0.99),
            put_times: put_times(took_us),
            put_latency_p999_ms: ms_of(took_us, 0.999),
            oldest_send_ms: self.core.acks.oldest_ns(now_ns) / 1_000_000,
            waiting_sends: self.core.acks.len() as u64,
            parked_pulls: self.core.connections.parked() as u64,
            fence: store.fence.map(|reason| reason.to_string()),
            full: store.full.map(|reason| reason.to_string()),
            missing_bytes: store.missing.map_or(0, |missing| missing.bytes),
            missing_messages: store.missing.map_or(0, |missing| missing.messages),
        }
    }

    fn replication(&self) -> ReplicationView {
        let replication = self.core.replication.as_ref();
        replication.map_or(ReplicationView::Alone, |replication| {
            replication.view(self.core.store.tail(), self.core.io.now().mono_ns)
        })
    }

    fn epochs(&self) -> Option<EpochsView> {
        let replication = self.core.replication.as_ref()?;
        replication.epochs_view(self.core.store.tail())
    }

    fn timers(&self) -> Option<TimerFigures> {
        let end = self.bounds(TIMER, 0).max;
        self.core.timers.figures(end, self.core.now_ms())
    }
}

impl<I: Io> View<'_, I> {
    fn send_stages(&self) -> Vec<(&'static str, u64, u64)> {
        let mut stages = Vec::new();
        self.core.stages.each(|stage, times| {
            stages.push((stage.name(), times.sum(), times.count()));
        });
        let replies_us = self.core.connections.reply_times();
        stages.push(("reply", replies_us.sum() * 1_000, replies_us.count()));
        stages
    }
}

fn ms_of(times_us: &Histogram<u32>, quantile: f64) -> f64 {
    times_us.value_at_quantile(quantile) as f64 / 1000.0
}

/// How many sends took how long. A time of less than a millisecond is 0, as RocketMQ counts.
fn put_times(times_us: &Histogram<u32>) -> [u64; PUT_TIMES.len()] {
    let mut from_us = 0;
    PUT_TIMES.map(|(longest_ms, _)| {
        let longest_us = longest_ms
            .saturating_add(1)
            .saturating_mul(1000)
            .saturating_sub(1);
        let count = times_us.count_between(from_us, longest_us);
        from_us = longest_us.saturating_add(1);
        count
    })
}
