//! `bench send`, `consume` and `e2e`: drive any RocketMQ-compatible broker, found through its name server.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::consume::{self, ConsumePlan, Follower};
use super::hiccups::HiccupMeter;
use super::load::{self, SendPlan};
use super::machine::Machine;
use super::meter::{Cpu, Meter};
use super::output::{Output, Progress};
use super::recorder::{Recorder, Stopwatch};
use super::result::{Report, RunResult, Shape};
use super::template::Common;
use super::{BenchError, Interrupt, on_load_core};
use crate::client::{Dial, NameServer, Remote, RoutedQueue, resolve};
use crate::wire::Codec;

/// Queues of a new topic, if their number is not given.
const NEW_TOPIC_QUEUES: u32 = 8;
/// How long a new topic may take to reach the name server (a broker registers it at once).
const TOPIC_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the consuming side of an end-to-end run may lag behind the last answer.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    Send,
    Consume {
        /// Messages to send first, so that there is something to consume.
        fill: u64,
    },
    /// Latency from the intended send time until a consumer has the message.
    EndToEnd,
}

pub struct DrivePlan {
    /// What is measured, for the report.
    pub title: String,
    pub notes: Vec<String>,
    pub drive: Drive,
    pub namesrv: String,
    pub topic: String,
    /// More than one are called `topic-0`, `topic-1`, ...
    pub topics: usize,
    /// `None` takes a topic as it is.
    pub queues: Option<u32>,
    pub group: String,
    /// Groups that read; more than one are called `group-0`, `group-1`, ...
    pub subscriptions: usize,
    /// Connections of each of them, for each topic.
    pub consumers: usize,
    pub codec: Codec,
    pub dial: Dial,
    pub shape: Shape,
    pub warm_up: Duration,
    pub duration: Duration,
    pub load_core: Option<usize>,
    /// The broker's process, if it is on this machine and its CPU time is wanted.
    pub broker_pid: Option<u32>,
    /// A directory on the broker's disk, likewise.
    pub device_dir: Option<PathBuf>,
    pub interrupt: Interrupt,
    pub command: String,
}

/// The runs of a plan, without a report.
pub fn measure(plan: &DrivePlan) -> Result<Vec<RunResult>, BenchError> {
    let progress = Progress::new(plan.warm_up + plan.duration);
    let hiccups = HiccupMeter::start(&plan.watched_cores());
    let readers = plan.subscriptions * plan.consumers * plan.topics;
    let connections = plan.shape.connections + plan.topics + readers;
    let at = |elapsed| progress.at(Duration::ZERO, elapsed);
    let runs = on_load_core(plan.load_core, connections, async || {
        Driver::run(plan, &hiccups, &progress, &at).await
    })?;
    progress.finish();
    Ok(runs)
}

pub fn run(plan: &DrivePlan, output: &Output) -> Result<Report, BenchError> {
    output.prepare()?;
    let runs = measure(plan)?;
    let dir = plan
        .device_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from("."));
    let report = Report {
        title: plan.title.clone(),
        command: plan.command.clone(),
        machine: Machine::probe(&dir),
        load: vec![plan.shape.describe(plan.warm_up, plan.duration)],
        floor: None,
        notes: notes(plan),
        warnings: runs.iter().filter_map(RunResult::warning).collect(),
        interrupted: plan.interrupted(&runs),
        runs,
    };
    output.write(&report)?;
    Ok(report)
}

/// A machine with more cores is watched on so many of them.
const MAX_WATCHED: usize = 16;

impl DrivePlan {
    /// The core of the load, and all if the broker is on this machine.
    fn watched_cores(&self) -> Vec<usize> {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let all = ids.into_iter().map(|core| core.id);
        match self.broker_pid {
            Some(_) => all.take(MAX_WATCHED).collect(),
            None => self.load_core.or(all.max()).into_iter().collect(),
        }
    }

