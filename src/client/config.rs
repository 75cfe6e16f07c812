//! How a client talks to its cluster.

use std::time::Duration;

use super::stream::{Dial, Transport};
use crate::auth::Credentials;
use crate::tls::Connector;
use crate::wire::Codec;

/// How a client talks to its cluster. The intervals are those of RocketMQ's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Name servers, as `host:port;host:port`: one is used until it fails, then the next.
    pub namesrv: String,
    /// Part of the client's id in place of a unique one. A broadcast consumer finds its offsets under it again; no two clients of
    /// one machine may share it while they run.
    pub instance_name: Option<String>,
    /// Whose requests they are. `None`: they are not signed.
    pub credentials: Option<Credentials>,
    /// How brokers and name servers are reached over TLS. `None`: in plain text.
    pub tls: Option<Connector>,
    /// How headers are written.
    pub codec: Codec,
    /// `pollNameServerInterval`
    pub route_interval: Duration,
    /// `heartbeatBrokerInterval`
    pub heartbeat_interval: Duration,
    /// `persistConsumerOffsetInterval`
    pub offset_interval: Duration,
    /// How often a consumer checks which queues are its own without a notification that its group has changed.
    pub rebalance_interval: Duration,
}

impl ClientConfig {
    pub fn new(namesrv: impl Into<String>) -> Self {
        Self {
            namesrv: namesrv.into(),
            instance_name: None,
            credentials: None,
            tls: None,
            codec: Codec::Json,
            route_interval: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
            offset_interval: Duration::from_secs(5),
            rebalance_interval: Duration::from_secs(20),
        }
    }
    pub(super) fn dial(&self) -> Dial {
        Dial {
            transport: Transport::Epoll,
            tls: self.tls.clone(),
            credentials: self.credentials.clone(),
        }
    }
}
