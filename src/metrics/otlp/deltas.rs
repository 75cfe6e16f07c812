//! What was added to counters and histograms since a collector took them the last time (`metricsInDelta`).

use std::collections::HashMap;

use super::super::families::Family;
use super::super::samples::{Labels, Reading};
use super::super::text::Number;

/// A series: the name of its family, and its labels.
type Key = (&'static str, Box<str>);

/// The last readings that were taken. Series that are gone are forgotten, so that it has as many as a scrape has.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    taken: HashMap<Key, Taken>,
    /// Of this pass, not taken yet.
    offered: Vec<(Key, Reading)>,
    /// Number and time of this pass.
    pass: u64,
    now_ns: u64,
    /// When the last pass of which all was taken began.
    complete_ns: Option<u64>,
}

#[derive(Debug)]
struct Taken {
    reading: Reading,
    at_ns: u64,
    /// The pass that had it last.
    pass: u64,
}

/// What was added, and since when.
#[derive(Debug, PartialEq)]
pub(super) struct Added {
    pub reading: Reading,
    /// `None`: since the series began.
    pub since_ns: Option<u64>,
}

impl Deltas {
    pub fn begin(&mut self, now_ns: u64) {
        self.offered.clear();
        self.pass += 1;
        self.now_ns = now_ns;
    }

    /// `None`: nothing was added.
    pub fn added(
        &mut self,
        family: &Family,
        labels: Labels<'_>,
        reading: Reading,
    ) -> Option<Added> {
        let key = (family.name, labels.0.into());
        let before = self.taken.get_mut(&key);
        let since_ns = match &before {
            Some(before) => Some(before.at_ns),
            None => self.complete_ns,
        };
        let added = match before {
            Some(before) => {
                before.pass = self.pass;
                // Less than before: it began anew.
                reading
                    .since(&before.reading)
                    .unwrap_or_else(|| reading.clone())
            }
            None => reading.clone(),
        };
        let is_some = !added.is_nothing();
        is_some.then(|| {
            self.offered.push((key, reading));
            Added {
                reading: added,
                since_ns,
            }
        })
    }

    /// The collector has taken what was added since the last call.
    pub fn taken(&mut self) {
        for (key, reading) in self.offered.drain(..) {
            let taken = Taken {
                reading,
                at_ns: self.now_ns,
                pass: self.pass,
            };
            self.taken.insert(key, taken);
        }
    }

    /// The pass had all series.
    pub fn end(&mut self) {
        self.complete_ns = Some(self.now_ns);
        self.taken.retain(|_, taken| taken.pass == self.pass);
    }
}

impl Reading {
    /// `None`: it does not go on from `before`.
    fn since(&self, before: &Self) -> Option<Self> {
        match (self, before) {
            (Self::Number(now), Self::Number(before)) => Some(Self::Number(less(*now, *before)?)),
            (
                Self::Histogram { counts, sum },
                Self::Histogram {
                    counts: counts_before,
                    sum: sum_before,
                },
            ) => {
                let counts = counts.iter().zip(counts_before);
                let counts = counts.map(|(now, before)| now.checked_sub(*before));
                Some(Self::Histogram {
                    counts: counts.collect::<Option<_>>()?,
                    sum: less(*sum, *sum_before)?,
                })
            }
            _ => None,
        }
    }

    fn is_nothing(&self) -> bool {
        match self {
            Self::Number(number) => matches!(number, Number::Whole(0) | Number::Real(0.0)),
            Self::Histogram { counts, .. } => counts.iter().all(|count| *count == 0),
        }
    }
}

fn less(now: Number, before: Number) -> Option<Number> {
    match (now, before) {
        (Number::Whole(now), Number::Whole(before)) => now.checked_sub(before).map(Number::Whole),
        (now, before) => {
            let difference = now.real() - before.real();
            (difference >= 0.0).then_some(Number::Real(difference))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families::{MESSAGE_SIZE, MESSAGES_IN};

    fn whole(value: u64) -> Reading {
        Reading::Number(Number::Whole(value))
    }

    fn added(deltas: &mut Deltas, series: &str, value: u64) -> Option<(u64, Option<u64>)> {
        let added = deltas.added(&MESSAGES_IN, Labels(series), whole(value))?;
        let Reading::Number(Number::Whole(value)) = added.reading else {
            panic!("{added:?}");
        };
        Some((value, added.since_ns))
    }

    #[test]
    fn each_value_is_taken_once() {
        let mut deltas = Deltas::default();
        deltas.begin(10);
        assert_eq!(added(&mut deltas, "a", 5), Some((5, None)));
        deltas.taken();
        assert_eq!(added(&mut deltas, "b", 0), None);
        deltas.end();
        deltas.begin(20);
        assert_eq!(added(&mut deltas, "a", 7), Some((2, Some(10))));
        // The collector was away: the next one gets it, too.
        deltas.begin(30);
        assert_eq!(added(&mut deltas, "a", 8), Some((3, Some(10))));
        assert_eq!(added(&mut deltas, "b", 4), Some((4, Some(10))));
        deltas.taken();
        deltas.end();
        deltas.begin(40);
        assert_eq!(added(&mut deltas, "a", 8), None);
        assert_eq!(
            added(&mut deltas, "b", 3),
            Some((3, Some(30))),
            "it began anew"
        );
    }

    #[test]
    fn series_that_are_gone_are_forgotten() {
        let mut deltas = Deltas::default();
        deltas.begin(10);
        for series in ["a", "b"] {
            added(&mut deltas, series, 5);
        }
        deltas.taken();
        deltas.end();
        // Not while a part of them is missing.
        deltas.begin(20);
        added(&mut deltas, "a", 5);
        assert_eq!(deltas.taken.len(), 2);
        deltas.begin(30);
        assert_eq!(added(&mut deltas, "a", 5), None);
        deltas.end();
        assert_eq!(deltas.taken.len(), 1);
    }

    #[test]
    fn a_histogram_has_what_was_added_to_each_range() {
        let mut deltas = Deltas::default();
        let reading = |counts: [u64; 3], sum| Reading::Histogram {
            counts: counts.to_vec(),
            sum: Number::Whole(sum),
        };
        let mut at = |now_ns, reading| {
            deltas.begin(now_ns);
            let added = deltas.added(&MESSAGE_SIZE, Labels("a"), reading);
            deltas.taken();
            added.map(|added| added.reading)
        };
        let first = reading([1, 0, 2], 30);
        assert_eq!(at(1, first.clone()), Some(first.clone()));
        assert_eq!(at(2, first.clone()), None);
        assert_eq!(at(3, reading([1, 4, 3], 90)), Some(reading([0, 4, 1], 60)));
        let anew = reading([0, 5, 3], 100);
        assert_eq!(at(4, anew.clone()), Some(anew));
    }
}
