use super::*;
use crate::wire::codes::{request, response};
use crate::wire::heartbeat::{HeartbeatData, MessageModel, ProducerData};
use crate::wire::loose_json;
use proptest::prelude::*;

fn heartbeat(group: &str, topic: &str) -> HeartbeatData {
    HeartbeatData {
        client_id: "c".into(),
        consumer_data_set: vec![consumer(group, topic, "*")],
        producer_data_set: vec![ProducerData {
            group_name: "p".into(),
        }],
        ..HeartbeatData::default()
    }
}

fn beat(broker: &mut Broker, conn: u64, data: &HeartbeatData, now_ms: u64) -> String {
    let text = String::from_utf8(loose_json::to_vec(data)).unwrap();
    let reply = ask_from(broker, &peer(conn), request::HEART_BEAT, &[], &text, now_ms);
    assert_eq!((reply.code, &*reply.ext[0].1), (0, "true"));
    assert_eq!(reply.ext[1].0, "IS_SUB_CHANGE");
    reply.ext[1].1.clone()
}

#[test]
fn a_heartbeat_makes_group_and_retry_topic_and_tells_the_members() {
    let mut broker = broker();
    effects(&mut broker);
    assert_eq!(beat(&mut broker, 1, &heartbeat("g", "T"), 0), "true");
    assert!(broker.groups.contains("g") && broker.topics.contains("%RETRY%g"));
    let made = effects(&mut broker);
    let notify = |conns: &[u64]| Effect::Notify {
        group: "g".into(),
        conns: conns.iter().copied().map(ConnId).collect(),
    };
    assert_eq!(
        made,
        [
            Effect::Persist(ConfigFile::SubscriptionGroups),
            Effect::Persist(ConfigFile::Topics),
            Effect::Register {
                topic: "%RETRY%g".into()
            },
            notify(&[1]),
        ]
    );
    beat(&mut broker, 2, &heartbeat("g", "T"), 0);
    assert_eq!(effects(&mut broker), [notify(&[1, 2])]);
    beat(&mut broker, 2, &heartbeat("g", "T"), 0);
    assert_eq!(effects(&mut broker), []);
    broker.connection_closed(ConnId(1), 0);
    assert_eq!(effects(&mut broker), [notify(&[2])]);
}

#[test]
fn nobody_is_told_where_that_is_not_wanted() {
    let mut broker = broker();
    let mut data = heartbeat("g", "T");
    data.consumer_data_set[0].message_model = MessageModel::Broadcasting;
    beat(&mut broker, 1, &data, 0);
    broker.config.notify_consumer_ids_changed = false;
    beat(&mut broker, 1, &heartbeat("h", "T"), 0);
    let told = effects(&mut broker);
    assert!(
        !told
            .iter()
            .any(|effect| matches!(effect, Effect::Notify { .. }))
    );
}

#[test]
fn heartbeats_of_the_second_version() {
    let mut broker = broker();
    let mut data = heartbeat("g", "T");
    data.heartbeat_fingerprint = 7;
    assert_eq!(beat(&mut broker, 1, &data, 0), "false");
    let full = data.consumer_data_set[0].subscription_data_set.clone();
    data.without_sub = true;
    data.consumer_data_set[0].subscription_data_set.clear();
    assert_eq!(beat(&mut broker, 1, &data, 0), "false");
    assert!(
        broker
            .clients
            .consumers("g")
            .unwrap()
            .subscription("T")
            .is_some()
    );
    data.heartbeat_fingerprint = 8;
    assert_eq!(beat(&mut broker, 1, &data, 0), "true");
    let mut restarted = super::broker();
    assert_eq!(
        beat(&mut restarted, 1, &data, 0),
        "true",
        "it knows no subscription yet"
    );
    data.without_sub = false;
    data.consumer_data_set[0].subscription_data_set = full;
    assert_eq!(beat(&mut restarted, 1, &data, 0), "false");
}

#[test]
fn an_order_topic_makes_its_retry_topic_one_too() {
    let mut broker = broker();
    broker.topics.find_mut("T").unwrap().config.order = true;
    beat(&mut broker, 1, &heartbeat("g", "T"), 0);
    assert!(broker.topics.is_order("%RETRY%g"));
}

