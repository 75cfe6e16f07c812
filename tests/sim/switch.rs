//! Protects what waits at a master that dies: the slave that becomes master delivers each delayed and each timed message once, whatever
//! its master had delivered before.

use ringmq::message::properties::{self, DELAY, TIMER_DELAY_MS};
use ringmq::reactor::Role;
use ringmq::sim::Rng;
use ringmq::store::Flush;
use ringmq::wire::codes::response;

use crate::replication::{MASTER, Pair, SLAVE, send};
use crate::terms::term;

const MESSAGES: u64 = 60;

fn property(name: &str, value: u64) -> String {
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
            let _master = pair.start(MASTER).await;
            pair.create_topic().await;
            let slave = pair.start(SLAVE).await;
            let mut client = pair.client(MASTER).await;
            pair.until_answered(&mut client, response::SUCCESS).await;
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
            pair.sim.power_cut(MASTER);
            slave
                .change(&pair, term(Role::AsyncMaster, &pair, MASTER))
                .await;
            pair.sleep_ms(12_000).await;
            let mut bodies = pair.bodies(SLAVE).await;
            bodies.retain(|body| *body < MESSAGES);
            bodies.sort_unstable();
            assert_eq!(bodies, (0..MESSAGES).collect::<Vec<_>>());
        });
    }
}
