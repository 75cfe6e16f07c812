//! When a timed message is due, what is written with it, and how it is taken back: as RocketMQ does it, but for the
//! precision.

use super::sends::{admit, request};
use super::*;
use crate::broker::send_plan::OwnMessage;
use crate::broker::timer::{Checkpoint, Timers};
use crate::message::{Check, Record, RecordFields};
use crate::store::TimerKind;
use crate::wire::recall::RecallHandle;
use crate::wire::send::RecallRequest;
use proptest::prelude::*;

const WINDOW_MS: u64 = 172_800_000;

fn text(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    pairs
        .iter()
        .for_each(|(name, value)| properties::push(&mut text, name, value));
    text
}

/// A plan as the record that the store writes at `stored_ms`.
fn record_of(plan: &SendPlan<'_>, physical_offset: u64, stored_ms: i64) -> Vec<u8> {
    let message = plan.message();
    let host = ([127, 0, 0, 1], 10911).into();
    let fields = RecordFields {
        queue_id: plan.queue_id,
        flag: message.flag,
        queue_offset: 0,
        physical_offset,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_timestamp_ms: stored_ms,
        store_host: host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: 0,
        body: message.body,
        topic: &plan.topic,
        properties: message.properties,
    };
    let mut bytes = vec![0; fields.encoded_len()];
    fields.encode(&mut bytes);
    bytes
}

pub(super) fn decoded(bytes: &[u8]) -> Record<'_> {
    Record::decode(bytes, Check::Crc).unwrap()
}

/// A record of the timer topic with these properties.
pub(super) fn timed_record(pairs: &[(&str, &str)], stored_ms: i64) -> Vec<u8> {
    timed_record_at(4096, pairs, stored_ms)
}

/// The same at a position of the log.
pub(super) fn timed_record_at(position: u64, pairs: &[(&str, &str)], stored_ms: i64) -> Vec<u8> {
    let own = OwnMessage {
        topic: timer::TIMER.into(),
        queue_id: 0,
        queue: None,
        reconsume_times: 0,
        properties: text(pairs),
    };
    let broker_made = SendPlan::of_broker(b"x", peer(1).addr, own);
    record_of(&broker_made, position, stored_ms)
}

fn due(pairs: &[(&str, &str)], stored_ms: i64) -> u64 {
    let bytes = timed_record(pairs, stored_ms);
    let timer = timer::timer(&decoded(&bytes), u64::MAX).unwrap();
    assert_eq!(timer.kind, TimerKind::Deliver);
    timer.at_ms
}

#[test]
fn a_time_of_its_own() {
    for (pairs, out_ms) in [
        (&[("TIMER_DELAY_MS", "5")][..], Some("1004")),
        (&[("TIMER_DELIVER_MS", "1001")], Some("1000")),
        (&[("TIMER_DELIVER_MS", "1000")], None),
        (&[("TIMER_DELAY_MS", "-7")], None),
        (
            &[
                ("TIMER_DELIVER_MS", "9"),
                ("TIMER_DELAY_MS", "7"),
                ("TIMER_DELAY_SEC", "3"),
            ],
            Some("3999"),
        ),
        (
            &[("TIMER_DELIVER_MS", "9"), ("TIMER_DELAY_MS", "7")],
            Some("1006"),
        ),
        // It has been delivered once, and comes again.
        (&[("TIMER_DELAY_MS", "5"), ("TIMER_OUT_MS", "3")], None),
    ] {
        let (mut broker, properties) = (broker(), text(pairs));
        let request = request("T", &properties);
        let plan = admit(&mut broker, &request).unwrap();
        let found = plan.properties();
        match out_ms {
            Some(out_ms) => {
                assert_eq!((&*plan.topic, plan.queue_id), ("rmq_sys_wheel_timer", 0));
                assert_eq!(found.find("TIMER_OUT_MS"), Some(out_ms), "{pairs:?}");
                assert_eq!(found.find("REAL_TOPIC"), Some("T"));
                assert_eq!(found.find("REAL_QID"), Some("1"));
            }
            None => {
                assert_eq!(&*plan.topic, "T", "{pairs:?}");
                assert_eq!(found.find("REAL_TOPIC"), None);
            }
        }
    }
}

