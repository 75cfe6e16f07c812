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

/// Decides by the epochs of both logs.
pub fn start(own: &Epochs, own_end: u64, master: &EpochList) -> Result<Start, Differs> {
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
        let start = |own: &[(i32, u64)], end| start(&epochs(own), end, &master);
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
        assert_eq!(start(&[(7, 0)], 10), Err(Differs::NothingInCommon));
        assert_eq!(start(&[], 150), Ok(Start::At(150)));
        let longer = Differs::Longer {
            own_end: 301,
            master_end: 300,
        };
        assert_eq!(start(&[], 301), Err(longer));
    }
}
