//! Shows that the judge can judge: bugs are put back one at a time, and every one of them has to be found within a bound.
//!
//! ```text
//! cargo test --profile sim --features mutants --test sim mutants -- --nocapture
//! cargo test --lib mutant_                                             those that a test of the library catches
//! MUTANT=TimersLost SEED=3 ...                    only this one, to see how it fails
//! SEEDS=200 ... without_mutants                   of each judge; JUDGE=rot: only of those with this in their names
//! ```
//!
//! The histories come first. What they cannot find, or too rarely, a scenario does. A seed that fails without the bug, too,
//! has not found it.

use std::fmt::Write;

use ringmq::mutants::{Mutant, choose};
use ringmq::sim::Tally;

use crate::seeds::{self, Enough, Runs};
use crate::{
    bad_disks, bare, batches, clocks, controlled, controllers, cuts, descriptors, devices, ends,
    fresh_seed, groups, history, kept, leftovers, number_from, pairs, pop, rotten,
    rotten_deliveries, rules, timers,
};

/// Lives that a bug may show in.
#[derive(Clone, Copy)]
struct Judge {
    name: &'static str,
    run: fn(u64) -> Tally,
    /// Seeds within which a bug has to be found.
    seeds: u64,
}

const HISTORIES: Judge = judge("histories", history, 60);
const FAILING_LOG: Judge = judge("failing log", bad_disks::failing_log, 60);
const FAILING_FLUSH: Judge = judge("failing flush", bad_disks::failing_flush, 20);
const ROT: Judge = judge("rot", bad_disks::rot, 60);
const OFFSETS: Judge = judge("offsets", kept::offsets, 60);
const OFFSETS_AND_LOG: Judge = judge("offsets and log", kept::offsets_and_log, 60);
const DELETED_TOPIC: Judge = judge("deleted topic", kept::deleted_topic, 60);
const KEYS: Judge = judge("keys", kept::keys, 60);
const BATCHES: Judge = judge("batches", batches::history, 20);
const LOCKS: Judge = judge("locks", kept::locks, 10);
const POPS: Judge = judge("pops", pop::one_history, 60);
const TORN_END: Judge = judge("torn end", leftovers::torn_end, 60);
const SEEN_AND_LOST: Judge = judge("seen and lost", leftovers::seen_and_lost, 20);
const RECYCLED_FILE: Judge = judge("recycled file", leftovers::recycled_file, 600);
const JOURNAL_AND_LOG: Judge = judge("journal and log", leftovers::journal_and_log, 60);
const JOURNAL_AND_QUEUE_FILES: Judge = judge(
    "journal and queue files",
    leftovers::journal_and_queue_files,
    60,
);
const WIPED_END: Judge = judge("wiped end", bare::wiped_end, 20);
const SAVED_QUEUE_FILES: Judge = judge("saved queue files", bare::saved_queue_files, 20);
const SHOWN_AND_CUT: Judge = judge("shown and cut", leftovers::shown_and_cut, 20);
const OUTLIVED: Judge = judge("outlived", ends::outlived, 20);
const UNREADABLE_END: Judge = judge("unreadable end", ends::unreadable_end, 20);
const LOST_CACHE: Judge = judge("lost cache", devices::lost_cache, 40);
const SHORTAGES: Judge = judge("shortages", devices::shortages, 10);
const FEW_DESCRIPTORS: Judge = judge("few descriptors", descriptors::few_descriptors, 10);
const CLOSED: Judge = judge("closed", descriptors::closed, 4);
const MISDIRECTED: Judge = judge("misdirected", devices::misdirected, 40);
const SLOW_NAMES: Judge = judge("slow names", devices::slow_names, 10);
const ROTTEN_QUEUES: Judge = judge("rotten queues", devices::rotten_queues, 40);
const ROTTEN_TIMERS: Judge = judge("rotten timers", timers::rot::rotten_timers, 40);
const SMALL_DISK: Judge = judge("small disk", devices::small_disk, 10);

