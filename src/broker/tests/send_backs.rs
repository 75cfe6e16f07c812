use super::sends::{KEY, admit, request};
use super::*;
use crate::message::{Record, RecordFields};
use crate::wire::send_back::SendBack;

fn with_record<R>(properties: &str, reconsume_times: i32, f: impl FnOnce(&Record<'_>) -> R) -> R {
    let fields = RecordFields {
        queue_id: 1,
        flag: 7,
        queue_offset: 2,
        physical_offset: 4096,
        sys_flag: 0,
        born_timestamp_ms: 5,
        born_host: ([10, 0, 0, 9], 99).into(),
        store_timestamp_ms: 6,
        store_host: ([10, 0, 0, 1], 10911).into(),
        reconsume_times,
        prepared_transaction_offset: 0,
        body: b"body",
        topic: "T",
        properties: crate::message::Properties::new(properties),
    };
    let mut bytes = vec![0; fields.encoded_len()];
    fields.encode(&mut bytes);
    f(&Record::decode(&bytes, crate::message::Check::Crc).unwrap())
}

fn send_back(group: &str) -> SendBack<'_> {
    SendBack {
        group,
        offset: 4096,
        delay_level: 0,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: false,
        max_reconsume_times: None,
    }
}

#[test]
fn a_message_sent_back_comes_again_later() {
    let mut broker = broker();
    with_record(KEY, 0, |record| {
        let plan = broker.admit_send_back(&send_back("g"), Some(record), &peer(1), 1000);
        let plan = plan.unwrap().unwrap();
        assert_eq!((&*plan.topic, plan.queue_id), ("SCHEDULE_TOPIC_XXXX", 2));
        assert_eq!(plan.deliver_time_ms, Some(11_000));
        let find = |name: &str| plan.properties().find(name).map(str::to_owned);
        assert_eq!(find("RETRY_TOPIC").as_deref(), Some("T"));
        assert_eq!(find("REAL_TOPIC").as_deref(), Some("%RETRY%g"));
        assert_eq!(
            find("ORIGIN_MESSAGE_ID").as_deref(),
            Some("0A00000100002A9F0000000000001000")
        );
        assert_eq!(
            (find("DELAY").as_deref(), find("UNIQ_KEY").as_deref()),
            (Some("3"), Some("K"))
        );
        let message = plan.message();
        assert_eq!(
            (
                message.reconsume_times,
                message.flag,
                message.born_timestamp_ms
            ),
            (1, 7, 5)
        );
        assert_eq!(message.born_host, record.born_host);
        assert_eq!(delivered(&plan).0, "%RETRY%g");
    });
    assert_eq!(
        broker
            .topics
            .find("%RETRY%g")
            .unwrap()
            .config
            .write_queue_nums,
        1
    );
}

/// What the schedule topic gives back for a plan: topic, queue and properties.
fn delivered(plan: &SendPlan<'_>) -> (String, u32, String) {
    let mut text = vec![0; plan.properties().encoded_len()];
    plan.properties().encode(&mut text);
    let text = String::from_utf8(text).unwrap();
    with_record(&text, plan.reconsume_times, |record| {
        let plan = delay::deliver(record).unwrap();
        let tag = plan.properties().find("TAGS").unwrap_or("").to_owned();
        (plan.topic.clone().into_owned(), plan.queue_id, tag)
    })
}

#[test]
fn what_is_due_goes_to_its_real_topic() {
    let mut broker = broker();
    let properties = format!("{KEY}DELAY\u{1}3");
    let plan = admit(&mut broker, &request("T", &properties)).unwrap();
    assert_eq!(delivered(&plan), ("T".into(), 1, "a".into()));
    with_record(KEY, 0, |record| assert!(delay::deliver(record).is_none()));
    let half = "REAL_TOPIC\u{1}RMQ_SYS_TRANS_HALF_TOPIC\u{2}REAL_QID\u{1}0\u{2}";
    with_record(half, 0, |record| assert!(delay::deliver(record).is_none()));
    let odd = "REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}-4\u{2}";
    with_record(odd, 0, |record| assert!(delay::deliver(record).is_none()));
}

