//! Protects the ConsumeQueues' bounded memory: whatever does not fit is read from the files, and nobody waits for ever.

use super::*;
use crate::store::queues::checkpoint::{CheckpointFile, Found};
use crate::store::queues::entry::ENTRY_BYTES;
use crate::store::queues::memory::ConsumeQueues;

#[test]
fn more_queues_than_chunks() {
    each(async |sim, flush| {
        let store = open(sim, flush).await;
        for round in 0..3 {
            for n in 0..100_u8 {
                append(sim, &store, &format!("T{n}"), &[n, round]).await;
            }
        }
        store.committed_so_far().await.unwrap();
        for restart in [false, true] {
            let store = match restart {
                false => store.clone(),
                true => {
                    sim.crash("a");
                    open(sim, flush).await
                }
            };
            for n in 0..100 {
                let bodies = bodies(&store, &format!("T{n}")).await;
                assert_eq!(bodies, [[n, 0], [n, 1], [n, 2]]);
            }
        }
    });
}

/// Under a load that never ends the queues are saved all the same.
#[test]
fn the_checkpoint_follows_a_busy_log() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let io = sim.host("a");
        let (sender, clock) = (store.clone(), io.clone());
        crate::io::Spawn::spawn(&io, "test", async move {
            loop {
                sender.wait_for_room(600).await;
                let queue = sender.queue("A", 0);
                let now_ms = clock.now().unix_ms;
                let _ = sender.append(queue, &message(b"busy", ""), None, now_ms);
                clock.sleep_until(clock.now().mono_ns + 100_000).await;
            }
        });
        sim.sleep(Duration::from_secs(12)).await;
        let file = CheckpointFile::new(Medium::new(sim.host("a")), Path::new("/store"));
        let Found::Ours(checkpoint) = file.load().await.unwrap() else {
            panic!("it is open");
        };
        assert!(checkpoint.position > store.committed() / 4);
    });
}

#[test]
fn a_watched_queue_is_announced_once() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let queue = store.queue("A", 0);
        store.watch(queue, true);
        send(&sim, &store, "A", b"1").await;
        send(&sim, &store, "A", b"2").await;
        let mut arrivals = Vec::new();
        store.take_arrivals(&mut arrivals);
        assert_eq!(arrivals, [queue]);
    });
}

#[test]
fn a_hundred_thousand_queues_fit_into_the_default_memory() {
    let memory_bytes = StoreConfig::default().consume_queue_memory_bytes;
    let mut queues = ConsumeQueues::new(memory_bytes, Pages::Plain).unwrap();
    let topics: Vec<_> = (0..1000).map(|n| format!("topic{n}")).collect();
    for (n, topic) in topics.iter().enumerate() {
        for queue_id in 0..100 {
            let queue = queues.find_or_create(topic, queue_id);
            let entry = Entry::new(n as u64, queue_id + 1, 0);
            (0..64).for_each(|_| queues.push(queue, &entry));
        }
    }
    assert!(queues.free_chunks() > queues.capacity_chunks() / 2);
    let queue = queues.find("topic999", 99).unwrap();
    assert_eq!(queues.resident(queue, 63).unwrap().size, 100);
    assert_eq!(queues.resident(queue, 64), None);
}

#[test]
fn a_scan_keeps_its_limits_and_filters_by_tag() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let queue = store.queue("A", 0);
        for n in 0..20 {
            store
                .append(queue, &message(&[n], ""), Some(i64::from(n % 3)), 0)
                .unwrap();
        }
        store.committed_so_far().await.unwrap();
        let limits = |max_messages, max_bytes, max_entries| ScanLimits {
            max_messages,
            max_bytes,
            max_entries,
        };
        for (limits, next_offset, found) in [
            (limits(3, usize::MAX, 100), 9, 3),
            (limits(100, 1, 100), 3, 1),
            (limits(100, usize::MAX, 10), 10, 4),
        ] {
            let mut out = Vec::new();
            let scan = store.scan(queue, 0, &limits, |_, tag| tag == 0, &mut out);
            assert_eq!(scan, Scan::Found { next_offset });
            assert_eq!(out.len(), found);
        }
        let mut out = Vec::new();
        let all = limits(100, usize::MAX, 100);
        let scan = store.scan(queue, 0, &all, |_, tag| tag == 7, &mut out);
        assert_eq!(scan, Scan::NoneMatched { next_offset: 20 });
        let scan = store.scan(queue, 20, &all, |_, _| true, &mut out);
        assert_eq!(scan, Scan::NoneMatched { next_offset: 20 });
    });
}

