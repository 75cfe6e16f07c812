//! Requests that are answered at once, and which room answers them.

use super::admin::unsupported::unsupported;
use super::clients::Peer;
use super::limits::{MAX_HEARTBEAT_BYTES, MAX_SUBSCRIPTIONS};
use super::pull::no_property_filter;
use super::reply::{Reply, StoreView};
use super::topics::MAX_QUEUES;
use super::{Broker, Effect, Refusal, filter, topics};
use crate::message::names;
use crate::store::QueueBounds;
use crate::wire::codes::{request, response};
use crate::wire::consumer::{CheckClientConfig, ConsumerGroup, ConsumerList, UnregisterClient};
use crate::wire::heartbeat::{ConsumerData, HeartbeatData};
use crate::wire::lock::{LockBatch, LockedQueues};
use crate::wire::offset::{QueryConsumerOffset, QueueRequest, UpdateConsumerOffset};
use crate::wire::{Ext, Header};

impl Broker {
    /// Answers everything but sends, pulls and what needs the log itself; what nobody knows is answered so.
    pub fn answer(
        &mut self,
        header: &Header<'_>,
        body: &[u8],
        peer: &Peer,
        now_ms: u64,
        store: &dyn StoreView,
    ) -> Reply {
        self.try_answer(header, body, peer, now_ms, store)
            .unwrap_or_else(Reply::from)
            .bounded()
    }

    fn try_answer(
        &mut self,
        header: &Header<'_>,
        body: &[u8],
        peer: &Peer,
        now_ms: u64,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        let ext = &header.ext;
        match header.code {
            request::HEART_BEAT => self.heartbeat(body, peer, now_ms),
            request::UNREGISTER_CLIENT => self.unregister(ext, peer, now_ms),
            request::GET_CONSUMER_LIST_BY_GROUP => self.consumer_list(ext),
            request::CHECK_CLIENT_CONFIG => self.check_client_config(body),
            request::QUERY_CONSUMER_OFFSET => self.query_offset(ext, store),
            request::UPDATE_CONSUMER_OFFSET => self.update_offset(ext, now_ms),
            request::GET_MAX_OFFSET => queue_bound(ext, |topic, id| store.bounds(topic, id).max),
            request::GET_MIN_OFFSET => queue_bound(ext, |topic, id| store.bounds(topic, id).min),
            request::LOCK_BATCH_MQ => self.lock(body, now_ms),
            request::UNLOCK_BATCH_MQ => self.unlock(body),
            request::UPDATE_AND_CREATE_TOPIC => self.update_topic(ext, now_ms),
            request::UPDATE_AND_CREATE_TOPIC_LIST => self.update_topics(body, now_ms),
            request::DELETE_TOPIC_IN_BROKER => self.delete_topic(ext, now_ms),
            request::GET_ALL_TOPIC_CONFIG => self.all_topics(ext),
            request::GET_TOPIC_CONFIG => self.topic_config(ext),
            request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => self.system_topics(),
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => self.update_group(body, now_ms),
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => self.update_groups(body, now_ms),
            request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.all_groups(ext),
            request::GET_SUBSCRIPTIONGROUP_CONFIG => self.group_config(ext, now_ms),
            request::DELETE_SUBSCRIPTIONGROUP => self.delete_group(ext, now_ms),
            request::UPDATE_BROKER_CONFIG => self.update_config(body, now_ms),
            request::GET_BROKER_CONFIG => self.config_text(),
            request::CLEAN_EXPIRED_CONSUMEQUEUE => self.clean(Effect::CleanQueues),
            request::CLEAN_UNUSED_TOPIC => self.clean(Effect::CleanUnusedTopics),
            request::DELETE_EXPIRED_COMMITLOG => self.clean(Effect::CleanLog),
            request::GET_BROKER_RUNTIME_INFO => self.runtime_info(now_ms, store),
            request::GET_TOPIC_STATS_INFO => self.topic_stats(ext, now_ms, store),
            request::GET_CONSUME_STATS => self.consume_stats(ext, now_ms, store),
            request::GET_BROKER_CONSUME_STATS => self.broker_consume_stats(ext, now_ms, store),
            request::QUERY_CONSUME_TIME_SPAN => self.consume_time_spans(ext, now_ms, store),
            request::VIEW_BROKER_STATS_DATA => self.statistics(ext, now_ms),
            request::UPDATE_AND_GET_GROUP_FORBIDDEN => self.group_forbidden(ext, now_ms),
            request::GET_CONSUMER_CONNECTION_LIST => self.consumer_connections(ext),
            request::GET_PRODUCER_CONNECTION_LIST => self.producer_connections(ext),
            request::GET_ALL_PRODUCER_INFO => self.all_producers(),
            request::QUERY_TOPIC_CONSUME_BY_WHO => self.groups_of_topic(ext),
            request::QUERY_TOPICS_BY_CONSUMER => self.topics_of_group(ext),
            request::QUERY_SUBSCRIPTION_BY_CONSUMER => self.subscription_of_group(ext),
            request::QUERY_CORRECTION_OFFSET => self.correction_offsets(ext, store),
            request::GET_ALL_CONSUMER_OFFSET => self.all_offsets(),
            request::SET_MESSAGE_REQUEST_MODE => self.update_request_mode(body, now_ms),
            request::GET_ALL_MESSAGE_REQUEST_MODE => self.all_request_modes(),
            // From RocketMQ's one way of keeping pops to its other: here is only one.
            request::POP_ROLLBACK => Ok(Reply::ok()),
            request::CLONE_GROUP_OFFSET => self.clone_offsets(ext),
            request::GET_ALL_DELAY_OFFSET => self.all_delay_offsets(),
            request::EXCHANGE_BROKER_HA_INFO => self.exchange_ha_info(ext, store),
            request::GET_BROKER_HA_STATUS => self.ha_status(store),
            request::RESET_MASTER_FLUSH_OFFSET => Ok(Reply::ok()),
            request::GET_BROKER_EPOCH_CACHE => self.epochs(),
            request::CHECK_ROCKSDB_CQ_WRITE_PROGRESS => self.compare_queues(),
            request::EXPORT_ROCKSDB_CONFIG_TO_JSON => self.export_config(),
            request::GET_TIMER_CHECK_POINT => self.timer_check_point(store),
            request::GET_TIMER_METRICS => self.timer_metrics(store),
            request::SWITCH_TIMER_ENGINE => self.switch_timer_engine(ext),
            code => Err(unsupported(code)),
        }
    }

