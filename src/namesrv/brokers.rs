//! Requests of brokers: heartbeat, unregistration, versions. The registration is in [`super::registering`].

use super::route::Queues;
use super::{Answer, NameServer, body_or_default};
use crate::wire::header::Header;
use crate::wire::register::{BrokerHeartbeat, BrokerIdentity, DataVersionReply};
use crate::wire::route::{BrokerMemberGroup, MemberGroupReply, MemberGroupRequest, TopicRouteData};
use crate::wire::topic::TopicRequest;
use crate::wire::{DataVersion, Reply, loose_json};

impl NameServer {
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