/// Half of it is in the log buffer, all of it on the disk: the same filter finds the same there and here.
#[test]
fn a_scan_of_messages_finds_the_same_in_memory_and_on_disk() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        for n in 0..250_u8 {
            send(&sim, &store, "A", &[n; 1_000]).await;
        }
        let queue = store.queue("A", 0);
        let is_wanted = |record: &[u8]| {
            let record = Record::decode(record, Check::Layout).unwrap();
            Some(record.body[0].is_multiple_of(5))
        };
        let limits = |max_messages, max_bytes, max_entries| ScanLimits {
            max_messages,
            max_bytes,
            max_entries,
        };
        let all = limits(250, usize::MAX, 250);
        let mut hot = Vec::new();
        let scan = store.scan_messages(queue, 0, &all, is_wanted, &mut hot);
        assert_eq!((scan, hot.len()), (Scan::Cold, 0));
        for from in [230, 249] {
            hot.clear();
            let scan = store.scan_messages(queue, from, &all, is_wanted, &mut hot);
            let copied = hot.iter().fold(Vec::new(), |mut out, position| {
                assert!(store.copy_hot(position, &mut out));
                out
            });
            let cold = store.scan_messages_cold(queue, from, &all, is_wanted, Vec::new());
            assert_eq!(cold.await.unwrap(), (scan, copied, hot.len()));
        }
        for (limits, from, next_offset, found) in [
            (all, 0, 250, 50),
            (limits(3, usize::MAX, 250), 1, 16, 3),
            (limits(250, 1, 250), 1, 10, 1),
            (limits(250, usize::MAX, 100), 0, 100, 20),
        ] {
            let cold = store.scan_messages_cold(queue, from, &limits, is_wanted, Vec::new());
            let (scan, out, count) = cold.await.unwrap();
            assert_eq!((scan, count), (Scan::Found { next_offset }, found));
            assert_eq!(bodies_of(&out).len(), found);
            assert!(bodies_of(&out).iter().all(|body| body[0].is_multiple_of(5)));
        }
        let none = store.scan_messages_cold(queue, 3, &all, |_| Some(false), Vec::new());
        let (scan, out, count) = none.await.unwrap();
        assert_eq!((scan, count), (Scan::NoneMatched { next_offset: 250 }, 0));
        assert!(out.is_empty());

        // A filter that has no answer for a message ends the scan before it.
        let until_7 = || {
            let mut left = 7;
            move |_: &[u8]| {
                left -= 1;
                (left >= 0).then_some(false)
            }
        };
        let cold = store.scan_messages_cold(queue, 3, &all, until_7(), Vec::new());
        let ended = Scan::NoneMatched { next_offset: 10 };
        assert_eq!(cold.await.unwrap().0, ended);
        let hot = store.scan_messages(queue, 230, &all, until_7(), &mut Vec::new());
        assert_eq!(hot, Scan::NoneMatched { next_offset: 237 });
    });
}

/// The bodies of records that stand one behind the other.
fn bodies_of(mut records: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while let Some(size) = records.first_chunk() {
        let (record, rest) = records.split_at(u32::from_be_bytes(*size) as usize);
        bodies.push(Record::decode(record, Check::Crc).unwrap().body.to_vec());
        records = rest;
    }
    bodies
}

/// The files of a topic that is deleted again while those of its predecessor are being removed.
#[test]
fn a_topic_deleted_twice_keeps_its_new_messages() {
    for seed in 0..50 {
        let sim = sim(seed);
        sim.run(async {
            let store = open(&sim, Flush::Sync).await;
            for n in 0..6 {
                store.delete_some("A", usize::MAX);
                send(&sim, &store, "A", &[n]).await;
                sim.sleep(Duration::from_micros(sim.below(2_000))).await;
            }
            sim.sleep(Duration::from_secs(6)).await;
            send(&sim, &store, "A", &[6]).await;
            store.close().await.unwrap();
            let store = open(&sim, Flush::Sync).await;
            assert_eq!(bodies(&store, "A").await, [[5], [6]]);
        });
    }
}

/// A write of entries that was not finished: what the file has behind the saved ones is not theirs.
#[test]
fn entries_that_are_not_saved_are_not_read_from_the_file() {
    let sim = sim(1);
    sim.run(async {
        let store = open(&sim, Flush::Sync).await;
        let mut sent = Vec::new();
        for n in 0..10 {
            sent.push(send(&sim, &store, "A", &[n]).await);
        }
        store.close().await.unwrap();
        let store = open(&sim, Flush::Sync).await;
        for n in 10..15 {
            sent.push(send(&sim, &store, "A", &[n]).await);
        }
        let file = "/store/consumequeue/A/0/00000000000000000000";
        write_file(&sim, file, 10 * ENTRY_BYTES as u64 + 11, &[90]).await;
        let queue = store.find_queue("A", 0).unwrap();
        let positions = positions(&store, queue, 5, 15).await;
        let found = positions.iter().map(|position| position.physical_offset);
        let expected = sent[5..].iter().map(|sent| sent.physical_offset);
        assert!(found.eq(expected), "{positions:?}");
    });
}
