//! Protects the note that the end of a replica's log is in doubt: it is there after a start that has ended the log at bytes which may have been
//! acknowledged, whatever crashes follow, and goes when the log has caught up.

use super::follow::{copy, until_committed};
use super::*;
use crate::mutants::{Mutant, fails};
use crate::sim::Rng;

const FLUSHES: [Flush; 2] = [Flush::Sync, Flush::Async];

fn replica(flush: Flush) -> StoreConfig {
    StoreConfig {
        follows: true,
        // No note calls anything durable.
        flush_interval_ms: 60_000,
        ..config(flush)
    }
}

async fn open_replica(sim: &Sim, flush: Flush) -> SimStore {
    let opened = Store::open(sim.host("b"), replica(flush), |_| {});
    let slave = opened.await.unwrap();
    slave.confirm(u64::MAX);
    slave
}

/// A replica with a few messages of its master, and the last of them.
async fn with_messages(sim: &Sim, flush: Flush) -> (SimStore, Appended) {
    let master = open(sim, Flush::Sync).await;
    let slave = open_replica(sim, flush).await;
    let mut last = send(sim, &master, "A", b"first").await;
    for number in 0..5 {
        last = send(sim, &master, "A", &[number; 700]).await;
    }
    copy(&mut Rng::new(1), &master, &slave, last.end).await;
    until_committed(&slave, last.end).await;
    (slave, last)
}

fn rot(sim: &Sim, position: u64) {
    sim.host("b").rot_byte(Path::new(LOG), position).unwrap();
}

fn each_flush(test: impl AsyncFn(&Sim, Flush)) {
    for flush in FLUSHES {
        for seed in 0..4 {
            let sim = sim(seed);
            sim.run(test(&sim, flush));
        }
    }
}

#[test]
fn a_rotten_end_is_in_doubt_until_it_is_trusted() {
    rotten_end();
}

#[test]
fn mutant_of_the_doubt_is_caught() {
    fails(Mutant::EndNotDoubted, rotten_end);
}

fn rotten_end() {
    each_flush(async |sim, flush| {
        let (slave, last) = with_messages(sim, flush).await;
        assert!(!slave.is_end_in_doubt());
        sim.crash("b");
        rot(sim, last.physical_offset + sim.below(700));
        for _ in 0..3 {
            let slave = open_replica(sim, flush).await;
            assert_eq!(slave.tail(), last.physical_offset);
            assert!(slave.is_end_in_doubt());
            match sim.below(2) {
                0 => sim.crash("b"),
                _ => sim.power_cut("b"),
            }
        }
        let slave = open_replica(sim, flush).await;
        slave.trust_end();
        assert!(!slave.is_end_in_doubt());
        slave.close().await.unwrap();
        let slave = open_replica(sim, flush).await;
        assert!(!slave.is_end_in_doubt(), "it was closed");
    });
}

/// The note is durable before the bytes that are the reason for it are wiped.
#[test]
fn a_power_cut_at_any_step_of_a_start_leaves_the_doubt() {
    for seed in 0..40 {
        let sim = sim(seed);
        sim.run(async {
            let (_slave, last) = with_messages(&sim, Flush::Sync).await;
            sim.crash("b");
            rot(&sim, last.physical_offset + 100);
            for _ in 0..2 {
                let io = sim.host("b");
                let opens = io.clone();
                io.spawn("test", async move {
                    let opened = Store::open(opens, replica(Flush::Sync), |_| {});
                    let _store = opened.await;
                    std::future::pending::<()>().await;
                });
                sim.sleep(Duration::from_micros(sim.below(20_000))).await;
                sim.power_cut("b");
            }
            let slave = open_replica(&sim, Flush::Sync).await;
            assert!(slave.is_end_in_doubt());
        });
    }
}

/// In sync mode the log of a process that was killed while nothing was written lacks nothing. In async mode what a power cut has taken may leave
/// nothing behind.
#[test]
fn a_blank_end_is_in_doubt_only_where_flushes_came_later() {
    each_flush(async |sim, flush| {
        let (_slave, last) = with_messages(sim, flush).await;
        sim.crash("b");
        let slave = open_replica(sim, flush).await;
        assert_eq!(slave.tail(), last.end);
        assert_eq!(slave.is_end_in_doubt(), flush == Flush::Async);
    });
}

/// A replica was stopped before its master had confirmed what it has, and some of that rots while it is stopped.
#[test]
fn rot_behind_what_was_confirmed_leaves_a_closed_log_in_doubt() {
    each_flush(async |sim, flush| {
        let master = open(sim, Flush::Sync).await;
        let opened = Store::open(sim.host("b"), replica(flush), |_| {});
        let slave = opened.await.unwrap();
        let mut sent = Vec::new();
        for _ in 0..10 {
            sent.push(send(sim, &master, "A", &[1; 2_000]).await);
        }
        copy(&mut Rng::new(1), &master, &slave, sent[9].end).await;
        slave.persisted_beyond(sent[9].end - 1).await.unwrap();
        slave.close().await.unwrap();
        rot(sim, sent[2].physical_offset + sim.below(2_000));
        let slave = open_replica(sim, flush).await;
        assert_eq!(slave.tail(), sent[2].physical_offset);
        assert!(slave.is_end_in_doubt());
        // Nothing of it is left.
        slave.close().await.unwrap();
        let bytes = sim.host("b").peek(Path::new(LOG), 0, SEGMENT as usize);
        let behind = &bytes.unwrap()[slave.tail() as usize..];
        assert!(behind.iter().all(|byte| *byte == 0));
    });
}

/// Half of a record was received: its master goes on there.
#[test]
fn half_a_record_is_in_doubt() {
    let sim = sim(1);
    sim.run(async {
        let master = open(&sim, Flush::Sync).await;
        let slave = open_replica(&sim, Flush::Sync).await;
        let sent = send(&sim, &master, "A", &[7; 3_000]).await;
        copy(&mut Rng::new(1), &master, &slave, sent.end - 1_000).await;
        let persisted = slave.persisted_beyond(sent.end - 1_001);
        persisted.await.unwrap();
        sim.crash("b");
        let slave = open_replica(&sim, Flush::Sync).await;
        assert_eq!(slave.tail(), sent.physical_offset);
        assert!(slave.is_end_in_doubt());
    });
}

#[test]
fn a_log_that_follows_no_other_is_never_in_doubt() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        let last = send(sim, &store, "A", &[7; 700]).await;
        sim.crash("a");
        let io = sim.host("a");
        io.rot_byte(Path::new(LOG), last.physical_offset + 100)
            .unwrap();
        let store = open(sim, flush).await;
        assert!(!store.is_end_in_doubt());
    });
}
