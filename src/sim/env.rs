//! What every part of a simulation uses: the seed's stream of decisions, the clock, the partitions of the network, the trace
//! and the tally.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use super::SimConfig;
use super::clock::Timeline;
use super::partitions::Partitions;
use super::rng::Rng;
use super::tally::Tally;
use super::trace::Trace;

pub(super) struct Env {
    pub seed: u64,
    pub config: SimConfig,
    pub timeline: Timeline,
    pub partitions: Partitions,
    rng: RefCell<Rng>,
    trace: RefCell<Trace>,
    tally: RefCell<Tally>,
}

impl Env {
    pub fn new(seed: u64, config: SimConfig, start_ns: u64) -> Self {
        Self {
            seed,
            config,
            timeline: Timeline::starting_at(start_ns),
            partitions: Partitions::default(),
            rng: RefCell::new(Rng::new(seed)),
            trace: RefCell::default(),
            tally: RefCell::default(),
        }
    }

    pub fn count_operation(&self, name: &'static str, count: u64) {
        self.tally.borrow_mut().operation(name, count);
    }

    pub fn count_fault(&self, name: &'static str, count: u64) {
        self.tally.borrow_mut().fault(name, count);
    }

    pub fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    /// Lets `by` lose something by chance and count it.
    pub fn lose(&self, by: impl FnOnce(&mut Rng, &mut Tally)) {
        by(&mut self.rng.borrow_mut(), &mut self.tally.borrow_mut());
    }

    pub fn draw<T>(&self, from: impl FnOnce(&mut Rng) -> T) -> T {
        from(&mut self.rng.borrow_mut())
    }

    pub fn within(&self, range: &RangeInclusive<u64>) -> u64 {
        self.draw(|rng| rng.within(range))
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.draw(|rng| rng.below(bound))
    }

    pub fn coin(&self) -> bool {
        self.draw(Rng::coin)
    }

    pub fn trace(&self, what: &'static str, a: u64, b: u64, c: u64) {
        let now_ns = self.timeline.now_ns();
        self.trace.borrow_mut().note(now_ns, what, [a, b, c]);
    }

    pub fn trace_hash(&self) -> u64 {
        self.trace.borrow().hash()
    }

    pub fn recent(&self) -> String {
        self.trace.borrow().recent()
    }
}
