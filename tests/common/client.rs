//! A client on one blocking connection, in either codec.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmq::message::{Check, Record, batch};
use ringmq::wire::codes::{request, response};
use ringmq::wire::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
use ringmq::wire::offset::QueueRequest;
use ringmq::wire::pull::{PullRequest, pull_sys_flag};
use ringmq::wire::route::TopicRouteData;
use ringmq::wire::send::SendRequest;
use ringmq::wire::{
    CURRENT_VERSION, Codec, FLAG_ONEWAY, FLAG_RESPONSE, Head, Language, Scratch, Value, frame,
    header, loose_json,
};

use super::Wire;

pub struct Client {
    pub wire: Wire,
    codec: Codec,
    version: i32,
    last_opaque: i32,
}

/// A frame from the other side: mostly a reply.
#[derive(Clone, Debug)]
pub struct Reply {
    pub code: i32,
    pub flag: i32,
    pub opaque: i32,
    pub remark: String,
    pub fields: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// A message as a pull hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub queue_id: u32,
    pub queue_offset: u64,
    pub physical_offset: u64,
    pub flag: i32,
    pub born_timestamp_ms: i64,
    pub store_timestamp_ms: i64,
    pub reconsume_times: i32,
    pub body: Vec<u8>,
    /// With those of the broker behind the client's own.
    pub properties: String,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Client {
        Client::with_codec(addr, Codec::Json)
    }

    pub fn with_codec(addr: SocketAddr, codec: Codec) -> Client {
        Client {
            wire: Wire::connect(addr),
            codec,
            version: CURRENT_VERSION,
            last_opaque: 0,
        }
    }

    /// Says that it is an older or newer one.
    pub fn of_version(self, version: i32) -> Client {
        Client { version, ..self }
    }

    pub fn is_binary(&self) -> bool {
        self.codec == Codec::Rocketmq
    }

