//! Histories of a master and its slave: random clients, and whatever can happen to either of the two and between them.
//!
//! The master is the broker of the other histories, with the same clients and the same oracle. `SYNC_MASTER` with `inSyncReplicas=2`: a message is
//! acknowledged when both have it, or its sender is told that they have not. [`copies`] looks at the two devices, [`readers`] are
//! consumers of the slave, [`faults`] is what happens, and [`equal`] is the end: both have the same.

mod cases;
pub mod copies;
mod equal;
mod faults;
mod pair;
mod readers;
mod rot;

use std::rc::Rc;

use ringmq::io::Spawn;
use ringmq::sim::Tally;
use ringmq::store::Flush;

use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::history;
use crate::history::extra::Extra;
use crate::workload::Shared;
use crate::{create_topics, logs, seeds, shared_of};

use copies::Copies;
use faults::Faults;
use pair::Pair;

/// Of every run of the tests.
const FIXED_SEEDS: u64 = 8;

#[test]
fn replicated_histories_keep_what_was_promised() {
    seeds::from_environment("pairs", pair_history, FIXED_SEEDS);
}

/// One history of a pair.
pub fn pair_history(seed: u64) -> Tally {
    logs::if_asked();
    let dice = Dice::new(seed, 70);
    let flush = *dice.pick(&[Flush::Sync, Flush::Async]);
    let pair = Pair::new(seed, flush, history::some_world(&dice));
    pair.cluster.settings.set(|broker| broker.recall = true);
    let cluster = &pair.cluster;
    let shared = pair.sim().run(async {
        cluster.start().await;
        create_topics(cluster).await;
        let shared = Rc::new(Shared {
            copies: Some(Copies::new(flush, cluster.broker(), pair.slave())),
            ..shared_of(cluster, seed)
        });
        let mut faults = Faults::default();
        history::start_clients(cluster, &shared, &dice, CLIENTS);
        start_readers(&pair, &shared, &dice);
        for _ in 0..dice.within(1, 3) {
            live(&pair, &shared, &mut faults, &dice).await;
            if dice.one_in(2) {
                history::end_and_restart(cluster, &shared, &dice, None, &Extra::none()).await;
            }
        }
        settle(&pair, &shared, &mut faults, &dice).await;
        shared
    });
    let mut tally = pair.sim().tally();
    let oracle = shared.oracle.borrow();
    for (name, count) in [
        ("acknowledged", oracle.acked),
        ("read", oracle.read),
        ("taken back", oracle.taken_back),
        ("s of virtual time", pair.sim().mono_ns() / 1_000_000_000),
    ] {
        tally.operation(name, count);
    }
    tally
}

/// Kinds of clients, and of each how many at least and at most.
const CLIENTS: history::Clients = &[
    ("producer", 1, 2),
    ("consumer", 1, 1),
    ("waiting", 0, 1),
    ("popper", 0, 1),
    ("keeper", 0, 1),
];

fn start_readers(pair: &Pair, shared: &Rc<Shared>, dice: &Dice) {
    for stream in 50..50 + dice.within(1, 2) {
        let io = pair.sim().host(&format!("slave-reader-{stream}"));
        let reader = readers::read_at_slave(io.clone(), shared.clone(), pair.slave_addr(), stream);
        io.spawn("test", reader);
    }
}

/// For some time both run, while this or that happens around them.
async fn live(pair: &Pair, shared: &Shared, faults: &mut Faults, dice: &Dice) {
    let cluster = &pair.cluster;
    if !pair.is_slave_up() && !dice.one_in(4) {
        pair.begin_slave();
    }
    let mut left_ms = *dice.pick(&[300, 1_500, 5_000]) + dice.below(500);
    while left_ms > 0 {
        let now_ms = left_ms.min(dice.within(20, 800));
        cluster.sleep_ms(now_ms).await;
        left_ms -= now_ms;
        match dice.below(12) {
            0 => history::reset_somebody(cluster, shared, dice),
            1 => drop(history::cut_somebody_off(cluster, shared, dice).await),
            _ => faults.step(pair, shared, dice).await,
        }
    }
}

/// Nothing happens any more: all promises are kept, and both have the same.
async fn settle(pair: &Pair, shared: &Rc<Shared>, faults: &mut Faults, dice: &Dice) {
    let cluster: &Cluster = &pair.cluster;
    cluster.broker().heal();
    if dice.one_in(2) {
        rot::flip_a_bit(pair, shared, dice);
    }
    if cluster.flush == Flush::Async && pair.is_slave_up() {
        // What its group has confirmed a slave does not cut off, unless an operator starts it again.
        faults.end_slave(pair, shared, dice).await;
    }
    faults.end(pair, shared, dice).await;
    shared.is_ending.set(true);
    let copies = shared.copies.as_ref().expect("there is a slave");
    rot::until_repaired(pair, copies).await;
    equal::until_caught_up(pair, copies).await;
    history::settle(cluster, shared).await;
    for host in &*shared.hosts.borrow() {
        pair.sim().crash(host);
    }
    equal::are_the_same(pair, shared).await;
}
