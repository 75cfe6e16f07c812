//! The counts of a run, and which of them belong to the measured window.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use super::histogram::latency_histogram;
use super::time_line::TimeLine;
use crate::wire::codes::response;

/// Time since the run began, and the wall clock at that moment.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    start: Instant,
    start_unix_ms: i64,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            start_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as i64),
        }
    }

    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub fn unix_ms(&self, at_ns: u64) -> i64 {
        self.start_unix_ms + (at_ns / 1_000_000) as i64
    }
}

/// From the end of the warm-up to the end of the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub from_ns: u64,
    pub until_ns: u64,
}

impl Window {
    pub fn holds(&self, at_ns: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&at_ns)
    }
}

pub struct Recorder {
    pub window: Window,
    /// Of the messages that were meant to be sent inside the window, however late they were sent or answered.
    pub latency_ns: Histogram<u64>,
    pub time_line: TimeLine,
    /// All messages acknowledged until now, those of the warm-up included: a measurement takes differences.
    pub acked: u64,
    pub errors: BTreeMap<String, u64>,
    pub unanswered: u64,
}

impl Recorder {
    pub fn new(window: Window) -> Self {
        Self {
            window,
            latency_ns: latency_histogram(),
            time_line: TimeLine::default(),
            acked: 0,
            errors: BTreeMap::new(),
            unanswered: 0,
        }
    }

    pub fn answered(&mut self, code: i32, intended_ns: u64, now_ns: u64) {
        if code != response::SUCCESS {
            return self.failed(intended_ns, || code_label(code));
        }
        self.acked += 1;
        if self.window.holds(intended_ns) {
            self.record(intended_ns, now_ns);
        }
    }

    fn record(&mut self, intended_ns: u64, now_ns: u64) {
        let took_ns = now_ns.saturating_sub(intended_ns);
        self.latency_ns.saturating_record(took_ns);
        let after_ns = intended_ns - self.window.from_ns;
        self.time_line.took(after_ns, took_ns);
    }

    pub fn failed(&mut self, intended_ns: u64, cause: impl FnOnce() -> String) {
        if self.window.holds(intended_ns) {
            *self.errors.entry(cause()).or_default() += 1;
        }
    }

    /// Still without an answer when the run is over: it has waited at least until now.
    pub fn never_answered(&mut self, intended_ns: u64, now_ns: u64) {
        if self.window.holds(intended_ns) {
            self.unanswered += 1;
            self.record(intended_ns, now_ns);
        }
    }
}

fn code_label(code: i32) -> String {
    match response::name(code) {
        Some(name) => format!("code {code} {name}"),
        None => format!("code {code}"),
    }
}

/// Intended send times of a connection's requests in flight, by opaque: answers may come in any order.
#[derive(Default)]
pub struct InFlight {
    /// Sequence number of the first entry of `intended`.
    head: u64,
    /// Entries of answered requests are [`ANSWERED`] until they reach the front.
    intended: std::collections::VecDeque<u64>,
}

const ANSWERED: u64 = u64::MAX;

impl InFlight {
    /// The sequence number that the request gets.
    pub fn push(&mut self, intended_ns: u64) -> u64 {
        self.intended.push_back(intended_ns);
        self.head + self.intended.len() as u64 - 1
    }

    /// The time that was pushed with this number, taken modulo `span`; `None` if no such request is waiting.
    pub fn take(&mut self, sequence_modulo: u64, span: u64) -> Option<u64> {
        let at = (sequence_modulo + span - self.head % span) % span;
        let entry = self.intended.get_mut(usize::try_from(at).ok()?)?;
        let intended = std::mem::replace(entry, ANSWERED);
        if intended == ANSWERED {
            return None;
        }
        while self.intended.front() == Some(&ANSWERED) {
            self.intended.pop_front();
            self.head += 1;
        }
        Some(intended)
    }

    pub fn drain(&mut self) -> impl Iterator<Item = u64> {
        self.head += self.intended.len() as u64;
        self.intended
            .drain(..)
            .filter(|intended| *intended != ANSWERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Window = Window {
        from_ns: 1_000,
        until_ns: 2_000,
    };

    #[test]
    fn only_what_was_meant_for_the_window_is_measured() {
        let mut recorder = Recorder::new(WINDOW);
        recorder.answered(0, 999, 1_500);
        recorder.answered(0, 1_000, 9_000);
        recorder.answered(0, 2_000, 2_001);
        recorder.answered(response::SYSTEM_BUSY, 1_500, 1_501);
        recorder.answered(response::SYSTEM_BUSY, 900, 1_501);
        recorder.never_answered(1_999, 101_999);
        assert_eq!(recorder.acked, 3);
        assert_eq!(recorder.latency_ns.len(), 2);
        assert!(
            recorder
                .latency_ns
                .equivalent(recorder.latency_ns.max(), 100_000)
        );
        assert_eq!(
            recorder.errors,
            BTreeMap::from([("code 2 SYSTEM_BUSY".to_owned(), 1)])
        );
        assert_eq!(recorder.unanswered, 1);
    }

    #[test]
    fn an_answer_to_nothing_is_none() {
        let mut in_flight = InFlight::default();
        assert_eq!(in_flight.take(0, 100), None);
        let sequence = in_flight.push(5);
        assert_eq!(in_flight.take(sequence, 100), Some(5));
        assert_eq!(in_flight.take(sequence, 100), None);
    }

    proptest! {
        /// Against the obvious model, a map from number to time; the small span makes the numbers wrap.
        #[test]
        fn answers_in_any_order_find_their_requests(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..300)) {
            const SPAN: u64 = 64;
            let mut in_flight = InFlight::default();
            let mut model: Vec<(u64, u64)> = Vec::new();
            let mut oldest_kept = 0u64;
            for (time, (push, pick)) in steps.into_iter().enumerate() {
                let next = oldest_kept + in_flight.intended.len() as u64;
                if (push || model.is_empty()) && next - in_flight.head < SPAN {
                    let sequence = in_flight.push(time as u64);
                    model.push((sequence % SPAN, time as u64));
                } else if !model.is_empty() {
                    let (sequence, intended) = model.swap_remove(pick.index(model.len()));
                    prop_assert_eq!(in_flight.take(sequence, SPAN), Some(intended));
                }
                oldest_kept = in_flight.head;
            }
            let mut left: Vec<u64> = in_flight.drain().collect();
            let mut expected: Vec<u64> = model.into_iter().map(|(_, time)| time).collect();
            left.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(left, expected);
        }
    }
}