    /// A request's bytes, with an opaque of its own.
    pub fn encode(
        &mut self,
        code: i32,
        flag: i32,
        ext: &[(&str, Value<'_>)],
        body: &[u8],
    ) -> Vec<u8> {
        self.last_opaque += 1;
        let head = Head {
            codec: self.codec,
            code,
            language: Language::Java,
            version: self.version,
            opaque: self.last_opaque,
            flag,
            remark: None,
        };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &head, ext, body);
        bytes
    }

    /// Sends a request without waiting; its opaque.
    pub fn post(&mut self, code: i32, ext: &[(&str, Value<'_>)], body: &[u8]) -> i32 {
        let bytes = self.encode(code, 0, ext, body);
        self.wire.send(&bytes);
        self.last_opaque
    }

    /// Sends a one-way request.
    pub fn tell(&mut self, code: i32, ext: &[(&str, Value<'_>)], body: &[u8]) {
        let bytes = self.encode(code, FLAG_ONEWAY, ext, body);
        self.wire.send(&bytes);
    }

    /// Sends a request and waits for its reply; requests of the broker before it are skipped.
    pub fn ask(&mut self, code: i32, ext: &[(&str, Value<'_>)], body: &[u8]) -> Reply {
        let opaque = self.post(code, ext, body);
        loop {
            let reply = self
                .receive()
                .expect("the broker answers and does not close");
            if reply.is_response() {
                assert_eq!(
                    reply.opaque, opaque,
                    "the reply to another request: {reply:?}"
                );
                return reply;
            }
        }
    }

    /// The next frame; `None` if the broker has closed the connection.
    pub fn receive(&mut self) -> Option<Reply> {
        let bytes = self.wire.receive()?;
        let frame = frame::split(&bytes)
            .expect("a sound frame")
            .expect("a whole frame");
        if frame.codec != self.codec {
            let mut scratch = Scratch::default();
            let header = header::decode(&frame, &mut scratch).expect("a sound header");
            assert!(
                !header.is_response(),
                "a reply comes in the codec of its request"
            );
        }
        let mut scratch = Scratch::default();
        let header = header::decode(&frame, &mut scratch).expect("a sound header");
        Some(Reply {
            code: header.code,
            flag: header.flag,
            opaque: header.opaque,
            remark: header.remark.unwrap_or_default().to_owned(),
            fields: header
                .ext
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            body: frame.body.to_vec(),
        })
    }

    pub fn send(&mut self, send: &SendRequest<'_>, body: &[u8]) -> Reply {
        self.ask(request::SEND_MESSAGE_V2, &send.ext(), body)
    }

    pub fn send_batch(
        &mut self,
        send: &SendRequest<'_>,
        bodies: &[&[u8]],
        properties: &str,
    ) -> Reply {
        let body = batch_of(bodies, properties);
        self.ask(
            request::SEND_BATCH_MESSAGE,
            &SendRequest {
                batch: true,
                ..*send
            }
            .ext(),
            &body,
        )
    }

    pub fn pull(&mut self, pull: &PullRequest<'_>) -> Reply {
        self.ask(request::PULL_MESSAGE, &pull.ext(), &[])
    }

    pub fn max_offset(&mut self, topic: &str, queue_id: i32) -> u64 {
        let queue = QueueRequest { topic, queue_id };
        self.ask(request::GET_MAX_OFFSET, &queue.ext(), &[])
            .ok()
            .number("offset") as u64
    }

    /// All messages of a queue from its beginning.
    pub fn read_queue(&mut self, topic: &str, queue_id: i32) -> Vec<Message> {
        let max = self.max_offset(topic, queue_id);
        let mut messages = Vec::new();
        while (messages.len() as u64) < max {
            let reply = self.pull(&pull_from(topic, queue_id, messages.len() as i64));
            let found = reply.ok().messages();
            assert!(!found.is_empty(), "a found reply has messages");
            messages.extend(found);
        }
        messages
    }

    pub fn heartbeat(&mut self, client_id: &str, group: &str, topics: &[&str]) -> Reply {
        let subscriptions = topics.iter().map(|topic| SubscriptionData {
            topic: (*topic).into(),
            sub_version: now_ms(),
            ..SubscriptionData::default()
        });
        let consumer = ConsumerData {
            group_name: group.into(),
            subscription_data_set: subscriptions.collect(),
            ..ConsumerData::default()
        };
        let data = HeartbeatData {
            client_id: client_id.into(),
            consumer_data_set: vec![consumer],
            ..HeartbeatData::default()
        };
        self.ask(request::HEART_BEAT, &[], &loose_json::to_vec(&data))
            .ok()
    }

    /// Asks a name server.
    pub fn route(&mut self, topic: &str) -> Option<TopicRouteData> {
        let reply = self.ask(
            request::GET_ROUTEINFO_BY_TOPIC,
            &[("topic", Value::Str(topic))],
            &[],
        );
        match reply.code {
            response::SUCCESS => Some(loose_json::from_slice(&reply.body).expect("a route")),
            response::TOPIC_NOT_EXIST => None,
            other => panic!("{other}: {}", reply.remark),
        }
    }
}

impl Reply {
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    pub fn ok(self) -> Reply {
        self.with_code(response::SUCCESS)
    }

    pub fn with_code(self, code: i32) -> Reply {
        assert_eq!(self.code, code, "code, with the remark {:?}", self.remark);
        self
    }

    /// A refusal that says what was wrong.
    pub fn refused(self, code: i32, word: &str) {
        let reply = self.with_code(code);
        assert!(
            reply.remark.contains(word),
            "the remark {:?} does not say {word:?}",
            reply.remark
        );
    }

    pub fn number(&self, field: &str) -> i64 {
        let text = self
            .fields
            .get(field)
            .unwrap_or_else(|| panic!("no {field} in {:?}", self.fields));
        text.parse().expect("a number")
    }

    /// The body of a pull or a view, its checksums checked.
    pub fn messages(&self) -> Vec<Message> {
        let mut rest = &self.body[..];
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let record = Record::decode(rest, Check::Crc).expect("a sound record");
            messages.push(Message {
                topic: record.topic.into(),
                queue_id: record.queue_id,
                queue_offset: record.queue_offset,
                physical_offset: record.physical_offset,
                flag: record.flag,
                born_timestamp_ms: record.born_timestamp_ms,
                store_timestamp_ms: record.store_timestamp_ms,
                reconsume_times: record.reconsume_times,
                body: record.body.to_vec(),
                properties: String::from_utf8_lossy(record.properties).into(),
            });
            rest = &rest[record.total_size as usize..];
        }
        messages
    }
}

/// A send as a client with defaults makes it; its fields may be changed.
pub fn send_to(topic: &str, queue_id: i32) -> SendRequest<'_> {
    SendRequest {
        producer_group: "producers",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id,
        sys_flag: 0,
        born_timestamp_ms: now_ms(),
        flag: 0,
        properties: None,
        reconsume_times: Some(0),
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    }
}

/// A pull of everything, without waiting.
pub fn pull_from(topic: &str, queue_id: i32, queue_offset: i64) -> PullRequest<'_> {
    PullRequest {
        consumer_group: "consumers",
        topic,
        queue_id,
        queue_offset,
        max_msg_nums: 32,
        sys_flag: pull_sys_flag::SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_ms: 0,
        subscription: Some("*"),
        sub_version: 0,
        expression_type: Some("TAG"),
        max_msg_bytes: None,
        request_source: None,
    }
}

/// The same, waiting for a message.
pub fn waiting(pull: PullRequest<'_>, suspend_timeout_ms: i64) -> PullRequest<'_> {
    PullRequest {
        sys_flag: pull.sys_flag | pull_sys_flag::SUSPEND,
        suspend_timeout_ms,
        ..pull
    }
}

pub fn batch_of(bodies: &[&[u8]], properties: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for body in bodies {
        batch::push(
            &mut bytes,
            &batch::BatchItem {
                flag: 0,
                body,
                properties: properties.as_bytes(),
            },
        );
    }
    bytes
}

/// `name \x01 value \x02` for each pair.
pub fn properties(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        ringmq::message::properties::push(&mut text, name, value);
    }
    text
}

pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as i64
}
