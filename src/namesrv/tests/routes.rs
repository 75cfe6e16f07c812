//! Which brokers the route of a topic names.

use super::*;

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
    let long = "\u{1}".repeat(300 << 10);
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
