//! Which queues a client of a group is to consume, and how (RocketMQ: `QueryAssignmentProcessor`,
//! `MessageRequestModeManager`).

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::broker::{Broker, ConfigFile, Refusal};
use crate::message::{division, names};
use crate::wire::MessageQueue;
use crate::wire::Reply;
use crate::wire::assignment::{
    Assignment, Assignments, MessageRequestMode, QueryAssignment, request_mode,
};
use crate::wire::codes::response;
use crate::wire::heartbeat::MessageModel;

/// How groups get the messages of topics, where an administrator has said so; the file's shape is RocketMQ's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestModes {
    /// topic -> group
    #[serde(rename = "messageRequestModeMap")]
    modes: BTreeMap<String, Modes>,
}

/// Of one topic, by group.
pub type Modes = BTreeMap<String, MessageRequestMode>;

impl RequestModes {
    pub fn put(&mut self, topic: &str, group: &str, mode: MessageRequestMode) {
        match self.modes.get_mut(topic) {
            Some(groups) => drop(groups.insert(group.to_owned(), mode)),
            None => {
                let groups = Modes::from([(group.to_owned(), mode)]);
                self.modes.insert(topic.to_owned(), groups);
            }
        }
    }

    /// Of how many topics and groups they are. Some nanoseconds a topic.
    pub fn count(&self) -> usize {
        self.modes.values().map(Modes::len).sum()
    }

    /// Topics behind this one, in order.
    fn after(&self, topic: Option<&str>) -> impl Iterator<Item = (&str, &Modes)> {
        let from = topic.map_or(Bound::Unbounded, Bound::Excluded);
        let topics = self.modes.range::<str, _>((from, Bound::Unbounded));
        topics.map(|(topic, groups)| (&**topic, groups))
    }

    /// Those behind this topic and group, in order.
    pub fn rows_after<'a>(
        &'a self,
        last: Option<(&str, &str)>,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a MessageRequestMode)> {
        let known = last.and_then(|(topic, group)| {
            let (topic, groups) = self.modes.get_key_value(topic)?;
            Some((
                topic,
                groups.range::<str, _>((Bound::Excluded(group), Bound::Unbounded)),
            ))
        });
        let rest = known.into_iter().flat_map(|(topic, groups)| {
            groups.map(move |(group, mode)| (&**topic, &**group, mode))
        });
        let topics = self.after(last.map(|(topic, _)| topic));
        let behind = topics.flat_map(|(topic, groups)| {
            let groups = groups.iter();
            groups.map(move |(group, mode)| (topic, &**group, mode))
        });
        rest.chain(behind)
    }

    pub fn into_topics(self) -> std::collections::btree_map::IntoIter<String, Modes> {
        self.modes.into_iter()
    }

    pub fn find(&self, topic: &str, group: &str) -> Option<&MessageRequestMode> {
        self.modes.get(topic)?.get(group)
    }
}

