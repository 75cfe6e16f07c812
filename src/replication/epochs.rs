//! Which master wrote which part of the log.
//!
//! Each time a broker becomes master it begins an *epoch*: a number that is larger than all before, and the position in the log from which
//! on this master appends. A replica takes the list over together with the log. Two logs are the same as far as their lists are: that
//! is the *consistent point*, and what a replica has behind it is cut before it follows.
//!
//! The list is a file in RocketMQ's format (`epochFileCheckpoint`):
//! ```text
//! 2                 number of entries
//! 1283746511        CRC-32 of what follows, without its highest bit; 0: not checked
//! 1-0               epoch-start
//! 3-1048576
//! ```

use std::fmt::Write;

/// In the store's directory; RocketMQ's name.
pub const FILE: &str = "epochFileCheckpoint";

/// The part of the log that one master wrote, by where it begins. It ends where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub number: i32,
    /// Position in the log.
    pub start: u64,
}

/// A part of the log with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    pub epoch: Epoch,
    /// The next epoch's start, or the log's end.
    pub end: u64,
}

/// Numbers and starts both grow from entry to entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    entries: Vec<Epoch>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    #[error("epoch {} at {} does not follow epoch {} at {}", next.number, next.start, last.number, last.start)]
    OutOfOrder { last: Epoch, next: Epoch },
    #[error("line {line} of the epochs is not what it should be: {text:?}")]
    Text { line: usize, text: String },
    #[error("the epochs have the CRC {got}, and {stated} is stated")]
    Crc { got: u32, stated: u32 },
}

impl Epochs {
    pub fn from_entries(entries: impl IntoIterator<Item = Epoch>) -> Result<Self, EpochError> {
        let mut epochs = Self::default();
        for entry in entries {
            epochs.append(entry)?;
        }
        Ok(epochs)
    }

    pub fn entries(&self) -> &[Epoch] {
        &self.entries
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn last(&self) -> Option<Epoch> {
        self.entries.last().copied()
    }

    /// Whether the first master began at `position`.
    pub fn begin_at(&self, position: u64) -> bool {
        self.entries
            .first()
            .is_some_and(|first| first.start == position)
    }

    /// A master begins. Where nothing was written in the last epoch the new one takes its place, as no record is of that epoch.
    pub fn begin(&mut self, next: Epoch) -> Result<(), EpochError> {
        if let Some(last) = self.last()
            && last.start == next.start
            && last.number < next.number
        {
            self.entries.pop();
        }
        self.append(next)
    }

    /// Takes over the next entry of a master's list.
    pub fn append(&mut self, next: Epoch) -> Result<(), EpochError> {
        if let Some(last) = self.last()
            && (next.number <= last.number || next.start <= last.start)
        {
            return Err(EpochError::OutOfOrder { last, next });
        }
        self.entries.push(next);
        Ok(())
    }

    /// The log was cut at `position`. An epoch that begins there has no record any more, so it goes as well: it would be a wrong one as
    /// soon as another master writes there.
    pub fn cut(&mut self, position: u64) {
        if !mutant!(EpochKeptBehindCut) {
            self.entries.retain(|epoch| epoch.start < position);
        }
    }

    /// The log begins at `min`. Epochs that ended there are of no use; the last one stays.
    pub fn forget_before(&mut self, min: u64) {
        let ended = self
            .entries
            .windows(2)
            .take_while(|pair| pair[1].start <= min);
        let ended = ended.count();
        self.entries.drain(..ended);
    }

    /// The parts of a log that ends at `log_end`.
    pub fn reigns(&self, log_end: u64) -> impl DoubleEndedIterator<Item = Reign> {
        self.entries
            .iter()
            .enumerate()
            .map(move |(index, epoch)| Reign {
                epoch: *epoch,
                end: self
                    .entries
                    .get(index + 1)
                    .map_or(log_end, |next| next.start),
            })
    }

    /// The part of a log that ends at `log_end` in which the byte at `position` is, or will be.
    pub fn reign_at(&self, position: u64, log_end: u64) -> Option<Reign> {
        let mut reigns = self.reigns(log_end.max(position + 1)).rev();
        reigns.find(|reign| reign.epoch.start <= position && position < reign.end)
    }

    /// Up to where this replica's log, which ends at `log_end`, is the master's. None: they have no epoch in common, so nothing is known to
    /// be the same.
    pub fn consistent_point(&self, log_end: u64, master: &Epochs, master_end: u64) -> Option<u64> {
        self.reigns(log_end).rev().find_map(|own| {
            let mut theirs = master.reigns(master_end);
            let same = theirs.find(|reign| reign.epoch == own.epoch)?;
            Some(own.end.min(same.end))
        })
    }

    /// As a file.
    pub fn to_text(&self) -> String {
        let mut lines = String::new();
        for Epoch { number, start } in &self.entries {
            writeln!(lines, "{number}-{start}").expect("a String takes everything");
        }
        format!("{}\n{}\n{lines}", self.entries.len(), crc_of(&lines))
    }

    pub fn parse(text: &str) -> Result<Self, EpochError> {
        let wrong = |line: usize, text: &str| EpochError::Text {
            line,
            text: text.into(),
        };
        let mut lines = text.split_inclusive('\n');
        let mut number = |line: usize| {
            let text = lines.next().unwrap_or_default().trim_end();
            text.parse::<u32>().map_err(|_| wrong(line, text))
        };
        let (count, stated) = (number(1)?, number(2)?);
        let rest: String = lines.collect();
        let got = crc_of(&rest);
        if stated != 0 && stated != got {
            return Err(EpochError::Crc { got, stated });
        }
        let mut epochs = Self::default();
        for (index, line) in rest.lines().enumerate() {
            let entry = line.split_once('-').and_then(|(number, start)| {
                Some(Epoch {
                    number: number.parse().ok()?,
                    start: start.parse().ok()?,
                })
            });
            epochs.append(entry.ok_or_else(|| wrong(index + 3, line))?)?;
        }
        match epochs.entries.len() == count as usize {
            true => Ok(epochs),
            false => Err(wrong(1, &count.to_string())),
        }
    }
}

/// Java's `UtilAll.crc32`: without the highest bit.
fn crc_of(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes()) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epochs(entries: &[(i32, u64)]) -> Epochs {
        let entries = entries.iter();
        let entries = entries.map(|&(number, start)| Epoch { number, start });
        Epochs::from_entries(entries).unwrap()
    }

