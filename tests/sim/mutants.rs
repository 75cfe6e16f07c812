//! Shows that the judge can judge: bugs are put back one at a time, and every one of them has to be found within a bound.
//!
//! ```text
//! cargo test --profile sim --features mutants --test sim mutants -- --nocapture
//! MUTANT=TimersLost SEED=3 ...                    only this one, to see how it fails
//! ```
//!
//! The histories come first. What they cannot find, or too rarely, a scenario does.

use std::fmt::Write;

use ringmq::mutants::{Mutant, choose};
use ringmq::sim::Tally;

use crate::seeds::{self, Enough, Runs};
use crate::{bad_disks, fresh_seed, history, kept, number_from, pop};

/// Lives that a bug may show in.
#[derive(Clone, Copy)]
struct Judge {
    name: &'static str,
    run: fn(u64) -> Tally,
    /// Seeds within which a bug has to be found.
    seeds: u64,
}

const HISTORIES: Judge = judge("histories", history, 400);
const FAILING_LOG: Judge = judge("failing log", bad_disks::failing_log, 60);
const ROT: Judge = judge("rot", bad_disks::rot, 60);
const OFFSETS: Judge = judge("offsets", kept::offsets, 60);
const OFFSETS_AND_LOG: Judge = judge("offsets and log", kept::offsets_and_log, 60);
const DELETED_TOPIC: Judge = judge("deleted topic", kept::deleted_topic, 60);
const KEYS: Judge = judge("keys", kept::keys, 60);
const LOCKS: Judge = judge("locks", kept::locks, 10);
const POPS: Judge = judge("pops", pop::one_history, 60);

const fn judge(name: &'static str, run: fn(u64) -> Tally, seeds: u64) -> Judge {
    Judge { name, run, seeds }
}

/// Seeds of each judge without any bug.
const SOUND_SEEDS: u64 = 10;

fn judge_of(mutant: Mutant) -> Judge {
    match mutant {
        Mutant::SwallowWriteError | Mutant::SwallowFlushError => FAILING_LOG,
        Mutant::SkipRecordCrc => ROT,
        Mutant::TextsInPlace => OFFSETS,
        Mutant::OffsetsAheadOfLog => OFFSETS_AND_LOG,
        Mutant::DeletedTopicReturns => DELETED_TOPIC,
        Mutant::IndexNotContinued => KEYS,
        Mutant::TwoLockOwners => LOCKS,
        Mutant::PopAcksLost => POPS,
        _ => HISTORIES,
    }
}

#[test]
fn every_mutant_is_caught() {
    let only = std::env::var("MUTANT").ok();
    let is_meant = |mutant: &Mutant| {
        only.as_ref()
            .is_none_or(|only| *only == format!("{mutant:?}"))
    };
    let mut table = String::from("mutant | what is wrong | judge | seeds | caught by\n");
    let mut missed = Vec::new();
    for mutant in Mutant::ALL.iter().copied().filter(is_meant) {
        let judge = judge_of(mutant);
        let runs = runs(judge, Some(mutant), Enough::Failure(judge.seeds));
        let caught = runs.failures.first().map(|(_, said)| headline(said));
        if caught.is_none() {
            missed.push(mutant);
        }
        let caught = caught.unwrap_or("NOT CAUGHT");
        let (name, fault, seeds) = (judge.name, mutant.fault(), runs.seeds);
        writeln!(table, "{mutant:?} | {fault} | {name} | {seeds} | {caught}").expect("a string");
    }
    println!("{table}");
    assert!(missed.is_empty(), "not caught: {missed:?}\n{table}");
}

/// Or nothing that is found says anything of a bug.
#[test]
fn without_mutants_nothing_is_found() {
    let judges = [
        HISTORIES,
        FAILING_LOG,
        ROT,
        OFFSETS,
        OFFSETS_AND_LOG,
        DELETED_TOPIC,
        KEYS,
        LOCKS,
        POPS,
    ];
    for judge in judges {
        let runs = runs(judge, None, Enough::Seeds(SOUND_SEEDS));
        assert!(runs.failures.is_empty(), "{}: {runs}", judge.name);
    }
}

fn runs(judge: Judge, mutant: Option<Mutant>, enough: Enough) -> Runs {
    let who = mutant.map_or("no mutant".to_owned(), |mutant| format!("{mutant:?}"));
    let start = number_from("SEED").unwrap_or_else(fresh_seed);
    let run = move |seed| {
        choose(mutant);
        (judge.run)(seed)
    };
    seeds::run(&who, run, start, enough, seeds::cores())
}

/// The first line of what a panic says, without where it was.
fn headline(said: &str) -> &str {
    let message = said.split_once('\n').map_or(said, |(_, message)| message);
    let line = message.lines().next().unwrap_or_default();
    match line.char_indices().nth(100) {
        Some((end, _)) => &line[..end],
        None => line,
    }
}
