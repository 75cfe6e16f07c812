//! The metrics of all shards at one HTTP port, for Prometheus (`metricsExporterType=PROM`).
//!
//! | | |
//! |---|---|
//! | `GET /metrics` | all samples; with `?name[]=NAME`, also several times, only those of these metrics; compressed for a client that takes gzip |
//! | `GET /-/healthy` | 200 |
//!
//! It runs on a thread of its own, which asks the shards section by section. So the memory that a scrape takes is that of the largest section: some 2 KiB for
//! each topic that has messages. A shard that recovers is not asked: its state is all there is of it.

mod body;
mod desk;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use tokio::sync::Semaphore;

use self::body::ScrapeBody;
pub use self::desk::Mailbox;
use self::desk::{Desk, desk};
use super::health::Board;
use super::http::Server;
use crate::broker::metrics::{KnownTimes, Scrape};
use crate::config::{Config, MetricsExporter};
use crate::metrics::families::{self, RECOVERED, SCRAPE_MISSED, SHARD_STATE};
use crate::metrics::text::{self, CONTENT_TYPE};
use crate::metrics::{Family, NodeLabels, Section, Switch};
use crate::reactor::Health;

/// How long a scrape may take. Prometheus gives up after 10 s, if it is not told otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Scrapes at a time; others wait. Each has a section in memory, also while its client does not read.
const MAX_SCRAPES: usize = 4;

/// A scrape may take its time, messages may not.
const NICENESS: i32 = 10;

const HEALTHY: &str = "Exporter is healthy.\n";
const PAGE: &str = "<html><head><title>ringmq</title></head><body><a href=\"/metrics\">Metrics</a></body></html>\n";

/// Of all shards of the process.
pub struct Exporter {
    board: Board,
    nodes: Vec<Node>,
    families: BTreeSet<&'static str>,
    sections: Vec<Section>,
    /// See [`MAX_SCRAPES`].
    turn: Arc<Semaphore>,
}

/// A shard, to be asked.
struct Node {
    labels: Arc<NodeLabels>,
    desk: Desk,
    /// Store times that its last scrape has read from disk.
    times: Mutex<KnownTimes>,
    missed: AtomicU64,
}

/// Listens, if metrics are exported. Each shard has a mailbox then, in their order.
pub fn start(config: &Config, board: &Board) -> Result<Vec<Option<Mailbox>>> {
    if config.metrics_exporter == MetricsExporter::Disable {
        return Ok((0..config.shards()).map(|_| None).collect());
    }
    let (mut nodes, mut mailboxes) = (Vec::new(), Vec::new());
    for shard in 0..config.shards() {
        let (cluster, name) = (&config.cluster_name, config.shard_name(shard));
        let labels = NodeLabels::new(cluster, &name, "broker", &config.metrics_labels);
        let (node, mailbox) = Node::new(labels)?;
        nodes.push(node);
        mailboxes.push(Some(mailbox));
    }
    let beside = [Section::Process, Section::NameServer].into_iter();
    let exporter = Exporter {
        board: board.clone(),
        nodes,
        families: switched_on(config),
        sections: beside.chain(Section::OF_SHARDS).collect(),
        turn: Arc::new(Semaphore::new(MAX_SCRAPES)),
    };
    let setting = "metricsPromExporterPort and metricsPromExporterHost in broker.conf";
    exporter.serve(addr(config), setting)?;
    Ok(mailboxes)
}

/// The same of a name server alone, which listens at this address, and has this I/O.
pub fn start_namesrv(addr: SocketAddr, namesrv: SocketAddr, io: String) -> Result<Mailbox> {
    let name = namesrv.to_string();
    let (node, mailbox) = Node::new(NodeLabels::new("", &name, "nameserver", &[]))?;
    let board = Board::new(io, [name]);
    board.tell(0, Health::Serving);
    let sections = vec![Section::NameServer];
    let families = Section::NameServer.families();
    let exporter = Exporter {
        board,
        nodes: vec![node],
        families: families.map(|family| family.name).collect(),
        sections,
        turn: Arc::new(Semaphore::new(MAX_SCRAPES)),
    };
    exporter.serve(addr, "--metrics-port")?;
    Ok(mailbox)
}

/// Where the metrics are.
pub fn addr(config: &Config) -> SocketAddr {
    let host = config.metrics_host.unwrap_or(config.advertise);
    SocketAddr::new(host, config.metrics_port)
}

