//! Rewinds of many queues.

use super::*;
use crate::broker::limits::ROWS_PER_TURN;
use crate::wire::admin::ResetOffsetList;
use crate::wire::codes::request;
use crate::wire::heartbeat::HeartbeatData;
use crate::wire::loose_json;
use crate::wire::stats::ResetOffsetBody;

#[test]
fn a_rewind_of_many_queues_takes_many_turns() {
    let mut broker = broker();
    broker.topics.put(topic("Wide", 65_536), 0);
    broker.find_or_create_group("g", 0);
    let offsets: Vec<_> = (0..65_536).map(|id| (id, 7)).collect();
    let Ok(Step::Work(mut work)) = broker.reset_offsets("g", "Wide", &offsets) else {
        panic!("it is made in slices");
    };
    let store = &FakeStore;
    let at = At { now_ms: 0, store };
    let mut turns = 0;
    let reply = loop {
        turns += 1;
        match work.turn(&mut broker, at).unwrap() {
            Progress::Done(reply) => break reply,
            Progress::More | Progress::RemoveQueues(_) => {}
            Progress::Times(_) => panic!("it needs no times"),
        }
        assert!(
            broker
                .offsets
                .has_reset("g", "Wide", turns * ROWS_PER_TURN as i32 - 1)
        );
        assert!(
            !broker
                .offsets
                .has_reset("g", "Wide", turns * ROWS_PER_TURN as i32)
        );
    };
    assert_eq!(turns, 65_536 / ROWS_PER_TURN as i32);
    let body: ResetOffsetBody = loose_json::from_slice(&reply.body).unwrap();
    assert_eq!(body.offset_table.len(), 65_536);
    assert!(body.offset_table.values().all(|offset| *offset == 7));
}

#[test]
fn the_request_to_clients_for_many_queues_is_made_in_many_turns() {
    const QUEUES: u32 = 1_000;
    let mut broker = broker();
    broker.config.server_side_reset = false;
    broker.topics.put(topic("Wide", QUEUES as i32), 0);
    broker.find_or_create_group("g", 0);
    let data = HeartbeatData {
        client_id: "c".into(),
        consumer_data_set: vec![consumer("g", "Wide", "*")],
        ..HeartbeatData::default()
    };
    let body = String::from_utf8(loose_json::to_vec(&data)).unwrap();
    assert_eq!(ask(&mut broker, request::HEART_BEAT, &[], &body).code, 0);
    for queue in 0..QUEUES {
        broker.offsets.commit("g", "Wide", queue as i32, 9, 0);
    }
    let rewind = Rewind {
        group: "g".into(),
        topic: "Wide".into(),
        queues: (0..QUEUES).collect(),
        target: Target::End,
        timestamp_ms: -1,
        is_forced: true,
    };
    let offsets: Vec<_> = (0..QUEUES).map(|id| (id, 7)).collect();
    for language in [Language::Java, Language::Cpp] {
        let Ok(Step::Work(mut work)) = broker.rewind(&rewind, &offsets, language) else {
            panic!("it is made in slices");
        };
        let store = &FakeStore;
        let at = At { now_ms: 0, store };
        let (mut turns, mut effects) = (1, Vec::new());
        let reply = loop {
            match work.turn(&mut broker, at).unwrap() {
                Progress::Done(reply) => break reply,
                other => assert!(matches!(other, Progress::More)),
            }
            turns += 1;
        };
        assert_eq!(turns, QUEUES as usize / ROWS_PER_TURN + 1);
        let body: ResetOffsetBody = loose_json::from_slice(&reply.body).unwrap();
        assert_eq!(body.offset_table.len(), QUEUES as usize);
        broker.take_effects(&mut effects);
        let [.., Effect::Tell { request, .. }] = &effects[..] else {
            panic!("{effects:?}");
        };
        match language {
            Language::Cpp => {
                let told: ResetOffsetList = loose_json::from_slice(&request.body).unwrap();
                assert_eq!(told.offset_table.len(), QUEUES as usize);
            }
            _ => assert_eq!(request.body, reply.body),
        }
    }
}
