//! The route of a topic: its queues and the addresses of their brokers.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::route::{BrokerData, QueueData, TopicRouteData};
use crate::wire::topic::{TopicConfig, perm};

/// The brokerId of a master; replicas count from 1.
pub const MASTER_ID: i64 = 0;

/// What a broker has of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    pub read: i32,
    pub write: i32,
    pub perm: i32,
    pub topic_sys_flag: i32,
}

/// The brokers of one name: a master and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerGroup {
    pub cluster: String,
    pub addrs: BTreeMap<i64, String>,
    pub acting_master: bool,
    pub zone: Option<String>,
}

/// A topic's queues and brokers, by brokerName.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    pub queues: BTreeMap<String, Queues>,
    pub brokers: BTreeMap<String, BrokerGroup>,
}

impl From<&TopicConfig> for Queues {
    fn from(config: &TopicConfig) -> Self {
        Self {
            read: config.read_queue_nums,
            write: config.write_queue_nums,
            perm: config.perm,
            topic_sys_flag: config.topic_sys_flag,
        }
    }
}

impl From<&QueueData> for Queues {
    fn from(data: &QueueData) -> Self {
        Self {
            read: data.read_queue_nums,
            write: data.write_queue_nums,
            perm: data.perm,
            topic_sys_flag: data.topic_sys_flag,
        }
    }
}

impl BrokerGroup {
    pub(super) fn data(&self, broker_name: &str) -> BrokerData {
        BrokerData {
            broker_addrs: self.addrs.clone(),
            broker_name: broker_name.to_owned(),
            cluster: self.cluster.clone(),
            enable_acting_master: self.acting_master,
            zone_name: self.zone.clone(),
        }
    }

    pub(super) fn holds(&self, addr: &str) -> bool {
        self.addrs.values().any(|known| known == addr)
    }
}

impl Route {
    pub(super) fn into_data(self, order_topic_conf: Option<String>) -> TopicRouteData {
        let brokers = self.brokers.iter();
        let queues = self.queues.into_iter();
        TopicRouteData {
            broker_datas: brokers.map(|(name, group)| group.data(name)).collect(),
            order_topic_conf,
            queue_datas: queues
                .map(|(broker_name, queues)| QueueData {
                    broker_name,
                    perm: queues.perm,
                    read_queue_nums: queues.read,
                    topic_sys_flag: queues.topic_sys_flag,
                    write_queue_nums: queues.write,
                })
                .collect(),
            ..TopicRouteData::default()
        }
    }

    /// If there is no master and its topics are read-only, the lowest replica is shown in its place, so that clients that
    /// only talk to id 0 can go on with locks and offsets.
    pub fn with_acting_masters(mut self) -> Self {
        for (broker_name, group) in &mut self.brokers {
            let read_only = self
                .queues
                .get(broker_name)
                .is_some_and(|queues| !perm::is_writeable(queues.perm));
            if group.acting_master
                && read_only
                && !group.addrs.contains_key(&MASTER_ID)
                && let Some((_, addr)) = group.addrs.pop_first()
            {
                group.addrs.insert(MASTER_ID, addr);
            }
        }
        self
    }

    /// Only brokers of the client's zone; one without a master stays, as its consumers have nowhere else to go.
    pub fn of_zone(mut self, zone: &str) -> Self {
        let stays = |group: &BrokerGroup| {
            let is_near = group
                .zone
                .as_deref()
                .is_some_and(|own| own.eq_ignore_ascii_case(zone));
            is_near || !group.addrs.contains_key(&MASTER_ID)
        };
        let removed: BTreeSet<String> = self
            .brokers
            .iter()
            .filter(|(_, group)| !stays(group))
            .map(|(name, _)| name.clone())
            .collect();
        self.brokers.retain(|name, _| !removed.contains(name));
        self.queues.retain(|name, _| !removed.contains(name));
        self
    }
}
