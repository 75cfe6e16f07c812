//! How the brokers of the tests of replication are set up.

use std::net::{Ipv4Addr, SocketAddr};

use ringmq::reactor::{ReplicationSetup, Role};

use crate::cluster::BROKER_PORT;

pub const HA_PORT: u16 = BROKER_PORT + 1;
/// A slave that is behind for so long is not waited for.
pub const SLAVE_TIMEOUT_MS: u64 = 1_000;

/// Of a slave that gets its master's address from a name server or a controller.
pub fn replication_setup() -> ReplicationSetup {
    ReplicationSetup {
        role: Role::Slave,
        broker_id: -1,
        listen: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), HA_PORT),
        master: None,
        in_sync_replicas: 2,
        slave_timeout_ms: SLAVE_TIMEOUT_MS,
        max_gap_bytes: 256 << 20,
        heartbeat_ms: 500,
        silence_ms: 2_000,
        batch_bytes: 4 << 10,
        slave_reads: true,
        is_secured: false,
        controller: None,
    }
}
