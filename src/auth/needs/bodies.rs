//! Needs of requests that name their resources in the body, decoded as their handlers do it.

use crate::auth::resource::{Actions, Kind};
use crate::wire::BodyError;
use crate::wire::assignment::{MessageRequestMode, QueryAssignment};
use crate::wire::consumer::CheckClientConfig;
use crate::wire::group::{SubscriptionGroupConfig, SubscriptionGroupList};
use crate::wire::heartbeat::HeartbeatData;
use crate::wire::lock::LockBatch;
use crate::wire::loose_json;
use crate::wire::pop::BatchAckRequest;
use crate::wire::topic::TopicConfigList;

type Resources = Vec<(Kind, String, Actions)>;
pub type OfBody = fn(&[u8]) -> Result<Resources, BodyError>;

const SUB: Actions = Actions::SUB;

/// Of consumers. Producers may be registered freely, as at RocketMQ: what they send is checked.
pub fn heartbeat(body: &[u8]) -> Result<Resources, BodyError> {
    let consumers = HeartbeatData::decode(body)?.consumer_data_set.into_iter();
    let of_consumers = consumers.flat_map(|consumer| {
        let subscribed = consumer.subscription_data_set.into_iter();
        let topics = subscribed.map(|subscribed| subscribed.topic);
        let topics = topics.filter(|topic| !topic.is_empty());
        let group = (Kind::Group, consumer.group_name, SUB);
        std::iter::once(group).chain(topics.map(|topic| (Kind::Topic, topic, SUB)))
    });
    Ok(of_consumers.collect())
}

pub fn batch_ack(body: &[u8]) -> Result<Resources, BodyError> {
    let acks = BatchAckRequest::decode(body)?.acks.into_iter();
    let both = acks.flat_map(|ack| {
        [
            (Kind::Topic, ack.topic, SUB),
            (Kind::Group, ack.consumer_group, SUB),
        ]
    });
    Ok(both.collect())
}

pub fn assignment(body: &[u8]) -> Result<Resources, BodyError> {
    let asked = QueryAssignment::decode(body)?;
    Ok(vec![
        (Kind::Topic, asked.topic, SUB),
        (Kind::Group, asked.consumer_group, SUB),
    ])
}

pub fn lock(body: &[u8]) -> Result<Resources, BodyError> {
    let asked = LockBatch::decode(body)?;
    let topics = asked.mq_set.into_iter().map(|queue| queue.topic);
    let topics = topics.map(|topic| (Kind::Topic, topic, SUB));
    let group = match asked.consumer_group.is_empty() {
        true => "null".into(),
        false => asked.consumer_group,
    };
    let group = (Kind::Group, group, SUB);
    Ok(std::iter::once(group).chain(topics).collect())
}

pub fn client_config(body: &[u8]) -> Result<Resources, BodyError> {
    let asked = CheckClientConfig::decode(body)?;
    let topic = asked.subscription_data.map(|subscribed| subscribed.topic);
    let topic = topic.map(|topic| (Kind::Topic, topic, SUB));
    let group = (Kind::Group, asked.group, SUB);
    Ok(topic.into_iter().chain([group]).collect())
}

pub fn topics(body: &[u8]) -> Result<Resources, BodyError> {
    let list: TopicConfigList = loose_json::from_slice(body)?;
    let topics = list.topic_config_list.into_iter();
    let topics = topics.map(|topic| (Kind::Topic, topic.topic_name, Actions::CREATE));
    Ok(topics.collect())
}

pub fn group(body: &[u8]) -> Result<Resources, BodyError> {
    let group = SubscriptionGroupConfig::decode(body)?;
    Ok(vec![(Kind::Group, group.group_name, Actions::CREATE)])
}

pub fn groups(body: &[u8]) -> Result<Resources, BodyError> {
    let list: SubscriptionGroupList = loose_json::from_slice(body)?;
    let groups = list.group_config_list.into_iter();
    let groups = groups.map(|group| (Kind::Group, group.group_name, Actions::CREATE));
    Ok(groups.collect())
}

pub fn request_mode(body: &[u8]) -> Result<Resources, BodyError> {
    let mode = MessageRequestMode::decode(body)?;
    Ok(vec![
        (Kind::Topic, mode.topic, SUB),
        (Kind::Group, mode.consumer_group, Actions::UPDATE),
    ])
}
