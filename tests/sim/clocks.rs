//! Clocks that are set while timed messages wait: each comes once, and none whose recall was granted, whatever the clock says in between.

use std::collections::BTreeSet;

use ringmq::message::properties;
use ringmq::sim::Tally;
use ringmq::store::Flush;
use ringmq::wire::codes::response;

use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::timers::{self, Timed};

const ROUNDS: u64 = 6;
const MOST_STEP_MS: u64 = 5_000;
const MOST_DELAY_MS: u64 = 6_000;
/// Longer than any of them is delayed, and all steps back together.
const SETTLE_MS: u64 = ROUNDS * MOST_STEP_MS + MOST_DELAY_MS + 5_000;

#[test]
fn timed_messages_come_once_whatever_the_clock_says() {
    for seed in 0..8 {
        clock_steps(seed);
    }
}

/// The clock is set back while the broker is down, so that what it had delivered waits again when it starts. It is killed twice: the
/// second start must still find what the first found.
#[test]
fn what_was_delivered_before_a_kill_comes_once_though_the_clock_is_set_back() {
    for seed in 0..12 {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let mut timed = timers::started(&cluster).await;
            let dice = Dice::new(seed, 72);
            for _ in 0..40 {
                let now_ms = timed.now_ms();
                let due_ms = now_ms + dice.within(500, 2_000) as i64;
                timed
                    .send(properties::TIMER_DELIVER_MS, due_ms, due_ms)
                    .await;
                timed.send(properties::DELAY, 1, now_ms + 1_000).await;
                cluster.sleep_ms(dice.below(30)).await;
            }
            for _ in 0..2 {
                cluster.sleep_ms(dice.below(1_500)).await;
                cluster.kill();
                cluster.sim.step_unix_clocks(-4_000);
                cluster.start().await;
                cluster.sleep_ms(2_500).await;
            }
            cluster.kill();
            cluster.start().await;
            timed.reconnect(&cluster).await;
            cluster.sleep_ms(15_000).await;
            let arrived = timed.arrived().await;
            for number in timed.promised.keys() {
                let times = arrived.get(number).map_or(0, Vec::len);
                assert_eq!(times, 1, "{number} came {times} times, seed {seed}");
            }
        });
    }
}

/// All ends are clean: none of them may repeat anything.
pub fn clock_steps(seed: u64) -> Tally {
    let dice = Dice::new(seed, 71);
    let cluster = Cluster::new(seed, *dice.pick(&[Flush::Sync, Flush::Async]));
    cluster.settings.set(|broker| broker.recall = true);
    cluster.sim.run(async {
        let mut timed = timers::started(&cluster).await;
        let mut gone = BTreeSet::new();
        for _ in 0..ROUNDS {
            for _ in 0..dice.within(5, 40) {
                let due_ms = timed.now_ms() + dice.within(300, MOST_DELAY_MS) as i64;
                timed
                    .send(properties::TIMER_DELIVER_MS, due_ms, due_ms)
                    .await;
            }
            cluster.sleep_ms(dice.below(4_000)).await;
            let step_ms = dice.within(1, MOST_STEP_MS) as i64;
            let step_ms = if dice.one_in(3) { step_ms } else { -step_ms };
            cluster.sim.step_unix_clocks(step_ms);
            cluster.sleep_ms(dice.below(500)).await;
            recall_some(&mut timed, &mut gone, &dice).await;
            if dice.one_in(2) {
                cluster.stop().await;
                cluster.start().await;
                timed.reconnect(&cluster).await;
                recall_some(&mut timed, &mut gone, &dice).await;
            }
        }
        cluster.sleep_ms(SETTLE_MS).await;
        let arrived = timed.arrived().await;
        for number in timed.promised.keys() {
            let times = arrived.get(number).map_or(0, Vec::len);
            let expected = usize::from(!gone.contains(number));
            assert_eq!(times, expected, "{number} came {times} times, seed {seed}");
        }
    });
    cluster.sim.tally()
}

async fn recall_some(timed: &mut Timed, gone: &mut BTreeSet<u64>, dice: &Dice) {
    for _ in 0..dice.below(8) {
        let number = dice.below(timed.promised.len() as u64);
        let reply = timed.recall(number).await;
        match reply.code {
            response::SUCCESS => {
                gone.insert(number);
            }
            // It was delivered, or may have been.
            response::ILLEGAL_OPERATION => {}
            _ => panic!("{reply:?}"),
        }
    }
}
