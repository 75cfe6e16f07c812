//! Figures of a shard: of its store, its connections, its group, and what it uses of its limits.

use super::super::core::Core;
use super::super::view::View;
use super::limits;
use super::waiting::WaitingRequests;
use crate::broker::metrics::Scrape;
use crate::broker::requests::ROCKETMQ_VERSION;
use crate::broker::store_view::{At, ReplicationView, StoreView};
use crate::io::Io;
use crate::metrics::families::*;
use crate::store::StoreFigures;

pub(super) fn write<I: Io>(core: &Core<I>, scrape: &mut Scrape, waiting: &WaitingRequests) {
    let store = core.store.figures();
    watermarks(core, scrape, waiting);
    let view = View { core };
    let at = At {
        now_ms: core.now_ms(),
        store: &view,
    };
    core.broker.borrow().write_figures(scrape, at);
    storage(core, scrape, &store);
    log(core, scrape, &store);
    health(core, scrape, &store);
    limits::write(core, scrape, &store, waiting);
    replication(core, scrape);
    let openings = core.io.openings();
    for (kind, count) in openings.handshakes {
        scrape.sample(&HANDSHAKES, &[("kind", kind)], count);
    }
    for (reason, count) in openings.refused {
        scrape.sample(&REFUSED, &[("reason", reason)], count);
    }
    for (reason, count) in &waiting.denied {
        scrape.sample(&DENIED, &[("reason", reason)], *count);
    }
}

/// RocketMQ's are the lengths of its thread pools' queues. Here a request waits in other places: a send for the log, what reads the disk for it, all else in none.
fn watermarks<I: Io>(core: &Core<I>, scrape: &mut Scrape, waiting: &WaitingRequests) {
    let lengths = [
        ("send", core.acks.len()),
        ("async_put", 0),
        ("pull", core.connections.reading()),
        ("ack", 0),
        ("query_message", 0),
        ("client_manager", 0),
        ("heartbeat", 0),
        ("lite_pull", 0),
        ("transaction", 0),
        ("consumer_manager", 0),
        ("admin", waiting.calls),
        ("reply", 0),
    ];
    for (processor, length) in lengths {
        scrape.sample(&PROCESSOR_WATERMARK, &[("processor", processor)], length);
    }
}

fn storage<I: Io>(core: &Core<I>, scrape: &mut Scrape, store: &StoreFigures) {
    let space = core.store.disk_space();
    let used = space.total_bytes.saturating_sub(space.available_bytes);
    scrape.sample(&STORAGE_SIZE, &[], used);
    scrape.sample(&FLUSH_BEHIND, &[], store.not_flushed_bytes);
    scrape.sample(&DISPATCH_BEHIND, &[], store.not_committed_bytes);
    if let Some(first_ms) = store.first_store_time_ms {
        let age_ms = core.io.now().unix_ms - first_ms;
        scrape.sample(&RESERVE_TIME, &[], age_ms.max(0) as u64);
    }
    scrape.sample(&DISK_TOTAL, &[], space.total_bytes);
    scrape.sample(&DISK_FREE, &[], space.available_bytes);
}

fn log<I: Io>(core: &Core<I>, scrape: &mut Scrape, store: &StoreFigures) {
    scrape.histogram(&COMMIT_SECONDS, &[], &core.acks.times().all());
    core.stages.each(|stage, times| {
        scrape.histogram(&SEND_STAGE_SECONDS, &[("stage", stage.name())], times);
    });
    {
        let times = core.store.log_times();
        scrape.histogram(&LOG_WRITE_SECONDS, &[], &times.write_us);
        scrape.histogram(&LOG_WRITE_BYTES, &[], &times.write_bytes);
        scrape.histogram(&LOG_FLUSH_SECONDS, &[], &times.flush_us);
    }
    scrape.histogram(&REPLY_SECONDS, &[], &core.connections.reply_times());
    scrape.sample(&LOG_FIRST, &[], store.log_min);
    scrape.sample(&LOG_COMMITTED, &[], store.log_max);
    scrape.sample(&LOG_NOT_COMMITTED, &[], store.not_committed_bytes);
    scrape.sample(&COLD_BLOCKS, &[], store.fetched_blocks);
    let journal = core.store.journal_figures();
    scrape.sample(&JOURNAL_BYTES, &[], journal.bytes);
    scrape.sample(&JOURNAL_BEHIND, &[], journal.behind_bytes);
}

fn health<I: Io>(core: &Core<I>, scrape: &mut Scrape, store: &StoreFigures) {
    let missing = store.missing.unwrap_or_default();
    scrape.sample(&SCRUBBED, &[], store.scrubbed_to);
    scrape.sample(&UNREADABLE, &[], store.unreadable);
    scrape.sample(&MISSING_BYTES, &[], missing.bytes);
    scrape.sample(&MISSING_MESSAGES, &[], missing.messages);
    scrape.sample(&REMOVED_EARLY, &[], store.removed_early);
    scrape.sample(&FENCED, &[], store.fence.is_some());
    scrape.sample(&FULL, &[], store.full.is_some());
    let stalls = core.io.stalls();
    let seconds = |ns: u64| ns as f64 / 1e9;
    let foreign = stalls.count - stalls.own;
    scrape.sample(&STALLS, &[("cause", "own")], stalls.own);
    scrape.sample(&STALLS, &[("cause", "foreign")], foreign);
    scrape.sample(&STALL_MAX, &[("cause", "own")], seconds(stalls.own_max_ns));
    scrape.sample(&STALL_MAX, &[("cause", "any")], seconds(stalls.max_ns));
    scrape.sample(&TURNS, &[], core.io.turns());
    for times in core.io.task_times() {
        let labels = [("task", times.task)];
        scrape.sample(&TASK_SECONDS, &labels, seconds(times.ns));
        scrape.sample(&TASK_POLLS, &labels, times.polls);
    }
    scrape.sample(
        &OLDEST_SEND,
        &[],
        seconds(core.acks.oldest_ns(core.io.now().mono_ns)),
    );
    scrape.sample(&PARKED_PULLS, &[], core.connections.parked());
    scrape.sample(&CONNECTIONS, &[], core.connections.len());
    let version = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("rocketmq_version", ROCKETMQ_VERSION),
    ];
    scrape.sample(&INFO, &version, 1_u64);
}

fn replication<I: Io>(core: &Core<I>, scrape: &mut Scrape) {
    let view = View { core };
    let role = match view.replication() {
        ReplicationView::Alone => "alone",
        ReplicationView::Master { replicas, .. } => {
            let in_sync = replicas.iter().filter(|replica| replica.is_in_sync).count();
            scrape.sample(&REPLICAS, &[], replicas.len());
            scrape.sample(&IN_SYNC_REPLICAS, &[], in_sync + 1);
            let end = core.store.tail();
            for replica in &replicas {
                let labels = [("replica", &*replica.addr)];
                scrape.sample(&REPLICA_LAG, &labels, end.saturating_sub(replica.has));
                scrape.sample(&REPLICA_RATE, &labels, replica.bytes_per_s);
            }
            "master"
        }
        ReplicationView::Slave(slave) => {
            scrape.sample(&MASTER_CONNECTED, &[], !slave.master_addr.is_empty());
            "slave"
        }
    };
    scrape.sample(&ROLE, &[("role", role)], 1_u64);
    if let Some(replication) = &core.replication
        && let Some(epoch) = replication.last_epoch()
    {
        scrape.sample(&EPOCH, &[], epoch.number.max(0) as u64);
    }
}
