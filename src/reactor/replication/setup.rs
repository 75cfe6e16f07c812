//! How a shard takes part in replication.

use std::net::SocketAddr;

/// What a broker is in its group (`brokerRole`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends wait for its own disk only.
    AsyncMaster,
    /// Sends wait for replicas, too.
    SyncMaster,
    Slave,
}

/// Where a master is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterAddr {
    /// For requests.
    pub remoting: Option<SocketAddr>,
    /// For its log.
    pub ha: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub struct ReplicationSetup {
    pub role: Role,
    /// 0 at a master.
    pub broker_id: i64,
    /// Where a master's slaves connect to.
    pub listen: SocketAddr,
    /// The same at this slave's master; `None`: as the name server says.
    pub master: Option<SocketAddr>,
    /// Replicas that have a message before a sync master acknowledges it, itself included.
    pub in_sync_replicas: usize,
    /// How long a send waits for them.
    pub slave_timeout_ms: u64,
    /// A slave that is further behind is not waited for.
    pub max_gap_bytes: u64,
    /// Each side sends something at least so often.
    pub heartbeat_ms: u64,
    /// A connection over which nothing came for so long is closed.
    pub silence_ms: u64,
    /// Most bytes of the log in one frame.
    pub batch_bytes: usize,
    /// Consumers may read from this slave.
    pub slave_reads: bool,
    /// The link to a replica is secured as connections of clients are; else it is plain text.
    pub is_secured: bool,
    /// `None`: the role is fixed.
    pub controller: Option<ControllerSetup>,
}

/// How a broker lives under a controller, which decides its role.
#[derive(Clone, Debug)]
pub struct ControllerSetup {
    pub controllers: Vec<SocketAddr>,
    /// A heartbeat goes to each of them so often.
    pub heartbeat_ms: u64,
    /// Silent for longer, this broker is dead.
    pub timeout_ms: u64,
    /// How often the controller is asked for its decision, and which controller leads.
    pub decision_ms: u64,
    pub leader_ms: u64,
    /// A member that did not have all of the log for so long leaves the SyncStateSet.
    pub behind_ms: u64,
    /// A send waits for every member of the set.
    pub all_ack: bool,
    /// With fewer members no message is taken.
    pub min_in_sync: usize,
    /// The lowest is elected.
    pub priority: i32,
    /// This broker never belongs to the set.
    pub is_learner: bool,
}

impl ReplicationSetup {
    pub fn is_slave(&self) -> bool {
        self.role == Role::Slave
    }

    /// How many replicas a send waits for, the master included.
    pub fn needed(&self) -> usize {
        match self.role {
            Role::SyncMaster => self.in_sync_replicas.max(1),
            Role::AsyncMaster | Role::Slave => 1,
        }
    }
}
