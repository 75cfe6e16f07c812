//! Lists, permissions, values by key and settings.

use super::*;

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
    assert_eq!(effects, [Effect::SaveKvConfig, Effect::SaveKvConfig]);
    let mut saved = KvConfig::begin_text();
    while server.write_kv(&mut saved) {}
    assert_eq!(saved.into_string(), r#"{"configTable":{"N":{}}}"#);

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
    let saved = text(&shown).replace("listenPort=9876\n", "");
    assert_eq!(effects, [Effect::SaveSettings(saved)]);

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
fn where_it_listens_is_shown() {
    let settings = Settings {
        listen_port: 19876,
        ..Settings::default()
    };
    let mut server = NameServer::new(KvConfig::default(), settings);
    let shown = ok(&mut server, request::GET_NAMESRV_CONFIG, &[], &[]);
    assert!(text(&shown).starts_with("listenPort=19876\n"));
    // As in RocketMQ, a name without a meaning is ignored.
    let body = b"listenPort=1";
    ok(&mut server, request::UPDATE_NAMESRV_CONFIG, &[], body);
    let shown = ok(&mut server, request::GET_NAMESRV_CONFIG, &[], &[]);
    assert!(text(&shown).contains("listenPort=19876\n"));
}
