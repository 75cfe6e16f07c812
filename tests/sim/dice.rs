//! Choices of the workload. The simulation's own stream is not used for them: tasks that hold the simulation would keep
//! it alive for ever.

use std::cell::Cell;

/// SplitMix64.
pub struct Dice(Cell<u64>);

impl Dice {
    /// `stream` tells the tasks of one run apart.
    pub fn new(seed: u64, stream: u64) -> Self {
        let dice = Dice(Cell::new(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95)));
        dice.next();
        dice
    }

    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
