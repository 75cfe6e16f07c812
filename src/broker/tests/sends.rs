use std::borrow::Cow;

use super::*;
use crate::message::{batch, sys_flag};
use crate::store::{QueueBounds, QueueIndex};
use crate::wire::send::SendRequest;
use proptest::prelude::*;

pub(super) fn request<'a>(topic: &'a str, properties: &'a str) -> SendRequest<'a> {
    SendRequest {
        producer_group: "p",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 1,
        properties: Some(properties),
        sys_flag: 0,
        born_timestamp_ms: 5,
        flag: 0,
        reconsume_times: None,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    }
}

pub(super) fn admit<'a>(
    broker: &mut Broker,
    request: &SendRequest<'a>,
) -> Result<SendPlan<'a>, Refusal> {
    broker.admit_send(request, b"body", &peer(1), 1000)
}

fn refused(broker: &mut Broker, request: &SendRequest<'_>, code: i32, why: &str) {
    let refusal = admit(broker, request).unwrap_err();
    assert_eq!(refusal.code, code, "{}", refusal.remark);
    assert!(refusal.remark.contains(why), "{}", refusal.remark);
}

pub(super) const KEY: &str = "UNIQ_KEY\u{1}K\u{2}TAGS\u{1}a\u{2}";

#[test]
fn a_plain_send_borrows() {
    let mut broker = broker();
    broker.topics.find_mut("T").unwrap().queues[1] = Some(QueueIndex(9));
    let request = request("T", KEY);
    let plan = admit(&mut broker, &request).unwrap();
    assert!(matches!(plan.topic, Cow::Borrowed("T")));
    assert_eq!((plan.queue_id, plan.queue), (1, Some(QueueIndex(9))));
    assert_eq!(plan.unique_key.as_str(), Some("K"));
    assert_eq!(
        (plan.batch, plan.deliver_time_ms, plan.wait),
        (None, None, true)
    );
    let message = plan.message();
    let mut bytes = vec![0; message.properties.encoded_len()];
    message.properties.encode(&mut bytes);
    let expected = format!(
        "{KEY}MSG_REGION\u{1}DefaultRegion\u{2}TRACE_ON\u{1}true\u{2}CLUSTER\u{1}DefaultCluster\u{2}"
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    assert_eq!(message.born_host, peer(1).addr);
    assert!(effects(&mut broker).is_empty());
}

#[test]
fn a_missing_key_is_made_and_a_pop_receipt_dropped() {
    let mut broker = broker();
    let plan = admit(&mut broker, &request("T", "POP_CK\u{1}x\u{2}A\u{1}1")).unwrap();
    let key = plan.unique_key.as_str().unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(plan.properties().find("UNIQ_KEY"), Some(key));
    assert_eq!(plan.properties().find("POP_CK"), None);
    assert_eq!(plan.properties().find("A"), Some("1"));
}

#[test]
fn a_topic_is_created_through_its_template() {
    let mut broker = broker();
    let plan = admit(&mut broker, &request("New", KEY)).unwrap();
    assert_eq!(plan.topic, "New");
    assert_eq!(
        broker.topics.find("New").unwrap().config.write_queue_nums,
        4
    );
    let register = Effect::Register {
        topic: "New".into(),
    };
    let persist = Effect::Persist(ConfigFile::Topics);
    assert_eq!(effects(&mut broker), [persist, register]);
}

#[test]
fn without_auto_create_a_missing_topic_is_17() {
    let mut broker = broker_with(BrokerConfig {
        auto_create_topic: false,
        ..BrokerConfig::default()
    });
    refused(
        &mut broker,
        &request("New", KEY),
        17,
        "topic[New] not exist",
    );
    let mut from_t = request("New", KEY);
    from_t.default_topic = "T";
    refused(&mut broker, &from_t, 17, "New");
    from_t.default_topic = "DefaultCluster";
    assert!(
        admit(&mut broker, &from_t).is_ok(),
        "other templates are left"
    );
}

#[test]
fn topics_that_may_not_be_sent_to() {
    let mut broker = broker();
    refused(&mut broker, &request("a b", KEY), 29, "illegal characters");
    refused(&mut broker, &request("", KEY), 29, "blank");
    let long = "t".repeat(128);
    refused(&mut broker, &request(&long, KEY), 29, "127");
    for closed in [
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "SELF_TEST_TOPIC",
    ] {
        refused(&mut broker, &request(closed, KEY), 16, closed);
    }
}

#[test]
fn queues() {
    let mut broker = broker();
    let mut send = request("T", KEY);
    send.queue_id = 4;
    refused(&mut broker, &send, 29, "queueId[4]");
    send.queue_id = i32::MAX;
    refused(&mut broker, &send, 29, "2147483647");
    send.queue_id = -1;
    let ids: Vec<_> = (0..100)
        .map(|_| admit(&mut broker, &send).unwrap().queue_id)
        .collect();
    assert!((0..4).all(|id| ids.contains(&id)) && ids.iter().all(|id| *id < 4));
    broker.topics.put(topic("Empty", 0), 0);
    let mut send = request("Empty", KEY);
    send.queue_id = -1;
    refused(&mut broker, &send, 29, "no queue");
}

#[test]
fn order_topics_need_a_writeable_broker() {
    let mut broker = broker_with(BrokerConfig {
        broker_permission: 4,
        ..BrokerConfig::default()
    });
    assert!(
        admit(&mut broker, &request("T", KEY)).is_ok(),
        "as in RocketMQ"
    );
    broker.topics.find_mut("T").unwrap().config.order = true;
    refused(&mut broker, &request("T", KEY), 16, "127.0.0.1");
}

#[test]
fn sizes() {
    let mut broker = broker_with(BrokerConfig {
        max_message_bytes: 10,
        ..BrokerConfig::default()
    });
    let send = request("T", KEY);
    let refusal = broker.admit_send(&send, &[0; 11], &peer(1), 0).unwrap_err();
    assert_eq!(refusal.code, 13);
    assert!(
        refusal.remark.contains("11 bytes, limit 10"),
        "{}",
        refusal.remark
    );
    assert_eq!(
        broker.admit_send(&send, b"", &peer(1), 0).unwrap_err().code,
        13
    );
    let wide = format!("A\u{1}{}", "w".repeat(32_700));
    refused(&mut broker, &request("T", &wide), 13, "limit 32767");
}

/// RocketMQ's limit: 32,767 bytes with what the broker adds, without the last separator.
#[test]
fn a_message_has_the_longest_properties_of_rocketmq() {
    let mut broker = broker();
    let mut admit = |padding: usize, more: &str| {
        let properties = format!("{KEY}K\u{1}{}\u{2}{more}", "v".repeat(padding));
        let send = request("T", &properties);
        let plan = broker.admit_send(&send, b"x", &peer(1), 1000)?;
        Ok::<_, Refusal>(plan.properties().encoded_len())
    };
    for more in [
        "",
        "DELAY\u{1}3\u{2}",
        "TRAN_MSG\u{1}true\u{2}",
        "TIMER_DELAY_SEC\u{1}9\u{2}",
    ] {
        let longest = 32_768 - admit(1, more).unwrap() + 1;
        assert_eq!(admit(longest, more).unwrap(), 32_768, "{more}");
        assert_eq!(admit(longest + 1, more).unwrap_err().code, 13, "{more}");
    }
}

/// RocketMQ's limit: the records of a batch, without a CRC, have `maxMessageSize` and 64 KiB.
#[test]
fn the_crcs_of_a_batch_do_not_count_for_its_size() {
    let mut broker = broker_with(BrokerConfig {
        max_message_bytes: 100_000,
        ..BrokerConfig::default()
    });
    let send = SendRequest {
        batch: true,
        ..request("T", KEY)
    };
    let mut admit = |messages: usize| {
        let mut body = Vec::new();
        for _ in 0..messages {
            let item = batch::BatchItem {
                flag: 0,
                body: b"x",
                properties: b"",
            };
            batch::push(&mut body, &item);
        }
        broker.admit_send(&send, &body, &peer(1), 0).map(drop)
    };
    // Each is 91 bytes, the body and the topic.
    let most = (100_000 + 65_536) / 93;
    admit(most).unwrap();
    assert_eq!(admit(most + 1).unwrap_err().code, 13);
}

#[test]
fn a_level_that_is_no_number() {
    let mut broker = broker();
    refused(&mut broker, &request("T", "DELAY\u{1}x\u{2}"), 1, "DELAY");
}

#[test]
fn old_clients_send_back_with_the_mark_of_a_half_message() {
    let mut broker = broker();
    let topic_of = |broker: &mut Broker, request: &SendRequest<'_>| {
        let plan = admit(broker, request).unwrap();
        (plan.topic.into_owned(), plan.real_queue_id)
    };
    let half = request("T", "TRAN_MSG\u{1}TRUE\u{2}");
    let (topic, queue_id) = topic_of(&mut broker, &half);
    assert_eq!((&*topic, queue_id), ("RMQ_SYS_TRANS_HALF_TOPIC", 1));
    let whole = request("T", "TRAN_MSG\u{1}false\u{2}");
    assert_eq!(topic_of(&mut broker, &whole).0, "T");
    let mut sent_back = request("T", "TRAN_MSG\u{1}true\u{2}DELAY\u{1}3");
    sent_back.reconsume_times = Some(1);
    assert_eq!(topic_of(&mut broker, &sent_back).0, "SCHEDULE_TOPIC_XXXX");
}

