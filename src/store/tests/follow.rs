//! Protects a log that follows another one: its bytes and its queues become the master's, however the stream is cut, over segments and over
//! restarts; and that nothing is visible, on either side, before it is confirmed.

use super::*;
use crate::mutants::{Mutant, fails};
use crate::sim::Rng;
use crate::store::log::ours::Ours;

fn follower() -> StoreConfig {
    StoreConfig {
        follows: true,
        ..config(Flush::Sync)
    }
}

/// Of a master that confirms whatever it sends.
pub(super) async fn open_follower(sim: &Sim) -> SimStore {
    let slave = open_unconfirmed(sim).await;
    slave.confirm(u64::MAX);
    slave
}

async fn open_unconfirmed(sim: &Sim) -> SimStore {
    let opened = Store::open(sim.host("b"), follower(), |_| {});
    opened.await.unwrap()
}

/// Copies the master's log from where the slave's ends up to `end`, in pieces of any size.
pub(super) async fn copy(rng: &mut Rng, master: &SimStore, slave: &SimStore, end: u64) {
    while slave.tail() < end {
        let position = slave.tail();
        let in_segment = SEGMENT - position % SEGMENT;
        let len = (end - position).min(in_segment).min(1 + rng.below(5_000)) as usize;
        let mut bytes = Vec::new();
        if !master.copy_log(position, len, &mut bytes) {
            bytes = master.read_log(position, len).await.unwrap();
        }
        assert_eq!(bytes.len(), len);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            slave.wait_for_log_room().await;
            let taken = slave.append_log(slave.tail(), rest).unwrap();
            rest = &rest[taken..];
        }
    }
}

pub(super) async fn until_committed(store: &SimStore, end: u64) {
    store.committed_beyond(end - 1).await.unwrap();
}

async fn both_have(master: &SimStore, slave: &SimStore, topics: &[&str]) {
    for topic in topics {
        let (there, here) = (bodies(master, topic).await, bodies(slave, topic).await);
        assert_eq!(there, here, "{topic}");
    }
}

#[test]
fn log_and_queues_become_the_masters() {
    for seed in 0..10 {
        let sim = sim(seed);
        sim.run(async {
            let mut rng = Rng::new(seed);
            let master = open(&sim, Flush::Async).await;
            let mut slave = open_follower(&sim).await;
            // More than a segment each round, so that it rolls while it follows.
            for round in 0..4 {
                for number in 0..40 {
                    let topic = ["A", "B", "C"][rng.below(3) as usize];
                    let body = vec![number; rng.below(4_000) as usize];
                    send(&sim, &master, topic, &body).await;
                }
                copy(&mut rng, &master, &slave, master.tail()).await;
                until_committed(&slave, master.tail()).await;
                both_have(&master, &slave, &["A", "B", "C"]).await;
                if round % 2 == 0 {
                    slave.close().await.unwrap();
                    slave = open_follower(&sim).await;
                    both_have(&master, &slave, &["A", "B", "C"]).await;
                }
            }
            assert_eq!(master.tail(), slave.tail());
            slave.close().await.unwrap();
            master.close().await.unwrap();
        });
    }
}

#[test]
fn half_a_record_is_not_visible_and_is_gone_after_a_restart() {
    let sim = sim(1);
    sim.run(async {
        let mut rng = Rng::new(1);
        let master = open(&sim, Flush::Sync).await;
        let slave = open_follower(&sim).await;
        let first = send(&sim, &master, "A", b"first").await;
        let second = send(&sim, &master, "A", &[7; 3_000]).await;
        copy(&mut rng, &master, &slave, second.end - 1_000).await;
        let persisted = slave.persisted_beyond(second.end - 1_001);
        persisted.await.unwrap();
        until_committed(&slave, first.end).await;
        assert_eq!(slave.committed(), first.end);
        assert_eq!(bodies(&slave, "A").await, [b"first"]);
        sim.crash("b");
        let slave = open_follower(&sim).await;
        assert_eq!(slave.tail(), first.end, "half a record ends the log");
        copy(&mut rng, &master, &slave, second.end).await;
        until_committed(&slave, second.end).await;
        both_have(&master, &slave, &["A"]).await;
    });
}

/// A part of a record is flushed, and then the rest of it arrives. What the checkpoint states to be durable must end between two records: a start
/// takes a record that it cannot read before that place for damage.
#[test]
fn what_is_durable_ends_at_a_record_also_when_a_part_of_one_was_flushed() {
    let sim = sim(1);
    sim.run(async {
        let mut rng = Rng::new(1);
        let master = open(&sim, Flush::Sync).await;
        let config = StoreConfig {
            flush: Flush::Async,
            ..follower()
        };
        let slave = Store::open(sim.host("b"), config, |_| {}).await.unwrap();
        slave.confirm(u64::MAX);
        let first = send(&sim, &master, "A", b"first").await;
        let second = send(&sim, &master, "A", &[7; 3_000]).await;
        let part = second.end - 1_000;
        copy(&mut rng, &master, &slave, part).await;
        slave.persisted_beyond(part - 1).await.unwrap();
        until_committed(&slave, first.end).await;
        slave.log.flush(part).await.unwrap();
        let marks = slave.log.marks();
        assert_eq!(
            (marks.flushed(), marks.flushed_records()),
            (part, first.end)
        );
        copy(&mut rng, &master, &slave, second.end).await;
        until_committed(&slave, second.end).await;
        let durable = marks.flushed_records();
        assert!([first.end, second.end].contains(&durable), "{durable}");
        slave.log.flush(second.end).await.unwrap();
        assert_eq!(marks.flushed_records(), second.end);
    });
}

