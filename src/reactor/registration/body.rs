//! The bodies of registrations, put together from slices of the topics.

use crc32fast::Hasher;

use crate::broker::Broker;
use crate::broker::perm;
use crate::wire::register::without_sign;
use crate::wire::route::{QueueData, TopicRouteData};
use crate::wire::topic::TopicConfig;
use crate::wire::{DataVersion, loose_json};

/// What stands in front of the topics. Their version follows them, so that a body of 16 MiB is made without a copy.
const BEGIN: &[u8] =
    br#"{"filterServerList":[],"topicConfigSerializeWrapper":{"topicConfigTable":{"#;

/// The body of a registration: of the topics' members of a JSON object, and what is around them.
#[derive(Default)]
pub(super) struct Topics {
    body: Vec<u8>,
    /// Of the body so far.
    crc: Hasher,
    /// Behind which topic to go on.
    last: Option<String>,
}

impl Topics {
    pub fn len_bytes(&self) -> usize {
        self.body.len()
    }

    /// Adds up to `most` topics behind the last one; whether there are more.
    pub fn add(&mut self, broker: &Broker, most: usize) -> bool {
        let begin = self.body.len();
        if begin == 0 {
            self.body.extend_from_slice(BEGIN);
        }
        let before = self.last.take();
        let mut topics = broker.topics().after(before.as_deref()).peekable();
        let mut last = None;
        for config in topics.by_ref().take(most) {
            if self.body.last() != Some(&b'{') {
                self.body.push(b',');
            }
            let name = loose_json::to_vec(&config.topic_name);
            self.body.extend_from_slice(&name);
            self.body.push(b':');
            let config = as_allowed(broker, config);
            self.body.extend_from_slice(&loose_json::to_vec(&config));
            last = Some(config.topic_name);
        }
        let has_more = topics.peek().is_some();
        drop(topics);
        self.crc.update(&self.body[begin..]);
        self.last = last.or(before);
        has_more
    }

    /// The body of REGISTER_BROKER with the topics since the last time, and its CRC.
    pub fn take_body(&mut self, version: DataVersion) -> (Vec<u8>, i32) {
        let version = loose_json::to_vec(&version);
        let none = loose_json::to_vec(&DataVersion::default());
        let begin = self.body.len();
        for part in [
            br#"},"dataVersion":"#,
            &*version,
            br#","mappingDataVersion":"#,
            &*none,
            br#","topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}}"#,
        ] {
            self.body.extend_from_slice(part);
        }
        self.crc.update(&self.body[begin..]);
        let crc = std::mem::take(&mut self.crc).finalize();
        (std::mem::take(&mut self.body), without_sign(crc))
    }
}

/// As RocketMQ does: what the broker does not allow, no topic of it does (`registerBrokerAll`).
fn as_allowed(broker: &Broker, config: &TopicConfig) -> TopicConfig {
    let allowed = broker.config().broker_permission;
    TopicConfig {
        perm: match perm::is_readable(allowed) && perm::is_writeable(allowed) {
            true => config.perm,
            false => config.perm & allowed,
        },
        ..config.clone()
    }
}

/// The body of REGISTER_TOPIC_IN_NAMESRV: one topic's queues on this broker. `None`: it was deleted.
pub(super) fn of_topic(broker: &Broker, topic: &str) -> Option<Vec<u8>> {
    let config = as_allowed(broker, &broker.topics().find(topic)?.config);
    let route = TopicRouteData {
        queue_datas: vec![QueueData {
            broker_name: broker.config().broker_name.clone(),
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            topic_sys_flag: config.topic_sys_flag,
            write_queue_nums: config.write_queue_nums,
        }],
        ..TopicRouteData::default()
    };
    Some(loose_json::to_vec(&route))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerConfig;
    use crate::wire::register::{RegisterBrokerBody, body_crc};

    #[test]
    fn slices_make_the_whole() {
        let config = BrokerConfig {
            broker_permission: perm::READ,
            ..BrokerConfig::default()
        };
        let mut broker = Broker::new(config, 0);
        broker.adopt_topic("%RETRY%g\"", 1, 1);
        let mut topics = Topics::default();
        let mut parts = 1;
        let mut bodies = vec![];
        while topics.add(&broker, 2) {
            parts += 1;
            if parts == 3 {
                bodies.push(topics.take_body(broker.topics().version()));
            }
        }
        bodies.push(topics.take_body(broker.topics().version()));
        assert_eq!(parts, broker.topics().len().div_ceil(2));
        let decoded = bodies.iter().map(|(body, crc)| {
            assert_eq!(body_crc(body), *crc);
            RegisterBrokerBody::decode(body, 513).unwrap()
        });
        let mut all = std::collections::BTreeMap::new();
        for body in decoded {
            assert_eq!(body.topics.data_version, broker.topics().version());
            all.extend(body.topics.topic_config_table);
        }
        let expected = broker.topics().sorted();
        assert_eq!(all.len(), expected.len());
        for config in expected {
            assert_eq!(all[&config.topic_name], as_allowed(&broker, config));
            assert_eq!(all[&config.topic_name].perm & perm::WRITE, 0);
        }
    }
}
