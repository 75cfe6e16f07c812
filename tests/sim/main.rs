//! The broker in the simulator: the same reactor, store and rules as on io_uring, on virtual time, with crashes, power
//! cuts and disks that fail. One seed is one history; a failure prints its seed.
//!
//! ```text
//! cargo test --test sim                     the same few seeds each time, and every scenario
//! SEED=7 cargo test --test sim whatever     only this one; RUST_LOG=debug with what the hosts log, at which virtual time
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
//! [`history`] is one of these lives: [`oracle`] knows what must be true, [`workload`] is clients at random, [`recovered`] holds
//! a restarted broker against the oracle. [`faults`] has the cases that are too particular to be left to chance. [`filtering`] is about SQL92. [`weather`]
//! is what a disk does in passing, [`bad_disks`] what it does once and for all, [`devices`] what it does beside the log, and [`kept`]
//! what the files beside the log hold after that; [`descriptors`] is about the number of open files; [`replication`] is a master and its slave, [`terms`] is the change of their roles, [`cuts`] the truncation that it needs, and
//! [`pairs`] are such pairs in random histories; [`controllers`] are those of a group, and
//! [`controlled`] is a group of brokers under one, [`rotten`] such a group with a damaged log, and [`slow_replicas`] with a full or slow disk; [`leftovers`] is what ends leave on the device, and
//! [`ends`] what lands or fails there later.

mod alarm;
mod bad_disks;
mod bare;
mod batches;
mod calls;
mod client;
mod clocks;
mod cluster;
mod controlled;
mod controllers;
mod cuts;
mod descriptors;
mod devices;
mod dice;
mod ends;
mod faults;
mod filtering;
mod groups;
mod history;
mod kept;
mod leftovers;
mod limits;
mod logs;
#[cfg(feature = "mutants")]
mod mutants;
mod neighbours;
mod oracle;
mod overload;
mod pairs;
mod parked;
mod pop;
mod recovered;
mod registration;
mod replication;
mod requests;
mod retention;
mod rotten;
mod rotten_deliveries;
mod rules;
mod saves;
mod scrapes;
mod seeds;
mod sent;
mod slow_replicas;
mod slow_requests;
mod statistics;
mod switch;
mod terms;
mod timers;
mod transactions;
mod weather;
mod workload;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use cluster::Cluster;
use history::{history, tally_and_trace};
use oracle::Oracle;
use workload::keeper::Kept;
use workload::{CREATED, Shared};

/// Of every run of the tests.
const FIXED_SEEDS: u64 = 16;

#[test]
fn whatever_was_promised_survives() {
    seeds::from_environment("histories", history, FIXED_SEEDS);
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

async fn create_topics(cluster: &Cluster) {
    create_topics_at(cluster, cluster.addr()).await;
}

async fn create_topics_at(cluster: &Cluster, addr: SocketAddr) {
    let mut admin = cluster.client_of(addr, "admin").await;
    for topic in CREATED {
        requests::create_topic(&mut admin, topic);
        admin.flush().await.unwrap();
        let reply = admin.reply().await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
    }
}

fn new_shared(cluster: &Cluster, seed: u64) -> Rc<Shared> {
    Rc::new(shared_of(cluster, seed))
}

fn shared_of(cluster: &Cluster, seed: u64) -> Shared {
    Shared {
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
        is_log_failing: Cell::new(false),
        lacks_descriptors: Cell::new(false),
        is_index_rotten: Cell::new(false),
        reserved_ms: cluster.reserved_ms(),
        stepped_ms: Cell::new(0),
        most_stepped_ms: Cell::new(0),
        kept: RefCell::new(Kept::default()),
        copies: None,
        beside: None,
    }
}
