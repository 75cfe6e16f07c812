//! Many seeds, on all cores: one line of progress, then what was done, what was injected and which seeds failed.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ringmq::sim::{self, Tally};

use crate::{fresh_seed, number_from};

/// When there have been enough.
#[derive(Clone, Copy, Debug)]
pub enum Enough {
    Seeds(u64),
    Time(Duration),
    /// This many seeds, or the first failure.
    Failure(u64),
}

#[derive(Default)]
pub struct Runs {
    pub start: u64,
    pub seeds: u64,
    pub took: Duration,
    pub tally: Tally,
    /// By seed.
    pub failures: Vec<(u64, String)>,
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seeds, start, took) = (self.seeds, self.start, self.took.as_secs());
        writeln!(f, "{seeds} seeds from {start} on in {took} s")?;
        write!(f, "{}", self.tally)?;
        for (seed, failure) in &self.failures {
            write!(f, "\nseed {seed} failed: {failure}")?;
            write!(f, "\n  again: SEED={seed} cargo test --test sim")?;
        }
        Ok(())
    }
}

/// As `SEED`, `SEEDS` or `MINUTES` say, else with the same few seeds each time. `SEEDS` are fresh ones, or those from `FIRST` on.
pub fn from_environment(who: &str, history: impl Fn(u64) -> Tally + Sync, fixed: u64) {
    if let Some(seed) = number_from("SEED") {
        return println!("seed {seed}\n{}", history(seed));
    }
    let minutes = number_from("MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    let (start, enough) = match (minutes, number_from("SEEDS")) {
        (Some(time), _) => (fresh_seed(), Enough::Time(time)),
        (None, Some(seeds)) => {
            let first = number_from("FIRST").unwrap_or_else(fresh_seed);
            (first, Enough::Seeds(seeds))
        }
        (None, None) => (1, Enough::Failure(fixed)),
    };
    let runs = run(who, history, start, enough, cores());
    assert!(runs.failures.is_empty(), "{runs}");
    println!("{runs}");
}

/// `history` with the seeds from `start` on, one after the other on each core. `who` stands before the progress.
pub fn run(
    who: &str,
    history: impl Fn(u64) -> Tally + Sync,
    start: u64,
    enough: Enough,
    workers: usize,
) -> Runs {
    let began = Instant::now();
    let (next, is_enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let runs = Mutex::new(Runs {
        start,
        ..Runs::default()
    });
    let progress = progress(who, enough);
    let work = || {
        while !is_enough.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let is_over = match enough {
                Enough::Seeds(seeds) | Enough::Failure(seeds) => n >= seeds,
                Enough::Time(time) => began.elapsed() >= time,
            };
            if is_over {
                break;
            }
            let seed = start.wrapping_add(n);
            let ended = caught(|| freed(|| history(seed)));
            let mut runs = runs.lock().expect("nobody panics with it");
            runs.seeds += 1;
            match ended {
                Ok(tally) => runs.tally.add(&tally),
                Err(failure) => {
                    runs.failures.push((seed, failure));
                    let is_last = matches!(enough, Enough::Failure(_));
                    is_enough.fetch_or(is_last, Ordering::Relaxed);
                }
            }
            progress.set_position(runs.seeds);
            progress.set_message(format!("{} failed", runs.failures.len()));
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    progress.finish_and_clear();
    let mut runs = runs.into_inner().expect("nobody panics with it");
    runs.took = began.elapsed();
    runs.failures.sort();
    runs
}

pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn progress(who: &str, enough: Enough) -> ProgressBar {
    let bar = match enough {
        Enough::Seeds(seeds) | Enough::Failure(seeds) => ProgressBar::new(seeds),
        Enough::Time(_) => ProgressBar::no_length(),
    };
    let style = "{prefix}: {human_pos}/{human_len} seeds, {elapsed}, {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("a template"));
    bar.set_prefix(who.to_owned());
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

/// Nothing of the history is in memory when it is over: what is left of each adds up.
fn freed(history: impl FnOnce() -> Tally) -> Tally {
    let before = sim::in_memory();
    let tally = history();
    let left = sim::in_memory().saturating_sub(before);
    assert_eq!(
        left, 0,
        "something keeps the world of the history in memory"
    );
    tally
}

thread_local! {
    /// What the panic of a history says; `None` on a thread of somebody else.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What the history ends with, or what its panic says.
fn caught(history: impl FnOnce() -> Tally) -> Result<Tally, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_ours = SAID.with_borrow_mut(|said| match said {
                Some(said) if said.is_empty() => {
                    *said = info.to_string();
                    true
                }
                said => said.is_some(),
            });
            if !is_ours {
                before(info);
            }
        }));
    });
    SAID.set(Some(String::new()));
    let ended = panic::catch_unwind(AssertUnwindSafe(history));
    let said = SAID.take().unwrap_or_default();
    ended.map_err(|_: Box<dyn Any + Send>| said)
}
