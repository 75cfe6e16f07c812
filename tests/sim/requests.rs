//! The requests that the tests make, and the records in the answers.

use std::io;
use std::time::Duration;

use ringmq::message::ids::parse_offset_message_id;
use ringmq::message::{Check, Record, batch, sys_flag};
use ringmq::wire::codes::{request, response};
use ringmq::wire::offset::{QueryConsumerOffset, QueueRequest, UpdateConsumerOffset};
use ringmq::wire::pull::{PullRequest, pull_sys_flag};
use ringmq::wire::query::{ViewAgain, ViewMessage};
use ringmq::wire::send::SendRequest;
use ringmq::wire::send_back::SendBack;
use ringmq::wire::topic::CreateTopic;
use ringmq::wire::transaction::{EndTransaction, ResumeCheckHalfMessage};

use crate::client::{Client, PATIENCE, Reply};
use crate::oracle::Queue;
use crate::sent::{PRODUCERS, Sent};

/// Queues of every topic that a test creates.
pub const QUEUES: i32 = 4;

/// A pull's own limit; the broker's is 32.
const MOST_MESSAGES: i32 = 32;

/// How much later than asked for a parked pull may be answered: the broker looks every 100 ms.
const PULL_SLACK: Duration = Duration::from_millis(500);

pub struct Pull<'a> {
    pub group: &'a str,
    pub queue: &'a Queue,
    pub offset: u64,
    /// Tags, or SQL92 if it compares something.
    pub expression: &'a str,
    pub hold_ms: u64,
}

impl<'a> Pull<'a> {
    /// All messages from this offset on that there are now.
    pub fn of_all(group: &'a str, queue: &'a Queue, offset: u64) -> Self {
        Self {
            group,
            queue,
            offset,
            expression: "*",
            hold_ms: 0,
        }
    }
}

/// Makes a topic, and waits until it is made.
pub async fn make_topic(client: &mut Client, topic: &str) {
    create_topic(client, topic);
    client.flush().await.unwrap();
    let reply = client.reply().await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
}

pub fn create_topic(client: &mut Client, topic: &str) -> i32 {
    create_topic_of(client, topic, None)
}

pub fn create_topic_of(client: &mut Client, topic: &str, attributes: Option<&str>) -> i32 {
    let fields = CreateTopic {
        topic,
        default_topic: "TBW102",
        read_queue_nums: QUEUES,
        write_queue_nums: QUEUES,
        perm: 6,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: Some(0),
        order: false,
        attributes,
        force: false,
    };
    client.ask(request::UPDATE_AND_CREATE_TOPIC, &fields.ext(), &[])
}

pub fn send(client: &mut Client, sent: &Sent, queue_id: i32) -> i32 {
    let properties = sent.properties();
    let fields = send_fields(sent, queue_id, &properties);
    client.ask(request::SEND_MESSAGE_V2, &fields.ext(), &sent.body())
}

pub fn send_oneway(client: &mut Client, sent: &Sent, queue_id: i32) {
    let properties = sent.properties();
    let fields = send_fields(sent, queue_id, &properties);
    client.tell(request::SEND_MESSAGE_V2, &fields.ext(), &sent.body());
}

/// All of one topic.
pub fn send_batch(client: &mut Client, messages: &[Sent], queue_id: i32) -> i32 {
    let mut body = Vec::new();
    for sent in messages {
        let (content, properties) = (sent.body(), sent.properties());
        let item = batch::BatchItem {
            flag: sent.flag(),
            body: &content,
            properties: properties.as_bytes(),
        };
        batch::push(&mut body, &item);
    }
    let fields = SendRequest {
        batch: true,
        ..send_fields(&messages[0], queue_id, "")
    };
    client.ask(request::SEND_BATCH_MESSAGE, &fields.ext(), &body)
}

/// A send of the message to the topic's first queue.
pub fn send_to<'a>(topic: &'a str, properties: &'a str) -> SendRequest<'a> {
    SendRequest {
        producer_group: PRODUCERS,
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: QUEUES,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        flag: 0,
        properties: Some(properties),
        reconsume_times: Some(0),
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    }
}

