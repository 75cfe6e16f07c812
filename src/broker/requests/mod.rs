//! Every request that a broker knows, each declared once: its code, what its header or body is, what handles it, whose it is
//! (for access control), and how large its body may be.
//!
//! A request that is not in [`find`]'s table is answered by [`unsupported`]. To add one: a row in the table, a handler in the file
//! of its family, and its header in `wire/`.

mod clients;
mod connections;
mod groups;
mod lock;
mod lookup;
mod maintenance;
mod offsets;
mod pages;
mod relay;
mod replicas;
mod rewind;
mod runtime;
mod slave;
mod statistics;
mod stats;
mod topics;
mod unsupported;
mod users;

pub use lookup::position;
pub use offsets::LOG_END;
pub use relay::StatusTable;
pub use runtime::ROCKETMQ_VERSION;
pub use unsupported::unsupported;

use super::clients::Peer;
use super::step::Step;
use super::store_view::StoreView;
use super::{Broker, Effect, Refusal, limits};
use crate::wire::admin::QueryConsumeQueue;
use crate::wire::auth::OfUser;
use crate::wire::codes::{request, response};
use crate::wire::consumer::{
    CheckClientConfig, ConsumeMessageDirectly, ConsumerGroup, ConsumerRunningInfo, UnregisterClient,
};
use crate::wire::group::{
    AllSubscriptionGroupRequest, DeleteGroup, GroupForbiddenRequest, GroupRequest,
    SubscriptionGroupConfig, SubscriptionGroupList,
};
use crate::wire::heartbeat::HeartbeatData;
use crate::wire::lock::LockBatch;
use crate::wire::offset::{
    CloneGroupOffset, ConsumerStatusRequest, QueryConsumerOffset, QueueRequest, ResetOffset,
    SearchOffset, UpdateConsumerOffset,
};
use crate::wire::query::{QueryMessage, ViewAgain, ViewMessage};
use crate::wire::stats::{
    BrokerConsumeStatsRequest, BrokerStatsRequest, ConsumeStatsRequest, GroupAndTopic,
    ProducerGroup,
};
use crate::wire::topic::{AllTopicConfigRequest, CreateTopic, TopicConfigList, TopicRequest};
use crate::wire::{Ext, Language, Reply, loose_json};

/// A request, with what its handler may ask.
pub struct Request<'a> {
    pub ext: &'a Ext<'a>,
    pub body: &'a [u8],
    pub peer: Peer,
    pub language: Language,
    pub now_ms: u64,
    pub store: &'a dyn StoreView,
}

/// What handles a request.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Decided here, whatever has to be read, asked or saved for it.
    Handle(Handler),
    /// The kinds that carry messages. Their plans borrow from the request, so that nothing is allocated for one: the reactor
    /// decodes their headers and calls the function that is named.
    ///
    /// [`Broker::admit_send`]
    Send,
    /// [`Broker::admit_reply`]
    SendReply,
    /// [`Broker::admit_recall`]
    Recall,
    /// [`Broker::admit_send_back`], of the message that it names.
    SendBack,
    /// [`Broker::admit_pull`]
    Pull { is_lite: bool },
    /// [`Broker::admit_end`], of the half message that it names.
    EndTransaction,
    /// [`Broker::admit_resume`], the same.
    ResumeTransaction,
    /// [`Broker::admit_pop`]
    Pop,
    /// [`Broker::admit_peek`]
    Peek,
    /// [`Broker::admit_notification`]
    Notification,
    /// [`Broker::admit_polling_info`]
    PollingInfo,
    /// [`Broker::assign`], with the topic's queues on all brokers.
    Assignment,
    /// [`Broker::admit_ack`]
    Ack,
    /// [`Broker::admit_batch_ack`]
    BatchAck,
    /// [`Broker::admit_change`]
    ChangeInvisibleTime,
}

impl Kind {
    /// Whether it writes to the log: such a request is refused while the broker stops.
    pub fn appends(self) -> bool {
        match self {
            Self::Send
            | Self::SendReply
            | Self::Recall
            | Self::SendBack
            | Self::EndTransaction
            | Self::ResumeTransaction
            | Self::Pop
            | Self::Ack
            | Self::BatchAck
            | Self::ChangeInvisibleTime => true,
            Self::Handle(_)
            | Self::Pull { .. }
            | Self::Peek
            | Self::Notification
            | Self::PollingInfo
            | Self::Assignment => false,
        }
    }
}

