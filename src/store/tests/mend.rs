//! Protects the repair of a log from another broker's: readers wait for what another one may have, a record is taken only if it belongs to its place,
//! what stands around it stays as it is, and what was repaired stays repaired.

use super::damage::{fill, rot};
use super::*;
use crate::io::{Either, select};

fn small(flush: Flush) -> StoreConfig {
    StoreConfig {
        max_unflushed_bytes: 8192,
        ..config(flush)
    }
}

async fn reopened(sim: &Sim, store: SimStore) -> SimStore {
    store.close().await.unwrap();
    let store = open_with(sim, small(Flush::Sync)).await.unwrap();
    store.await_repair(true);
    store
}

async fn bytes_of(sim: &Sim, sent: &Appended) -> Vec<u8> {
    read_part(sim, LOG, sent.physical_offset, sent.len).await
}

#[test]
fn readers_wait_for_a_message_that_another_broker_has_and_get_it() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        let sent = fill(&sim, &store, 10).await;
        let whole = bytes_of(&sim, &sent[4]).await;
        let store = reopened(&sim, store).await;
        rot(&sim, sent[4].physical_offset + 600).await;
        let queue = store.find_queue("A", 0).unwrap();
        let positions = positions(&store, queue, 0, 5).await;
        for _ in 0..2 {
            let read = store.read_readable(queue, &positions, Vec::new());
            let read = read.await.unwrap();
            assert_eq!((read.awaited, read.lost.len()), (Some(2), 0));
            assert_eq!(read.records.len(), sent[0].len + sent[2].len);
        }
        let read = store.read_readable(queue, &positions[2..], Vec::new());
        let awaits = |error| matches!(error, StoreError::AwaitsRepair { .. });
        assert!(awaits(read.await.unwrap_err()));
        let position = sent[4].physical_offset;
        assert!(awaits(store.record_at(position).await.unwrap_err()));
        assert!(awaits(store.record_alone(&positions[2]).await.unwrap_err()));
        let (holes, size) = (store.holes(), sent[4].len as u64);
        assert_eq!(holes, [Hole { position, size }]);
        let readable_to = store.mend(position, whole).await.unwrap();
        assert_eq!(readable_to, Some(sent[4].end));
        assert!(!store.has_holes() && store.unreadable().is_empty());
        let store = reopened(&sim, store).await;
        assert!(store.unreadable().is_empty());
        assert_eq!(bodies(&store, "A").await.len(), 5);
        assert_eq!(bodies(&store, "B").await.len(), 5);
        store.close().await.unwrap();
    });
}

#[test]
fn only_the_record_of_a_position_is_put_there() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        let sent = fill(&sim, &store, 10).await;
        let store = reopened(&sim, store).await;
        let position = sent[4].physical_offset;
        let before = read_file(&sim, LOG).await;
        let whole = bytes_of(&sim, &sent[4]).await;
        let mut rotten = whole.clone();
        rotten[700] ^= 1;
        let of_another = bytes_of(&sim, &sent[5]).await;
        let two = [&whole[..], &of_another[..]].concat();
        for wrong in [rotten, of_another, two, whole[1..].to_vec(), Vec::new()] {
            assert!(store.mend(position, wrong).await.is_err());
        }
        assert!(store.mend(sent[9].end + 4096, whole.clone()).await.is_err());
        assert_eq!(read_file(&sim, LOG).await, before);
        assert!(store.mend(position, whole).await.unwrap().is_some());
        assert_eq!(read_file(&sim, LOG).await, before);
        // It may be written again with what is appended next.
        let last = bytes_of(&sim, &sent[9]).await;
        assert_eq!(
            store.mend(sent[9].physical_offset, last).await.unwrap(),
            None
        );
    });
}

#[test]
fn a_block_that_the_device_does_not_give_is_made_again_if_the_record_has_all_of_it() {
    for (from, is_repaired) in [(0, true), (1, false)] {
        let sim = sim(3);
        sim.run(async {
            let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
            let sent = send(&sim, &store, "A", &[7; 8150]).await;
            assert!(sent.physical_offset == 0 && sent.len > 2 * BLOCK_BYTES);
            fill(&sim, &store, 10).await;
            let whole = bytes_of(&sim, &sent).await;
            let store = reopened(&sim, store).await;
            let rule = Rule::new(Fault::Io).of(Op::Read).on("commitlog");
            sim.host("a").inject(rule.after(from).times(2));
            let mended = store.mend(0, whole).await;
            assert_eq!(mended.is_ok(), is_repaired, "{mended:?}");
            assert_eq!(bodies(&store, "B").await.len(), 5);
            assert_eq!(bodies(&store, "A").await.len(), 6);
        });
    }
}

