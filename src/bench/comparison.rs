//! `bench flush`: sync flush compared with async flush on this machine's disk. Each mode gets a broker in this process on an empty
//! store. The modes alternate, and the machine's floor is measured again before each round, as machines drift.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::conclusions::{conclusions, warnings};
use super::drive::{connect_all, key_prefix, targets};
use super::hiccups::HiccupMeter;
use super::load::{self, SendPlan};
use super::machine::Machine;
use super::meter::{Cpu, Meter};
use super::output::{Output, Progress};
use super::recorder::Stopwatch;
use super::result::{Floor, Report, RunResult, Shape, grouped};
use super::template::Common;
use super::{BenchError, FlushMode, Interrupt, StartBroker, floor, on_load_core};
use crate::client::{Dial, NameServer, Transport};
use crate::wire::Codec;

const GROUP: &str = "ringmq-bench";
const TOPIC: &str = "ringmq-bench-flush";
/// For connecting, starting and stopping, in the progress bar's reckoning.
const OVERHEAD: Duration = Duration::from_millis(800);

pub struct ComparisonPlan {
    pub shapes: Vec<Shape>,
    /// Number of turns into which each mode's duration is split.
    pub rounds: u32,
    /// Turns of a load that are taken again at most, as the machine stood still in them.
    pub repeats: u32,
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
    pub interrupt: Interrupt,
    pub command: String,
}

/// Four closed-loop shapes, and one open-loop rate.
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
    let mut turns = Turns::new(plan, starter, &scratch.0);
    turns.take_all()?;
    let report = turns.report()?;
    output.write(&report)?;
    Ok(report)
}

/// All turns of a comparison, and what they have measured so far.
struct Turns<'a> {
    plan: &'a ComparisonPlan,
    starter: &'a dyn StartBroker,
    scratch: &'a Path,
    progress: Progress,
    /// Time of the turns that are done, as planned.
    done: Duration,
    count: u32,
    floor: Option<Floor>,
    runs: Vec<RunResult>,
    hiccups: HiccupMeter,
    /// Turns that were dropped and taken again.
    repeated: u32,
}

impl<'a> Turns<'a> {
    fn new(plan: &'a ComparisonPlan, starter: &'a dyn StartBroker, scratch: &'a Path) -> Self {
        let shapes = plan.shapes.len() as u32;
        let total = (plan.floor_time() + plan.turn_time() * 2) * shapes * plan.rounds;
        Self {
            plan,
            starter,
            scratch,
            progress: Progress::new(total),
            done: Duration::ZERO,
            count: 0,
            floor: None,
            runs: Vec::new(),
            hiccups: HiccupMeter::start(&[plan.broker_core, plan.load_core]),
            repeated: 0,
        }
    }