    fn interrupted(&self, runs: &[RunResult]) -> Option<String> {
        let measured = runs.first().filter(|_| self.interrupt.is_set())?;
        Some(format!(
            "interrupted after {:.1} of {} s",
            measured.elapsed.as_secs_f64(),
            self.duration.as_secs_f64()
        ))
    }
}

fn notes(plan: &DrivePlan) -> Vec<String> {
    let note = match plan.drive {
        Drive::Send => "latency: from the intended send time to the broker's answer",
        Drive::Consume { .. } => "latency: round trip of the pulls that found messages",
        Drive::EndToEnd => {
            "latency of e2e: from the intended send time until a consumer had the message"
        }
    };
    [note.to_owned()]
        .into_iter()
        .chain(plan.notes.clone())
        .collect()
}

/// Where to send to: the topics' queues, once the name server has them as wanted.
pub async fn targets(
    names: &NameServer,
    topics: &[String],
    queues: Option<u32>,
) -> Result<Vec<(String, RoutedQueue)>, BenchError> {
    let mut targets = Vec::new();
    for topic in topics {
        let known = names.route(topic).await?.is_some();
        if queues.is_some() || !known {
            let queues = queues.unwrap_or(NEW_TOPIC_QUEUES);
            names.create_topic(topic, queues).await?;
            names.await_topic(topic, queues, TOPIC_TIMEOUT).await?;
        }
        let queues = names.queues_to_send(topic).await?;
        targets.extend(queues.into_iter().map(|queue| (topic.clone(), queue)));
    }
    Ok(targets)
}

/// A connection to each broker of the targets, beside those of the load.
pub async fn connect_all(
    targets: &[(String, RoutedQueue)],
    dial: &Dial,
    codec: Codec,
) -> Result<Vec<Remote>, BenchError> {
    let mut brokers: Vec<Remote> = Vec::new();
    for (_, queue) in targets {
        let to = resolve(&queue.addr)?;
        if !brokers.iter().any(|broker| broker.addr() == to.addr) {
            brokers.push(Remote::connect_by(dial, &to, codec).await?);
        }
    }
    Ok(brokers)
}

/// Sixteen hex digits, unique to this run: a prefix of its message keys.
pub fn key_prefix() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    format!("{:08X}{:08X}", std::process::id(), seconds as u32)
}

/// A single one has the name itself.
fn names_of(name: &str, count: usize) -> Vec<String> {
    match count {
        1 => vec![name.to_owned()],
        _ => (0..count).map(|nth| format!("{name}-{nth}")).collect(),
    }
}

struct Driver<'a> {
    plan: &'a DrivePlan,
    names: NameServer,
    topics: Vec<String>,
    targets: Vec<(String, RoutedQueue)>,
    brokers: Vec<Remote>,
    hiccups: &'a HiccupMeter,
}

impl<'a> Driver<'a> {
    async fn run(
        plan: &'a DrivePlan,
        hiccups: &'a HiccupMeter,
        progress: &Progress,
        at: &dyn Fn(Duration),
    ) -> Result<Vec<RunResult>, BenchError> {
        progress.step("route".to_owned());
        let driver = Self::prepare(plan, hiccups).await?;
        match plan.drive {
            Drive::Send => {
                progress.step(format!("send {}", plan.shape.label()));
                Ok(vec![driver.send(at).await?])
            }
            Drive::Consume { fill } => {
                if fill > 0 {
                    progress.step(format!("sending {fill} messages to consume"));
                    driver.fill(fill).await?;
                }
                progress.step(format!("consume, {} connections", plan.consumers));
                let consume = driver.consume_plan("consume", &plan.group);
                Ok(vec![
                    consume::backlog(&consume, &driver.names, &driver.meter(), at).await?,
                ])
            }
            Drive::EndToEnd => {
                progress.step(format!("end to end {}", plan.shape.label()));
                driver.end_to_end(at).await
            }
        }
    }