/// The CRC of a copied record becomes another property of its length; the body's CRC is right.
async fn overwrite_crc(sim: &Sim, sent: &Appended) {
    let at = sent.end - 20;
    let path = format!("/store/commitlog/{:020}", at / SEGMENT * SEGMENT);
    let file = sim.host("b").open(Path::new(&path), EDIT).await.unwrap();
    let other = b"other\x01aaaaaaaaaaaaa\x02".to_vec();
    let written = file.write_at(other, at % SEGMENT, Durability::Synced);
    written.await.0.unwrap();
}

/// A kill and a device that forgets a sector leave a record whose body is right, but not its properties.
#[test]
fn a_copied_record_without_its_crc_ends_the_log_after_a_crash() {
    let sim = sim(1);
    sim.run(async {
        let mut rng = Rng::new(1);
        let master = open(&sim, Flush::Sync).await;
        for starts in 0..3_u8 {
            let mut slave = open_follower(&sim).await;
            for _ in 0..starts {
                slave.close().await.unwrap();
                slave = open_follower(&sim).await;
            }
            let first = send(&sim, &master, "A", &[starts; 300]).await;
            let second = send(&sim, &master, "A", &[starts; 400]).await;
            copy(&mut rng, &master, &slave, second.end).await;
            slave.persisted_beyond(second.end - 1).await.unwrap();
            sim.crash("b");
            overwrite_crc(&sim, &second).await;
            let slave = open_follower(&sim).await;
            assert_eq!(slave.tail(), first.end);
            copy(&mut rng, &master, &slave, second.end).await;
            until_committed(&slave, second.end).await;
            both_have(&master, &slave, &["A"]).await;
            slave.close().await.unwrap();
        }
    });
}

/// RocketMQ's records have no CRC over all of them. The first of them is not written before the checkpoint allows it, so a
/// start takes none of them for torn. Behind them the master's own records have one again.
#[test]
fn records_of_rocketmq_are_kept_after_a_crash() {
    for seed in 0..5 {
        let sim = sim(seed);
        sim.run(async {
            let mut rng = Rng::new(seed);
            let log_bytes = golden::copy(&sim, true).await;
            let master = open(&sim, Flush::Sync).await;
            let slave = open_follower(&sim).await;
            assert_eq!(slave.log.ours().from(), 0, "nothing is in the log");
            copy(&mut rng, &master, &slave, log_bytes).await;
            until_committed(&slave, log_bytes).await;
            sim.crash("b");
            let slave = open_follower(&sim).await;
            assert_eq!(slave.tail(), log_bytes);
            assert_eq!(slave.log.ours().from(), Ours::NOWHERE);
            both_have(&master, &slave, &["GoldenTopic"]).await;

            let own = send(&sim, &master, "A", b"own").await;
            copy(&mut rng, &master, &slave, own.end).await;
            until_committed(&slave, own.end).await;
            slave.close().await.unwrap();
            let slave = open_follower(&sim).await;
            assert_eq!(slave.log.ours().from(), log_bytes);
        });
    }
}

#[test]
fn nothing_is_visible_before_it_is_confirmed() {
    let sim = sim(1);
    sim.run(async {
        let mut rng = Rng::new(1);
        let master = open(&sim, Flush::Sync).await;
        let slave = open_follower(&sim).await;
        master.confirm(0);
        slave.confirm(0);
        let first = append(&sim, &master, "A", b"first").await;
        let second = append(&sim, &master, "A", b"second").await;
        master.persisted_beyond(second.end - 1).await.unwrap();
        assert_eq!(master.committed(), 0);
        assert!(bodies(&master, "A").await.is_empty());
        copy(&mut rng, &master, &slave, second.end).await;
        slave.persisted_beyond(second.end - 1).await.unwrap();
        assert_eq!(slave.committed(), 0);
        assert!(bodies(&slave, "A").await.is_empty());
        for store in [&master, &slave] {
            store.confirm(first.end);
            until_committed(store, first.end).await;
            assert_eq!(store.committed(), first.end);
            assert_eq!(bodies(store, "A").await, [b"first"]);
        }
        for store in [&master, &slave] {
            store.confirm(u64::MAX);
            until_committed(store, second.end).await;
            assert_eq!(bodies(store, "A").await.len(), 2);
        }
    });
}

