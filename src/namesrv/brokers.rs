//! Requests of brokers: registration, heartbeat, unregistration.

use super::kv_config::ORDER_TOPIC_CONFIG;
use super::route::Queues;
use super::route_table::{Incomplete, Registered, Registration};
use super::{Answer, Effect, NameServer, body_or_default};
use crate::wire::header::Header;
use crate::wire::register::{
    BrokerHeartbeat, BrokerIdentity, DataVersionReply, RegisterBroker, RegisterBrokerBody,
    RegisterBrokerReply, body_crc,
};
use crate::wire::route::{BrokerMemberGroup, MemberGroupReply, MemberGroupRequest, TopicRouteData};
use crate::wire::stats::KvTable;
use crate::wire::topic::TopicRequest;
use crate::wire::{DataVersion, Reply, loose_json};

impl NameServer {
    pub(super) fn register_broker(
        &mut self,
        header: &Header<'_>,
        body: &[u8],
        conn: u64,
        now_ms: u64,
    ) -> Answer {
        let report = report(header, body)?;
        // An incremental report has the changed topics only, and none of the broker's own.
        let is_complete = report
            .topics
            .iter()
            .any(|(topic, _)| topic == SELF_TEST_TOPIC);
        let forget_absent = self.settings.delete_topic_with_broker_registration && is_complete;
        let (broker_name, addr) = (report.broker_name.clone(), report.addr.clone());
        let registered = self.routes.register(report, conn, forget_absent, now_ms);
        let Registered {
            master_addr,
            ha_addr,
            replaced,
        } = registered.map_err(|Incomplete| Reply::error("register broker failed"))?;
        if let Some(from) = replaced {
            self.effects.push(Effect::AddressChanged {
                broker_name,
                from,
                to: addr,
            });
        }
        let fields = RegisterBrokerReply {
            ha_server_addr: ha_addr.as_deref(),
            master_addr: master_addr.as_deref(),
        };
        let reply = Reply::ok().with_fields(&fields.ext());
        let is_wanted = self.settings.return_order_topic_config_to_broker;
        Ok(
            match self.kv.list(ORDER_TOPIC_CONFIG).filter(|_| is_wanted) {
                Some(table) => reply.with_body(loose_json::to_vec(&KvTable {
                    table: table.clone(),
                })),
                None => reply,
            },
        )
    }

    /// Only over the connection of the registration: a broker that fails to start must not unregister one that runs.
    pub(super) fn unregister_broker(&mut self, header: &Header<'_>, conn: u64) -> Answer {
        let request = BrokerIdentity::decode(&header.ext)?;
        if self.routes.is_registered_over(request.broker_addr, conn) {
            self.routes
                .unregister(request.broker_addr, request.broker_name);
        }
        Ok(Reply::ok())
    }

    pub(super) fn heartbeat(&mut self, header: &Header<'_>, now_ms: u64) -> Answer {
        let request = BrokerHeartbeat::decode(&header.ext)?;
        self.routes.seen(request.broker_addr, now_ms);
        Ok(Reply::ok())
    }

    /// Whether a broker has to send its topics again.
    pub(super) fn query_data_version(
        &mut self,
        header: &Header<'_>,
        body: &[u8],
        now_ms: u64,
    ) -> Answer {
        let addr = BrokerIdentity::decode(&header.ext)?.broker_addr;
        let theirs: DataVersion = body_or_default(body)?;
        let ours = self.routes.data_version(addr);
        self.routes.seen(addr, now_ms);
        let fields = DataVersionReply {
            changed: ours != Some(theirs),
        };
        let reply = Reply::ok().with_fields(&fields.ext());
        Ok(match ours {
            Some(ours) => reply.with_body(loose_json::to_vec(&ours)),
            None => reply,
        })
    }

    pub(super) fn member_group(&self, header: &Header<'_>) -> Answer {
        let MemberGroupRequest {
            cluster_name,
            broker_name,
        } = MemberGroupRequest::decode(&header.ext)?;
        let group = self.routes.broker(broker_name);
        let group = BrokerMemberGroup {
            broker_addrs: group.map(|group| group.addrs.clone()).unwrap_or_default(),
            broker_name: broker_name.to_owned(),
            cluster: cluster_name.to_owned(),
        };
        Ok(Reply::json(&MemberGroupReply {
            broker_member_group: Some(group),
        }))
    }

    pub(super) fn register_topic(&mut self, header: &Header<'_>, body: &[u8]) -> Answer {
        let TopicRequest { topic } = TopicRequest::decode(&header.ext)?;
        let route: TopicRouteData = body_or_default(body)?;
        let queues = route.queue_datas.into_iter();
        let queues = queues.map(|data| {
            let queues = Queues::from(&data);
            (data.broker_name, queues)
        });
        self.routes.register_topic(topic, queues);
        Ok(Reply::ok())
    }
}

/// A fixed topic of every broker of every version: part of each complete report.
const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";

fn report(header: &Header<'_>, body: &[u8]) -> Result<Registration, Reply> {
    let request = RegisterBroker::decode(&header.ext)?;
    // 0 means that there is none.
    let wanted_crc = request.body_crc32.unwrap_or(0);
    if wanted_crc != 0 && wanted_crc != body_crc(body) {
        return Err(Reply::error("crc32 not match"));
    }
    let RegisterBrokerBody { topics, .. } = RegisterBrokerBody::decode(body, header.version)?;
    let data_version = topics.data_version;
    let topics = topics.topic_config_table.into_iter().map(|(key, config)| {
        let queues = Queues::from(&config);
        let name = Some(config.topic_name).filter(|name| !name.is_empty());
        (name.unwrap_or(key), queues)
    });
    Ok(Registration {
        cluster: request.cluster_name.to_owned(),
        broker_name: request.broker_name.to_owned(),
        addr: request.broker_addr.to_owned(),
        broker_id: request.broker_id,
        ha_addr: request.ha_server_addr.to_owned(),
        zone: request.zone_name.map(String::from),
        // Zero or less would expire the broker at once.
        heartbeat_timeout_ms: request
            .heartbeat_timeout_ms
            .and_then(|ms| u64::try_from(ms).ok())
            .filter(|ms| *ms > 0),
        acting_master: request.enable_acting_master,
        data_version,
        topics: topics.collect(),
    })
}