const CUT_OFF: Judge = judge("cut-off masters", cuts::cut_off_masters, 20);
const CUT_AND_KILLED: Judge = judge("cut and killed", cuts::cut_and_kill, 20);
const DECIDED: Judge = judge("decided", controlled::decided::decided, 20);
const CLOCK_STEPS: Judge = judge("clock steps", clocks::clock_steps, 20);
const PAIRS: Judge = judge("pairs", pairs::pair_history, 120);
const IN_MEMORY: Judge = judge("in memory", rotten::in_memory, 4);
const START: Judge = judge("start", rotten::start, 10);
const ALONE: Judge = judge("alone", rotten::alone, 10);
const MEMBERS: Judge = judge("members", rules::members, 100);
const EPOCHS: Judge = judge("epochs", rules::epochs, 100);
const ROTTEN_ENDS: Judge = judge("rotten ends", groups::rotten_ends, 60);
const ROTTEN_DELIVERIES: Judge = judge(
    "rotten deliveries",
    rotten_deliveries::rotten_deliveries,
    20,
);
const LONGEST_LOG: Judge = judge("longest log", controllers::scripted::longest_log, 4);

const ALL: [Judge; 43] = [
    BATCHES,
    HISTORIES,
    FAILING_LOG,
    FAILING_FLUSH,
    ROT,
    OFFSETS,
    OFFSETS_AND_LOG,
    DELETED_TOPIC,
    KEYS,
    LOCKS,
    POPS,
    TORN_END,
    SEEN_AND_LOST,
    RECYCLED_FILE,
    JOURNAL_AND_LOG,
    JOURNAL_AND_QUEUE_FILES,
    WIPED_END,
    SAVED_QUEUE_FILES,
    SHOWN_AND_CUT,
    OUTLIVED,
    UNREADABLE_END,
    LOST_CACHE,
    SHORTAGES,
    FEW_DESCRIPTORS,
    CLOSED,
    MISDIRECTED,
    SLOW_NAMES,
    ROTTEN_QUEUES,
    ROTTEN_TIMERS,
    SMALL_DISK,
    DECIDED,
    CLOCK_STEPS,
    PAIRS,
    IN_MEMORY,
    START,
    ALONE,
    ROTTEN_ENDS,
    ROTTEN_DELIVERIES,
    MEMBERS,
    EPOCHS,
    LONGEST_LOG,
    CUT_OFF,
    CUT_AND_KILLED,
];

const fn judge(name: &'static str, run: fn(u64) -> Tally, seeds: u64) -> Judge {
    Judge { name, run, seeds }
}

/// Seeds of each judge without any bug.
const SOUND_SEEDS: u64 = 10;

/// Too rare in histories: a record of another position has to pass every other check of a recovery, and the file that could not be flushed
/// has to be one whose loss a later end shows, and the only whole member has to be late when the master dies. The library's tests
/// `mutant_*` catch them.
const OF_THE_LIBRARY: [Mutant; 9] = [
    Mutant::SkipPosition,
    Mutant::OnlyLogFences,
    Mutant::AloneForever,
    Mutant::SmallerSetUnheard,
    Mutant::UnconfirmedShown,
    Mutant::ForeignNotStated,
    Mutant::HalfNotMeasured,
    Mutant::NotDoubted,
    Mutant::SilentWholePassed,
];