pub type Handler = for<'a> fn(&mut Broker, &Request<'a>) -> Result<Step, Refusal>;

/// Who makes a request: what it waits for ([`Entry::waits_for_a_round`]), and whether it is logged as a change ([`Entry::administers`]) depend on it. What a
/// user needs for it is in `auth/needs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every client of the broker.
    Client,
    /// Producers.
    Publish,
    /// Consumers.
    Subscribe,
    /// A request of administration that reads, or that changes something.
    Inspect,
    Administer,
    /// Other brokers.
    Replica,
}

/// A row of the table.
pub struct Entry {
    pub code: i32,
    pub name: &'static str,
    pub kind: Kind,
    pub audience: Audience,
    /// The largest body. It is decoded in one turn.
    pub max_body: usize,
}

/// A body that is not read.
const NONE: usize = 64 << 10;
/// One object, or a short list.
const OBJECT: usize = 256 << 10;
/// A list that an administrator or a client with many queues sends.
const LIST: usize = 1 << 20;
const HEARTBEAT: usize = limits::MAX_HEARTBEAT_BYTES;
/// A message's body, which is bounded by `maxMessageSize` and not decoded.
const MESSAGE: usize = usize::MAX;

macro_rules! requests {
    ($($code:ident: $audience:ident, $max_body:expr, $kind:expr;)*) => {
        /// The row of a request; `None`: there is no such request here.
        pub fn find(code: i32) -> Option<&'static Entry> {
            match code {
                $(request::$code => {
                    const ENTRY: &Entry = &Entry {
                        code: request::$code,
                        name: stringify!($code),
                        kind: $kind,
                        audience: Audience::$audience,
                        max_body: $max_body,
                    };
                    Some(ENTRY)
                })*
                _ => None,
            }
        }

        /// All codes of the table, in its order.
        pub const CODES: &[i32] = &[$(request::$code),*];
    };
}

/// A handler that answers at once.
macro_rules! answer {
    (|$broker:ident, $request:ident| $reply:expr) => {
        Kind::Handle(|$broker, $request| $reply.map(|reply| Step::Reply(reply.bounded())))
    };
}

/// A handler that needs more than the broker's state, or more than a turn.
macro_rules! step {
    (|$broker:ident, $request:ident| $step:expr) => {
        Kind::Handle(|$broker, $request| $step)
    };
}

