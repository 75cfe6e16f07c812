//! Protects what a store leaves on its device for its next start and for RocketMQ. There is no broker around the store, so nothing writes there
//! later, and no reader repairs what it finds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use ringmq::message::{Message, Properties};
use ringmq::sim::{Sim, SimConfig, SimIo, Tally};
use ringmq::store::{Flush, Retention, Store, StoreConfig};

use crate::cluster::{BROKER, DISK_BYTES, SEGMENT_BYTES, shard_setup};

const SEEDS: std::ops::Range<u64> = 0..8;
const TOPIC: &str = "orders";
const QUEUES: u32 = 8;

/// Of a ConsumeQueue: position, size, tag.
const ENTRY_BYTES: usize = 20;
const POSITION_BYTES: usize = 8;

fn sim(seed: u64) -> Sim {
    let config = SimConfig {
        disk_bytes: DISK_BYTES,
        ..SimConfig::default()
    };
    Sim::new(seed, config)
}

fn config(sim: &Sim, flush: Flush) -> StoreConfig {
    shard_setup(&sim.host(BROKER), flush, &Retention::default()).store
}

async fn open(sim: &Sim, config: &StoreConfig) -> Rc<Store<SimIo>> {
    let opened = Store::open(sim.host(BROKER), config.clone(), |_| {}).await;
    opened.expect("a store that can be opened")
}

/// Appends a message to a queue of the topic; where its record begins.
pub fn append(store: &Store<SimIo>, queue_id: u32, body: &[u8]) -> u64 {
    let message = Message {
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: SocketAddr::from(([127, 0, 0, 1], 1)),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: Properties::new(""),
    };
    let queue = store.queue(TOPIC, queue_id);
    let appended = store.append(queue, &message, None, 1);
    appended.expect("there is room").physical_offset
}

#[test]
fn there_are_zeros_behind_a_torn_end() {
    for seed in SEEDS {
        wiped_end(seed);
    }
}

/// Of what was not flushed a power cut takes some sectors, and whole records stay behind the first one that is gone.
pub fn wiped_end(seed: u64) -> Tally {
    let sim = sim(seed);
    let config = config(&sim, Flush::Async);
    sim.run(async {
        for _ in 0..4 {
            let store = open(&sim, &config).await;
            for _ in 0..40 {
                append(&store, 0, &[7; 100]);
            }
            sim.sleep(Duration::from_millis(5 + sim.below(100))).await;
            sim.power_cut(BROKER);
            drop(store);
            let tail = open(&sim, &config).await.tail();
            let at = tail % SEGMENT_BYTES;
            let path = PathBuf::from(format!("/store/commitlog/{:020}", tail - at));
            let rest = (SEGMENT_BYTES - at) as usize;
            let rest = sim.host(BROKER).peek(&path, at, rest).unwrap_or_default();
            let left = rest.iter().position(|byte| *byte != 0);
            assert_eq!(left, None, "behind the end at {tail}");
            sim.crash(BROKER);
        }
    });
    sim.tally()
}

#[test]
fn queue_files_have_what_the_journal_says_they_have() {
    for seed in SEEDS {
        saved_queue_files(seed);
    }
}

/// Files of the log are complete, so the queues are saved to theirs; then the power is cut. After a clean stop the files have all entries.
pub fn saved_queue_files(seed: u64) -> Tally {
    let sim = sim(seed);
    let config = config(&sim, Flush::Sync);
    sim.run(async {
        let store = open(&sim, &config).await;
        let mut positions = vec![Vec::new(); QUEUES as usize];
        for number in 0..48 {
            let queue_id = number % QUEUES;
            let position = append(&store, queue_id, &[7; 8_000]);
            positions[queue_id as usize].push(position);
            sim.sleep(Duration::from_millis(10)).await;
        }
        sim.sleep(Duration::from_millis(600 + sim.below(2_400)))
            .await;
        sim.power_cut(BROKER);
        drop(store);
        open(&sim, &config).await.close().await.expect("it closes");
        for (queue_id, positions) in positions.iter().enumerate() {
            let path = format!("/store/consumequeue/{TOPIC}/{queue_id}/{:020}", 0);
            let len = positions.len() * ENTRY_BYTES;
            let entries = sim.host(BROKER).peek(path.as_ref(), 0, len);
            let entries = entries.unwrap_or_default();
            let found: Vec<_> = entries.chunks(ENTRY_BYTES).map(position_of).collect();
            assert_eq!(found, *positions, "of queue {queue_id}");
        }
    });
    sim.tally()
}

fn position_of(entry: &[u8]) -> u64 {
    let bytes = entry.first_chunk::<POSITION_BYTES>();
    u64::from_be_bytes(*bytes.expect("a whole entry"))
}
