//! Histories of three brokers under a controller: masters die, hang and are cut off, others are elected, and the old ones return.
//!
//! `allAckInSyncStateSet`: what is acknowledged is on every member of the SyncStateSet. [`ledger`] knows what must be true, [`clients`] try all brokers
//! at random, also one that is master no longer, and [`faults`] is what happens.

mod clients;
mod faults;
mod group;
mod ledger;

use std::cell::Cell;
use std::rc::Rc;

use ringmq::io::Spawn;
use ringmq::sim::Tally;
use ringmq::store::Flush;
use ringmq::wire::Codec;

use crate::controlled::member::BROKERS;
use clients::{Clients, TOPIC};
use faults::Faults;
use group::Group;

use crate::client::Client;
use crate::dice::Dice;
use crate::{history, requests, seeds};

/// Of every run of the tests.
const FIXED_SEEDS: u64 = 6;

#[test]
fn controlled_histories_keep_what_was_acknowledged() {
    seeds::from_environment("groups", group_history, FIXED_SEEDS);
}

/// One history of a group.
pub fn group_history(seed: u64) -> Tally {
    let dice = Dice::new(seed, 90);
    let happens = async |group: &Group, faults: &mut Faults| {
        for _ in 0..*dice.pick(&[4, 10, 20]) {
            group
                .sleep_ms(*dice.pick(&[20, 300, 1_500, 4_000]) + dice.below(100))
                .await;
            faults.step(group, &dice).await;
            group.ledger.is_kept();
        }
    };
    history_of(seed, &dice, happens)
}

/// Of two brokers that end at nearly the same time the log of one has rotted at its end.
#[test]
fn one_whose_end_has_rotted_is_not_elected_before_a_whole_one() {
    seeds::from_environment("rotten ends", rotten_ends, FIXED_SEEDS);
}

/// A history in which nothing else happens.
pub fn rotten_ends(seed: u64) -> Tally {
    let dice = Dice::new(seed, 91);
    let happens = async |group: &Group, faults: &mut Faults| {
        for _ in 0..6 {
            group.sleep_ms(dice.within(1_000, 3_000)).await;
            let host = *dice.pick(&BROKERS);
            faults.end_two(group, host, &dice).await;
            faults.end(group).await;
            group.ledger.is_kept();
        }
    };
    history_of(seed, &dice, happens)
}

fn history_of(seed: u64, dice: &Dice, happens: impl AsyncFn(&Group, &mut Faults)) -> Tally {
    let flush = *dice.pick(&[Flush::Sync, Flush::Async]);
    let min_in_sync = dice.within(1, 2) as usize;
    let group = Group::new(seed, flush, min_in_sync, history::some_world(dice));
    group.sim.run(live(&group, seed, dice, happens));
    let mut tally = group.sim.tally();
    let elections = group.controllers.history();
    let elections = elections.iter().filter(|entry| entry.applied.is_elected);
    tally.operation("elections", elections.count() as u64);
    tally.operation("s of virtual time", group.sim.mono_ns() / 1_000_000_000);
    for (name, count) in group.ledger.counts() {
        tally.operation(name, count);
    }
    tally
}

async fn live(group: &Group, seed: u64, dice: &Dice, happens: impl AsyncFn(&Group, &mut Faults)) {
    group.start_all().await;
    create_topic(group).await;
    let clients = Rc::new(Clients {
        ledger: group.ledger.clone(),
        brokers: group.addrs(),
        seed,
        is_ending: Cell::new(false),
    });
    start_clients(group, &clients, dice);
    let mut faults = Faults::default();
    happens(group, &mut faults).await;
    settle(group, &clients, &mut faults).await;
}

/// A broker finds damage of what nobody reads once a day: it is asked for what has rotted, until it has repaired that.
async fn find_damage(group: &Group) {
    const TRIES: u32 = 60;
    for _ in 0..TRIES {
        let Some((host, position)) = group.ledger.rotten() else {
            return;
        };
        // It takes no connection while its role changes, and gives an error until the message was repaired.
        let io = group.sim.host("admin");
        if let Ok(mut client) = Client::connect(&io, group.addr(host), Codec::Rocketmq).await {
            let _ = requests::view_from_device(&mut client, position).await;
        }
        group.sleep_ms(500).await;
    }
    panic!(
        "not repaired: {:?}\n{}",
        group.ledger.rotten(),
        group.sim.recent()
    );
}

async fn create_topic(group: &Group) {
    let master = group.master().expect("all are in sync");
    let mut admin = connected(group, master).await;
    requests::create_topic(&mut admin, TOPIC);
    admin.flush().await.unwrap();
    let reply = admin.reply().await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    // The others ask for it every second.
    group.sleep_ms(2_500).await;
}

async fn connected(group: &Group, host: &str) -> Client {
    let io = group.sim.host("admin");
    let connected = Client::connect(&io, group.addr(host), Codec::Rocketmq).await;
    connected.unwrap_or_else(|error| panic!("cannot connect to {host}: {error}"))
}

fn start_clients(group: &Group, clients: &Rc<Clients>, dice: &Dice) {
    for stream in 0..dice.within(1, 3) {
        let io = group.sim.host(&format!("producer-{stream}"));
        io.spawn(
            "test",
            clients::produce(io.clone(), clients.clone(), 100 + stream),
        );
    }
    for stream in 0..dice.within(1, 2) {
        let io = group.sim.host(&format!("consumer-{stream}"));
        io.spawn(
            "test",
            clients::consume(io.clone(), clients.clone(), 200 + stream),
        );
    }
}

/// Nothing happens any more: all brokers are in the set again, and have the same.
async fn settle(group: &Group, clients: &Clients, faults: &mut Faults) {
    faults.end(group).await;
    let is_whole = || group.set().len() == BROKERS.len();
    group.until("whole", is_whole).await;
    // A master that was killed and started again just now is counted until the controller has elected anew.
    let whole_ns = group.sim.mono_ns();
    let has_master = || is_whole() && group.ledger.has_acknowledged_since(whole_ns);
    group.until("acknowledging", has_master).await;
    clients.is_ending.set(true);
    find_damage(group).await;
    group.sleep_ms(5_000).await;
    let are_equal = || {
        let ends = group.ledger.log_ends();
        is_whole() && ends.iter().all(|end| *end == ends[0])
    };
    group.until("equal", are_equal).await;
    group.ledger.is_kept();
    group.ledger.logs_are_the_same();
    for host in BROKERS {
        let mut client = connected(group, host).await;
        let stored = clients::read_all(&mut client, &group.ledger).await;
        group.ledger.are_all(&stored.unwrap());
    }
}