fn judge_of(mutant: Mutant) -> Judge {
    match mutant {
        Mutant::SwallowWriteError => FAILING_LOG,
        Mutant::SwallowFlushError => FAILING_FLUSH,
        Mutant::SkipRecordCrc => ROT,
        Mutant::SkipPosition => RECYCLED_FILE,
        Mutant::SkipTailCrc => TORN_END,
        Mutant::TailNotWiped => WIPED_END,
        Mutant::ShowBeforeWrite => SEEN_AND_LOST,
        Mutant::RecoveredNotFlushed => SHOWN_AND_CUT,
        Mutant::JournalAheadOfLog => JOURNAL_AND_LOG,
        Mutant::JournalAheadOfQueueFiles => SAVED_QUEUE_FILES,
        Mutant::TextsInPlace => OFFSETS,
        Mutant::OffsetsAheadOfLog => OFFSETS_AND_LOG,
        Mutant::DeletedTopicReturns => DELETED_TOPIC,
        Mutant::IndexNotContinued => KEYS,
        Mutant::BatchRestoredAsOne => BATCHES,
        Mutant::TwoLockOwners => LOCKS,
        Mutant::PopAcksLost => POPS,
        Mutant::CutMissing | Mutant::OffsetsNotClamped => CUT_OFF,
        Mutant::CutNotWiped => CUT_AND_KILLED,
        Mutant::LockNotAwaited => OUTLIVED,
        Mutant::OnlyLogFences => LOST_CACHE,
        Mutant::ShortageFences => FEW_DESCRIPTORS,
        Mutant::RemovedStayOpen => CLOSED,
        Mutant::UnreadableEndRefused => UNREADABLE_END,
        Mutant::ColdPositionUnchecked => MISDIRECTED,
        Mutant::CommitWaitsForNames => SLOW_NAMES,
        Mutant::FullDiskNotFreed => SMALL_DISK,
        Mutant::RottenEntryBelieved => ROTTEN_QUEUES,
        Mutant::RottenTimersBelieved => ROTTEN_TIMERS,
        Mutant::RecallsByClock | Mutant::SetBackRepeats => CLOCK_STEPS,
        Mutant::ReplicasNotAwaited
        | Mutant::OwnWriteNotAwaited
        | Mutant::ReportBeforeWrite
        | Mutant::ReportBeforeFlush
        | Mutant::ConfirmNotAwaited
        | Mutant::HolesStay => PAIRS,
        Mutant::MemoryBelieved => IN_MEMORY,
        Mutant::StartPassesOver => START,
        Mutant::OthersForgotten => ALONE,
        Mutant::EndNotDoubted => ROTTEN_ENDS,
        Mutant::DeliveredNotAwaited | Mutant::RottenHeadPassed => ROTTEN_DELIVERIES,
        Mutant::WinnerCutsUnconfirmed => DECIDED,
        Mutant::LostReplicaCounts
        | Mutant::ReplicaCountsTwice
        | Mutant::LearnerCounts
        | Mutant::SetShrinksAtOnce
        | Mutant::JoinerNotAwaited => MEMBERS,
        Mutant::EpochKeptBehindCut => EPOCHS,
        Mutant::ElectionBy32Bits => LONGEST_LOG,
        _ => HISTORIES,
    }
}

#[test]
fn every_mutant_is_caught() {
    let only = std::env::var("MUTANT").ok();
    let is_meant = |mutant: &Mutant| {
        let name = format!("{mutant:?}");
        match &only {
            Some(only) => *only == name,
            None => !OF_THE_LIBRARY.contains(mutant),
        }
    };
    let mut table = String::from("mutant | what is wrong | judge | seeds | caught by\n");
    let mut missed = Vec::new();
    for mutant in Mutant::ALL.iter().copied().filter(is_meant) {
        let judge = judge_of(mutant);
        let (seeds, said) = search(judge, mutant);
        if said.is_none() {
            missed.push(mutant);
        }
        let caught = said.as_deref().map_or("NOT CAUGHT", headline);
        let (name, fault) = (judge.name, mutant.fault());
        writeln!(table, "{mutant:?} | {fault} | {name} | {seeds} | {caught}").expect("a string");
    }
    println!("{table}");
    assert!(missed.is_empty(), "not caught: {missed:?}\n{table}");
}

/// How many seeds were tried, and what the one said that has found the bug.
fn search(judge: Judge, mutant: Mutant) -> (u64, Option<String>) {
    let start = number_from("SEED").unwrap_or_else(fresh_seed);
    let mut tried = 0;
    while tried < judge.seeds {
        let enough = Enough::Failure(judge.seeds - tried);
        let runs = runs(judge, Some(mutant), start + tried, enough);
        tried += runs.seeds;
        for (seed, said) in runs.failures {
            let sound = self::runs(judge, None, seed, Enough::Seeds(1));
            if sound.failures.is_empty() {
                return (tried, Some(said));
            }
            println!(
                "{mutant:?}: seed {seed} of the {} fails without it, too",
                judge.name
            );
        }
    }
    (tried, None)
}

/// Or nothing that is found says anything of a bug.
#[test]
fn without_mutants_nothing_is_found() {
    let start = number_from("SEED").unwrap_or_else(fresh_seed);
    let seeds = number_from("SEEDS").unwrap_or(SOUND_SEEDS);
    let only = std::env::var("JUDGE").unwrap_or_default();
    let judges = ALL.into_iter().filter(|judge| judge.name.contains(&only));
    let runs = judges.map(|judge| {
        let runs = runs(judge, None, start, Enough::Seeds(seeds));
        (judge.name, runs)
    });
    let runs: Vec<_> = runs.collect();
    let failed = runs.iter().filter(|(_, runs)| !runs.failures.is_empty());
    let failed: Vec<_> = failed
        .map(|(name, runs)| format!("{name}: {runs}"))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn runs(judge: Judge, mutant: Option<Mutant>, start: u64, enough: Enough) -> Runs {
    let who = mutant.map_or("no mutant".to_owned(), |mutant| format!("{mutant:?}"));
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
