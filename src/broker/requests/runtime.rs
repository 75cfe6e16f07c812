//! Figures of the running broker: 28. Tools parse many of these and blank the whole row where one is missing.

use std::collections::BTreeMap;

use crate::broker::delay::SCHEDULE;
use crate::broker::store_view::{PUT_TIMES, ShardFigures, StoreView};
use crate::broker::{Broker, Refusal};
use crate::message::size;
use crate::wire::Reply;
use crate::wire::stats::KvTable;

impl Broker {
    pub(super) fn runtime_info(
        &self,
        now_ms: u64,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        let figures = store.figures();
        let mut table = BTreeMap::new();
        let mut put = |name: &str, value: String| {
            table.insert(name.to_owned(), value);
        };
        self.message_figures(now_ms, &mut put);
        store_figures(&figures, &mut put);
        self.timer_figures(now_ms, store, &mut put);
        for level in self.delays.levels() {
            let bounds = store.bounds(SCHEDULE, (level - 1) as u32);
            if let Some(offset) = self.delays.offsets().get(&level) {
                let value = format!("{offset},{}", bounds.max);
                put(&format!("scheduleMessageOffset_{level}"), value);
            }
        }
        Ok(Reply::json(&KvTable { table }))
    }

    fn message_figures(&self, now_ms: u64, put: &mut dyn FnMut(&str, String)) {
        let (counts, days) = (&self.stats.counts, self.stats.days());
        put("bootTimestamp", self.started_ms.to_string());
        put("runtime", runtime(now_ms.saturating_sub(self.started_ms)));
        put("brokerActive", true.to_string());
        put("brokerVersionDesc", ROCKETMQ_VERSION.into());
        // RocketMQ's before 5.4 had it, and the exporter needs it.
        put("brokerVersion", ROCKETMQ_ORDINAL.to_string());
        put("ringmqVersion", env!("CARGO_PKG_VERSION").into());
        put(
            "putTps",
            self.stats.rates(now_ms, |counts| counts.put_messages),
        );
        put(
            "getFoundTps",
            self.stats.rates(now_ms, |counts| counts.get_found),
        );
        put(
            "getMissTps",
            self.stats.rates(now_ms, |counts| counts.get_missed),
        );
        let total = self
            .stats
            .rates(now_ms, |counts| counts.get_found + counts.get_missed);
        put("getTotalTps", total);
        let transferred = self.stats.rates(now_ms, |counts| counts.transferred);
        put("getTransferredTps", transferred);
        put("putMessageTimesTotal", counts.put_messages.to_string());
        put("putMessageSizeTotal", counts.put_bytes.to_string());
        put("putMessageFailedTimes", counts.put_failed.to_string());
        put(
            "putMessageEntireTimeMax",
            counts.put_time_max_ms.to_string(),
        );
        let average = counts.put_bytes as f64 / counts.put_messages.max(1) as f64;
        put("putMessageAverageSize", format!("{average:?}"));
        let (yesterday, today) = (days.yesterday_morning, days.today_morning);
        put(
            "msgPutTotalYesterdayMorning",
            yesterday.put_messages.to_string(),
        );
        put("msgPutTotalTodayMorning", today.put_messages.to_string());
        put(
            "getMessageEntireTimeMax",
            counts.get_time_max_ms.to_string(),
        );
        put("msgPutTotalTodayNow", counts.put_messages.to_string());
        put(
            "msgGetTotalYesterdayMorning",
            yesterday.transferred.to_string(),
        );
        put("msgGetTotalTodayMorning", today.transferred.to_string());
        put("msgGetTotalTodayNow", counts.transferred.to_string());
        put("startAcceptSendRequestTimeStamp", 0.to_string());
    }

    fn timer_figures(&self, now_ms: u64, store: &dyn StoreView, put: &mut dyn FnMut(&str, String)) {
        let timers = store.timers().unwrap_or_default();
        put("timerReadBehind", (timers.behind_ms / 1000).to_string());
        put("timerOffsetBehind", timers.behind_messages.to_string());
        put("timerCongestNum", timers.all_waiting().to_string());
        let enqueued = self
            .stats
            .latest_rate(now_ms, |counts| counts.timers_enqueued);
        put("timerEnqueueTps", format!("{enqueued:?}"));
        let delivered = self
            .stats
            .latest_rate(now_ms, |counts| counts.timers_delivered);
        put("timerDequeueTps", format!("{delivered:?}"));
    }
}

/// The RocketMQ whose behaviour this broker has: tools parse it. And its place in `MQVersion.Version`.
pub const ROCKETMQ_VERSION: &str = "V5_5_0";
const ROCKETMQ_ORDINAL: u32 = 513;

/// As RocketMQ's `StoreStatsService` writes them, with the blank at the end: each range with the number of sends.
fn put_times(counts: &[u64; PUT_TIMES.len()]) -> String {
    let ranges = PUT_TIMES.iter().zip(counts);
    ranges
        .map(|((_, name), count)| format!("[{name}]:{count} "))
        .collect()
}

