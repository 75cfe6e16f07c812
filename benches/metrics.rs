//! What the metrics cost: counting a message ("count", with and without the kind that only they need), the histograms of a request ("record"), and a whole
//! scrape of 10,000 topics, each with messages and a group that lags ("scrape").
//! Unit: time per message, per value, and per scrape of one section. A scrape goes in slices; this is the sum of them.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ringmq::broker::metrics::{KnownTimes, Scrape, Turn};
use ringmq::broker::store_view::{At, StoreView};
use ringmq::broker::{Broker, BrokerConfig, MessageType, ShardFigures};
use ringmq::config::Config;
use ringmq::metrics::families::{COMMIT_SECONDS, RPC_LATENCY};
use ringmq::metrics::{Histogram, NodeLabels, Section};
use ringmq::store::QueueBounds;

const TOPICS: u64 = 10_000;

/// Each queue has a hundred messages, whose times are known.
struct Full;

impl StoreView for Full {
    fn bounds(&self, _: &str, _: u32) -> QueueBounds {
        QueueBounds {
            min: 0,
            max: 100,
            next: 100,
        }
    }

    fn store_time_ms(&self, _: &str, _: u32, offset: u64) -> Option<i64> {
        Some(offset as i64)
    }

    fn is_recent(&self, _: &str, _: u32, _: u64) -> bool {
        true
    }

    fn figures(&self) -> ShardFigures {
        ShardFigures::default()
    }
}

fn broker() -> Broker {
    let mut broker = Broker::new(BrokerConfig::of(Config::default()), 0);
    for number in 0..TOPICS {
        let topic = format!("topic-{number}");
        broker.adopt_topic(&topic, 8, 0);
        broker.stored(&topic, Some(MessageType::Normal), 1, 300, 0);
    }
    broker
}

fn count(c: &mut Criterion) {
    let mut broker = broker();
    let mut group = c.benchmark_group("metrics/count");
    for (name, kind) in [("plain", None), ("kind", Some(MessageType::Normal))] {
        group.bench_function(name, |b| {
            b.iter(|| broker.stored(black_box("topic-77"), black_box(kind), 1, 300, 7));
        });
    }
    group.finish();
}

fn record(c: &mut Criterion) {
    let mut group = c.benchmark_group("metrics/record");
    for (name, family, value) in [("send", COMMIT_SECONDS, 1_500), ("request", RPC_LATENCY, 2)] {
        let mut histogram = Histogram::of(&family);
        group.bench_function(name, |b| b.iter(|| histogram.record(black_box(value))));
    }
    group.finish();
}

fn scrape(c: &mut Criterion) {
    let broker = broker();
    let node = Arc::new(NodeLabels::new("DefaultCluster", "broker-a", "broker", &[]));
    let mut group = c.benchmark_group("metrics/scrape");
    group.sample_size(10);
    let sections = [
        Section::MessagesIn,
        Section::ThroughputIn,
        Section::MessageSize,
        Section::Transactions,
        Section::Timers,
    ];
    for section in sections {
        group.bench_function(format!("{section:?}"), |b| {
            b.iter(|| {
                let mut scrape = Scrape::new(section, node.clone(), KnownTimes::new());
                let mut bytes = 0;
                loop {
                    let at = At {
                        now_ms: 1_000,
                        store: &Full,
                    };
                    let turn = scrape.turn(&broker, at);
                    if scrape.is_full() || turn == Turn::Done {
                        let texts = scrape.take_texts();
                        bytes += texts.map(|(_, text)| text.len()).sum::<usize>();
                    }
                    if turn == Turn::Done {
                        return bytes;
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, count, record, scrape);
criterion_main!(benches);
