//! Metrics that nobody asks for: pushed to an OpenTelemetry collector (`metricsExporterType=OTLP_GRPC`), or written to the log (`LOG`).
//!
//! Points go in batches as soon as there are enough, so that memory is that of the largest section, as for a scrape. The first batch that is not
//! taken ends the push: while the collector is away a shard is asked for its first section only, and nothing is kept for later.

mod collector;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use futures_util::future::{Either, pending, select};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use self::collector::Collector;
use super::NICENESS;
use super::exporter::Exporter;
use crate::config::{Push, PushedTo};
use crate::metrics::families::START_TIME;
use crate::metrics::otlp::{Batch, Points};
use crate::metrics::samples::samples;

/// RocketMQ's label of points that say what was added.
const AGGREGATION: &str = "aggregation";

/// How long the end of the process waits for the last push.
const LAST: Duration = Duration::from_secs(3);

/// Asks for the last push.
pub struct LastPush {
    asked: oneshot::Sender<mpsc::Sender<()>>,
}

impl LastPush {
    /// Waits until it was made, which it is not while the collector is away.
    pub fn push(self) {
        let (made, until_made) = mpsc::channel();
        if self.asked.send(made).is_ok() {
            // Nothing is sent: the thread drops its end.
            let _ = until_made.recv_timeout(LAST);
        }
    }
}

/// The labels of every sample.
pub fn labels(push: &Push, extra: &[(String, String)]) -> Vec<(String, String)> {
    let mut labels = extra.to_vec();
    if push.in_delta {
        labels.retain(|(name, _)| name != AGGREGATION);
        labels.push((AGGREGATION.to_owned(), "delta".to_owned()));
    }
    labels
}

/// Pushes until the process ends, or the last push was made.
pub fn start(exporter: Exporter, push: Push) -> Result<LastPush> {
    let sink = match push.to {
        PushedTo::Log => Sink::Log,
        PushedTo::Collector {
            address,
            headers,
            timeout,
        } => {
            let collector = Collector::new(address, &headers, timeout)?;
            Sink::Collector(Box::new(collector))
        }
    };
    let mut pushes = Pushes {
        exporter,
        points: Points::new(push.in_delta, now_ns()),
        batch: Batch::new(push.in_delta),
        batch_points: push.batch_points,
        refused: None,
        sink,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (asked, last) = oneshot::channel();
    let name = "metrics".to_owned();
    thread::Builder::new().name(name).spawn(move || {
        // Of this thread. It works without, too.
        let _ = rustix::process::nice(NICENESS);
        runtime.block_on(pushes.run(push.interval, last));
    })?;
    Ok(LastPush { asked })
}

fn now_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or_default().as_nanos() as u64
}

struct Pushes {
    exporter: Exporter,
    points: Points,
    batch: Batch,
    batch_points: usize,
    /// What the collector has said of points that it has not taken, in this push.
    refused: Option<String>,
    sink: Sink,
}

enum Sink {
    Collector(Box<Collector>),
    Log,
}

impl Pushes {
    /// The first one an interval after the start. One that takes longer than that delays the next.
    async fn run(&mut self, interval: Duration, last: oneshot::Receiver<mpsc::Sender<()>>) {
        let mut last = pin!(async {
            match last.await {
                Ok(made) => made,
                // Nobody will ask for it.
                Err(_) => pending().await,
            }
        });
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut outage = Outage::default();
        loop {
            let made = match select(pin!(ticks.tick()), &mut last).await {
                Either::Left(_) => None,
                Either::Right((made, _)) => Some(made),
            };
            if made.is_none() || outage.failed == 0 {
                let pushed = self.push().await;
                outage.note(pushed, self.refused.take());
            }
            if made.is_some() {
                return;
            }
        }
    }

    async fn push(&mut self) -> Result<(), String> {
        drop(self.batch.take());
        self.points.begin(now_ns());
        let mut silent = BTreeSet::new();
        for section in self.exporter.sections.clone() {
            if !self.exporter.has(section) {
                continue;
            }
            let texts = self.exporter.section(section, &mut silent).await;
            for (family, text) in &texts {
                if family.name == START_TIME.name {
                    self.points.learn_starts(text);
                }
            }
            for (family, text) in texts {
                if !self.exporter.families.contains(family.name) {
                    continue;
                }
                for sample in samples(family, &text) {
                    if let Some(point) = self.points.point(family, sample) {
                        self.batch.add(family, point);
                    }
                    if self.batch.len() >= self.batch_points {
                        self.send().await?;
                    }
                }
                // A line of the log has one metric.
                if matches!(self.sink, Sink::Log) {
                    self.send().await?;
                }
            }
        }
        self.send().await?;
        // What a shard has not shown is not gone.
        if silent.is_empty() {
            self.points.end();
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), String> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let metrics = self.batch.take();
        match &mut self.sink {
            Sink::Log => log(&metrics),
            Sink::Collector(collector) => {
                let refused = collector.send(metrics).await?;
                self.refused = self.refused.take().or(refused);
            }
        }
        self.points.taken();
        Ok(())
    }
}

/// As RocketMQ: one object of the protocol's JSON in a line.
fn log(metrics: &ResourceMetrics) {
    match serde_json::to_string(metrics) {
        Ok(line) => info!(target: "metrics", "{line}"),
        Err(error) => error!(%error, "metrics cannot be written as JSON"),
    }
}

/// One line in the log when pushes begin to fail, and one when they are taken again.
#[derive(Debug, Default)]
struct Outage {
    failed: u64,
    is_refusing: bool,
}

impl Outage {
    fn note(&mut self, pushed: Result<(), String>, refused: Option<String>) {
        match pushed {
            Err(error) => {
                if self.failed == 0 {
                    warn!(
                        "the collector does not take metrics: {error}; the next pushes are tried without a line"
                    );
                }
                self.failed += 1;
            }
            Ok(()) if self.failed > 0 => {
                info!(
                    "the collector takes metrics again, after {} failed pushes",
                    self.failed
                );
                self.failed = 0;
            }
            Ok(()) => {}
        }
        match refused {
            Some(refused) if !self.is_refusing => {
                warn!("the collector has not taken all metrics: {refused}");
                self.is_refusing = true;
            }
            Some(_) => {}
            None => self.is_refusing = false,
        }
    }
}
