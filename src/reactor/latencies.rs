//! How long requests take, by what was asked and how that ended (RocketMQ: `RemotingMetricsManager`).
//!
//! A request counts from the arrival of its bytes until its answer is written; a parked one with its wait. The clock is that of the turn, which is a millisecond
//! at most behind.

use std::cell::{Ref, RefCell};

use crate::broker::metrics::{Scrape, Turn};
use crate::metrics::{Family, Histogram};
use crate::wire::codes::{request, response};

/// Bound of the kinds with a histogram of their own, as a client may send any code. All further kinds share one.
pub(super) const MAX_KINDS: usize = 512;

/// What was asked, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub request: i32,
    pub response: i32,
    /// It was parked.
    pub is_parked: bool,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Success,
    /// It has no answer.
    Oneway,
    /// Its connection was closed.
    NotWritten,
    /// One of those that are not told apart.
    Overflow,
}

const OVERFLOW: Kind = Kind {
    request: 0,
    response: 0,
    is_parked: false,
    outcome: Outcome::Overflow,
};

pub struct Latencies {
    now_ns: Box<dyn Fn() -> u64>,
    family: Family,
    /// What a histogram counts in.
    unit_ns: u64,
    by_kind: RefCell<Vec<(Kind, Histogram)>>,
}

impl Latencies {
    /// In a histogram of this family, which counts in a unit of so many nanoseconds.
    pub fn new(family: Family, unit_ns: u64, now_ns: impl Fn() -> u64 + 'static) -> Self {
        Self {
            now_ns: Box::new(now_ns),
            family,
            unit_ns,
            by_kind: RefCell::default(),
        }
    }

    /// A request that arrived at `since_ns` was answered now; returns the time.
    pub fn answered(&self, kind: Kind, since_ns: u64) -> u64 {
        let now_ns = (self.now_ns)();
        let took = now_ns.saturating_sub(since_ns) / self.unit_ns;
        let mut by_kind = self.by_kind.borrow_mut();
        let found = by_kind.binary_search_by_key(&kind, |(kind, _)| *kind);
        let place = match found {
            Ok(place) => place,
            Err(_) if by_kind.len() >= MAX_KINDS => {
                let overflow = by_kind.binary_search_by_key(&OVERFLOW, |(kind, _)| *kind);
                overflow.unwrap_or_else(|place| self.add(&mut by_kind, place, OVERFLOW))
            }
            Err(place) => self.add(&mut by_kind, place, kind),
        };
        by_kind[place].1.record(took);
        now_ns
    }

    fn add(&self, by_kind: &mut Vec<(Kind, Histogram)>, place: usize, kind: Kind) -> usize {
        by_kind.insert(place, (kind, Histogram::of(&self.family)));
        place
    }

    /// All kinds that there were, in order.
    pub fn by_kind(&self) -> Ref<'_, Vec<(Kind, Histogram)>> {
        self.by_kind.borrow()
    }
}

/// Kinds that are written in one turn, each with a dozen lines.
const AT_A_TIME: usize = 16;

/// Calls `row` for the next kinds, with the labels of both codes.
pub fn write_kinds(
    latencies: &Latencies,
    scrape: &mut Scrape,
    row: impl Fn(&mut Scrape, &Kind, [(&str, &str); 2], &Histogram),
) -> Turn {
    let by_kind = latencies.by_kind();
    let begin = scrape.passed.min(by_kind.len());
    let end = by_kind.len().min(begin + AT_A_TIME);
    for (kind, took) in &by_kind[begin..end] {
        let request = code_name(kind.request, request::name);
        let response = code_name(kind.response, response::name);
        let codes = [("request_code", &*request), ("response_code", &*response)];
        row(scrape, kind, codes, took);
    }
    scrape.passed = end;
    match end == by_kind.len() {
        true => Turn::Done,
        false => Turn::More,
    }
}

/// RocketMQ's, in lower case.
pub(super) fn code_name(code: i32, name: fn(i32) -> Option<&'static str>) -> String {
    name(code).map_or_else(|| code.to_string(), str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::metrics::families::RPC_LATENCY;

    fn kind(request: i32) -> Kind {
        Kind {
            request,
            response: 0,
            is_parked: false,
            outcome: Outcome::Success,
        }
    }

    #[test]
    fn requests_are_counted_by_kind_in_milliseconds() {
        let clock = Rc::new(Cell::new(0));
        let now = clock.clone();
        let latencies = Latencies::new(RPC_LATENCY, 1_000_000, move || now.get());
        clock.set(7_900_000);
        latencies.answered(kind(310), 0);
        latencies.answered(kind(11), 7_000_000);
        latencies.answered(kind(310), 6_900_000);
        let counts: Vec<_> = latencies
            .by_kind()
            .iter()
            .map(|(kind, took)| (kind.request, took.count(), took.sum()))
            .collect();
        assert_eq!(counts, [(11, 1, 0), (310, 2, 8)]);
    }

    #[test]
    fn kinds_are_bounded() {
        let latencies = Latencies::new(RPC_LATENCY, 1_000_000, || 0);
        for request in 1..=2 * MAX_KINDS as i32 {
            latencies.answered(kind(request), 0);
        }
        let by_kind = latencies.by_kind();
        assert_eq!(by_kind.len(), MAX_KINDS + 1);
        let rest = by_kind.iter().find(|(kind, _)| *kind == OVERFLOW);
        assert_eq!(rest.map(|(_, took)| took.count()), Some(MAX_KINDS as u64));
    }
}