#[test]
fn a_level_counts_more() {
    let mut broker = broker();
    let properties = text(&[("DELAY", "1"), ("TIMER_DELAY_SEC", "9"), ("KEYS", "k")]);
    let request = request("T", &properties);
    let plan = admit(&mut broker, &request).unwrap();
    assert_eq!(&*plan.topic, "SCHEDULE_TOPIC_XXXX");
    assert_eq!(plan.properties().find("TIMER_DELAY_SEC"), None);
    assert_eq!(plan.properties().find("KEYS"), Some("k"));
}

/// What RocketMQ wrote with its precision of a second, and what it says of the millisecond.
#[test]
fn never_before_its_time() {
    let out = ("TIMER_OUT_MS", "10000");
    assert_eq!(due(&[out, ("TIMER_DELIVER_MS", "10700")], 5), 10_700);
    assert_eq!(due(&[out, ("TIMER_DELIVER_MS", "99999")], 5), 11_000);
    assert_eq!(due(&[out, ("TIMER_DELIVER_MS", "3")], 5), 10_001);
    assert_eq!(due(&[out, ("TIMER_DELAY_SEC", "5")], 5_300), 10_300);
    assert_eq!(due(&[out, ("TIMER_DELAY_MS", "1")], 5_300), 10_001);
    let rolled = ("TIMER_ENQUEUE_MS", "4000");
    assert_eq!(due(&[out, rolled, ("TIMER_DELAY_SEC", "5")], 9_000), 11_000);
    // Ours.
    assert_eq!(
        due(
            &[("TIMER_OUT_MS", "10299"), ("TIMER_DELAY_SEC", "5")],
            5_300
        ),
        10_300
    );
    assert_eq!(due(&[("TIMER_OUT_MS", "10299"), rolled], 9_000), 10_300);
}

#[test]
fn what_waits_longer_than_the_window_is_rolled() {
    let window_ms = 300_000;
    for (delay_ms, at_ms) in [
        (299_999, (299_999, TimerKind::Deliver)),
        (300_000, (150_000, TimerKind::Roll)),
        (399_999, (150_000, TimerKind::Roll)),
        (400_000, (300_000, TimerKind::Roll)),
    ] {
        let out_ms = (delay_ms - 1).to_string();
        let deliver_ms = delay_ms.to_string();
        let pairs = [
            ("TIMER_OUT_MS", &*out_ms),
            ("TIMER_DELIVER_MS", &*deliver_ms),
        ];
        let bytes = timed_record(&pairs, 0);
        let timer = timer::timer(&decoded(&bytes), window_ms).unwrap();
        assert_eq!((timer.at_ms, timer.kind), at_ms);
    }
    let bytes = timed_record(
        &[("TIMER_OUT_MS", "9"), ("TIMER_ROLL_TIMES", "2"), ("K", "v")],
        77,
    );
    let again = timer::roll(&decoded(&bytes), 99);
    let found = again.properties();
    assert_eq!((&*again.topic, again.queue_id), (timer::TIMER, 0));
    assert_eq!(found.find("TIMER_ROLL_TIMES"), Some("3"));
    assert_eq!(found.find("TIMER_ENQUEUE_MS"), Some("77"));
    assert_eq!(found.find("TIMER_OUT_MS"), Some("9"));
    assert_eq!(found.find("K"), Some("v"));
    // However often, it does not grow.
    let bytes = record_of(&again, 5000, 78);
    let more = timer::roll(&decoded(&bytes), 99);
    assert_eq!(more.properties().encoded_len(), found.encoded_len());
}

#[test]
fn records_that_say_nothing() {
    for pairs in [
        &[][..],
        &[("TIMER_OUT_MS", "x")],
        &[("TIMER_OUT_MS", "-9223372036854775808")],
    ] {
        let bytes = timed_record(pairs, 0);
        assert_eq!(timer::timer(&decoded(&bytes), WINDOW_MS), None, "{pairs:?}");
    }
    for real in [
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "rmq_sys_wheel_timer",
    ] {
        let bytes = timed_record(&[("REAL_TOPIC", real), ("REAL_QID", "0")], 0);
        assert!(timer::deliver(&decoded(&bytes), 1).is_none(), "{real}");
    }
}