impl Broker {
    pub(in crate::broker) fn update_request_mode(
        &mut self,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refusal> {
        let mode = MessageRequestMode::decode(body)?;
        if names::retry_group(&mode.topic).is_some() {
            let remark = "retry topic is not allowed to set mode";
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        if !self.topics.contains(&mode.topic) {
            let remark = format!("topic[{}] not exist", mode.topic);
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark));
        }
        if self
            .find_or_create_group(&mode.consumer_group, now_ms)
            .is_none()
        {
            let remark = format!("subscription group[{}] does not exist", mode.consumer_group);
            return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        if ![request_mode::PULL, request_mode::POP].contains(&&*mode.mode) {
            let remark = format!("mode is {:?}, allowed are PULL and POP", mode.mode);
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        let (topic, group) = (mode.topic.clone(), mode.consumer_group.clone());
        self.pops.modes.put(&topic, &group, mode);
        self.persist(ConfigFile::RequestModes);
        Ok(Reply::ok())
    }

    /// Divides `queues`, all that the topic has on all brokers; `None` if the topic is not known.
    pub fn assign(&self, query: &QueryAssignment, queues: Option<Vec<MessageQueue>>) -> Reply {
        let mode = self.request_mode(&query.topic, &query.consumer_group);
        let assigned = queues.and_then(|queues| self.divide(query, &mode, queues));
        let assignments = assigned.map(|mut queues| {
            queues.sort_unstable();
            queues.dedup();
            let assignments = queues.into_iter().map(|message_queue| Assignment {
                message_queue,
                mode: mode.mode.clone(),
            });
            assignments.collect()
        });
        Reply::json(&Assignments {
            message_queue_assignments: assignments,
        })
    }

    fn request_mode(&self, topic: &str, group: &str) -> MessageRequestMode {
        if let Some(mode) = self.pops.modes.find(topic, group) {
            return mode.clone();
        }
        // What a send-back brings to the retry topic is always pulled.
        let mode = match names::retry_group(topic) {
            Some(_) => request_mode::PULL,
            None => &self.config.pop.default_mode,
        };
        MessageRequestMode {
            consumer_group: group.into(),
            mode: mode.into(),
            pop_share_queue_num: self.config.pop.default_share_queues,
            topic: topic.into(),
        }
    }

    fn divide(
        &self,
        query: &QueryAssignment,
        mode: &MessageRequestMode,
        mut queues: Vec<MessageQueue>,
    ) -> Option<Vec<MessageQueue>> {
        if query.message_model == MessageModel::Broadcasting || !self.config.pop.divides_queues {
            return Some(queues);
        }
        let group = self.clients.consumers(&query.consumer_group)?;
        queues.sort_unstable();
        let strategy = Division::from_name(&query.strategy_name)?;
        let (members, place) = (group.client_count(), group.place_of(&query.client_id));
        match mode.mode == request_mode::POP {
            true => Some(divide_to_pop(
                strategy,
                &queues,
                members,
                place,
                mode.pop_share_queue_num,
            )),
            false => {
                Some(place.map_or_else(Vec::new, |place| strategy.share(&queues, members, place)))
            }
        }
    }
}

/// A member shares its queues with the `shared` members behind it.
fn divide_to_pop(
    strategy: Division,
    queues: &[MessageQueue],
    members: usize,
    place: Option<usize>,
    shared: i32,
) -> Vec<MessageQueue> {
    let shared = usize::try_from(shared).unwrap_or(0);
    if shared == 0 || shared + 1 >= members {
        let any = queues.iter().map(|queue| MessageQueue {
            queue_id: -1,
            ..queue.clone()
        });
        return any.collect();
    }
    let Some(place) = place else {
        return Vec::new();
    };
    if members > queues.len() {
        return queues.iter().cycle().skip(place).take(1).cloned().collect();
    }
    let places = (place..=place + shared).map(|place| place % members);
    places
        .flat_map(|place| strategy.share(queues, members, place))
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Division {
    Averagely,
    Circle,
}

impl Division {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Averagely),
            "AVG_BY_CIRCLE" => Some(Self::Circle),
            _ => None,
        }
    }

    /// The share of the member at `place` of `members`.
    fn share(self, queues: &[MessageQueue], members: usize, place: usize) -> Vec<MessageQueue> {
        match self {
            Self::Averagely => {
                let mine = division::averagely(queues.len(), members, place);
                queues.get(mine).unwrap_or_default().to_vec()
            }
            Self::Circle => queues
                .iter()
                .skip(place)
                .step_by(members)
                .cloned()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        let queue = |queue_id| MessageQueue {
            broker_name: "b".into(),
            queue_id,
            topic: "T".into(),
        };
        (0..count).map(queue).collect()
    }

    fn ids(queues: Vec<MessageQueue>) -> Vec<i32> {
        queues.into_iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn shares() {
        let of = |strategy: Division, place| ids(strategy.share(&queues(8), 3, place));
        assert_eq!(of(Division::Averagely, 0), [0, 1, 2]);
        assert_eq!(of(Division::Averagely, 2), [6, 7]);
        assert_eq!(of(Division::Circle, 1), [1, 4, 7]);
        assert!(Division::Averagely.share(&queues(1), 3, 2).is_empty());
    }

    #[test]
    fn pops_share_queues() {
        let members = 4;
        let pop = |place, shared| {
            let queues = divide_to_pop(Division::Averagely, &queues(4), members, place, shared);
            ids(queues)
        };
        assert_eq!(pop(Some(0), -1), [-1; 4]);
        assert_eq!(pop(Some(0), 3), [-1; 4]);
        assert_eq!(pop(Some(3), 1), [3, 0]);
        assert!(pop(None, 1).is_empty());
        let few = divide_to_pop(Division::Averagely, &queues(3), members, Some(3), 1);
        assert_eq!(ids(few), [0]);
    }

    proptest! {
        #[test]
        fn every_queue_has_one_member(count in 0..40i32, members in 1..12usize) {
            for strategy in [Division::Averagely, Division::Circle] {
                let shares = (0..members).flat_map(|place| strategy.share(&queues(count), members, place));
                let mut all = ids(shares.collect());
                all.sort_unstable();
                prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
            }
        }
    }
}
