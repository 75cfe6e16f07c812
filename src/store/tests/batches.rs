//! Protects topics of type BatchCQ: an inner batch is one record and takes an offset for each of its messages, wherever its entries come
//! from: memory, files, the journal, or the log alone, RocketMQ's too.

use std::fs;

use super::follow::{copy, open_follower, until_committed};
use super::*;
use crate::message::sys_flag;
use crate::sim::Rng;

/// Appends an inner batch of so many messages; returns where it begins in its queue.
async fn append_batch(sim: &Sim, store: &SimStore, topic: &str, messages: u16) -> Appended {
    let queue = store.queue(topic, 0);
    let body = vec![messages as u8; 22 * usize::from(messages)];
    let text = format!("TAGS\u{1}t\u{2}INNER_NUM\u{1}{messages}\u{2}");
    let batch = Message {
        sys_flag: sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP,
        ..message(&body, &text)
    };
    // For its entries, too.
    let len = 111 * usize::from(messages) + 512;
    store.wait_for_room(len).await;
    let now_ms = sim.host("a").now().unix_ms;
    store.append(queue, &batch, None, now_ms).unwrap()
}

fn limits(max_messages: usize) -> ScanLimits {
    ScanLimits {
        max_messages,
        max_bytes: usize::MAX,
        max_entries: 800,
    }
}

/// What a pull gets: the first offset and the number of messages of each record, and where the next one goes on.
async fn pull(
    store: &SimStore,
    queue: QueueIndex,
    from: u64,
    most: usize,
) -> (Vec<(u64, u16)>, u64) {
    let limits = limits(most);
    let wanted = |_: &[u8]| Some(true);
    let messages = store.scan_messages_cold(queue, from, &limits, wanted, Vec::new());
    let (scan, records, count) = messages.await.unwrap();
    let Scan::Found { next_offset } = scan else {
        panic!("{scan:?} from {from}");
    };
    let (mut taken, mut rest) = (Vec::new(), &records[..]);
    while !rest.is_empty() {
        let record = Record::decode(rest, Check::Crc).unwrap();
        if record.sys_flag & sys_flag::INNER_BATCH != 0 {
            let base = properties::find(record.properties, properties::INNER_BASE);
            assert_eq!(base, Some(record.queue_offset.to_string().as_str()));
        }
        taken.push((record.queue_offset, record.messages()));
        rest = &rest[record.total_size as usize..];
    }
    let all: usize = taken
        .iter()
        .map(|(_, messages)| usize::from(*messages))
        .sum();
    assert_eq!(count, all);
    let by_tags = pull_by_tags(store, queue, from, &limits).await;
    assert!(
        taken.starts_with(&by_tags) && !by_tags.is_empty(),
        "{by_tags:?}"
    );
    (taken, next_offset)
}

/// The same without a look at the messages; where entries are only on disk it may end earlier.
async fn pull_by_tags(
    store: &SimStore,
    queue: QueueIndex,
    from: u64,
    limits: &ScanLimits,
) -> Vec<(u64, u16)> {
    let (mut positions, mut firsts) = (Vec::new(), Vec::new());
    let mut filter = |first, _| {
        firsts.push(first);
        true
    };
    let hot = store.scan(queue, from, limits, &mut filter, &mut positions);
    if hot == Scan::Cold {
        let cold = store.scan_cold(queue, from, limits, &mut filter, &mut positions);
        cold.await.unwrap();
    }
    let taken = firsts.into_iter().zip(&positions);
    taken.map(|(first, at)| (first, at.messages)).collect()
}

/// A message, a batch of three, a message, a batch of 70, a batch of 2.
async fn fill(sim: &Sim, store: &SimStore) {
    send(sim, store, "B", b"0").await;
    append_batch(sim, store, "B", 3).await;
    send(sim, store, "B", b"4").await;
    let large = append_batch(sim, store, "B", 70).await;
    let last = append_batch(sim, store, "B", 2).await;
    assert_eq!((large.queue_offset, last.queue_offset), (5, 75));
    store.committed_so_far().await.unwrap();
}

async fn check(store: &SimStore) {
    let queue = store.find_queue("B", 0).unwrap();
    let QueueBounds { min, max, next } = store.bounds(queue);
    assert_eq!((min, max, next), (0, 77, 77));
    let all = [(0, 1), (1, 3), (4, 1), (5, 70), (75, 2)];
    for from in 0..77 {
        let is_left = |(first, messages): &(u64, u16)| first + u64::from(*messages) > from;
        let left: Vec<_> = all.iter().copied().filter(is_left).collect();
        assert_eq!(pull(store, queue, from, 100).await, (left, 77), "{from}");
        assert!(store.store_time(queue, from).await.unwrap().is_some());
    }
    // A batch is given whole, and alone where there are more messages in it than were asked for.
    for (from, most, taken, next) in [
        (0, 1, &all[..1], 1),
        (0, 3, &all[..1], 1),
        (0, 4, &all[..2], 4),
        (2, 1, &all[1..2], 4),
        (60, 1, &all[3..4], 75),
        (4, 70, &all[2..3], 5),
        (4, 71, &all[2..4], 75),
    ] {
        assert_eq!(pull(store, queue, from, most).await, (taken.to_vec(), next));
    }
    let last = store.offset_by_time(queue, i64::MAX, Boundary::Upper).await;
    assert_eq!(last.unwrap(), 75, "the last record's first message");
    let after = store.offset_by_time(queue, i64::MAX, Boundary::Lower).await;
    assert_eq!(after.unwrap(), 77);
}

#[test]
fn a_batch_has_an_offset_for_each_message() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store).await;
        check(&store).await;
    });
}

