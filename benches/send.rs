//! All that a send costs a shard between the socket and the device: decoded and decided ("decide"), and appended to the
//! log as well ("decide+append"; commits are left out, `dispatch` has them).
//! Unit: time per send of a 1 KiB body to a known topic.

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ringmq::broker::{Broker, SendPlan};
use ringmq::wire::send::SendRequest;
use ringmq::wire::{Scratch, frame, header};

/// Sends between two commits.
const BATCH: u64 = 256;

fn send(c: &mut Criterion) {
    for (codec, bytes) in common::sends() {
        let mut group = c.benchmark_group(format!("send/{codec}"));
        group.bench_function("decide", |b| {
            let (mut broker, mut scratch) = (common::broker(), Scratch::default());
            b.iter(|| {
                decide(black_box(&bytes), &mut broker, &mut scratch, |plan| {
                    black_box(plan).queue_id
                })
            });
        });
        let bed = common::Bed::new();
        group.bench_function("decide+append", |b| {
            b.iter_custom(|sends| append(&bed, &bytes, sends));
        });
        group.finish();
    }
}

fn decide<T>(
    bytes: &[u8],
    broker: &mut Broker,
    scratch: &mut Scratch,
    then: impl FnOnce(&SendPlan<'_>) -> T,
) -> T {
    let frame = frame::split(bytes).unwrap().unwrap();
    let header = header::decode(&frame, scratch).unwrap();
    let request = SendRequest::decode(&header.ext).unwrap();
    let now_ms = common::NOW_MS as u64;
    let plan = broker
        .admit_send(&request, frame.body, &common::peer(), now_ms)
        .unwrap();
    then(&plan)
}

/// The time of so many sends without that of their commits.
fn append(bed: &common::Bed, bytes: &[u8], sends: u64) -> Duration {
    let (mut broker, mut scratch) = (common::broker(), Scratch::default());
    // As a shard does it after the first message: the topic's entry has the queues' handles.
    for queue_id in 0..8 {
        let queue = bed.store.queue(common::TOPIC, queue_id);
        broker.remember_queue(common::TOPIC, queue_id, queue);
    }
    let (mut done, mut took) = (0, Duration::ZERO);
    while done < sends {
        let batch = BATCH.min(sends - done);
        let start = Instant::now();
        for _ in 0..batch {
            decide(bytes, &mut broker, &mut scratch, |plan| {
                bed.append(plan.queue.unwrap(), &plan.message());
            });
        }
        took += start.elapsed();
        bed.commit();
        done += batch;
    }
    took
}

criterion_group!(name = benches; config = common::criterion(); targets = send);
criterion_main!(benches);
