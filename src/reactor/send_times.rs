//! How long sends take until they are acknowledged: of the last minute for those who ask how it is now (28, as RocketMQ's `StoreStatsService`), of all
//! sends for the metrics. A time is recorded once.

use hdrhistogram::Histogram;

use crate::metrics;
use crate::metrics::families::COMMIT_SECONDS;

const MINUTE_NS: u64 = 60_000_000_000;

/// Longer times are not told apart. The histograms have their size from the start on, as what is recorded does not make them grow.
const LONGEST_US: u64 = 60_000_000;

/// In microseconds.
pub struct SendTimes {
    /// Of this minute.
    present: Histogram<u32>,
    present_sum_us: u64,
    /// When it ends; `None` until something is recorded or asked.
    ends_ns: Option<u64>,
    /// Of the minute before, once there was one.
    last: Histogram<u32>,
    has_last: bool,
    /// Of all minutes before this one.
    before: metrics::Histogram,
}

impl Default for SendTimes {
    fn default() -> Self {
        let none = || Histogram::new_with_bounds(1, LONGEST_US, 2).expect("two digits are allowed");
        Self {
            present: none(),
            present_sum_us: 0,
            ends_ns: None,
            last: none(),
            has_last: false,
            before: metrics::Histogram::of(&COMMIT_SECONDS),
        }
    }
}

impl SendTimes {
    pub fn record(&mut self, took_ns: u64, now_ns: u64) {
        self.pass(now_ns);
        let took_us = took_ns / 1000;
        self.present.saturating_record(took_us);
        self.present_sum_us += took_us;
    }

    /// Those of the last whole minute; of the first one also before it is over.
    pub fn recent(&mut self, now_ns: u64) -> &Histogram<u32> {
        self.pass(now_ns);
        match self.has_last {
            true => &self.last,
            false => &self.present,
        }
    }

    /// Of all sends. A time counts in the range of the shortest one that is not told apart from it, which is less than 1 % shorter.
    pub fn all(&self) -> metrics::Histogram {
        let times = self.present.iter_recorded().map(|times| {
            let shortest_us = self.present.lowest_equivalent(times.value_iterated_to());
            (shortest_us, times.count_since_last_iteration())
        });
        let mut all = self.before.clone();
        all.add(times, self.present_sum_us);
        all
    }

    /// Begins the next minute, if it is time.
    fn pass(&mut self, now_ns: u64) {
        let ends_ns = *self.ends_ns.get_or_insert(now_ns + MINUTE_NS);
        if now_ns < ends_ns {
            return;
        }
        let whole_minutes = 1 + (now_ns - ends_ns) / MINUTE_NS;
        self.ends_ns = Some(ends_ns + whole_minutes * MINUTE_NS);
        self.before = self.all();
        self.present_sum_us = 0;
        std::mem::swap(&mut self.present, &mut self.last);
        self.present.reset();
        if whole_minutes > 1 {
            self.last.reset();
        }
        self.has_last = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// As a histogram of the metrics that records each time itself.
    #[test]
    fn all_times_are_there_whatever_minute_they_are_of() {
        let mut times = SendTimes::default();
        let mut expected = metrics::Histogram::of(&COMMIT_SECONDS);
        let took_us = [
            0, 50, 51, 100, 500, 504, 1_000, 7_000, 10_000_000, 11_000_000,
        ];
        for (minute, took_us) in took_us.into_iter().enumerate() {
            times.record(took_us * 1_000 + 999, minute as u64 / 3 * MINUTE_NS);
            expected.record(took_us);
            assert_eq!(times.all(), expected);
        }
    }

    /// Tools take the numbers of 28 for those of the last minute, and for 32 bits.
    #[test]
    fn what_is_recent_ends_with_its_minute() {
        let mut times = SendTimes::default();
        let count = |times: &mut SendTimes, now_ns| times.recent(now_ns).len();
        times.record(MS, 5);
        times.record(MS, 6);
        assert_eq!(count(&mut times, 7), 2, "the first minute is not over");
        times.record(MS, 5 + MINUTE_NS);
        assert_eq!(count(&mut times, 6 + MINUTE_NS), 2);
        assert_eq!(count(&mut times, 5 + 2 * MINUTE_NS), 1);
        assert_eq!(count(&mut times, 5 + 3 * MINUTE_NS), 0);
        times.record(90_000 * MS, 6 + 3 * MINUTE_NS);
        assert_eq!(
            count(&mut times, 5 + 5 * MINUTE_NS),
            0,
            "it was two minutes ago"
        );
        assert_eq!(times.all().count(), 4);
    }

    /// Each was stated as a quarter of a millisecond.
    #[test]
    fn a_slow_send_is_stated_as_it_is() {
        let mut times = SendTimes::default();
        for took_ms in [1, 20, 700] {
            times.record(took_ms * MS, 0);
        }
        let mut percent = |percent| times.recent(0).value_at_percentile(percent) / 1000;
        assert_eq!([percent(33.0), percent(66.0), percent(99.9)], [1, 20, 700]);
    }
}
