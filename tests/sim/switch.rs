//! Protects what waits at a master that dies: the slave that becomes master delivers each delayed and each timed message once, whatever
//! its master had delivered before. [`transactions`], [`kept`] and [`locks`] are about the rest that is built on messages, `pop/switched.rs` about POP.

mod kept;
mod locks;
mod transactions;

use std::path::Path;
use std::time::Duration;

use ringmq::io::Disk;
use ringmq::message::properties::{self, DELAY, TIMER_DELAY_MS};
use ringmq::reactor::Role;
use ringmq::sim::{Fault, Op, Rng, Rule};
use ringmq::store::Flush;
use ringmq::wire::codes::response;

use crate::replication::{MASTER, Pair, Process, SLAVE, send};
use crate::terms::term;

const MESSAGES: u64 = 60;

/// The master's machine is gone, and its slave becomes master.
pub async fn succeed(pair: &Pair, slave: &Process) {
    pair.sim.power_cut(MASTER);
    let promoted = term(Role::AsyncMaster, pair, MASTER);
    slave.change(pair, promoted).await;
}

/// From now on nothing of the master's log arrives on the slave's device; its tables do.
pub fn hold_back_the_log(pair: &Pair) {
    let stall = Fault::Stall(Duration::from_secs(60));
    let rule = Rule::new(stall).of(Op::Write).on("commitlog");
    pair.sim.host(SLAVE).inject(rule);
}

/// The master's machine is gone, and its slave starts as a master with the log that it has.
pub async fn succeed_with_less(pair: &Pair) -> Process {
    pair.sim.power_cut(MASTER);
    pair.sim.crash(SLAVE);
    // The machine is there again, so that nobody waits for its answer.
    pair.sim.host(MASTER);
    pair.sim.host(SLAVE).heal();
    let promoted = term(Role::AsyncMaster, pair, MASTER);
    pair.start_as(SLAVE, promoted).await
}

pub fn property(name: &str, value: u64) -> String {
    let mut text = String::new();
    properties::push(&mut text, name, &value.to_string());
    text
}

#[test]
fn what_waits_comes_once() {
    for seed in 0..8 {
        let flush = if seed % 2 == 0 {
            Flush::Sync
        } else {
            Flush::Async
        };
        let pair = Pair::new(seed, flush, Role::SyncMaster);
        pair.sim.run(async {
            let mut rng = Rng::new(seed);
            let (_master, slave, _) = pair.start_both().await;
            let mut client = pair.client(MASTER).await;
            for number in 0..MESSAGES {
                let waits = match rng.below(2) {
                    // 1 s and 5 s.
                    0 => property(DELAY, 1 + rng.below(2)),
                    _ => property(TIMER_DELAY_MS, 1_000 + rng.below(6_000)),
                };
                let reply = send(&mut client, number, &waits).await;
                assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
                pair.sleep_ms(rng.below(50)).await;
            }
            // Some have been delivered, and the slave asks its master for the others once a second.
            pair.sleep_ms(500 + rng.below(3_000)).await;
            succeed(&pair, &slave).await;
            pair.sleep_ms(12_000).await;
            let mut bodies = pair.bodies(SLAVE).await;
            bodies.retain(|body| *body < MESSAGES);
            bodies.sort_unstable();
            assert_eq!(bodies, (0..MESSAGES).collect::<Vec<_>>());
        });
    }
}

#[test]
fn what_waits_comes_once_though_the_slaves_files_of_it_rot() {
    for seed in 0..8 {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let mut rng = Rng::new(seed);
            let (_master, slave, _) = pair.start_both().await;
            let mut client = pair.client(MASTER).await;
            let mut rotten = 0;
            for number in 0..MESSAGES {
                let waits = property(TIMER_DELAY_MS, 5_000 + rng.below(15_000));
                let reply = send(&mut client, number, &waits).await;
                assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
                pair.sleep_ms(rng.below(200)).await;
                if rng.below(10) == 0 {
                    rotten += rot_timers(&pair, &mut rng).await;
                }
            }
            pair.sleep_ms(500 + rng.below(3_000)).await;
            rotten += rot_timers(&pair, &mut rng).await;
            assert!(rotten > 0, "the slave has runs");
            succeed(&pair, &slave).await;
            pair.sleep_ms(25_000).await;
            let mut bodies = pair.bodies(SLAVE).await;
            bodies.retain(|body| *body < MESSAGES);
            bodies.sort_unstable();
            assert_eq!(bodies, (0..MESSAGES).collect::<Vec<_>>());
        });
    }
}

/// A bit of each file in which the slave has what waits. How many files these are.
async fn rot_timers(pair: &Pair, rng: &mut Rng) -> usize {
    let io = pair.sim.host(SLAVE);
    let files = io.list(Path::new("/store/timers")).await.unwrap();
    for file in &files {
        let at = rng.below(file.len_bytes.max(1));
        // Of a file that is being removed.
        let _ = io.rot_byte(&file.path, at);
    }
    files.len()
}

/// The slave's device takes nothing while the master delivers, and the master says each second what it has delivered.
#[test]
fn what_only_the_dead_master_has_delivered_is_delivered_by_its_successor() {
    for seed in 0..4 {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let (_master, _slave, _) = pair.start_both().await;
            let mut client = pair.client(MASTER).await;
            let waiting = [property(DELAY, 1), property(TIMER_DELAY_MS, 1_000)];
            for (number, waits) in (0..).zip(&waiting) {
                let reply = send(&mut client, number, waits).await;
                assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
            }
            hold_back_the_log(&pair);
            pair.sleep_ms(6_000).await;
            let delivered = async |host| {
                let mut bodies = pair.bodies(host).await;
                bodies.retain(|body| *body < 2);
                bodies.sort_unstable();
                bodies
            };
            assert_eq!(delivered(MASTER).await, [0, 1]);
            assert_eq!(delivered(SLAVE).await, [0; 0]);
            let _successor = succeed_with_less(&pair).await;
            pair.sleep_ms(5_000).await;
            assert_eq!(delivered(SLAVE).await, [0, 1]);
        });
    }
}
