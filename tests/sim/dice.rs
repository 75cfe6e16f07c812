//! Choices of the workload. The simulation's own stream is not used for them: tasks that hold the simulation would keep
//! it alive for ever.

use std::cell::RefCell;

use ringmq::sim::Rng;

pub struct Dice(RefCell<Rng>);

impl Dice {
    /// `stream` tells the tasks of one run apart.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Rng::new(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        rng.next();
        Dice(RefCell::new(rng))
    }

    pub fn next(&self) -> u64 {
        self.0.borrow_mut().next()
    }

    /// Uniform in `0..bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Uniform in `low..=high`.
    pub fn within(&self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
