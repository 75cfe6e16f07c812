//! Half messages on made-up queues and times: how one is kept, when its producer is asked, how it ends, and that none is
//! lost or asked about needlessly whatever happens in between.

mod histories;
mod longest;

use super::*;
use crate::broker::tests::{broker_with, peer};
use crate::broker::{BrokerConfig, Refusal};
use crate::message::{Check, Properties, Record, RecordFields, sys_flag};
use crate::wire::send::SendRequest;
use crate::wire::transaction::{
    EndTransaction, TRANSACTION_COMMIT_TYPE, TRANSACTION_NOT_TYPE, TRANSACTION_ROLLBACK_TYPE,
};

pub(super) const PROPERTIES: &str = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}UNIQ_KEY\u{1}K\u{2}";
pub(super) const BORN_MS: i64 = 100_000;

pub(super) fn broker() -> Broker {
    broker_with(BrokerConfig::default())
}

/// What the store makes of a plan.
pub(super) fn stored(plan: &SendPlan<'_>, queue_offset: u64) -> Vec<u8> {
    let message = plan.message();
    let fields = RecordFields {
        queue_id: plan.queue_id,
        flag: message.flag,
        queue_offset,
        physical_offset: physical(queue_offset),
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_timestamp_ms: message.born_timestamp_ms + 1,
        store_host: ([10, 0, 0, 1], 10911).into(),
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        body: message.body,
        topic: &plan.topic,
        properties: message.properties,
    };
    let mut record = vec![0; fields.encoded_len()];
    fields.encode(&mut record);
    record
}

pub(super) fn decoded(bytes: &[u8]) -> Record<'_> {
    Record::decode(bytes, Check::Crc).unwrap()
}

fn sent(properties: &str, born_ms: i64) -> SendRequest<'_> {
    SendRequest {
        producer_group: "pg",
        topic: "T",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 3,
        properties: Some(properties),
        sys_flag: sys_flag::TRANSACTION_PREPARED | sys_flag::COMPRESSED,
        born_timestamp_ms: born_ms,
        flag: 7,
        reconsume_times: None,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    }
}

/// The half message that a send of these properties becomes.
pub(super) fn half(
    broker: &mut Broker,
    properties: &str,
    queue_offset: u64,
    born_ms: i64,
) -> Vec<u8> {
    let request = sent(properties, born_ms);
    let plan = broker
        .admit_send(&request, b"body", &peer(1), born_ms as u64)
        .unwrap();
    stored(&plan, queue_offset)
}

pub(super) fn physical(queue_offset: u64) -> u64 {
    4096 + queue_offset * 1000
}

fn request(commit_or_rollback: i32) -> EndTransaction<'static> {
    EndTransaction {
        topic: Some("T"),
        producer_group: "pg",
        half_queue_offset: 5,
        half_physical_offset: physical(5) as i64,
        commit_or_rollback,
        from_transaction_check: false,
        msg_id: "K",
        transaction_id: Some("K"),
    }
}

fn find(properties: Properties<'_>, name: &str) -> Option<String> {
    properties.find(name).map(str::to_owned)
}

#[test]
fn a_half_message_knows_where_it_belongs() {
    let mut broker = broker();
    let bytes = half(&mut broker, PROPERTIES, 5, BORN_MS);
    let record = decoded(&bytes);
    assert_eq!((record.topic, record.queue_id), (HALF, 0));
    assert_eq!(record.sys_flag, sys_flag::COMPRESSED, "it is in its queue");
    let property = |name| properties::find(record.properties, name);
    assert_eq!(property("REAL_TOPIC"), Some("T"));
    assert_eq!(property("REAL_QID"), Some("3"));
    assert_eq!(property("__transactionId__"), Some("K"));
    assert_eq!(
        (property("TRAN_MSG"), property("PGROUP")),
        (Some("true"), Some("pg"))
    );
}

/// A consumer that sends on what it has got, properties included.
#[test]
fn marks_of_another_transaction_do_not_count() {
    let mut broker = broker();
    let marks = format!(
        "{PROPERTIES}REAL_TOPIC\u{1}X\u{2}TRAN_PREPARED_QUEUE_OFFSET\u{1}2\u{2}TRANSACTION_CHECK_TIMES\u{1}15\u{2}"
    );
    let bytes = half(&mut broker, &marks, 5, BORN_MS);
    let (at, verdict) = broker.judge_half(5, &decoded(&bytes), BORN_MS as u64 + 6_001);
    assert_eq!(at.first, 5);
    let Verdict::Ask(copy, _) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(find(copy.properties(), "REAL_TOPIC").as_deref(), Some("T"));
    assert_eq!(
        find(copy.properties(), "TRANSACTION_CHECK_TIMES").as_deref(),
        Some("1")
    );
}

