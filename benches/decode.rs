//! Bytes of a request to its fields: the frame's bounds, its header, and the 310's typed fields, in both header encodings.
//! Unit: time per request of 1 KiB body. The body is not touched, so its size does not matter.

mod common;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringmq::wire::send::SendRequest;
use ringmq::wire::{Scratch, frame, header};

fn decode(c: &mut Criterion) {
    for (codec, bytes) in common::sends() {
        let mut group = c.benchmark_group(format!("decode/{codec}"));
        group.bench_function("frame", |b| {
            b.iter(|| frame::split(black_box(&bytes)).unwrap().unwrap().len);
        });
        let mut scratch = Scratch::default();
        group.bench_function("frame+header", |b| {
            b.iter(|| {
                let frame = frame::split(black_box(&bytes)).unwrap().unwrap();
                header::decode(&frame, &mut scratch).unwrap().opaque
            });
        });
        group.bench_function("frame+header+send", |b| {
            b.iter(|| {
                let frame = frame::split(black_box(&bytes)).unwrap().unwrap();
                let header = header::decode(&frame, &mut scratch).unwrap();
                black_box(SendRequest::decode(&header.ext).unwrap()).queue_id
            });
        });
        group.finish();
    }
}

criterion_group!(name = benches; config = common::criterion(); targets = decode);
criterion_main!(benches);
