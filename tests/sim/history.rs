//! One history: a broker's life with some ends, while clients of all kinds go on; then everything that was promised must be there.
//!
//! How many clients of which kind there are, how the network behaves, how long messages are kept, what happens to the broker and
//! when: the seed draws it all.

use std::path::Path;
use std::rc::Rc;

use ringmq::io::{Clock, Disk, Spawn};
use ringmq::sim::{Fault, Op, Rule, SimConfig, Tally};
use ringmq::store::{Flush, Retention};

use crate::cluster::{self, Cluster, DELAY_LEVELS_MS, DISK_BYTES, FLUSH_INTERVAL_MS};
use crate::dice::Dice;
use crate::recovered;
use crate::weather;
use crate::workload::{Shared, consume, keeper, orderly, popping, produce, rude};
use crate::{create_topics, new_shared};

const MOST_ENDS: u64 = 3;

/// Longer than anything is delayed or hidden, and than anybody waits to be asked.
const SETTLE_MS: u64 = DELAY_LEVELS_MS[DELAY_LEVELS_MS.len() - 1] + 6_000;

/// After so long everything that is due has come, however much it is.
const MOST_SETTLE_MS: i64 = 60_000;

pub fn history(seed: u64) -> Tally {
    tally_and_trace(seed).0
}

/// With what is the same for equal seeds, whatever the process.
pub fn tally_and_trace(seed: u64) -> (Tally, u64) {
    crate::logs::if_asked();
    let dice = Dice::new(seed, 0);
    let flush = *dice.pick(&[Flush::Sync, Flush::Async]);
    let cluster = Cluster::within(seed, flush, some_retention(&dice), some_world(&dice));
    let are_clocks_stepped = dice.one_in(6);
    cluster.settings.set(|broker| broker.recall = true);
    let (shared, stored) = cluster.sim.run(async {
        cluster.start().await;
        create_topics(&cluster).await;
        let shared = new_shared(&cluster, seed);
        let clients = match are_clocks_stepped {
            true => TIMELESS_CLIENTS,
            false => CLIENTS,
        };
        start_clients(&cluster, &shared, &dice, clients);
        for _ in 0..dice.within(1, MOST_ENDS) {
            live(&cluster, &shared, &dice).await;
            if are_clocks_stepped {
                step_clocks(&cluster, &shared, &dice).await;
            }
            let failed = match dice.one_in(4) {
                true => fail_device(&cluster, &shared, &dice).await,
                false => None,
            };
            end_and_restart(&cluster, &shared, &dice, failed).await;
        }
        cluster.sleep_ms(dice.within(20, 1_000)).await;
        let stored = settle(&cluster, &shared).await;
        (shared, stored)
    });
    let mut tally = cluster.sim.tally();
    let oracle = shared.oracle.borrow();
    for (name, count) in [
        ("acknowledged", oracle.acked),
        ("read", oracle.read),
        ("taken back", oracle.taken_back),
        ("refused on a full disk", oracle.refused),
        ("queues that begin later", oracle.begun_later),
        ("stored at the end", stored as u64),
        ("s of virtual time", cluster.sim.mono_ns() / 1_000_000_000),
    ] {
        tally.operation(name, count);
    }
    (tally, cluster.sim.trace_hash())
}

/// In every other run messages are kept for some seconds only.
fn some_retention(dice: &Dice) -> Retention {
    let seconds = *dice.pick(&[2, 4, 3_600, 3_600]);
    Retention {
        reserved_ms: seconds * 1_000,
        delete_hours: (0..24).collect(),
        // Only what is old goes: all else has to be there.
        clean_forcibly: false,
        interval_ms: 500,
        ..Retention::default()
    }
}

/// Clients near and far, data in large pieces and in small ones, and a device that a power cut may leave with sectors that
/// cannot be read.
pub fn some_world(dice: &Dice) -> SimConfig {
    let usual = SimConfig::default();
    let farthest_ns = *dice.pick(&[500_000, 500_000, 5_000_000, 30_000_000]);
    SimConfig {
        net_delay_ns: 5_000..=farthest_ns,
        net_window_bytes: *dice.pick(&[usual.net_window_bytes, 16 << 10]),
        unreadable_one_in: *dice.pick(&[0, 0, 3]),
        net_segment_bytes: *dice.pick(&[usual.net_segment_bytes, 1_400]),
        ..usual
    }
}

/// Kinds of clients, and of each how many at least and at most.
pub type Clients = &'static [(&'static str, u64, u64)];

const CLIENTS: Clients = &[
    ("producer", 1, 3),
    ("consumer", 1, 2),
    ("waiting", 0, 2),
    ("popper", 0, 2),
    ("member", 0, 3),
    ("keeper", 0, 1),
    ("rude", 0, 1),
];

/// What is hidden or locked for a time is so by the clock: with clocks that are stepped nobody pops or locks.
const TIMELESS_CLIENTS: Clients = &[
    ("producer", 1, 3),
    ("consumer", 1, 2),
    ("waiting", 0, 2),
    ("keeper", 0, 1),
    ("rude", 0, 1),
];

