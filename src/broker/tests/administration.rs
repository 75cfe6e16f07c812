//! Rewinds, what is asked of clients, statistics and settings; and what comes of bad input to each.

use super::*;
use crate::config::{Config, Flush};
use crate::wire::codes::request;
use crate::wire::consumer::{ConsumeMessageDirectly, ConsumerRunningInfo};
use crate::wire::header::with_fields;
use crate::wire::heartbeat::HeartbeatData;
use crate::wire::loose_json;
use crate::wire::offset::{ConsumerStatusRequest, ResetOffset};

/// With a consumer `c` of group `g` online for `T`, on connection 1.
fn with_consumer() -> Broker {
    let mut broker = broker();
    let data = HeartbeatData {
        client_id: "c".into(),
        consumer_data_set: vec![consumer("g", "T", "*")],
        ..HeartbeatData::default()
    };
    let body = String::from_utf8(loose_json::to_vec(&data)).unwrap();
    assert_eq!(ask(&mut broker, request::HEART_BEAT, &[], &body).code, 0);
    effects(&mut broker);
    broker
}

type Fields<'a> = &'a [(&'a str, &'a str)];

const ALL_QUEUES: Fields<'_> = &[
    ("topic", "T"),
    ("group", "g"),
    ("timestamp", "5"),
    ("isForce", "true"),
];

/// `fields` with some changed; an empty value takes a field away.
fn changed<'a>(fields: Fields<'a>, changes: Fields<'a>) -> Vec<(&'a str, &'a str)> {
    let is_changed = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
    let kept = fields.iter().filter(|(name, _)| !is_changed(name));
    let new = changes.iter().filter(|(_, value)| !value.is_empty());
    kept.chain(new).copied().collect()
}

fn admit(broker: &Broker, fields: Fields<'_>) -> Result<Rewind, Refusal> {
    with_fields(fields, |ext| {
        broker.admit_rewind(ResetOffset::decode(ext)?, &FakeStore)
    })
}

#[test]
fn a_rewind_names_queues_and_a_target() {
    let broker = with_consumer();
    let to = |changes: Fields<'_>| {
        let rewind = admit(&broker, &changed(ALL_QUEUES, changes)).unwrap();
        (rewind.queues, rewind.target)
    };
    assert_eq!(to(&[]), (vec![0, 1, 2, 3], Target::Time(5)));
    assert_eq!(to(&[("timestamp", "-1")]), (vec![0, 1, 2, 3], Target::End));
    assert_eq!(to(&[("queueId", "-1"), ("offset", "3")]).0.len(), 4);
    assert_eq!(to(&[("queueId", "1")]), (vec![1], Target::Time(5)));
    let offset = |offset| to(&[("queueId", "1"), ("offset", offset)]).1;
    assert_eq!(offset("7"), Target::Offset(7));
    assert_eq!(offset("11"), Target::Offset(11), "one beyond, as RocketMQ");
    assert_eq!(offset("-1"), Target::Time(5));
}

#[test]
fn rewinds_that_are_not_granted() {
    let broker = with_consumer();
    for (changes, code) in [
        (&[("topic", "")][..], 1),
        (&[("group", "")], 1),
        (&[("timestamp", "")], 1),
        (&[("timestamp", "soon")], 1),
        (&[("queueId", "99999999999")], 1),
        (&[("offset", "x")], 1),
        (&[("topic", "U")], 17),
        (&[("group", "h")], 26),
        (&[("queueId", "4")], 29),
        (&[("queueId", "2147483647")], 29),
        (&[("queueId", "1"), ("offset", "4")], 1),
        (&[("queueId", "1"), ("offset", "12")], 1),
        (&[("queueId", "1"), ("offset", "-2")], 1),
        (&[("queueId", "1"), ("offset", "9223372036854775807")], 1),
    ] {
        let refusal = admit(&broker, &changed(ALL_QUEUES, changes)).unwrap_err();
        assert_eq!(refusal.code, code, "{changes:?}: {}", refusal.remark);
        assert!(!refusal.remark.is_empty());
    }
}

#[test]
fn the_broker_rewinds_and_saves_it() {
    let mut broker = with_consumer();
    let rewind = admit(&broker, ALL_QUEUES).unwrap();
    let reply = rewound(&mut broker, &rewind, &[(0, 3), (1, 5)], Language::Java).unwrap();
    assert!(body(&reply).contains(r#""queueId":1,"topic":"T"}:5"#));
    assert_eq!(
        effects(&mut broker),
        [Effect::Persist(ConfigFile::ConsumerOffsets)]
    );
    assert_eq!(broker.offsets.query("g", "T", 0), Some(3));
    let commit = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "0"),
        ("commitOffset", "9"),
    ];
    ask(&mut broker, request::UPDATE_CONSUMER_OFFSET, &commit, "");
    assert_eq!(broker.offsets.query("g", "T", 0), Some(3), "it is older");
}

