//! The broker in the simulator: the same reactor, store and rules as on io_uring, on virtual time, with crashes, power
//! cuts and disks that fail. One seed is one history; a failure prints its seed.
//!
//! ```text
//! cargo test --test sim                  fresh seeds for some 40 s
//! SEED=7 cargo test --test sim           only this one
//! SECONDS=3600 cargo test --test sim     fresh seeds for longer
//! ```
//!
//! [`history`] is one of these lives: [`oracle`] knows what must be true, [`workload`] is clients at random, [`recovered`] holds
//! a restarted broker against the oracle. [`faults`] has the cases that are too particular to be left to chance. [`filtering`] is about SQL92.

mod calls;
mod client;
mod cluster;
mod dice;
mod faults;
mod filtering;
mod history;
mod oracle;
mod overload;
mod pop;
mod recovered;
mod requests;
mod retention;
mod sent;
mod timers;
mod transactions;
mod workload;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cluster::Cluster;
use history::{history, trace_of_history};
use oracle::Oracle;
use workload::keeper::Kept;
use workload::{CREATED, Shared};

/// Time for fresh seeds, of this test alone.
const SECONDS: u64 = 40;

#[test]
fn whatever_was_promised_survives() {
    if let Some(seed) = number_from("SEED") {
        return history(seed);
    }
    let time = Duration::from_secs(number_from("SECONDS").unwrap_or(SECONDS));
    let started = Instant::now();
    let mut seeds = 0;
    while started.elapsed() < time {
        history(fresh_seed());
        seeds += 1;
    }
    println!("{seeds} seeds");
}

#[test]
fn one_seed_is_one_history() {
    let seed = number_from("SEED").unwrap_or_else(fresh_seed);
    let hashes = [(); 2].map(|()| trace_of_history(seed));
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
    RandomState::new().hash_one(Instant::now())
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
        hosts: RefCell::new(Vec::new()),
        disturbances: Cell::new(0),
        disturbed_hosts: RefCell::new(BTreeMap::new()),
        life: Cell::new(0),
        is_closed: Cell::new(false),
        is_ending: Cell::new(false),
        popped_ms: Cell::new(0),
        is_disk_full: Cell::new(false),
        reserved_ms: cluster.reserved_ms(),
        kept: RefCell::new(Kept::default()),
    })
}
