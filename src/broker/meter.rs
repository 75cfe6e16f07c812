//! How much of something there was in the last minute, hour and day (RocketMQ: `StatsItem`).
//!
//! ```text
//! total   10     17       20              26
//!         |--10s--|--10s--|     nothing    |--  now      samples: the total before the first count of each step
//!                 ^ window begins: from the first sample within it to now
//! ```
//!
//! No timer is needed for the samples: a count that finds the last one older than a step takes the next. RocketMQ looks
//! only at its samples and so is late by up to a step; here what is counted shows at once.

use std::collections::VecDeque;

/// What there was in a window of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amount {
    pub sum: u64,
    pub times: u64,
    pub per_second: f64,
}

#[derive(Clone, Debug, Default)]
pub struct Meter {
    total: Total,
    next_sample_ms: u64,
    minute: Samples<10_000, 6>,
    hour: Samples<600_000, 6>,
    day: Samples<3_600_000, 24>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    sum: u64,
    times: u64,
}

/// Samples a step apart at least, of as many steps as make the window.
#[derive(Clone, Debug, Default)]
struct Samples<const STEP_MS: u64, const STEPS: u64> {
    samples: VecDeque<(u64, Total)>,
}

impl Meter {
    /// Counts once: `count` of it.
    pub fn add(&mut self, count: u64, now_ms: u64) {
        if now_ms >= self.next_sample_ms {
            self.minute.take(self.total, now_ms);
            self.hour.take(self.total, now_ms);
            self.day.take(self.total, now_ms);
            self.next_sample_ms = now_ms + 10_000;
        }
        self.total.sum += count;
        self.total.times += 1;
    }

    /// Of all there was.
    pub fn sum(&self) -> u64 {
        self.total.sum
    }

    /// Whether nothing was counted yet.
    pub fn is_empty(&self) -> bool {
        self.total.times == 0
    }

    pub fn minute(&self, now_ms: u64) -> Amount {
        self.minute.amount(self.total, now_ms)
    }

    pub fn hour(&self, now_ms: u64) -> Amount {
        self.hour.amount(self.total, now_ms)
    }

    pub fn day(&self, now_ms: u64) -> Amount {
        self.day.amount(self.total, now_ms)
    }
}

impl<const STEP_MS: u64, const STEPS: u64> Samples<STEP_MS, STEPS> {
    const WINDOW_MS: u64 = STEP_MS * STEPS;

    fn take(&mut self, total: Total, now_ms: u64) {
        let last_ms = self.samples.back().map(|(at_ms, _)| *at_ms);
        if last_ms.is_some_and(|last_ms| now_ms < last_ms + STEP_MS) {
            return;
        }
        while self
            .samples
            .front()
            .is_some_and(|(at_ms, _)| at_ms + Self::WINDOW_MS < now_ms)
        {
            self.samples.pop_front();
        }
        self.samples.push_back((now_ms, total));
    }

    fn amount(&self, total: Total, now_ms: u64) -> Amount {
        let mut samples = self.samples.iter();
        let Some((at_ms, then)) = samples.find(|(at_ms, _)| at_ms + Self::WINDOW_MS >= now_ms)
        else {
            return Amount::default();
        };
        let sum = total.sum - then.sum;
        // Of the first seconds no rate can be told; they count as a whole step.
        let elapsed_ms = now_ms.saturating_sub(*at_ms).max(STEP_MS);
        Amount {
            sum,
            times: total.times - then.times,
            per_second: sum as f64 * 1000.0 / elapsed_ms as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_shows_in_every_window() {
        let mut meter = Meter::default();
        for second in 0..7200 {
            meter.add(5, second * 1000);
            meter.add(5, second * 1000);
        }
        let now_ms = 7200 * 1000;
        for amount in [meter.minute(now_ms), meter.hour(now_ms), meter.day(now_ms)] {
            assert!((amount.per_second - 10.0).abs() < 0.01, "{amount:?}");
            assert_eq!(amount.sum, amount.times * 5);
        }
        assert_eq!(meter.minute(now_ms).sum, 600);
        assert_eq!(meter.hour(now_ms).sum, 36_000);
        assert_eq!(meter.day(now_ms).sum, 72_000);
    }

    #[test]
    fn what_is_counted_shows_at_once_and_leaves_with_its_window() {
        let mut meter = Meter::default();
        assert_eq!(meter.minute(0), Amount::default());
        meter.add(20, 1_000);
        let amount = meter.minute(1_000);
        assert_eq!((amount.sum, amount.times, amount.per_second), (20, 1, 2.0));
        assert_eq!(meter.minute(61_000).sum, 20);
        assert_eq!(meter.minute(61_001).sum, 0);
        assert_eq!(meter.hour(3_601_000).sum, 20);
        assert_eq!(meter.hour(3_601_001).sum, 0);
        assert_eq!(meter.day(86_401_000).sum, 20);
        assert_eq!(meter.day(86_401_001).sum, 0);
    }

    #[test]
    fn samples_are_bounded() {
        let mut meter = Meter::default();
        for minute in 0..3 * 24 * 60 {
            meter.add(1, minute * 60_000);
        }
        assert!(meter.minute.samples.len() <= 7 && meter.hour.samples.len() <= 7);
        assert!(meter.day.samples.len() <= 25);
    }

    /// A clock that is set back is no reason to panic.
    #[test]
    fn a_clock_may_go_back() {
        let mut meter = Meter::default();
        meter.add(1, 100_000);
        meter.add(1, 5);
        assert_eq!(meter.minute(5).sum, 2);
    }
}
