//! Protects recalls that meet the moment in which their message becomes due.

use ringmq::store::Flush;
use ringmq::wire::codes::response;

use super::started;
use crate::cluster::Cluster;
use crate::dice::Dice;

/// A recall is granted while its message is not due, and written while it becomes due: the two agree, also after a kill.
#[test]
fn a_recall_that_is_granted_counts_whenever_it_is_answered() {
    let mut taken_back = 0;
    for seed in 0..12 {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.settings.set(|broker| broker.recall = true);
        cluster.sim.run(async {
            let mut timed = started(&cluster).await;
            let dice = Dice::new(seed, 6);
            let mut gone = Vec::new();
            for _ in 0..40 {
                let number = timed.send_in(dice.within(20, 60) as i64, &dice).await;
                let left_ms = timed.promised[&number].0 - timed.now_ms();
                let ahead_ms = dice.below(4) as i64;
                cluster.sleep_ms((left_ms - ahead_ms).max(0) as u64).await;
                let reply = timed.recall(number).await;
                match reply.code {
                    response::SUCCESS => gone.push(number),
                    response::ILLEGAL_OPERATION => {}
                    _ => panic!("{reply:?}"),
                }
                if dice.one_in(4) {
                    cluster.kill();
                    cluster.start().await;
                    timed.reconnect(&cluster).await;
                }
            }
            cluster.sleep_ms(10_000).await;
            let arrived = timed.arrived().await;
            taken_back += gone.len();
            for number in gone {
                assert!(
                    !arrived.contains_key(&number),
                    "{number} was taken back, seed {seed}"
                );
                timed.promised.remove(&number);
            }
            timed.check().await;
        });
    }
    assert!((50..430).contains(&taken_back), "{taken_back} taken back");
}