#[test]
fn clients_rewind_themselves_where_that_is_wished_for() {
    let mut broker = with_consumer();
    broker.config.server_side_reset = false;
    let rewind = admit(&broker, &changed(ALL_QUEUES, &[("isForce", "false")])).unwrap();
    let refusal = rewound(&mut broker, &rewind, &[(0, 3)], Language::Java);
    assert_eq!(refusal.unwrap_err().code, 1, "it has no offset yet");
    broker.offsets.commit("g", "T", 0, 9, 0);
    broker.offsets.commit("g", "T", 1, 2, 0);
    let offsets = [(0, 3), (1, 5)];
    rewound(&mut broker, &rewind, &offsets, Language::Java).unwrap();
    let told = effects(&mut broker);
    let [Effect::Tell { conns, request }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((&conns[..], request.code), (&[ConnId(1)][..], 220));
    let text = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:3,{"brokerName":"broker-a","queueId":1,"topic":"T"}:2}}"#;
    assert_eq!(String::from_utf8_lossy(&request.body), text, "never ahead");
    let forced = admit(&broker, ALL_QUEUES).unwrap();
    rewound(&mut broker, &forced, &offsets, Language::Cpp).unwrap();
    let told = effects(&mut broker);
    let [Effect::Tell { request, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    let text = r#"{"offsetTable":[{"brokerName":"broker-a","offset":3,"queueId":0,"topic":"T"},{"brokerName":"broker-a","offset":5,"queueId":1,"topic":"T"}]}"#;
    assert_eq!(String::from_utf8_lossy(&request.body), text);
    broker.connection_closed(ConnId(1), 0);
    let refusal = rewound(&mut broker, &forced, &offsets, Language::Java);
    assert_eq!(refusal.unwrap_err().code, 206);
}

#[test]
fn a_client_is_asked_what_the_request_says() {
    let broker = with_consumer();
    let fields = [
        ("consumerGroup", "g"),
        ("clientId", "c"),
        ("jstackEnable", "true"),
    ];
    let relay = with_fields(&fields, |ext| {
        broker.relay_running_info(ConsumerRunningInfo::decode(ext)?, ext)
    })
    .unwrap();
    assert_eq!(relay.conn, ConnId(1));
    let field = |name: &str| {
        let fields = relay.request.ext.iter();
        fields.clone().find(|(found, _)| found == name).cloned()
    };
    assert_eq!(
        field("jstackEnable"),
        Some(("jstackEnable".into(), "true".into()))
    );
    for changes in [
        &[("consumerGroup", "")][..],
        &[("clientId", "")],
        &[("clientId", "d")],
        &[("consumerGroup", "h")],
    ] {
        let fields = changed(&fields, changes);
        let refusal = with_fields(&fields, |ext| {
            broker.relay_running_info(ConsumerRunningInfo::decode(ext)?, ext)
        })
        .unwrap_err();
        assert_eq!(refusal.code, 1, "{changes:?}");
    }
}

#[test]
fn a_message_to_consume_is_named_by_its_place() {
    let broker = with_consumer();
    let id = crate::message::ids::offset_message_id(([127, 0, 0, 1], 10911).into(), 77);
    let fields = [
        ("consumerGroup", "g"),
        ("clientId", "c"),
        ("msgId", &*id),
        ("topic", "T"),
        ("brokerName", "another"),
    ];
    let (relay, place) = with_fields(&fields, |ext| {
        broker.relay_message(ConsumeMessageDirectly::decode(ext)?, ext)
    })
    .unwrap();
    assert_eq!(place, 77);
    let named: Vec<_> = relay
        .request
        .ext
        .iter()
        .filter(|(name, _)| name == "brokerName")
        .collect();
    assert_eq!(named, [&("brokerName".to_owned(), "broker-a".to_owned())]);
    assert!(
        relay
            .request
            .ext
            .contains(&("topicSysFlag".into(), "0".into()))
    );
    for changes in [
        &[("msgId", "")][..],
        &[("msgId", "xyz")],
        &[("clientId", "")],
    ] {
        let fields = changed(&fields, changes);
        let refusal = with_fields(&fields, |ext| {
            broker.relay_message(ConsumeMessageDirectly::decode(ext)?, ext)
        })
        .unwrap_err();
        assert_eq!(refusal.code, 1, "{changes:?}");
    }
}

#[test]
fn status_is_asked_of_all_or_of_one() {
    let broker = with_consumer();
    let count = |fields: Fields<'_>| {
        with_fields(fields, |ext| {
            broker.relay_status(ConsumerStatusRequest::decode(ext)?)
        })
    };
    let asked = |fields: Fields<'_>| {
        let mut asked = count(fields).unwrap();
        let first = broker.next_to_ask(&mut asked, 16, 512).unwrap();
        assert_eq!(broker.next_to_ask(&mut asked, 16, 512), None);
        first.len()
    };
    let fields = [("topic", "T"), ("group", "g")];
    assert_eq!(asked(&fields), 1);
    let of = |id| [("topic", "T"), ("group", "g"), ("clientAddr", id)];
    assert_eq!((asked(&of("c")), asked(&of("d"))), (1, 0));
    assert_eq!(
        count(&[("topic", "T"), ("group", "h")]).unwrap_err().code,
        1
    );
    assert_eq!(count(&[("topic", "T")]).unwrap_err().code, 1);
}

