//! One history: a broker's life with some ends, while clients of all kinds go on; then everything that was promised must be there.
//!
//! How many clients of which kind there are, how the network behaves, how long messages are kept, what happens to the broker and
//! when: the seed draws it all.

mod ending;
pub mod extra;

use std::path::Path;
use std::rc::Rc;

use ringmq::io::{Clock, Disk, Spawn};
use ringmq::sim::{Fault, Op, Rule, SimConfig, Tally};
use ringmq::store::{Flush, Retention};

use crate::cluster::{self, Cluster, DELAY_LEVELS_MS, DISK_BYTES};
use crate::dice::Dice;
use crate::recovered;
use crate::weather;
use crate::workload::{Shared, consume, keeper, orderly, popping, produce, rude};
use crate::{create_topics, shared_of};

pub use ending::end_and_restart;

use ending::fail_device;
use extra::Extra;

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
    let extra = Extra::of(seed);
    cluster.has_two_shards.set(extra.has_two_shards);
    let (shared, stored) = cluster.sim.run(async {
        cluster.start().await;
        create_topics(&cluster).await;
        let shared = Rc::new(Shared {
            beside: extra.shared_beside(&cluster, seed).await,
            ..shared_of(&cluster, seed)
        });
        let clients = match are_clocks_stepped {
            true => TIMELESS_CLIENTS,
            false => CLIENTS,
        };
        start_clients(&cluster, &shared, &dice, clients);
        extra.start_clients_beside(&cluster, &shared);
        for _ in 0..dice.within(1, MOST_ENDS) {
            live(&cluster, &shared, &dice, &extra).await;
            if are_clocks_stepped {
                step_clocks(&cluster, &shared, &dice).await;
            }
            let failed = match dice.one_in(4) {
                true => fail_device(&cluster, &shared, &dice).await,
                false => None,
            };
            end_and_restart(&cluster, &shared, &dice, failed, &extra).await;
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
        ("acknowledged beside", acked_beside(&shared)),
        ("stored at the end", stored as u64),
        ("s of virtual time", cluster.sim.mono_ns() / 1_000_000_000),
    ] {
        tally.operation(name, count);
    }
    (tally, cluster.sim.trace_hash())
}

fn acked_beside(shared: &Shared) -> u64 {
    let beside = shared.beside.as_ref();
    beside.map_or(0, |beside| beside.oracle.borrow().acked)
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
async fn live(cluster: &Cluster, shared: &Shared, dice: &Dice, extra: &Extra) {
    shared.calm_down(cluster.broker().now().unix_ms);
    let mut slow_names_ms = 0;
    if dice.one_in(3) {
        shared.disturb_timing(cluster.broker().now().unix_ms);
        slow_names_ms = weather::some_weather(cluster, dice);
    }
    if dice.one_in(3) {
        shared.disturb_timing(cluster.broker().now().unix_ms);
        stall_log(cluster, dice);
    }
    if dice.one_in(4) {
        shared.disturb_timing(cluster.broker().now().unix_ms);
        fill_disk(cluster, shared, dice, slow_names_ms).await;
    }
    extra.lack_descriptors(cluster, shared, slow_names_ms).await;
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

pub fn reset_somebody(cluster: &Cluster, shared: &Shared, dice: &Dice) {
    let host = dice.pick(&shared.hosts.borrow()).clone();
    let ip = cluster.sim.host(&host).ip();
    shared.each(|shard| shard.disturb_host(ip));
    cluster.sim.reset_connections(&host, cluster::BROKER);
}

/// How long it took.
pub async fn cut_somebody_off(cluster: &Cluster, shared: &Shared, dice: &Dice) -> u64 {
    let host = dice.pick(&shared.hosts.borrow()).clone();
    let ip = cluster.sim.host(&host).ip();
    let ms = *dice.pick(&[20, 200, 2_000]) + dice.below(20);
    shared.each(|shard| shard.disturb_host(ip));
    cluster.sim.partition(&host, cluster::BROKER);
    cluster.sleep_ms(ms).await;
    cluster.sim.heal_partition(&host, cluster::BROKER);
    shared.each(|shard| shard.disturb_host(ip));
    ms
}

/// Others fill the disk for a moment. Sends may be refused until they have gone, and until what failed is tried again, which takes as much longer as
/// the names of the journal do.
async fn fill_disk(cluster: &Cluster, shared: &Shared, dice: &Dice, slow_names_ms: u64) {
    shared.each(|shard| shard.is_disk_full.set(true));
    let left_bytes = *dice.pick(&[0, 8 << 10, 200 << 10, DISK_BYTES / 20]);
    let space = cluster.broker().space(Path::new("/")).await.unwrap();
    cluster
        .broker()
        .occupy(space.available_bytes.saturating_sub(left_bytes));
    cluster.sleep_ms(dice.within(100, 1_000)).await;
    cluster.broker().occupy(0);
    cluster.sleep_ms(2_500 + slow_names_ms).await;
    shared.each(|shard| shard.is_disk_full.set(false));
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
    shared.disturb_timing(cluster.broker().now().unix_ms);
    let ms = dice.within(1, 1_500) as i64;
    let by_ms = if dice.one_in(2) { ms } else { -ms };
    let before_ms = cluster.broker().now().unix_ms;
    cluster.sim.step_unix_clocks(by_ms);
    shared.each(|shard| {
        shard.clocks_are_stepped(by_ms);
        if by_ms < 0 {
            shard.oracle.borrow_mut().clock_is_set_back(before_ms);
        }
    });
    cluster.sleep_ms(dice.within(100, 2_000)).await;
}

/// Nothing is done to the broker any more, and nobody sends: whatever is due comes, and all promises are kept.
pub async fn settle(cluster: &Cluster, shared: &Rc<Shared>) -> usize {
    shared.each(|shard| shard.is_ending.set(true));
    shared.calm_down(cluster.broker().now().unix_ms);
    let shards = [
        ("last-producer", Some(shared)),
        ("last-beside", shared.beside.as_ref()),
    ];
    let shards = shards
        .into_iter()
        .filter_map(|(host, shard)| Some((host, shard?)));
    for (host, shard) in shards.clone() {
        let io = cluster.sim.host(host);
        let last = produce::answer_what_is_asked(io.clone(), shard.clone(), 99);
        io.spawn("test", last);
    }
    let until_ms = cluster.broker().now().unix_ms + MOST_SETTLE_MS;
    cluster.sleep_ms(SETTLE_MS).await;
    // Whatever comes back has come back, and was acknowledged.
    while cluster.broker().now().unix_ms < (shared.popped_ms.get() + SETTLE_MS as i64).min(until_ms)
    {
        cluster.sleep_ms(500).await;
    }
    let mut count = 0;
    for (_, shard) in shards {
        let stored = recovered::read_all(cluster, shard).await;
        let kept_from_ms = shard.kept_from_ms(cluster.broker().now().unix_ms);
        let oracle = shard.oracle.borrow();
        oracle.is_settled(&stored, kept_from_ms);
        oracle.transactions_are_settled(&stored, kept_from_ms);
        oracle.pops_are_settled(&stored, kept_from_ms);
        count += stored.len();
    }
    count
}