#[test]
fn a_group_that_may_not_be_made_is_passed_over() {
    let mut broker = broker();
    broker.config.auto_create_group = false;
    beat(&mut broker, 1, &heartbeat("g", "T"), 0);
    assert!(broker.clients.consumers("g").is_none());
    assert!(broker.clients.producers("p").is_some());
}

#[test]
fn silence_ends_a_membership() {
    let mut broker = broker();
    beat(&mut broker, 1, &heartbeat("g", "T"), 0);
    effects(&mut broker);
    broker.housekeeping(120_000);
    assert_eq!(effects(&mut broker), []);
    broker.housekeeping(120_001);
    assert_eq!(effects(&mut broker), [Effect::Close(vec![ConnId(1)])]);
    assert!(broker.clients.consumers("g").is_none());
}

/// Frames that `effects` write to notify members.
fn notified(broker: &mut Broker) -> usize {
    let effects = effects(broker).into_iter();
    let conns = effects.map(|effect| match effect {
        Effect::Notify { conns, .. } => conns.len(),
        _ => 0,
    });
    conns.sum()
}

#[test]
fn a_group_that_goes_away_is_notified_in_slices_and_not_once_for_each_member() {
    let mut broker = broker();
    for conn in 0..3000 {
        beat(&mut broker, conn, &heartbeat("g", "T"), 0);
    }
    notified(&mut broker);
    let mut frames = 0;
    // All leave within 3 s; the reactor's tick is 100 ms.
    for conn in 0..3000 {
        broker.connection_closed(ConnId(conn), 10_000 + conn);
        frames += notified(&mut broker);
        if conn % 100 == 0 {
            broker.notify_members(10_000 + conn);
            let in_turn = notified(&mut broker);
            assert!(in_turn <= limits::NOTIFIED_PER_TURN);
            frames += in_turn;
        }
    }
    assert!(broker.clients.consumers("g").is_none());
    assert!((3000..30_000).contains(&frames), "{frames}");
}

#[test]
fn a_large_group_is_notified_within_a_few_ticks() {
    let mut broker = broker();
    for conn in 0..1000 {
        beat(&mut broker, conn, &heartbeat("g", "T"), 0);
    }
    for tick in 1..100 {
        broker.notify_members(tick * 100);
    }
    notified(&mut broker);
    broker.connection_closed(ConnId(7), 20_000);
    broker.notify_members(20_000);
    broker.notify_members(20_100);
    assert_eq!(notified(&mut broker), 999);
}

#[test]
fn a_heartbeat_has_a_limited_number_of_subscriptions() {
    let mut broker = broker();
    let mut data = heartbeat("g", "T");
    let subscription = data.consumer_data_set[0].subscription_data_set[0].clone();
    let of = |n: usize| SubscriptionData {
        topic: format!("topic{n}"),
        ..subscription.clone()
    };
    let mut ask = |count: usize| {
        data.consumer_data_set[0].subscription_data_set = (0..count).map(of).collect();
        let text = String::from_utf8(loose_json::to_vec(&data)).unwrap();
        ask_from(&mut broker, &peer(1), request::HEART_BEAT, &[], &text, 0)
    };
    assert_eq!(ask(limits::MAX_SUBSCRIPTIONS - 2).code, 0);
    let refused = ask(limits::MAX_SUBSCRIPTIONS - 1);
    assert_eq!(refused.code, 1);
    let remark = refused.remark.unwrap();
    assert!(
        remark.ends_with("4097 groups and subscriptions, limit 4096"),
        "{remark}"
    );
    let refused = ask(20_000);
    assert!(refused.remark.unwrap().contains("limit 2097152"));
}

#[test]
fn members_and_unregistering() {
    let mut broker = broker();
    let group = [("consumerGroup", "g")];
    let code = request::GET_CONSUMER_LIST_BY_GROUP;
    let reply = ask(&mut broker, code, &group, "");
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (1, Some("no consumer for this group, g"))
    );
    beat(&mut broker, 1, &heartbeat("g", "T"), 0);
    assert_eq!(
        body(&ask(&mut broker, code, &group, "")),
        r#"{"consumerIdList":["c"]}"#
    );
    let fields = [
        ("clientID", "c"),
        ("producerGroup", "p"),
        ("consumerGroup", "g"),
    ];
    assert_eq!(
        ask(&mut broker, request::UNREGISTER_CLIENT, &fields, "").code,
        0
    );
    assert!(broker.clients.consumers("g").is_none() && broker.clients.producers("p").is_none());
}

