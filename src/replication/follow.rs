//! Where a slave goes on in its master's log.

use super::epochs::Epochs;
use super::frames::epoch::EpochList;

/// What a slave does when it has seen its master's epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Its log is the beginning of the master's: it goes on at its end. 0: it has none, and begins where the master's does.
    At(u64),
    /// What it has from here on is not in the master's log.
    CutAt(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Differs {
    #[error(
        "no epoch of this log is in the master's: it is another log, or the common part has been removed. Empty the store of this slave to copy the master's"
    )]
    NothingInCommon,
    #[error(
        "this log ends at {own_end}, behind the master's at {master_end}, and it is not known who wrote it. Empty the store of this slave to copy the master's"
    )]
    Longer { own_end: u64, master_end: u64 },
}

/// Decides by the epochs of both logs. `may_lose_all`: a controller states that both brokers are of one group, and nothing of the own log was ever
/// confirmed.
pub fn start(
    own: &Epochs,
    own_end: u64,
    master: &EpochList,
    may_lose_all: bool,
) -> Result<Start, Differs> {
    if own_end == 0 {
        return Ok(Start::At(0));
    }
    // A log that was followed without epochs, as RocketMQ's older brokers do.
    if own.is_empty() {
        return match own_end <= master.log_end {
            true => Ok(Start::At(own_end)),
            false => Err(Differs::Longer {
                own_end,
                master_end: master.log_end,
            }),
        };
    }
    match own.consistent_point(own_end, &master.epochs, master.log_end) {
        // The epochs of both logs are known from the first byte on: they part there. This one's master has died before another broker had a
        // byte of it.
        None if may_lose_all && own.begin_at(0) && master.epochs.begin_at(0) => Ok(Start::CutAt(0)),
        None => Err(Differs::NothingInCommon),
        Some(point) if point < own_end => Ok(Start::CutAt(point)),
        Some(_) => Ok(Start::At(own_end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::epochs::Epoch;

    fn epochs(entries: &[(i32, u64)]) -> Epochs {
        let entries = entries.iter();
        let entries = entries.map(|&(number, start)| Epoch { number, start });
        Epochs::from_entries(entries).unwrap()
    }

    fn master(entries: &[(i32, u64)], log_end: u64) -> EpochList {
        EpochList {
            log_end,
            epochs: epochs(entries),
        }
    }

    #[test]
    fn a_slave_goes_on_where_the_logs_are_the_same() {
        let master = master(&[(1, 0), (2, 100), (4, 200)], 300);
        let start = |own: &[(i32, u64)], end| start(&epochs(own), end, &master, true);
        assert_eq!(start(&[], 0), Ok(Start::At(0)), "it has nothing");
        assert_eq!(start(&[(1, 0), (2, 100)], 150), Ok(Start::At(150)));
        assert_eq!(start(&[(1, 0), (2, 100)], 200), Ok(Start::At(200)));
        assert_eq!(
            start(&[(1, 0), (2, 100)], 250),
            Ok(Start::CutAt(200)),
            "the former master"
        );
        assert_eq!(start(&[(1, 0), (3, 50)], 70), Ok(Start::CutAt(50)));
        assert_eq!(
            start(&[(1, 0), (2, 100), (4, 200)], 310),
            Ok(Start::CutAt(300)),
            "the master lost its end"
        );
        assert_eq!(start(&[(7, 20)], 30), Err(Differs::NothingInCommon));
        assert_eq!(start(&[], 150), Ok(Start::At(150)));
        let longer = Differs::Longer {
            own_end: 301,
            master_end: 300,
        };
        assert_eq!(start(&[], 301), Err(longer));
    }

    #[test]
    fn logs_that_part_at_their_first_byte_are_of_one_group_or_not() {
        let begun = master(&[(2, 0)], 300);
        let later = master(&[(2, 50)], 300);
        let own = epochs(&[(1, 0)]);
        let nothing = Err(Differs::NothingInCommon);
        assert_eq!(start(&own, 10, &begun, true), Ok(Start::CutAt(0)));
        assert_eq!(start(&own, 10, &begun, false), nothing);
        assert_eq!(start(&own, 10, &later, true), nothing);
    }
}
