//! What clients ask: routes, the cluster's shape, lists of topics.

use super::kv_config::ORDER_TOPIC_CONFIG;
use super::reply::{Refused, Reply, required, switch};
use super::{NameServer, bodies};
use crate::wire::codes::response;
use crate::wire::header::Header;

/// RocketMQ appends where to read more to what a person will see first.
const FURTHER_DETAILS: &str =
    "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// From here on (V4_9_4) clients read standard JSON. Older Go clients take the route's text apart by hand and need the keys of
/// brokerAddrs unquoted.
const STANDARD_JSON_VERSION: i32 = 401;

/// Bits of a topic's system flag.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 2;

impl NameServer {
    pub(super) fn route(&self, header: &Header<'_>) -> Result<Reply, Refused> {
        let ext = &header.ext;
        let topic = required(ext, "topic")?;
        // Clients take exactly this code for "create it through TBW102", and keep their old route on any other.
        let mut route = self.routes.route(topic).ok_or_else(|| {
            let remark = format!(
                "No topic route info in name server for the topic: {topic}{FURTHER_DETAILS}"
            );
            Refused::new(response::TOPIC_NOT_EXIST, remark)
        })?;
        if self.settings.support_acting_master {
            route = route.with_acting_masters();
        }
        if switch(ext, "__ZONE_MODE") == Some(true)
            && let Some(zone) = ext
                .find("__ZONE_NAME")
                .filter(|zone| !zone.trim().is_empty())
        {
            route = route.of_zone(zone);
        }
        let wants_order = self.settings.order_message_enable;
        let order = self
            .kv
            .find(ORDER_TOPIC_CONFIG, topic)
            .filter(|_| wants_order);
        let is_standard = header.version >= STANDARD_JSON_VERSION
            || switch(ext, "acceptStandardJsonOnly") == Some(true);
        Ok(Reply::success().with_body(bodies::route(&route, order, is_standard)))
    }

    pub(super) fn cluster_info(&self) -> Reply {
        Reply::success().with_body(bodies::cluster_info(&self.routes))
    }

    pub(super) fn all_topics(&self) -> Result<Reply, Refused> {
        listing(self.settings.enable_all_topic_list, self.routes.topics())
    }

    pub(super) fn topics_of_cluster(&self, header: &Header<'_>) -> Result<Reply, Refused> {
        let cluster = required(&header.ext, "cluster")?;
        listing(
            self.settings.enable_topic_list,
            self.routes.topics_of_cluster(cluster),
        )
    }

    /// Names that are topics by themselves: of clusters and of brokers.
    pub(super) fn system_topics(&self) -> Reply {
        let names = self.routes.clusters().flat_map(|(cluster, brokers)| {
            std::iter::once(cluster).chain(brokers.iter().map(String::as_str))
        });
        let some_broker = self
            .routes
            .brokers()
            .find_map(|(_, group)| group.addrs.values().next());
        Reply::success().with_body(bodies::topic_list(names, some_broker.map(String::as_str)))
    }

    pub(super) fn unit_topics(&self) -> Result<Reply, Refused> {
        self.topics_with_flag(|flag| flag & UNIT != 0)
    }

    pub(super) fn unit_sub_topics(&self) -> Result<Reply, Refused> {
        self.topics_with_flag(|flag| flag & UNIT_SUB != 0)
    }

    pub(super) fn unit_sub_topics_of_no_unit(&self) -> Result<Reply, Refused> {
        self.topics_with_flag(|flag| flag & (UNIT | UNIT_SUB) == UNIT_SUB)
    }

    fn topics_with_flag(&self, wanted: impl Fn(i32) -> bool) -> Result<Reply, Refused> {
        listing(
            self.settings.enable_topic_list,
            self.routes.topics_with_flag(wanted),
        )
    }
}

fn listing<'a>(is_enabled: bool, topics: impl Iterator<Item = &'a str>) -> Result<Reply, Refused> {
    if !is_enabled {
        return Err(Refused::error("disable"));
    }
    Ok(Reply::success().with_body(bodies::topic_list(topics, None)))
}
