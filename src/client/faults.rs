//! Which brokers a producer avoids for a while: a slow one for a time that grows with its latency, a failed one as if its latency were
//! 10 s. Pure: time is an argument.
//!
//! Source: `MQFaultStrategy`, `LatencyFaultToleranceImpl`.

use std::collections::HashMap;

/// What a failure counts as.
const FAILED_MS: u64 = 10_000;
/// Latency, and for how long it makes a broker avoided.
const AVOIDED_MS: [(u64, u64); 7] = [
    (15_000, 30_000),
    (5_000, 10_000),
    (3_000, 6_000),
    (1_800, 5_000),
    (550, 2_000),
    (100, 0),
    (50, 0),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered { latency_ms: u64 },
    Failed,
}

/// By broker name.
#[derive(Debug, Default)]
pub struct Faults {
    avoided_until_ms: HashMap<String, u64>,
}

impl Faults {
    pub fn note(&mut self, broker: &str, outcome: Outcome, now_ms: u64) {
        let latency_ms = match outcome {
            Outcome::Answered { latency_ms } => latency_ms,
            Outcome::Failed => FAILED_MS,
        };
        match avoided_ms(latency_ms) {
            0 => self.avoided_until_ms.remove(broker),
            ms => self.avoided_until_ms.insert(broker.to_owned(), now_ms + ms),
        };
    }

    pub fn is_available(&self, broker: &str, now_ms: u64) -> bool {
        self.avoided_until_ms
            .get(broker)
            .is_none_or(|until_ms| now_ms >= *until_ms)
    }
}

fn avoided_ms(latency_ms: u64) -> u64 {
    AVOIDED_MS
        .iter()
        .find(|(from_ms, _)| latency_ms >= *from_ms)
        .map_or(0, |(_, avoided_ms)| *avoided_ms)
}

/// The queue to send to: the next in turn whose broker is available and did not just fail; if there is none, the next whose broker
/// did not just fail; if there is none either, simply the next. `None` without any queue.
pub fn choose<'a, Q>(
    queues: &'a [Q],
    turn: usize,
    broker: impl Fn(&Q) -> &str,
    just_failed: Option<&str>,
    available: impl Fn(&str) -> bool,
) -> Option<&'a Q> {
    if queues.is_empty() {
        return None;
    }
    let in_turn = || (0..queues.len()).map(|step| &queues[turn.wrapping_add(step) % queues.len()]);
    let other = |queue: &&Q| Some(broker(queue)) != just_failed;
    in_turn()
        .find(|queue| other(queue) && available(broker(queue)))
        .or_else(|| in_turn().find(other))
        .or_else(|| in_turn().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `latencyMax` and `notAvailableDuration` of the Java client.
    #[test]
    fn as_in_java() {
        let latency_max = [50, 100, 550, 1_800, 3_000, 5_000, 15_000];
        let not_available = [0, 0, 2_000, 5_000, 6_000, 10_000, 30_000];
        for (nth, from) in latency_max.into_iter().enumerate() {
            assert_eq!(avoided_ms(from), not_available[nth], "{from}");
            let below = nth.checked_sub(1).map_or(0, |nth| not_available[nth]);
            assert_eq!(avoided_ms(from - 1), below, "{from} - 1");
        }
        assert_eq!(avoided_ms(FAILED_MS), 10_000);
    }

    #[test]
    fn a_failed_broker_is_left_alone_and_comes_back() {
        let mut faults = Faults::default();
        faults.note("a", Outcome::Failed, 1_000);
        assert!(!faults.is_available("a", 10_999) && faults.is_available("a", 11_000));
        assert!(faults.is_available("b", 1_000));
        faults.note("a", Outcome::Answered { latency_ms: 3 }, 2_000);
        assert!(faults.is_available("a", 2_000));
        faults.note("a", Outcome::Answered { latency_ms: 700 }, 2_000);
        assert!(!faults.is_available("a", 3_999) && faults.is_available("a", 4_000));
    }

    #[test]
    fn turns_go_round() {
        let queues = ["a0", "b0", "a1", "b1"];
        let chosen = |turn, failed, up: &'static str| {
            let available = |broker: &str| up.contains(broker);
            *choose(&queues, turn, |queue| &queue[..1], failed, available).unwrap()
        };
        let round: Vec<_> = (0..5).map(|turn| chosen(turn, None, "ab")).collect();
        assert_eq!(round, ["a0", "b0", "a1", "b1", "a0"]);
        assert_eq!(chosen(0, None, "b"), "b0");
        assert_eq!(chosen(0, Some("a"), ""), "b0");
        assert_eq!(chosen(3, None, ""), "b1");
    }

    proptest! {
        #[test]
        fn one_is_always_chosen_and_the_best_there_is(
            brokers in prop::collection::vec(0_usize..3, 1..9), turn: usize,
            failed in prop::option::of(0_usize..3), up in prop::collection::vec(any::<bool>(), 3),
        ) {
            const NAMES: [&str; 3] = ["a", "b", "c"];
            let of = |name: &str| NAMES.iter().position(|known| *known == name).unwrap();
            let failed = failed.map(|at| NAMES[at]);
            let rank = |at: usize| (Some(NAMES[at]) == failed, !up[at] && Some(NAMES[at]) != failed);
            let chosen = *choose(&brokers, turn, |at| NAMES[*at], failed, |name| up[of(name)]).unwrap();
            let best = brokers.iter().map(|at| rank(*at)).min().unwrap();
            prop_assert_eq!(rank(chosen), best);
        }
    }
}
