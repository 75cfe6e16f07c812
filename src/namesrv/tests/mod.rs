//! The name server as a whole, by its requests.

mod administration;
mod bad_input;
mod registration;
mod routes;

use std::io::Write;

use proptest::prelude::*;
use serde_json::json;

use super::route_table::Wanted;
use super::*;
use crate::wire::codes::{request, response};
use crate::wire::route::TopicList;
use crate::wire::{Codec, Head, Language, Scratch, Value, frame, header};

type Json = serde_json::Value;

const V4_9_8: i32 = 409;
const V4_4_0: i32 = 317;

fn head_of(version: i32, code: i32) -> Head<'static> {
    Head {
        codec: Codec::Json,
        code,
        language: Language::Java,
        version,
        opaque: 7,
        flag: 0,
        remark: None,
    }
}

/// A request as a client of this version sends it over connection `conn`.
pub(super) fn ask_from(
    server: &mut NameServer,
    (version, conn, now_ms): (i32, u64, u64),
    code: i32,
    ext: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let ext: Vec<(&str, Value)> = ext
        .iter()
        .map(|(name, value)| (*name, Value::Str(value)))
        .collect();
    let head = head_of(version, code);
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, &ext, body);
    let frame = frame::split(&bytes).unwrap().unwrap();
    let mut scratch = Scratch::default();
    let header = header::decode(&frame, &mut scratch).unwrap();
    match server.handle(&header, frame.body, conn, now_ms) {
        Handled::Answered(reply) => reply,
        Handled::InSlices(mut listing) => loop {
            if let Some(reply) = listing.turn(server) {
                return reply;
            }
        },
        Handled::Changing(mut change) => loop {
            if let Some(reply) = change.turn(server) {
                return reply;
            }
        },
        Handled::Registering(mut registering) => loop {
            if let Some(reply) = registering.turn(server, now_ms) {
                return reply;
            }
        },
    }
}

#[test]
fn a_list_of_many_topics_is_made_in_slices() {
    const TOPICS: usize = 3_000;
    let mut server = NameServer::default();
    let topics = (0..TOPICS).map(|n| topic(&format!("T{n:04}"), 4, 6, n as i32 % 4));
    let report = report_of(1, topics);
    ok(&mut server, request::REGISTER_BROKER, &BROKER_A, &report);
    let wanted = [
        (Wanted::All, TOPICS),
        (Wanted::OfCluster("DefaultCluster".into()), TOPICS),
        (Wanted::OfCluster("other".into()), 0),
        (Wanted::WithFlag { mask: 3, bits: 2 }, TOPICS / 4),
    ];
    for (wanted, count) in wanted {
        let (mut listing, mut turns) = (Listing::new(wanted), 1);
        let reply = loop {
            match listing.turn(&server) {
                Some(reply) => break reply,
                None => turns += 1,
            }
        };
        assert_eq!(turns, TOPICS / listing::TOPICS_PER_TURN + 1);
        let list: TopicList = loose_json::from_slice(&reply.body).unwrap();
        assert_eq!(list.topic_list.len(), count);
        assert!(list.topic_list.is_sorted());
    }
}

fn ask(server: &mut NameServer, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Reply {
    ask_from(server, (V4_9_8, 1, 0), code, ext, body)
}

fn ok(server: &mut NameServer, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Reply {
    let reply = ask(server, code, ext, body);
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (response::SUCCESS, None)
    );
    reply
}

pub(super) fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}

const BROKER_A: [(&str, &str); 6] = [
    ("brokerName", "broker-a"),
    ("brokerAddr", "127.0.0.2:20911"),
    ("clusterName", "DefaultCluster"),
    ("haServerAddr", "127.0.0.2:20912"),
    ("brokerId", "0"),
    ("enableActingMaster", "false"),
];

fn topic(name: &str, queues: i32, perm: i32, flag: i32) -> (String, Json) {
    let config = json!({
        "attributes": {}, "order": false, "perm": perm, "readQueueNums": queues, "topicFilterType": "SINGLE_TAG",
        "topicName": name, "topicSysFlag": flag, "writeQueueNums": queues,
    });
    (name.to_owned(), config)
}

fn report_of(counter: i64, topics: impl IntoIterator<Item = (String, Json)>) -> Vec<u8> {
    let table: serde_json::Map<String, Json> = topics.into_iter().collect();
    let version = json!({"counter": counter, "stateVersion": 0, "timestamp": 1});
    let wrapper = json!({"dataVersion": version, "topicConfigTable": table});
    json!({"filterServerList": [], "topicConfigSerializeWrapper": wrapper})
        .to_string()
        .into_bytes()
}

/// One broker with the topics of a fresh start and GoldenTopic.
pub(super) fn server() -> NameServer {
    let mut server = NameServer::default();
    let topics = [
        topic("TBW102", 8, 7, 0),
        topic("SELF_TEST_TOPIC", 1, 6, 0),
        topic("GoldenTopic", 4, 6, 0),
    ];
    let reply = ok(
        &mut server,
        request::REGISTER_BROKER,
        &BROKER_A,
        &report_of(1, topics),
    );
    assert_eq!((reply.ext.len(), reply.body.len()), (0, 0));
    server
}

fn with<'a>(
    fields: &[(&'a str, &'a str)],
    name: &'a str,
    value: &'a str,
) -> Vec<(&'a str, &'a str)> {
    fields
        .iter()
        .filter(|(known, _)| *known != name)
        .copied()
        .chain([(name, value)])
        .collect()
}

fn deflated(parts: &[&[u8]]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    parts
        .iter()
        .for_each(|part| encoder.write_all(part).unwrap());
    encoder.finish().unwrap()
}

fn part(bytes: &[u8]) -> Vec<u8> {
    let mut part = (bytes.len() as i32).to_be_bytes().to_vec();
    part.extend_from_slice(bytes);
    part
}