fn store_figures(figures: &ShardFigures, put: &mut dyn FnMut(&str, String)) {
    log_figures(figures, put);
    disk_figures(figures, put);
    put("putMessageDistributeTime", put_times(&figures.put_times));
    put("putLatency99", format!("{:.2}", figures.put_latency_p99_ms));
    put(
        "putLatency999",
        format!("{:.2}", figures.put_latency_p999_ms),
    );
    health_figures(figures, put);
    put("sendThreadPoolQueueSize", figures.waiting_sends.to_string());
    put(
        "sendThreadPoolQueueHeadWaitTimeMills",
        figures.oldest_send_ms.to_string(),
    );
    put("pullThreadPoolQueueSize", figures.parked_pulls.to_string());
    for name in WITHOUT_MEANING {
        put(name, "0".into());
    }
}

/// Thread pools, their queues, the page cache's lock and the transient store pool are parts of RocketMQ that this broker does not
/// have. Tools read their figures all the same.
const WITHOUT_MEANING: [&str; 17] = [
    "dispatchMaxBuffer",
    "EndTransactionQueueSize",
    "EndTransactionThreadPoolQueueCapacity",
    "ackThreadPoolQueueCapacity",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "litePullThreadPoolQueueCapacity",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "pageCacheLockTimeMills",
    "pullThreadPoolQueueCapacity",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueCapacity",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "remainTransientStoreBufferNumbs",
    "sendThreadPoolQueueCapacity",
];

fn log_figures(figures: &ShardFigures, put: &mut dyn FnMut(&str, String)) {
    let numbers = [
        ("commitLogMinOffset", figures.log_min),
        ("commitLogMaxOffset", figures.log_max),
        ("dispatchBehindBytes", figures.not_dispatched_bytes),
        ("ringmqLogWrites", figures.log_writes),
        ("ringmqLogBytesWritten", figures.log_written_bytes),
        ("ringmqLogFlushes", figures.log_flushes),
    ];
    for (name, number) in numbers {
        put(name, number.to_string());
    }
    put("ringmqSendStages", send_stages(&figures.send_stages));
    put(
        "remainHowManyDataToFlush",
        size::show(figures.not_flushed_bytes),
    );
    let earliest_ms = figures.earliest_message_ms.unwrap_or(-1);
    put("earliestMessageTimeStamp", earliest_ms.to_string());
}

/// `receive=SUM/COUNT decode=SUM/COUNT ...`
fn send_stages(stages: &[(&str, u64, u64)]) -> String {
    let fields = stages.iter();
    let fields = fields.map(|(name, sum_ns, count)| format!("{name}={sum_ns}/{count}"));
    fields.collect::<Vec<_>>().join(" ")
}

fn disk_figures(figures: &ShardFigures, put: &mut dyn FnMut(&str, String)) {
    let ratio = format!("{:?}", figures.log_disk_used);
    put(
        &format!("commitLogDiskRatio_{}", figures.log_dir),
        ratio.clone(),
    );
    put("commitLogDiskRatio", ratio);
    put(
        "consumeQueueDiskRatio",
        format!("{:?}", figures.queue_disk_used),
    );
    let total = size::show(figures.disk_total_bytes);
    let free = size::show(figures.disk_free_bytes);
    put(
        "commitLogDirCapacity",
        format!("Total : {total}, Free : {free}."),
    );
}

fn health_figures(figures: &ShardFigures, put: &mut dyn FnMut(&str, String)) {
    let numbers = [
        ("ringmqUnreadableMessages", figures.unreadable_messages),
        ("ringmqScrubbedTo", figures.scrubbed_to),
        ("ringmqStalls", figures.stalls),
        ("ringmqStallMaxMs", figures.stall_max_ms),
        ("ringmqStallsOwn", figures.stalls_own),
        ("ringmqStallOwnMaxMs", figures.stall_own_max_ms),
        ("ringmqMissingAtStartBytes", figures.missing_bytes),
        ("ringmqMissingAtStartMessages", figures.missing_messages),
    ];
    for (name, number) in numbers {
        put(name, number.to_string());
    }
    put("ringmqIo", figures.io.into());
    put("ringmqIoReason", figures.io_reason.clone());
    put("fenced", figures.fence.is_some().to_string());
    put(
        "ringmqFenceReason",
        figures.fence.clone().unwrap_or_default(),
    );
    put(
        "ringmqNoSpaceReason",
        figures.full.clone().unwrap_or_default(),
    );
}

fn runtime(ms: u64) -> String {
    let s = ms / 1000;
    let (days, hours, minutes) = (s / 86_400, s / 3600 % 24, s / 60 % 60);
    format!(
        "[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]",
        s % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(
            runtime(74_900),
            "[ 0 days, 0 hours, 1 minutes, 14 seconds ]"
        );
    }
}
