//! What brokers tell: themselves and their topics, that they live, that they go.

use super::kv_config::ORDER_TOPIC_CONFIG;
use super::reply::{Refused, Reply, number, required, switch};
use super::route_table::{Incomplete, Registered, Registration};
use super::{NameServer, bodies};
use crate::wire::header::Header;

impl NameServer {
    pub(super) fn register_broker(
        &mut self,
        header: &Header<'_>,
        body: &[u8],
        conn: u64,
        now_ms: u64,
    ) -> Result<Reply, Refused> {
        let report = report(header, body)?;
        let forget_absent = self.settings.delete_topic_with_broker_registration;
        let Registered {
            master_addr,
            ha_addr,
        } = self
            .routes
            .register(report, conn, forget_absent, now_ms)
            .map_err(|Incomplete| Refused::error("register broker failed"))?;
        let mut reply = Reply::success();
        reply.ext.extend(ha_addr.map(|addr| ("haServerAddr", addr)));
        reply
            .ext
            .extend(master_addr.map(|addr| ("masterAddr", addr)));
        let is_told = self.settings.return_order_topic_config_to_broker;
        Ok(match self.kv.list(ORDER_TOPIC_CONFIG).filter(|_| is_told) {
            Some(ordered) => reply.with_body(bodies::kv_table(ordered)),
            None => reply,
        })
    }

    pub(super) fn unregister_broker(&mut self, header: &Header<'_>) -> Result<Reply, Refused> {
        let ext = &header.ext;
        required(ext, "clusterName")?;
        self.routes
            .unregister(required(ext, "brokerAddr")?, required(ext, "brokerName")?);
        Ok(Reply::success())
    }

    pub(super) fn heartbeat(&mut self, header: &Header<'_>, now_ms: u64) -> Result<Reply, Refused> {
        self.routes
            .seen(required(&header.ext, "brokerAddr")?, now_ms);
        Ok(Reply::success())
    }

    /// A broker asks whether it has to send its topics again.
    pub(super) fn query_data_version(
        &mut self,
        header: &Header<'_>,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Reply, Refused> {
        let addr = required(&header.ext, "brokerAddr")?;
        let theirs = bodies::data_version(body).map_err(Refused::error)?;
        let ours = self.routes.data_version(addr);
        self.routes.seen(addr, now_ms);
        let reply = Reply::success().with("changed", ours != Some(theirs));
        Ok(match ours {
            Some(ours) => reply.with_body(bodies::data_version_body(ours)),
            None => reply,
        })
    }

    pub(super) fn member_group(&self, header: &Header<'_>) -> Result<Reply, Refused> {
        let cluster = required(&header.ext, "clusterName")?;
        let broker_name = required(&header.ext, "brokerName")?;
        let group = self.routes.broker(broker_name);
        Ok(Reply::success().with_body(bodies::member_group(cluster, broker_name, group)))
    }

    pub(super) fn register_topic(
        &mut self,
        header: &Header<'_>,
        body: &[u8],
    ) -> Result<Reply, Refused> {
        let topic = required(&header.ext, "topic")?;
        let queues = bodies::queues_of_route(body).map_err(Refused::error)?;
        self.routes.register_topic(topic, queues);
        Ok(Reply::success())
    }
}

fn report(header: &Header<'_>, body: &[u8]) -> Result<Registration, Refused> {
    let ext = &header.ext;
    let text = |name| required(ext, name).map(String::from);
    let wanted_crc = number(ext, "bodyCrc32")?.unwrap_or(0);
    // CRC32 without its top bit, so that Java has a positive number; 0 says that there is none.
    if wanted_crc != 0 && wanted_crc != i64::from(crc32fast::hash(body) & 0x7FFF_FFFF) {
        return Err(Refused::error("crc32 not match"));
    }
    let is_compressed = switch(ext, "compressed") == Some(true);
    let (data_version, topics) = bodies::report(body, is_compressed).map_err(Refused::error)?;
    Ok(Registration {
        cluster: text("clusterName")?,
        broker_name: text("brokerName")?,
        addr: text("brokerAddr")?,
        broker_id: number(ext, "brokerId")?
            .ok_or_else(|| Refused::error("the custom field <brokerId> is null"))?,
        ha_addr: text("haServerAddr")?,
        zone: ext.find("__ZONE_NAME").map(String::from),
        // Not positive would mean that the broker is gone before it came.
        heartbeat_timeout_ms: number(ext, "heartbeatTimeoutMillis")?
            .and_then(|ms| u64::try_from(ms).ok())
            .filter(|ms| *ms > 0),
        acting_master: switch(ext, "enableActingMaster"),
        data_version,
        topics,
    })
}
