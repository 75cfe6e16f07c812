//! What a disk and a kernel do to a broker that lives on: operations that take long, a read that fails once, a moment
//! without descriptors or memory. Clients must not notice.

use std::time::Duration;

use ringmq::sim::{Fault, Lack, Op, Rule};

use crate::cluster::{BROKER, Cluster};
use crate::dice::Dice;

/// For the next life of the broker. Returns for how long the names of the journal may take, all in all.
pub fn some_weather(cluster: &Cluster, dice: &Dice) -> u64 {
    let broker = cluster.broker();
    let mut slow_names_ms = 0;
    if dice.one_in(3) {
        let slow = Fault::Stall(Duration::from_millis(dice.within(1, 300)));
        let rule = Rule::new(slow).of(Op::Read).after(dice.below(20));
        broker.inject(rule.times(dice.within(1, 5)));
    }
    if dice.one_in(3) {
        // Longer than the offsets' interval, shorter than what the oracle gives the broker.
        let slow = Fault::Stall(Duration::from_millis(dice.within(20, 700)));
        let path = *dice.pick(&["config", "consumequeue", "index", "checkpoint", "timers"]);
        let rule = Rule::new(slow).on(path).after(dice.below(20));
        broker.inject(rule.times(dice.within(1, 2)));
    }
    if dice.one_in(3) {
        // The reader repeats it once, by itself.
        let unread = Rule::new(Fault::Io).of(Op::Read).on("commitlog");
        broker.inject(unread.after(dice.below(40)).times(1));
    }
    if dice.one_in(3) {
        let lack = *dice.pick(&[
            Lack::DescriptorsOfProcess,
            Lack::DescriptorsOfSystem,
            Lack::Memory,
        ]);
        // Not files that a reader opens: the error would be its answer. A write or a flush that fails otherwise fences the store, whichever file it is of: that is `history::fail_device`.
        let (op, path) = *dice.pick(&[
            (Op::Open, "queuejournal"),
            (Op::Open, "checkpoint"),
            (Op::Open, "commitlog"),
            (Op::Length, "commitlog"),
            (Op::Write, "commitlog"),
        ]);
        let rule = Rule::new(Fault::Shortage(lack)).of(op).on(path);
        broker.inject(rule.after(dice.below(10)).times(dice.within(1, 3)));
        cluster.sim.fail_accepts(BROKER, dice.below(4));
    }
    if dice.one_in(3) {
        let slow_ms = dice.within(1_000, 4_000);
        let slow = Fault::Stall(Duration::from_millis(slow_ms));
        // Of the answers only that to a deletion of a topic waits for these: no save of offsets, no look at the space.
        let rule = Rule::new(slow).of(Op::Names).on("queuejournal");
        let (after, times) = (dice.below(5), dice.within(1, 2));
        broker.inject(rule.after(after).times(times));
        slow_names_ms = times * slow_ms;
    }
    slow_names_ms
}