#[test]
fn it_is_asked_about_after_the_timeout() {
    let mut broker = broker();
    let bytes = half(&mut broker, PROPERTIES, 5, BORN_MS);
    let record = decoded(&bytes);
    let mut judge = |age_ms: i64| broker.judge_half(5, &record, (BORN_MS + age_ms) as u64).1;
    assert!(matches!(judge(0), Verdict::Young));
    assert!(matches!(judge(6_000), Verdict::Young));
    assert!(
        matches!(judge(-1), Verdict::Ask(..)),
        "a clock that is ahead"
    );
    let Verdict::Ask(copy, asked) = judge(6_001) else {
        panic!("it is old enough")
    };
    assert_eq!((asked.group, asked.unique_key), (Some("pg"), Some("K")));
    assert_eq!((&*copy.topic, copy.queue_id, copy.flag), (HALF, 0, 7));
    assert_eq!(
        find(copy.properties(), "TRANSACTION_CHECK_TIMES").as_deref(),
        Some("1")
    );
    assert_eq!(
        find(copy.properties(), "TRAN_PREPARED_QUEUE_OFFSET").as_deref(),
        Some("5")
    );

    let shown = asked.encode(&copy, 9, 12_345);
    let shown = decoded(&shown);
    assert_eq!((shown.topic, shown.queue_id), ("T", 3));
    assert_eq!((shown.queue_offset, shown.physical_offset), (9, 12_345));
    assert_eq!((shown.body, shown.flag), (&b"body"[..], 7));
    assert_eq!(shown.store_timestamp_ms, BORN_MS + 1);

    let bytes = stored(&copy, 9);
    let (at, verdict) = broker.judge_half(9, &decoded(&bytes), BORN_MS as u64 + 60_000);
    assert_eq!(
        at,
        HalfOffset {
            offset: 9,
            first: 5
        }
    );
    let Verdict::Ask(copy, _) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        find(copy.properties(), "TRANSACTION_CHECK_TIMES").as_deref(),
        Some("2")
    );
    assert_eq!(
        find(copy.properties(), "TRAN_PREPARED_QUEUE_OFFSET").as_deref(),
        Some("5")
    );
}

#[test]
fn it_is_given_up_after_so_many_questions_or_days() {
    let mut broker = broker();
    let bytes = half(&mut broker, PROPERTIES, 5, BORN_MS);
    let days_later = BORN_MS as u64 + 72 * 3_600_000 + 1;
    let (_, verdict) = broker.judge_half(5, &decoded(&bytes), days_later);
    assert!(matches!(verdict, Verdict::GiveUp(_)));

    let mut bytes = bytes;
    for asked in 0..15 {
        let at = 5 + asked;
        let now_ms = BORN_MS as u64 + 30_000 * (asked + 1);
        let record = decoded(&bytes);
        let (_, verdict) = broker.judge_half(at, &record, now_ms);
        let Verdict::Ask(copy, _) = verdict else {
            panic!("{asked}: {verdict:?}")
        };
        bytes = stored(&copy, at + 1);
    }
    let record = decoded(&bytes);
    let (_, verdict) = broker.judge_half(20, &record, BORN_MS as u64 + 600_000);
    let Verdict::GiveUp(last) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!((&*last.topic, last.queue_id), (TRANS_CHECK_MAX_TIME, 0));
    assert!(broker.topics.contains(TRANS_CHECK_MAX_TIME));
    assert_eq!(
        find(last.properties(), "REAL_TOPIC").as_deref(),
        Some("T"),
        "it can be resumed"
    );

    let given_up = stored(&last, 0);
    let given_up = decoded(&given_up);
    let resumed = broker.admit_resume(Some(&given_up), "ID").unwrap();
    assert_eq!(&*resumed.topic, HALF);
    let resumed = stored(&resumed, 30);
    let (at, verdict) = broker.judge_half(30, &decoded(&resumed), BORN_MS as u64 + 600_000);
    assert_eq!(at.first, 30);
    let Verdict::Ask(copy, _) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        find(copy.properties(), "TRANSACTION_CHECK_TIMES").as_deref(),
        Some("1")
    );
}

#[test]
fn only_a_half_message_is_resumed() {
    let broker = broker();
    let refusal = broker.admit_resume(None, "ID").unwrap_err();
    assert_eq!(refusal.code, 1);
    assert!(refusal.remark.contains("ID is not in the log"));
    let plain = SendPlan::of_broker(b"x", ([10, 0, 0, 1], 1).into(), own("T", String::new()));
    let plain = stored(&plain, 0);
    let refusal = broker
        .admit_resume(Some(&decoded(&plain)), "ID")
        .unwrap_err();
    assert!(refusal.remark.contains("no half message"));
}

