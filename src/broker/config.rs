//! What the rules depend on, with RocketMQ's defaults (`BrokerConfig.java`, `MessageStoreConfig.java`) and the reason for each.

use std::net::SocketAddr;

use crate::store::Retention;

/// Permission bits of brokers and topics.
pub mod perm {
    pub use crate::wire::topic::perm::{INHERIT, READ, WRITE};

    pub fn is_readable(perm: i32) -> bool {
        perm & READ != 0
    }

    pub fn is_writeable(perm: i32) -> bool {
        perm & WRITE != 0
    }

    pub fn is_inherited(perm: i32) -> bool {
        perm & INHERIT != 0
    }
}

/// The settings of one shard's broker.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// In routes, statistics and lock keys.
    pub broker_name: String,
    pub cluster_name: String,
    /// What clients dial; also goes into remarks and message ids.
    pub advertise: SocketAddr,
    /// Goes into each message and each reply, for traces.
    pub region_id: String,
    /// Whether clients of this broker trace, told to them with each send.
    pub trace_on: bool,
    /// 6 = read and write. Without write only order topics are refused, as in RocketMQ.
    pub broker_permission: i32,
    /// A send to an unknown topic creates it from the template topic that its client names.
    pub auto_create_topic: bool,
    /// Queues of that template, the upper bound of a topic created through it.
    pub default_topic_queue_nums: u32,
    /// Consumers need not be registered by an administrator first.
    pub auto_create_group: bool,
    /// The topic named as the cluster may be used; off leaves it as a template only.
    pub cluster_topic: bool,
    /// The same for the topic named as the broker.
    pub broker_topic: bool,
    pub trace_topic: bool,
    pub trace_topic_name: String,
    /// Largest body, of a whole batch too.
    pub max_message_bytes: usize,
    /// Delay of level 1, 2, ...
    pub delay_levels_ms: Vec<u64>,
    /// As the store has it, for who asks for it and who changes it.
    pub retention: Retention,
    /// A producer is asked about its half message every interval, first when the message is older than the timeout, at
    /// most so often.
    pub transaction_check_interval_ms: u64,
    pub transaction_timeout_ms: u64,
    pub transaction_check_max: i32,
    /// Ends of transactions go into one op record up to this size, or until this time has passed.
    pub transaction_op_max_bytes: usize,
    pub transaction_op_batch_interval_ms: u64,
    pub reject_transaction_message: bool,
    /// Messages with a time of their own.
    pub timer_wheel: bool,
    /// Longest such delay; 0: no limit.
    pub timer_max_delay_s: u64,
    /// What waits longer is written anew this often, before its retention ends.
    pub timer_roll_window_ms: u64,
    /// Timers kept in memory; more wait on disk until shortly before they are due.
    pub timer_memory_entries: usize,
    /// Timed messages may be taken back.
    pub recall: bool,
    pub recall_when_not_writeable: bool,
    /// SQL92 subscriptions.
    pub property_filter: bool,
    /// Messages that come back are filtered again if the subscription to the retry topic is an SQL92 one.
    pub filter_support_retry: bool,
    pub lite_pull: bool,
    /// A pull that finds nothing waits as long as its client allows; else [`Self::short_polling_ms`].
    pub long_polling: bool,
    pub short_polling_ms: u64,
    /// One reply holds at most so many messages and bytes (RocketMQ's limits for what is in memory; its lower ones for
    /// the disk protect the page cache, which we do not share with the writers).
    pub max_pull_messages: u32,
    pub max_pull_bytes: u32,
    /// Messages that one question for a key gets at most.
    pub max_query_messages: u32,
    /// The same for a unique key, whose messages are copies of one.
    pub default_query_messages: u32,
    /// Whether members of a group are told that it changed.
    pub notify_consumer_ids_changed: bool,
    /// A rewind is carried out by the broker: the group's next pull of each queue is told. Off: by the group's clients,
    /// which have to be online for it.
    pub server_side_reset: bool,
    /// Replies to requests are stored, besides being handed to who asked.
    pub store_replies: bool,
    /// Four missed heartbeats.
    pub client_expiry_ms: u64,
    /// Three missed renewals of the client's 20 s.
    pub lock_expiry_ms: u64,
    pub pop: super::pop::PopConfig,
    /// What broker.conf and its defaults say, by RocketMQ's names: for tools that ask, besides what stands above.
    pub start_properties: Vec<(String, String)>,
    /// Seed of the choice where a client leaves the queue open, so that a run can be repeated.
    pub seed: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            broker_name: "broker-a".into(),
            cluster_name: "DefaultCluster".into(),
            advertise: SocketAddr::from(([127, 0, 0, 1], 10911)),
            region_id: "DefaultRegion".into(),
            trace_on: true,
            broker_permission: perm::READ | perm::WRITE,
            auto_create_topic: true,
            default_topic_queue_nums: 8,
            auto_create_group: true,
            cluster_topic: true,
            broker_topic: true,
            trace_topic: false,
            trace_topic_name: "RMQ_SYS_TRACE_TOPIC".into(),
            max_message_bytes: 4 << 20,
            delay_levels_ms: super::delay::DEFAULT_LEVELS_MS.to_vec(),
            retention: Retention::default(),
            transaction_check_interval_ms: 30_000,
            transaction_timeout_ms: 6_000,
            transaction_check_max: 15,
            transaction_op_max_bytes: 4096,
            transaction_op_batch_interval_ms: 3_000,
            reject_transaction_message: false,
            timer_wheel: true,
            timer_max_delay_s: 0,
            timer_roll_window_ms: 172_800_000,
            timer_memory_entries: 1 << 20,
            recall: false,
            recall_when_not_writeable: true,
            property_filter: false,
            filter_support_retry: false,
            lite_pull: true,
            long_polling: true,
            short_polling_ms: 1000,
            max_pull_messages: 32,
            max_pull_bytes: 256 << 10,
            max_query_messages: 64,
            default_query_messages: 32,
            notify_consumer_ids_changed: true,
            server_side_reset: true,
            store_replies: true,
            client_expiry_ms: 120_000,
            lock_expiry_ms: 60_000,
            pop: super::pop::PopConfig::default(),
            start_properties: Vec::new(),
            seed: 1,
        }
    }
}
