//! Every metric once: name, type, labels, bounds, and what it says. The endpoint, the page `ringmq::manual::metrics`, the dashboard and the alerts are checked
//! against these rows.
//!
//! The names, labels and bounds with the prefix `rocketmq_` are those of RocketMQ 5.5 (`BrokerMetricsManager`, `RemotingMetricsManager`,
//! `DefaultStoreMetricsManager`, `PopMetricsManager`), as its Prometheus exporter writes them: with the unit in the name. Some of its units are wrong
//! (`rocketmq_finish_message_latency_milliseconds` has seconds); they are kept, as dashboards read them.

/// What is known of a metric besides its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// As in the line `# TYPE`.
    pub name: &'static str,
    pub kind: Kind,
    pub section: Section,
    pub switch: Switch,
    /// Labels that a sample may have besides those of its node and `fixed`.
    pub labels: &'static [&'static str],
    /// Labels whose values are always the same.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Of a histogram: upper bounds of its ranges, in the unit of what is recorded.
    pub bounds: &'static [u64],
    pub unit: Unit,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// What is written of what is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    AsRecorded,
    SecondsFromMicros,
    SecondsFromNanos,
}

/// RocketMQ's settings that switch metrics off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    /// Ours, which have none.
    None,
    /// `enableStatsMetrics`
    Stats,
    /// `enableRequestMetrics`
    Request,
    /// `enableConnectionMetrics`
    Connection,
    /// `enableLagAndDlqMetrics`
    LagAndDlq,
    /// `enableTransactionMetrics`
    Transaction,
    /// `enableRemotingMetrics`
    Remoting,
    /// `enableMessageStoreMetrics`
    MessageStore,
    /// `enablePopMetrics`
    Pop,
}

/// Families whose samples are made in one walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Of the process, which also answers while its shards recover.
    Process,
    /// Of the name server, where there is one.
    NameServer,
    /// Of a controller, which has an endpoint of its own.
    Controller,
    /// Figures of a shard.
    Shard,
    /// By request and response code.
    Requests,
    /// By topic.
    MessagesIn,
    ThroughputIn,
    MessageSize,
    Transactions,
    Timers,
    /// By group and topic.
    Groups,
    Lag,
    /// By group, language and version.
    Connections,
}

impl Section {
    /// Those that a shard answers, in the order of the exposition.
    pub const OF_SHARDS: [Section; 10] = [
        Section::Shard,
        Section::Requests,
        Section::MessagesIn,
        Section::ThroughputIn,
        Section::MessageSize,
        Section::Transactions,
        Section::Timers,
        Section::Groups,
        Section::Lag,
        Section::Connections,
    ];

    /// Its families, in the order of the table.
    pub fn families(self) -> impl Iterator<Item = &'static Family> {
        ALL.iter().filter(move |family| family.section == self)
    }
}

impl Family {
    /// Whether it is RocketMQ's.
    pub fn is_of_rocketmq(&self) -> bool {
        self.name.starts_with("rocketmq_")
    }
}

const SCOPE: (&str, &str) = ("otel_scope_name", "broker-meter");

/// RocketMQ's exporter writes its scope with each sample.
const BROKER: &[(&str, &str)] = &[SCOPE];
const REMOTING: &[(&str, &str)] = &[SCOPE, ("protocol_type", "remoting")];
const CONTROLLER: &[(&str, &str)] = &[("otel_scope_name", "controller")];
const STORAGE: &[(&str, &str)] = &[SCOPE, ("storage_medium", "disk"), ("storage_type", "local")];
const OURS: &[(&str, &str)] = &[];

const CREATE_MS: &[u64] = &[10, 100, 1_000, 3_000, 5_000];
const RPC_MS: &[u64] = &[1, 3, 5, 7, 10, 100, 1_000, 2_000, 3_000];
const SIZE_BYTES: &[u64] = &[1 << 10, 4 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];
const COMMIT_S: &[u64] = &[5, 60, 600, 3_600, 43_200, 86_400];
const DELAY_S: &[u64] = &[60, 600, 3_600, 43_200, 86_400, 259_200];

