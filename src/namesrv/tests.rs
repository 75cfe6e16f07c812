use std::io::Write;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::wire::codes::{request, response};
use crate::wire::{Codec, Head, Language, Scratch, Value, frame, header};

type Json = serde_json::Value;

const V4_9_8: i32 = 409;
const V4_4_0: i32 = 317;

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
    let head = Head {
        codec: Codec::Json,
        code,
        language: Language::Java,
        version,
        opaque: 7,
        flag: 0,
        remark: None,
    };
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, &ext, body);
    let frame = frame::split(&bytes).unwrap().unwrap();
    let mut scratch = Scratch::default();
    let header = header::decode(&frame, &mut scratch).unwrap();
    server.handle(&header, frame.body, conn, now_ms)
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

#[test]
fn routes_are_loose_for_old_clients_and_standard_for_new_ones() {
    let mut server = server();
    let wanted = [("topic", "GoldenTopic")];
    let loose = "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"127.0.0.2:20911\"},\"brokerName\":\"broker-a\",\
                 \"cluster\":\"DefaultCluster\",\"enableActingMaster\":false}],\"filterServerTable\":{},\
                 \"queueDatas\":[{\"brokerName\":\"broker-a\",\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\
                 \"writeQueueNums\":4}]}";
    let standard = loose.replace("{0:", "{\"0\":");
    let code = request::GET_ROUTEINFO_BY_TOPIC;
    assert_eq!(
        text(&ask_from(&mut server, (V4_4_0, 1, 0), code, &wanted, &[])),
        loose
    );
    assert_eq!(
        text(&ask_from(&mut server, (400, 1, 0), code, &wanted, &[])),
        loose
    );
    assert_eq!(
        text(&ask_from(&mut server, (401, 1, 0), code, &wanted, &[])),
        standard
    );
    let asked = with(&wanted, "acceptStandardJsonOnly", "true");
    assert_eq!(
        text(&ask_from(&mut server, (V4_4_0, 1, 0), code, &asked, &[])),
        standard
    );
}

#[test]
fn an_unknown_topic_and_an_unknown_code_have_their_own_answers() {
    let mut server = server();
    let reply = ask(
        &mut server,
        request::GET_ROUTEINFO_BY_TOPIC,
        &[("topic", "Nowhere")],
        &[],
    );
    let remark = "No topic route info in name server for the topic: Nowhere\n\
                  See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (response::TOPIC_NOT_EXIST, Some(remark))
    );
    let reply = ask(&mut server, 9_999, &[], &[]);
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (
            response::REQUEST_CODE_NOT_SUPPORTED,
            Some(" request type 9999 not supported")
        )
    );
}

#[test]
fn an_answer_that_no_frame_can_carry_is_refused() {
    let mut server = server();
    let long = "\u{1}".repeat(1 << 20);
    let reply = ask(
        &mut server,
        request::GET_ROUTEINFO_BY_TOPIC,
        &[("topic", &long)],
        &[],
    );
    assert!(reply.code == response::SYSTEM_ERROR && reply.remark.unwrap().ends_with("too long"));
    let topics = (0..150_000).map(|n| format!("{n:0>100}"));
    let queues = Queues {
        read: 1,
        write: 1,
        perm: 6,
        topic_sys_flag: 0,
    };
    topics.for_each(|topic| {
        server
            .routes
            .register_topic(&topic, [("broker-a".to_owned(), queues)])
    });
    assert_eq!(
        ask(
            &mut server,
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
            &[],
            &[]
        )
        .code,
        response::SYSTEM_ERROR
    );
}

#[test]
fn a_missing_field_is_named() {
    let mut server = server();
    for (code, field) in [
        (request::GET_ROUTEINFO_BY_TOPIC, "topic"),
        (request::REGISTER_BROKER, "clusterName"),
        (request::UNREGISTER_BROKER, "clusterName"),
        (request::BROKER_HEARTBEAT, "brokerAddr"),
        (request::QUERY_DATA_VERSION, "brokerAddr"),
        (request::GET_BROKER_MEMBER_GROUP, "clusterName"),
        (request::GET_TOPICS_BY_CLUSTER, "cluster"),
        (request::WIPE_WRITE_PERM_OF_BROKER, "brokerName"),
        (request::ADD_WRITE_PERM_OF_BROKER, "brokerName"),
        (request::DELETE_TOPIC_IN_NAMESRV, "topic"),
        (request::REGISTER_TOPIC_IN_NAMESRV, "topic"),
        (request::PUT_KV_CONFIG, "namespace"),
        (request::GET_KV_CONFIG, "namespace"),
        (request::DELETE_KV_CONFIG, "namespace"),
        (request::GET_KVLIST_BY_NAMESPACE, "namespace"),
    ] {
        let reply = ask(&mut server, code, &[], &[]);
        let remark = format!("the custom field <{field}> is null");
        assert_eq!(
            (reply.code, reply.remark),
            (response::SYSTEM_ERROR, Some(remark)),
            "{code}"
        );
    }
}

