//! The wire against bytes recorded between RocketMQ's own clients and servers (`golden/README.md` says how): what they sent
//! is read, and what we would write in their place is the same bytes.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use ringmq::wire::consumer::{ConsumerGroup, ConsumerList, UnregisterClient};
use ringmq::wire::group::SubscriptionGroupConfig;
use ringmq::wire::heartbeat::{HeartbeatData, HeartbeatReply};
use ringmq::wire::lock::{LockBatch, LockedQueues};
use ringmq::wire::offset::{
    OffsetReply, QueryConsumerOffset, QueueRequest, SearchOffset, TimestampReply,
    UpdateConsumerOffset,
};
use ringmq::wire::pull::{PullReply, PullRequest};
use ringmq::wire::query::{QueryMessage, QueryMessageReply, ViewMessage};
use ringmq::wire::register::{BrokerIdentity, RegisterBroker, RegisterBrokerBody, body_crc};
use ringmq::wire::route::{
    ClusterInfo, DeleteTopicInNamesrv, RouteRequest, TopicList, TopicRouteData,
};
use ringmq::wire::send::{SendReply, SendRequest};
use ringmq::wire::send_back::SendBack;
use ringmq::wire::stats::{
    ConsumeStats, ConsumeStatsRequest, ConsumerConnection, KvTable, ProducerConnection,
    ProducerGroup, TopicStatsTable,
};
use ringmq::wire::topic::{CreateTopic, TopicConfig, TopicRequest};
use ringmq::wire::{
    Codec, EMPTY_EXT, Ext, Head, Header, Language, Scratch, Value, frame, header, loose_json,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.bin"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `check` makes of a recorded frame: its bytes, its header, its body.
fn with<T>(name: &str, check: impl FnOnce(&[u8], Codec, &Header<'_>, &[u8]) -> T) -> T {
    let bytes = read(name);
    let frame = frame::split(&bytes).unwrap().unwrap();
    assert_eq!(frame.len, bytes.len(), "{name}");
    let mut scratch = Scratch::default();
    let header =
        header::decode(&frame, &mut scratch).unwrap_or_else(|error| panic!("{name}: {error}"));
    check(&bytes, frame.codec, &header, frame.body)
}

fn write(codec: Codec, header: &Header<'_>, ext: &[(&str, Value<'_>)], body: &[u8]) -> Vec<u8> {
    let Header {
        code,
        language,
        version,
        opaque,
        flag,
        remark,
        ..
    } = *header;
    let mut out = Vec::new();
    frame::write(
        &mut out,
        &Head {
            codec,
            code,
            language,
            version,
            opaque,
            flag,
            remark,
        },
        ext,
        body,
    );
    out
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = entries
        .filter_map(|name| name.strip_suffix(".bin").map(str::to_owned))
        .collect();
    assert!(names.len() > 50);
    names
}

/// Sorted, so that two orders of the same fields are equal; without those that we leave to others.
fn fields<'a>(fields: impl Iterator<Item = (&'a str, String)>) -> Vec<(&'a str, String)> {
    const IGNORED: [&str; 3] = ["bname", "ReqT", "committed"];
    let mut fields: Vec<_> = fields
        .filter(|(key, value)| !IGNORED.contains(key) && !value.is_empty())
        .collect();
    fields.sort();
    fields
}

fn sent<'a>(ext: &Ext<'a>) -> Vec<(&'a str, String)> {
    fields(ext.iter().map(|(key, value)| (key, value.to_owned())))
}