    /// Up to an interruption.
    fn take_all(&mut self) -> Result<(), BenchError> {
        for shape in &self.plan.shapes {
            // A machine that is never quiet is measured as it is.
            let mut repeats = self.plan.repeats;
            for round in 0..self.plan.rounds {
                self.measure_floor()?;
                for mode in order(round) {
                    if self.plan.interrupt.is_set() {
                        return Ok(());
                    }
                    while !self.take(*shape, mode, repeats > 0)? {
                        repeats -= 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn measure_floor(&mut self) -> Result<(), BenchError> {
        self.progress.step("floor of this machine".to_owned());
        self.progress.at(self.done, Duration::ZERO);
        let measured = measure_floor(self.plan, self.scratch)?;
        match &mut self.floor {
            Some(floor) => floor.merge(measured),
            None => self.floor = Some(measured),
        }
        self.done += self.plan.floor_time();
        Ok(())
    }

    /// `false`: the machine stood still, and the turn was dropped.
    fn take(
        &mut self,
        shape: Shape,
        mode: FlushMode,
        may_repeat: bool,
    ) -> Result<bool, BenchError> {
        let step = format!("{} {}", mode.name(), shape.label());
        self.progress.step(step);
        let (progress, done) = (&self.progress, self.done);
        let at = |elapsed| progress.at(done, elapsed);
        let taken = self.turn(shape, mode, &at);
        // What an interruption has cut short is no measurement.
        if self.plan.interrupt.is_set() {
            return Ok(true);
        }
        let taken = taken?;
        if may_repeat && taken.hiccups.spoils(taken.elapsed) {
            self.repeated += 1;
            return Ok(false);
        }
        taken.add_to(&mut self.runs);
        self.done += self.plan.turn_time();
        self.count += 1;
        Ok(true)
    }

    /// One mode, one shape, one round: a broker on an empty store, loaded and stopped.
    fn turn(
        &self,
        shape: Shape,
        mode: FlushMode,
        progress: &(dyn Fn(Duration) + Sync),
    ) -> Result<RunResult, BenchError> {
        let dir = self.scratch.join("store");
        fs::create_dir_all(&dir)
            .map_err(BenchError::io(format!("cannot make {}", dir.display())))?;
        let broker = self.starter.start(mode, &dir, self.plan.broker_core)?;
        let namesrv = broker.namesrv().to_string();
        let embedded = &*broker;
        let (plan, hiccups, scratch) = (self.plan, &self.hiccups, self.scratch);
        let load = async || -> Result<RunResult, BenchError> {
            let names = NameServer::new(&namesrv, plan.codec)?;
            let dial = Dial::from(Transport::fastest());
            let targets = targets(&names, &[TOPIC.to_owned()], Some(plan.queues)).await?;
            let send = SendPlan {
                name: mode.name(),
                shape,
                warm_up: plan.warm_up,
                duration: plan.duration / plan.rounds,
                interrupt: &plan.interrupt,
                common: Common {
                    codec: plan.codec,
                    group: GROUP,
                    key_prefix: &key_prefix(),
                },
                targets: &targets,
                dial: &dial,
            };
            let brokers = connect_all(&targets, &dial, plan.codec).await?;
            let meter = Meter {
                brokers: &brokers,
                cpu: Cpu::Embedded(embedded),
                device_dir: Some(scratch),
                hiccups,
            };
            load::send(&send, Stopwatch::start(), &meter, progress, |_| ()).await
        };
        let result = on_load_core(Some(self.plan.load_core), shape.connections, load);
        broker.stop();
        fs::remove_dir_all(&dir)
            .map_err(BenchError::io(format!("cannot remove {}", dir.display())))?;
        result
    }

    fn report(mut self) -> Result<Report, BenchError> {
        let plan = self.plan;
        self.progress.finish();
        let Some(floor) = self.floor.take().filter(|_| !self.runs.is_empty()) else {
            return Err(BenchError::Interrupted);
        };
        // In whichever order they ran, the table has sync first.
        self.runs.sort_by_key(|run| {
            let shape = plan.shapes.iter().position(|shape| *shape == run.shape);
            (shape, run.name != FlushMode::Sync.name())
        });
        let all = plan.shapes.len() as u32 * plan.rounds * 2;
        let interrupted = plan.interrupt.is_set();
        Ok(Report {
            title: "What sync flush costs on this disk".to_owned(),
            command: plan.command.clone(),
            machine: Machine::probe(&plan.dir),
            load: vec![plan.describe()],
            notes: conclusions(&self.runs, &floor),
            warnings: warnings(plan.rounds, &plan.dir, &self.runs, self.repeated, &floor),
            floor: Some(floor),
            runs: self.runs,
            interrupted: interrupted
                .then(|| format!("interrupted after {} of {all} turns", self.count)),
        })
    }
}

impl ComparisonPlan {
    fn floor_time(&self) -> Duration {
        self.floor_duration * 3 / 2
    }

    fn turn_time(&self) -> Duration {
        self.warm_up + self.duration / self.rounds + OVERHEAD
    }

    fn describe(&self) -> String {
        let size = self.shapes.first().map_or(0, |shape| shape.size_bytes);
        format!(
            "load: bodies of {} bytes, {} queues; each mode has {} round(s) in alternation, {} s in all, each after {} s of warm-up",
            grouped(size as u64),
            self.queues,
            self.rounds,
            self.duration.as_secs_f64(),
            self.warm_up.as_secs_f64()
        )
    }
}

/// The modes swap places each round: neither always runs on the disk as the other left it.
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

    /// A killed run leaves gigabytes behind; the next one finds them by the pid in their names.
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