#[test]
fn a_delayed_message_waits_in_the_schedule_topic() {
    let mut broker = broker();
    let plan = admit(&mut broker, &request("T", "DELAY\u{1}3\u{2}WAIT\u{1}false")).unwrap();
    assert_eq!((&*plan.topic, plan.queue_id), ("SCHEDULE_TOPIC_XXXX", 2));
    assert_eq!((plan.deliver_time_ms, plan.wait), (Some(11_000), false));
    assert_eq!(plan.properties().find("REAL_TOPIC"), Some("T"));
    assert_eq!(plan.properties().find("REAL_QID"), Some("1"));
    let plan = admit(&mut broker, &request("T", "DELAY\u{1}99")).unwrap();
    assert_eq!(
        (plan.queue_id, plan.properties().find("DELAY")),
        (17, Some("18"))
    );
    let plan = admit(&mut broker, &request("T", "DELAY\u{1}-1")).unwrap();
    assert_eq!(plan.topic, "T");
}

#[test]
fn batches_are_checked_whole() {
    let mut broker = broker();
    let mut body = Vec::new();
    for text in ["one", "two"] {
        let item = batch::BatchItem {
            flag: 0,
            body: text.as_bytes(),
            properties: KEY.as_bytes(),
        };
        batch::push(&mut body, &item);
    }
    let mut send = request("T", "UNIQ_KEY\u{1}B");
    send.batch = true;
    let plan = broker.admit_send(&send, &body, &peer(1), 0).unwrap();
    assert_eq!((plan.batch, plan.unique_key.as_str()), (Some(2), Some("B")));
    let item = batch::iter(&body).next().unwrap().unwrap();
    assert_eq!(
        plan.batch_message(&item).properties.find("UNIQ_KEY"),
        Some("K")
    );
    let cut = broker
        .admit_send(&send, &body[..body.len() - 1], &peer(1), 0)
        .unwrap_err();
    assert_eq!(cut.code, 13);
    send.topic = "%RETRY%g";
    assert_eq!(
        broker
            .admit_send(&send, &body, &peer(1), 0)
            .unwrap_err()
            .code,
        13
    );
}

