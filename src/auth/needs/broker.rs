//! The rows of a broker.

use super::bodies;
use super::{Kind, NameIn, Needs, Row};
use crate::auth::resource::Actions;
use crate::wire::codes::request::*;

const PUB: Actions = Actions::PUB;
const SUB: Actions = Actions::SUB;
const CREATE: Actions = Actions::CREATE;
const UPDATE: Actions = Actions::UPDATE;
const DELETE: Actions = Actions::DELETE;
const GET: Actions = Actions::GET;
const LIST: Actions = Actions::LIST;
const SUB_OR_GET: Actions = SUB.or(GET);
const SUB_OR_UPDATE: Actions = SUB.or(UPDATE);

const TOPIC: &[&str] = &["topic"];
/// Of a send: its two spellings.
const SENT_TO: &[&str] = &["b", "topic"];
const CONSUMER: &[&str] = &["consumerGroup"];
const GROUP: &[&str] = &["group"];

/// `None`: the code has no row, and nobody but a super user may ask it.
pub fn needs(code: i32) -> Option<Needs> {
    let found = of_clients(code).or_else(|| of_readers(code));
    found.or_else(|| of_administrators(code))
}

#[rustfmt::skip]
fn of_clients(code: i32) -> Option<Needs> {
    use Needs::{Body, Rows};
    Some(match code {
        SEND_MESSAGE | SEND_MESSAGE_V2 | SEND_BATCH_MESSAGE | SEND_REPLY_MESSAGE | SEND_REPLY_MESSAGE_V2 =>
            Rows(const { &[Row::topic(SENT_TO, PUB)] }),
        PULL_MESSAGE | LITE_PULL_MESSAGE => Rows(const { &[Row::topic(TOPIC, SUB), Row::group(CONSUMER, SUB)] }),
        HEART_BEAT => Body(bodies::heartbeat),
        QUERY_CONSUMER_OFFSET =>
            Rows(const { &[Row::topic(TOPIC, SUB_OR_GET), Row::group(CONSUMER, SUB_OR_GET)] }),
        UPDATE_CONSUMER_OFFSET =>
            Rows(const { &[Row::topic(TOPIC, SUB_OR_UPDATE), Row::group(CONSUMER, SUB_OR_UPDATE)] }),
        PEEK_MESSAGE => Rows(const { &[Row::topic(TOPIC, SUB), Row::group(CONSUMER, SUB)] }),
        POP_MESSAGE | ACK_MESSAGE | CHANGE_MESSAGE_INVISIBLETIME | NOTIFICATION | CONSUME_MESSAGE_DIRECTLY =>
            Rows(const { &[Row::group(CONSUMER, SUB), Row::new(Kind::Topic, NameIn::OrAll("topic"), SUB)] }),
        BATCH_ACK_MESSAGE => Body(bodies::batch_ack),
        POLLING_INFO => Rows(const { &[Row::group(CONSUMER, GET), Row::topic(TOPIC, GET)] }),
        QUERY_ASSIGNMENT => Body(bodies::assignment),
        LOCK_BATCH_MQ | UNLOCK_BATCH_MQ => Body(bodies::lock),
        CHECK_CLIENT_CONFIG => Body(bodies::client_config),
        CONSUMER_SEND_MSG_BACK => Rows(const { &[Row::group(GROUP, SUB)] }),
        UNREGISTER_CLIENT => Rows(const { &[Row::new(Kind::Group, NameIn::Optional("consumerGroup"), SUB)] }),
        RECALL_MESSAGE => Rows(const { &[Row::topic(TOPIC, PUB)] }),
        // Clients of 4.x do not name it.
        END_TRANSACTION => Rows(const { &[Row::new(Kind::Topic, NameIn::Optional("topic"), PUB)] }),
        _ => return None,
    })
}

#[rustfmt::skip]
fn of_readers(code: i32) -> Option<Needs> {
    use Needs::Rows;
    Some(match code {
        QUERY_MESSAGE => Rows(const { &[Row::topic(TOPIC, SUB_OR_GET)] }),
        GET_CONSUMER_LIST_BY_GROUP => Rows(const { &[Row::group(CONSUMER, SUB_OR_GET)] }),
        // 4.x does not name it. The message's own topic is checked when it has been read: `of_message`.
        VIEW_MESSAGE_BY_ID => Rows(const { &[Row::new(Kind::Topic, NameIn::Optional("topic"), GET)] }),
        SEARCH_OFFSET_BY_TIMESTAMP | GET_MAX_OFFSET | GET_MIN_OFFSET | GET_EARLIEST_MSG_STORETIME
        | GET_TOPIC_STATS_INFO | QUERY_TOPIC_CONSUME_BY_WHO | GET_TOPIC_CONFIG | CHECK_ROCKSDB_CQ_WRITE_PROGRESS =>
            Rows(const { &[Row::topic(TOPIC, GET)] }),
        QUERY_CONSUME_QUEUE => Rows(const {
            &[Row::topic(TOPIC, GET), Row::new(Kind::Group, NameIn::Optional("consumerGroup"), GET)]
        }),
        GET_CONSUMER_CONNECTION_LIST | GET_CONSUMER_RUNNING_INFO => Rows(const { &[Row::group(CONSUMER, GET)] }),
        QUERY_TOPICS_BY_CONSUMER | GET_SUBSCRIPTIONGROUP_CONFIG => Rows(const { &[Row::group(GROUP, GET)] }),
        QUERY_SUBSCRIPTION_BY_CONSUMER => Rows(const {
            &[Row::group(GROUP, GET), Row::new(Kind::Topic, NameIn::OrAll("topic"), GET)]
        }),
        QUERY_CONSUME_TIME_SPAN => Rows(const {
            &[Row::new(Kind::Topic, NameIn::OrAll("topic"), GET), Row::group(GROUP, GET)]
        }),
        INVOKE_BROKER_TO_GET_CONSUMER_STATUS => Rows(const { &[Row::topic(TOPIC, GET), Row::group(GROUP, GET)] }),
        GET_CONSUME_STATS => Rows(const { &[
            Row::group(CONSUMER, GET),
            Row::new(Kind::Topic, NameIn::Optional("topic"), GET),
            Row::new(Kind::Topic, NameIn::Each("topicList", ';'), GET),
        ] }),
        QUERY_CORRECTION_OFFSET => Rows(const { &[
            Row::new(Kind::Group, NameIn::Each("filterGroups", ','), GET),
            Row::group(&["compareGroup"], GET),
            Row::topic(TOPIC, GET),
        ] }),
        _ => return None,
    })
}

