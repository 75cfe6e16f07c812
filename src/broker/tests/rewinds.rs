//! Rewinds of many queues.

use super::*;
use crate::broker::limits::ROWS_PER_TURN;
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
