//! Requests of clients: routes, cluster info, lists of topics.

use super::kv_config::ORDER_TOPIC_CONFIG;
use super::listing::Listing;
use super::route_table::Wanted;
use super::{Answer, NameServer};
use crate::wire::Reply;
use crate::wire::codes::{request, response};
use crate::wire::header::Header;
use crate::wire::route::{ClusterInfo, ClusterRequest, RouteRequest, TopicList, ZoneRequest};

/// RocketMQ's own words, which clients print.
const FURTHER_DETAILS: &str =
    "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// Bits of a topic's system flag.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 2;

impl NameServer {
    pub(super) fn route(&self, header: &Header<'_>) -> Answer {
        let RouteRequest {
            topic,
            accept_standard_json_only,
        } = RouteRequest::decode(&header.ext)?;
        // Clients take exactly this code for "create it through TBW102", and keep their old route on any other.
        let mut route = self.routes.route(topic).ok_or_else(|| {
            let remark = format!(
                "No topic route info in name server for the topic: {topic}{FURTHER_DETAILS}"
            );
            Reply::refused(response::TOPIC_NOT_EXIST, remark)
        })?;
        if self.settings.support_acting_master {
            route = route.with_acting_masters();
        }
        let zone = ZoneRequest::decode(&header.ext)?;
        if zone.is_on
            && let Some(zone) = zone.name.filter(|zone| !zone.trim().is_empty())
        {
            route = route.of_zone(zone);
        }
        let wants_order = self.settings.order_message_enable;
        let order = self
            .kv
            .find(ORDER_TOPIC_CONFIG, topic)
            .filter(|_| wants_order);
        let route = route.into_data(order.map(String::from));
        Ok(Reply::ok().with_body(route.encode(header.version, accept_standard_json_only)))
    }

    pub(super) fn cluster_info(&self) -> Reply {
        let brokers = self.routes.brokers();
        let clusters = self.routes.clusters();
        Reply::json(&ClusterInfo {
            broker_addr_table: brokers
                .map(|(name, group)| (name.to_owned(), group.data(name)))
                .collect(),
            cluster_addr_table: clusters
                .map(|(cluster, names)| (cluster.to_owned(), names.iter().cloned().collect()))
                .collect(),
        })
    }

    /// The list that a request asks for; `None`: it asks for no list of topics.
    pub(super) fn listing(&self, header: &Header<'_>) -> Option<Result<Listing, Reply>> {
        let with_flag = |mask, bits| Ok(Wanted::WithFlag { mask, bits });
        let is_enabled = match header.code {
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.settings.enable_all_topic_list,
            _ => self.settings.enable_topic_list,
        };
        let wanted = match header.code {
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => Ok(Wanted::All),
            request::GET_TOPICS_BY_CLUSTER => {
                let cluster = ClusterRequest::decode(&header.ext);
                let cluster = cluster.map(|request| request.cluster.to_owned());
                cluster.map(Wanted::OfCluster).map_err(Reply::from)
            }
            request::GET_UNIT_TOPIC_LIST => with_flag(UNIT, UNIT),
            request::GET_HAS_UNIT_SUB_TOPIC_LIST => with_flag(UNIT_SUB, UNIT_SUB),
            request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => with_flag(UNIT | UNIT_SUB, UNIT_SUB),
            _ => return None,
        };
        Some(wanted.and_then(|wanted| match is_enabled {
            true => Ok(Listing::new(wanted)),
            false => Err(Reply::error("disable")),
        }))
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
        topic_list(names, some_broker.cloned())
    }
}

fn topic_list<'a>(topics: impl Iterator<Item = &'a str>, broker_addr: Option<String>) -> Reply {
    Reply::json(&TopicList {
        broker_addr,
        topic_list: topics.map(String::from).collect(),
    })
}
