//! Brokers that come, live and go.

use super::*;
use crate::namesrv::merge::TOPICS_PER_TURN;
use crate::namesrv::passes::PermChange;
use crate::wire::codes::V3_0_11;
use crate::wire::loose_json::members::BYTES_PER_TURN;

#[test]
fn a_missing_field_is_named() {
    let mut server = server();
    for (code, field) in [
        (request::GET_ROUTEINFO_BY_TOPIC, "topic"),
        (request::REGISTER_BROKER, "brokerId"),
        (request::UNREGISTER_BROKER, "brokerId"),
        (request::BROKER_HEARTBEAT, "clusterName"),
        (request::QUERY_DATA_VERSION, "brokerId"),
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
            (reply.code, reply.remark.as_deref()),
            (response::SYSTEM_ERROR, Some(&*remark)),
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
            .contains("<brokerId> cannot be \"first\"")
    );
    assert!(refused(&mut server, &BROKER_A, b"{\"topic").starts_with("body: "));
    assert!(refused(&mut server, &BROKER_A, &[0x78, 0x9c, 1, 2, 3]).contains("inflating failed"));
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
    let before_3_0_11 = (V3_0_11 - 1, 1, 0);
    let code = request::REGISTER_BROKER;
    let reply = ask_from(&mut server, before_3_0_11, code, &old, body.as_bytes());
    assert_eq!(reply.code, response::SUCCESS);
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

/// A broker that fails to start must not take the place of the one that runs.
#[test]
fn nothing_is_unregistered_over_another_connection() {
    let mut server = server();
    let code = request::UNREGISTER_BROKER;
    let other = (V4_9_8, 2, 0);
    assert_eq!(ask_from(&mut server, other, code, &BROKER_A, &[]).code, 0);
    assert!(server.routes.broker("broker-a").is_some());
    ok(&mut server, code, &BROKER_A, &[]);
    assert!(server.routes.broker("broker-a").is_none());
}

#[test]
fn a_changed_address_is_noted() {
    let mut server = server();
    let moved = with(&BROKER_A, "brokerAddr", "127.0.0.2:30911");
    let body = report_of(1, [topic("T", 8, 6, 0), topic("U", 8, 6, 0)]);
    let code = request::REGISTER_BROKER;
    let mut noted = Vec::new();
    for fields in [&BROKER_A[..], &moved, &moved] {
        assert_eq!(
            ask_from(&mut server, (V4_9_8, 2, 0), code, fields, &body).code,
            0
        );
        server.take_effects(&mut noted);
    }
    let expected = Effect::AddressChanged {
        broker_name: "broker-a".into(),
        from: "127.0.0.2:20911".into(),
        to: "127.0.0.2:30911".into(),
    };
    assert_eq!(noted, [expected]);
}

/// With `deleteTopicWithBrokerRegistration` only a complete report deletes: an incremental one has the changed topics alone.
#[test]
fn an_incremental_report_deletes_nothing() {
    let mut server = server();
    let setting = b"deleteTopicWithBrokerRegistration=true";
    ok(&mut server, request::UPDATE_NAMESRV_CONFIG, &[], setting);
    let code = request::REGISTER_BROKER;
    let only = report_of(2, [topic("New", 4, 6, 0)]);
    ok(&mut server, code, &BROKER_A, &only);
    let topics = |server: &NameServer| server.routes.topics().map(String::from).collect::<Vec<_>>();
    assert_eq!(
        topics(&server),
        ["GoldenTopic", "New", "SELF_TEST_TOPIC", "TBW102"]
    );
    let complete = [topic("SELF_TEST_TOPIC", 1, 6, 0), topic("New", 4, 6, 0)];
    ok(&mut server, code, &BROKER_A, &report_of(3, complete));
    assert_eq!(topics(&server), ["New", "SELF_TEST_TOPIC"]);
}

/// Turns of a registration, until it is answered or so many are over.
fn turns(server: &mut NameServer, registering: &mut Registering, most: usize) -> usize {
    let turns = (0..most).take_while(|_| registering.turn(server, 0).is_none());
    turns.count()
}

fn registering(body: &[u8], conn: u64) -> Registering {
    let ext: Vec<_> = BROKER_A
        .iter()
        .map(|(name, value)| (*name, Value::Str(value)))
        .collect();
    let mut bytes = Vec::new();
    let head = head_of(V4_9_8, request::REGISTER_BROKER);
    frame::write(&mut bytes, &head, &ext, body);
    let frame = frame::split(&bytes).unwrap().unwrap();
    let mut scratch = Scratch::default();
    let header = header::decode(&frame, &mut scratch).unwrap();
    match NameServer::default().handle(&header, frame.body, conn, 0) {
        Handled::Registering(registering) => *registering,
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_topics_are_read_and_merged_in_slices() {
    const TOPICS: usize = 10_000;
    let body = report_of(1, (0..TOPICS).map(|n| topic(&format!("T{n:05}"), 4, 6, 0)));
    let line = |n: usize| part(format!("T{n:05} 4 4 6 SINGLE_TAG {{}}").as_bytes());
    let lines: Vec<u8> = (0..TOPICS).flat_map(line).collect();
    let inflated = [
        part(b"{}"),
        (TOPICS as u32).to_be_bytes().to_vec(),
        lines,
        part(b"[]"),
    ];
    let inflated: Vec<&[u8]> = inflated.iter().map(|part| &**part).collect();
    let len = inflated.iter().map(|part| part.len()).sum();
    let deflated = deflated(&inflated);
    for (body, len) in [(&body, body.len()), (&deflated, len)] {
        let mut server = NameServer::default();
        let (reading, merging) = (len / BYTES_PER_TURN, TOPICS / TOPICS_PER_TURN);
        let mut first = registering(body, 1);
        assert_eq!(turns(&mut server, &mut first, reading), reading);
        assert_eq!(server.routes.topics().count(), 0);
        let rest = turns(&mut server, &mut first, usize::MAX);
        assert!((merging..merging + 3).contains(&rest), "{rest} turns");
        assert_eq!(server.routes.topics().count(), TOPICS);
        // The connection ends while the broker registers once more.
        let mut second = registering(body, 1);
        turns(&mut server, &mut second, reading + 9);
        server.connection_closed(1);
        turns(&mut server, &mut second, usize::MAX);
        assert_eq!(server.routes.topics().count(), 0);
    }
}

#[test]
fn what_a_broker_has_left_goes_in_slices_and_so_does_a_change_of_its_permissions() {
    const TOPICS: usize = 5_000;
    let mut server = NameServer::default();
    let report = report_of(1, (0..TOPICS).map(|n| topic(&format!("T{n:05}"), 4, 6, 0)));
    ok(&mut server, request::REGISTER_BROKER, &BROKER_A, &report);
    let mut change = PermChange::new("broker-a", false);
    let mut turns = 1;
    let reply = loop {
        match change.turn(&mut server) {
            Some(reply) => break reply,
            None => turns += 1,
        }
    };
    assert_eq!(turns, TOPICS / TOPICS_PER_TURN + 1);
    assert_eq!(reply.code, response::SUCCESS);
    server.connection_closed(1);
    assert_eq!(server.routes.topics().count(), 0);
    let mut turns = 1;
    while server.sweep_some() {
        turns += 1;
    }
    assert_eq!(turns, TOPICS / TOPICS_PER_TURN + 1);
    assert!(server.routes.topics.is_empty());
}

#[test]
fn topics_that_are_not_reported_any_more_go_in_slices() {
    const TOPICS: usize = 5_000;
    let mut server = NameServer::default();
    server.settings.delete_topic_with_broker_registration = true;
    let named = |range: std::ops::Range<usize>| range.map(|n| topic(&format!("T{n:05}"), 4, 6, 0));
    let whole = report_of(1, named(0..TOPICS));
    ok(&mut server, request::REGISTER_BROKER, &BROKER_A, &whole);
    let own = topic("SELF_TEST_TOPIC", 1, 6, 0);
    let rest = report_of(2, named(0..9).chain([own]));
    let taken = turns(&mut server, &mut registering(&rest, 1), usize::MAX);
    assert!(taken > TOPICS / TOPICS_PER_TURN, "{taken} turns");
    assert_eq!(server.routes.topics().count(), 10);
}
