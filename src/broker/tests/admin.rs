use super::*;
use crate::wire::codes::request;

fn create<'a>(topic: &'a str, queues: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ]
}

fn update(broker: &mut Broker, fields: &[(&str, &str)]) -> Reply {
    ask(broker, request::UPDATE_AND_CREATE_TOPIC, fields, "")
}

#[test]
fn topics_are_created_changed_and_deleted() {
    let mut broker = broker();
    effects(&mut broker);
    assert_eq!(update(&mut broker, &create("New", "3")).code, 0);
    let register = Effect::Register {
        topic: "New".into(),
    };
    assert_eq!(
        effects(&mut broker),
        [Effect::Persist(ConfigFile::Topics), register]
    );
    assert_eq!(update(&mut broker, &create("New", "3")).code, 0);
    assert_eq!(effects(&mut broker), [], "nothing has changed");
    let get = |broker: &mut Broker| {
        ask(
            broker,
            request::GET_TOPIC_CONFIG,
            &[("topic", "New"), ("lo", "true")],
            "",
        )
    };
    let text = r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":3,"topicFilterType":"SINGLE_TAG","topicName":"New","topicSysFlag":0,"writeQueueNums":3}"#;
    assert_eq!(body(&get(&mut broker)), text);
    broker.offsets.commit("g", "New", 0, 1, 0);
    let delete = |broker: &mut Broker, topic| {
        ask(
            broker,
            request::DELETE_TOPIC_IN_BROKER,
            &[("topic", topic)],
            "",
        )
        .code
    };
    assert_eq!(delete(&mut broker, "New"), 0);
    assert!(effects(&mut broker).contains(&Effect::TopicDeleted {
        topic: "New".into()
    }));
    assert_eq!(broker.offsets.query("g", "New", 0), None);
    assert_eq!(get(&mut broker).code, 17);
    assert_eq!(
        delete(&mut broker, "New"),
        0,
        "as mqadmin deletes retry topics"
    );
    assert_eq!(effects(&mut broker), []);
    assert_eq!(
        (delete(&mut broker, " "), delete(&mut broker, "TBW102")),
        (29, 29)
    );
}

#[test]
fn deleting_a_topic_deletes_its_retry_topics_of_pop() {
    let mut broker = broker();
    for name in ["%RETRY%g_T", "%RETRY%g+T", "%RETRY%g"] {
        broker.topics.put(topic(name, 1), 0);
    }
    broker.offsets.commit("g", "T", 0, 1, 0);
    ask(
        &mut broker,
        request::DELETE_TOPIC_IN_BROKER,
        &[("topic", "T")],
        "",
    );
    assert!(!broker.topics.contains("%RETRY%g_T") && !broker.topics.contains("%RETRY%g+T"));
    assert!(broker.topics.contains("%RETRY%g"));
}

#[test]
fn topics_that_are_not_created() {
    let mut broker = broker();
    for topic in ["a b", "", "TBW102", "rmq_sys_x", "DefaultCluster"] {
        assert_eq!(update(&mut broker, &create(topic, "1")).code, 29, "{topic}");
    }
    assert_eq!(update(&mut broker, &create("New", "-1")).code, 29);
    assert_eq!(update(&mut broker, &create("New", "2000000000")).code, 29);
    assert_eq!(update(&mut broker, &create("New", "x")).code, 1);
    assert_eq!(update(&mut broker, &create("New", "1")[1..]).code, 1);
    let with = |attributes| {
        let mut fields = create("New", "1");
        fields.push(("attributes", attributes));
        fields
    };
    assert_eq!(update(&mut broker, &with("+message.type=MIXED")).code, 29);
    assert_eq!(update(&mut broker, &with("message.type")).code, 1);
    assert_eq!(update(&mut broker, &with("-queue.type")).code, 1);
    let reply = update(&mut broker, &with("+queue.type=RocksDBCQ"));
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (
            1,
            Some("queue.type is \"RocksDBCQ\", expected SimpleCQ or BatchCQ")
        )
    );
    assert!(!broker.topics.contains("New"));
    assert_eq!(
        update(&mut broker, &with("+message.type=FIFO,+a=b")).code,
        0
    );
    assert_eq!(update(&mut broker, &with("-a")).code, 0);
    assert_eq!(update(&mut broker, &with("+reserve.time=2h")).code, 1);
    assert_eq!(update(&mut broker, &with("+reserve.time=-2")).code, 1);
    assert_eq!(update(&mut broker, &with("+reserve.time=2")).code, 0);
    let kept = broker.topics.take_reserved_ms();
    assert_eq!(kept, Some(vec![("New".into(), 7_200_000)]));
    assert_eq!(broker.topics.take_reserved_ms(), None, "unchanged");
    assert_eq!(update(&mut broker, &with("+a=b,+reserve.time=2")).code, 0);
    assert_eq!(broker.topics.take_reserved_ms(), None, "another attribute");
    assert_eq!(update(&mut broker, &with("+reserve.time=-1")).code, 0);
    assert_eq!(broker.topics.take_reserved_ms(), Some(Vec::new()));
    assert_eq!(update(&mut broker, &with("-a")).code, 0);
    assert_eq!(update(&mut broker, &with("-reserve.time")).code, 0);
    let attributes = &broker.topics.find("New").unwrap().config.attributes;
    assert_eq!(attributes.len(), 1);
    assert_eq!(attributes["message.type"], "FIFO");
}

