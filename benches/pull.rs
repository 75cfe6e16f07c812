//! A pull that finds its messages in the log buffer: the queue's entries scanned ("scan"), the messages copied behind a
//! reply's header ("scan+copy"), and the whole pull from the request's bytes on ("pull").
//! Unit: time per pull of 32 messages with 1 KiB bodies; the throughput counts messages.

mod common;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringmq::broker::{Broker, PullOutcome, PullPlan, Scanned};
use ringmq::store::{Position, QueueIndex, Scan, ScanLimits, Store};
use ringmq::wire::pull::PullRequest;
use ringmq::wire::{Codec, Head, Language, Scratch, frame, header};

use common::instant::Instant;

/// As many as Java's client asks for.
const MESSAGES: usize = 32;

fn pull(c: &mut Criterion) {
    let bed = common::Bed::new();
    let store = &bed.store;
    let queue = store.queue(common::TOPIC, 0);
    let body = [b'x'; common::BODY_BYTES];
    for _ in 0..2 * MESSAGES {
        bed.append(queue, &common::message(&body));
    }
    bed.commit();
    let mut broker = common::broker();
    let bytes = common::recorded("pull_found");
    let mut group = c.benchmark_group("pull");
    group.throughput(Throughput::Elements(MESSAGES as u64));

    let mut positions = Vec::new();
    let limits = ScanLimits {
        max_messages: MESSAGES,
        max_bytes: 256 << 10,
        max_entries: 800,
    };
    group.bench_function("scan", |b| {
        b.iter(|| {
            positions.clear();
            store.scan(queue, black_box(0), &limits, |_, _| true, &mut positions)
        });
    });
    assert_eq!(positions.len(), MESSAGES);

    let (mut out, mut scratch) = (Vec::new(), Scratch::default());
    group.bench_function("scan+copy", |b| {
        let frame = frame::split(&bytes).unwrap().unwrap();
        let plan = plan(&frame, &mut scratch, &mut broker);
        b.iter(|| {
            out.clear();
            reply(&plan, store, queue, &mut positions, &mut out);
            out.len()
        });
    });
    assert!(out.len() > MESSAGES * common::BODY_BYTES);

    group.bench_function("pull", |b| {
        b.iter(|| {
            out.clear();
            let frame = frame::split(black_box(&bytes)).unwrap().unwrap();
            let plan = plan(&frame, &mut scratch, &mut broker);
            reply(&plan, store, queue, &mut positions, &mut out);
            out.len()
        });
    });
    group.finish();
}

/// The recorded request is of a queue's start; it brings its subscription along.
fn plan<'a>(
    frame: &frame::Frame<'a>,
    scratch: &'a mut Scratch,
    broker: &mut Broker,
) -> PullPlan<'a> {
    let header = header::decode(frame, scratch).unwrap();
    let mut request = PullRequest::decode(&header.ext).unwrap();
    (request.queue_id, request.queue_offset) = (0, 0);
    request.max_msg_nums = MESSAGES as i32;
    broker
        .admit_pull(&request, false, common::NOW_MS as u64)
        .unwrap()
}

fn reply(
    plan: &PullPlan<'_>,
    store: &Store<Instant>,
    queue: QueueIndex,
    positions: &mut Vec<Position>,
    out: &mut Vec<u8>,
) {
    let bounds = store.bounds(queue);
    let PullOutcome::Scan(offset) = plan.before_scan(bounds) else {
        panic!("there are messages");
    };
    let limits = ScanLimits {
        max_messages: plan.max_messages as usize,
        max_bytes: plan.max_bytes as usize,
        max_entries: plan.max_entries as usize,
    };
    positions.clear();
    let matches = |_, tags_code| plan.filter.matches(tags_code);
    let Scan::Found { next_offset } = store.scan(queue, offset, &limits, matches, positions) else {
        panic!("the filter lets them through");
    };
    let PullOutcome::Reply(answer) = plan.after_scan(Scanned::Found { next_offset }, bounds) else {
        panic!("found messages are handed out");
    };
    let head = Head {
        codec: Codec::Json,
        code: answer.code,
        language: Language::Java,
        version: 513,
        opaque: 7,
        flag: 1,
        remark: Some(answer.remark),
    };
    let open = frame::begin(out, &head, &answer.header.ext());
    for position in positions.iter() {
        assert!(store.copy_hot(position, out));
    }
    frame::finish(out, open);
}

criterion_group!(name = benches; config = common::criterion(); targets = pull);
criterion_main!(benches);
