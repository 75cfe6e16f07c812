//! Protects the ConsumeQueues' bounded memory: whatever does not fit is read from the files, and nobody waits for ever.

use super::*;
use crate::store::consume_queue::ConsumeQueues;

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
        crate::io::Spawn::spawn(&io, async move {
            loop {
                sender.wait_for_room(600).await;
                let queue = sender.queue("A", 0);
                let now_ms = clock.now().unix_ms;
                let _ = sender.append(queue, &message(b"busy", ""), None, now_ms);
                clock.sleep_until(clock.now().mono_ns + 100_000).await;
            }
        });
        sim.sleep(Duration::from_secs(12)).await;
        let checkpoint = store.checkpoint.load().await.unwrap().unwrap();
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
            let entry = Entry {
                physical_offset: n as u64,
                size: queue_id + 1,
                tags_code: 0,
            };
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
            let scan = store.scan(queue, 0, &limits, |tag| tag == 0, &mut out);
            assert_eq!(scan, Scan::Found { next_offset });
            assert_eq!(out.len(), found);
        }
        let mut out = Vec::new();
        let all = limits(100, usize::MAX, 100);
        let scan = store.scan(queue, 0, &all, |tag| tag == 7, &mut out);
        assert_eq!(scan, Scan::NoneMatched { next_offset: 20 });
        let scan = store.scan(queue, 20, &all, |_| true, &mut out);
        assert_eq!(scan, Scan::NoneMatched { next_offset: 20 });
    });
}

/// The files of a topic that is deleted again while those of its predecessor are being removed.
#[test]
fn a_topic_deleted_twice_keeps_its_new_messages() {
    for seed in 0..50 {
        let sim = sim(seed);
        sim.run(async {
            let store = open(&sim, Flush::Sync).await;
            for n in 0..6 {
                store.delete_topic("A");
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