/// Names of the metrics whose switch is on.
fn switched_on(config: &Config) -> BTreeSet<&'static str> {
    let is_on = |family: &&Family| match family.switch {
        Switch::None => true,
        Switch::Stats => config.stats_metrics,
        Switch::Request => config.request_metrics,
        Switch::Connection => config.connection_metrics,
        Switch::LagAndDlq => config.lag_metrics,
        Switch::Transaction => config.transaction_metrics,
        Switch::Remoting => config.remoting_metrics,
        Switch::MessageStore => config.store_metrics,
        Switch::Pop => config.pop_metrics,
    };
    let families = families::ALL.iter().filter(is_on);
    families.map(|family| family.name).collect()
}

type Answer = Response<Either<Full<Bytes>, ScrapeBody>>;

impl Exporter {
    fn serve(self, addr: SocketAddr, setting: &'static str) -> Result<()> {
        let server = Server {
            name: "metrics",
            addr,
            setting,
            patience: PATIENCE,
            niceness: NICENESS,
        };
        let exporter = Arc::new(self);
        server.serve(move |request| {
            let exporter = exporter.clone();
            async move { exporter.answer(&request).await }
        })
    }

    async fn answer(self: Arc<Self>, request: &Request<Incoming>) -> Answer {
        let (is_head, path) = (request.method() == Method::HEAD, request.uri().path());
        if !is_head && request.method() != Method::GET {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "text/plain",
                "GET or HEAD\n",
            );
        }
        match path {
            "/metrics" if is_head => plain(StatusCode::OK, CONTENT_TYPE, ""),
            "/metrics" => self.scrape(request).await,
            "/-/healthy" => plain(StatusCode::OK, "text/plain", HEALTHY),
            "/" => plain(StatusCode::OK, "text/html", PAGE),
            _ => plain(StatusCode::NOT_FOUND, "text/plain", "/metrics\n"),
        }
    }

    async fn scrape(self: Arc<Self>, request: &Request<Incoming>) -> Answer {
        let wanted = wanted(request.uri().query().unwrap_or_default());
        let takes_gzip = request.headers().get_all(header::ACCEPT_ENCODING);
        let takes_gzip = takes_gzip
            .iter()
            .any(|value| takes_gzip_in(value.as_bytes()));
        let turn = self.turn.clone().acquire_owned().await;
        let turn = turn.expect("it is never closed");
        let body = ScrapeBody::new(self, wanted, takes_gzip, turn);
        let mut response = Response::new(Either::Right(body));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static(CONTENT_TYPE),
        );
        if takes_gzip {
            let gzip = header::HeaderValue::from_static("gzip");
            headers.insert(header::CONTENT_ENCODING, gzip);
        }
        response
    }

    /// Whether a metric is in an answer about these; an empty list stands for all.
    fn shows(&self, family: &Family, wanted: &[String]) -> bool {
        let is_named = |name: &String| names(family, name);
        self.families.contains(family.name) && (wanted.is_empty() || wanted.iter().any(is_named))
    }

    /// What is known of the shards without asking them.
    fn states(&self) -> [(&'static Family, String); 3] {
        let [mut states, mut recovered, mut missed] = [const { String::new() }; 3];
        for (node, (_, health)) in self.nodes.iter().zip(self.board.all()) {
            let labels = [("state", state(&health))];
            text::sample(&SHARD_STATE, &node.labels, &labels, 1_u64, &mut states);
            let done = match &health {
                Health::Opening(progress) => progress.percent().min(100) as f64 / 100.0,
                _ => 1.0,
            };
            text::sample(&RECOVERED, &node.labels, &[], done, &mut recovered);
            let count = node.missed.load(Ordering::Relaxed);
            text::sample(&SCRAPE_MISSED, &node.labels, &[], count, &mut missed);
        }
        [
            (&SHARD_STATE, states),
            (&RECOVERED, recovered),
            (&SCRAPE_MISSED, missed),
        ]
    }

    /// The samples of a section, by family. Shards that do not answer are added to `silent`, and those that are there are not asked.
    async fn section(
        &self,
        section: Section,
        silent: &mut BTreeSet<usize>,
    ) -> Vec<(&'static Family, String)> {
        let families = section.families();
        let mut texts: Vec<_> = families.map(|family| (family, String::new())).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            let is_asked = self
                .board
                .health(index)
                .is_some_and(|health| answers(&health));
            if !is_asked || silent.contains(&index) {
                continue;
            }
            if node.write(section, &mut texts).await.is_none() {
                node.missed.fetch_add(1, Ordering::Relaxed);
                silent.insert(index);
            }
        }
        texts
    }
}

