//! What the device may hold in one place: what it holds for certain, and what was written since.

use super::rng::Rng;

/// The place of an operation among all operations of its disk.
pub(super) type Seq = u64;

/// A version that no flush will cover: one failed, and the kernel holds the page to be clean.
const FORGOTTEN: Seq = Seq::MAX;

/// What the device holds for certain, and what was written since in the order of the operations.
#[derive(Clone)]
pub(super) struct Versions<T> {
    pub durable: T,
    pub later: Vec<(Seq, T)>,
}

impl<T> Versions<T> {
    pub fn new(durable: T) -> Self {
        Self {
            durable,
            later: Vec::new(),
        }
    }

    pub fn flush(&mut self, submitted: Seq) {
        let covered = self.later.iter().rposition(|&(seq, _)| seq <= submitted);
        if let Some((_, newest)) = covered.and_then(|last| self.later.drain(..=last).next_back()) {
            self.durable = newest;
        }
    }

    /// How many were forgotten.
    pub fn forget(&mut self, rng: &mut Rng) -> u64 {
        let mut forgotten = 0;
        for (seq, _) in &mut self.later {
            if rng.coin() {
                *seq = FORGOTTEN;
                forgotten += 1;
            }
        }
        forgotten
    }

    /// No flush will make any of them durable.
    pub fn is_forgotten(&self) -> bool {
        self.later.iter().all(|(seq, _)| *seq == FORGOTTEN)
    }

    pub fn draw(&self, rng: &mut Rng) -> &T {
        match rng.below(self.later.len() as u64 + 1) as usize {
            0 => &self.durable,
            n => &self.later[n - 1].1,
        }
    }
}
