//! What happens around a pair: to the slave, to the network between the two, and to their devices.

use std::time::Duration;

use ringmq::sim::{Fault, Op, Rule};

use super::copies::FLUSHED_NS;
use super::pair::{Pair, SLAVE};
use super::rot;
use crate::cluster::BROKER;
use crate::dice::Dice;
use crate::workload::Shared;

/// What is wrong at the moment.
#[derive(Default)]
pub struct Faults {
    is_cut: bool,
    /// Since when it does not run, and does not flush.
    suspended_since_ns: Option<u64>,
    /// From when to when that was so the last time. What came before is flushed an interval later.
    was_suspended_ns: Option<(u64, u64)>,
    /// Up to when its process that was killed last, and is not replaced by one that is ready, has flushed.
    killed_ns: Option<u64>,
    /// Since when a write or a flush of the slave fails: it is fenced then until its next start.
    fails_since_ns: Option<u64>,
}

impl Faults {
    /// One thing happens, or ends.
    pub async fn step(&mut self, pair: &Pair, shared: &Shared, dice: &Dice) {
        let sim = pair.sim();
        match dice.below(15) {
            0 => sim.reset_connections(BROKER, SLAVE),
            1..=3 if self.is_cut => self.heal(pair),
            1 => {
                sim.partition(BROKER, SLAVE);
                self.is_cut = true;
            }
            2 => {
                let (from, to) = *dice.pick(&[(BROKER, SLAVE), (SLAVE, BROKER)]);
                sim.partition_one_way(from, to);
                self.is_cut = true;
            }
            4..=5 if self.suspended_since_ns.is_some() => self.resume(pair),
            4 if pair.is_slave_up() => {
                sim.suspend(SLAVE);
                self.suspended_since_ns = Some(sim.mono_ns());
            }
            6..=7 if !pair.is_slave_up() => pair.begin_slave(),
            6..=7 => self.end_slave(pair, shared, dice).await,
            8 | 13 => stall(pair, dice),
            9 if pair.is_slave_up() && self.fails_since_ns.is_none() => {
                self.fail_device(pair, shared, dice);
            }
            10 => sim.step_unix_clock(SLAVE, dice.below(4_000) as i64 - 2_000),
            11 | 12 => rot::flip_a_bit(pair, shared, dice),
            _ => {}
        }
    }

    /// Nothing is wrong any more.
    pub async fn end(&mut self, pair: &Pair, shared: &Shared, dice: &Dice) {
        self.heal(pair);
        self.resume(pair);
        if self.fails_since_ns.is_some() {
            self.end_slave(pair, shared, dice).await;
        }
        pair.slave().heal();
        if !pair.is_slave_up() {
            pair.begin_slave();
        }
        pair.until_slave_is_ready().await;
    }

    fn heal(&mut self, pair: &Pair) {
        pair.sim().heal_partition(BROKER, SLAVE);
        self.is_cut = false;
    }

    fn resume(&mut self, pair: &Pair) {
        if let Some(since_ns) = self.suspended_since_ns.take() {
            self.was_suspended_ns = Some((since_ns, pair.sim().mono_ns()));
            pair.sim().resume(SLAVE);
        }
    }

    pub async fn end_slave(&mut self, pair: &Pair, shared: &Shared, dice: &Dice) {
        let copies = shared.copies.as_ref().expect("there is a slave");
        let now_ns = pair.sim().mono_ns();
        // A suspended process does not stop.
        let ends = if self.suspended_since_ns.is_some() {
            2
        } else {
            3
        };
        if pair.is_slave_ready() {
            // Its start has flushed what a killed one had left.
            self.killed_ns = None;
        }
        let unflushed_ns = self.unflushed_since(now_ns);
        let is_power_cut = match dice.below(ends) {
            0 => {
                pair.kill_slave();
                self.killed_ns = Some(unflushed_ns);
                false
            }
            1 => {
                pair.cut_power_of_slave();
                true
            }
            _ => {
                pair.stop_slave().await;
                false
            }
        };
        self.suspended_since_ns = None;
        let has_failed = self.fails_since_ns.take().is_some();
        if is_power_cut || has_failed {
            copies.slave_has_lost(unflushed_ns, now_ns);
            self.killed_ns = None;
            pair.slave().heal();
        }
    }

    /// The slave has flushed what came an interval before this time.
    fn unflushed_since(&self, now_ns: u64) -> u64 {
        let since_ns = [self.suspended_since_ns, self.fails_since_ns, self.killed_ns];
        let since_ns = since_ns.into_iter().flatten().min().unwrap_or(now_ns);
        match self.was_suspended_ns {
            Some((from_ns, until_ns)) if since_ns < until_ns + FLUSHED_NS => from_ns.min(since_ns),
            _ => since_ns,
        }
    }

    /// A write or a flush of the slave fails. Reads go on.
    fn fail_device(&mut self, pair: &Pair, shared: &Shared, dice: &Dice) {
        let (fault, op) = *dice.pick(&[
            (Fault::Io, Op::Write),
            (Fault::Short, Op::Write),
            (Fault::Io, Op::Sync),
        ]);
        let path = *dice.pick(&["commitlog", "commitlog", "queuejournal", "checkpoint"]);
        let rule = Rule::new(fault).of(op).on(path).after(dice.below(3));
        pair.slave().inject(rule.times(1));
        pair.slave_begins_to_fail();
        self.fails_since_ns = Some(pair.sim().mono_ns());
        let copies = shared.copies.as_ref().expect("there is a slave");
        copies.slave_begins_to_fail();
    }
}

/// Some of the next writes or flushes take long.
fn stall(pair: &Pair, dice: &Dice) {
    let (io, longest_ms) = match dice.one_in(2) {
        // Not so long that a client times out.
        true => (pair.cluster.broker(), 700),
        false => (pair.slave(), 4_000),
    };
    let stall = Fault::Stall(Duration::from_millis(dice.within(20, longest_ms)));
    let rule = Rule::new(stall).of(Op::Write).on("commitlog");
    io.inject(rule.after(dice.below(20)).times(dice.within(1, 2)));
}