/// Of a controller's requests, in microseconds.
const CONTROLLER_US: &[u64] = &[
    1, 3, 5, 10, 30, 50, 100, 300, 500, 1_000, 3_000, 5_000, 10_000, 30_000, 50_000, 100_000,
    300_000, 500_000, 1_000_000, 3_000_000, 5_000_000, 10_000_000,
];
/// From 100 ns to 1 s.
const NANOS: &[u64] = &[
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    1_000_000_000,
];
/// From 50 us to 10 s.
const MICROS: &[u64] = &[
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000,
];
/// From one block to the whole log buffer.
const WRITE_BYTES: &[u64] = &[
    4 << 10,
    8 << 10,
    16 << 10,
    32 << 10,
    64 << 10,
    128 << 10,
    256 << 10,
    512 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
];

macro_rules! families {
    ($($section:ident, $switch:ident, $fixed:ident {
        $($id:ident = $kind:ident $name:literal [$($label:ident),*] $(of $bounds:ident)? $(in $unit:ident)?: $help:literal;)*
    })*) => {
        $($(
            #[doc = $help]
            pub const $id: Family = Family {
                name: $name,
                kind: Kind::$kind,
                section: Section::$section,
                switch: Switch::$switch,
                labels: &[$(stringify!($label)),*],
                fixed: $fixed,
                bounds: families!(@bounds $($bounds)?),
                unit: families!(@unit $($unit)?),
                help: $help,
            };
        )*)*

        /// All of them.
        pub static ALL: &[Family] = &[$($($id,)*)*];
    };
    (@bounds) => { &[] };
    (@bounds $bounds:ident) => { $bounds };
    (@unit) => { Unit::AsRecorded };
    (@unit $unit:ident) => { Unit::$unit };
}

