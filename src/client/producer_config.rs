//! A producer's configuration.

use std::time::Duration;

/// A producer's rules; the defaults are RocketMQ's, with one exception, `avoid_slow_brokers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    pub group: String,
    /// For a send with all its tries.
    pub send_timeout: Duration,
    /// Of one try, so that time is left for another broker if the first does not answer; `None`: the whole timeout.
    pub try_timeout: Option<Duration>,
    /// Tries after the first one, each on another broker where there is one.
    pub retries: u32,
    /// The route of a topic without one is queried again until `send_timeout`, rather than refused at once as RocketMQ's clients do it: right
    /// after its start a broker is not registered yet.
    pub awaits_route: bool,
    /// Avoids brokers for a while that were slow or failed (`sendLatencyFaultEnable`, there off by default).
    pub avoid_slow_brokers: bool,
    /// A body from this size on is sent compressed.
    pub compress_from_bytes: usize,
    pub max_message_bytes: usize,
    /// Queues on each broker of a topic that the first send makes.
    pub new_topic_queues: u32,
}

impl ProducerConfig {
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            send_timeout: Duration::from_secs(3),
            try_timeout: None,
            retries: 2,
            awaits_route: false,
            avoid_slow_brokers: true,
            compress_from_bytes: 4 << 10,
            max_message_bytes: 4 << 20,
            new_topic_queues: 4,
        }
    }
}
