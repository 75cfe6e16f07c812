//! What happens to a group: to its brokers, to the network between them, to their devices and to the controller.

use std::time::Duration;

use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::Flush;
use ringmq::wire::codes::request;

use super::group::Group;
use crate::controlled::member::{BROKERS, CONTROLLER, NAMES};
use crate::dice::Dice;

/// No note says that what was acknowledged since then is durable.
const HALF_SECOND_NS: u64 = 400_000_000;

/// What is wrong at the moment.
#[derive(Default)]
pub struct Faults {
    suspended: Option<&'static str>,
    cuts: Vec<(&'static str, &'static str)>,
    is_controller_down: bool,
}

impl Faults {
    /// One thing happens, or ends.
    pub async fn step(&mut self, group: &Group, dice: &Dice) {
        let host = *dice.pick(&BROKERS);
        let is_free = group.is_up(host) && self.suspended != Some(host);
        match dice.below(16) {
            0..=2 if !group.is_up(host) => group.start(host),
            0 if is_free => self.end_broker(group, host, dice).await,
            // Most often the master, and soon after the one before.
            1..=2 => {
                if let Some(master) = group
                    .master()
                    .filter(|host| group.is_up(host) && self.suspended != Some(host))
                {
                    self.end_broker(group, master, dice).await;
                }
            }
            3 => self.cut(group, dice),
            4..=5 => self.heal(group),
            6 if self.suspended.is_some() => self.resume(group),
            6 => {
                let host = group.master().unwrap_or(host);
                if group.is_up(host) {
                    group.sim.suspend(host);
                    self.suspended = Some(host);
                }
            }
            7 => self.resume(group),
            8 if self.is_controller_down => self.start_controller(group),
            8 if dice.one_in(2) => {
                group.sim.crash(CONTROLLER);
                self.is_controller_down = true;
            }
            9 => {
                let code = *dice.pick(&[
                    request::CONTROLLER_ALTER_SYNC_STATE_SET,
                    request::CONTROLLER_ALTER_SYNC_STATE_SET,
                    request::CONTROLLER_ELECT_MASTER,
                    request::CONTROLLER_REGISTER_BROKER,
                ]);
                group.controllers.lose_replies(code, dice.within(1, 2));
            }
            10 => group.controllers.agree_within(*dice.pick(&[0, 0, 5, 400])),
            11 if is_free => stall(group, host, dice),
            12 => group
                .sim
                .reset_connections(host, BROKERS[dice.below(3) as usize]),
            13 => group
                .sim
                .step_unix_clock(host, dice.below(2_000) as i64 - 1_000),
            14 => group.flip_a_bit(host, dice),
            15 => self.end_two(group, host, dice).await,
            _ => {}
        }
    }

    /// Nothing is wrong any more.
    pub async fn end(&mut self, group: &Group) {
        self.heal(group);
        self.resume(group);
        if self.is_controller_down {
            self.start_controller(group);
        }
        group.controllers.agree_within(0);
        for host in BROKERS {
            if !group.is_up(host) {
                group.start(host);
            }
            group.sim.host(host).heal();
        }
    }

    async fn end_broker(&self, group: &Group, host: &'static str, dice: &Dice) {
        match dice.below(4) {
            0 => group.stop(host).await,
            // In async mode a power cut takes back what was acknowledged.
            1 if group.flush == Flush::Sync => group.cut_power(host),
            _ => group.kill(host),
        }
        if dice.one_in(2) {
            group.sleep_ms(dice.below(1_500)).await;
            group.start(host);
        }
    }

    /// The last bytes of a member rot while its process ends, and within a second the master's ends as well. The network between the two is gone meanwhile:
    /// the master cannot take the member out of the set, nor the member get from it what it has lost. Everything else works, so the third broker is elected.
    pub async fn end_two(&mut self, group: &Group, host: &'static str, dice: &Dice) {
        let is_calm = self.cuts.is_empty() && self.suspended.is_none() && !self.is_controller_down;
        if !is_calm || BROKERS.into_iter().any(|host| !group.is_up(host)) {
            return;
        }
        group.controllers.agree_within(0);
        // All of them are heard, and have caught up.
        group.sleep_ms(1_000).await;
        let Some(master) = group.master().filter(|master| *master != host) else {
            return;
        };
        if group.set().len() < BROKERS.len() {
            return;
        }
        group.sim.partition(host, master);
        group.kill(host);
        let since_ns = group.sim.mono_ns().saturating_sub(HALF_SECOND_NS);
        let has_rotted = group
            .ledger
            .flips_end(host, since_ns, dice.below(3), dice.next());
        group.start(host);
        if has_rotted {
            group.sleep_ms(dice.within(50, 800)).await;
            group.kill(master);
            group.sleep_ms(dice.below(1_000)).await;
        }
        group.sim.heal_partition(host, master);
    }

    fn cut(&mut self, group: &Group, dice: &Dice) {
        let host = *dice.pick(&BROKERS);
        let all = [BROKERS[0], BROKERS[1], BROKERS[2], CONTROLLER, NAMES];
        let others: Vec<_> = all.into_iter().filter(|other| *other != host).collect();
        match dice.below(3) {
            0 => others
                .iter()
                .for_each(|other| self.cut_pair(group, host, other, dice)),
            _ => {
                let other = *dice.pick(&others);
                self.cut_pair(group, host, other, dice);
            }
        }
    }

    fn cut_pair(&mut self, group: &Group, a: &'static str, b: &'static str, dice: &Dice) {
        match dice.below(4) {
            0 => group.sim.partition_one_way(a, b),
            1 => group.sim.partition_one_way(b, a),
            _ => group.sim.partition(a, b),
        }
        self.cuts.push((a, b));
    }

    fn heal(&mut self, group: &Group) {
        for (a, b) in self.cuts.drain(..) {
            group.sim.heal_partition(a, b);
        }
    }

    fn resume(&mut self, group: &Group) {
        if let Some(host) = self.suspended.take() {
            group.sim.resume(host);
        }
    }

    fn start_controller(&mut self, group: &Group) {
        group.controllers.start(&group.sim, CONTROLLER);
        self.is_controller_down = false;
    }
}

/// Some of the next writes take long.
fn stall(group: &Group, host: &str, dice: &Dice) {
    let stall = Fault::Stall(Duration::from_millis(dice.within(20, 5_000)));
    let rule = Rule::new(stall).of(Op::Write).on("commitlog");
    let rule = rule.after(dice.below(20)).times(dice.within(1, 2));
    group.sim.host(host).inject(rule);
}
