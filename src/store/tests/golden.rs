//! Protects that a store which RocketMQ wrote is ours too: its log is read to its end, and the queues that we make from
//! it are those that RocketMQ made, as is the key index.

use std::fs;

use super::*;
use crate::store::queues::entry::ENTRY_BYTES;

/// The delays of RocketMQ's first levels (`messageDelayLevel`).
const DELAY_LEVELS_MS: [u64; 3] = [1_000, 5_000, 10_000];

#[test]
fn a_store_of_rocketmq_opens_as_it_is() {
    for with_queue_files in [true, false] {
        let sim = sim(1);
        sim.run(async {
            let log_bytes = copy(&sim, with_queue_files).await;
            let config = StoreConfig {
                delay_levels_ms: DELAY_LEVELS_MS.to_vec(),
                ..config(Flush::Sync)
            };
            let store = open_with(&sim, config.clone()).await.unwrap();
            assert_eq!(store.tail(), log_bytes);
            let golden = golden_queues();
            assert_eq!(golden.len(), 6);
            for (topic, queue_id, entries) in &golden {
                let queue = store.find_queue(topic, *queue_id).unwrap();
                let count = (entries.len() / ENTRY_BYTES) as u64;
                assert_eq!(
                    (store.bounds(queue).min, store.bounds(queue).max),
                    (0, count)
                );
                let ours = store
                    .queues
                    .entries(queue, 0, count as usize)
                    .await
                    .unwrap();
                let theirs = entries
                    .as_chunks::<ENTRY_BYTES>()
                    .0
                    .iter()
                    .map(Entry::decode);
                assert_eq!(ours, theirs.collect::<Vec<_>>(), "{topic} {queue_id}");
                for (offset, entry) in ours.iter().enumerate() {
                    let bytes = store.record_at(entry.physical_offset).await.unwrap();
                    let bytes = bytes.unwrap();
                    let record = Record::decode(&bytes, Check::Crc).unwrap();
                    assert_eq!((record.topic, record.queue_id), (topic.as_str(), *queue_id));
                    assert_eq!(record.queue_offset, offset as u64);
                }
            }
            let next = append(&sim, &store, "GoldenTopic", b"ours").await;
            assert_eq!((next.physical_offset, next.queue_offset), (log_bytes, 2));
            store.close().await.unwrap();
            let store = open_with(&sim, config).await.unwrap();
            assert_eq!(bodies(&store, "GoldenTopic").await.last().unwrap(), b"ours");
        });
    }
}

#[test]
fn the_index_of_its_log_is_the_one_that_rocketmq_made() {
    let sim = sim(1);
    sim.run(async {
        copy(&sim, true).await;
        let shape = StoreConfig::default().index.unwrap();
        let config = StoreConfig {
            index: Some(shape),
            ..config(Flush::Sync)
        };
        let store = open_with(&sim, config).await.unwrap();
        store.close().await.unwrap();
        let files = sim.host("a").list(Path::new("/store/index")).await.unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].len_bytes, shape.file_bytes());
        let path = files[0].path.to_str().unwrap();
        let read = async |at, len| read_part(&sim, path, at, len).await;
        let golden = |name: &str| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store");
            fs::read(root.join(name)).unwrap()
        };
        assert_eq!(read(0, 40).await, golden("index.header"));
        let entries = golden("index.entries");
        assert_eq!(read(shape.entry_at(0), entries.len()).await, entries);
        let slots = read(shape.slot_at(0), shape.slots as usize * 4).await;
        let slots = slots
            .as_chunks()
            .0
            .iter()
            .map(|slot| u32::from_be_bytes(*slot));
        let used = slots.enumerate().filter(|(_, entry)| *entry != 0);
        let used: Vec<String> = used
            .map(|(slot, entry)| format!("{slot}\t{entry}"))
            .collect();
        let table = String::from_utf8(golden("index.slots.tsv")).unwrap();
        assert_eq!(used, table.lines().skip(1).collect::<Vec<_>>());
    });
}

/// Lays the golden store out on the simulated disk, its log at full size; returns the length of the log.
pub(super) async fn copy(sim: &Sim, with_queue_files: bool) -> u64 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store");
    let log = fs::read(root.join("commitlog/00000000000000000000")).unwrap();
    let mut padded = log.clone();
    padded.resize(SEGMENT as usize, 0);
    write_file(sim, LOG, 0, &padded).await;
    let checkpoint = fs::read(root.join("checkpoint")).unwrap();
    write_file(sim, "/store/checkpoint", 0, &checkpoint).await;
    for (topic, queue_id, entries) in golden_queues() {
        if with_queue_files {
            let path = format!("/store/consumequeue/{topic}/{queue_id}/00000000000000000000");
            write_file(sim, &path, 0, &entries).await;
        }
    }
    log.len() as u64
}

fn golden_queues() -> Vec<(String, u32, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store/consumequeue");
    let mut queues = Vec::new();
    for topic in fs::read_dir(root).unwrap() {
        let topic = topic.unwrap();
        for queue in fs::read_dir(topic.path()).unwrap() {
            let queue = queue.unwrap();
            let entries = fs::read(queue.path().join("00000000000000000000")).unwrap();
            queues.push((
                topic.file_name().into_string().unwrap(),
                queue.file_name().to_str().unwrap().parse().unwrap(),
                entries,
            ));
        }
    }
    queues
}
