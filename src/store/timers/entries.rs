//! The bytes of a run: its timers, and behind them a checksum of each block of them.
//!
//! ```text
//! timer   [ at 8 | physicalOffset 8 | size 4 | kind 4 ]
//! seal    [ 0x8000_0000 + block 4 | CRC32 of the block 4 | 0 16 ]
//! ```
//! A version that knows no seals does not read beyond the timers, whose number is said elsewhere. For its `store verify` a seal is a timer
//! of the far future, in its order: no time of a timer has the highest bit.

pub(in crate::store) const ENTRY_BYTES: usize = 24;

/// 12 KiB: what a search reads at a time.
pub(in crate::store) const BLOCK_ENTRIES: usize = 512;
pub(in crate::store) const BLOCK_BYTES: usize = BLOCK_ENTRIES * ENTRY_BYTES;

const SEAL: u64 = 1 << 63;

/// A message that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    pub at_ms: u64,
    pub physical_offset: u64,
    pub size: u32,
    pub kind: TimerKind,
}

/// What happens with it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum TimerKind {
    /// Stored in its real topic.
    Deliver = 0,
    /// Written to the timer topic anew, ahead of the end of its retention.
    Roll = 1,
    /// It recalls another one.
    Recall = 2,
}

/// Where a timer stands among others.
pub type TimerKey = (u64, u64);

impl Timer {
    pub fn key(&self) -> TimerKey {
        (self.at_ms, self.physical_offset)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.at_ms.to_be_bytes());
        out.extend_from_slice(&self.physical_offset.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&(self.kind as u32).to_be_bytes());
    }

    pub(in crate::store) fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let [at_ms, physical_offset, last] = numbers(bytes);
        Some(Self {
            at_ms,
            physical_offset,
            size: (last >> 32) as u32,
            kind: match last as u32 {
                0 => TimerKind::Deliver,
                1 => TimerKind::Roll,
                2 => TimerKind::Recall,
                _ => return None,
            },
        })
    }
}

fn numbers(bytes: &[u8; ENTRY_BYTES]) -> [u64; 3] {
    let (numbers, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|index| u64::from_be_bytes(numbers[index]))
}

/// The number of blocks, and of seals, of so many timers.
pub(in crate::store) fn blocks(timers: u64) -> u64 {
    timers.div_ceil(BLOCK_ENTRIES as u64)
}

/// The number of timers in a file of so many entries of which the last one is this: the others are seals.
pub(in crate::store) fn timers_of(entries: u64, last: &[u8; ENTRY_BYTES]) -> u64 {
    match numbers(last)[0] & SEAL {
        0 => entries,
        _ => entries - entries.div_ceil(BLOCK_ENTRIES as u64 + 1),
    }
}

pub(super) fn encode_seal(block: u32, crc: u32, out: &mut Vec<u8>) {
    let first = SEAL | u64::from(block) << 32 | u64::from(crc);
    out.extend_from_slice(&first.to_be_bytes());
    out.extend_from_slice(&[0; ENTRY_BYTES - 8]);
}

/// The CRC that the seal of this block says; None if it is no seal of it.
pub(in crate::store) fn decode_seal(block: u32, bytes: &[u8; ENTRY_BYTES]) -> Option<u32> {
    let [first, rest @ ..] = numbers(bytes);
    let expected = SEAL | u64::from(block) << 32;
    (first >> 32 == expected >> 32 && rest == [0, 0]).then_some(first as u32)
}