#[test]
fn send_backs_end_with_the_dead_letters_and_do_not_pile_up_properties() {
    let mut broker = broker();
    let first = "RETRY_TOPIC\u{1}First\u{2}ORIGIN_MESSAGE_ID\u{1}ID\u{2}DELAY\u{1}3\u{2}REAL_TOPIC\u{1}x\u{2}";
    for (times, level, max, topic) in [
        (15, 0, None, "SCHEDULE_TOPIC_XXXX"),
        (16, 0, None, "%DLQ%g"),
        (0, -1, None, "%DLQ%g"),
        (2, 0, Some(2), "%DLQ%g"),
        (2, 5, Some(3), "SCHEDULE_TOPIC_XXXX"),
    ] {
        with_record(first, times, |record| {
            let request = SendBack {
                delay_level: level,
                max_reconsume_times: max,
                ..send_back("g")
            };
            let plan = broker
                .admit_send_back(&request, Some(record), &peer(1), 0)
                .unwrap()
                .unwrap();
            assert_eq!(plan.topic, topic);
            assert_eq!(plan.properties().find("RETRY_TOPIC"), Some("First"));
            assert_eq!(plan.properties().find("ORIGIN_MESSAGE_ID"), Some("ID"));
            let mut text = vec![0; plan.properties().encoded_len()];
            plan.properties().encode(&mut text);
            let delays = properties::iter(&text)
                .filter(|(name, _)| *name == "REAL_TOPIC")
                .count();
            assert!(delays <= 1);
            let last_delivery = match topic {
                "SCHEDULE_TOPIC_XXXX" => "%RETRY%g",
                _ => "x",
            };
            assert_eq!(plan.properties().find("REAL_TOPIC"), Some(last_delivery));
        });
    }
}

#[test]
fn send_back_refusals() {
    let mut broker = broker();
    let refusal = broker
        .admit_send_back(&send_back("g"), None, &peer(1), 0)
        .unwrap_err();
    assert_eq!(
        (refusal.code, &*refusal.remark),
        (1, "look message by offset failed, 4096")
    );
    let bad = broker
        .admit_send_back(&send_back("a b"), None, &peer(1), 0)
        .unwrap_err();
    assert_eq!(bad.code, 26);
    let mut config = broker.groups.find("g").unwrap().clone();
    config.retry_queue_nums = 0;
    broker.groups.put(config, 0);
    assert!(
        broker
            .admit_send_back(&send_back("g"), None, &peer(1), 0)
            .unwrap()
            .is_none()
    );
    broker.config.broker_permission = 4;
    let refusal = broker
        .admit_send_back(&send_back("g"), None, &peer(1), 0)
        .unwrap_err();
    assert_eq!(refusal.code, 16);
}

#[test]
fn a_message_with_the_longest_properties_becomes_a_dead_letter() {
    let mut broker = broker();
    let value = "v".repeat(500);
    let mut long = String::from(KEY);
    let mut names = 0;
    while long.len() < 31_000 {
        crate::message::properties::push(&mut long, &format!("p{names:03}"), &value);
        names += 1;
    }
    let rest = 32_740 - long.len() - 12;
    crate::message::properties::push(&mut long, "longest000", &"w".repeat(rest));
    for (reconsume_times, topic) in [(0, "SCHEDULE_TOPIC_XXXX"), (16, "%DLQ%g")] {
        with_record(&long, reconsume_times, |record| {
            let plan = broker.admit_send_back(&send_back("g"), Some(record), &peer(1), 1000);
            let plan = plan.unwrap().unwrap();
            assert_eq!(plan.topic, topic);
            let find = |name: &str| plan.properties().find(name).map(str::to_owned);
            assert_eq!(find("RETRY_TOPIC").as_deref(), Some("T"));
            assert_eq!(find("UNIQ_KEY").as_deref(), Some("K"));
            assert_eq!(find("p000").as_deref(), Some(&*value));
            let omitted = find("RINGMQ_OMITTED_PROPERTIES").unwrap();
            assert!(omitted.starts_with("longest000"), "{omitted}");
            assert_eq!(find("longest000"), None);
            let kept = (0..names).filter(|n| find(&format!("p{n:03}")).is_some());
            assert!(kept.count() >= names - 1, "no more than has to be");
        });
    }
    with_record(KEY, 0, |record| {
        let plan = broker.admit_send_back(&send_back("g"), Some(record), &peer(1), 1000);
        let plan = plan.unwrap().unwrap();
        assert_eq!(plan.properties().find("RINGMQ_OMITTED_PROPERTIES"), None);
    });
}
