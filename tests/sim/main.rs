//! The broker in the simulator: the same reactor, store and rules as on io_uring, on virtual time, with crashes, power
//! cuts and disks that fail. One seed is one history; a failure prints its seed.
//!
//! ```text
//! cargo test --test sim                     the same few seeds each time, and every scenario
//! SEED=7 cargo test --test sim whatever     only this one; RUST_LOG=debug with what the broker logs
//! SEEDS=500 cargo test --profile sim --test sim whatever       fresh ones on all cores
//! MINUTES=120 cargo test --profile sim --test sim whatever     fresh ones for so long
//! ```
//!
//! `cargo test --profile sim --features mutants --test sim mutants` shows that all this finds something: it puts bugs back,
//! one at a time, until a seed tells (`mutants`).
//!
//! A run of many ends with what was done, with the faults that were injected by their kinds, and with the seeds that
//! failed ([`seeds`]).
//!
//! [`oracle`] knows what must be true, [`workload`] is clients at random, [`recovered`] holds a restarted broker against
//! the oracle, and [`faults`] has the cases that are too particular to be left to chance. [`filtering`] is about SQL92. [`weather`] is what
//! a disk does in passing, [`bad_disks`] what it does once and for all, and [`kept`] what stands beside the log.

mod bad_disks;
mod calls;
mod client;
mod cluster;
mod dice;
mod faults;
mod filtering;
mod kept;
#[cfg(feature = "mutants")]
mod mutants;
mod oracle;
mod pop;
mod recovered;
mod requests;
mod retention;
mod seeds;
mod sent;
mod timers;
mod transactions;
mod weather;
mod workload;

use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringmq::io::{Clock, Disk, Spawn};
use ringmq::sim::{Fault, Op, Rule, Tally};
use ringmq::store::{Flush, Retention};

use cluster::{Cluster, DELAY_LEVELS_MS, DISK_BYTES};
use dice::Dice;
use oracle::Oracle;
use seeds::Enough;
use workload::{CREATED, Shared};

const PRODUCERS: u64 = 3;
const CONSUMERS: u64 = 2;
const ENDS: u64 = 3;

/// Of every run of the tests.
const FIXED_SEEDS: u64 = 16;

#[test]
fn whatever_was_promised_survives() {
    if let Some(seed) = number_from("SEED") {
        return println!("seed {seed}\n{}", history(seed));
    }
    let minutes = number_from("MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let (start, enough) = match (minutes, number_from("SEEDS")) {
        (Some(time), _) => (fresh_seed(), Enough::Time(time)),
        (None, Some(seeds)) => (fresh_seed(), Enough::Seeds(seeds)),
        (None, None) => (1, Enough::Failure(FIXED_SEEDS)),
    };
    let runs = seeds::run("histories", history, start, enough, seeds::cores());
    assert!(runs.failures.is_empty(), "{runs}");
    println!("{runs}");
}