requests! {
    // Messages
    SEND_MESSAGE: Publish, MESSAGE, Kind::Send;
    SEND_MESSAGE_V2: Publish, MESSAGE, Kind::Send;
    SEND_BATCH_MESSAGE: Publish, MESSAGE, Kind::Send;
    SEND_REPLY_MESSAGE: Publish, MESSAGE, Kind::SendReply;
    SEND_REPLY_MESSAGE_V2: Publish, MESSAGE, Kind::SendReply;
    RECALL_MESSAGE: Publish, NONE, Kind::Recall;
    END_TRANSACTION: Publish, NONE, Kind::EndTransaction;
    RESUME_CHECK_HALF_MESSAGE: Administer, NONE, Kind::ResumeTransaction;
    CONSUMER_SEND_MSG_BACK: Subscribe, NONE, Kind::SendBack;
    PULL_MESSAGE: Subscribe, NONE, Kind::Pull { is_lite: false };
    LITE_PULL_MESSAGE: Subscribe, NONE, Kind::Pull { is_lite: true };
    POP_MESSAGE: Subscribe, NONE, Kind::Pop;
    PEEK_MESSAGE: Subscribe, NONE, Kind::Peek;
    NOTIFICATION: Subscribe, NONE, Kind::Notification;
    POLLING_INFO: Subscribe, NONE, Kind::PollingInfo;
    QUERY_ASSIGNMENT: Subscribe, OBJECT, Kind::Assignment;
    ACK_MESSAGE: Subscribe, NONE, Kind::Ack;
    BATCH_ACK_MESSAGE: Subscribe, LIST, Kind::BatchAck;
    CHANGE_MESSAGE_INVISIBLETIME: Subscribe, NONE, Kind::ChangeInvisibleTime;

    // Clients and their offsets
    HEART_BEAT: Client, HEARTBEAT, answer!(|b, r| b.heartbeat(&HeartbeatData::decode(r.body)?, r));
    UNREGISTER_CLIENT: Client, NONE, answer!(|b, r| b.unregister(UnregisterClient::decode(r.ext)?, r));
    GET_CONSUMER_LIST_BY_GROUP: Client, NONE, step!(|b, r| b.consumer_list(ConsumerGroup::decode(r.ext)?));
    CHECK_CLIENT_CONFIG: Client, OBJECT,
        answer!(|b, r| b.check_client_config(CheckClientConfig::decode(r.body)?));
    QUERY_CONSUMER_OFFSET: Subscribe, NONE,
        answer!(|b, r| b.query_offset(QueryConsumerOffset::decode(r.ext)?, r.store));
    UPDATE_CONSUMER_OFFSET: Subscribe, NONE,
        answer!(|b, r| b.update_offset(UpdateConsumerOffset::decode(r.ext)?, r.now_ms));
    GET_MAX_OFFSET: Client, NONE, answer!(|_b, r| offsets::max_offset(QueueRequest::decode(r.ext)?, r));
    GET_MIN_OFFSET: Client, NONE, answer!(|_b, r| offsets::min_offset(QueueRequest::decode(r.ext)?, r));
    LOCK_BATCH_MQ: Subscribe, LIST, answer!(|b, r| b.lock(LockBatch::decode(r.body)?, r.now_ms));
    UNLOCK_BATCH_MQ: Subscribe, LIST, answer!(|b, r| b.unlock(LockBatch::decode(r.body)?));

    // What is read from the store
    VIEW_MESSAGE_BY_ID: Client, NONE, step!(|_b, r| lookup::message(&ViewMessage::decode(r.ext)?, &ViewAgain::decode(r.ext)?));
    QUERY_MESSAGE: Client, NONE, step!(|b, r| Ok(b.by_key(&QueryMessage::decode(r.ext)?)));
    SEARCH_OFFSET_BY_TIMESTAMP: Client, NONE,
        step!(|_b, r| lookup::offset_by_time(&SearchOffset::decode(r.ext)?));
    GET_EARLIEST_MSG_STORETIME: Client, NONE,
        step!(|_b, r| lookup::earliest_time(&QueueRequest::decode(r.ext)?));
    QUERY_CONSUME_QUEUE: Inspect, NONE, step!(|_b, r| Ok(lookup::entries(&QueryConsumeQueue::decode(r.ext)?)));

    // Topics
    UPDATE_AND_CREATE_TOPIC: Administer, NONE,
        answer!(|b, r| b.update_topic(CreateTopic::decode(r.ext)?, r.now_ms));
    UPDATE_AND_CREATE_TOPIC_LIST: Administer, LIST,
        step!(|b, r| b.update_topics(loose_json::from_slice::<TopicConfigList>(r.body)?));
    DELETE_TOPIC_IN_BROKER: Administer, NONE, step!(|b, r| b.delete_topic(TopicRequest::decode(r.ext)?));
    GET_ALL_TOPIC_CONFIG: Inspect, NONE, step!(|b, r| b.all_topics(AllTopicConfigRequest::decode(r.ext)?));
    GET_TOPIC_CONFIG: Inspect, NONE, answer!(|b, r| b.topic_config(TopicRequest::decode(r.ext)?));
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER: Inspect, NONE, answer!(|b, _r| b.system_topics());

    // Groups
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: Administer, OBJECT,
        answer!(|b, r| b.update_groups(vec![SubscriptionGroupConfig::decode(r.body)?], r.now_ms));
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: Administer, LIST, answer!(|b, r| {
        let list: SubscriptionGroupList = loose_json::from_slice(r.body)?;
        b.update_groups(list.group_config_list, r.now_ms)
    });
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG: Inspect, NONE,
        step!(|b, r| b.all_groups(AllSubscriptionGroupRequest::decode(r.ext)?));
    GET_SUBSCRIPTIONGROUP_CONFIG: Inspect, NONE,
        answer!(|b, r| b.group_config(GroupRequest::decode(r.ext)?, r.now_ms));
    DELETE_SUBSCRIPTIONGROUP: Administer, NONE,
        step!(|b, r| Ok(b.delete_group(DeleteGroup::decode(r.ext)?, r.now_ms)));
    UPDATE_AND_GET_GROUP_FORBIDDEN: Administer, NONE,
        answer!(|b, r| b.group_forbidden(GroupForbiddenRequest::decode(r.ext)?, r.now_ms));
    SET_MESSAGE_REQUEST_MODE: Administer, OBJECT, answer!(|b, r| b.update_request_mode(r.body, r.now_ms));
    GET_ALL_MESSAGE_REQUEST_MODE: Replica, NONE, step!(|b, _r| Ok(b.all_request_modes()));
    CLONE_GROUP_OFFSET: Administer, NONE, step!(|b, r| Ok(b.clone_offsets(CloneGroupOffset::decode(r.ext)?)));
    INVOKE_BROKER_TO_RESET_OFFSET: Administer, NONE, step!(|b, r| Ok(Step::Rewind {
        rewind: b.admit_rewind(ResetOffset::decode(r.ext)?, r.store)?,
        language: r.language,
    }));

    // Settings and the broker itself
    UPDATE_BROKER_CONFIG: Administer, OBJECT, answer!(|b, r| b.update_config(r.body, r.now_ms));
    GET_BROKER_CONFIG: Inspect, NONE, answer!(|b, _r| b.config_text());
    CLEAN_EXPIRED_CONSUMEQUEUE: Administer, NONE, answer!(|b, _r| b.clean(Effect::CleanQueues));
    CLEAN_UNUSED_TOPIC: Administer, NONE, answer!(|b, _r| b.clean(Effect::CleanUnusedTopics));
    DELETE_EXPIRED_COMMITLOG: Administer, NONE, answer!(|b, _r| b.clean(Effect::CleanLog));
    GET_BROKER_RUNTIME_INFO: Inspect, NONE, answer!(|b, r| b.runtime_info(r.now_ms, r.store));
    GET_TIMER_CHECK_POINT: Replica, NONE, answer!(|b, r| b.timer_check_point(r.store));
    GET_TIMER_METRICS: Replica, NONE, step!(|b, r| b.timer_metrics(r.store));
    SWITCH_TIMER_ENGINE: Administer, NONE, answer!(|b, r| b.switch_timer_engine(r.ext));
    AUTH_GET_USER: Administer, NONE, answer!(|_b, r| users::user(&OfUser::decode(r.ext)?));

    // Statistics
    GET_TOPIC_STATS_INFO: Inspect, NONE, step!(|b, r| b.topic_stats(TopicRequest::decode(r.ext)?));
    GET_CONSUME_STATS: Inspect, NONE, step!(|b, r| b.consume_stats(ConsumeStatsRequest::decode(r.ext)?));
    GET_BROKER_CONSUME_STATS: Inspect, NONE,
        step!(|b, r| b.broker_consume_stats(BrokerConsumeStatsRequest::decode(r.ext)?));
    QUERY_CONSUME_TIME_SPAN: Inspect, NONE, step!(|b, r| b.consume_time_spans(GroupAndTopic::decode(r.ext)?));
    VIEW_BROKER_STATS_DATA: Inspect, NONE, answer!(|b, r| b.statistics(BrokerStatsRequest::decode(r.ext)?, r.now_ms));
    QUERY_CORRECTION_OFFSET: Inspect, NONE,
        step!(|b, r| Ok(b.correction_offsets(TopicRequest::decode(r.ext)?, r.ext)));

    // The connected clients, and questions to them
    GET_CONSUMER_CONNECTION_LIST: Inspect, NONE, step!(|b, r| b.consumer_connections(ConsumerGroup::decode(r.ext)?));
    GET_PRODUCER_CONNECTION_LIST: Inspect, NONE, step!(|b, r| b.producer_connections(ProducerGroup::decode(r.ext)?));
    GET_ALL_PRODUCER_INFO: Inspect, NONE, step!(|b, _r| b.all_producers());
    QUERY_TOPIC_CONSUME_BY_WHO: Inspect, NONE, step!(|b, r| Ok(b.groups_of_topic(TopicRequest::decode(r.ext)?)));
    QUERY_TOPICS_BY_CONSUMER: Inspect, NONE, step!(|b, r| Ok(b.topics_of_group(GroupAndTopic::decode(r.ext)?)));
    QUERY_SUBSCRIPTION_BY_CONSUMER: Inspect, NONE,
        answer!(|b, r| b.subscription_of_group(GroupAndTopic::decode(r.ext)?));
    GET_CONSUMER_RUNNING_INFO: Inspect, NONE,
        step!(|b, r| b.relay_running_info(ConsumerRunningInfo::decode(r.ext)?, r.ext).map(Step::Ask));
    CONSUME_MESSAGE_DIRECTLY: Administer, NONE, step!(|b, r| {
        let (relay, physical_offset) = b.relay_message(ConsumeMessageDirectly::decode(r.ext)?, r.ext)?;
        Ok(Step::AskWithMessage { relay, physical_offset })
    });
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS: Inspect, NONE,
        step!(|b, r| b.relay_status(ConsumerStatusRequest::decode(r.ext)?).map(Step::AskStatus));

    // Of slaves, and of what RocketMQ has several kinds of
    GET_ALL_CONSUMER_OFFSET: Replica, NONE, step!(|b, _r| b.all_offsets());
    GET_ALL_DELAY_OFFSET: Replica, NONE, answer!(|b, r| b.all_delay_offsets(r.store));
    EXCHANGE_BROKER_HA_INFO: Replica, NONE, answer!(|b, r| b.exchange_ha_info(r.ext, r.store));
    GET_BROKER_HA_STATUS: Inspect, NONE, answer!(|b, r| b.ha_status(r.store));
    RESET_MASTER_FLUSH_OFFSET: Replica, NONE, answer!(|_b, _r| Ok(Reply::ok()));
    GET_BROKER_EPOCH_CACHE: Replica, NONE, answer!(|b, r| b.epochs(r.store));
    NOTIFY_BROKER_ROLE_CHANGED: Replica, NONE, answer!(|b, r| b.role_changed(r.ext, r.body));
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS: Inspect, NONE, answer!(|b, _r| b.compare_queues());
    EXPORT_ROCKSDB_CONFIG_TO_JSON: Administer, NONE, answer!(|b, _r| b.export_config());
    // From RocketMQ's one way of keeping pops to its other: here is only one.
    POP_ROLLBACK: Administer, NONE, answer!(|_b, _r| Ok(Reply::ok()));
}

