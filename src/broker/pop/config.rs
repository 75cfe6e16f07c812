//! The settings of POP.

use crate::wire::assignment::request_mode;

/// What POP depends on, with RocketMQ's defaults (`BrokerConfig.java`).
#[derive(Clone, Debug)]
pub struct PopConfig {
    /// So many of a hundred pops look into the retry topic first; the others if there is room left.
    pub retry_first_percent: u32,
    /// New retry topics are named `%RETRY%group+topic`, so that group and topic can be told apart.
    pub retry_topic_v2: bool,
    /// Pops that wait for one queue, or for any queue of one topic; and all that wait.
    pub max_polls_of_queue: usize,
    pub max_polls: usize,
    /// Whether a group that has more than the limit in flight of one queue gets nothing more of it.
    pub limits_in_flight: bool,
    pub in_flight_limit: u64,
    /// Messages that come back are shown with their retry topic, not with the one that was asked for.
    pub shows_retry_topic: bool,
    /// The broker divides the queues among a group's members; else each gets all.
    pub divides_queues: bool,
    pub default_mode: String,
    /// How many further members share a member's queues; with 0 or less all share all.
    pub default_share_queues: i32,
}

impl Default for PopConfig {
    fn default() -> Self {
        Self {
            retry_first_percent: 20,
            retry_topic_v2: false,
            max_polls_of_queue: 1024,
            max_polls: 100_000,
            limits_in_flight: false,
            in_flight_limit: 10_000,
            shows_retry_topic: false,
            divides_queues: true,
            default_mode: request_mode::PULL.into(),
            default_share_queues: -1,
        }
    }
}