#[rustfmt::skip]
fn of_administrators(code: i32) -> Option<Needs> {
    use Needs::{Body, Rows};
    Some(match code {
        UPDATE_AND_CREATE_TOPIC => Rows(const { &[Row::topic(TOPIC, CREATE)] }),
        UPDATE_AND_CREATE_TOPIC_LIST => Body(bodies::topics),
        UPDATE_AND_CREATE_STATIC_TOPIC => Rows(const { &[Row::topic(TOPIC, CREATE)] }),
        DELETE_TOPIC_IN_BROKER => Rows(const { &[Row::topic(TOPIC, DELETE)] }),
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => Body(bodies::group),
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => Body(bodies::groups),
        DELETE_SUBSCRIPTIONGROUP => Rows(const { &[Row::group(&["groupName"], DELETE)] }),
        INVOKE_BROKER_TO_RESET_OFFSET | UPDATE_AND_GET_GROUP_FORBIDDEN =>
            Rows(const { &[Row::group(GROUP, UPDATE), Row::topic(TOPIC, UPDATE)] }),
        CLONE_GROUP_OFFSET => Rows(const {
            &[Row::group(&["destGroup"], UPDATE), Row::new(Kind::Topic, NameIn::Optional("topic"), UPDATE)]
        }),
        RESUME_CHECK_HALF_MESSAGE => Rows(const { &[Row::new(Kind::Topic, NameIn::OrAll("topic"), UPDATE)] }),
        SET_MESSAGE_REQUEST_MODE => Body(bodies::request_mode),

        GET_ALL_TOPIC_CONFIG | GET_TIMER_METRICS | GET_SYSTEM_TOPIC_LIST_FROM_BROKER =>
            Rows(const { &[Row::new(Kind::Topic, NameIn::All, LIST)] }),
        GET_ALL_SUBSCRIPTIONGROUP_CONFIG | GET_COLD_DATA_FLOW_CTR_INFO =>
            Rows(const { &[Row::new(Kind::Group, NameIn::All, LIST)] }),
        GET_ALL_MESSAGE_REQUEST_MODE => Rows(const {
            &[Row::new(Kind::Topic, NameIn::All, LIST), Row::new(Kind::Group, NameIn::All, LIST)]
        }),
        UPDATE_COLD_DATA_FLOW_CTR_CONFIG | REMOVE_COLD_DATA_FLOW_CTR_CONFIG =>
            Rows(const { &[Row::new(Kind::Group, NameIn::All, UPDATE)] }),

        GET_BROKER_CONFIG | GET_BROKER_RUNTIME_INFO | GET_ALL_CONSUMER_OFFSET | GET_ALL_DELAY_OFFSET
        | GET_TIMER_CHECK_POINT | GET_PRODUCER_CONNECTION_LIST | VIEW_BROKER_STATS_DATA | GET_BROKER_CONSUME_STATS
        | QUERY_DATA_VERSION | GET_ALL_PRODUCER_INFO | EXPORT_ROCKSDB_CONFIG_TO_JSON | GET_BROKER_MEMBER_GROUP
        | GET_BROKER_HA_STATUS | GET_BROKER_EPOCH_CACHE | AUTH_GET_USER | AUTH_LIST_USER | AUTH_GET_ACL
        | AUTH_LIST_ACL => Rows(const { &[Row::cluster(GET)] }),
        UPDATE_BROKER_CONFIG | CLEAN_EXPIRED_CONSUMEQUEUE | CLEAN_UNUSED_TOPIC | DELETE_EXPIRED_COMMITLOG
        | SET_COMMITLOG_READ_MODE | SWITCH_TIMER_ENGINE | POP_ROLLBACK | ADD_BROKER | REMOVE_BROKER
        | NOTIFY_MIN_BROKER_ID_CHANGE | EXCHANGE_BROKER_HA_INFO | RESET_MASTER_FLUSH_OFFSET
        | NOTIFY_BROKER_ROLE_CHANGED | AUTH_CREATE_USER | AUTH_UPDATE_USER | AUTH_DELETE_USER | AUTH_CREATE_ACL
        | AUTH_UPDATE_ACL | AUTH_DELETE_ACL => Rows(const { &[Row::cluster(UPDATE)] }),
        _ => return None,
    })
}