impl Entry {
    /// Whether requests with messages and offsets go before it: heartbeats, lists of clients, administration.
    pub fn waits_for_a_round(&self) -> bool {
        matches!(self.kind, Kind::Handle(_))
            && !matches!(self.audience, Audience::Publish | Audience::Subscribe)
    }

    /// Whether it changes the broker, on behalf of an administrator.
    pub fn administers(&self) -> bool {
        self.audience == Audience::Administer
    }

    /// Refuses a body that would take long to decode.
    pub fn check_body(&self, body: &[u8]) -> Result<(), Refusal> {
        if body.len() <= self.max_body {
            return Ok(());
        }
        Err(Refusal::new(
            response::SYSTEM_ERROR,
            format!(
                "the body of {} is {} bytes, limit {}",
                self.name,
                body.len(),
                self.max_body
            ),
        ))
    }
}

impl Broker {
    /// What is to be done for a request whose kind is [`Kind::Handle`]; `None`: it is of another kind.
    pub fn handle(&mut self, code: i32, request: &Request<'_>) -> Option<Result<Step, Refusal>> {
        let Some(entry) = find(code) else {
            return Some(Err(unsupported(code)));
        };
        let Kind::Handle(handler) = entry.kind else {
            return None;
        };
        let checked = entry.check_body(request.body);
        Some(checked.and_then(|()| handler(self, request)))
    }
}

#[cfg(test)]
mod tests;
