//! The rules, one small test each, on virtual time.

mod pulls;
mod sends;

use super::*;
use crate::wire::Language;
use crate::wire::heartbeat::{ConsumerData, SubscriptionData};
use crate::wire::topic::TopicConfig;

/// A broker with topic `T` of four queues.
pub(crate) fn broker() -> Broker {
    broker_with(BrokerConfig::default())
}

pub(crate) fn broker_with(config: BrokerConfig) -> Broker {
    let mut broker = Broker::new(config, 0);
    broker.topics.put(topic("T", 4), 0);
    broker
}

pub(crate) fn topic(name: &str, queue_nums: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        read_queue_nums: queue_nums,
        write_queue_nums: queue_nums,
        ..TopicConfig::default()
    }
}

pub(crate) fn peer(conn: u64) -> Peer {
    Peer {
        conn: ConnId(conn),
        addr: ([127, 0, 0, 1], 40_000).into(),
        language: Language::Java,
        version: 500,
    }
}

pub(crate) fn consumer(group: &str, topic: &str, expression: &str) -> ConsumerData {
    ConsumerData {
        group_name: group.into(),
        subscription_data_set: vec![SubscriptionData {
            topic: topic.into(),
            sub_string: expression.into(),
            sub_version: 1,
            expression_type: "TAG".into(),
            ..SubscriptionData::default()
        }],
        ..ConsumerData::default()
    }
}

pub(crate) fn effects(broker: &mut Broker) -> Vec<Effect> {
    let mut effects = Vec::new();
    broker.take_effects(&mut effects);
    effects
}