pub fn start_clients(cluster: &Cluster, shared: &Rc<Shared>, dice: &Dice, clients: Clients) {
    let spawn = |kind: &str, stream: u64| {
        let io = cluster.sim.host(&format!("{kind}-{stream}"));
        let shared = shared.clone();
        match kind {
            "producer" => io.spawn("test", produce::produce(io.clone(), shared, stream)),
            "consumer" => io.spawn("test", consume::consume(io.clone(), shared, stream)),
            "waiting" => io.spawn(
                "test",
                consume::wait_for_messages(io.clone(), shared, stream),
            ),
            "popper" => io.spawn("test", popping::pop(io.clone(), shared, stream)),
            "member" => io.spawn("test", orderly::take_part(io.clone(), shared, stream)),
            "keeper" => io.spawn("test", keeper::keep(io.clone(), shared, stream)),
            _ => io.spawn("test", rude::annoy(io.clone(), shared, stream)),
        }
    };
    let (mut stream, mut hosts) = (0, Vec::new());
    for &(kind, least, most) in clients {
        let count = match kind {
            // One alone has nobody to share with.
            "member" => *dice.pick(&[0, 0, 2, most]),
            _ => dice.within(least, most),
        };
        for _ in 0..count {
            stream += 1;
            spawn(kind, stream);
            hosts.push(format!("{kind}-{stream}"));
        }
    }
    shared.hosts.replace(hosts);
}

/// For some time the broker runs, while this or that happens around it.
async fn live(cluster: &Cluster, shared: &Shared, dice: &Dice) {
    calm_down(cluster, shared);
    let mut slow_names_ms = 0;
    if dice.one_in(3) {
        disturb(cluster, shared);
        slow_names_ms = weather::some_weather(cluster, dice);
    }
    if dice.one_in(3) {
        disturb(cluster, shared);
        stall_log(cluster, dice);
    }
    if dice.one_in(4) {
        disturb(cluster, shared);
        fill_disk(cluster, shared, dice, slow_names_ms).await;
    }
    let mut left_ms = *dice.pick(&[100, 500, 1_500, 6_000]) + dice.below(500);
    while left_ms > 0 {
        let now_ms = left_ms.min(dice.within(50, 3_000));
        cluster.sleep_ms(now_ms).await;
        left_ms -= now_ms;
        match dice.below(6) {
            0 => reset_somebody(cluster, shared, dice),
            1 => left_ms = left_ms.saturating_sub(cut_somebody_off(cluster, shared, dice).await),
            _ => {}
        }
    }
}

fn calm_down(cluster: &Cluster, shared: &Shared) {
    let now_ms = cluster.broker().now().unix_ms;
    shared.oracle.borrow_mut().is_calm(now_ms);
}

fn disturb(cluster: &Cluster, shared: &Shared) {
    let now_ms = cluster.broker().now().unix_ms;
    shared.oracle.borrow_mut().is_disturbed(now_ms);
}

pub fn reset_somebody(cluster: &Cluster, shared: &Shared, dice: &Dice) {
    let host = dice.pick(&shared.hosts.borrow()).clone();
    shared.disturb_host(cluster.sim.host(&host).ip());
    cluster.sim.reset_connections(&host, cluster::BROKER);
}

/// How long it took.
pub async fn cut_somebody_off(cluster: &Cluster, shared: &Shared, dice: &Dice) -> u64 {
    let host = dice.pick(&shared.hosts.borrow()).clone();
    let ip = cluster.sim.host(&host).ip();
    let ms = *dice.pick(&[20, 200, 2_000]) + dice.below(20);
    shared.disturb_host(ip);
    cluster.sim.partition(&host, cluster::BROKER);
    cluster.sleep_ms(ms).await;
    cluster.sim.heal_partition(&host, cluster::BROKER);
    shared.disturb_host(ip);
    ms
}

/// Others fill the disk for a moment. Sends may be refused until they have gone, and until what failed is tried again, which takes as much longer as
/// the names of the journal do.
async fn fill_disk(cluster: &Cluster, shared: &Shared, dice: &Dice, slow_names_ms: u64) {
    shared.is_disk_full.set(true);
    let left_bytes = *dice.pick(&[0, 8 << 10, 200 << 10, DISK_BYTES / 20]);
    let space = cluster.broker().space(Path::new("/")).await.unwrap();
    cluster
        .broker()
        .occupy(space.available_bytes.saturating_sub(left_bytes));
    cluster.sleep_ms(dice.within(100, 1_000)).await;
    cluster.broker().occupy(0);
    cluster.sleep_ms(2_500 + slow_names_ms).await;
    shared.is_disk_full.set(false);
}

/// Some of the next writes to the log take long, but not so long that a client times out.
fn stall_log(cluster: &Cluster, dice: &Dice) {
    let stall = Fault::Stall(std::time::Duration::from_millis(dice.within(20, 700)));
    let rule = Rule::new(stall).of(Op::Write).on("commitlog");
    let rule = rule.after(dice.below(100)).times(dice.within(1, 2));
    cluster.broker().inject(rule);
}