#[test]
fn a_registration_is_checked() {
    let mut server = server();
    let body = report_of(2, [topic("T", 8, 6, 0)]);
    let crc = (crc32fast::hash(&body) & 0x7FFF_FFFF).to_string();
    ok(
        &mut server,
        request::REGISTER_BROKER,
        &with(&BROKER_A, "bodyCrc32", &crc),
        &body,
    );

    let refused = |server: &mut NameServer, ext: &[(&str, &str)], body: &[u8]| {
        let reply = ask(server, request::REGISTER_BROKER, ext, body);
        assert_eq!(reply.code, response::SYSTEM_ERROR);
        reply.remark.unwrap()
    };
    assert_eq!(
        refused(&mut server, &with(&BROKER_A, "bodyCrc32", "1"), &body),
        "crc32 not match"
    );
    let stranger = with(
        &with(&BROKER_A, "brokerName", "broker-b"),
        "brokerAddr",
        "127.0.0.3:1",
    );
    assert_eq!(
        refused(&mut server, &stranger, &body),
        "register broker failed"
    );
    assert!(
        refused(&mut server, &with(&BROKER_A, "brokerId", "first"), &body)
            .contains("<brokerId> is not a number")
    );
    assert!(
        refused(&mut server, &BROKER_A, b"{\"topic")
            .starts_with("RegisterBrokerBody cannot be read")
    );
    assert!(refused(&mut server, &BROKER_A, b"[]").contains("neither JSON nor zlib"));
    assert!(refused(&mut server, &BROKER_A, &[0x78, 0x9c, 1, 2, 3]).contains("does not inflate"));
    ok(
        &mut server,
        request::GET_ROUTEINFO_BY_TOPIC,
        &[("topic", "T")],
        &[],
    );
}

#[test]
fn the_body_before_3_0_11_is_the_wrapper_alone() {
    let mut server = NameServer::default();
    let table: serde_json::Map<String, Json> = [topic("T", 8, 6, 0), topic("U", 8, 6, 0)]
        .into_iter()
        .collect();
    let body = json!({"dataVersion": {"counter": 1}, "topicConfigTable": table}).to_string();
    let old: Vec<(&str, &str)> = BROKER_A[..5].to_vec();
    ok(&mut server, request::REGISTER_BROKER, &old, body.as_bytes());
    assert_eq!(server.routes.topics().collect::<Vec<_>>(), ["T", "U"]);
    ok(
        &mut NameServer::default(),
        request::REGISTER_BROKER,
        &BROKER_A,
        &[],
    );
}

