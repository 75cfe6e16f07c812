//! The store on the simulator, with limits so small that everything rolls, wraps and is evicted.

mod batches;
mod cut;
mod damage;
mod doubt;
mod durable;
mod faults;
mod follow;
mod golden;
mod index;
mod journal;
mod ledger;
mod limits;
mod log;
mod medium;
mod mend;
mod model;
mod opening;
mod owner;
mod queues;
mod recovery;
mod removal;
mod repair;
mod retention;
mod retention_policy;
mod texts;

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::io::{Clock, Disk, Durability, File, OpenOptions, Spawn};
use crate::mem::{AlignedBuf, BLOCK_BYTES, Pages};
use crate::message::{Check, Message, Properties, Record, RecordFields, properties};
use crate::sim::{Fault, Op, Rule, Sim, SimConfig, SimIo};
use crate::store::queues::entry::Entry;

const SEGMENT: u64 = 64 << 10;
const LOG: &str = "/store/commitlog/00000000000000000000";
const EDIT: OpenOptions = OpenOptions {
    write: true,
    create: true,
    direct: false,
};

type SimStore = Rc<Store<SimIo>>;

fn config(flush: Flush) -> StoreConfig {
    StoreConfig {
        dir: "/store".into(),
        commit_log_dir: None,
        flush,
        segment_bytes: SEGMENT,
        log_buffer_bytes: 144 << 10,
        max_message_bytes: 8 << 10,
        flush_interval_ms: 20,
        max_unflushed_bytes: 256 << 20,
        zeros_ahead_bytes: 128 << 20,
        retention: Retention::default(),
        consume_queue_memory_bytes: 24 * 1280,
        pages: Pages::Plain,
        queue_journal_bytes: 8 << 10,
        cold_cache_bytes: 2 << 20,
        delay_levels_ms: vec![1_000, 5_000],
        index: Some(IndexShape {
            slots: 7,
            entries: 30,
        }),
        scrub_bytes_per_s: 0,
        follows: false,
        resume: Resume::AsIs,
        skip_damaged: false,
        store_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 10911)),
    }
}

fn sim(seed: u64) -> Sim {
    Sim::new(seed, SimConfig::default())
}

async fn open(sim: &Sim, flush: Flush) -> SimStore {
    open_with(sim, config(flush)).await.unwrap()
}

async fn open_with(sim: &Sim, config: StoreConfig) -> Result<SimStore, StoreError> {
    Store::open(sim.host("a"), config, |_| {}).await
}

/// Runs with each flush mode and a few seeds.
fn each(test: impl AsyncFn(&Sim, Flush)) {
    for flush in [Flush::Sync, Flush::Async] {
        for seed in 0..3 {
            let sim = sim(seed);
            sim.run(test(&sim, flush));
        }
    }
}

fn message<'a>(body: &'a [u8], properties: &'a str) -> Message<'a> {
    Message {
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: Properties::new(properties),
    }
}

/// From now on these files, which are opened for each write, stay as they are.
fn keep_as_they_are(sim: &Sim, names: &[&'static str]) {
    for name in names {
        let rule = Rule::new(Fault::Io).of(Op::Open).on(name);
        sim.host("a").inject(rule);
    }
}

async fn remove_journal(sim: &Sim) {
    let io = sim.host("a");
    for file in io.list(Path::new("/store/queuejournal")).await.unwrap() {
        io.remove_file(&file.path).await.unwrap();
    }
}

async fn append(sim: &Sim, store: &SimStore, topic: &str, body: &[u8]) -> Appended {
    let queue = store.queue(topic, 0);
    store.wait_for_room(body.len() + 512).await;
    let now_ms = sim.host("a").now().unix_ms;
    store
        .append(queue, &message(body, "TAGS\u{1}t"), None, now_ms)
        .unwrap()
}

/// Appends, waits until it is committed.
async fn send(sim: &Sim, store: &SimStore, topic: &str, body: &[u8]) -> Appended {
    let appended = append(sim, store, topic, body).await;
    store.committed_so_far().await.unwrap();
    appended
}

impl Store<SimIo> {
    /// Appends messages to `out`, from memory or disk; all of them can be read.
    async fn read_cold(
        &self,
        positions: &[Position],
        mut out: Vec<u8>,
    ) -> Result<Vec<u8>, StoreError> {
        for position in positions {
            let read = self.log.read_checked(position, &mut out).await;
            read.map_err(|error| self.log.or_removed(position.physical_offset, error))?;
        }
        Ok(out)
    }
}

/// The bodies of all messages of a queue, read as a consumer would.
async fn bodies(store: &SimStore, topic: &str) -> Vec<Vec<u8>> {
    let Some(queue) = store.find_queue(topic, 0) else {
        return Vec::new();
    };
    let QueueBounds { min, max, .. } = store.bounds(queue);
    let positions = positions(store, queue, min, max).await;
    let mut bodies = Vec::new();
    for (offset, position) in (min..max).zip(positions) {
        let bytes = store.read_cold(&[position], Vec::new()).await.unwrap();
        let record = Record::decode(&bytes, Check::Crc).unwrap();
        assert_eq!((record.topic, record.queue_offset), (topic, offset));
        bodies.push(record.body.to_vec());
    }
    bodies
}

async fn positions(store: &SimStore, queue: QueueIndex, from: u64, to: u64) -> Vec<Position> {
    let limits = ScanLimits {
        max_messages: 7,
        max_bytes: usize::MAX,
        max_entries: 11,
    };
    let (mut at, mut out) = (from, Vec::new());
    while at < to {
        let scan = match store.scan(queue, at, &limits, |_, _| true, &mut out) {
            Scan::Cold => store
                .scan_cold(queue, at, &limits, |_, _| true, &mut out)
                .await
                .unwrap(),
            hot => hot,
        };
        let Scan::Found { next_offset } = scan else {
            panic!("{scan:?} at {at} of {from}..{to}");
        };
        at = next_offset;
    }
    out
}

async fn read_file(sim: &Sim, path: &str) -> Vec<u8> {
    let io = sim.host("a");
    let file = io.open(Path::new(path), EDIT).await.unwrap();
    let len = file.len_bytes().await.unwrap() as usize;
    let (read, buf) = file.read_at(AlignedBuf::with_room_for(len), len, 0).await;
    buf[..read.unwrap()].to_vec()
}

async fn read_part(sim: &Sim, path: &str, at: u64, len: usize) -> Vec<u8> {
    let io = sim.host("a");
    let file = io.open(Path::new(path), EDIT).await.unwrap();
    let (read, buf) = file.read_at(AlignedBuf::with_room_for(len), len, at).await;
    buf[..read.unwrap()].to_vec()
}

async fn write_file(sim: &Sim, path: &str, offset: u64, bytes: &[u8]) {
    let (io, path) = (sim.host("a"), Path::new(path));
    io.create_dir_all(path.parent().unwrap()).await.unwrap();
    let file = io.open(path, EDIT).await.unwrap();
    let written = file.write_at(bytes.to_vec(), offset, Durability::Synced);
    written.await.0.unwrap();
    io.sync_dir(path.parent().unwrap()).await.unwrap();
}

async fn exists(sim: &Sim, path: &str) -> bool {
    let io = sim.host("a");
    io.open(Path::new(path), OpenOptions::default())
        .await
        .is_ok()
}