#[test]
fn retries_end_with_the_dead_letters() {
    let mut broker = broker();
    let mut send = request("%RETRY%g", "DELAY\u{1}5");
    send.queue_id = 0;
    send.reconsume_times = Some(16);
    let plan = admit(&mut broker, &send).unwrap();
    assert_eq!(plan.topic, "SCHEDULE_TOPIC_XXXX");
    assert_eq!(plan.properties().find("REAL_TOPIC"), Some("%RETRY%g"));
    assert!(broker.groups.contains("g"));
    assert_eq!(
        broker
            .topics
            .find("%RETRY%g")
            .unwrap()
            .config
            .write_queue_nums,
        4
    );
    send.reconsume_times = Some(17);
    let plan = admit(&mut broker, &send).unwrap();
    assert_eq!((&*plan.topic, plan.queue_id), ("%DLQ%g", 0));
    assert_eq!(plan.properties().find("DELAY"), Some("-1"));
    send.reconsume_times = Some(3);
    send.max_reconsume_times = Some(2);
    assert_eq!(admit(&mut broker, &send).unwrap().topic, "%DLQ%g");
    let old = Peer {
        version: 100,
        ..peer(1)
    };
    let plan = broker.admit_send(&send, b"b", &old, 0).unwrap();
    assert_eq!(
        plan.topic, "SCHEDULE_TOPIC_XXXX",
        "old clients' maximum does not count"
    );
}