#[test]
fn a_registration_may_have_bare_numbers_as_keys() {
    let mapping = r#"{"T":{"bname":"broker-a","currIdMap":{0:0,1:1},"topic":"T","totalQueues":2}}"#;
    let body = String::from_utf8(report_of(1, [topic("T", 8, 6, 0), topic("U", 8, 6, 0)])).unwrap();
    let wrapper = "\"topicConfigSerializeWrapper\":{";
    let body = body.replace(
        wrapper,
        &format!("{wrapper}\"topicQueueMappingInfoMap\":{mapping},"),
    );
    assert!(
        serde_json::from_str::<Json>(&body).is_err(),
        "this is fastjson's dialect"
    );
    let mut server = NameServer::default();
    ok(
        &mut server,
        request::REGISTER_BROKER,
        &BROKER_A,
        body.as_bytes(),
    );
    assert!(server.routes.route("T").is_some());
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

#[test]
fn a_compressed_registration_is_known_by_its_first_byte() {
    let version = part(b"{\"counter\":7,\"stateVersion\":0,\"timestamp\":1}");
    let topics = [part(b"T 8 4 6 SINGLE_TAG {}"), part(b"U 1 1 6 SINGLE_TAG")].concat();
    let body = deflated(&[
        &version,
        &2i32.to_be_bytes(),
        &topics,
        &part(b"[]"),
        &0i32.to_be_bytes(),
    ]);
    for said in ["true", "false"] {
        let mut server = NameServer::default();
        ok(
            &mut server,
            request::REGISTER_BROKER,
            &with(&BROKER_A, "compressed", said),
            &body,
        );
        let queues = server.routes.route("T").unwrap().queues["broker-a"];
        assert_eq!(
            queues,
            Queues {
                read: 8,
                write: 4,
                perm: 6,
                topic_sys_flag: 0
            }
        );
        assert_eq!(
            server
                .routes
                .data_version("127.0.0.2:20911")
                .unwrap()
                .counter,
            7
        );
    }
    for broken in [
        deflated(&[&version, &i32::MAX.to_be_bytes(), &topics]),
        deflated(&[&version, &2i32.to_be_bytes(), &(-5i32).to_be_bytes()]),
        deflated(&[&version, &1i32.to_be_bytes(), &part(b"T eight 4 6")]),
        deflated(&[&[0; 3]]),
        deflated(&[&[0; 1 << 17]]),
    ] {
        let reply = ask(
            &mut NameServer::default(),
            request::REGISTER_BROKER,
            &BROKER_A,
            &broken,
        );
        assert_eq!(reply.code, response::SYSTEM_ERROR);
    }
}

#[test]
fn a_replica_is_told_its_master() {
    let mut server = server();
    let replica = with(
        &with(&BROKER_A, "brokerId", "1"),
        "brokerAddr",
        "127.0.0.3:20911",
    );
    let reply = ok(
        &mut server,
        request::REGISTER_BROKER,
        &replica,
        &report_of(1, []),
    );
    let expected = [
        ("haServerAddr", "127.0.0.2:20912".to_owned()),
        ("masterAddr", "127.0.0.2:20911".to_owned()),
    ];
    assert_eq!(reply.ext, expected);
    let group = [
        ("clusterName", "DefaultCluster"),
        ("brokerName", "broker-a"),
    ];
    let reply = ok(&mut server, request::GET_BROKER_MEMBER_GROUP, &group, &[]);
    assert_eq!(
        text(&reply),
        "{\"brokerMemberGroup\":{\"brokerAddrs\":{0:\"127.0.0.2:20911\",1:\"127.0.0.3:20911\"},\
         \"brokerName\":\"broker-a\",\"cluster\":\"DefaultCluster\"}}"
    );
    let nobody = with(&group, "brokerName", "nobody");
    let reply = ok(&mut server, request::GET_BROKER_MEMBER_GROUP, &nobody, &[]);
    assert_eq!(
        text(&reply),
        "{\"brokerMemberGroup\":{\"brokerAddrs\":{},\"brokerName\":\"nobody\",\"cluster\":\"DefaultCluster\"}}"
    );
}

#[test]
fn brokers_come_live_and_go() {
    let mut server = server();
    let body = br#"{"counter":1,"stateVersion":0,"timestamp":1}"#;
    let reply = ok(&mut server, request::QUERY_DATA_VERSION, &BROKER_A, body);
    assert_eq!(
        (reply.ext.as_slice(), text(&reply).as_bytes()),
        (&[("changed", "false".to_owned())][..], &body[..])
    );
    let reply = ok(
        &mut server,
        request::QUERY_DATA_VERSION,
        &BROKER_A,
        br#"{"counter":2}"#,
    );
    assert_eq!(reply.ext, [("changed", "true".to_owned())]);
    let stranger = with(&BROKER_A, "brokerAddr", "127.0.0.9:1");
    let reply = ok(&mut server, request::QUERY_DATA_VERSION, &stranger, body);
    assert_eq!(
        (reply.ext, reply.body),
        (vec![("changed", "true".to_owned())], vec![])
    );

    let alive = ask_from(
        &mut server,
        (V4_9_8, 1, 100_000),
        request::BROKER_HEARTBEAT,
        &BROKER_A,
        &[],
    );
    assert_eq!(alive.code, response::SUCCESS);
    assert!(server.expire(220_000).is_empty());
    assert_eq!(server.expire(220_001), [1]);
    assert_eq!(server.routes.brokers().count(), 0);

    let mut server = self::server();
    ok(&mut server, request::UNREGISTER_BROKER, &BROKER_A, &[]);
    ok(&mut server, request::UNREGISTER_BROKER, &BROKER_A, &[]);
    assert_eq!(server.routes.topics().count(), 0);

    let mut server = self::server();
    server.connection_closed(1);
    assert_eq!(server.routes.topics().count(), 0);
}

#[test]
fn lists_of_topics() {
    let mut server = NameServer::default();
    let topics = [
        topic("Plain", 8, 6, 0),
        topic("Unit", 8, 6, 1),
        topic("Sub", 8, 6, 2),
        topic("Both", 8, 6, 3),
    ];
    ok(
        &mut server,
        request::REGISTER_BROKER,
        &BROKER_A,
        &report_of(1, topics),
    );
    for (code, ext, expected) in [
        (
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
            vec![],
            r#"{"topicList":["Both","Plain","Sub","Unit"]}"#,
        ),
        (
            request::GET_TOPICS_BY_CLUSTER,
            vec![("cluster", "DefaultCluster")],
            r#"{"topicList":["Both","Plain","Sub","Unit"]}"#,
        ),
        (
            request::GET_TOPICS_BY_CLUSTER,
            vec![("cluster", "other")],
            r#"{"topicList":[]}"#,
        ),
        (
            request::GET_SYSTEM_TOPIC_LIST_FROM_NS,
            vec![],
            r#"{"brokerAddr":"127.0.0.2:20911","topicList":["DefaultCluster","broker-a"]}"#,
        ),
        (
            request::GET_UNIT_TOPIC_LIST,
            vec![],
            r#"{"topicList":["Both","Unit"]}"#,
        ),
        (
            request::GET_HAS_UNIT_SUB_TOPIC_LIST,
            vec![],
            r#"{"topicList":["Both","Sub"]}"#,
        ),
        (
            request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST,
            vec![],
            r#"{"topicList":["Sub"]}"#,
        ),
    ] {
        assert_eq!(text(&ok(&mut server, code, &ext, &[])), expected, "{code}");
    }
    ok(
        &mut server,
        request::UPDATE_NAMESRV_CONFIG,
        &[],
        b"enableTopicList=false\nenableAllTopicList=false\n",
    );
    for code in [
        request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
        request::GET_UNIT_TOPIC_LIST,
    ] {
        let reply = ask(&mut server, code, &[], &[]);
        assert_eq!(
            (reply.code, reply.remark.as_deref()),
            (response::SYSTEM_ERROR, Some("disable"))
        );
    }
}

#[test]
fn permissions_and_topics_by_hand() {
    let mut server = server();
    let name = [("brokerName", "broker-a")];
    let reply = ok(&mut server, request::WIPE_WRITE_PERM_OF_BROKER, &name, &[]);
    assert_eq!(reply.ext, [("wipeTopicCount", "3".to_owned())]);
    assert_eq!(
        server.routes.route("TBW102").unwrap().queues["broker-a"].perm,
        5
    );
    let reply = ok(&mut server, request::ADD_WRITE_PERM_OF_BROKER, &name, &[]);
    assert_eq!(reply.ext, [("addTopicCount", "3".to_owned())]);

    let queues = json!([{"brokerName": "broker-a", "perm": 6, "readQueueNums": 2, "topicSysFlag": 0, "writeQueueNums": 2}]);
    let body = json!({"brokerDatas": [], "queueDatas": queues}).to_string();
    ok(
        &mut server,
        request::REGISTER_TOPIC_IN_NAMESRV,
        &[("topic", "New")],
        body.as_bytes(),
    );
    assert_eq!(
        server.routes.route("New").unwrap().queues["broker-a"].read,
        2
    );

    let named = [("topic", "New"), ("clusterName", "elsewhere")];
    ok(&mut server, request::DELETE_TOPIC_IN_NAMESRV, &named, &[]);
    assert!(server.routes.route("New").is_some());
    ok(
        &mut server,
        request::DELETE_TOPIC_IN_NAMESRV,
        &with(&named, "clusterName", ""),
        &[],
    );
    assert!(server.routes.route("New").is_none());
}

#[test]
fn values_by_key_are_saved() {
    let mut server = server();
    let entry = [("namespace", "N"), ("key", "k"), ("value", "v")];
    ok(&mut server, request::PUT_KV_CONFIG, &entry, &[]);
    let reply = ok(&mut server, request::GET_KV_CONFIG, &entry[..2], &[]);
    assert_eq!(reply.ext, [("value", "v".to_owned())]);
    let reply = ok(
        &mut server,
        request::GET_KVLIST_BY_NAMESPACE,
        &entry[..1],
        &[],
    );
    assert_eq!(text(&reply), r#"{"table":{"k":"v"}}"#);
    ok(&mut server, request::DELETE_KV_CONFIG, &entry[..2], &[]);

    let mut effects = Vec::new();
    server.take_effects(&mut effects);
    let saved = |text: &str| Effect::SaveKvConfig(text.into());
    assert_eq!(
        effects,
        [
            saved(r#"{"configTable":{"N":{"k":"v"}}}"#),
            saved(r#"{"configTable":{"N":{}}}"#)
        ]
    );

    let reply = ask(&mut server, request::GET_KV_CONFIG, &entry[..2], &[]);
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (
            response::QUERY_NOT_FOUND,
            Some("No config item, Namespace: N Key: k")
        )
    );
    let reply = ask(
        &mut server,
        request::GET_KVLIST_BY_NAMESPACE,
        &[("namespace", "M")],
        &[],
    );
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (
            response::QUERY_NOT_FOUND,
            Some("No config item, Namespace: M")
        )
    );
}

#[test]
fn ordered_topics_reach_brokers_and_if_enabled_clients() {
    let kv = KvConfig::from_json(
        r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"GoldenTopic":"broker-a:4"}}}"#,
    )
    .unwrap();
    let mut server = NameServer::new(kv, Settings::default());
    let topics = [topic("GoldenTopic", 4, 6, 0), topic("Other", 4, 6, 0)];
    let reply = ok(
        &mut server,
        request::REGISTER_BROKER,
        &BROKER_A,
        &report_of(1, topics),
    );
    assert_eq!(text(&reply), r#"{"table":{"GoldenTopic":"broker-a:4"}}"#);
    let route = |server: &mut NameServer, topic| {
        let reply = ok(
            server,
            request::GET_ROUTEINFO_BY_TOPIC,
            &[("topic", topic)],
            &[],
        );
        serde_json::from_slice::<Json>(&reply.body).unwrap()["orderTopicConf"].clone()
    };
    assert_eq!(route(&mut server, "GoldenTopic"), Json::Null);
    ok(
        &mut server,
        request::UPDATE_NAMESRV_CONFIG,
        &[],
        b"orderMessageEnable=true",
    );
    assert_eq!(route(&mut server, "GoldenTopic"), "broker-a:4");
    assert_eq!(route(&mut server, "Other"), Json::Null);
}