#[test]
fn what_is_given_up_is_passed_over_and_stays_given_up() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        let sent = fill(&sim, &store, 10).await;
        let store = reopened(&sim, store).await;
        rot(&sim, sent[4].physical_offset + 600).await;
        let queue = store.find_queue("A", 0).unwrap();
        let positions = positions(&store, queue, 0, 5).await;
        let awaited = async |store: &SimStore| {
            let read = store.read_readable(queue, &positions, Vec::new()).await;
            read.unwrap().awaited
        };
        assert_eq!(awaited(&store).await, Some(2));
        let hole = store.holes()[0];
        store.give_up(hole);
        assert!(!store.has_holes());
        assert_eq!(awaited(&store).await, None);
        let store = reopened(&sim, store).await;
        assert!(!store.has_holes());
        assert_eq!(awaited(&store).await, None);
        assert_eq!(store.unreadable().len(), 1);
    });
}

/// A hole that the scrub has found is as long as what could not be read.
#[test]
fn what_is_behind_a_repaired_record_is_still_a_hole() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        let sent = fill(&sim, &store, 10).await;
        let whole = bytes_of(&sim, &sent[2]).await;
        let store = reopened(&sim, store).await;
        let (position, size) = (sent[2].physical_offset, 3 * sent[2].len as u64);
        rot(&sim, sent[3].physical_offset + 600).await;
        let known = store.log.known_unreadable();
        store.log.note_lost(position, size, "rot".into(), None);
        let readable_to = store.mend(position, whole).await.unwrap();
        assert_eq!(readable_to, Some(sent[3].physical_offset));
        let rest = Hole {
            position: sent[3].physical_offset,
            size: size - sent[2].len as u64,
        };
        assert_eq!(known.holes(10), [rest]);
    });
}

/// The size of a record may be what has rotted, and then a hole reaches into what is whole; no broker has a record for the blank rest of a file.
#[test]
fn what_is_whole_behind_a_repaired_record_is_no_hole() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        let sent = fill(&sim, &store, 80).await;
        let last = sent.iter().rposition(|it| it.end <= SEGMENT).unwrap();
        let blank = SEGMENT - sent[last].end;
        assert!(blank > 0 && sent[last + 1].physical_offset == SEGMENT);
        let whole = bytes_of(&sim, &sent[last - 1]).await;
        let store = reopened(&sim, store).await;
        let position = sent[last - 1].physical_offset;
        let size = SEGMENT - position;
        store.log.note_lost(position, size, "rot".into(), None);
        let readable_to = store.mend(position, whole).await.unwrap();
        assert_eq!(readable_to, Some(SEGMENT));
        assert!(!store.has_holes() && store.unreadable().is_empty());
    });
}

/// What has rotted are the first bytes of a record: its size, its magic, its position. Nothing begins there, as at any place within a record.
fn a_record_whose_first_bytes_have_rotted_is_found() {
    for at in [1, 5, 30] {
        let sim = sim(3);
        sim.run(async {
            let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
            let sent = fill(&sim, &store, 10).await;
            store.close().await.unwrap();
            let scrubbing = StoreConfig {
                scrub_bytes_per_s: 1 << 20,
                ..small(Flush::Sync)
            };
            let store = open_with(&sim, scrubbing).await.unwrap();
            store.await_repair(true);
            // The pass of the day is over.
            sim.sleep(Duration::from_secs(5)).await;
            let position = sent[4].physical_offset;
            store.doubt(position + 100);
            sim.sleep(Duration::from_secs(5)).await;
            assert!(!store.has_holes(), "within a record");
            sim.host("a")
                .rot_byte(Path::new(LOG), position + at)
                .unwrap();
            assert_eq!(store.record_at(position).await.unwrap(), None);
            store.doubt(position);
            sim.sleep(Duration::from_secs(5)).await;
            let (holes, size) = (store.holes(), sent[4].len as u64);
            assert_eq!(holes, [Hole { position, size }], "{at}");
            let read = store.record_at(position).await;
            assert!(matches!(read, Err(StoreError::AwaitsRepair { .. })));
            store.close().await.unwrap();
        });
    }
}

#[test]
fn what_is_asked_for_and_does_not_begin_is_looked_for() {
    a_record_whose_first_bytes_have_rotted_is_found();
}

#[test]
fn mutant_not_doubted() {
    use crate::mutants::{Mutant, fails};
    fails(
        Mutant::NotDoubted,
        a_record_whose_first_bytes_have_rotted_is_found,
    );
}

/// Its file might become another part of the log while it is written.
#[test]
fn a_file_is_not_removed_while_a_part_of_it_is_repaired() {
    let sim = sim(3);
    sim.run(async {
        let store = open_with(&sim, small(Flush::Sync)).await.unwrap();
        let sent = fill(&sim, &store, 80).await;
        assert!(sent[79].physical_offset > SEGMENT);
        let whole = bytes_of(&sim, &sent[2]).await;
        let stall = Rule::new(Fault::Stall(Duration::from_secs(2))).of(Op::Write);
        sim.host("a").inject(stall.on("commitlog").times(1));
        let mended = store.mend(sent[2].physical_offset, whole);
        let removed = async {
            sim.sleep(Duration::from_secs(1)).await;
            store.log.remove_first(true).await.unwrap();
        };
        match select(mended, removed).await {
            Either::Left(mended) => assert!(mended.unwrap().is_some()),
            Either::Right(()) => panic!("it was removed first"),
        }
    });
}
