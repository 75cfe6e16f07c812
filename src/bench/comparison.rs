//! `bench flush`: what sync flush costs against async on this very disk. Each mode gets a broker in this process on an
//! empty store; the modes take turns, and the machine's floor is measured again before each turn, as machines drift.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::counters::WriteCounters;
use super::drive::{key_prefix, targets};
use super::load::{self, SendPlan};
use super::machine::Machine;
use super::meter::{Meter, Source};
use super::output::{Output, Progress};
use super::recorder::Stopwatch;
use super::result::{Floor, Report, RunResult, Shape};
use super::template::Common;
use super::{BenchError, FlushMode, StartBroker, floor, on_load_core};
use crate::client::NameServer;
use crate::wire::Codec;

const GROUP: &str = "ringmq-bench";
const TOPIC: &str = "ringmq-bench-flush";
/// For connecting, starting and stopping, in the progress bar's reckoning.
const OVERHEAD: Duration = Duration::from_millis(800);

pub struct ComparisonPlan {
    pub shapes: Vec<Shape>,
    /// Each mode's duration is split into so many turns.
    pub rounds: u32,
    pub warm_up: Duration,
    pub duration: Duration,
    /// Of each measurement of the dsync floor; the echo gets half of it.
    pub floor_duration: Duration,
    pub queues: u32,
    pub codec: Codec,
    /// Stores are made below this directory, one after the other, and removed.
    pub dir: PathBuf,
    pub broker_core: usize,
    pub load_core: usize,
    pub command: String,
}

/// The shapes that `floor` knows too, and one open-loop rate.
pub fn default_shapes(size_bytes: usize, rate: u64) -> Vec<Shape> {
    let closed = [(1, 1), (16, 1), (64, 4), (256, 8)].map(|(connections, in_flight)| Shape {
        connections,
        in_flight,
        size_bytes,
        rate: 0,
    });
    let open = Shape {
        connections: 64,
        in_flight: 0,
        size_bytes,
        rate,
    };
    closed
        .into_iter()
        .chain((rate > 0).then_some(open))
        .collect()
}

pub fn run(
    plan: &ComparisonPlan,
    starter: &dyn StartBroker,
    output: &Output,
) -> Result<Report, BenchError> {
    output.prepare()?;
    let scratch = Scratch::make(&plan.dir)?;
    let turns = plan.shapes.len() as u32 * plan.rounds;
    let turn_floor = plan.floor_duration * 3 / 2;
    let turn_run = plan.warm_up + plan.duration / plan.rounds + OVERHEAD;
    let progress = Progress::new((turn_floor + turn_run * 2) * turns);

    let mut done = Duration::ZERO;
    let mut limits: Option<Floor> = None;
    let mut runs: Vec<RunResult> = Vec::new();
    for shape in &plan.shapes {
        for round in 0..plan.rounds {
            progress.step("floor of this machine".to_owned());
            progress.at(done, Duration::ZERO);
            let measured = measure_floor(plan, &scratch.0)?;
            match &mut limits {
                Some(limits) => limits.merge(measured),
                None => limits = Some(measured),
            }
            done += turn_floor;
            for mode in order(round) {
                progress.step(format!("{} {}", mode.name(), shape.label()));
                let at = |elapsed| progress.at(done, elapsed);
                let result = turn(plan, *shape, mode, starter, &scratch.0, &at)?;
                take_in(&mut runs, result);
                done += turn_run;
            }
        }
    }
    progress.finish();

    // Whoever went first, the table has sync first.
    runs.sort_by_key(|run| {
        let shape = plan.shapes.iter().position(|shape| *shape == run.shape);
        (shape, run.name != FlushMode::Sync.name())
    });
    let floor =
        limits.ok_or_else(|| BenchError::from("nothing to compare: no shapes".to_owned()))?;
    let mut notes = conclusions(&runs, &floor);
    if WriteCounters::of_device(&plan.dir).is_err() {
        let dir = plan.dir.display();
        notes.push(format!(
            "{dir} is on no block device of its own: on a memory file system a flush costs nothing"
        ));
    }
    let report = Report {
        title: "What sync flush costs on this disk".to_owned(),
        command: plan.command.clone(),
        machine: Machine::probe(&plan.dir),
        notes,
        floor: Some(floor),
        runs,
    };
    output.write(&report)?;
    Ok(report)
}

/// Sync goes first in every other round only, so that neither mode always finds the disk as the other left it.
fn order(round: u32) -> [FlushMode; 2] {
    if round.is_multiple_of(2) {
        [FlushMode::Sync, FlushMode::Async]
    } else {
        [FlushMode::Async, FlushMode::Sync]
    }
}