fn own(topic: &'static str, properties: String) -> OwnMessage<'static> {
    OwnMessage {
        topic: topic.into(),
        queue_id: 0,
        queue: None,
        reconsume_times: 0,
        properties,
    }
}

/// What stands in the half queue and is no half message has come from elsewhere. It is not thrown away.
#[test]
fn a_stranger_is_set_aside() {
    let mut broker = broker();
    let plan = SendPlan::of_broker(b"x", ([10, 0, 0, 1], 1).into(), own(HALF, String::new()));
    let bytes = stored(&plan, 5);
    let (_, verdict) = broker.judge_half(5, &decoded(&bytes), 0);
    assert!(matches!(verdict, Verdict::GiveUp(_)));
}

#[test]
fn a_producer_may_ask_for_more_time() {
    let mut broker = broker();
    for (immunity, immune_ms) in [("60", 60_000), ("x", 6_000), ("-1", 6_000), ("1", 1_000)] {
        let properties = format!("{PROPERTIES}CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}{immunity}\u{2}");
        let bytes = half(&mut broker, &properties, 5, BORN_MS);
        let record = decoded(&bytes);
        let (_, verdict) = broker.judge_half(5, &record, (BORN_MS + immune_ms) as u64);
        let Verdict::Postpone(copy) = verdict else {
            panic!("{immunity}: {verdict:?}")
        };
        assert_eq!(find(copy.properties(), "TRANSACTION_CHECK_TIMES"), None);
        let (_, verdict) = broker.judge_half(5, &record, (BORN_MS + immune_ms + 1) as u64);
        assert!(matches!(verdict, Verdict::Ask(..)), "{immunity}");
        let copy = stored(&copy, 8);
        let (at, verdict) = broker.judge_half(8, &decoded(&copy), (BORN_MS + immune_ms) as u64);
        assert_eq!((at.first, at.offset), (5, 8));
        assert!(matches!(verdict, Verdict::Postpone(_)), "{immunity}");

        let mut request = request(TRANSACTION_COMMIT_TYPE);
        let limit_ms = BORN_MS + immune_ms.max(6_000);
        let in_time = broker.admit_end(&request, Some(&record), limit_ms as u64);
        assert!(in_time.is_ok(), "{immunity}");
        let late = broker.admit_end(&request, Some(&record), limit_ms as u64 + 1);
        assert_eq!(late.unwrap_err().code, 604, "{immunity}");
        request.from_transaction_check = true;
        let asked = broker.admit_end(&request, Some(&record), limit_ms as u64 + 1);
        assert!(asked.is_ok(), "{immunity}");
    }
}

#[test]
fn a_commit_is_the_real_message() {
    let mut broker = broker();
    let bytes = half(&mut broker, PROPERTIES, 5, BORN_MS);
    let record = decoded(&bytes);
    let ending = broker
        .admit_end(&request(TRANSACTION_COMMIT_TYPE), Some(&record), 0)
        .unwrap()
        .unwrap();
    assert_eq!(
        ending.half,
        HalfOffset {
            offset: 5,
            first: 5
        }
    );
    let plan = ending.message.unwrap();
    assert_eq!((&*plan.topic, plan.queue_id), ("T", 3));
    let message = plan.message();
    assert_eq!(
        message.sys_flag,
        sys_flag::TRANSACTION_COMMIT | sys_flag::COMPRESSED
    );
    assert_eq!(message.prepared_transaction_offset, physical(5));
    assert_eq!((message.body, message.flag), (&b"body"[..], 7));
    assert_eq!(message.born_timestamp_ms, BORN_MS);
    // As RocketMQ 5.5.0 leaves them: from the first the Java consumer makes its transaction id.
    for name in ["TRAN_MSG", "PGROUP", "__transactionId__"] {
        assert!(find(message.properties, name).is_some(), "{name}");
    }
    for name in ["REAL_TOPIC", "REAL_QID"] {
        assert_eq!(find(message.properties, name), None);
    }
    let ending = broker
        .admit_end(&request(TRANSACTION_ROLLBACK_TYPE), Some(&record), 0)
        .unwrap()
        .unwrap();
    assert!(ending.message.is_none());
}

#[test]
fn a_commit_may_be_delayed() {
    let mut broker = broker();
    let properties = format!("{PROPERTIES}DELAY\u{1}3\u{2}");
    let bytes = half(&mut broker, &properties, 5, BORN_MS);
    let record = decoded(&bytes);
    assert_eq!(record.topic, HALF, "its delay begins with the commit");
    let request = request(TRANSACTION_COMMIT_TYPE);
    let ending = broker.admit_end(&request, Some(&record), 50_000).unwrap();
    let plan = ending.unwrap().message.unwrap();
    assert_eq!((&*plan.topic, plan.queue_id), ("SCHEDULE_TOPIC_XXXX", 2));
    assert_eq!(plan.deliver_time_ms, Some(60_000));
    assert_eq!(find(plan.properties(), "REAL_TOPIC").as_deref(), Some("T"));
    assert_eq!(find(plan.properties(), "REAL_QID").as_deref(), Some("3"));
    assert_eq!(find(plan.properties(), "TRAN_MSG"), None);
}

#[test]
fn an_end_names_its_half_message_exactly() {
    let mut broker = broker();
    let bytes = half(&mut broker, PROPERTIES, 5, BORN_MS);
    let record = decoded(&bytes);
    let refused = |request: EndTransaction<'_>, record: Option<&Record<'_>>| -> Refusal {
        broker.admit_end(&request, record, 0).unwrap_err()
    };
    let right = || request(TRANSACTION_COMMIT_TYPE);
    let mut wrong = right();
    wrong.producer_group = "other";
    let refusals = [
        (
            refused(right(), None),
            "Find prepared transaction message failed",
        ),
        (refused(wrong, Some(&record)), "The producer group wrong"),
        (
            refused(
                EndTransaction {
                    half_queue_offset: 6,
                    ..right()
                },
                Some(&record),
            ),
            "The transaction state table offset wrong",
        ),
        (
            refused(
                EndTransaction {
                    half_physical_offset: 1,
                    ..right()
                },
                Some(&record),
            ),
            "The commit log offset wrong",
        ),
    ];
    for (refusal, remark) in refusals {
        assert_eq!((refusal.code, &*refusal.remark), (1, remark));
    }
    let committed = stored(
        &broker
            .admit_end(&right(), Some(&record), 0)
            .unwrap()
            .unwrap()
            .message
            .unwrap(),
        5,
    );
    let again = refused(right(), Some(&decoded(&committed)));
    assert!(again.remark.contains("Find prepared"), "{}", again.remark);

    assert_eq!(Broker::ends_transaction(&right()), Ok(true));
    assert_eq!(
        Broker::ends_transaction(&request(TRANSACTION_NOT_TYPE)),
        Ok(false)
    );
    let refusal = Broker::ends_transaction(&request(5)).unwrap_err();
    assert!(refusal.remark.contains("commitOrRollback field wrong: 5"));
}

#[test]
fn transactions_can_be_refused() {
    let mut broker = broker_with(BrokerConfig {
        reject_transaction_message: true,
        ..BrokerConfig::default()
    });
    let request = sent(PROPERTIES, BORN_MS);
    let refusal = broker.admit_send(&request, b"body", &peer(1), 0);
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.code, 16);
    assert_eq!(
        refusal.remark,
        "the broker[127.0.0.1] sending transaction message is forbidden"
    );
}