#[test]
fn offsets_are_cloned_for_one_topic_or_all() {
    let mut broker = with_consumer();
    broker.topics.put(topic("U", 1), 0);
    broker.offsets.commit("g", "T", 0, 5, 0);
    broker.offsets.commit("g", "U", 0, 6, 0);
    let mut clone =
        |fields: Fields<'_>| ask(&mut broker, request::CLONE_GROUP_OFFSET, fields, "").code;
    let names = [("srcGroup", "g"), ("destGroup", "h")];
    assert_eq!(clone(&names), 0);
    assert_eq!(
        clone(&changed(&names, &[("destGroup", "i"), ("offline", "true")])),
        0
    );
    assert_eq!(clone(&changed(&names, &[("srcGroup", "nobody")])), 0);
    assert_eq!(clone(&changed(&names, &[("srcGroup", "")])), 1);
    assert_eq!(broker.offsets.query("h", "T", 0), Some(5));
    assert_eq!(broker.offsets.query("h", "U", 0), None, "not subscribed");
    assert_eq!(broker.offsets.query("i", "U", 0), Some(6));
}

#[test]
fn what_all_groups_have_consumed() {
    let mut broker = with_consumer();
    broker.offsets.commit("g", "T", 0, 4, 0);
    let fields = [("isOrder", "false")];
    let reply = ask(&mut broker, request::GET_BROKER_CONSUME_STATS, &fields, "");
    let text = body(&reply);
    assert!(text.contains(r#""brokerAddr":"127.0.0.1:10911""#), "{text}");
    assert!(text.contains(r#"{"g":[{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"brokerOffset":10,"consumerOffset":4,"lastTimestamp":103,"pullOffset":4}"#), "{text}");
    assert!(text.contains(r#""totalDiff":16"#), "{text}");
    let ordered = [("isOrder", "true")];
    let reply = ask(&mut broker, request::GET_BROKER_CONSUME_STATS, &ordered, "");
    assert!(body(&reply).contains(r#""totalDiff":0"#));
}

#[test]
fn how_far_a_group_is_behind_in_time() {
    let mut broker = with_consumer();
    broker.offsets.commit("g", "T", 0, 4, 0);
    let fields = [("group", "g"), ("topic", "T")];
    let code = request::QUERY_CONSUME_TIME_SPAN;
    let reply = ask_from(&mut broker, &peer(1), code, &fields, "", 200);
    let span = r#"{"consumeTimeStamp":103,"delayTime":96,"maxTimeStamp":109,"messageQueue":{"brokerName":"broker-a","queueId":0,"topic":"T"},"minTimeStamp":100}"#;
    assert!(body(&reply).contains(span), "{}", body(&reply));
    // Without an offset it has the whole queue before it; an empty queue has no times.
    let span = r#"{"consumeTimeStamp":105,"delayTime":95,"maxTimeStamp":109,"messageQueue":{"brokerName":"broker-a","queueId":1,"topic":"T"},"minTimeStamp":105}"#;
    assert!(body(&reply).contains(span), "{}", body(&reply));
    assert!(body(&reply).contains(r#"{"consumeTimeStamp":-1,"delayTime":0,"maxTimeStamp":-1"#));
    assert_eq!(ask(&mut broker, code, &[("group", "g")], "").code, 17);
    assert_eq!(ask(&mut broker, code, &[("topic", "T")], "").code, 1);
}

#[test]
fn a_group_is_forbidden_a_topic() {
    let mut broker = with_consumer();
    let mut forbid = |fields: Fields<'_>| {
        let reply = ask(
            &mut broker,
            request::UPDATE_AND_GET_GROUP_FORBIDDEN,
            fields,
            "",
        );
        (reply.code, String::from_utf8(reply.body).unwrap())
    };
    let names = [("group", "g"), ("topic", "T")];
    let said = |readable| {
        (
            0,
            format!(r#"{{"group":"g","readable":{readable},"topic":"T"}}"#),
        )
    };
    assert_eq!(forbid(&names), said(true));
    assert_eq!(
        forbid(&changed(&names, &[("readable", "false")])),
        said(false)
    );
    assert_eq!(forbid(&names), said(false));
    assert_eq!(forbid(&names[..1]).0, 1);
    assert_eq!(
        effects(&mut broker),
        [Effect::Persist(ConfigFile::SubscriptionGroups)]
    );
}

#[test]
fn changed_settings_survive() {
    let mut broker = broker();
    effects(&mut broker);
    let change = |broker: &mut Broker, text: &str| {
        ask(broker, request::UPDATE_BROKER_CONFIG, &[], text).code
    };
    assert_eq!(
        change(&mut broker, "maxMessageSize=2048\nbrokerPermission=4"),
        0
    );
    assert_eq!(
        effects(&mut broker),
        [Effect::RegisterAll, Effect::Persist(ConfigFile::Settings)]
    );
    assert_eq!(change(&mut broker, "brokerConfigPath=/tmp/x"), 16);
    let live = "transactionCheckInterval=1000\ntransactionTimeOut=0\ntransactionCheckMax=3\nrejectTransactionMessage=true\n\
                timerMaxDelaySec=60\nrecallMessageEnable=true\ndefaultPopShareQueueNum=2\ndefaultMessageRequestMode=POP";
    assert_eq!(change(&mut broker, live), 0);
    assert_eq!(broker.config.transaction_check_interval_ms, 1000);
    assert_eq!(broker.config.timer_max_delay_s, 60);
    assert_eq!(broker.config.pop.default_mode, "POP");
    let back = "transactionCheckInterval=30000\ntransactionTimeOut=6000\ntransactionCheckMax=15\nrejectTransactionMessage=false\n\
                timerMaxDelaySec=0\nrecallMessageEnable=false\ndefaultPopShareQueueNum=-1\ndefaultMessageRequestMode=PULL";
    assert_eq!(change(&mut broker, back), 0);
    for impossible in [
        "transactionCheckInterval=0",
        "transactionOpMsgMaxSize=x",
        "defaultMessageRequestMode=PUSH",
        "popFromRetryProbability=101",
    ] {
        assert_eq!(change(&mut broker, impossible), 1, "{impossible}");
    }
    for fixed in ["timerWheelEnable=false", "timerRollWindowSlot=7200"] {
        assert_eq!(change(&mut broker, fixed), 16, "{fixed}");
    }
    assert_eq!(change(&mut broker, "maxMessageSize=1\nnone=1"), 1);
    let saved = broker.file_text(ConfigFile::Settings);
    let mut next = Broker::new(BrokerConfig::default(), 0);
    next.load_file(ConfigFile::Settings, &saved).unwrap();
    assert_eq!(next.config.max_message_bytes, 2048);
    assert_eq!(next.config.broker_permission, 4);
    assert_eq!(next.file_text(ConfigFile::Settings), saved);
    // What a later version does not know any more is said, and the rest is taken.
    let error = next.load_file(
        ConfigFile::Settings,
        "gone=1\nnonsense\nmaxMessageSize=1024\n",
    );
    assert!(error.is_err());
    assert_eq!(next.config.max_message_bytes, 1024);
}

#[test]
fn what_broker_conf_says_is_shown_and_followed() {
    let mut settings = Config {
        flush: Flush::Sync,
        trace_on: false,
        lite_pull: false,
        ..Config::default()
    };
    settings.broker_name = "broker-z".into();
    let mut broker = broker_with(BrokerConfig::of(settings.of_shard(0)));
    assert!(!broker.config.trace_on && !broker.config.lite_pull);
    let reply = ask(&mut broker, request::GET_BROKER_CONFIG, &[], "");
    for line in [
        "flushDiskType=SYNC_FLUSH\n",
        "brokerName=broker-z\n",
        "traceOn=false\n",
        "litePullMessageEnable=false\n",
    ] {
        assert!(body(&reply).contains(line), "{line}");
    }
}

/// A value that an earlier version took must not come back with a restart.
#[test]
fn a_kept_setting_that_is_not_allowed_is_dropped() {
    let mut broker = broker();
    let change = |broker: &mut Broker, text: &str| {
        ask(broker, request::UPDATE_BROKER_CONFIG, &[], text).code
    };
    for bad in [
        "maxTransferCountOnMessageInMemory=0",
        "maxTransferBytesOnMessageInMemory=0",
        "channelExpiredTimeout=0",
        "defaultTopicQueueNums=2000000000",
        "maxMessageSize=99999999",
    ] {
        assert_eq!(change(&mut broker, bad), 1, "{bad}");
        let mut next = Broker::new(BrokerConfig::default(), 0);
        let kept = format!("{bad}\nmaxMsgsNumBatch=64\nrecallMessageEnable=true\n");
        assert!(next.load_file(ConfigFile::Settings, &kept).is_err());
        assert!(next.config.recall);
        assert_eq!(next.config.max_pull_messages, 32);
        assert!(!next.file_text(ConfigFile::Settings).contains(bad));
    }
}

/// Tools set what RocketMQ knows; where it means nothing here it is kept and shown.
#[test]
fn a_setting_without_effect_is_kept_and_shown() {
    let mut broker = broker();
    let text =
        "enablePopBufferMerge=true\nenableSingleTopicRegister=true\nwaitTimeMillsInSendQueue=300\n";
    let reply = ask(&mut broker, request::UPDATE_BROKER_CONFIG, &[], text);
    assert_eq!(reply.code, 0);
    let remark = reply.remark.unwrap();
    assert!(remark.contains("without effect"), "{remark}");
    assert!(remark.contains("enablePopBufferMerge, enableSingleTopicRegister"));
    assert!(effects(&mut broker).contains(&Effect::Admit(broker.config.admission)));
    assert_eq!(broker.config.admission.wait_ms, 300);
    let saved = broker.file_text(ConfigFile::Settings);
    let mut next = Broker::new(BrokerConfig::default(), 0);
    next.load_file(ConfigFile::Settings, &saved).unwrap();
    let reply = ask(&mut next, request::GET_BROKER_CONFIG, &[], "");
    assert!(body(&reply).contains("enablePopBufferMerge=true\n"));
    assert!(body(&reply).contains("waitTimeMillsInSendQueue=300\n"));
}

#[test]
fn replicas_timers_and_what_is_not_there() {
    let mut broker = broker();
    let mut code = |code, fields: Fields<'_>| ask(&mut broker, code, fields, "").code;
    assert_eq!(code(request::GET_BROKER_HA_STATUS, &[]), 0);
    assert_eq!(code(request::EXCHANGE_BROKER_HA_INFO, &[]), 0);
    assert_eq!(code(request::RESET_MASTER_FLUSH_OFFSET, &[]), 0);
    assert_eq!(code(request::GET_BROKER_EPOCH_CACHE, &[]), 1);
    assert_eq!(code(request::NOTIFY_BROKER_ROLE_CHANGED, &[]), 3);
    assert_eq!(code(request::CHECK_ROCKSDB_CQ_WRITE_PROGRESS, &[]), 0);
    assert_eq!(code(request::SWITCH_TIMER_ENGINE, &[("E_T", "F")]), 0);
    assert_eq!(code(request::SWITCH_TIMER_ENGINE, &[("E_T", "R")]), 29);
    assert_eq!(code(request::SWITCH_TIMER_ENGINE, &[("E_T", "x")]), 29);
    assert_eq!(code(request::SWITCH_TIMER_ENGINE, &[]), 29);
    assert_eq!(code(request::AUTH_LIST_ACL, &[]), 3);
    assert_eq!(code(request::GET_LITE_TOPIC_INFO, &[]), 3);
}

#[test]
fn pops_are_kept_in_one_way_only() {
    let reply = ask(&mut broker(), request::POP_ROLLBACK, &[], "");
    assert_eq!((reply.code, reply.body.len()), (0, 0));
}

fn rewound(
    broker: &mut Broker,
    rewind: &Rewind,
    offsets: &[(u32, u64)],
    language: Language,
) -> Result<Reply, Refusal> {
    let step = broker.rewind(rewind, offsets, language)?;
    carried_out(broker, step, 0)
}