fn recall(broker: &Broker, topic: &str, handle: &str) -> Result<String, i32> {
    let request = RecallRequest {
        producer_group: Some("g"),
        topic,
        recall_handle: handle,
    };
    let admitted = broker.admit_recall(&request, &peer(1), 1000, 0);
    admitted.map(|(_, key)| key).map_err(|refusal| refusal.code)
}

#[test]
fn recalls_are_checked_as_rocketmq_checks_them() {
    let config = BrokerConfig {
        recall: true,
        ..BrokerConfig::default()
    };
    let mut broker = broker_with(config);
    let handle = |topic: &str, broker_name: &str, timestamp: &str| {
        let handle = RecallHandle {
            topic: topic.into(),
            broker_name: broker_name.into(),
            timestamp: timestamp.into(),
            unique_key: "K".into(),
        };
        handle.encode()
    };
    let good = handle("T", "broker-a", "1001");
    assert_eq!(recall(&broker, "T", &good), Ok("K".into()));
    assert_eq!(recall(&broker, "Other", &good), Err(17));
    assert_eq!(recall(&broker, "T", "no handle"), Err(604));
    assert_eq!(
        recall(&broker, "T", &handle("Other", "broker-a", "1001")),
        Err(604)
    );
    assert_eq!(
        recall(&broker, "T", &handle("T", "broker-b", "1001")),
        Err(604)
    );
    assert_eq!(
        recall(&broker, "T", &handle("T", "broker-a", "1000")),
        Err(604)
    );
    assert_eq!(
        recall(&broker, "T", &handle("T", "broker-a", "soon")),
        Err(604)
    );
    broker.config.timer_max_delay_s = 1;
    assert_eq!(
        recall(&broker, "T", &handle("T", "broker-a", "2000")),
        Err(604)
    );
    broker.config.timer_wheel = false;
    assert_eq!(recall(&broker, "T", &good), Err(1));
    broker.config.broker_permission = 4;
    assert_eq!(recall(&broker, "T", &good), Err(1));
    broker.config.recall_when_not_writeable = false;
    assert_eq!(recall(&broker, "T", &good), Err(14));
    broker.config.recall = false;
    assert_eq!(recall(&broker, "T", &good), Err(16));
}

/// What was delivered before the clock was set back cannot be recalled.
#[test]
fn a_recall_of_what_may_have_been_delivered_is_refused() {
    let config = BrokerConfig {
        recall: true,
        ..BrokerConfig::default()
    };
    let broker = broker_with(config);
    let handle = RecallHandle {
        topic: "T".into(),
        broker_name: "broker-a".into(),
        timestamp: "5000".into(),
        unique_key: "K".into(),
    };
    let handle = handle.encode();
    let request = RecallRequest {
        producer_group: Some("g"),
        topic: "T",
        recall_handle: &handle,
    };
    for (reached_ms, expected) in [(4_999, None), (5_000, Some(604)), (9_000, Some(604))] {
        let admitted = broker.admit_recall(&request, &peer(1), 1000, reached_ms);
        let code = admitted.err().map(|refusal| refusal.code);
        assert_eq!(code, expected, "reached {reached_ms}");
    }
}

