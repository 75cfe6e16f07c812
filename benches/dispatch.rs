//! From the log's commit to the ConsumeQueues: the time from when messages are appended until consumers can see all of
//! them, on a device that takes no time, so what is left is the group commit and one queue entry a message. With one queue
//! all entries are neighbours; with 100,000 each goes to another chunk of the arena, in an order that no cache foresees.
//! Unit: time per message (an entry).
//!
//! Behind the acknowledgement, the key index: what it takes to find a message by its unique key, one key and its tag.
//! Unit: time per message (three entries).

mod common;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringmq::message::{Message, Properties};
use ringmq::store::QueueIndex;

/// Messages between two commits; with small bodies two or three log writes.
const BATCH: u64 = 8192;

/// After so many the store is replaced: its queues are never saved here, and the memory for their entries is bounded.
const STORE_MESSAGES: u64 = 4 << 20;

fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch");
    for queues in [1, 100_000] {
        let mut filling = Filling::new(queues);
        group.bench_function(BenchmarkId::new("queues", queues), |b| {
            b.iter_custom(|messages| {
                let (mut took, mut left) = (Duration::ZERO, messages);
                while left > 0 {
                    if filling.messages >= STORE_MESSAGES {
                        filling = Filling::new(queues);
                    }
                    let count = left.min(BATCH);
                    filling.append(count);
                    let start = Instant::now();
                    filling.bed.commit();
                    took += start.elapsed();
                    left -= count;
                }
                took
            });
        });
    }
    group.finish();
}

fn index(c: &mut Criterion) {
    let mut filling = Filling::new(1);
    c.bench_function("index", |b| {
        b.iter_custom(|messages| {
            let (mut took, mut left) = (Duration::ZERO, messages);
            while left > 0 {
                let count = left.min(BATCH);
                filling.append(count);
                filling.bed.commit();
                let start = Instant::now();
                filling.bed.index();
                took += start.elapsed();
                filling.bed.save_soon();
                left -= count;
            }
            took
        });
    });
}

struct Filling {
    bed: common::Bed,
    queues: Vec<QueueIndex>,
    messages: u64,
    random: u64,
}

impl Filling {
    /// Each queue has its first chunk: what is measured is the entry.
    fn new(queues: u32) -> Filling {
        let bed = common::Bed::new();
        let queues: Vec<QueueIndex> = (0..queues)
            .map(|nth| bed.store.queue(&format!("topic-{}", nth / 8), nth % 8))
            .collect();
        for some in queues.chunks(BATCH as usize) {
            for queue in some {
                bed.append(*queue, &common::message(b"x"));
            }
            bed.commit();
        }
        Filling {
            bed,
            queues,
            messages: 0,
            random: 1 << 63,
        }
    }

    fn append(&mut self, count: u64) {
        for _ in 0..count {
            let nth = self.next() as usize % self.queues.len();
            let properties = common::properties_of(self.messages);
            let message = Message {
                properties: Properties::new(&properties),
                ..common::message(b"x")
            };
            self.bed.append(self.queues[nth], &message);
            self.messages += 1;
        }
    }

    /// xorshift64
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 32
    }
}

criterion_group!(name = benches; config = common::criterion(); targets = dispatch, index);
criterion_main!(benches);