#[test]
fn settings_are_shown_changed_and_guarded() {
    let mut server = server();
    ok(
        &mut server,
        request::UPDATE_NAMESRV_CONFIG,
        &[],
        b"supportActingMaster=true\n",
    );
    let shown = ok(&mut server, request::GET_NAMESRV_CONFIG, &[], &[]);
    assert!(text(&shown).contains("supportActingMaster=true\n"));
    let mut effects = Vec::new();
    server.take_effects(&mut effects);
    assert_eq!(effects, [Effect::SaveSettings(text(&shown).into())]);

    let reply = ask(
        &mut server,
        request::UPDATE_NAMESRV_CONFIG,
        &[],
        b"kvConfigPath=/tmp/x",
    );
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (
            response::NO_PERMISSION,
            Some("Can not update config in black list.")
        )
    );
    let reply = ask(
        &mut server,
        request::UPDATE_NAMESRV_CONFIG,
        &[],
        b"enableTopicList=maybe",
    );
    assert_eq!(reply.code, response::SYSTEM_ERROR);
}

#[test]
fn zones_and_acting_masters_shape_the_route() {
    let mut server = NameServer::default();
    ok(
        &mut server,
        request::UPDATE_NAMESRV_CONFIG,
        &[],
        b"supportActingMaster=true",
    );
    let topics = || [topic("T", 4, 6, 0), topic("U", 4, 6, 0)];
    let replica = with(
        &with(&BROKER_A, "brokerId", "2"),
        "enableActingMaster",
        "true",
    );
    ok(
        &mut server,
        request::REGISTER_BROKER,
        &replica,
        &report_of(1, topics()),
    );
    let far = with(
        &with(&BROKER_A, "brokerName", "far"),
        "brokerAddr",
        "127.0.0.8:1",
    );
    ok(
        &mut server,
        request::REGISTER_BROKER,
        &with(&far, "__ZONE_NAME", "far"),
        &report_of(1, topics()),
    );

    let mut names = |ext: &[(&str, &str)]| {
        let reply = ok(&mut server, request::GET_ROUTEINFO_BY_TOPIC, ext, &[]);
        let route: Json = serde_json::from_slice(&reply.body).unwrap();
        route["brokerDatas"]
            .as_array()
            .unwrap()
            .iter()
            .map(Json::to_string)
            .collect::<Vec<_>>()
    };
    let all = names(&[("topic", "T")]);
    assert!(
        all.len() == 2 && all[0].contains(r#""0":"127.0.0.2:20911""#),
        "{all:?}"
    );
    assert!(all[1].contains(r#""zoneName":"far""#), "{all:?}");
    let near = names(&[
        ("topic", "T"),
        ("__ZONE_MODE", "true"),
        ("__ZONE_NAME", "far"),
    ]);
    assert_eq!(
        near.len(),
        1,
        "the acting master is a master and elsewhere: {near:?}"
    );
    assert_eq!(
        names(&[
            ("topic", "T"),
            ("__ZONE_MODE", "true"),
            ("__ZONE_NAME", " ")
        ])
        .len(),
        2
    );
}

#[test]
fn names_beyond_ascii_are_escaped_in_standard_json() {
    let mut server = NameServer::default();
    let named = with(&BROKER_A, "brokerName", "br\u{f6}ker-\u{1f980}");
    ok(
        &mut server,
        request::REGISTER_BROKER,
        &named,
        &report_of(1, [topic("T", 4, 6, 0), topic("U", 4, 6, 0)]),
    );
    let reply = ok(
        &mut server,
        request::GET_ROUTEINFO_BY_TOPIC,
        &[("topic", "T")],
        &[],
    );
    assert!(reply.body.is_ascii());
    let route: Json = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        route["brokerDatas"][0]["brokerName"],
        "br\u{f6}ker-\u{1f980}"
    );
}

const EVERY_CODE: [i32; 23] = [
    100, 101, 102, 103, 104, 105, 106, 205, 206, 216, 217, 219, 224, 304, 311, 312, 313, 318, 319,
    322, 327, 901, 904,
];

#[test]
fn every_code_is_answered() {
    for code in EVERY_CODE {
        assert_ne!(
            ask(&mut server(), code, &BROKER_A, &[]).code,
            response::REQUEST_CODE_NOT_SUPPORTED,
            "{code}"
        );
    }
}

proptest! {
    #[test]
    fn no_request_can_panic(
        requests in prop::collection::vec(
            (
                prop::sample::select(EVERY_CODE.to_vec()),
                any::<i32>(),
                prop::collection::vec((prop::sample::select(FIELDS.to_vec()), "[-0-9a-z]{0,12}|\\PC{0,8}|true"), 0..10),
                prop_oneof![any::<Vec<u8>>(), "[\\[{}:,\"a-zA-Z0-9 ]{0,64}".prop_map(String::into_bytes), some_report(), some_deflated()],
                0u64..4,
            ),
            0..12,
        )
    ) {
        let mut server = server();
        for (code, version, ext, body, conn) in requests {
            let ext: Vec<(&str, &str)> = ext.iter().map(|(name, value)| (*name, value.as_str())).collect();
            ask_from(&mut server, (version, conn, 0), code, &ext, &body);
            server.expire(conn);
            server.connection_closed(conn / 2);
        }
    }
}

const FIELDS: [&str; 14] = [
    "topic",
    "brokerName",
    "brokerAddr",
    "clusterName",
    "haServerAddr",
    "brokerId",
    "bodyCrc32",
    "compressed",
    "cluster",
    "namespace",
    "key",
    "value",
    "heartbeatTimeoutMillis",
    "enableActingMaster",
];

fn some_report() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(("[A-Z]{1,2}", any::<i32>(), any::<i32>()), 0..4).prop_map(|topics| {
        report_of(
            3,
            topics
                .iter()
                .map(|(name, queues, perm)| topic(name, *queues, *perm, *queues)),
        )
    })
}

fn some_deflated() -> impl Strategy<Value = Vec<u8>> {
    (any::<Vec<u8>>(), any::<i32>(), "[A-Z]{0,3} [0-9 ]{0,9}").prop_map(|(version, count, line)| {
        deflated(&[
            &part(b"{}"),
            &count.to_be_bytes(),
            &part(line.as_bytes()),
            &version,
        ])
    })
}