#[test]
fn a_recall_meets_its_message() {
    let config = BrokerConfig {
        recall: true,
        ..BrokerConfig::default()
    };
    let mut broker = broker_with(config);
    let properties = text(&[("UNIQ_KEY", "K"), ("TIMER_DELAY_MS", "5000")]);
    let request = request("T", &properties);
    let plan = admit(&mut broker, &request).unwrap();
    let handle = broker.recall_handle(&plan).unwrap();
    let said = RecallHandle::decode(&handle).unwrap();
    assert_eq!((&*said.timestamp, &*said.unique_key), ("6000", "K"));
    let bytes = record_of(&plan, 100, 1000);
    let request = RecallRequest {
        producer_group: None,
        topic: "T",
        recall_handle: &handle,
    };
    let (taking, key) = broker.admit_recall(&request, &peer(1), 1500, 0).unwrap();
    assert_eq!((&*taking.topic, &*key), (timer::TIMER, "K"));
    let found = taking.properties();
    assert_eq!(found.find("TIMER_DEL_UNIQKEY"), Some("K"));
    assert_eq!(
        found.find("TIMER_OUT_MS"),
        plan.properties().find("TIMER_OUT_MS")
    );
    assert_eq!(found.find("TIMER_DELIVER_MS"), Some("6000"));
    assert_eq!(found.find("TAGS"), Some("_RECALL_TAG_"));
    let taking_bytes = record_of(&taking, 500, 1500);
    let key_of = |key| {
        let out_ms = found.find("TIMER_OUT_MS").unwrap();
        let pairs = [
            ("TIMER_OUT_MS", out_ms),
            ("REAL_TOPIC", "T"),
            ("TIMER_DEL_UNIQKEY", key),
        ];
        timer::recall_key(&decoded(&timed_record(&pairs, 1500)))
    };
    let own_key = timer::recall_key(&decoded(&bytes));
    assert_eq!([key_of("K"), key_of("T+K")], [own_key.clone(), own_key]);
    let checkpoint = Checkpoint {
        roll_window_ms: WINDOW_MS,
        ..Checkpoint::default()
    };
    let mut timers = Timers::new(checkpoint, 1 << 20);
    assert!(timers.enqueue(0, &decoded(&bytes), 1000));
    assert!(timers.enqueue(1, &decoded(&taking_bytes), 1500));
    let mut due = Vec::new();
    timers.take_due(5_998, 9, 9999, &mut due);
    assert_eq!(due, []);
    timers.take_due(9_000, 9, 9999, &mut due);
    let kinds: Vec<_> = due.iter().map(|timer| timer.kind).collect();
    assert_eq!(kinds, [TimerKind::Recall, TimerKind::Deliver]);
    assert!(!timers.is_recalled(&decoded(&bytes)));
    timers.recall(&decoded(&taking_bytes));
    assert!(timers.is_recalled(&decoded(&bytes)));

    // Only the message itself waits, not what takes it back; and it is counted once, though a restart reads it again.
    let count = |timers: &Timers| timers.figures(2, 9_500).waiting.get("T").map(|w| w.count);
    assert_eq!(count(&timers), Some(1));
    let saved = Checkpoint::decode(&timers.checkpoint().encode()).unwrap();
    let mut timers = Timers::new(saved, 1 << 20);
    assert_eq!(timers.figures(2, 900).behind_messages, 2);
    assert!(timers.enqueue(0, &decoded(&bytes), 900));
    assert_eq!(count(&timers), Some(1));
    let figures = timers.figures(2, 9_500);
    assert_eq!((figures.queue_offset, figures.behind_messages), (1, 1));
    assert!(figures.behind_ms >= 3_500, "{}", figures.behind_ms);
    assert_eq!(timers.figures(2, 900).behind_ms, 0);
    let numbers = figures.check_point(7);
    assert_eq!(numbers.len(), 72);
    assert_eq!(numbers[16..24], 1u64.to_be_bytes(), "the queue's offset");
    assert_eq!(numbers[48..56], 1u64.to_be_bytes(), "one change");
    timers.delivered(&decoded(&bytes), 9_500);
    assert_eq!(count(&timers), None);
}

#[test]
fn a_crowd_that_is_due_at_once_is_taken_in_slices() {
    const TIMERS: u64 = 20_000;
    let checkpoint = Checkpoint {
        roll_window_ms: WINDOW_MS,
        ..Checkpoint::default()
    };
    let mut timers = Timers::new(checkpoint, 1 << 20);
    let pairs = [("REAL_TOPIC", "T"), ("TIMER_OUT_MS", "9000")];
    let bytes = timed_record(&pairs, 1_000);
    let record = decoded(&bytes);
    for offset in 0..TIMERS {
        assert!(timers.enqueue(offset, &record, 1_000));
    }
    let (mut due, mut empty, mut is_all) = (0, 0, false);
    while !is_all {
        let mut batch = Vec::new();
        is_all = timers.take_due(10_000, 1_000, usize::MAX, &mut batch);
        due += batch.len() as u64;
        if batch.is_empty() && !is_all {
            empty += 1;
        }
        assert!(due == TIMERS || !is_all && timers.is_due(10_000));
    }
    // They move down several levels, 8,192 in a turn.
    assert!(empty > 2 * TIMERS / 8_192, "{empty} turns");
}

