//! How a life of the broker ends, what happens to its files then, and the next start.

use std::path::Path;

use ringmq::io::{Clock, Disk};
use ringmq::sim::{Fault, Op, Rule};

use super::extra::Extra;
use crate::cluster::{Cluster, FLUSH_INTERVAL_MS};
use crate::dice::Dice;
use crate::recovered;
use crate::workload::Shared;

/// Since when the store is fenced, and whether the device has lost then what was not flushed.
#[derive(Clone, Copy)]
pub struct Failed {
    at_ns: u64,
    has_lost_cache: bool,
}

/// A write or a flush of some file fails, and the store is fenced by that. The keeper's settings could not be kept.
pub async fn fail_device(cluster: &Cluster, shared: &Shared, dice: &Dice) -> Option<Failed> {
    let has_keeper = shared
        .hosts
        .borrow()
        .iter()
        .any(|host| host.starts_with("keeper"));
    if has_keeper {
        return None;
    }
    shared.disturb_timing(cluster.broker().now().unix_ms);
    let (fault, op) = *dice.pick(&[
        (Fault::Io, Op::Write),
        (Fault::Short, Op::Write),
        (Fault::Io, Op::Sync),
    ]);
    let path = *dice.pick(&[
        "commitlog",
        "commitlog",
        "queuejournal",
        "acknowledged",
        "checkpoint",
        "consumequeue",
    ]);
    shared.each(|shard| shard.is_log_failing.set(true));
    let before = faults(cluster);
    cluster.broker().inject(
        Rule::new(fault)
            .of(op)
            .on(path)
            .after(dice.below(3))
            .times(1),
    );
    for _ in 0..1_000 {
        cluster.sleep_ms(3).await;
        if faults(cluster) == before {
            continue;
        }
        // A fault is counted when its operation begins.
        cluster.sleep_ms(5).await;
        let failed = Failed {
            at_ns: cluster.sim.mono_ns(),
            has_lost_cache: op == Op::Sync,
        };
        shared.each(|shard| shard.oracle.borrow_mut().ended_badly(failed.at_ns));
        cluster.sleep_ms(dice.within(20, 2_000)).await;
        return Some(failed);
    }
    cluster.broker().heal();
    shared.each(|shard| shard.is_log_failing.set(false));
    None
}

/// Errors of the device so far.
fn faults(cluster: &Cluster) -> u64 {
    let tally = cluster.sim.tally();
    let of = |name| tally.faults.get(name).copied().unwrap_or(0);
    of("EIO on writes") + of("EIO on flushes") + of("short writes")
}

/// Of the 20 bytes of a queue entry: where the size of its message stands.
const SIZE_IN_ENTRY: u64 = 8;
const ENTRY_BYTES: u64 = 20;

/// A bit of a queue file flips while nobody reads it: one of a message's size, which the log says, too.
async fn rot_queue_file(cluster: &Cluster, dice: &Dice) {
    let broker = cluster.broker();
    let mut dir = "/store/consumequeue".to_owned();
    loop {
        let entries = broker.list(Path::new(&dir)).await.unwrap();
        if entries.is_empty() {
            return;
        }
        let entry = dice.pick(&entries);
        if entry.is_dir {
            dir = entry.path.display().to_string();
            continue;
        }
        if entry.len_bytes > 100 * ENTRY_BYTES {
            let at = SIZE_IN_ENTRY + ENTRY_BYTES * dice.below(100);
            broker.rot_byte(&entry.path, at).unwrap();
        }
        return;
    }
}

