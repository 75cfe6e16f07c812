//! Heartbeats and lists of clients: 34, 35, 38, 46 (RocketMQ: `ClientManageProcessor`, `ConsumerManageProcessor`).

use super::Request;
use crate::broker::clients::{ConnId, Peer};
use crate::broker::limits::{MAX_SUBSCRIPTIONS, ROWS_PER_TURN};
use crate::broker::pull::no_property_filter;
use crate::broker::rows::{Json, Now, Rows, Sliced};
use crate::broker::step::Step;
use crate::broker::{Broker, Refusal, filter, topics};
use crate::message::names;
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::consumer::{CheckClientConfig, ConsumerGroup, UnregisterClient};
use crate::wire::heartbeat::{ConsumerData, HeartbeatData};

impl Broker {
    /// Registers before it answers: the client asks for its group's members right afterwards.
    pub(super) fn heartbeat(
        &mut self,
        data: &HeartbeatData,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let consumers = data.consumer_data_set.iter();
        let sizes = consumers.map(|consumer| 1 + consumer.subscription_data_set.len());
        let size = sizes.sum::<usize>() + data.producer_data_set.len();
        if size > MAX_SUBSCRIPTIONS {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!(
                    "the heartbeat has {size} groups and subscriptions, limit {MAX_SUBSCRIPTIONS}"
                ),
            ));
        }
        let (peer, now_ms) = (&request.peer, request.now_ms);
        let is_v2 = data.heartbeat_fingerprint != 0;
        // With the first version the client always sends everything.
        let mut is_sub_change = !is_v2;
        for consumer in &data.consumer_data_set {
            let with_subscriptions = !(is_v2 && data.without_sub);
            is_sub_change |=
                self.consumer_heartbeat(data, consumer, with_subscriptions, peer, now_ms);
        }
        for producer in &data.producer_data_set {
            self.clients
                .register_producer(&producer.group_name, &data.client_id, peer, now_ms);
        }
        Ok(Reply::ok()
            .with("IS_SUPPORT_HEART_BEAT_V2", true)
            .with("IS_SUB_CHANGE", is_sub_change))
    }

    /// Whether the client is to send its subscriptions next time.
    fn consumer_heartbeat(
        &mut self,
        data: &HeartbeatData,
        consumer: &ConsumerData,
        with_subscriptions: bool,
        peer: &Peer,
        now_ms: u64,
    ) -> bool {
        let group = &*consumer.group_name;
        // A group that may not be created is skipped, and its heartbeat is answered all the same.
        let Some(config) = self.find_or_create_group(group, now_ms) else {
            return false;
        };
        let queue_nums = config.retry_queue_nums;
        let retry_topic = names::retry_topic(group);
        let subscriptions = &consumer.subscription_data_set;
        let order = match with_subscriptions {
            true => subscriptions
                .iter()
                .any(|data| self.topics.is_order(&data.topic)),
            false => self.topics.is_order(&retry_topic),
        };
        let sys_flag = topics::unit_sys_flag(&retry_topic, consumer.unit_mode);
        self.create_derived(&retry_topic, queue_nums, order, sys_flag, now_ms);
        let has_changed = self.clients.register_consumer(
            consumer,
            with_subscriptions,
            &data.client_id,
            peer,
            now_ms,
        );
        if has_changed {
            self.group_changed(group, now_ms);
        }
        let fingerprint = data.heartbeat_fingerprint;
        let is_changed = self.clients.fingerprint_changed(group, fingerprint);
        // Nothing is known of it, as after a restart of the broker (RocketMQ would leave its pulls at 24).
        let is_unknown = !with_subscriptions
            && self
                .clients
                .consumers(group)
                .is_some_and(|group| !group.has_subscriptions());
        is_changed || is_unknown
    }

    pub(super) fn unregister(
        &mut self,
        asked: UnregisterClient<'_>,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let conn = request.peer.conn;
        if let Some(group) = asked.producer_group {
            self.clients.unregister_producer(group, conn);
        }
        if let Some(group) = asked.consumer_group
            && self.clients.unregister_consumer(group, conn)
        {
            self.group_changed(group, request.now_ms);
        }
        Ok(Reply::ok())
    }

    pub(super) fn consumer_list(&self, asked: ConsumerGroup<'_>) -> Result<Step, Refusal> {
        let group = asked.consumer_group;
        if self.clients.consumers(group).is_none() {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("no consumer for this group, {group}"),
            ));
        }
        let rows = ConsumerIds {
            group: group.into(),
            after: None,
        };
        Ok(Sliced::step(r#"{"consumerIdList":["#, rows))
    }

    pub(super) fn check_client_config(&self, asked: CheckClientConfig) -> Result<Reply, Refusal> {
        let Some(data) = asked.subscription_data else {
            return Ok(Reply::ok());
        };
        let kind = &data.expression_type;
        if filter::is_tag_type(Some(kind)) {
            return Ok(Reply::ok());
        }
        if !self.config.property_filter {
            return Err(no_property_filter(kind));
        }
        match filter::selector(kind, &data.sub_string) {
            Ok(_) => Ok(Reply::ok()),
            Err(remark) => Err(Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, remark)),
        }
    }
}

#[derive(Clone, Debug)]
struct ConsumerIds {
    group: String,
    after: Option<ConnId>,
}

impl Rows for ConsumerIds {
    fn slice(&mut self, at: &Now<'_>, out: &mut Json) -> Result<bool, Refusal> {
        let Some(group) = at.broker.clients.consumers(&self.group) else {
            return Ok(true);
        };
        let before = self.after;
        for (conn, member) in group.members_after(before).take(ROWS_PER_TURN) {
            out.element(&member.client_id)?;
            self.after = Some(conn);
        }
        Ok(self.after == before)
    }

    fn finish(&self, _: &Now<'_>, out: &mut Json) -> Reply {
        out.text("]}");
        Reply::ok()
    }
}