fn measure_floor(plan: &ComparisonPlan, dir: &Path) -> Result<Floor, BenchError> {
    let measure = || {
        super::pin(Some(plan.load_core));
        let dsync_write_ns = floor::dsync_write(dir, plan.floor_duration)?;
        let loopback_echo_ns =
            floor::loopback_echo(plan.floor_duration / 2, Some(plan.broker_core))?;
        Ok(Floor {
            dsync_write_ns,
            loopback_echo_ns,
        })
    };
    let joined = std::thread::scope(|scope| scope.spawn(measure).join());
    joined
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        .map_err(BenchError::io(format!(
            "measuring the floor in {}",
            dir.display()
        )))
}

/// One mode, one shape, one round: a broker on an empty store, loaded and stopped.
fn turn(
    plan: &ComparisonPlan,
    shape: Shape,
    mode: FlushMode,
    starter: &dyn StartBroker,
    scratch: &Path,
    progress: &(dyn Fn(Duration) + Sync),
) -> Result<RunResult, BenchError> {
    let dir = scratch.join("store");
    fs::create_dir_all(&dir).map_err(BenchError::io(format!("cannot make {}", dir.display())))?;
    let broker = starter.start(mode, &dir, plan.broker_core)?;
    let namesrv = broker.namesrv().to_string();
    let embedded = &*broker;
    let load = async || -> Result<RunResult, BenchError> {
        let names = NameServer::new(&namesrv, plan.codec)?;
        let targets = targets(&names, &[TOPIC.to_owned()], Some(plan.queues)).await?;
        let send = SendPlan {
            name: mode.name(),
            shape,
            warm_up: plan.warm_up,
            duration: plan.duration / plan.rounds,
            common: Common {
                codec: plan.codec,
                group: GROUP,
                key_prefix: &key_prefix(),
            },
            targets: &targets,
        };
        let meter = Meter {
            source: Source::Embedded(embedded),
            device_dir: Some(scratch),
        };
        load::send(&send, Stopwatch::start(), &meter, progress, |_| ()).await
    };
    let result = on_load_core(Some(plan.load_core), shape.connections, load);
    broker.stop();
    fs::remove_dir_all(&dir).map_err(BenchError::io(format!("cannot remove {}", dir.display())))?;
    result
}

fn take_in(runs: &mut Vec<RunResult>, result: RunResult) {
    let same = |run: &&mut RunResult| run.name == result.name && run.shape == result.shape;
    match runs.iter_mut().find(same) {
        Some(run) => run.merge(result),
        None => runs.push(result),
    }
}

/// What the figures say of each other.
fn conclusions(runs: &[RunResult], floor: &Floor) -> Vec<String> {
    let mut notes = Vec::new();
    for pair in runs.chunks(2) {
        let [sync, r#async] = pair else { continue };
        let label = sync.shape.label();
        if sync.shape.rate > 0 {
            notes.push(format!(
                "{label}: p99 {:.0} us sync, {:.0} us async",
                sync.percentiles().p99_us,
                r#async.percentiles().p99_us
            ));
            continue;
        }
        notes.push(format!(
            "{label}: sync has {:.0} % of the throughput of async",
            100.0 * sync.messages_per_second() / r#async.messages_per_second().max(1.0)
        ));
        if (sync.shape.connections, sync.shape.in_flight) == (1, 1) {
            notes.push(format!(
                "{label}: sync p50 is {:.2} x the floor of one dsync write and one loopback echo ({:.1} us)",
                sync.percentiles().p50_us / floor.sync_p50_us(),
                floor.sync_p50_us()
            ));
        }
    }
    notes
}

const SCRATCH_PREFIX: &str = "ringmq-bench-";

/// A directory of our own, removed with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn make(parent: &Path) -> Result<Self, BenchError> {
        Self::remove_orphans(parent);
        let dir = parent.join(format!("{SCRATCH_PREFIX}{}", std::process::id()));
        fs::create_dir_all(&dir)
            .map_err(BenchError::io(format!("cannot make {}", dir.display())))?;
        Ok(Self(dir))
    }

    /// An interrupted run leaves gigabytes behind; the next one finds them by the process that is gone.
    fn remove_orphans(parent: &Path) {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name
                .to_str()
                .and_then(|name| name.strip_prefix(SCRATCH_PREFIX)?.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_directories_go_with_their_process() {
        let parent = tempfile::tempdir().unwrap();
        // Above the largest pid that Linux gives.
        let orphan = parent.path().join(format!("{SCRATCH_PREFIX}4194305"));
        let other = parent.path().join("ringmq-bench-notes");
        fs::create_dir(&orphan).unwrap();
        fs::create_dir(&other).unwrap();
        let scratch = Scratch::make(parent.path()).unwrap();
        assert!(scratch.0.exists() && other.exists() && !orphan.exists());
        let path = scratch.0.clone();
        drop(scratch);
        assert!(!path.exists());
    }
}
