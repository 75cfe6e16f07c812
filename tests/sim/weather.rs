//! What a disk does to a broker that lives on: operations that take long, and files beside the log that cannot be opened
//! for a moment. Clients must not notice.

use std::io::ErrorKind;
use std::time::Duration;

use ringmq::sim::{Fault, Op, Rule};

use crate::cluster::Cluster;
use crate::dice::Dice;

/// Everything but the log and `config/`, which answers depend on.
const BESIDE: [&str; 4] = ["consumequeue", "index", "checkpoint", "timers"];

/// For the next life of the broker.
pub fn some_weather(cluster: &Cluster, dice: &Dice) {
    let broker = cluster.broker();
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
        // A write or a flush that fails fences the store, whichever file it is of: that is `history::fail_log`.
        let shortage = Fault::Refuse(ErrorKind::WouldBlock);
        let path = BESIDE[dice.below(BESIDE.len() as u64) as usize];
        let rule = Rule::new(shortage).of(Op::Open).on(path);
        broker.inject(rule.after(dice.below(10)).times(dice.within(1, 3)));
    }
}
