//! Topics and groups that are there from the start (RocketMQ: `TopicConfigManager.init`, `SubscriptionGroupManager.init`).

use super::config::BrokerConfig;
use super::perm;
use crate::message::names::SYSTEM_PREFIX;
use crate::message::{Record, properties};
use crate::wire::topic::TopicConfig;

/// Topics are created through this one.
pub const TEMPLATE: &str = "TBW102";
/// Messages that wait for their time, a queue for each delay level.
pub use crate::store::SCHEDULE_TOPIC as SCHEDULE;
pub const SCHEDULE_QUEUES: u32 = 18;
/// Messages that wait for a time of their own.
pub const TIMER: &str = "rmq_sys_wheel_timer";
pub const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
pub const OP_HALF: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";

/// The topic that a message is for: one that waits for its time or for the end of its transaction is in another one until then.
pub fn topic_of<'a>(record: &Record<'a>) -> &'a str {
    let waits = [HALF, SCHEDULE, TIMER].contains(&record.topic);
    let real = waits.then(|| properties::find(record.properties, properties::REAL_TOPIC));
    real.flatten().unwrap_or(record.topic)
}

const SELF_TEST: &str = "SELF_TEST_TOPIC";
const OFFSET_MOVED: &str = "OFFSET_MOVED_EVENT";
/// Half messages about which no producer is asked any more.
pub const TRANS_CHECK_MAX_TIME: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
const BENCHMARK: &str = "BenchmarkTest";
pub const REVIVE_QUEUES: u32 = 8;

/// Always reserved, whether there or not.
const RESERVED: &[&str] = &[
    TEMPLATE,
    SCHEDULE,
    BENCHMARK,
    HALF,
    "RMQ_SYS_TRACE_TOPIC",
    OP_HALF,
    TRANS_CHECK_MAX_TIME,
    SELF_TEST,
    OFFSET_MOVED,
    "CHECKPOINT_TOPIC",
];

/// Its offsets say how far half messages have been dealt with.
pub const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";

/// As whose consumption a delivery of a delayed message is counted.
pub const SCHEDULE_GROUP: &str = "SCHEDULE_CONSUMER";

/// Groups of RocketMQ's own tools.
pub const GROUPS: &[&str] = &[
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    TRANSACTION_GROUP,
];

/// The topics to start with.
pub fn at_start(config: &BrokerConfig) -> Vec<TopicConfig> {
    let inherited = |is_usable| match is_usable {
        true => perm::INHERIT | perm::READ | perm::WRITE,
        false => perm::INHERIT,
    };
    let both = perm::READ | perm::WRITE;
    let cluster = &config.cluster_name;
    let broker = &config.broker_name;
    let mut topics = vec![
        topic(SELF_TEST, 1, both),
        topic(BENCHMARK, 1024, both),
        topic(cluster, 16, inherited(config.cluster_topic)),
        topic(broker, 1, inherited(config.broker_topic)),
        topic(OFFSET_MOVED, 1, both),
        topic(SCHEDULE, SCHEDULE_QUEUES as i32, both),
        topic(&format!("{cluster}_REPLY_TOPIC"), 1, both),
        topic(
            &format!("{SYSTEM_PREFIX}REVIVE_LOG_{cluster}"),
            REVIVE_QUEUES as i32,
            both,
        ),
        topic(
            &format!("{SYSTEM_PREFIX}SYNC_BROKER_MEMBER_{broker}"),
            1,
            perm::INHERIT,
        ),
        topic(HALF, 1, both),
        topic(OP_HALF, 1, both),
        topic(TIMER, 1, both),
    ];
    if config.auto_create_topic {
        let queues = config.default_topic_queue_nums as i32;
        topics.push(topic(TEMPLATE, queues, perm::INHERIT | both));
    }
    if config.trace_topic {
        topics.push(topic(&config.trace_topic_name, 1, both));
    }
    topics
}

/// Whether administrators may not change or delete it.
pub fn is_system(topic: &str, config: &BrokerConfig) -> bool {
    RESERVED.contains(&topic)
        || topic.starts_with(SYSTEM_PREFIX)
        || topic == config.cluster_name
        || topic == config.broker_name
        || topic
            .strip_suffix("_REPLY_TOPIC")
            .is_some_and(|cluster| cluster == config.cluster_name)
}

/// All names that [`is_system`] knows, for tools.
pub fn names(config: &BrokerConfig) -> Vec<String> {
    let mut names: Vec<String> = at_start(config)
        .into_iter()
        .map(|topic| topic.topic_name)
        .chain(RESERVED.iter().map(|name| (*name).to_owned()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether the broker alone writes to it.
pub fn is_closed_to_clients(topic: &str) -> bool {
    matches!(
        topic,
        SCHEDULE | TIMER | HALF | OP_HALF | TRANS_CHECK_MAX_TIME | SELF_TEST | OFFSET_MOVED
    )
}

fn topic(name: &str, queue_nums: i32, perm: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        read_queue_nums: queue_nums,
        write_queue_nums: queue_nums,
        perm,
        ..TopicConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_of_rocketmq() {
        let topics = at_start(&BrokerConfig::default());
        let queues = |name: &str| {
            let topic = topics.iter().find(|topic| topic.topic_name == name);
            topic.map(|topic| (topic.write_queue_nums, topic.perm))
        };
        assert_eq!(queues("TBW102"), Some((8, 7)));
        assert_eq!(queues("SCHEDULE_TOPIC_XXXX"), Some((18, 6)));
        assert_eq!(queues("DefaultCluster"), Some((16, 7)));
        assert_eq!(queues("broker-a"), Some((1, 7)));
        assert_eq!(queues("DefaultCluster_REPLY_TOPIC"), Some((1, 6)));
        assert_eq!(queues("rmq_sys_SYNC_BROKER_MEMBER_broker-a"), Some((1, 1)));
        assert_eq!(queues("RMQ_SYS_TRACE_TOPIC"), None);
        let config = BrokerConfig::default();
        assert!(
            topics
                .iter()
                .all(|topic| is_system(&topic.topic_name, &config))
        );
        assert!(!is_system("T", &config) && !is_system("Other_REPLY_TOPIC", &config));
    }

    #[test]
    fn some_are_closed() {
        assert!(is_closed_to_clients(SCHEDULE) && !is_closed_to_clients(BENCHMARK));
    }
}
