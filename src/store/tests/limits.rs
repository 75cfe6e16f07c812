//! Protects that a limit for what is accepted never judges what is stored, and that no bytes of the log are believed
//! beyond what a record can be.

use super::*;
use crate::store::log::cache::BLOCK_BYTES as CACHED_BYTES;

/// Segments in which a record may be longer than the smaller limit allows.
fn with_limit(max_message_bytes: usize) -> StoreConfig {
    StoreConfig {
        segment_bytes: 512 << 10,
        log_buffer_bytes: 1 << 20,
        max_message_bytes,
        max_unflushed_bytes: 8192,
        consume_queue_memory_bytes: 1 << 20,
        ..config(Flush::Sync)
    }
}

const BIG: usize = 100 << 10;

async fn is_whole(store: &SimStore, count: u64) {
    let queue = store.find_queue("A", 0).unwrap();
    assert_eq!(store.bounds(queue).max, count);
    let positions = positions(store, queue, 0, count).await;
    let read = store.read_readable(queue, &positions, Vec::new()).await;
    assert_eq!(read.unwrap().lost, Vec::<usize>::new());
    for position in &positions {
        let record = store.record_at(position.physical_offset).await.unwrap();
        assert_eq!(record.unwrap().len(), position.size as usize);
        let alone = store.record_alone(position).await.unwrap();
        assert_eq!(alone.unwrap().len(), position.size as usize);
    }
}

#[test]
fn a_smaller_message_limit_leaves_what_is_stored() {
    for is_closed in [true, false] {
        let sim = sim(1);
        sim.run(async {
            let store = open_with(&sim, with_limit(BIG)).await.unwrap();
            for n in 0..6 {
                send(&sim, &store, "A", &[n; BIG]).await;
            }
            match is_closed {
                true => store.close().await.unwrap(),
                false => sim.crash("a"),
            }
            let store = open_with(&sim, with_limit(8 << 10)).await.unwrap();
            is_whole(&store, 6).await;
            assert!(store.unreadable().is_empty());
            let refused = store.append(store.queue("A", 0), &message(&[1; BIG], ""), None, 1);
            assert!(matches!(refused, Err(AppendError::BodySize { .. })));
            send(&sim, &store, "A", b"small").await;
            sim.crash("a");
            // Without the journal the queues are made from the log alone.
            for entry in sim
                .host("a")
                .list(Path::new("/store/queuejournal"))
                .await
                .unwrap()
            {
                sim.host("a").remove_file(&entry.path).await.unwrap();
            }
            let store = open_with(&sim, with_limit(8 << 10)).await.unwrap();
            is_whole(&store, 7).await;
        });
    }
}

/// A large record far behind the damage proves that the log went on, whatever is accepted today.
#[test]
fn a_record_above_the_limit_is_a_proof() {
    let sim = sim(2);
    sim.run(async {
        let store = open_with(&sim, with_limit(BIG)).await.unwrap();
        let first = send(&sim, &store, "A", &[1; 1000]).await;
        for n in 0..3 {
            send(&sim, &store, "A", &[n; BIG]).await;
        }
        sim.crash("a");
        // Its last block may be behind the damage: then that part of the log is not read.
        remove_journal(&sim).await;
        let io = sim.host("a");
        let rotten = first.physical_offset + 600;
        io.rot_sector(Path::new(LOG), rotten).unwrap();
        let error = open_with(&sim, with_limit(8 << 10)).await.err().unwrap();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    });
}

/// After a restart all consumers read the messages before the restart's tail: these are read from the device once.
#[test]
fn the_block_with_the_end_of_the_former_life_is_read_once() {
    let sim = sim(3);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        for n in 0..20 {
            send(&sim, &store, "A", &[n; 500]).await;
        }
        store.close().await.unwrap();
        let store = open(&sim, Flush::Sync).await;
        let queue = store.find_queue("A", 0).unwrap();
        let positions = positions(&store, queue, 0, 20).await;
        assert!(!store.is_hot(&positions[18]));
        let read = |position: Position| {
            let store = &store;
            async move { store.read_cold(&[position], Vec::new()).await.unwrap() }
        };
        let first = read(positions[18]).await;
        assert_eq!(store.figures().fetched_blocks, 1);
        for _ in 0..50 {
            assert_eq!(read(positions[18]).await, first);
            read(positions[0]).await;
        }
        assert_eq!(store.figures().fetched_blocks, 1);

        // What is written behind is not in the block that was kept.
        for n in 0..250 {
            let sent = send(&sim, &store, "A", &[n as u8; 1000]).await;
            let position = Position::new(sent.physical_offset, sent.len as u32);
            let bytes = read(position).await;
            assert_eq!(Record::decode(&bytes, Check::Crc).unwrap().body[0], n as u8);
            read(positions[18]).await;
        }
        assert!(store.tail() < CACHED_BYTES);
        assert_eq!(bodies(&store, "A").await.len(), 270);
    });
}

/// What a read that was under way when the log wrote there has seen is not kept as final.
#[test]
fn a_block_is_final_as_of_when_its_read_began() {
    let sim = sim(4);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let sent = send(&sim, &store, "A", &[1; 500]).await;
        let block = store.log.block(0, sent.end).await.unwrap();
        assert!(block.len() as u64 > sent.end);
        let later = send(&sim, &store, "A", &[2; 500]).await;
        let again = store.log.block(0, later.end).await.unwrap();
        let record = &again[later.physical_offset as usize..later.end as usize];
        assert!(Record::decode(record, Check::Crc).is_ok());
        assert_eq!(
            store.figures().fetched_blocks,
            2,
            "the first had not all of it"
        );
        store.log.block(0, later.end).await.unwrap();
        assert_eq!(store.figures().fetched_blocks, 2);
    });
}

#[test]
fn unreadable_places_are_counted_beyond_those_that_are_kept() {
    let sim = sim(5);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        for n in 0..10_007 {
            store.log.note_lost(n * 10, 10, String::new(), None);
        }
        assert_eq!(store.unreadable().len(), 10_000);
        assert_eq!(store.figures().unreadable, 10_007);
    });
}