    /// Registers before it answers: the client asks for its group's members right afterwards.
    fn heartbeat(&mut self, body: &[u8], peer: &Peer, now_ms: u64) -> Result<Reply, Refusal> {
        if body.len() > MAX_HEARTBEAT_BYTES {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!(
                    "the heartbeat is {} bytes, limit {MAX_HEARTBEAT_BYTES}",
                    body.len()
                ),
            ));
        }
        let data = HeartbeatData::decode(body)?;
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
        let is_v2 = data.heartbeat_fingerprint != 0;
        // With the first version the client always sends everything.
        let mut is_sub_change = !is_v2;
        for consumer in &data.consumer_data_set {
            let with_subscriptions = !(is_v2 && data.without_sub);
            is_sub_change |=
                self.consumer_heartbeat(&data, consumer, with_subscriptions, peer, now_ms);
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
        // A group that may not be created is passed over, and its heartbeat is answered all the same.
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
        // We know nothing of it, as after our restart (RocketMQ would leave its pulls at 24).
        let is_unknown = !with_subscriptions
            && self
                .clients
                .consumers(group)
                .is_some_and(|group| !group.has_subscriptions());
        is_changed || is_unknown
    }

    fn unregister(&mut self, ext: &Ext<'_>, peer: &Peer, now_ms: u64) -> Result<Reply, Refusal> {
        let request = UnregisterClient::decode(ext)?;
        if let Some(group) = request.producer_group {
            self.clients.unregister_producer(group, peer.conn);
        }
        if let Some(group) = request.consumer_group
            && self.clients.unregister_consumer(group, peer.conn)
        {
            self.group_changed(group, now_ms);
        }
        Ok(Reply::ok())
    }

    fn consumer_list(&self, ext: &Ext<'_>) -> Result<Reply, Refusal> {
        let group = ConsumerGroup::decode(ext)?.consumer_group;
        let Some(members) = self.clients.consumers(group) else {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("no consumer for this group, {group}"),
            ));
        };
        Ok(Reply::json(&ConsumerList {
            consumer_id_list: members.members().map(|m| m.client_id.clone()).collect(),
        }))
    }

    fn check_client_config(&self, body: &[u8]) -> Result<Reply, Refusal> {
        let Some(data) = CheckClientConfig::decode(body)?.subscription_data else {
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

    /// A group without an offset starts at 0 in a queue that still has its first message (RocketMQ asks whether that one
    /// is in memory; ours are as good as there), whatever the client would have chosen.
    fn query_offset(&mut self, ext: &Ext<'_>, store: &dyn StoreView) -> Result<Reply, Refusal> {
        let request = QueryConsumerOffset::decode(ext)?;
        let (group, topic, queue_id) = (request.consumer_group, request.topic, request.queue_id);
        let missing = |remark| Err(Refusal::new(response::QUERY_NOT_FOUND, remark));
        if let Some(offset) = self.offsets.query(group, topic, queue_id)
            && offset >= 0
        {
            self.offsets.tell_reset(group, topic, queue_id);
            return Ok(Reply::ok().with("offset", offset));
        }
        if request.set_zero_if_not_found == Some(false) {
            return missing("Not found, do not set to zero, maybe this group boot first");
        }
        match u32::try_from(queue_id) {
            Ok(id) if is_at_its_start(topic, store.bounds(topic, id)) => {
                Ok(Reply::ok().with("offset", 0))
            }
            _ => missing("Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first"),
        }
    }

    fn update_offset(&mut self, ext: &Ext<'_>, now_ms: u64) -> Result<Reply, Refusal> {
        let request = UpdateConsumerOffset::decode(ext)?;
        let (group, topic, queue_id) = (request.consumer_group, request.topic, request.queue_id);
        if !self.groups.contains(group) {
            return Err(Refusal::new(
                response::SUBSCRIPTION_GROUP_NOT_EXIST,
                format!("Group {group} not exist!"),
            ));
        }
        if !self.topics.contains(topic) {
            return Err(Refusal::new(
                response::TOPIC_NOT_EXIST,
                format!("Topic {topic} not exist!"),
            ));
        }
        if !(0..MAX_QUEUES).contains(&queue_id) {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!("queueId[{queue_id}] is illegal, topic is {topic}"),
            ));
        }
        if self.offsets.has_reset(group, topic, queue_id) {
            return Ok(Reply::ok().remark("Offset has been previously reset"));
        }
        self.offsets
            .commit(group, topic, queue_id, request.commit_offset, now_ms);
        Ok(Reply::ok())
    }

    fn lock(&mut self, body: &[u8], now_ms: u64) -> Result<Reply, Refusal> {
        let LockBatch {
            client_id,
            consumer_group,
            mut mq_set,
            ..
        } = LockBatch::decode(body)?;
        mq_set.retain(|queue| self.locks.lock(&consumer_group, queue, &client_id, now_ms));
        Ok(Reply::json(&LockedQueues { queues: mq_set }))
    }

    fn unlock(&mut self, body: &[u8]) -> Result<Reply, Refusal> {
        let request = LockBatch::decode(body)?;
        for queue in &request.mq_set {
            self.locks
                .unlock(&request.consumer_group, queue, &request.client_id);
        }
        Ok(Reply::ok())
    }
}

/// Whether who begins at 0 misses nothing. Of an empty retry queue RocketMQ says that there is no offset, and tools show
/// none; its consumers begin there at 0 anyway.
fn is_at_its_start(topic: &str, bounds: QueueBounds) -> bool {
    bounds.min == 0 && (bounds.max > 0 || names::retry_group(topic).is_none())
}

fn queue_bound(ext: &Ext<'_>, bound: impl Fn(&str, u32) -> u64) -> Result<Reply, Refusal> {
    let request = QueueRequest::decode(ext)?;
    let offset = u32::try_from(request.queue_id).map_or(0, |id| bound(request.topic, id));
    Ok(Reply::ok().with("offset", offset))
}