/// From the journal, from the queues' files, and from the log alone.
#[test]
fn batches_are_the_same_after_a_start() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        fill(sim, &store).await;
        store.close().await.unwrap();
        let store = open(sim, flush).await;
        check(&store).await;
        sim.crash("a");
        let store = open(sim, flush).await;
        check(&store).await;
        store.close().await.unwrap();
        remove_journal(sim).await;
        let store = open(sim, flush).await;
        check(&store).await;
        store.close().await.unwrap();
        remove_journal(sim).await;
        let io = sim.host("a");
        for file in io.list(Path::new("/store/consumequeue/B/0")).await.unwrap() {
            io.remove_file(&file.path).await.unwrap();
        }
        let store = open(sim, flush).await;
        check(&store).await;
        let next = append_batch(sim, &store, "B", 5).await;
        assert_eq!(next.queue_offset, 77);
    });
}

/// The entries of large batches are more than there is memory for.
#[test]
fn entries_of_batches_are_evicted_and_read_again() {
    let sim = sim(3);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        for n in 0..30 {
            let batch = append_batch(&sim, &store, "B", 150).await;
            assert_eq!(batch.queue_offset, n * 150);
            store.committed_so_far().await.unwrap();
        }
        let queue = store.find_queue("B", 0).unwrap();
        for (from, first) in [(0, 0), (149, 0), (150, 150), (2_999, 2_850), (4_499, 4_350)] {
            let (taken, next) = pull(&store, queue, from, 1).await;
            assert_eq!((taken, next), (vec![(first, 150)], first + 150));
        }
    });
}

/// What a slave receives is counted as one message for a record: it waits when the entries of its batches need more memory than there is.
#[test]
fn a_slave_has_the_batches_of_its_master() {
    for seed in 0..10 {
        let sim = sim(seed);
        sim.run(async {
            let mut rng = Rng::new(seed);
            let master = open(&sim, Flush::Sync).await;
            let slave = open_follower(&sim).await;
            for _ in 0..12 {
                append_batch(&sim, &master, "B", 350).await;
                send(&sim, &master, "B", b"one").await;
                master.committed_so_far().await.unwrap();
            }
            copy(&mut rng, &master, &slave, master.tail()).await;
            until_committed(&slave, master.tail()).await;
            let queue = slave.find_queue("B", 0).unwrap();
            assert_eq!(slave.bounds(queue).max, 12 * 351);
            for n in 0..12 {
                let (taken, next) = pull(&slave, queue, n * 351 + 7, 1).await;
                assert_eq!((taken, next), (vec![(n * 351, 350)], n * 351 + 350));
            }
        });
    }
}

/// The golden log has what `Explore` sent to RocketMQ 5.5.0: see tests/golden/README.md.
#[test]
fn the_batches_of_a_rocketmq_are_taken_over() {
    let sim = sim(1);
    sim.run(async {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/batch_store");
        let golden = |name: &str| fs::read(root.join(name)).unwrap();
        let log_bytes = golden("commitlog").len() as u64;
        let mut padded = golden("commitlog");
        padded.resize(SEGMENT as usize, 0);
        write_file(&sim, LOG, 0, &padded).await;
        write_file(&sim, "/store/checkpoint", 0, &golden("checkpoint")).await;
        let theirs = golden("batchconsumequeue");
        let path = "/store/batchconsumequeue/BQ/0/00000000000000000000";
        write_file(&sim, path, 0, &theirs).await;

        let store = open(&sim, Flush::Sync).await;
        assert_eq!(store.tail(), log_bytes);
        let queue = store.find_queue("BQ", 0).unwrap();
        assert_eq!((store.bounds(queue).min, store.bounds(queue).max), (0, 9));
        let units = theirs.chunks_exact(46).map(|unit| {
            let number = |at: usize, len| {
                let bytes = unit[at..at + len].iter();
                bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
            };
            (number(0, 8), number(8, 4), number(28, 8), number(36, 2))
        });
        let mut positions = Vec::new();
        let mut firsts = Vec::new();
        let filter = |first, _| {
            firsts.push(first);
            true
        };
        store.scan(queue, 0, &limits(100), filter, &mut positions);
        let ours = positions.iter().zip(firsts);
        let ours = ours.map(|(at, first)| {
            (
                at.physical_offset,
                at.size.into(),
                first,
                at.messages.into(),
            )
        });
        assert_eq!(ours.collect::<Vec<_>>(), units.collect::<Vec<_>>());
        assert!(!exists(&sim, path).await, "RocketMQ would believe it");
        let next = append_batch(&sim, &store, "BQ", 4).await;
        assert_eq!((next.physical_offset, next.queue_offset), (log_bytes, 9));
    });
}

/// Its messages are gone with their log file: only RocketMQ's queue says where it goes on.
#[test]
fn a_queue_whose_batches_are_gone_goes_on() {
    let sim = sim(1);
    sim.run(async {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/batch_store");
        let theirs = fs::read(root.join("batchconsumequeue")).unwrap();
        let path = "/store/batchconsumequeue/BQ/0/00000000000000000000";
        let mut padded = theirs;
        padded.resize(46 * 100, 0);
        write_file(&sim, path, 0, &padded).await;
        write_file(
            &sim,
            "/store/checkpoint",
            0,
            &fs::read(root.join("checkpoint")).unwrap(),
        )
        .await;
        let second = format!("/store/commitlog/{SEGMENT:020}");
        write_file(&sim, &second, 0, &vec![0; SEGMENT as usize]).await;
        let store = open(&sim, Flush::Sync).await;
        let next = append_batch(&sim, &store, "BQ", 4).await;
        assert_eq!((next.physical_offset, next.queue_offset), (SEGMENT, 9));
    });
}