    async fn prepare(plan: &'a DrivePlan, hiccups: &'a HiccupMeter) -> Result<Self, BenchError> {
        let names = NameServer::over(plan.dial.clone(), &plan.namesrv, plan.codec)?;
        let topics = names_of(&plan.topic, plan.topics);
        let targets = targets(&names, &topics, plan.queues).await?;
        let brokers = connect_all(&targets, &plan.dial, plan.codec).await?;
        Ok(Self {
            plan,
            names,
            topics,
            targets,
            brokers,
            hiccups,
        })
    }

    async fn send(&self, at: &dyn Fn(Duration)) -> Result<RunResult, BenchError> {
        let key_prefix = key_prefix();
        let send = self.send_plan(&key_prefix);
        load::send(&send, Stopwatch::start(), &self.meter(), at, |_| ()).await
    }

    /// Closed-loop sends without a measurement, until the given number is answered.
    async fn fill(&self, messages: u64) -> Result<(), BenchError> {
        let key_prefix = key_prefix();
        load::fill(&self.send_plan(&key_prefix), messages).await
    }

    async fn end_to_end(&self, at: &dyn Fn(Duration)) -> Result<Vec<RunResult>, BenchError> {
        let watch = Stopwatch::start();
        let groups = names_of(&self.plan.group, self.plan.subscriptions);
        let mut followers = Vec::new();
        for group in &groups {
            let plan = self.consume_plan("e2e", group);
            followers.push(Follower::start(&plan, &self.names, watch).await?);
        }
        let key_prefix = key_prefix();
        let send = self.send_plan(&key_prefix);
        let sent = load::send(&send, watch, &self.meter(), at, |window| {
            followers.iter().for_each(|it| it.measure(window));
        })
        .await?;
        let end_ns = watch.now_ns() + ARRIVAL_TIMEOUT.as_nanos() as u64;
        let lacks = |it: &Follower| it.measured() < sent.latency_ns.len();
        while followers.iter().any(lacks) && watch.now_ns() < end_ns {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let names = names_of("e2e", groups.len());
        let received = names.into_iter().zip(followers);
        let received = received.map(|(name, it)| end_to_end(name, it.stop(), &sent));
        Ok([sent.clone()].into_iter().chain(received).collect())
    }

    fn meter(&self) -> Meter<'_> {
        Meter {
            brokers: &self.brokers,
            cpu: Cpu::Process(self.plan.broker_pid),
            device_dir: self.plan.device_dir.as_deref(),
            hiccups: self.hiccups,
        }
    }

    fn send_plan<'b>(&'b self, key_prefix: &'b str) -> SendPlan<'b> {
        SendPlan {
            name: "send",
            shape: self.plan.shape,
            warm_up: self.plan.warm_up,
            duration: self.plan.duration,
            interrupt: &self.plan.interrupt,
            common: Common {
                codec: self.plan.codec,
                group: &self.plan.group,
                key_prefix,
            },
            targets: &self.targets,
            dial: &self.plan.dial,
        }
    }

    fn consume_plan<'b>(&'b self, name: &'b str, group: &'b str) -> ConsumePlan<'b> {
        ConsumePlan {
            name,
            group,
            topics: &self.topics,
            codec: self.plan.codec,
            dial: &self.plan.dial,
            connections: self.plan.consumers,
            size_bytes: self.plan.shape.size_bytes,
            warm_up: self.plan.warm_up,
            duration: self.plan.duration,
            interrupt: &self.plan.interrupt,
        }
    }
}

/// What one group has received of what was sent.
fn end_to_end(name: String, received: Recorder, sent: &RunResult) -> RunResult {
    let arrived = received.latency_ns.len();
    RunResult {
        name,
        acked: arrived,
        unanswered: sent.latency_ns.len().saturating_sub(arrived),
        latency_ns: received.latency_ns,
        time_line: received.time_line.beside(&sent.time_line),
        errors: received.errors,
        ..sent.clone()
    }
}