/// The timers of whole blocks, of which the last one may be shorter, by the CRCs of their seals; or the index of the first block that is
/// not as it was written. A run of an older version has no seals: then its entries must have a kind and be in their order.
pub(super) fn decode_blocks(bytes: &[u8], crcs: Option<&[u32]>) -> Result<Vec<Timer>, usize> {
    let mut timers: Vec<Timer> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
        let is_sealed = crcs.is_none_or(|crcs| crcs.get(index) == Some(&crc32fast::hash(block)));
        let before = timers.len();
        for entry in block.as_chunks().0 {
            timers.push(Timer::decode(entry).ok_or(index)?);
        }
        let is_sound = is_sealed && timers[before.saturating_sub(1)..].is_sorted();
        if !is_sound && !mutant!(RottenTimersBelieved) {
            return Err(index);
        }
    }
    Ok(timers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timer() -> impl Strategy<Value = Timer> {
        let kind = prop_oneof![
            Just(TimerKind::Deliver),
            Just(TimerKind::Roll),
            Just(TimerKind::Recall)
        ];
        let numbers = (0..SEAL, any::<u64>(), any::<u32>());
        (numbers, kind).prop_map(|((at_ms, physical_offset, size), kind)| Timer {
            at_ms,
            physical_offset,
            size,
            kind,
        })
    }

    /// Some hundred bytes, in which every bit is flipped, or more than a block, in which some are.
    fn timers() -> impl Strategy<Value = Vec<Timer>> {
        let length = prop_oneof![1..12_usize, 500..1_100_usize];
        let timers = length.prop_flat_map(|length| prop::collection::vec(timer(), length));
        timers.prop_map(|mut timers| {
            timers.sort_unstable();
            timers
        })
    }

    fn encoded(timers: &[Timer]) -> Vec<u8> {
        let (mut bytes, mut seals) = (Vec::new(), Vec::new());
        for (block, timers) in timers.chunks(BLOCK_ENTRIES).enumerate() {
            let begin = bytes.len();
            timers.iter().for_each(|timer| timer.encode(&mut bytes));
            encode_seal(block as u32, crc32fast::hash(&bytes[begin..]), &mut seals);
        }
        bytes.extend(seals);
        bytes
    }

    fn read(bytes: &[u8], timers: usize) -> Option<Vec<Timer>> {
        let (bytes, seals) = bytes.split_at(timers * ENTRY_BYTES);
        let seals = seals.as_chunks().0.iter().enumerate();
        let crcs: Option<Vec<_>> = seals
            .map(|(block, seal)| decode_seal(block as u32, seal))
            .collect();
        decode_blocks(bytes, Some(&crcs?)).ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_flipped_bit_is_found(timers in timers(), first in 0..1_000_usize) {
            let mut bytes = encoded(&timers);
            prop_assert_eq!(read(&bytes, timers.len()), Some(timers.clone()));
            let step = if timers.len() < 12 { 1 } else { 1_009 };
            for bit in (first % step..bytes.len() * 8).step_by(step) {
                bytes[bit / 8] ^= 1 << (bit % 8);
                prop_assert_eq!(read(&bytes, timers.len()), None, "bit {}", bit);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }

        /// What a version without seals does with them.
        #[test]
        fn seals_are_behind_the_timers_and_in_order(timers in timers()) {
            let bytes = encoded(&timers);
            let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
            let read: Option<Vec<_>> = entries.iter().map(Timer::decode).collect();
            let read = read.expect("a kind");
            prop_assert!(read.is_sorted());
            prop_assert_eq!(&read[..timers.len()], &timers[..]);
            let seals = &read[timers.len()..];
            prop_assert_eq!(seals.len() as u64, blocks(timers.len() as u64));
            prop_assert!(seals.iter().all(|seal| (seal.physical_offset, seal.size) == (0, 0)));
            let last = entries.last().expect("a seal");
            prop_assert_eq!(timers_of(entries.len() as u64, last), timers.len() as u64);
        }

        #[test]
        fn a_run_without_seals_is_read(timers in timers()) {
            let bytes = encoded(&timers);
            let bytes = &bytes[..timers.len() * ENTRY_BYTES];
            prop_assert_eq!(decode_blocks(bytes, None), Ok(timers.clone()));
            let last = bytes.last_chunk().expect("a timer");
            prop_assert_eq!(timers_of(timers.len() as u64, last), timers.len() as u64);
        }
    }

    #[test]
    fn without_seals_kind_and_order_are_checked() {
        let timer = |at_ms| Timer {
            at_ms,
            physical_offset: 9,
            size: 1,
            kind: TimerKind::Roll,
        };
        let timers: Vec<_> = (0..600).map(timer).collect();
        let mut bytes = encoded(&timers);
        bytes.truncate(600 * ENTRY_BYTES);
        for (at, is_found_in) in [(23, 0), (512 * 24 + 6, 1), (599 * 24 + 20, 1)] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x80;
            assert_eq!(decode_blocks(&bytes, None), Err(is_found_in), "byte {at}");
        }
    }
}
