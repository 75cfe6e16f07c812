//! Where sends spend their time, stage by stage. The stages of some sends go into histograms; of a slow one they are logged.
//!
//! ```text
//! arrival --receive--> frame --decode--> admitted --append--> in the log buffer --write_wait--> write begins --device--> write ends --release--> answer
//! ```
//!
//! The sending of the answer is measured where it is done (`ringmq_reply_send_seconds`).

use std::cell::{Cell, RefCell};

use crate::io::Io;
use crate::metrics::Histogram;
use crate::metrics::families::SEND_STAGE_SECONDS;
use crate::store::{LogTimes, LogWrite};

/// A request that has stored something, and waits for the log.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Log position that has to be committed for it.
    pub end: u64,
    pub arrived_ns: u64,
    pub appended_ns: u64,
}

impl Stored {
    /// If it is answered now: how long it has waited for its write, how long that took, and what came then.
    pub fn behind_append(&self, write: &LogWrite, now_ns: u64) -> [u64; 3] {
        let (began_ns, ended_ns) = (write.began_ns, write.ended_ns);
        [
            began_ns.saturating_sub(self.appended_ns),
            ended_ns - began_ns,
            now_ns.saturating_sub(ended_ns),
        ]
    }
}

/// One send in so many is measured, with four readings of the clock (some 20 ns each). A prime number, so that it keeps in step with no pattern of
/// the clients.
const SEND_OF: u32 = 61;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Receive,
    Decode,
    Append,
    WriteWait,
    Device,
    Release,
}

impl Stage {
    pub const ALL: [Stage; 6] = [
        Stage::Receive,
        Stage::Decode,
        Stage::Append,
        Stage::WriteWait,
        Stage::Device,
        Stage::Release,
    ];

    /// As in the label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Decode => "decode",
            Stage::Append => "append",
            Stage::WriteWait => "write_wait",
            Stage::Device => "device",
            Stage::Release => "release",
        }
    }
}

/// Every so many-th one.
struct Sampler(Cell<u32>);

impl Sampler {
    fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(if left == 0 { SEND_OF - 1 } else { left - 1 });
        left == 0
    }
}

pub struct Stages {
    sends: Sampler,
    acknowledged: Sampler,
    /// The next send is measured: when each frame begins is read.
    is_armed: Cell<bool>,
    frame_began_ns: Cell<u64>,
    times: RefCell<[Histogram; Stage::ALL.len()]>,
}

impl Default for Stages {
    fn default() -> Self {
        Self {
            sends: Sampler(Cell::new(0)),
            acknowledged: Sampler(Cell::new(0)),
            is_armed: Cell::new(false),
            frame_began_ns: Cell::new(0),
            times: RefCell::new(Stage::ALL.map(|_| Histogram::of(&SEND_STAGE_SECONDS))),
        }
    }
}

impl Stages {
    /// A frame is about to be decoded.
    pub fn frame_begins(&self, io: &impl Io) {
        if self.is_armed.get() {
            self.frame_began_ns.set(io.exact_ns());
        }
    }

    /// The present frame is a send, which arrived at that time. Its stopwatch, if it is one that is measured.
    pub fn send_begins<'a, I: Io>(
        &'a self,
        io: &'a I,
        arrived_ns: u64,
    ) -> Option<Stopwatch<'a, I>> {
        let is_measured = self.is_armed.replace(self.sends.take());
        is_measured.then(|| {
            let began_ns = self.frame_began_ns.get();
            Stopwatch {
                stages: self,
                io,
                waited_ns: began_ns.saturating_sub(arrived_ns),
                since_ns: began_ns,
            }
        })
    }

    /// A send has been answered.
    pub fn acknowledged(&self, stored: &Stored, log: &LogTimes, now_ns: impl Fn() -> u64) {
        if !self.acknowledged.take() {
            return;
        }
        if let Some(write) = log.recent.with(stored.end) {
            let [write_wait_ns, device_ns, release_ns] = stored.behind_append(write, now_ns());
            self.record(Stage::WriteWait, write_wait_ns);
            self.record(Stage::Device, device_ns);
            self.record(Stage::Release, release_ns);
        }
    }

    fn record(&self, stage: Stage, took_ns: u64) {
        self.times.borrow_mut()[stage as usize].record(took_ns);
    }

    pub fn each(&self, mut row: impl FnMut(Stage, &Histogram)) {
        let times = self.times.borrow();
        Stage::ALL
            .into_iter()
            .zip(&*times)
            .for_each(|(stage, times)| row(stage, times));
    }
}

/// Measures what the core does for one send.
pub struct Stopwatch<'a, I> {
    stages: &'a Stages,
    io: &'a I,
    waited_ns: u64,
    since_ns: u64,
}

impl<I: Io> Stopwatch<'_, I> {
    /// It is admitted: one that waits for room or is refused is not counted.
    pub fn admitted(mut self) -> Self {
        self.stages.record(Stage::Receive, self.waited_ns);
        self.lap(Stage::Decode);
        self
    }

    pub fn appended(mut self) {
        self.lap(Stage::Append);
    }

    fn lap(&mut self, stage: Stage) {
        let now_ns = self.io.exact_ns();
        self.stages
            .record(stage, now_ns.saturating_sub(self.since_ns));
        self.since_ns = now_ns;
    }
}