#[test]
fn client_settings_are_checked() {
    let mut broker = broker();
    let mut check = |kind: &str| {
        let body = format!(
            r#"{{"clientId":"c","group":"g","subscriptionData":{{"topic":"T","subString":"*","expressionType":"{kind}"}}}}"#
        );
        ask(&mut broker, request::CHECK_CLIENT_CONFIG, &[], &body).code
    };
    assert_eq!((check("TAG"), check("SQL92")), (0, 1));
}

#[test]
fn an_expression_is_checked_before_its_consumer_starts() {
    let mut broker = broker();
    broker.config.property_filter = true;
    let mut check = |kind: &str, expression: &str| {
        let body = format!(
            r#"{{"subscriptionData":{{"topic":"T","subString":"{expression}","expressionType":"{kind}"}}}}"#
        );
        let reply = ask(&mut broker, request::CHECK_CLIENT_CONFIG, &[], &body);
        (reply.code, reply.remark.unwrap_or_default().into_owned())
    };
    assert_eq!(check("SQL92", "a > 1 AND b IS NOT NULL").0, 0);
    let (code, remark) = check("SQL92", "a > 'x'");
    assert_eq!((code, &*remark), (23, "Value ''x'' cannot be compared."));
    let (code, remark) = check("SQL92", "a >");
    assert_eq!(code, 23);
    assert!(
        remark.starts_with("Encountered \"<EOF>\" at line 1, column 3."),
        "{remark}"
    );
    assert_eq!(check("SQL93", "a > 1").0, 23);
    assert_eq!(
        ask(&mut broker, request::CHECK_CLIENT_CONFIG, &[], "{}").code,
        0
    );
}

fn query(broker: &mut Broker, queue_id: &str, zero: Option<&str>) -> (i32, Option<String>) {
    let mut fields = vec![
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", queue_id),
    ];
    fields.extend(zero.map(|zero| ("setZeroIfNotFound", zero)));
    let reply = ask(broker, request::QUERY_CONSUMER_OFFSET, &fields, "");
    (
        reply.code,
        reply.ext.first().map(|(_, offset)| offset.clone()),
    )
}

#[test]
fn offsets_of_new_and_known_groups() {
    let mut broker = broker();
    assert_eq!(
        query(&mut broker, "0", None),
        (0, Some("0".into())),
        "has its first message"
    );
    assert_eq!(query(&mut broker, "0", Some("false")), (22, None));
    assert_eq!(query(&mut broker, "1", None), (22, None));
    assert_eq!(query(&mut broker, "-1", None), (22, None));
    assert_eq!(
        query(&mut broker, "2", None),
        (22, None),
        "it has no message"
    );
    broker.offsets.commit("g", "T", 1, 7, 0);
    assert_eq!(
        query(&mut broker, "1", Some("false")),
        (0, Some("7".into()))
    );
}

#[test]
fn offsets_are_updated_for_known_groups_and_topics() {
    let mut broker = broker();
    let mut update = |group, topic, queue_id, offset| {
        let fields = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", queue_id),
            ("commitOffset", offset),
        ];
        ask(&mut broker, request::UPDATE_CONSUMER_OFFSET, &fields, "").code
    };
    assert_eq!(update("TOOLS_CONSUMER", "T", "1", "5"), 0);
    assert_eq!(update("TOOLS_CONSUMER", "T", "1", "3"), 0);
    assert_eq!(update("unknown", "T", "1", "5"), 26);
    assert_eq!(update("TOOLS_CONSUMER", "None", "1", "5"), 17);
    assert_eq!(update("TOOLS_CONSUMER", "T", "-1", "5"), 29);
    assert_eq!(update("TOOLS_CONSUMER", "T", "1", "x"), 1);
    assert_eq!(broker.offsets.query("TOOLS_CONSUMER", "T", 1), Some(3));
    assert!(broker.offsets.take_dirty());
    broker.offsets.reset("TOOLS_CONSUMER", "T", 1, 9);
    let fields = [
        ("consumerGroup", "TOOLS_CONSUMER"),
        ("topic", "T"),
        ("queueId", "1"),
        ("commitOffset", "4"),
    ];
    let reply = ask(&mut broker, request::UPDATE_CONSUMER_OFFSET, &fields, "");
    assert_eq!(
        reply.remark.as_deref(),
        Some("Offset has been previously reset")
    );
    assert_eq!(broker.offsets.query("TOOLS_CONSUMER", "T", 1), Some(9));
}