impl Node {
    fn new(labels: NodeLabels) -> Result<(Self, Mailbox)> {
        let (desk, mailbox) = desk()?;
        let node = Self {
            labels: Arc::new(labels),
            desk,
            times: Mutex::default(),
            missed: AtomicU64::new(0),
        };
        Ok((node, mailbox))
    }

    /// Appends its samples of a section. `None`: it does not answer.
    async fn write(&self, section: Section, texts: &mut [(&'static Family, String)]) -> Option<()> {
        let known = match section {
            Section::Lag => std::mem::take(&mut *self.times()),
            _ => KnownTimes::default(),
        };
        let mut scrape = Box::new(Scrape::new(section, self.labels.clone(), known));
        loop {
            let mut scraped = self.desk.ask(scrape).await?;
            for ((_, text), (_, more)) in texts.iter_mut().zip(scraped.scrape.take_texts()) {
                text.push_str(&more);
            }
            if scraped.is_done {
                if section == Section::Lag {
                    *self.times() = scraped.scrape.into_times();
                }
                return Some(());
            }
            scrape = scraped.scrape;
        }
    }

    fn times(&self) -> std::sync::MutexGuard<'_, KnownTimes> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a shard in this state answers.
fn answers(health: &Health) -> bool {
    !matches!(health, Health::Opening(_) | Health::Stopping)
}

fn state(health: &Health) -> &'static str {
    match health {
        Health::Opening(_) => "recovering",
        Health::Serving => "serving",
        Health::Following => "following",
        Health::Fenced(_) => "fenced",
        Health::Full(_) => "full",
        Health::Stopping => "stopping",
    }
}

fn plain(code: StatusCode, kind: &'static str, text: &'static str) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = code;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The values of `name[]` in a query.
fn wanted(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let named = pairs.filter(|(key, _)| matches!(*key, "name[]" | "name%5B%5D" | "name%5b%5d"));
    named.map(|(_, value)| value.to_owned()).collect()
}

/// Whether `name` is that of the family, or of one of its series.
fn names(family: &Family, name: &str) -> bool {
    let rest = name.strip_prefix(family.name);
    let is_without_total = family.name.strip_suffix("_total") == Some(name);
    is_without_total || matches!(rest, Some("" | "_bucket" | "_count" | "_sum"))
}

fn takes_gzip_in(value: &[u8]) -> bool {
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    codings.any(|coding| {
        let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        parts.next() == Some(b"gzip") && parts.next() != Some(b"q=0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families::{MESSAGE_SIZE, MESSAGES_IN};

    #[test]
    fn metrics_are_asked_for_by_name() {
        let query = "name[]=rocketmq_messages_in&x=y&name%5B%5D=rocketmq_message_size_bucket";
        let wanted = wanted(query);
        assert_eq!(
            wanted,
            ["rocketmq_messages_in", "rocketmq_message_size_bucket"]
        );
        assert!(names(&MESSAGES_IN, &wanted[0]) && !names(&MESSAGES_IN, &wanted[1]));
        assert!(names(&MESSAGE_SIZE, &wanted[1]) && names(&MESSAGES_IN, MESSAGES_IN.name));
        assert!(!names(&MESSAGE_SIZE, "rocketmq_message"));
    }

    #[test]
    fn gzip_is_for_those_that_take_it() {
        for accepted in ["gzip", "deflate, gzip;q=0.5", "gzip , br"] {
            assert!(takes_gzip_in(accepted.as_bytes()), "{accepted}");
        }
        for accepted in ["", "br", "gzip;q=0", "xgzip"] {
            assert!(!takes_gzip_in(accepted.as_bytes()), "{accepted}");
        }
    }

    #[test]
    fn switches_leave_ours_on() {
        let config = Config {
            request_metrics: false,
            ..Config::default()
        };
        let on = switched_on(&config);
        assert!(!on.contains(MESSAGES_IN.name) && on.contains("rocketmq_rpc_latency_milliseconds"));
        assert!(on.contains("ringmq_info"));
        assert_eq!(switched_on(&Config::default()).len(), families::ALL.len());
    }
}
