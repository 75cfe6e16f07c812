//! Files of waiting timers that rot, or are not there. The messages are whole, and so is the timer topic: every one of them comes, once, and
//! not before its time.

use std::path::{Path, PathBuf};

use ringmq::broker::BrokerConfig;
use ringmq::io::{Disk, File, OpenOptions};
use ringmq::message::properties;
use ringmq::sim::Tally;
use ringmq::store::Flush;

use super::{ON_TIME_MS, SEEDS, Timed, started};
use crate::cluster::Cluster;
use crate::dice::Dice;

const DIR: &str = "/store/timers";
/// What the broker needs to write a run of what waits.
const SAVE_MS: u64 = 2_000;

const WRITABLE: OpenOptions = OpenOptions {
    write: true,
    create: false,
    direct: false,
};

const SHORT_WINDOW: fn(&mut BrokerConfig) = |broker| broker.timer_roll_window_ms = 2_500;
const LONG_WINDOW: fn(&mut BrokerConfig) = |broker| broker.timer_roll_window_ms = 9_000;

async fn runs(cluster: &Cluster) -> Vec<(PathBuf, u64)> {
    let files = cluster.broker().list(Path::new(DIR)).await.unwrap();
    let files = files.into_iter();
    files.map(|file| (file.path, file.len_bytes)).collect()
}

/// Bits flip anywhere in these files. How many did.
async fn rot(cluster: &Cluster, dice: &Dice, most: u64) -> u64 {
    let mut flipped = 0;
    for (path, len) in runs(cluster).await {
        for _ in 0..dice.within(1, most) {
            // Of a file that is being removed.
            let rotten = cluster.broker().rot_byte(&path, dice.below(len.max(1)));
            flipped += u64::from(rotten.is_ok());
        }
    }
    flipped
}

async fn send(timed: &mut Timed, dice: &Dice, count: u64, longest_ms: u64) {
    for _ in 0..count {
        timed.send_in(dice.within(1, longest_ms) as i64, dice).await;
    }
}

#[test]
fn timers_whose_files_rot_come_once_and_on_time() {
    for seed in SEEDS {
        rotten_timers(seed);
    }
}

/// While the broker runs, and while it does not.
pub fn rotten_timers(seed: u64) -> Tally {
    let dice = Dice::new(seed, 91);
    let cluster = Cluster::new(seed, *dice.pick(&[Flush::Sync, Flush::Async]));
    cluster.sim.run(async {
        let mut timed = started(&cluster).await;
        for _ in 0..4 {
            let count = dice.within(20, 60);
            send(&mut timed, &dice, count, 20_000).await;
            cluster.sleep_ms(SAVE_MS + dice.below(2_000)).await;
            let is_running = match dice.below(4) {
                0 => true,
                1 => {
                    cluster.stop().await;
                    false
                }
                2 => {
                    cluster.kill();
                    false
                }
                _ => {
                    cluster.cut_power();
                    false
                }
            };
            rot(&cluster, &dice, 2).await;
            if !is_running {
                cluster.start().await;
                timed.reconnect(&cluster).await;
            }
        }
        cluster.sleep_ms(25_000).await;
        timed.check().await;
    });
    cluster.sim.tally()
}

/// It is found some seconds before the first of them is due.
#[test]
fn rot_in_the_running_broker_makes_no_timer_late() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let mut timed = started(&cluster).await;
            let dice = Dice::new(seed, 92);
            for _ in 0..300 {
                let delay_ms = dice.within(15_000, 40_000) as i64;
                timed.send_in(delay_ms, &dice).await;
            }
            cluster.sleep_ms(SAVE_MS).await;
            for _ in 0..4 {
                assert!(rot(&cluster, &dice, 3).await > 0, "there are runs");
                cluster.sleep_ms(dice.within(1_000, 8_000)).await;
            }
            cluster.sleep_ms(40_000).await;
            let latest_ms = timed.check().await;
            assert!(latest_ms <= ON_TIME_MS, "{latest_ms} ms late, seed {seed}");
        });
    }
}

/// Of each run; the broker delivers all the same.
#[test]
fn a_run_that_is_missing_or_cut_costs_no_timer() {
    for seed in SEEDS {
        for case in 0..4 {
            let cluster = Cluster::new(seed, Flush::Sync);
            cluster.sim.run(async {
                let mut timed = started(&cluster).await;
                let dice = Dice::new(seed, 93);
                send(&mut timed, &dice, 80, 15_000).await;
                cluster.sleep_ms(SAVE_MS).await;
                cluster.kill();
                let broker = cluster.broker();
                let runs = runs(&cluster).await;
                assert!(!runs.is_empty());
                for (path, len) in runs {
                    let file = broker.open(&path, WRITABLE).await.unwrap();
                    match case {
                        0 => broker.remove_file(&path).await.unwrap(),
                        1 => file.resize(len - 24).await.unwrap(),
                        2 => file.resize(len / 2).await.unwrap(),
                        _ => file.resize(len + 1).await.unwrap(),
                    }
                }
                cluster.start().await;
                timed.reconnect(&cluster).await;
                cluster.sleep_ms(20_000).await;
                timed.check().await;
            });
        }
    }
}

/// What was stored anew by the former window is over, and what waits for it is not, though the next one is another.
#[test]
fn rot_after_the_roll_window_was_changed_costs_no_timer() {
    for seed in SEEDS {
        for [first, second] in [[SHORT_WINDOW, LONG_WINDOW], [LONG_WINDOW, SHORT_WINDOW]] {
            let cluster = Cluster::new(seed, Flush::Sync);
            cluster.settings.set(first);
            cluster.sim.run(async {
                let mut timed = started(&cluster).await;
                let dice = Dice::new(seed, 94);
                send(&mut timed, &dice, 60, 40_000).await;
                let due_ms = timed.now_ms() + 40_000;
                let property = properties::TIMER_DELIVER_MS;
                timed.send(property, due_ms, due_ms).await;
                cluster.sleep_ms(dice.within(4_000, 8_000)).await;
                cluster.kill();
                // What an earlier start would have to read again, it has to enqueue by the former window, too.
                if dice.one_in(2) {
                    rot(&cluster, &dice, 2).await;
                }
                cluster.settings.set(second);
                cluster.start().await;
                cluster.sleep_ms(dice.within(100, 4_000)).await;
                if dice.one_in(2) {
                    cluster.kill();
                    rot(&cluster, &dice, 2).await;
                    cluster.start().await;
                } else {
                    rot(&cluster, &dice, 2).await;
                }
                timed.reconnect(&cluster).await;
                cluster.sleep_ms(45_000).await;
                timed.check().await;
            });
        }
    }
}