    #[test]
    fn numbers_and_starts_grow() {
        let mut list = epochs(&[(1, 0), (2, 10)]);
        for (number, start) in [(2, 20), (1, 20), (3, 10), (3, 9)] {
            assert!(
                list.append(Epoch { number, start }).is_err(),
                "{number} {start}"
            );
        }
        list.append(Epoch {
            number: 5,
            start: 11,
        })
        .unwrap();
        assert_eq!(list, epochs(&[(1, 0), (2, 10), (5, 11)]));
    }

    #[test]
    fn an_epoch_without_a_record_gives_way_to_the_next() {
        let mut list = epochs(&[(1, 0), (2, 10)]);
        list.begin(Epoch {
            number: 3,
            start: 10,
        })
        .unwrap();
        assert_eq!(list, epochs(&[(1, 0), (3, 10)]));
        assert!(
            list.begin(Epoch {
                number: 3,
                start: 10
            })
            .is_err()
        );
    }

    #[test]
    fn what_begins_at_the_cut_goes() {
        let mut list = epochs(&[(1, 0), (2, 10), (3, 20)]);
        list.cut(21);
        assert_eq!(list, epochs(&[(1, 0), (2, 10), (3, 20)]));
        list.cut(20);
        assert_eq!(list, epochs(&[(1, 0), (2, 10)]));
        list.cut(0);
        assert!(list.is_empty());
    }

    #[test]
    fn what_retention_removed_is_forgotten() {
        let mut list = epochs(&[(1, 0), (2, 10), (3, 20)]);
        list.forget_before(9);
        assert_eq!(list.entries().len(), 3);
        list.forget_before(10);
        assert_eq!(list, epochs(&[(2, 10), (3, 20)]));
        list.forget_before(1000);
        assert_eq!(list, epochs(&[(3, 20)]));
    }

    #[test]
    fn the_epoch_of_a_position() {
        let list = epochs(&[(1, 5), (2, 10)]);
        let number = |position| {
            list.reign_at(position, 20)
                .map(|reign| (reign.epoch.number, reign.end))
        };
        assert_eq!(number(4), None);
        assert_eq!(number(5), Some((1, 10)));
        assert_eq!(number(9), Some((1, 10)));
        assert_eq!(number(10), Some((2, 20)));
        assert_eq!(number(20), Some((2, 21)), "the next byte to be written");
    }

