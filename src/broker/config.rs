//! The configuration of one shard's broker, in the form in which the rules use it.
//!
//! Names, ranges and defaults are those of the rows in [`crate::config`]; here is only where each value goes.

use std::net::SocketAddr;

use super::admission::AdmissionLimits;
use super::pop::config::PopConfig;
use crate::config::Config;
use crate::store::Retention;

/// The settings of one shard's broker.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// In routes, statistics and lock keys.
    pub broker_name: String,
    pub cluster_name: String,
    /// What clients dial; also goes into remarks and message ids.
    pub advertise: SocketAddr,
    /// What clients dial while it is the master, if not that.
    pub master_address: Option<SocketAddr>,
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
    /// The same as in the store, so that it can be shown and changed.
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
    /// Whether members of a group get a request when it changes.
    pub notify_consumer_ids_changed: bool,
    /// Members of a group are notified of each change of it; off: of all changes of 15 s at once.
    pub notify_consumer_changes_at_once: bool,
    /// A rewind is carried out by the broker: the answer to the group's next pull of each queue has it. Off: by the group's clients,
    /// which have to be online for it.
    pub server_side_reset: bool,
    /// Replies to requests are stored, besides being sent to the requester.
    pub store_replies: bool,
    /// Four missed heartbeats.
    pub client_expiry_ms: u64,
    /// Three missed renewals of the client's 20 s.
    pub lock_expiry_ms: u64,
    pub pop: PopConfig,
    pub admission: AdmissionLimits,
    /// What all of the above was made from, and what requests 25 and 26 change and show.
    pub settings: Config,
    /// Seed of the choice where a client leaves the queue open, so that a run can be repeated.
    pub seed: u64,
}

/// `field = value`, where the value is a function of the settings.
macro_rules! fields {
    ($($($field:ident).+ = $value:expr;)*) => {
        impl BrokerConfig {
            fn assign(&mut self) {
                let settings = &self.settings;
                $(self.$($field).+ = of(settings, $value);)*
            }

            /// Takes over what differs in the changed settings, and nothing else.
            pub fn follow(&mut self, settings: Config) {
                let before = Self::of(self.settings.clone());
                let after = Self::of(settings);
                $(
                    if before.$($field).+ != after.$($field).+ {
                        self.$($field).+ = after.$($field).+;
                    }
                )*
                self.settings = after.settings;
            }
        }
    };
}

fields! {
    broker_name = |settings| settings.broker_name.clone();
    cluster_name = |settings| settings.cluster_name.clone();
    advertise = |settings| SocketAddr::new(settings.advertise, settings.listen_port);
    master_address = |settings| settings.master_address;
    region_id = |settings| settings.region_id.clone();
    trace_on = |settings| settings.trace_on;
    broker_permission = |settings| settings.broker_permission;
    auto_create_topic = |settings| settings.auto_create_topic;
    default_topic_queue_nums = |settings| settings.default_topic_queues;
    auto_create_group = |settings| settings.auto_create_group;
    cluster_topic = |settings| settings.cluster_topic;
    broker_topic = |settings| settings.broker_topic;
    trace_topic = |settings| settings.trace_topic;
    trace_topic_name = |settings| settings.trace_topic_name.clone();
    max_message_bytes = |settings| settings.max_message_bytes as usize;
    delay_levels_ms = |settings| settings.delay_levels_ms.clone();
    retention.reserved_ms = |settings| u64::from(settings.file_reserved_hours) * HOUR_MS;
    retention.delete_hours = |settings| settings.delete_when.clone();
    retention.max_used_percent = |settings| settings.disk_max_used_percent;
    retention.forcible_percent = |settings| settings.disk_forcible_percent;
    retention.warning_percent = |settings| settings.disk_warning_percent;
    retention.clean_forcibly = |settings| settings.clean_forcibly;
    retention.max_log_bytes = |settings| settings.max_log_bytes;
    retention.interval_ms = |settings| settings.clean_interval_ms;
    transaction_check_interval_ms = |settings| settings.transaction_check_interval_ms;
    transaction_timeout_ms = |settings| settings.transaction_timeout_ms;
    transaction_check_max = |settings| settings.transaction_check_max;
    transaction_op_max_bytes = |settings| settings.transaction_op_max_bytes as usize;
    transaction_op_batch_interval_ms = |settings| settings.transaction_op_batch_interval_ms;
    reject_transaction_message = |settings| settings.reject_transaction_message;
    timer_wheel = |settings| settings.timer_wheel;
    timer_max_delay_s = |settings| settings.timer_max_delay_s;
    timer_roll_window_ms = timer_roll_window_ms;
    timer_memory_entries = |settings| settings.timer_memory_entries as usize;
    recall = |settings| settings.recall;
    recall_when_not_writeable = |settings| settings.recall_when_not_writeable;
    property_filter = |settings| settings.property_filter;
    filter_support_retry = |settings| settings.filter_support_retry;
    lite_pull = |settings| settings.lite_pull;
    long_polling = |settings| settings.long_polling;
    short_polling_ms = |settings| settings.short_polling_ms;
    max_pull_messages = |settings| settings.max_pull_messages;
    max_pull_bytes = |settings| settings.max_pull_bytes as u32;
    max_query_messages = |settings| settings.max_query_messages;
    default_query_messages = |settings| settings.default_query_messages;
    notify_consumer_ids_changed = |settings| settings.notify_consumer_ids_changed;
    notify_consumer_changes_at_once = |settings| settings.notify_consumer_changes_at_once;
    server_side_reset = |settings| settings.server_side_reset;
    store_replies = |settings| settings.store_replies;
    client_expiry_ms = |settings| settings.client_expiry_ms;
    pop.retry_first_percent = |settings| settings.pop_retry_first_percent;
    pop.retry_topic_v2 = |settings| settings.retry_topic_v2;
    pop.max_polls_of_queue = |settings| settings.pop_polls_of_queue as usize;
    pop.max_polls = |settings| settings.pop_polls as usize;
    pop.limits_in_flight = |settings| settings.pop_limits_in_flight;
    pop.in_flight_limit = |settings| settings.pop_in_flight_limit;
    pop.shows_retry_topic = |settings| settings.pop_shows_retry_topic;
    pop.divides_queues = |settings| settings.divides_queues;
    pop.default_mode = |settings| settings.request_mode.clone();
    pop.default_share_queues = |settings| settings.pop_share_queues;
    admission.wait_ms = |settings| settings.send_wait_limit_ms;
    admission.stall_ms = |settings| settings.stall_limit_ms;
}

