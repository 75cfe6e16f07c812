//! Protects the port for replicas from those who are none.

use std::net::SocketAddr;

use ringmq::broker::limits::MAX_UNKNOWN_REPLICAS;
use ringmq::io::{Clock, Either, Net, Stream, select};
use ringmq::reactor::Role;
use ringmq::store::Flush;
use ringmq::wire::codes::response;

use super::{HA_PORT, MASTER, Pair};

/// They would use up the descriptors. Of those that say nothing only the newest are kept, and a slave is none of them.
#[test]
fn strangers_at_the_port_for_replicas_keep_no_slave_out() {
    let pair = Pair::new(1, Flush::Sync, Role::SyncMaster);
    pair.sim.run(async {
        let (_master, _slave, mut client) = pair.start_both().await;
        let stranger = pair.sim.host("stranger");
        let addr = SocketAddr::new(pair.addr(MASTER).ip(), HA_PORT);
        let mut strangers = Vec::new();
        for _ in 0..MAX_UNKNOWN_REPLICAS + 36 {
            strangers.push(stranger.connect(addr).await.unwrap());
        }
        let soon = async || {
            stranger
                .sleep_until(stranger.now().mono_ns + 100_000_000)
                .await
        };
        let mut ended = 0;
        for stream in &strangers {
            match select(stream.recv(), soon()).await {
                Either::Left(received) => assert!(received.unwrap().is_empty()),
                Either::Right(()) => break,
            }
            ended += 1;
        }
        assert_eq!(ended, 36, "the oldest, and only these, have ended");
        pair.until_answered(&mut client, response::SUCCESS).await;
    });
}