families! {
    Process, None, OURS {
        SHARD_STATE = Gauge "ringmq_shard_state" [state]: "1 for the state that the shard has: serving, following, recovering, full, fenced or stopping";
        IO_BACKEND = Gauge "ringmq_io_backend" [backend, reason]: "1, with what the shard does its I/O with: uring or portable, and why it is not io_uring";
        RECOVERED = Gauge "ringmq_recovered_ratio" []: "How much of the recovery at the start is done; 1 when the shard serves";
        SCRAPE_MISSED = Counter "ringmq_scrape_missed_total" []: "Scrapes that do not have the figures of this shard, as it did not answer in time";
    }
    NameServer, None, OURS {
        NAMESRV_BROKERS = Gauge "ringmq_namesrv_brokers" []: "Brokers that are registered, masters and slaves";
        NAMESRV_TOPICS = Gauge "ringmq_namesrv_topics" []: "Topics with a route";
        NAMESRV_CONNECTIONS = Gauge "ringmq_namesrv_connections" []: "Open connections of the name server";
        NAMESRV_DENIED = Counter "ringmq_namesrv_requests_denied_total" [reason]: "Requests of the name server that were denied by authentication or authorization; none while that is off";
        NAMESRV_HANDSHAKES = Counter "ringmq_namesrv_tls_handshakes_total" [kind]: "TLS handshakes that were done: full, or resumed with a session; of a name server alone";
        NAMESRV_REFUSED = Counter "ringmq_namesrv_connections_refused_total" [reason]: "Connections that were closed for what they begin with, how their TLS handshake has failed, or a record that cannot be opened; of a name server alone";
        NAMESRV_REQUESTS = Histogram "ringmq_namesrv_request_seconds" [request_code, response_code] of MICROS in SecondsFromMicros: "Time from the arrival of a request to its answer";
    }
    Controller, None, CONTROLLER {
        CONTROLLER_ROLE = Gauge "role" []: "0 unknown, 1 candidate, 2 follower, 3 leader";
        CONTROLLER_DISK = Gauge "dledger_disk_usage_bytes" []: "Size of what the controllers agreed on, on this one's disk";
        CONTROLLER_BROKERS = Gauge "active_broker_num" [cluster, broker_set]: "Brokers of a group that are alive; the leader knows them";
        CONTROLLER_REQUESTS = Counter "request_total" [request_type, request_handle_status]: "Requests of brokers and administrators";
        CONTROLLER_REQUEST_TIME = Histogram "request_latency_microseconds" [request_type] of CONTROLLER_US: "Time from the arrival of a request to its answer";
        CONTROLLER_APPENDS = Counter "dledger_op_total" [dledger_operation, dLedger_operation_status]: "Entries that this controller has proposed to the others";
        CONTROLLER_APPEND_TIME = Histogram "dledger_op_latency_microseconds" [dledger_operation] of CONTROLLER_US: "Time until an entry was agreed on and applied";
        CONTROLLER_ELECTIONS = Counter "election_total" [cluster, broker_set, election_result]: "Elections of masters, by their outcome";
    }
    Controller, None, OURS {
        CONTROLLER_DENIED = Counter "ringmq_controller_requests_denied_total" [reason]: "Requests of the controller that were denied by authentication or authorization; none while that is off";
        CONTROLLER_TERM = Gauge "ringmq_controller_term" []: "Term of the controllers, as this one knows it";
        CONTROLLER_APPLIED = Gauge "ringmq_controller_last_applied" []: "Number of the last entry that this controller has applied";
    }
    Shard, Stats, BROKER {
        PROCESSOR_WATERMARK = Gauge "rocketmq_processor_watermark" [processor]: "Request processor watermark";
        BROKER_PERMISSION = Gauge "rocketmq_broker_permission" []: "Broker permission";
        TOPIC_NUMBER = Gauge "rocketmq_topic_number" []: "Active topic number";
        GROUP_NUMBER = Gauge "rocketmq_consumer_group_number" []: "Active subscription group number";
    }
    Shard, Request, BROKER {
        TOPIC_CREATE = Histogram "rocketmq_topic_create_execution_time_milliseconds" [invocation_status, is_system] of CREATE_MS: "The distribution of create topic time";
        GROUP_CREATE = Histogram "rocketmq_consumer_group_create_execution_time_milliseconds" [invocation_status] of CREATE_MS: "The distribution of create subscription time";
    }
    Shard, MessageStore, STORAGE {
        STORAGE_SIZE = Gauge "rocketmq_storage_size_bytes" []: "Broker storage size: the used space of the file system";
        FLUSH_BEHIND = Gauge "rocketmq_storage_flush_behind_bytes" []: "Broker flush behind bytes";
        DISPATCH_BEHIND = Gauge "rocketmq_storage_dispatch_behind_bytes" []: "Broker dispatch behind bytes";
        RESERVE_TIME = Gauge "rocketmq_storage_message_reserve_time_milliseconds" []: "Broker message reserve time: the age of the oldest message";
        TIMER_ENQUEUE_LAG = Gauge "rocketmq_timer_enqueue_lag" []: "Timer enqueue messages lag";
        TIMER_ENQUEUE_LATENCY = Gauge "rocketmq_timer_enqueue_latency_milliseconds" []: "Timer enqueue latency";
        TIMER_DEQUEUE_LAG = Gauge "rocketmq_timer_dequeue_lag" []: "Timer dequeue messages lag: all messages that wait for their time";
        TIMER_DEQUEUE_LATENCY = Gauge "rocketmq_timer_dequeue_latency_milliseconds" []: "Timer dequeue latency, in seconds";
    }
    Shard, Pop, BROKER {
        POP_REVIVE_LAG = Gauge "rocketmq_pop_revive_lag_milliseconds" [queue_id]: "The processing lag of revive topic, in check points";
        POP_REVIVE_LATENCY = Gauge "rocketmq_pop_revive_latency_milliseconds" [queue_id]: "The processing latency of revive topic";
        POP_OFFSET_BUFFER = Gauge "rocketmq_pop_offset_buffer_size" []: "Time number of buffered offset";
        POP_CHECKPOINT_BUFFER = Gauge "rocketmq_pop_checkpoint_buffer_size" []: "The number of buffered checkpoint";
    }
    Requests, Remoting, REMOTING {
        RPC_LATENCY = Histogram "rocketmq_rpc_latency_milliseconds" [request_code, response_code, is_long_polling, result] of RPC_MS: "Rpc latency";
    }
    MessagesIn, Request, BROKER {
        MESSAGES_IN = Counter "rocketmq_messages_in_total" [topic, message_type, is_system]: "Total number of incoming messages";
    }
    ThroughputIn, Request, BROKER {
        THROUGHPUT_IN = Counter "rocketmq_throughput_in_total" [topic, message_type, is_system]: "Total traffic of incoming messages";
    }
    MessageSize, Request, BROKER {
        MESSAGE_SIZE = Histogram "rocketmq_message_size" [topic, message_type, is_system] of SIZE_BYTES: "Incoming messages size";
    }
    Groups, Request, BROKER {
        MESSAGES_OUT = Counter "rocketmq_messages_out_total" [topic, consumer_group, is_system, is_retry]: "Total number of outgoing messages";
        THROUGHPUT_OUT = Counter "rocketmq_throughput_out_total" [topic, consumer_group, is_system, is_retry]: "Total traffic of outgoing messages";
    }
    Groups, LagAndDlq, BROKER {
        SEND_TO_DLQ = Counter "rocketmq_send_to_dlq_messages_total" [topic, consumer_group, is_system]: "Consumer send to DLQ messages";
    }
    Groups, Pop, BROKER {
        POP_REVIVE_IN = Counter "rocketmq_pop_revive_in_message_total" [topic, consumer_group, revive_message_type, put_status]: "Total number of put message to revive topic";
        POP_REVIVE_RETRY = Counter "rocketmq_pop_revive_retry_messages_total" [topic, consumer_group, put_status]: "Total number of put message to pop retry topic";
    }
    Transactions, Transaction, BROKER {
        COMMIT_MESSAGES = Counter "rocketmq_commit_messages_total" [topic]: "Total number of commit messages";
        ROLLBACK_MESSAGES = Counter "rocketmq_rollback_messages_total" [topic]: "Total number of rollback messages";
        FINISH_LATENCY = Histogram "rocketmq_finish_message_latency_milliseconds" [topic] of COMMIT_S: "Transaction finish latency, in seconds";
        HALF_MESSAGES = Gauge "rocketmq_half_messages" [topic]: "Half messages of all topics";
    }
    Timers, MessageStore, STORAGE {
        TIMING_MESSAGES = Gauge "rocketmq_timing_messages" [topic]: "Current message number in timing";
        TIMER_ENQUEUE = Counter "rocketmq_timer_enqueue_total" [topic]: "Total number of timer enqueue";
        TIMER_DEQUEUE = Counter "rocketmq_timer_dequeue_total" [topic]: "Total number of timer dequeue";
        DELAY_LATENCY = Histogram "rocketmq_delay_message_latency_seconds" [topic] of DELAY_S: "Timer message set latency distribution";
    }
    Lag, LagAndDlq, BROKER {
        LAG_MESSAGES = Gauge "rocketmq_consumer_lag_messages" [consumer_group, topic, is_retry, is_system]: "Consumer lag messages";
        LAG_LATENCY = Gauge "rocketmq_consumer_lag_latency_milliseconds" [consumer_group, topic, is_retry, is_system]: "Consumer lag time";
        INFLIGHT_MESSAGES = Gauge "rocketmq_consumer_inflight_messages" [consumer_group, topic, is_retry, is_system]: "Consumer inflight messages";
        QUEUEING_LATENCY = Gauge "rocketmq_consumer_queueing_latency_milliseconds" [consumer_group, topic, is_retry, is_system]: "Consumer queueing time";
        READY_MESSAGES = Gauge "rocketmq_consumer_ready_messages" [consumer_group, topic, is_retry, is_system]: "Consumer ready messages";
    }
    Connections, Connection, BROKER {
        PRODUCER_CONNECTIONS = Gauge "rocketmq_producer_connections" [language, version, protocol_type]: "Producer connections";
        CONSUMER_CONNECTIONS = Gauge "rocketmq_consumer_connections" [consumer_group, language, version, consume_mode, protocol_type, is_system]: "Consumer connections";
    }
    Shard, None, OURS {
        INFO = Gauge "ringmq_info" [version, rocketmq_version]: "1, with the version of ringmq and that of the RocketMQ whose behaviour it has";
        START_TIME = Gauge "ringmq_start_time_seconds" []: "When the shard began to serve in its present role, in seconds since 1970";
        COMMIT_SECONDS = Histogram "ringmq_send_seconds" [] of MICROS in SecondsFromMicros: "Time from the append of a message to its acknowledgement";
        SEND_STAGE_SECONDS = Histogram "ringmq_send_stage_seconds" [stage] of NANOS in SecondsFromNanos: "Of one send in 61, time of a stage: receive (its bytes wait for their turn and for room), decode (header and rules), append (into the log buffer), write_wait (until the log write that contains it begins), device (that write), release (from its end to the answer: queue entries, and copies where a send waits for them). After them comes ringmq_reply_send_seconds";
        LOG_WRITE_SECONDS = Histogram "ringmq_log_write_seconds" [] of MICROS in SecondsFromMicros: "Time of one write of the log to the device; with SYNC_FLUSH its flush included";
        LOG_WRITE_BYTES = Histogram "ringmq_log_write_bytes" [] of WRITE_BYTES: "Size of one write of the log: of a group commit";
        LOG_FLUSH_SECONDS = Histogram "ringmq_log_flush_seconds" [] of MICROS in SecondsFromMicros: "Time of one flush of the log beside its writes";
        REPLY_SECONDS = Histogram "ringmq_reply_send_seconds" [] of MICROS in SecondsFromMicros: "Time until the kernel has taken the replies of one connection that were collected in a turn";
        LOG_FIRST = Gauge "ringmq_log_first_position_bytes" []: "Position of the oldest message of the log";
        LOG_COMMITTED = Gauge "ringmq_log_committed_position_bytes" []: "Up to here the log is acknowledged and visible";
        LOG_NOT_COMMITTED = Gauge "ringmq_log_not_committed_bytes" []: "Bytes of the log that are not acknowledged yet";
        COLD_BLOCKS = Counter "ringmq_cold_blocks_total" []: "Blocks of the log that were read from the device for consumers";
        SCRUBBED = Gauge "ringmq_scrubbed_position_bytes" []: "Up to here the log was read through for damage";
        UNREADABLE = Gauge "ringmq_unreadable_messages" []: "Messages that were found to be unreadable";
        MISSING_BYTES = Gauge "ringmq_missing_at_start_bytes" []: "Bytes of the log that had been acknowledged and were not there at the start";
        MISSING_MESSAGES = Gauge "ringmq_missing_at_start_messages" []: "The same in messages";
        REMOVED_EARLY = Counter "ringmq_removed_early_messages_total" []: "Messages that were removed before fileReservedTime was over, for lack of space";
        FENCED = Gauge "ringmq_fenced" []: "1 if an error of the device has fenced the shard: nothing is acknowledged until its next start";
        FULL = Gauge "ringmq_disk_full" []: "1 if sends are refused for lack of space";
        DISK_TOTAL = Gauge "ringmq_disk_total_bytes" []: "Size of the file system with the log";
        DISK_FREE = Gauge "ringmq_disk_free_bytes" []: "Free space of the file system with the log";
        JOURNAL_BYTES = Gauge "ringmq_journal_bytes" []: "Size of the journal of queue entries since its table";
        JOURNAL_BEHIND = Gauge "ringmq_journal_behind_bytes" []: "Bytes of the committed log whose queue entries are not in the journal yet";
        STALLS = Counter "ringmq_stalls_total" [cause]: "Polls of a task above stallWarnMillis; cause own: the task worked or a system call blocked, foreign: something else had the core";
        STALL_MAX = Gauge "ringmq_stall_max_seconds" [cause]: "The longest of them";
        SENDS_REFUSED = Counter "ringmq_sends_refused_total" []: "Sends that were answered with an error";
        DENIED = Counter "ringmq_requests_denied_total" [reason]: "Requests that were denied by authentication or authorization; none while that is off";
        HANDSHAKES = Counter "ringmq_tls_handshakes_total" [kind]: "TLS handshakes that were done: full, or resumed with a session";
        REFUSED = Counter "ringmq_connections_refused_total" [reason]: "Connections that were closed for what they begin with, how their TLS handshake has failed, or a record that cannot be opened";
        PULLS = Counter "ringmq_pulls_total" [result]: "Pulls and pops that found messages, and that did not";
        TURNS = Counter "ringmq_turns_total" []: "Turns of the core's loop. With io_uring each is one call of io_uring_enter";
        TASK_SECONDS = Counter "ringmq_task_seconds_total" [task]: "Time that the tasks of a name have had the core, from the beginning to the end of each of their turns";
        TASK_POLLS = Counter "ringmq_task_polls_total" [task]: "Turns of the tasks of a name";
        OLDEST_SEND = Gauge "ringmq_oldest_send_seconds" []: "Time since the append of the oldest message that is not acknowledged yet";
        PARKED_PULLS = Gauge "ringmq_parked_pulls" []: "Pulls that wait for a message";
        CONNECTIONS = Gauge "ringmq_connections" []: "Open connections of clients";
        LIMIT_USED = Gauge "ringmq_limit_used" [limit]: "What is used of a limit; its bound is in ringmq_limit_bound";
        LIMIT_BOUND = Gauge "ringmq_limit_bound" [limit]: "The bound of a limit: of memory, or of a number";
        ROLE = Gauge "ringmq_role" [role]: "1 for the role that the shard has in its group: alone, master or slave";
        EPOCH = Gauge "ringmq_epoch" []: "Number of the present master, by the epochs of the log";
        REPLICAS = Gauge "ringmq_replicas" []: "Replicas that are connected to this master";
        IN_SYNC_REPLICAS = Gauge "ringmq_in_sync_replicas" []: "Those among them that are in sync, and the master itself";
        REPLICA_LAG = Gauge "ringmq_replica_lag_bytes" [replica]: "What the replica does not have of the master's log";
        REPLICA_RATE = Gauge "ringmq_replica_bytes_per_second" [replica]: "What goes to the replica";
        MASTER_CONNECTED = Gauge "ringmq_master_connected" []: "1 if this slave is connected to its master";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_legal_and_there_once() {
        let names: BTreeSet<_> = ALL.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), ALL.len());
        let is_legal = |name: &str| {
            let mut bytes = name.bytes();
            bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        for family in ALL {
            assert!(is_legal(family.name), "{}", family.name);
            // As RocketMQ writes it.
            let mut labels = family
                .labels
                .iter()
                .filter(|label| **label != "dLedger_operation_status");
            assert!(labels.all(|label| is_legal(label)));
            let is_counter = family.kind == Kind::Counter;
            assert_eq!(
                family.name.ends_with("_total"),
                is_counter,
                "{}",
                family.name
            );
            let has_bounds = family.kind == Kind::Histogram;
            assert_eq!(!family.bounds.is_empty(), has_bounds, "{}", family.name);
            assert!(family.bounds.is_sorted_by(|left, right| left < right));
            assert!(!family.help.contains(['\n', '\\']), "{}", family.name);
        }
    }

    #[test]
    fn every_family_is_in_a_section_that_is_exposed() {
        let of_shards = Section::OF_SHARDS;
        for family in ALL {
            // A controller's figures are one text, which has all of its families (`quorum/figures.rs`).
            let beside = [Section::Process, Section::NameServer, Section::Controller];
            let is_beside = beside.contains(&family.section);
            assert!(is_beside || of_shards.contains(&family.section));
        }
    }
}