#[test]
fn bounds_of_queues() {
    let mut broker = broker();
    let mut bound = |code, topic, queue_id| {
        let reply = ask(
            &mut broker,
            code,
            &[("topic", topic), ("queueId", queue_id)],
            "",
        );
        assert_eq!(reply.ext_values()[0].0, "offset");
        reply.ext[0].1.clone()
    };
    assert_eq!(bound(request::GET_MAX_OFFSET, "T", "1"), "10");
    assert_eq!(bound(request::GET_MIN_OFFSET, "T", "1"), "5");
    assert_eq!(bound(request::GET_MAX_OFFSET, "None", "1"), "0");
    assert_eq!(bound(request::GET_MIN_OFFSET, "T", "-7"), "0");
}

#[test]
fn locks_by_request() {
    let mut broker = broker();
    let queue = |id: i32| format!(r#"{{"brokerName":"broker-a","queueId":{id},"topic":"T"}}"#);
    let text = |client: &str, queues: &str| {
        format!(
            r#"{{"clientId":"{client}","consumerGroup":"g","mqSet":[{queues}],"onlyThisBroker":false}}"#
        )
    };
    let both = format!("{},{}", queue(0), queue(1));
    let lock = |broker: &mut Broker, client: &str, queues: &str, now_ms| {
        let text = text(client, queues);
        let reply = ask_from(broker, &peer(1), request::LOCK_BATCH_MQ, &[], &text, now_ms);
        body(&reply).to_owned()
    };
    let granted = |queues: &str| format!(r#"{{"lockOKMQSet":[{queues}]}}"#);
    assert_eq!(lock(&mut broker, "a", &queue(0), 0), granted(&queue(0)));
    assert_eq!(lock(&mut broker, "b", &both, 1), granted(&queue(1)));
    let unlock = ask(
        &mut broker,
        request::UNLOCK_BATCH_MQ,
        &[],
        &text("a", &both),
    );
    assert_eq!(unlock.code, 0);
    assert_eq!(lock(&mut broker, "b", &both, 2), granted(&both));
    assert_eq!(lock(&mut broker, "a", &both, 60_003), granted(&both));
    // What is kept of a lock is bounded.
    let long = "c".repeat(513);
    let queue_of_long = format!(r#"{{"brokerName":"{long}","queueId":0,"topic":"T"}}"#);
    assert_eq!(lock(&mut broker, "a", &queue_of_long, 60_004), granted(""));
    let long = text(&long, &queue(0));
    let reply = ask(&mut broker, request::LOCK_BATCH_MQ, &[], &long);
    assert_eq!(reply.code, response::INVALID_PARAMETER);
}

#[test]
fn what_nobody_knows_is_3() {
    let mut broker = broker();
    let reply = ask(&mut broker, 9999, &[], "");
    assert_eq!(reply.code, 3);
    assert_eq!(
        reply.remark.as_deref(),
        Some(" request type 9999 not supported")
    );
}

proptest! {
    #[test]
    fn any_request_is_answered(
        code in prop_oneof![0..60_i32, 200..230_i32, 300..360_i32],
        fields in prop::collection::vec((
            "consumerGroup|topic|queueId|commitOffset|group|groupName|producerGroup|readQueueNums|writeQueueNums|perm|attributes|clientID|compareGroup|topicList|defaultTopic|topicFilterType|order",
            "T|g|-?[0-9]{1,12}|[ -~]{0,6}|SINGLE_TAG",
        ), 0..9),
        body in "\\{\"(mqSet|consumerDataSet|groupName|topicConfigList|clientID)\":(null|\\[\\]|\"x\"|\\[\\{\\}\\]|7)\\}|[ -~]{0,20}",
    ) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut broker = broker();
        let reply = ask(&mut broker, code, &fields, &body);
        prop_assert!(reply.code == 0 || reply.remark.is_some_and(|remark| !remark.is_empty()));
    }
}