/// As RocketMQ 5.5.0: it is given when the topic is created.
#[test]
fn the_type_of_a_topics_queues_stays() {
    let mut broker = broker();
    let with = |topic, attributes| {
        let mut fields = create(topic, "1");
        fields.push(("attributes", attributes));
        fields
    };
    assert_eq!(
        update(&mut broker, &with("Batch", "+queue.type=BatchCQ")).code,
        0
    );
    assert_eq!(update(&mut broker, &create("Plain", "1")).code, 0);
    for (topic, change) in [
        ("Batch", "+queue.type=SimpleCQ"),
        ("Batch", "+queue.type=BatchCQ"),
        ("Batch", "-queue.type"),
        ("Plain", "+queue.type=BatchCQ"),
    ] {
        let reply = update(&mut broker, &with(topic, change));
        assert_eq!(
            (reply.code, reply.remark.as_deref()),
            (
                1,
                Some(
                    "queue.type is given when a topic is created, and cannot be changed or removed"
                )
            ),
            "{topic} {change}"
        );
    }
    assert_eq!(update(&mut broker, &with("Batch", "")).code, 0);
    let is_batch = |topic: &str| {
        let entry = broker.topics.find(topic).unwrap();
        entry.config.takes_inner_batches()
    };
    assert!(is_batch("Batch") && !is_batch("Plain"));
}