/// The master may have lost what it had not confirmed.
#[test]
fn after_a_crash_nothing_is_visible_before_it_is_confirmed() {
    for seed in 0..10 {
        let sim = sim(seed);
        sim.run(async {
            let mut rng = Rng::new(seed);
            let master = open(&sim, Flush::Sync).await;
            let slave = open_follower(&sim).await;
            let mut sent = Vec::new();
            for n in 0..60_u8 {
                let topic = ["A", "B", "C"][rng.below(3) as usize];
                sent.push(send(&sim, &master, topic, &[n; 200]).await);
            }
            let confirmed = rng.below(30) as usize;
            copy(&mut rng, &master, &slave, sent[confirmed].end).await;
            until_committed(&slave, sent[confirmed].end).await;
            // The journal has it then.
            sim.sleep(Duration::from_secs(3)).await;
            slave.confirm(sent[confirmed].end);
            copy(&mut rng, &master, &slave, master.tail()).await;
            slave.persisted_beyond(master.tail() - 1).await.unwrap();
            let in_all = async |store: &SimStore| {
                let mut seen = 0;
                for topic in ["A", "B", "C"] {
                    seen += bodies(store, topic).await.len();
                }
                seen
            };
            assert_eq!(in_all(&slave).await, confirmed + 1);
            sim.crash("b");
            for _ in 0..2 {
                let slave = open_unconfirmed(&sim).await;
                assert_eq!(slave.tail(), master.tail(), "nothing goes");
                assert_eq!(slave.committed(), sent[confirmed].end);
                sim.sleep(Duration::from_secs(3)).await;
                assert_eq!(in_all(&slave).await, confirmed + 1);
                slave.close().await.unwrap();
            }
            let slave = open_unconfirmed(&sim).await;
            slave.confirm(u64::MAX);
            until_committed(&slave, master.tail()).await;
            both_have(&master, &slave, &["A", "B", "C"]).await;
            slave.close().await.unwrap();
            let slave = open_unconfirmed(&sim).await;
            both_have(&master, &slave, &["A", "B", "C"]).await;
        });
    }
}

#[test]
fn a_topic_that_was_made_again_begins_anew() {
    let sim = sim(1);
    sim.run(async {
        let mut rng = Rng::new(1);
        let master = open(&sim, Flush::Sync).await;
        let slave = open_follower(&sim).await;
        send(&sim, &master, "A", b"old").await;
        send(&sim, &master, "A", b"older").await;
        master.delete_some("A", usize::MAX);
        let new = send(&sim, &master, "A", b"new").await;
        copy(&mut rng, &master, &slave, new.end).await;
        until_committed(&slave, new.end).await;
        assert_eq!(bodies(&slave, "A").await, [b"new"]);
    });
}

#[test]
fn the_queues_of_a_topic_that_was_made_again_go_in_slices() {
    let sim = sim(1);
    sim.run(async {
        let mut rng = Rng::new(1);
        let master = open(&sim, Flush::Sync).await;
        let slave = open_follower(&sim).await;
        let old = send(&sim, &master, "A", b"old").await;
        copy(&mut rng, &master, &slave, old.end).await;
        until_committed(&slave, old.end).await;
        for queue_id in 1..5_000 {
            slave.queue("A", queue_id);
        }
        master.delete_some("A", usize::MAX);
        let new = send(&sim, &master, "A", b"new").await;
        copy(&mut rng, &master, &slave, new.end).await;
        let mut turns = 0;
        while slave.find_queue("A", 1).is_some() || slave.committed() < new.end {
            crate::io::yield_now().await;
            turns += usize::from(slave.find_queue("A", 1).is_some());
        }
        assert!(turns >= 4, "{turns} turns");
        assert_eq!(bodies(&slave, "A").await, [b"new"]);
    });
}

#[test]
fn what_is_no_record_ends_it() {
    let sim = sim(1);
    sim.run(async {
        let slave = open_follower(&sim).await;
        let refused = slave.append_log(5, b"x");
        assert_eq!(refused, Err(FollowError::Position { got: 5, end: 0 }));
        slave.append_log(0, &[0xee; 500]).unwrap();
        slave.persisted_beyond(499).await.unwrap();
        let io = sim.host("b");
        let mut refused = Ok(0);
        while refused.is_ok() {
            io.sleep_until(io.now().mono_ns + 1_000_000).await;
            refused = slave.append_log(slave.tail(), b"x");
        }
        let is_no_record = |error| matches!(error, FollowError::NoRecord { position: 0, .. });
        assert!(is_no_record(refused.unwrap_err()));
        let queue = slave.queue("A", 0);
        let refused = slave.append(queue, &message(b"", ""), None, 0);
        assert_eq!(refused, Err(AppendError::Follows));
    });
}

#[test]
fn mutant_unconfirmed_shown() {
    let test = after_a_crash_nothing_is_visible_before_it_is_confirmed;
    fails(Mutant::UnconfirmedShown, test);
}

#[test]
fn mutant_foreign_not_stated() {
    fails(
        Mutant::ForeignNotStated,
        records_of_rocketmq_are_kept_after_a_crash,
    );
}