    #[test]
    fn two_logs_are_the_same_up_to_where_the_shorter_last_common_epoch_ends() {
        let first = epochs(&[(1, 0), (2, 300), (3, 500)]);
        let second = epochs(&[(1, 0), (2, 300), (3, 400)]);
        assert_eq!(first.consistent_point(700, &second, 1000), Some(400));
        assert_eq!(second.consistent_point(700, &first, 700), Some(400));
        let other = epochs(&[(1, 100), (2, 200)]);
        assert_eq!(first.consistent_point(700, &other, 300), None);
        let longer = epochs(&[(1, 0), (2, 300), (3, 500), (4, 900)]);
        assert_eq!(first.consistent_point(700, &longer, 1000), Some(700));
    }

    #[test]
    fn the_file_reads_as_it_was_written() {
        let list = epochs(&[(1, 0), (2, 300), (3, 500)]);
        let text = list.to_text();
        assert_eq!(Epochs::parse(&text).unwrap(), list);
        assert_eq!(
            Epochs::parse("1\n0\n7-13\n").unwrap(),
            epochs(&[(7, 13)]),
            "not checked"
        );
        for wrong in [
            "",
            "1\n",
            "x\n0\n1-0\n",
            "2\n0\n1-0\n",
            "1\n5\n1-0\n",
            "1\n0\n1_0\n",
            "2\n0\n2-0\n1-5\n",
        ] {
            assert!(Epochs::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    /// A log as the list of the origin of each of its bytes: (epoch, number of the byte in that reign).
    #[derive(Clone, Default)]
    struct Model {
        bytes: Vec<(i32, u64)>,
        epochs: Epochs,
    }

    impl Model {
        fn end(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn lead(&mut self, number: i32, bytes: u64) {
            self.epochs
                .begin(Epoch {
                    number,
                    start: self.end(),
                })
                .unwrap();
            self.bytes.extend((0..bytes).map(|byte| (number, byte)));
        }

        /// Follows up to `end` of the other's log, as the protocol does it.
        fn follow(&mut self, master: &Model, end: u64) {
            let point = self
                .epochs
                .consistent_point(self.end(), &master.epochs, master.end());
            let point = point.unwrap_or(0);
            self.bytes.truncate(point as usize);
            self.epochs.cut(point);
            for reign in master.epochs.reigns(master.end()) {
                if reign.epoch.start < end
                    && self
                        .epochs
                        .last()
                        .is_none_or(|last| last.number < reign.epoch.number)
                {
                    self.epochs.append(reign.epoch).unwrap();
                }
            }
            let have = self.bytes.len();
            if end as usize > have {
                self.bytes
                    .extend_from_slice(&master.bytes[have..end as usize]);
            }
        }
    }

    proptest! {
        /// Three replicas that lead and follow in any order: what they follow to is always byte for byte the master's.
        #[test]
        fn logs_agree_up_to_the_consistent_point(
            steps in prop::collection::vec((0_usize..3, 0_usize..3, 0_u64..6, any::<bool>()), 1..60)
        ) {
            let mut logs = [Model::default(), Model::default(), Model::default()];
            let mut number = 0;
            for (one, other, bytes, leads) in steps {
                if leads {
                    number += 1;
                    logs[one].lead(number, bytes);
                } else if one != other {
                    let master = logs[other].clone();
                    // A broker with a newer epoch is never told to follow one with an older.
                    let newest = |log: &Model| log.epochs.last().map_or(0, |last| last.number);
                    if newest(&master) < newest(&logs[one]) {
                        continue;
                    }
                    let point = logs[one].epochs.consistent_point(logs[one].end(), &master.epochs, master.end());
                    if let Some(point) = point {
                        prop_assert_eq!(&logs[one].bytes[..point as usize], &master.bytes[..point as usize]);
                    }
                    let end = point.unwrap_or(0).max(master.end().saturating_sub(bytes));
                    logs[one].follow(&master, end);
                    prop_assert_eq!(&logs[one].bytes[..], &master.bytes[..end as usize]);
                    let text = logs[one].epochs.to_text();
                    prop_assert_eq!(&Epochs::parse(&text).unwrap(), &logs[one].epochs);
                }
            }
        }
    }
}
