//! How many values were in which range.

use super::Family;

/// Counts of values by range. A value costs some comparisons and two additions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bounds of the ranges, each of which includes its bound.
    bounds: &'static [u64],
    /// One for each range, and the last one for what is above all bounds.
    counts: Box<[u64]>,
    sum: u64,
}

impl Histogram {
    /// Without a value, with the bounds of its family.
    pub fn of(family: &Family) -> Self {
        assert!(!family.bounds.is_empty(), "{} has bounds", family.name);
        Self {
            bounds: family.bounds,
            counts: vec![0; family.bounds.len() + 1].into(),
            sum: 0,
        }
    }

    pub fn record(&mut self, value: u64) {
        self.counts[self.range(value)] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// Adds values that were counted elsewhere: each with its number, and the sum of all.
    pub fn add(&mut self, values: impl Iterator<Item = (u64, u64)>, sum: u64) {
        for (value, count) in values {
            self.counts[self.range(value)] += count;
        }
        self.sum = self.sum.wrapping_add(sum);
    }

    /// Without branches: it is looked for with every message.
    fn range(&self, value: u64) -> usize {
        let below = self.bounds.iter().map(|bound| usize::from(*bound < value));
        below.sum()
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Each bound with the number of values up to it; `None` stands for infinity.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds
            .zip(&self.counts)
            .scan(0, |count, (bound, in_range)| {
                *count += in_range;
                Some((bound, *count))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families::MESSAGE_SIZE;

    #[test]
    fn a_range_includes_its_bound() {
        let mut sizes = Histogram::of(&MESSAGE_SIZE);
        assert!(sizes.is_empty());
        for size in [0, 1024, 1025, 4096, 1 << 30] {
            sizes.record(size);
        }
        let counts: Vec<_> = sizes.cumulative().collect();
        assert_eq!(
            counts[..3],
            [(Some(1024), 2), (Some(4096), 4), (Some(524_288), 4)]
        );
        assert_eq!(counts.last(), Some(&(None, 5)));
        assert_eq!((sizes.count(), sizes.sum()), (5, 6145 + (1 << 30)));
    }
}
