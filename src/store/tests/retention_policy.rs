//! Protects what goes and what stays: which files a round takes, that queues begin where the log does, that a recycled
//! file never shows what it was before, and that a full disk costs neither a message nor a restart.

use proptest::prelude::*;

use super::*;
use crate::io::Space;
use crate::store::retention::policy::{Look, MAX_FILES, Round, hour_of_day};

const HOUR_MS: i64 = 3_600_000;
const GIB: u64 = 1 << 30;

/// A disk of 100 GiB that is used to so many percent, and files of 1 GiB, so many hours old.
fn look(used_percent: u64, hours_old: &[i64]) -> Look {
    let now_ms = 1_000 * HOUR_MS;
    Look {
        now_ms,
        hour: 12,
        space: Space {
            total_bytes: 100 * GIB,
            available_bytes: (100 - used_percent) * GIB,
        },
        segment_bytes: GIB,
        log_bytes: (hours_old.len() as u64 + 1) * GIB,
        newest_ms: hours_old
            .iter()
            .map(|hours| Some(now_ms - hours * HOUR_MS))
            .collect(),
        ..Look::default()
    }
}

fn removed(look: &Look) -> usize {
    Retention::default().round(look).remove
}

#[test]
fn expired_files_go_at_their_hour() {
    let mut look = look(10, &[100, 80, 73, 72, 71]);
    assert_eq!(removed(&look), 0, "at noon");
    look.hour = 4;
    assert_eq!(removed(&look), 3);
    look.hour = 12;
    look.is_asked_for = true;
    assert_eq!(removed(&look), 3, "the request does not have to wait");
}

#[test]
fn expired_files_go_at_any_hour_when_the_disk_fills_up() {
    assert_eq!(removed(&look(75, &[100, 71])), 0);
    assert_eq!(removed(&look(76, &[100, 71])), 1);
    assert_eq!(removed(&look(76, &[71])), 0, "what is young stays");
}

#[test]
fn the_oldest_go_when_the_disk_is_nearly_full() {
    assert_eq!(removed(&look(85, &[1; 20])), 0);
    assert_eq!(removed(&look(87, &[1; 20])), 2, "as many as it takes");
    assert_eq!(removed(&look(99, &[1; 20])), MAX_FILES);
    let careful = Retention {
        clean_forcibly: false,
        ..Retention::default()
    };
    assert_eq!(careful.round(&look(99, &[100, 1])).remove, 1);
}

#[test]
fn the_spare_goes_ahead_of_messages() {
    let mut look = look(86, &[1; 20]);
    look.has_spare = true;
    let round = Retention::default().round(&look);
    let expected = Round {
        drop_spare: true,
        remove: 0,
        expired: 0,
        recycle: false,
    };
    assert_eq!(round, expected);
}

#[test]
fn room_is_made_where_something_could_not_be_written() {
    let mut look = look(10, &[1; 20]);
    look.is_out_of_space = true;
    assert_eq!(removed(&look), 1, "whatever the disk says");
}

#[test]
fn the_next_file_is_made_of_the_oldest_where_there_is_no_space() {
    let mut look = look(10, &[1; 20]);
    look.needs_file = true;
    let round = Retention::default().round(&look);
    assert_eq!((round.remove, round.recycle), (1, true));
    look.has_spare = true;
    assert_eq!(removed(&look), 0, "there is one");
    look.space.available_bytes = GIB;
    let round = Retention::default().round(&look);
    assert!(!round.drop_spare, "it is needed");
}

#[test]
fn a_log_has_its_size() {
    let by_size = Retention {
        max_log_bytes: 4 * GIB,
        ..Retention::default()
    };
    assert_eq!(by_size.round(&look(10, &[1; 3])).remove, 0);
    let round = by_size.round(&look(10, &[1; 5]));
    assert_eq!((round.remove, round.recycle), (2, true));
}

#[test]
fn a_file_of_unknown_time_is_as_old_as_the_next() {
    let mut look = look(76, &[100, 100, 1]);
    look.newest_ms[0] = None;
    assert_eq!(removed(&look), 2);
    look.newest_ms[1] = None;
    assert_eq!(removed(&look), 0);
}

#[test]
fn sends_are_refused_with_the_figure() {
    let rules = Retention::default();
    assert_eq!(rules.refuses(look(90, &[]).space), None);
    let reason = rules.refuses(look(91, &[]).space).unwrap();
    for part in ["91.0 %", "90 %", "diskSpaceWarningLevelRatio"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(rules.refuses(Space::default()), None, "nothing is known");
}

#[test]
fn the_hour_is_local() {
    assert_eq!(hour_of_day(0, 0), 0);
    assert_eq!(hour_of_day(0, -3600), 23);
    assert_eq!(hour_of_day(23 * HOUR_MS, 2 * 3600), 1);
    assert_eq!(hour_of_day(-1, 0), 23);
}

proptest! {
    #[test]
    fn a_round_is_a_sane_one(
        used in 0_u64..=100,
        hour in 0_u8..24,
        mut ages in prop::collection::vec(0_i64..200, 0..30),
        flags: [bool; 4],
    ) {
        ages.sort_by_key(|age| -age);
        let rules = Retention { clean_forcibly: flags[0], ..Retention::default() };
        let mut look = look(used, &ages);
        (look.hour, look.has_spare) = (hour, flags[1]);
        (look.is_out_of_space, look.is_asked_for) = (flags[2], flags[3]);
        let round = rules.round(&look);
        prop_assert!(round.remove <= MAX_FILES && round.remove <= ages.len());
        prop_assert!(!round.drop_spare || look.has_spare);
        let expired = ages.iter().filter(|age| **age > 72).count();
        let is_forced = rules.clean_forcibly && (used > 85 || look.is_out_of_space);
        prop_assert!(is_forced || round.remove <= expired, "what is young goes only by force");
        prop_assert!(!is_forced || round.drop_spare || round.remove > 0 || ages.is_empty());
        // A fuller disk never keeps more.
        look.space.available_bytes /= 2;
        let fuller = rules.round(&look);
        prop_assert!(fuller.remove + usize::from(fuller.drop_spare) >= round.remove + usize::from(round.drop_spare)
            || fuller.remove == MAX_FILES);
    }
}