#[test]
fn the_checkpoint_file() {
    let saved = Checkpoint {
        covered_offset: 7,
        delivered_ms: 1_700_000_000_000,
        ..Checkpoint::default()
    };
    assert_eq!(Checkpoint::decode(&saved.encode()).unwrap(), saved);
    assert!(Checkpoint::decode("{").is_err());
    assert_eq!(Checkpoint::decode("{}").unwrap(), Checkpoint::default());
}

proptest! {
    /// Five years of it: due when it says, however often it is rolled on the way.
    #[test]
    fn rolled_for_years(delay_ms in 1..150_000_000_000_u64, stored_ms in 0..1_000_000_u64, late_ms in 0..5_u64) {
        let deliver_ms = (stored_ms + delay_ms).to_string();
        let out_ms = (stored_ms + delay_ms - 1).to_string();
        let mut bytes = timed_record(&[("TIMER_OUT_MS", &*out_ms), ("TIMER_DELIVER_MS", &*deliver_ms)], stored_ms as i64);
        for _ in 0..2_000 {
            let record = decoded(&bytes);
            let timer = timer::timer(&record, WINDOW_MS).unwrap();
            prop_assert!(timer.at_ms <= record.store_timestamp_ms as u64 + WINDOW_MS, "beyond its retention");
            if timer.kind == TimerKind::Deliver {
                prop_assert_eq!(timer.at_ms, stored_ms + delay_ms);
                return Ok(());
            }
            let rolled = timer::roll(&record, timer.at_ms);
            bytes = record_of(&rolled, 1, (timer.at_ms + late_ms) as i64);
        }
        prop_assert!(false, "never delivered");
    }

    #[test]
    fn no_properties_are_too_strange(pairs in proptest::collection::vec((prop_oneof![
        Just("TIMER_OUT_MS"), Just("TIMER_DELAY_SEC"), Just("TIMER_DELAY_MS"), Just("TIMER_DELIVER_MS"),
        Just("TIMER_ENQUEUE_MS"), Just("TIMER_ROLL_TIMES"), Just("TIMER_DEL_UNIQKEY"), Just("REAL_QID")],
        prop_oneof![any::<i64>().prop_map(|number| number.to_string()), "[a-z0-9]{1,5}"]), 0..6), stored_ms: i64, window_ms: u64)
    {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, &**value)).collect();
        let bytes = timed_record(&pairs, stored_ms);
        let record = decoded(&bytes);
        let _ = timer::timer(&record, window_ms);
        let _ = timer::roll(&record, 1);
        let properties = text(&pairs);
        let _ = admit(&mut broker(), &request("T", &properties));
    }
}

/// What is added at the delivery must not be taken from the producer: it is left out where there is no room for it.
#[test]
fn a_timed_message_has_the_longest_properties() {
    let mut broker = broker();
    let mut admit = |padding: usize| {
        let padding = "v".repeat(padding);
        let all = text(&[("TIMER_DELAY_MS", "60000"), ("K", &padding)]);
        let plan = broker.admit_send(&request("T", &all), b"x", &peer(1), 1000)?;
        let len = plan.properties().encoded_len();
        Ok::<_, Refusal>((len, record_of(&plan, 4096, 1000)))
    };
    let (len, _) = admit(1).unwrap();
    let longest = 32_768 - len + 1;
    assert_eq!(admit(longest + 1).unwrap_err().code, 13);
    let (_, bytes) = admit(longest).unwrap();
    let delivered = timer::deliver(&decoded(&bytes), 61_000).unwrap();
    let rolled = timer::roll(&decoded(&bytes), 61_000);
    for plan in [delivered, rolled] {
        assert!(plan.properties().encoded_len() <= 32_768);
        assert_eq!(plan.properties().find("TIMER_ENQUEUE_MS"), None);
        assert_eq!(plan.properties().find("K").unwrap().len(), longest);
    }
}