/// Somebody sets the clocks of all hosts, forward or back.
async fn step_clocks(cluster: &Cluster, shared: &Shared, dice: &Dice) {
    disturb(cluster, shared);
    let ms = dice.within(1, 1_500) as i64;
    let by_ms = if dice.one_in(2) { ms } else { -ms };
    let before_ms = cluster.broker().now().unix_ms;
    cluster.sim.step_unix_clocks(by_ms);
    shared.clocks_are_stepped(by_ms);
    if by_ms < 0 {
        shared.oracle.borrow_mut().clock_is_set_back(before_ms);
    }
    cluster.sleep_ms(dice.within(100, 2_000)).await;
}

/// Since when the store is fenced, and whether the device has lost then what was not flushed.
#[derive(Clone, Copy)]
pub struct Failed {
    at_ns: u64,
    has_lost_cache: bool,
}

/// A write or a flush of some file fails, and the store is fenced by that. The keeper's settings could not be kept.
async fn fail_device(cluster: &Cluster, shared: &Shared, dice: &Dice) -> Option<Failed> {
    let has_keeper = shared
        .hosts
        .borrow()
        .iter()
        .any(|host| host.starts_with("keeper"));
    if has_keeper {
        return None;
    }
    disturb(cluster, shared);
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
    shared.is_log_failing.set(true);
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
        shared.oracle.borrow_mut().ended_badly(failed.at_ns);
        cluster.sleep_ms(dice.within(20, 2_000)).await;
        return Some(failed);
    }
    cluster.broker().heal();
    shared.is_log_failing.set(false);
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
) {
    disturb(cluster, shared);
    shared.disturb();
    shared.is_closed.set(true);
    let ended_ns = end(cluster, shared, dice, failed).await;
    let crashed_ns = failed.map(|failed| failed.at_ns).or(ended_ns);
    shared.life.set(shared.life.get() + 1);
    cluster.sleep_ms(dice.within(0, 1_000)).await;
    cluster.broker().heal();
    if dice.one_in(4) {
        rot_queue_file(cluster, dice).await;
    }
    for _ in 0..*dice.pick(&[0, 0, 1, 2, 3]) {
        let longest_ns = *dice.pick(&[2_000_000, 20_000_000, 60_000_000]);
        cluster.start_for(dice.below(longest_ns)).await;
        shared.life.set(shared.life.get() + 1);
        shared
            .oracle
            .borrow_mut()
            .ended_badly(cluster.sim.mono_ns());
        if dice.one_in(2) {
            cluster.kill();
            continue;
        }
        cluster.cut_power();
        // Nobody has flushed since, and a slave may have shown it until now.
        for cut_ns in unflushed_ns(crashed_ns, cluster.sim.mono_ns()) {
            shared.oracle.borrow_mut().power_was_cut(cut_ns);
        }
        if let Some(copies) = &shared.copies {
            let now_ns = cluster.sim.mono_ns();
            copies.master_has_lost(crashed_ns.unwrap_or(now_ns), now_ns);
        }
    }
    cluster.start().await;
    shared.is_log_failing.set(false);
    recovered::check_state(cluster, shared, crashed_ns).await;
    shared.disturb();
    shared.is_closed.set(false);
    // Sometimes nobody looks before the next end.
    if !dice.one_in(4) {
        recovered::read_all(cluster, shared).await;
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
        for cut_ns in unflushed_ns(Some(since_ns), now_ns) {
            shared.oracle.borrow_mut().power_was_cut(cut_ns);
        }
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
    shared.oracle.borrow_mut().ended_badly(now_ns);
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

/// Nothing is done to the broker any more, and nobody sends: whatever is due comes, and all promises are kept.
pub async fn settle(cluster: &Cluster, shared: &Rc<Shared>) -> usize {
    shared.is_ending.set(true);
    calm_down(cluster, shared);
    let io = cluster.sim.host("last-producer");
    io.spawn(
        "test",
        produce::answer_what_is_asked(io.clone(), shared.clone(), 99),
    );
    let until_ms = cluster.broker().now().unix_ms + MOST_SETTLE_MS;
    cluster.sleep_ms(SETTLE_MS).await;
    // Whatever comes back has come back, and was acknowledged.
    while cluster.broker().now().unix_ms < (shared.popped_ms.get() + SETTLE_MS as i64).min(until_ms)
    {
        cluster.sleep_ms(500).await;
    }
    let stored = recovered::read_all(cluster, shared).await;
    let kept_from_ms = shared.kept_from_ms(cluster.broker().now().unix_ms);
    let oracle = shared.oracle.borrow();
    oracle.is_settled(&stored, kept_from_ms);
    oracle.transactions_are_settled(&stored, kept_from_ms);
    oracle.pops_are_settled(&stored, kept_from_ms);
    stored.len()
}
