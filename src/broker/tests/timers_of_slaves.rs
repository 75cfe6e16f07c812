//! A slave keeps of its master's timers what it needs to go on as master: nothing that was delivered comes again, and nothing that was
//! not is forgotten.

use super::timers::{decoded, timed_record_at};
use crate::broker::timer::{Checkpoint, MasterTimers, RunName, Timers};

/// Each timer of the queue: when it is due, its offset, and its position in the log.
const TIMERS: [(u64, u64, u64); 4] = [
    (2_000, 0, 1_000),
    (9_000, 1, 2_000),
    (3_000, 2, 3_000),
    (2_500, 3, 4_000),
];

fn empty() -> Checkpoint {
    Checkpoint {
        roll_window_ms: u64::MAX,
        ..Checkpoint::default()
    }
}

fn enqueue(timers: &mut Timers, before: u64) {
    for (at_ms, offset, position) in TIMERS {
        if (timers.enqueued_offset()..before).contains(&offset) {
            let (out_ms, deliver_ms) = ((at_ms - 1).to_string(), at_ms.to_string());
            let pairs = [
                ("TIMER_OUT_MS", &*out_ms),
                ("TIMER_DELIVER_MS", &*deliver_ms),
                ("REAL_TOPIC", "T"),
            ];
            let bytes = timed_record_at(position, &pairs, 1_000);
            assert!(timers.enqueue(offset, &decoded(&bytes), 1_000));
        }
    }
}

fn said(read_ms: u64, delivered_offset: u64) -> MasterTimers {
    MasterTimers {
        read_ms,
        delivered_offset,
        ..MasterTimers::default()
    }
}

/// The positions of what a broker delivers that starts as master with what the slave has saved.
fn delivered_after(slave: &Timers) -> Vec<u64> {
    let saved = Checkpoint::decode(&slave.checkpoint().encode()).unwrap();
    let mut timers = Timers::new(saved, 1 << 20);
    enqueue(&mut timers, u64::MAX);
    let mut due = Vec::new();
    timers.take_due(100_000, 99, 1 << 20, &mut due);
    due.iter().map(|timer| timer.physical_offset).collect()
}

#[test]
fn what_the_master_has_delivered_is_over() {
    let mut slave = Timers::following(empty(), 1 << 20);
    slave.follow(&said(1_500, 2));
    enqueue(&mut slave, 2);
    assert_eq!(delivered_after(&slave), [1_000, 4_000, 3_000, 2_000]);
    slave.follow(&said(2_600, 2));
    // The last one was due by then, and stands behind what the master had looked at.
    assert_eq!(delivered_after(&slave), [4_000, 3_000, 2_000]);
    slave.follow(&said(2_700, 4));
    enqueue(&mut slave, 4);
    assert_eq!(delivered_after(&slave), [3_000, 2_000]);
    slave.follow(&said(9_000, 4));
    assert_eq!(delivered_after(&slave), [0; 0]);
}

#[test]
fn what_is_over_stays_over_when_all_is_read_again() {
    let mut slave = Timers::following(empty(), 1 << 20);
    slave.follow(&said(2_600, 4));
    enqueue(&mut slave, 4);
    let mut uncovered = slave.uncovered();
    slave.copy_uncovered(&mut uncovered, 99);
    slave.covered(&uncovered, vec![RunName::default()], 2_600);
    assert_eq!(slave.enqueued_offset(), 4);
    slave.read_again();
    assert_eq!(slave.enqueued_offset(), 0);
    assert_eq!(slave.take_dirty(), Some(false), "it is to be saved");
    assert_eq!(slave.checkpoint().runs, []);
    assert_eq!(delivered_after(&slave), [3_000, 2_000]);
    // The master goes on before all is read again.
    slave.follow(&said(2_700, 4));
    enqueue(&mut slave, 2);
    assert_eq!(delivered_after(&slave), [3_000, 2_000]);
    enqueue(&mut slave, 4);
    assert_eq!(delivered_after(&slave), [3_000, 2_000]);
}

#[test]
fn a_slave_delivers_nothing_itself() {
    let mut slave = Timers::following(empty(), 1 << 20);
    slave.follow(&said(1_500, 4));
    enqueue(&mut slave, 4);
    let mut due = Vec::new();
    slave.take_due(100_000, 99, 1 << 20, &mut due);
    assert_eq!(due, []);
    assert_eq!(slave.figures(4, 100_000).queue_offset, 4);
}