#[test]
fn topic_lists() {
    let mut broker = broker();
    let list = r#"{"topicConfigList":[{"topicName":"A","readQueueNums":1,"writeQueueNums":1},{"topicName":"B"}]}"#;
    let code = request::UPDATE_AND_CREATE_TOPIC_LIST;
    assert_eq!(ask(&mut broker, code, &[], list).code, 0);
    assert!(broker.topics.contains("A") && broker.topics.contains("B"));
    let bad = r#"{"topicConfigList":[{"topicName":"C"},{"topicName":"a b"}]}"#;
    assert_eq!(ask(&mut broker, code, &[], bad).code, 29);
    assert!(!broker.topics.contains("C"), "all or none");
    let all = ask(&mut broker, request::GET_ALL_TOPIC_CONFIG, &[], "");
    assert!(
        body(&all).contains(r#""topicConfigTable":{"A":{"attributes":{}"#),
        "{}",
        body(&all)
    );
    assert_eq!(
        all.ext[0],
        ("totalTopicNum", broker.topics.len().to_string())
    );
    let system = ask(
        &mut broker,
        request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER,
        &[],
        "",
    );
    assert!(body(&system).contains("SCHEDULE_TOPIC_XXXX"));
}

#[test]
fn groups() {
    let mut broker = broker();
    effects(&mut broker);
    let put = |broker: &mut Broker, text: &str| {
        ask(
            broker,
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
            &[],
            text,
        )
        .code
    };
    assert_eq!(
        put(&mut broker, r#"{"groupName":"g","retryMaxTimes":3}"#),
        0
    );
    assert_eq!(
        effects(&mut broker),
        [Effect::Persist(ConfigFile::SubscriptionGroups)]
    );
    assert_eq!(put(&mut broker, r#"{"groupName":"a b"}"#), 29);
    assert_eq!(put(&mut broker, "{"), 1);
    let list = r#"{"groupConfigList":[{"groupName":"h"}]}"#;
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
    assert_eq!(ask(&mut broker, code, &[], list).code, 0);
    let one = ask(
        &mut broker,
        request::GET_SUBSCRIPTIONGROUP_CONFIG,
        &[("group", "g")],
        "",
    );
    assert!(body(&one).contains(r#""retryMaxTimes":3"#));
    let none = ask(
        &mut broker,
        request::GET_SUBSCRIPTIONGROUP_CONFIG,
        &[("group", "a b")],
        "",
    );
    assert_eq!(none.code, 26);
    let all = ask(
        &mut broker,
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        &[],
        "",
    );
    assert!(body(&all).contains(r#""h":{"#) && body(&all).contains("TOOLS_CONSUMER"));
    broker.offsets.commit("g", "T", 0, 1, 0);
    let delete = [("groupName", "g"), ("cleanOffset", "true")];
    assert_eq!(
        ask(&mut broker, request::DELETE_SUBSCRIPTIONGROUP, &delete, "").code,
        0
    );
    assert!(!broker.groups.contains("g") && broker.offsets.query("g", "T", 0).is_none());
}

fn online(broker: &mut Broker) {
    let data = consumer("g", "T", "a");
    broker
        .clients
        .register_consumer(&data, true, "c", &peer(1), 7);
    broker.clients.register_producer("p", "c", &peer(1), 7);
}

#[test]
fn connections() {
    let mut broker = broker();
    let group = [("consumerGroup", "g")];
    let producers = [("producerGroup", "p")];
    assert_eq!(
        ask(
            &mut broker,
            request::GET_CONSUMER_CONNECTION_LIST,
            &group,
            ""
        )
        .code,
        206
    );
    assert_eq!(
        ask(
            &mut broker,
            request::GET_PRODUCER_CONNECTION_LIST,
            &producers,
            ""
        )
        .code,
        1
    );
    online(&mut broker);
    let connection = r#"{"connectionSet":[{"clientAddr":"127.0.0.1:40000","clientId":"c","language":"JAVA","version":500}]"#;
    let reply = ask(
        &mut broker,
        request::GET_PRODUCER_CONNECTION_LIST,
        &producers,
        "",
    );
    assert_eq!(body(&reply), format!("{connection}}}"));
    let reply = ask(
        &mut broker,
        request::GET_CONSUMER_CONNECTION_LIST,
        &group,
        "",
    );
    let expected = format!(
        r#"{connection},"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{{"T":"#
    );
    assert!(body(&reply).starts_with(&expected), "{}", body(&reply));
    let reply = ask(&mut broker, request::GET_ALL_PRODUCER_INFO, &[], "");
    assert_eq!(
        body(&reply),
        r#"{"data":{"p":[{"clientId":"c","language":"JAVA","lastUpdateTimestamp":7,"remoteIP":"/127.0.0.1:40000","version":500}]}}"#
    );
}

#[test]
fn who_consumes_what() {
    let mut broker = broker();
    online(&mut broker);
    broker.offsets.commit("offline", "T", 0, 3, 0);
    let reply = ask(
        &mut broker,
        request::QUERY_TOPIC_CONSUME_BY_WHO,
        &[("topic", "T")],
        "",
    );
    assert_eq!(body(&reply), r#"{"groupList":["g","offline"]}"#);
    let reply = ask(
        &mut broker,
        request::QUERY_TOPICS_BY_CONSUMER,
        &[("group", "offline")],
        "",
    );
    assert_eq!(
        body(&reply),
        r#"{"brokerAddr":"127.0.0.1:10911","topicList":["T"]}"#
    );
    let both = [("group", "g"), ("topic", "T")];
    let reply = ask(
        &mut broker,
        request::QUERY_SUBSCRIPTION_BY_CONSUMER,
        &both,
        "",
    );
    assert!(body(&reply).contains(r#""subString":"a""#));
}

#[test]
fn stats_of_topics_and_groups() {
    let mut broker = broker();
    let reply = ask(
        &mut broker,
        request::GET_TOPIC_STATS_INFO,
        &[("topic", "None")],
        "",
    );
    assert_eq!(reply.code, 17);
    broker.stored("T", None, 60, 6000, 0);
    let reply = ask(
        &mut broker,
        request::GET_TOPIC_STATS_INFO,
        &[("topic", "T")],
        "",
    );
    let row = |id: i32, rest: &str| {
        format!(r#"{{"brokerName":"broker-a","queueId":{id},"topic":"T"}}:{{{rest}}}"#)
    };
    let first = row(
        0,
        r#""lastUpdateTimestamp":109,"maxOffset":10,"minOffset":0"#,
    );
    assert!(body(&reply).contains(&first), "{}", body(&reply));
    assert!(body(&reply).contains(&row(
        3,
        r#""lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0"#
    )));
    assert!(body(&reply).ends_with(r#""topicPutTps":6.0}"#), "of 10 s");

    broker.offsets.commit("g", "T", 0, 4, 0);
    broker.offsets.pulled("g", "T", 0, 6);
    let group = [("consumerGroup", "g")];
    let reply = ask(&mut broker, request::GET_CONSUME_STATS, &group, "");
    let first = row(
        0,
        r#""brokerOffset":10,"consumerOffset":4,"lastTimestamp":103,"pullOffset":6"#,
    );
    assert!(body(&reply).contains(&first), "{}", body(&reply));
    let data = consumer("g", "Other", "*");
    broker
        .clients
        .register_consumer(&data, true, "c", &peer(1), 0);
    let reply = ask(&mut broker, request::GET_CONSUME_STATS, &group, "");
    assert_eq!(
        body(&reply),
        r#"{"offsetTable":{},"consumeTps":0.0}"#,
        "not subscribed any more"
    );
    let listed = [("consumerGroup", "g"), ("topicList", "T;None")];
    let reply = ask(&mut broker, request::GET_CONSUME_STATS, &listed, "");
    assert!(body(&reply).contains(&first));
}

#[test]
fn offsets_for_others() {
    let mut broker = broker();
    broker.offsets.commit("a", "T", 0, 4, 0);
    broker.offsets.commit("b", "T", 0, 6, 0);
    broker.offsets.commit("c", "T", 0, 5, 0);
    let mut correction = |compare, filter| {
        let fields = [
            ("topic", "T"),
            ("compareGroup", compare),
            ("filterGroups", filter),
        ];
        let reply = ask(&mut broker, request::QUERY_CORRECTION_OFFSET, &fields, "");
        body(&reply).to_owned()
    };
    assert_eq!(correction("b", ""), r#"{"correctionOffsets":{0:4}}"#);
    assert_eq!(
        correction("a", "a"),
        r#"{"correctionOffsets":{0:9223372036854775807}}"#
    );
    let reply = ask(&mut broker, request::GET_ALL_CONSUMER_OFFSET, &[], "");
    assert!(body(&reply).contains(r#""T@a":{0:4}"#));
    broker.delays.advance(2, 8, 0);
    let reply = ask(&mut broker, request::GET_ALL_DELAY_OFFSET, &[], "");
    assert!(body(&reply).contains(r#""offsetTable":{2:8}"#));
}

#[test]
fn offsets_are_reset() {
    let mut broker = broker();
    assert_eq!(
        reset(&mut broker, "g", "None", &[(0, 3)]).unwrap_err().code,
        17
    );
    assert_eq!(
        reset(&mut broker, "g", "T", &[(0, 3)]).unwrap_err().code,
        26
    );
    assert_eq!(
        reset(&mut broker, "TOOLS_CONSUMER", "T", &[])
            .unwrap_err()
            .code,
        1
    );
    let reply = reset(&mut broker, "TOOLS_CONSUMER", "T", &[(0, 3)]).unwrap();
    let expected = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:3}}"#;
    assert_eq!(body(&reply), expected);
    assert!(broker.offsets.has_reset("TOOLS_CONSUMER", "T", 0));
}

fn reset(
    broker: &mut Broker,
    group: &str,
    topic: &str,
    offsets: &[(u32, u64)],
) -> Result<Reply, Refusal> {
    let step = broker.reset_offsets(group, topic, offsets)?;
    carried_out(broker, step, 0)
}