fn send_fields<'a>(sent: &'a Sent, queue_id: i32, properties: &'a str) -> SendRequest<'a> {
    SendRequest {
        queue_id,
        sys_flag: match sent.is_half {
            true => sys_flag::TRANSACTION_PREPARED,
            false => 0,
        },
        born_timestamp_ms: sent.born_ms,
        flag: sent.flag(),
        ..send_to(&sent.topic, properties)
    }
}

/// Where a half message is, as the reply to its send or a question about it says.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    pub queue_offset: i64,
    pub physical_offset: i64,
    /// The producer was asked.
    pub is_asked: bool,
}

impl Half {
    pub fn sent(reply: &Reply) -> Self {
        let (_, physical_offset) = parse_offset_message_id(reply.text("msgId")).unwrap();
        Half {
            queue_offset: reply.number("queueOffset"),
            physical_offset: physical_offset as i64,
            is_asked: false,
        }
    }

    pub fn asked(question: &Reply) -> Self {
        assert_eq!(question.code, request::CHECK_TRANSACTION_STATE);
        assert_eq!(question.text("topic"), "RMQ_SYS_TRANS_HALF_TOPIC");
        Half {
            queue_offset: question.number("tranStateTableOffset"),
            physical_offset: question.number("commitLogOffset"),
            is_asked: true,
        }
    }
}

/// `commit_or_rollback` as the wire has it.
pub fn end_fields(half: Half, commit_or_rollback: i32) -> EndTransaction<'static> {
    EndTransaction {
        topic: None,
        producer_group: PRODUCERS,
        half_queue_offset: half.queue_offset,
        half_physical_offset: half.physical_offset,
        commit_or_rollback,
        from_transaction_check: half.is_asked,
        msg_id: "any",
        transaction_id: None,
    }
}

pub fn end_transaction(client: &mut Client, half: Half, commit_or_rollback: i32) -> i32 {
    let fields = end_fields(half, commit_or_rollback);
    client.ask(request::END_TRANSACTION, &fields.ext(), &[])
}

/// As clients do.
pub fn end_transaction_oneway(client: &mut Client, half: Half, commit_or_rollback: i32) {
    let fields = end_fields(half, commit_or_rollback);
    client.tell(request::END_TRANSACTION, &fields.ext(), &[]);
}

pub async fn resume_check(client: &mut Client, msg_id: &str) -> io::Result<Reply> {
    let fields = ResumeCheckHalfMessage {
        topic: None,
        msg_id: Some(msg_id),
    };
    client
        .call(request::RESUME_CHECK_HALF_MESSAGE, &fields.ext(), &[])
        .await
}

/// Joins the producers.
pub async fn heartbeat(client: &mut Client, client_id: &str) -> io::Result<()> {
    let body = format!(
        r#"{{"clientID":"{client_id}","producerDataSet":[{{"groupName":"{PRODUCERS}"}}]}}"#
    );
    let reply = client
        .call(request::HEART_BEAT, &[], body.as_bytes())
        .await?;
    assert!(reply.is_success(), "{reply:?}");
    Ok(())
}

pub fn send_back(
    client: &mut Client,
    record: &Record<'_>,
    group: &str,
    delay_level: i32,
    max_reconsume_times: i32,
) -> i32 {
    let fields = SendBack {
        offset: record.physical_offset as i64,
        group,
        delay_level,
        origin_msg_id: None,
        origin_topic: Some(record.topic),
        unit_mode: false,
        max_reconsume_times: Some(max_reconsume_times),
    };
    client.ask(request::CONSUMER_SEND_MSG_BACK, &fields.ext(), &[])
}

/// Waits for as long as the broker may hold the pull.
pub async fn pull(client: &mut Client, pull: &Pull<'_>) -> io::Result<Reply> {
    ask_pull(client, pull);
    client.patience = PATIENCE.max(Duration::from_millis(pull.hold_ms) + PULL_SLACK);
    client.flush().await?;
    let reply = client.reply().await;
    client.patience = PATIENCE;
    reply
}