#[test]
fn one_seed_is_one_history() {
    let seed = number_from("SEED").unwrap_or_else(fresh_seed);
    let hashes = [(); 2].map(|()| tally_and_trace(seed).1);
    assert_eq!(hashes[0], hashes[1], "seed {seed}");
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

fn fresh_seed() -> u64 {
    RandomState::new().hash_one(Instant::now()) >> 16
}

fn history(seed: u64) -> Tally {
    tally_and_trace(seed).0
}

/// A broker's life with some ends, while clients go on; then everything that was promised must be there.
fn tally_and_trace(seed: u64) -> (Tally, u64) {
    if std::env::var("RUST_LOG").is_ok() {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .try_init();
    }
    let dice = Dice::new(seed, 0);
    let flush = *dice.pick(&[Flush::Sync, Flush::Async]);
    let cluster = Cluster::keeping(seed, flush, some_retention(&dice));
    let (shared, stored) = cluster.sim.run(async {
        cluster.start().await;
        let shared = start_clients(&cluster, seed).await;
        for _ in 0..dice.within(1, ENDS) {
            weather::some_weather(&cluster, &dice);
            if dice.one_in(3) {
                stall_log(&cluster, &dice);
            }
            if dice.one_in(4) {
                fill_disk(&cluster, &shared, &dice).await;
            }
            cluster
                .sleep_ms(*dice.pick(&[100, 500, 1_500, 6_000]) + dice.below(500))
                .await;
            end_and_restart(&cluster, &shared, &dice).await;
        }
        cluster.sleep_ms(dice.within(20, 1_000)).await;
        shared.is_ending.set(true);
        // Whatever is delayed, or has been sent back, is there after the longest delay.
        cluster
            .sleep_ms(DELAY_LEVELS_MS[DELAY_LEVELS_MS.len() - 1] + 5_000)
            .await;
        let stored = recovered::read_all(&cluster, &shared).await;
        let kept_from_ms = cluster.broker().now().unix_ms - shared.reserved_ms as i64;
        shared.oracle.borrow().is_settled(&stored, kept_from_ms);
        (shared, stored.len() as u64)
    });
    let mut tally = cluster.sim.tally();
    let oracle = shared.oracle.borrow();
    for (name, count) in [
        ("acknowledged", oracle.acked),
        ("read", oracle.read),
        ("taken back", oracle.taken_back),
        ("refused on a full disk", oracle.refused),
        ("queues that begin later", oracle.begun_later),
        ("stored at the end", stored),
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

/// Others fill the disk for a moment. Sends may be refused until they have gone, and two seconds longer.
async fn fill_disk(cluster: &Cluster, shared: &Shared, dice: &Dice) {
    shared.is_disk_full.set(true);
    let left_bytes = *dice.pick(&[0, 8 << 10, 200 << 10, DISK_BYTES / 20]);
    let space = cluster.broker().space(Path::new("/")).unwrap();
    cluster
        .broker()
        .occupy(space.available_bytes.saturating_sub(left_bytes));
    cluster.sleep_ms(dice.within(100, 1_000)).await;
    cluster.broker().occupy(0);
    cluster.sleep_ms(2_000).await;
    shared.is_disk_full.set(false);
}

/// Some of the next writes to the log take long, but not so long that anybody gives up.
fn stall_log(cluster: &Cluster, dice: &Dice) {
    let stall = Fault::Stall(Duration::from_millis(dice.within(20, 700)));
    let rule = Rule::new(stall).of(Op::Write).on("commitlog");
    let rule = rule.after(dice.below(100)).times(dice.within(1, 2));
    cluster.broker().inject(rule);
}

async fn create_topics(cluster: &Cluster) {
    let mut admin = cluster.client("admin").await;
    for topic in CREATED {
        requests::create_topic(&mut admin, topic);
        admin.flush().await.unwrap();
        let reply = admin.reply().await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
    }
}

fn new_shared(cluster: &Cluster, seed: u64) -> Rc<Shared> {
    Rc::new(Shared {
        oracle: RefCell::new(Oracle::new(cluster.flush)),
        addr: cluster.addr(),
        seed,
        disturbances: Cell::new(0),
        is_closed: Cell::new(false),
        is_ending: Cell::new(false),
        is_disk_full: Cell::new(false),
        reserved_ms: cluster.reserved_ms(),
    })
}

async fn start_clients(cluster: &Cluster, seed: u64) -> Rc<Shared> {
    create_topics(cluster).await;
    let shared = new_shared(cluster, seed);
    for stream in 1..=PRODUCERS {
        let io = cluster.sim.host(&format!("producer-{stream}"));
        io.spawn(workload::produce(io.clone(), shared.clone(), stream));
    }
    for stream in PRODUCERS + 1..=PRODUCERS + CONSUMERS {
        let io = cluster.sim.host(&format!("consumer-{stream}"));
        io.spawn(workload::consume(io.clone(), shared.clone(), stream));
        io.spawn(workload::wait_for_messages(
            io.clone(),
            shared.clone(),
            100 + stream,
        ));
    }
    shared
}

async fn end_and_restart(cluster: &Cluster, shared: &Shared, dice: &Dice) {
    if dice.one_in(5) {
        let host = format!("producer-{}", dice.within(1, PRODUCERS));
        shared.disturb();
        cluster.sim.reset_connections(&host, cluster::BROKER);
        cluster.sleep_ms(dice.within(1, 200)).await;
    }
    shared.disturb();
    shared.is_closed.set(true);
    let end = dice.below(5);
    tracing::info!(now_ns = cluster.sim.mono_ns(), flush = ?cluster.flush, what = ["stop", "kill", "kill", "power cut", "power cut"][end as usize], "the broker ends");
    let crashed_ns = match end {
        0 => {
            cluster.stop().await;
            None
        }
        1..=2 => {
            cluster.kill();
            Some(cluster.sim.mono_ns())
        }
        _ => {
            cluster.cut_power();
            let now_ns = cluster.sim.mono_ns();
            shared.oracle.borrow_mut().power_was_cut(now_ns);
            Some(now_ns)
        }
    };
    cluster.sleep_ms(dice.within(0, 1_000)).await;
    cluster.broker().heal();
    for _ in 0..dice.below(3) {
        cluster.start_for(dice.below(40_000_000)).await;
        if dice.one_in(2) {
            cluster.kill();
            continue;
        }
        cluster.cut_power();
        if let Some(crashed_ns) = crashed_ns {
            // Nobody has flushed since.
            shared.oracle.borrow_mut().power_was_cut(crashed_ns);
        }
    }
    cluster.start().await;
    recovered::check_state(cluster, shared, crashed_ns).await;
    shared.disturb();
    shared.is_closed.set(false);
    // Sometimes nobody looks before the next end.
    if !dice.one_in(4) {
        recovered::read_all(cluster, shared).await;
    }
}