fn of<T>(settings: &Config, value: fn(&Config) -> T) -> T {
    value(settings)
}

const HOUR_MS: u64 = 3_600_000;

/// Messages kept for less than twice the window are written anew sooner.
fn timer_roll_window_ms(settings: &Config) -> u64 {
    let half_reserved_ms = u64::from(settings.file_reserved_hours) * HOUR_MS / 2;
    (settings.timer_roll_window_s * 1000).min(half_reserved_ms.max(60_000))
}

impl BrokerConfig {
    /// `settings` are those of one shard, see [`Config::of_shard`].
    pub fn of(settings: Config) -> Self {
        let mut config = Self {
            broker_name: String::new(),
            cluster_name: String::new(),
            advertise: SocketAddr::from(([127, 0, 0, 1], 0)),
            master_address: None,
            region_id: String::new(),
            trace_on: false,
            broker_permission: 0,
            auto_create_topic: false,
            default_topic_queue_nums: 0,
            auto_create_group: false,
            cluster_topic: false,
            broker_topic: false,
            trace_topic: false,
            trace_topic_name: String::new(),
            max_message_bytes: 0,
            delay_levels_ms: Vec::new(),
            retention: Retention::default(),
            transaction_check_interval_ms: 0,
            transaction_timeout_ms: 0,
            transaction_check_max: 0,
            transaction_op_max_bytes: 0,
            transaction_op_batch_interval_ms: 0,
            reject_transaction_message: false,
            timer_wheel: false,
            timer_max_delay_s: 0,
            timer_roll_window_ms: 0,
            timer_memory_entries: 0,
            recall: false,
            recall_when_not_writeable: false,
            property_filter: false,
            filter_support_retry: false,
            lite_pull: false,
            long_polling: false,
            short_polling_ms: 0,
            max_pull_messages: 0,
            max_pull_bytes: 0,
            max_query_messages: 0,
            default_query_messages: 0,
            notify_consumer_ids_changed: false,
            notify_consumer_changes_at_once: false,
            server_side_reset: false,
            store_replies: false,
            client_expiry_ms: 0,
            lock_expiry_ms: 60_000,
            pop: PopConfig::default(),
            admission: AdmissionLimits::default(),
            seed: 1,
            settings,
        };
        config.assign();
        config
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self::of(Config::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test may have set fields by themselves: a change of another setting leaves them alone.
    #[test]
    fn only_what_changed_is_taken_over() {
        let mut config = BrokerConfig {
            max_pull_messages: 7,
            retention: Retention {
                interval_ms: 5,
                ..Retention::default()
            },
            ..BrokerConfig::default()
        };
        let mut settings = config.settings.clone();
        settings.change("fileReservedTime", "2").unwrap();
        settings.change("popFromRetryProbability", "3").unwrap();
        config.follow(settings);
        assert_eq!(config.retention.reserved_ms, 2 * HOUR_MS);
        assert_eq!(
            (config.retention.interval_ms, config.max_pull_messages),
            (5, 7)
        );
        assert_eq!(config.pop.retry_first_percent, 3);
        assert_eq!(config.timer_roll_window_ms, HOUR_MS);
    }
}