pub fn ask_pull(client: &mut Client, pull: &Pull<'_>) -> i32 {
    let hold = if pull.hold_ms > 0 {
        pull_sys_flag::SUSPEND
    } else {
        0
    };
    let fields = PullRequest {
        consumer_group: pull.group,
        topic: &pull.queue.topic,
        queue_id: pull.queue.id,
        queue_offset: pull.offset as i64,
        max_msg_nums: MOST_MESSAGES,
        sys_flag: hold | pull_sys_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_ms: pull.hold_ms as i64,
        subscription: Some(pull.expression),
        sub_version: 0,
        expression_type: Some(match pull.expression.contains('=') {
            true => "SQL92",
            false => "TAG",
        }),
        max_msg_bytes: None,
        request_source: None,
    };
    client.ask(request::PULL_MESSAGE, &fields.ext(), &[])
}

/// The message at this position of the log, as the broker's device has it.
pub async fn view_from_device(client: &mut Client, position: u64) -> io::Result<Reply> {
    let fields = ViewMessage {
        offset: position as i64,
        topic: None,
    };
    let again = ViewAgain {
        is_from_device: true,
    };
    let ext: Vec<_> = fields.ext().into_iter().chain(again.ext()).collect();
    client.call(request::VIEW_MESSAGE_BY_ID, &ext, &[]).await
}

/// What the group has committed, if anything.
pub async fn query_offset(
    client: &mut Client,
    group: &str,
    queue: &Queue,
) -> io::Result<Option<i64>> {
    let fields = QueryConsumerOffset {
        consumer_group: group,
        topic: &queue.topic,
        queue_id: queue.id,
        set_zero_if_not_found: Some(false),
    };
    let mut reply = client
        .call(request::QUERY_CONSUMER_OFFSET, &fields.ext(), &[])
        .await?;
    // The question has made the group, which cannot be saved for want of a descriptor: it is there when asked again.
    if is_made_but_not_saved(&reply, "Too many open files") {
        reply = client
            .call(request::QUERY_CONSUMER_OFFSET, &fields.ext(), &[])
            .await?;
    }
    match reply.code {
        response::SUCCESS => Ok(Some(reply.number("offset"))),
        response::QUERY_NOT_FOUND => Ok(None),
        _ => panic!("query of {group}'s offset of {queue:?}: {reply:?}"),
    }
}

pub fn commit_offset(client: &mut Client, group: &str, queue: &Queue, offset: u64) -> i32 {
    let fields = UpdateConsumerOffset {
        consumer_group: group,
        topic: &queue.topic,
        queue_id: queue.id,
        commit_offset: offset as i64,
    };
    client.ask(request::UPDATE_CONSUMER_OFFSET, &fields.ext(), &[])
}

pub async fn max_offset(client: &mut Client, queue: &Queue) -> io::Result<Reply> {
    let fields = QueueRequest {
        topic: &queue.topic,
        queue_id: queue.id,
    };
    client
        .call(request::GET_MAX_OFFSET, &fields.ext(), &[])
        .await
}

pub async fn min_offset(client: &mut Client, queue: &Queue) -> io::Result<Reply> {
    let fields = QueueRequest {
        topic: &queue.topic,
        queue_id: queue.id,
    };
    client
        .call(request::GET_MIN_OFFSET, &fields.ext(), &[])
        .await
}

/// The records of a pull's reply, each with right CRCs.
pub fn records(mut body: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let record = Record::decode(body, Check::Crc);
        let record =
            record.unwrap_or_else(|error| panic!("a pulled record cannot be read: {error}"));
        body = &body[record.total_size as usize..];
        records.push(record);
    }
    records
}

/// A change that was made and that the full disk could not take: a restart may or may not know of it.
pub fn is_made_but_not_saved(reply: &Reply, reason: &str) -> bool {
    reply.remark.as_ref().is_some_and(|remark| {
        remark.contains("a restart will take it back") && remark.contains(reason)
    })
}
