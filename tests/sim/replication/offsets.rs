//! Protects offsets that consumers commit at a slave while its master is away: the master has them when it is back, and no consumer that goes on there
//! is set back.

use ringmq::reactor::Role;
use ringmq::store::Flush;

use super::{GROUP, MASTER, Pair, Process, SLAVE, queue, send};
use crate::client::Client;
use crate::requests;

async fn commit(client: &mut Client, offset: u64) {
    requests::commit_offset(client, GROUP, &queue(), offset);
    client.flush().await.unwrap();
    let reply = client.reply().await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
}

async fn committed(pair: &Pair, host: &str) -> Option<i64> {
    let mut client = pair.client(host).await;
    let offset = requests::query_offset(&mut client, GROUP, &queue()).await;
    offset.unwrap()
}

/// A consumer commits 3 at the master, which saves it and dies, and then 7 at the slave.
async fn committed_at_slave(pair: &Pair) -> (Process, Client) {
    let (_master, slave, mut client) = pair.start_both().await;
    for number in 0..10 {
        assert!(send(&mut client, number, "").await.is_success());
    }
    // A group of its own is made by the first pull.
    pair.bodies(MASTER).await;
    commit(&mut client, 3).await;
    pair.sleep_ms(3_000).await;
    pair.sim.crash(MASTER);
    let mut at_slave = pair.client(SLAVE).await;
    commit(&mut at_slave, 7).await;
    (slave, at_slave)
}

#[test]
fn what_is_committed_at_a_slave_arrives_at_its_master() {
    for flush in [Flush::Sync, Flush::Async] {
        let pair = Pair::new(1, flush, Role::SyncMaster);
        pair.sim.run(async {
            let (_slave, mut at_slave) = committed_at_slave(&pair).await;
            pair.sleep_ms(2_000).await;
            let _master = pair.start(MASTER).await;
            assert_eq!(committed(&pair, MASTER).await, Some(3), "as it was saved");
            pair.sleep_ms(4_000).await;
            assert_eq!(committed(&pair, MASTER).await, Some(7));
            assert_eq!(committed(&pair, SLAVE).await, Some(7));

            // The consumer goes on at the master before the slave has found it.
            pair.sim.crash(MASTER);
            commit(&mut at_slave, 8).await;
            pair.sim.partition(MASTER, SLAVE);
            let _master = pair.start(MASTER).await;
            let mut client = pair.client(MASTER).await;
            commit(&mut client, 9).await;
            pair.sim.heal_partition(MASTER, SLAVE);
            pair.sleep_ms(6_000).await;
            assert_eq!(committed(&pair, MASTER).await, Some(9));
            assert_eq!(committed(&pair, SLAVE).await, Some(9));
        });
    }
}

/// The slave is started anew, or its machine loses power, before its master is back.
#[test]
fn what_is_committed_at_a_slave_outlives_its_process() {
    for is_cut in [false, true] {
        let pair = Pair::new(2, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let _killed = committed_at_slave(&pair).await;
            // Offsets are saved every five seconds.
            pair.sleep_ms(6_000).await;
            match is_cut {
                true => pair.sim.power_cut(SLAVE),
                false => pair.sim.crash(SLAVE),
            }
            let _slave = pair.start(SLAVE).await;
            assert_eq!(committed(&pair, SLAVE).await, Some(7));
            let _master = pair.start(MASTER).await;
            assert_eq!(committed(&pair, MASTER).await, Some(3), "as it was saved");
            pair.sleep_ms(6_000).await;
            assert_eq!(committed(&pair, MASTER).await, Some(7));
            assert_eq!(committed(&pair, SLAVE).await, Some(7));
            // It was given once: who is sent back at the master stays there.
            let mut at_master = pair.client(MASTER).await;
            commit(&mut at_master, 2).await;
            pair.sim.crash(SLAVE);
            let _slave = pair.start(SLAVE).await;
            pair.sleep_ms(6_000).await;
            assert_eq!(committed(&pair, MASTER).await, Some(2));
        });
    }
}