pub async fn end_and_restart(
    cluster: &Cluster,
    shared: &Shared,
    dice: &Dice,
    failed: Option<Failed>,
    extra: &Extra,
) {
    shared.disturb_timing(cluster.broker().now().unix_ms);
    shared.each(Shared::disturb);
    shared.each(|shard| shard.is_closed.set(true));
    let ended_ns = end(cluster, shared, dice, failed).await;
    let crashed_ns = failed.map(|failed| failed.at_ns).or(ended_ns);
    shared.each(|shard| shard.life.set(shard.life.get() + 1));
    cluster.sleep_ms(dice.within(0, 1_000)).await;
    cluster.broker().heal();
    if dice.one_in(4) {
        rot_queue_file(cluster, dice).await;
    }
    extra.rot_index(cluster, shared).await;
    extra.rot_timers(cluster).await;
    for _ in 0..*dice.pick(&[0, 0, 1, 2, 3]) {
        let longest_ns = *dice.pick(&[2_000_000, 20_000_000, 60_000_000]);
        cluster.start_for(dice.below(longest_ns)).await;
        shared.each(|shard| {
            shard.life.set(shard.life.get() + 1);
            let now_ns = cluster.sim.mono_ns();
            shard.oracle.borrow_mut().ended_badly(now_ns);
        });
        if dice.one_in(2) {
            cluster.kill();
            continue;
        }
        cluster.cut_power();
        // Nobody has flushed since, and a slave may have shown it until now.
        power_was_cut(shared, crashed_ns, cluster.sim.mono_ns());
        if let Some(copies) = &shared.copies {
            let now_ns = cluster.sim.mono_ns();
            copies.master_has_lost(crashed_ns.unwrap_or(now_ns), now_ns);
        }
    }
    cluster.start().await;
    shared.each(|shard| shard.is_log_failing.set(false));
    recovered::check_state(cluster, shared, crashed_ns).await;
    if let Some(beside) = &shared.beside {
        recovered::check_commits(cluster, beside, crashed_ns).await;
    }
    shared.each(Shared::disturb);
    shared.each(|shard| shard.is_closed.set(false));
    // Sometimes nobody looks before the next end.
    if !dice.one_in(4) {
        recovered::read_all(cluster, shared).await;
        if let Some(beside) = &shared.beside {
            recovered::read_all(cluster, beside).await;
        }
    }
}

fn power_was_cut(shared: &Shared, from_ns: Option<u64>, now_ns: u64) {
    for cut_ns in unflushed_ns(from_ns, now_ns) {
        shared.each(|shard| shard.oracle.borrow_mut().power_was_cut(cut_ns));
    }
}

/// Power cuts at these times would take back what one can that comes later, when nothing has been flushed since the first of
/// them: also what somebody has seen only then.
fn unflushed_ns(from_ns: Option<u64>, now_ns: u64) -> Vec<u64> {
    let interval_ns = FLUSH_INTERVAL_MS as usize * 1_000_000;
    let since = from_ns.map(|from_ns| (from_ns..=now_ns).step_by(interval_ns).chain([now_ns]));
    since.into_iter().flatten().collect()
}

/// When it ended, if not properly.
async fn end(
    cluster: &Cluster,
    shared: &Shared,
    dice: &Dice,
    failed: Option<Failed>,
) -> Option<u64> {
    let end = dice.below(6);
    let ends = [
        "stop",
        "stop that is cut short",
        "kill",
        "kill",
        "power cut",
        "power cut",
    ];
    tracing::info!(now_ns = cluster.sim.mono_ns(), flush = ?cluster.flush, what = ends[end as usize], "the broker ends");
    // What was seen since then may be lost, too.
    let take_back = |now_ns| {
        let since_ns = failed.map_or(now_ns, |failed| failed.at_ns);
        power_was_cut(shared, Some(since_ns), now_ns);
    };
    let has_lost_cache = failed.is_some_and(|failed| failed.has_lost_cache);
    if end == 0 {
        cluster.stop().await;
        // Consumers were served from memory until now.
        if has_lost_cache {
            take_back(cluster.sim.mono_ns());
        }
        return None;
    }
    if end == 1 {
        cluster.stop_for(dice.below(30_000_000)).await;
    }
    let is_power_cut = end > 3 || (end == 1 && dice.one_in(2));
    let now_ns = cluster.sim.mono_ns();
    shared.each(|shard| shard.oracle.borrow_mut().ended_badly(now_ns));
    match is_power_cut {
        true => {
            cluster.cut_power();
            take_back(now_ns);
            if let Some(copies) = &shared.copies {
                copies.master_has_lost(failed.map_or(now_ns, |failed| failed.at_ns), now_ns);
            }
        }
        false => {
            cluster.kill();
            if has_lost_cache {
                take_back(now_ns);
            }
        }
    }
    Some(now_ns)
}
