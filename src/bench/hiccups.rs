//! When this machine itself stood still: on each core that is watched, a thread sleeps for a few milliseconds again and again and measures
//! how late it wakes up.
//!
//! Time in which the thread was ready and others ran is left out, as that is the load (`schedstat` has it). What is left is time in which the
//! core ran nothing of this system: the hypervisor ran another virtual machine on it, for example. No broker can answer in that time, so it is part of the
//! latencies although the broker is not its cause. A hiccup is measured from the time at which the thread was to wake up, so it lasted up to [`NAP`]
//! longer.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::time_line::TimeLine;
use super::{cpu, pin};

/// A wake-up costs 28 to 54 us on a virtual machine with an AMD EPYC, most of it for the sleep itself: about 1 % of a core.
const NAP: Duration = Duration::from_millis(4);

/// A shorter delay of a timer is usual and counts as none.
const SHORTEST: Duration = Duration::from_millis(2);

/// How long a machine stood still during a run, on any of its cores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hiccups {
    pub count: u64,
    /// Time in which at least one of them did.
    pub total: Duration,
    pub longest: Duration,
    /// CPU time that the hypervisor gave to others, of all cores.
    pub stolen: Duration,
}

/// From its start until it is dropped.
pub struct HiccupMeter {
    ends: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Hiccup>>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
struct Hiccup {
    ended: Instant,
    lasted: Duration,
}

impl HiccupMeter {
    /// Watches these cores.
    pub fn start(cores: &[usize]) -> Self {
        let (ends, seen) = (Arc::<AtomicBool>::default(), Arc::default());
        let watch = |core: &usize| {
            let (core, ends, seen) = (*core, ends.clone(), Arc::clone(&seen));
            let name = format!("hiccups-{core}");
            let watch = move || {
                pin(Some(core));
                // Refused to most users; what others take is then subtracted just the same.
                let _ = rustix::process::nice(-20);
                watch(&ends, &seen);
            };
            thread::Builder::new().name(name).spawn(watch).ok()
        };
        let threads = cores.iter().filter_map(watch).collect();
        Self {
            ends,
            seen,
            threads,
        }
    }

    /// All that ended between the two, each in its place of the time line.
    pub fn between(&self, from: Instant, until: Instant, line: &mut TimeLine) -> Hiccups {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Hiccups::default();
        let inside = seen.iter().filter(|it| (from..until).contains(&it.ended));
        let mut inside: Vec<Hiccup> = inside.copied().collect();
        inside.sort_unstable_by_key(|hiccup| hiccup.ended);
        let mut counted_until = None;
        for hiccup in inside {
            all.count += 1;
            let since_last = counted_until.map(|until| hiccup.ended - until);
            all.total += since_last.map_or(hiccup.lasted, |most| hiccup.lasted.min(most));
            counted_until = Some(hiccup.ended);
            all.longest = all.longest.max(hiccup.lasted);
            let after = hiccup.ended - from;
            line.stood_still(after.as_nanos() as u64, hiccup.lasted.as_nanos() as u64);
        }
        all
    }
}

impl Drop for HiccupMeter {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn watch(ends: &AtomicBool, seen: &Mutex<Vec<Hiccup>>) {
    let Ok(waited) = cpu::Waited::of_this_thread() else {
        return;
    };
    let mut before = waited.read().unwrap_or_default();
    while !ends.load(Ordering::Relaxed) {
        let due = Instant::now() + NAP;
        thread::sleep(NAP);
        let ended = Instant::now();
        let now = waited.read().unwrap_or(before);
        let others = now.saturating_sub(before);
        before = now;
        let lasted = ended.saturating_duration_since(due).saturating_sub(others);
        if lasted >= SHORTEST {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(Hiccup { ended, lasted });
        }
    }
}

/// CPU time that the hypervisor has given to others since the boot: the eighth figure of the first line of `/proc/stat`, in hundredths of a second.
pub fn stolen() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = text.split_whitespace().nth(8);
    let ticks: u64 = ticks.and_then(|ticks| ticks.parse().ok()).unwrap_or(0);
    Ok(Duration::from_millis(ticks * 10))
}

impl Hiccups {
    pub fn plus(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            total: self.total + other.total,
            longest: self.longest.max(other.longest),
            stolen: self.stolen + other.stolen,
        }
    }