#[test]
fn a_group_in_order_sends_its_retries_to_the_dead_letters() {
    let mut broker = broker();
    let queue = crate::wire::MessageQueue {
        topic: "T".into(),
        broker_name: "b".into(),
        queue_id: 0,
    };
    broker.locks.lock("g", &queue, "c", 1000);
    let mut send = request("%RETRY%g", KEY);
    send.queue_id = 0;
    assert_eq!(admit(&mut broker, &send).unwrap().topic, "%DLQ%g");
}

#[test]
fn a_retry_of_an_unknown_group_is_26() {
    let mut broker = broker_with(BrokerConfig {
        auto_create_group: false,
        ..BrokerConfig::default()
    });
    let mut send = request("%RETRY%g", KEY);
    send.queue_id = 0;
    refused(&mut broker, &send, 26, "[g]");
}

#[test]
fn multi_tag_topics_mark_their_messages() {
    let mut broker = broker();
    broker
        .topics
        .find_mut("T")
        .unwrap()
        .config
        .topic_filter_type = crate::wire::topic::TopicFilterType::MultiTag;
    let plan = admit(&mut broker, &request("T", KEY)).unwrap();
    assert_eq!(plan.sys_flag, sys_flag::MULTI_TAGS);
}

#[test]
fn an_empty_level_is_where_its_queue_starts() {
    let broker = broker();
    let bounds = QueueBounds {
        min: 3,
        max: 5,
        ..QueueBounds::default()
    };
    assert_eq!(broker.delays.offset(1, bounds), 3);
}

proptest! {
    #[test]
    fn any_send_is_decided(
        topic in "[A-Za-z%|_ -]{0,9}|%RETRY%[a-z]{0,3}|T",
        template in "TBW102|T|[a-z]{0,3}",
        properties in "(DELAY\u{1}-?[0-9]{1,11}\u{2}|POP_CK\u{1}x\u{2}|TRAN_MSG\u{1}true\u{2}|[\u{0}-\u{7f}]{0,9}){0,4}",
        numbers: [i32; 6],
        batch: bool,
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let send = SendRequest {
            default_topic: &template,
            default_topic_queue_nums: numbers[0] % 100,
            queue_id: numbers[1] % 10,
            sys_flag: numbers[2],
            reconsume_times: Some(numbers[3]),
            max_reconsume_times: Some(numbers[4]),
            flag: numbers[5],
            batch,
            ..request(&topic, &properties)
        };
        let mut broker = broker();
        if let Ok(plan) = broker.admit_send(&send, &body, &peer(1), 0) {
            prop_assert!(plan.properties().encoded_len() < 32_767);
            prop_assert!(broker.topics.contains(&plan.topic));
        }
    }
}
