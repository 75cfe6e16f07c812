//! A message into the log: the record's bytes with their two CRCs alone ("encode"), and the whole of `Store::append`, with
//! its place in the log buffer and in its queue ("append"; no commit).
//! Unit: time per message; the throughput counts bodies.

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmq::message::RecordFields;

/// Log bytes between two commits, well below the log buffer.
const BATCH_BYTES: usize = 1 << 20;

fn append(c: &mut Criterion) {
    for body_bytes in [64, common::BODY_BYTES, 64 << 10] {
        let bed = common::Bed::new();
        let body = vec![b'x'; body_bytes];
        let mut group = c.benchmark_group("append");
        group.throughput(Throughput::Bytes(body_bytes as u64));
        let record = record(&body);
        let mut dst = vec![0; record.encoded_len()];
        group.bench_function(BenchmarkId::new("encode", body_bytes), |b| {
            b.iter(|| black_box(&record).encode(black_box(&mut dst)));
        });
        group.bench_function(BenchmarkId::new("append", body_bytes), |b| {
            b.iter_custom(|messages| appends(&bed, &body, messages));
        });
        group.finish();
    }
}

fn record(body: &[u8]) -> RecordFields<'_> {
    let message = common::message(body);
    RecordFields {
        queue_id: 3,
        flag: message.flag,
        queue_offset: 1_000_000,
        physical_offset: 1 << 40,
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_timestamp_ms: common::NOW_MS,
        store_host: message.born_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        body: message.body,
        topic: common::TOPIC,
        properties: message.properties,
    }
}

/// The time of so many appends without that of their commits.
fn appends(bed: &common::Bed, body: &[u8], messages: u64) -> Duration {
    let queues: Vec<_> = (0..8)
        .map(|queue_id| bed.store.queue(common::TOPIC, queue_id))
        .collect();
    let message = common::message(body);
    let batch = BATCH_BYTES / (body.len() + 512);
    let (mut done, mut took) = (0, Duration::ZERO);
    while done < messages {
        let count = (messages - done).min(batch as u64);
        let start = Instant::now();
        for nth in done..done + count {
            let queue = queues[nth as usize % queues.len()];
            black_box(bed.append(queue, black_box(&message)));
        }
        took += start.elapsed();
        bed.commit();
        done += count;
    }
    took
}

criterion_group!(name = benches; config = common::criterion(); targets = append);
criterion_main!(benches);