#[test]
fn ends_are_written_together() {
    let mut broker = broker();
    let ends = |broker: &mut Broker, offset, now_ms| {
        let first = offset;
        broker
            .transactions
            .end(HalfOffset { offset, first }, now_ms);
    };
    assert!(broker.op_body().is_none() && !broker.op_is_due(u64::MAX));
    ends(&mut broker, 12, 1_000);
    ends(&mut broker, 7, 2_000);
    assert!(!broker.op_is_due(3_999));
    assert!(broker.op_is_due(4_000));
    let body = broker.op_body().unwrap();
    assert_eq!(body, "12,7,");
    let plan = broker.op_plan(&body, 4_000);
    assert_eq!((&*plan.topic, plan.queue_id), (OP_HALF, 0));
    assert_eq!(find(plan.properties(), "TAGS").as_deref(), Some("d"));
    assert_eq!(plan.born_timestamp_ms, 4_000);
    broker.op_stored(0);
    assert!(broker.op_body().is_none());
    assert_eq!(broker.transactions.positions(), (0, 0), "both are to come");
    for offset in 100_000..100_585 {
        ends(&mut broker, offset, 5_000);
        assert!(!broker.op_is_due(5_000), "{offset}");
    }
    ends(&mut broker, 100_585, 5_000);
    assert!(broker.op_is_due(5_000), "4096 bytes are reached");
}

#[test]
fn producers_are_asked_in_turns() {
    let mut broker = broker();
    assert!(broker.to_ask("pg").is_empty());
    for conn in 1..=3 {
        let client_id = format!("c{conn}");
        broker
            .clients
            .register_producer("pg", &client_id, &peer(conn), 0);
    }
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let asked = broker.to_ask("pg");
        assert_eq!(asked.len(), 3);
        firsts.insert(asked[0]);
    }
    assert_eq!(firsts.len(), 3);
    for conn in 4..=1_000 {
        broker.clients.register_producer("pg", "c", &peer(conn), 0);
    }
    let asked = broker.to_ask("pg");
    let distinct: std::collections::BTreeSet<_> = asked.iter().collect();
    assert_eq!((asked.len(), distinct.len()), (16, 16), "of a crowd some");
}