fn ours<'a>(ext: &[(&'a str, Value<'_>)]) -> Vec<(&'a str, String)> {
    fields(ext.iter().filter_map(|(key, value)| {
        let value = match value {
            Value::Absent => return None,
            Value::Str(text) => (*text).to_owned(),
            Value::I64(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
        };
        Some((*key, value))
    }))
}

#[test]
fn every_frame_is_written_as_it_was_read() {
    for name in names() {
        with(&name, |bytes, codec, header, body| {
            let ext: Vec<_> = header
                .ext
                .iter()
                .map(|(key, value)| (key, Value::Str(value)))
                .collect();
            let braces = bytes
                .windows(14)
                .any(|window| window == b"\"extFields\":{}");
            let ext = if braces { EMPTY_EXT } else { &ext };
            // Go's JSON has another order, and its binary headers are nobody's else.
            if header.language == Language::Java {
                let written = write(codec, header, ext, body);
                assert_eq!(
                    String::from_utf8_lossy(&written),
                    String::from_utf8_lossy(bytes),
                    "{name}"
                );
            }
        });
    }
}

#[test]
fn kinds_of_frames() {
    for name in names() {
        with(&name, |_, codec, header, _| {
            assert_eq!(header.is_response(), name.ends_with(".rep"), "{name}");
            let oneway = name.contains("oneway") || name.starts_with("notify");
            assert_eq!(header.is_oneway(), oneway, "{name}");
            let binary = name.starts_with("binary_reply") || (name.ends_with("_binary.req"));
            assert_eq!(codec == Codec::Rocketmq, binary, "{name}");
            assert_eq!(
                header.language == Language::Go,
                name.starts_with("go_") && name.ends_with(".req"),
                "{name}"
            );
        });
    }
}

/// Decodes the header fields of recorded frames into `$family` and compares what it would write: of a reply all bytes
/// (fields of binary headers stand in another order), of a request the fields.
macro_rules! family {
    ($family:ident: $($name:literal),* $(,)?) => {
        for name in [$($name),*] {
            with(name, |bytes, codec, header, body| {
                let decoded = $family::decode(&header.ext).unwrap_or_else(|error| panic!("{name}: {error}"));
                let ext = decoded.ext();
                if header.is_response() && codec == Codec::Json {
                    assert_eq!(String::from_utf8_lossy(&write(codec, header, &ext, body)), String::from_utf8_lossy(bytes), "{name}");
                } else {
                    assert_eq!(ours(&ext), sent(&header.ext), "{name}");
                }
            });
        }
    };
}

#[test]
fn sending() {
    family!(SendRequest: "send.req", "send_4_9_8.req", "send_binary.req", "send_compressed.req", "send_oneway.req",
        "send_wide_properties.req", "send_properties_too_long.req", "send_batch.req", "binary_reply_send.req", "go_send_batch.req");
    family!(SendReply: "send.rep", "send_4_9_8.rep", "send_binary.rep", "send_compressed.rep", "send_wide_properties.rep",
        "send_batch.rep", "go_send.rep", "go_send_batch.rep", "binary_reply_send.rep");
    family!(SendBack: "send_back.req");
    with("go_send.req", |_, _, header, body| {
        let send = SendRequest::decode(&header.ext).unwrap();
        assert_eq!(header.ext.find("topic"), Some(send.topic));
        assert_eq!(header.ext.find("properties"), send.properties);
        assert!(!send.batch && !body.is_empty());
    });
    with("send_wide_properties.req", |_, _, header, _| {
        let properties = SendRequest::decode(&header.ext)
            .unwrap()
            .properties
            .unwrap();
        assert!(!properties.is_ascii() && properties.contains('\u{1}') && properties.len() > 2000);
    });
}

#[test]
fn pulling() {
    family!(PullRequest: "pull_found.req", "pull_one.req", "pull_by_push_consumer.req", "pull_parked_then_found.req",
        "pull_held_not_found.req", "pull_not_found.req", "pull_no_match.req", "pull_offset_moved.req",
        "binary_reply_pull_found.req", "binary_reply_pull_not_found.req", "go_pull_found.req");
    family!(PullReply: "pull_found.rep", "pull_one.rep", "pull_by_push_consumer.rep", "pull_parked_then_found.rep",
        "pull_held_not_found.rep", "pull_not_found.rep", "pull_no_match.rep", "pull_offset_moved.rep",
        "binary_reply_pull_found.rep", "binary_reply_pull_not_found.rep", "go_pull_found.rep");
}

#[test]
fn offsets() {
    family!(QueryConsumerOffset: "query_offset.req", "query_offset_new_group.req", "go_query_offset.req");
    family!(UpdateConsumerOffset: "update_offset.req", "update_offset_oneway.req");
    family!(SearchOffset: "search_offset.req");
    family!(QueueRequest: "max_offset.req", "min_offset.req", "earliest_store_time.req");
    family!(OffsetReply: "query_offset.rep", "query_offset_new_group.rep", "search_offset.rep", "max_offset.rep", "min_offset.rep",
        "go_query_offset.rep");
    family!(TimestampReply: "earliest_store_time.rep");
}

#[test]
fn the_rest_of_the_headers() {
    family!(HeartbeatReply: "heartbeat_producer.rep", "heartbeat_consumer.rep", "heartbeat_4_9_8.rep", "heartbeat_binary.rep",
        "binary_reply_heartbeat.rep", "go_heartbeat.rep");
    family!(UnregisterClient: "unregister_client_consumer.req", "unregister_client_producer.req");
    family!(ConsumerGroup: "consumer_list.req", "notify_consumer_ids_changed.req", "consumer_connection.req", "go_consumer_list.req");
    family!(QueryMessage: "query_message.req");
    family!(QueryMessageReply: "query_message.rep");
    family!(ViewMessage: "view_message.req");
    family!(CreateTopic: "update_topic.req");
    family!(TopicRequest: "delete_topic.req", "topic_stats.req");
    family!(DeleteTopicInNamesrv: "delete_topic_namesrv.req");
    family!(ProducerGroup: "producer_connection.req");
    family!(ConsumeStatsRequest: "consume_stats.req");
    family!(BrokerIdentity: "unregister_broker.req");
    for name in [
        "route_4_9_3.req",
        "route_5_5_0.req",
        "route_binary.req",
        "route_unknown_topic.req",
        "go_route.req",
    ] {
        with(name, |_, _, header, _| {
            assert_eq!(
                header.ext.find("topic"),
                Some(RouteRequest::decode(&header.ext).unwrap().topic)
            );
        });
    }
    with("topic_config.req", |_, _, header, _| {
        assert!(TopicRequest::decode(&header.ext).is_ok())
    });
}

/// The body as the struct reads it, and whether it would be written with the same bytes.
fn body<T: DeserializeOwned + Serialize + Debug>(name: &str) -> (T, bool) {
    with(name, |_, _, _, body| {
        let value: T =
            loose_json::from_slice(body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = loose_json::to_vec(&value);
        assert_eq!(
            loose_json::parse(&written),
            loose_json::parse(body),
            "{name}"
        );
        (value, written == body)
    })
}

#[test]
fn bodies() {
    for name in [
        "heartbeat_producer.req",
        "heartbeat_consumer.req",
        "heartbeat_binary.req",
        "binary_reply_heartbeat.req",
    ] {
        assert!(body::<HeartbeatData>(name).1, "{name}");
    }
    for name in ["lock_batch_mq.req", "unlock_batch_mq.req"] {
        assert!(body::<LockBatch>(name).1, "{name}");
    }
    assert!(body::<LockedQueues>("lock_batch_mq.rep").1);
    assert!(body::<ConsumerList>("consumer_list.rep").1);
    assert!(body::<SubscriptionGroupConfig>("update_subscription_group.req").1);
    assert!(body::<TopicConfig>("topic_config.rep").1);
    assert!(body::<ClusterInfo>("cluster_info.rep").1);
    assert!(body::<TopicList>("topic_list.rep").1);
    assert!(body::<ConsumerConnection>("consumer_connection.rep").1);
    assert!(body::<ProducerConnection>("producer_connection.rep").1);
    // Java's maps of these have no order of their own.
    assert!(
        body::<TopicStatsTable>("topic_stats.rep")
            .0
            .offset_table
            .len()
            >= 4
    );
    assert!(
        body::<ConsumeStats>("consume_stats.rep")
            .0
            .offset_table
            .len()
            >= 4
    );
    assert!(
        body::<KvTable>("broker_runtime_info.rep")
            .0
            .table
            .contains_key("bootTimestamp")
    );
}

/// 4.9 leaves out what it does not know; Go has its own order.
#[test]
fn heartbeats_of_others() {
    for name in ["heartbeat_4_9_8.req", "go_heartbeat.req"] {
        with(name, |_, _, _, body| {
            let data = HeartbeatData::decode(body).unwrap();
            assert_eq!((data.heartbeat_fingerprint, data.without_sub), (0, false));
            assert!(!data.client_id.is_empty());
        });
    }
    with("go_heartbeat.req", |_, _, _, body| {
        let data = HeartbeatData::decode(body).unwrap();
        assert_eq!(data.consumer_data_set[0].subscription_data_set.len(), 2);
    });
}

#[test]
fn routes_in_the_flavour_of_the_client() {
    let names = [
        "route_4_9_3",
        "route_4_9_8",
        "route_5_5_0",
        "route_binary",
        "route_template_4_9_8",
        "go_route",
        "binary_reply_route",
    ];
    for name in names {
        let version = with(&format!("{name}.req"), |_, _, header, _| header.version);
        with(&format!("{name}.rep"), |_, _, _, body| {
            let route: TopicRouteData = loose_json::from_slice(body).unwrap();
            assert!(route.broker_datas[0].broker_addrs.contains_key(&0));
            assert_eq!(
                String::from_utf8_lossy(&route.encode(version, false)),
                String::from_utf8_lossy(body),
                "{name}"
            );
        });
    }
}

#[test]
fn registration() {
    with("register_broker.req", |_, _, header, body| {
        let register = RegisterBroker::decode(&header.ext).unwrap();
        assert_eq!(ours(&register.ext()), sent(&header.ext));
        assert_eq!(register.body_crc32, Some(body_crc(body)));
        let decoded = RegisterBrokerBody::decode(body, header.version).unwrap();
        assert!(!decoded.topics.topic_config_table.is_empty());
        assert_eq!(
            loose_json::parse(&decoded.encode()),
            loose_json::parse(body)
        );
    });
}