    /// From which of these percentiles on the latencies of a run are the machine's and not the broker's: the first whose rest of the run
    /// is shorter than the machine stood still. `None`: of none.
    pub fn affects(&self, elapsed: Duration) -> Option<&'static str> {
        let share = self.total.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        let percentiles = [
            ("p90", 0.1),
            ("p99", 0.01),
            ("p99.9", 1e-3),
            ("p99.99", 1e-4),
        ];
        let affected = percentiles.into_iter().find(|(_, rest)| share >= *rest);
        let last = (self.count > 0).then_some("max");
        affected.map(|(name, _)| name).or(last)
    }

    /// Whether what a run has measured up to its p99.9 is the machine's.
    pub fn spoils(&self, elapsed: Duration) -> bool {
        self.total.as_secs_f64() >= 1e-3 * elapsed.as_secs_f64()
    }
}

impl Serialize for Hiccups {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            count: u64,
            total_ms: f64,
            longest_ms: f64,
            stolen_ms: f64,
        }
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Shown {
            count: self.count,
            total_ms: ms(self.total),
            longest_ms: ms(self.longest),
            stolen_ms: ms(self.stolen),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hiccups(total_ms: u64) -> Hiccups {
        Hiccups {
            count: u64::from(total_ms > 0),
            total: Duration::from_millis(total_ms),
            longest: Duration::from_millis(total_ms),
            stolen: Duration::ZERO,
        }
    }

    #[test]
    fn the_share_of_the_run_says_which_percentiles_are_affected() {
        let run = Duration::from_secs(10);
        let affected = |total_ms| hiccups(total_ms).affects(run);
        assert_eq!(affected(0), None);
        assert_eq!(affected(1), Some("p99.99"));
        assert_eq!(affected(10), Some("p99.9"));
        assert_eq!(affected(150), Some("p99"));
        assert_eq!(affected(1_500), Some("p90"));
        assert_eq!(hiccups(2).affects(run * 10), Some("max"));
        assert!(hiccups(10).spoils(run) && !hiccups(9).spoils(run));
    }

    #[test]
    fn what_ended_in_the_window_counts() {
        let meter = HiccupMeter::start(&[]);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (ended_ms, lasted_ms) in [(5, 3), (20, 7), (30, 4), (40, 90)] {
            let (ended, lasted) = (at(ended_ms), Duration::from_millis(lasted_ms));
            meter.seen.lock().unwrap().push(Hiccup { ended, lasted });
        }
        let mut line = TimeLine::default();
        let between = meter.between(at(10), at(40), &mut line);
        assert_eq!(line.hiccup_ns, [7_000_000]);
        assert_eq!(
            (between.count, between.total),
            (2, Duration::from_millis(11))
        );
        assert_eq!(between.longest, Duration::from_millis(7));
    }

    /// Both cores stood still from 12 to 20 ms.
    #[test]
    fn what_two_cores_have_at_once_counts_once() {
        let meter = HiccupMeter::start(&[]);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (ended_ms, lasted_ms) in [(25, 13), (20, 10)] {
            let (ended, lasted) = (at(ended_ms), Duration::from_millis(lasted_ms));
            meter.seen.lock().unwrap().push(Hiccup { ended, lasted });
        }
        let between = meter.between(start, at(40), &mut TimeLine::default());
        assert_eq!(
            (between.count, between.total),
            (2, Duration::from_millis(15))
        );
    }

    #[test]
    fn a_watch_ends_with_its_meter() {
        let meter = HiccupMeter::start(&[0]);
        let seen = Arc::clone(&meter.seen);
        drop(meter);
        assert_eq!(Arc::strong_count(&seen), 1);
        assert!(stolen().is_ok());
    }
}
