//! A set of queue offsets, a bit for each: a million neighbours take less than a megabyte, and a stray one does no harm.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

const WORD_BITS: u64 = u64::BITS as u64;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OffsetSet {
    /// 64 offsets each, by the first one's 64th; none of them empty.
    words: BTreeMap<u64, u64>,
}

impl OffsetSet {
    pub fn contains(&self, offset: u64) -> bool {
        let word = self.words.get(&(offset / WORD_BITS));
        word.is_some_and(|word| word & bit(offset) != 0)
    }

    pub fn insert(&mut self, offset: u64) {
        *self.words.entry(offset / WORD_BITS).or_default() |= bit(offset);
    }

    pub fn remove(&mut self, offset: u64) {
        let at = offset / WORD_BITS;
        if let Some(word) = self.words.get_mut(&at) {
            *word &= !bit(offset);
            if *word == 0 {
                self.words.remove(&at);
            }
        }
    }

    /// The first from `offset` on that is not there. A word at a time, at some nanoseconds each: millions may have ended behind one that had
    /// not.
    pub fn end_of_run(&self, mut offset: u64) -> u64 {
        for (at, word) in self.words.range(offset / WORD_BITS..) {
            if *at != offset / WORD_BITS {
                break;
            }
            let run = u64::from((*word >> (offset % WORD_BITS)).trailing_ones());
            offset += run;
            if run == 0 || !offset.is_multiple_of(WORD_BITS) {
                break;
            }
        }
        offset
    }

    pub fn is_empty_within(&self, range: RangeInclusive<u64>) -> bool {
        let (first, last) = (*range.start(), *range.end());
        let words = self.words.range(first / WORD_BITS..=last / WORD_BITS);
        words
            .map(|(at, word)| word & from(*at, first) & !from(*at, last.saturating_add(1)))
            .all(|word| word == 0)
    }

    #[cfg(test)]
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// Keeps only those below `limit` that one of `others` has, too, in the next word from the one of `from` on. Returns where to go on;
    /// `None`: that was all.
    pub fn retain_some(&mut self, from: u64, limit: u64, others: [&Self; 2]) -> Option<u64> {
        let words = from / WORD_BITS..limit.div_ceil(WORD_BITS);
        let (at, word) = self.words.range_mut(words).next()?;
        let at = *at;
        let others = others.map(|other| other.words.get(&at).copied().unwrap_or(0));
        *word &= others[0] | others[1] | self::from(at, limit);
        if *word == 0 {
            self.words.remove(&at);
        }
        (at + 1).checked_mul(WORD_BITS)
    }
}

fn bit(offset: u64) -> u64 {
    1 << (offset % WORD_BITS)
}

/// The bits of the word at `at` that stand for `first` and what follows.
fn from(at: u64, first: u64) -> u64 {
    match first.checked_sub(at * WORD_BITS) {
        None => u64::MAX,
        Some(below) if below >= WORD_BITS => 0,
        Some(below) => u64::MAX << below,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Remove(u64),
        RetainBelow(u64),
    }

    fn offset() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0..300_u64, 1 => any::<u64>()]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => offset().prop_map(Step::Insert),
            2 => offset().prop_map(Step::Remove),
            1 => offset().prop_map(Step::RetainBelow),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            runs in proptest::collection::vec((0..300_u64, 1..150_u64), 0..3),
            steps in proptest::collection::vec(step(), 0..200),
            others in proptest::collection::btree_set(0..300_u64, 0..50),
            range in (offset(), offset()),
        ) {
            let (mut set, mut model) = (OffsetSet::default(), BTreeSet::new());
            let mut other = OffsetSet::default();
            for offset in runs.iter().flat_map(|(first, len)| *first..first + len) {
                set.insert(offset);
                model.insert(offset);
            }
            others.iter().for_each(|offset| other.insert(*offset));
            for step in steps {
                match step {
                    Step::Insert(offset) => {
                        set.insert(offset);
                        model.insert(offset);
                    }
                    Step::Remove(offset) => {
                        set.remove(offset);
                        model.remove(&offset);
                    }
                    Step::RetainBelow(limit) => {
                        let (mut next, none) = (Some(0), OffsetSet::default());
                        while let Some(from) = next {
                            next = set.retain_some(from, limit, [&other, &none]);
                        }
                        model.retain(|offset| *offset >= limit || others.contains(offset));
                    }
                }
            }
            for offset in (0..460).chain(model.iter().copied()) {
                prop_assert_eq!(set.contains(offset), model.contains(&offset));
            }
            for first in 0..460 {
                let end = (first..).find(|offset| !model.contains(offset));
                prop_assert_eq!(Some(set.end_of_run(first)), end);
            }
            let (first, last) = (range.0.min(range.1), range.0.max(range.1));
            let is_empty = model.range(first..=last).next().is_none();
            prop_assert_eq!(set.is_empty_within(first..=last), is_empty);
            model.iter().for_each(|offset| set.remove(*offset));
            prop_assert_eq!(set, OffsetSet::default());
        }
    }
}
