//! The checkpoint: up to where the ConsumeQueues' files agree with the log. It is behind the journal, which counts only
//! while the checkpoint is ours.
//!
//! ```text
//!    0  physicMsgTimestamp 8 | logicsMsgTimestamp 8 | indexMsgTimestamp 8 | masterFlushedOffset 8 | confirmPhyOffset 8
//! 4096  magic "ringmq02" 8 | number 8 | the first line as it is with this one 40 | savedPosition 8 | digest of the queues 8
//!       | has a mark 8 | mark of the key index 68 | CRC32 of all before it 4 | durablePosition 8 | CRC32 of all before it 4
//!       | oursFrom 8 | CRC32 of all before it 4
//! 8192  the same, of the number before or behind it
//! ```
//! The first line is RocketMQ's (`StoreCheckpoint`), which reads and writes only that; the other two are slots
//! (`two_slots.rs`). The slot is written first, then the line. So whatever a power cut leaves of a write, one of the two
//! slots is whole, and the first line is that of one of them, or begins like one and ends like the other.
//! Any other first line was written by RocketMQ, which has had the store since: then no slot counts.
//!
//! A checkpoint is revoked by a first line with times of -1, which RocketMQ reads as absent. The slots stay: `durablePosition` and
//! `oursFrom` are facts about the log, and hold whatever becomes of the queues' files. Both were added later. A slot without the
//! first is read as durable up to its saved position; one without the second does not state who wrote the log.

use std::cell::Cell;
use std::path::Path;

use crate::io::Io;
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::store::StoreError;
use crate::store::index::Mark;
use crate::store::medium::Medium;
use crate::store::two_slots::{Slot, TwoSlots, whole};

const MAGIC: &[u8; 8] = b"ringmq02";
const NUMBER_AT: usize = 8;
const TIMES_AT: usize = NUMBER_AT + 8;
const POSITION_AT: usize = TIMES_AT + TIMES_BYTES;
const DIGEST_AT: usize = POSITION_AT + 8;
const HAS_MARK_AT: usize = DIGEST_AT + 8;
const MARK_AT: usize = HAS_MARK_AT + 8;
const CRC_AT: usize = MARK_AT + Mark::BYTES;
const DURABLE_AT: usize = CRC_AT + 4;
const DURABLE_CRC_AT: usize = DURABLE_AT + 8;
const OURS_FROM_AT: usize = DURABLE_CRC_AT + 4;
const OURS_FROM_CRC_AT: usize = OURS_FROM_AT + 8;
const END: usize = OURS_FROM_CRC_AT + 4;

/// RocketMQ's line, and its indexMsgTimestamp.
const TIMES_BYTES: usize = 40;
const INDEX_TIME_AT: usize = 16;

/// The line of a revoked checkpoint: RocketMQ reads these times as absent.
const REVOKED: Times = {
    let mut line = [0; TIMES_BYTES];
    let mut at = 0;
    while at < 24 {
        line[at] = 0xFF;
        at += 1;
    }
    line
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Checkpoint {
    /// Messages before this position, and no others, are in the files of their queues.
    pub position: u64,
    /// Store time of the last message before the position.
    pub store_time_ms: i64,
    /// [`super::memory::ConsumeQueues::saved_digest`] of these files.
    pub queues_digest: u64,
    /// `None`: messages are not indexed.
    pub index: Option<Mark>,
    /// The log is durable up to this position.
    pub durable_to: u64,
    /// The log's records from here on are this broker's, those before may be RocketMQ's. `None`: not known.
    pub ours_from: Option<u64>,
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Found {
    Ours(Checkpoint),
    /// RocketMQ's: the older of the times of its log and its queues.
    Times {
        store_time_ms: i64,
    },
    /// None, or a revoked one: only what it says of the log holds.
    None {
        durable_to: u64,
        ours_from: Option<u64>,
    },
}

impl Found {
    /// The log is durable up to this position. RocketMQ cuts its log where it finds damage, so this proves nothing of a
    /// log that RocketMQ has had.
    pub fn durable_to(&self) -> u64 {
        match self {
            Self::Ours(Checkpoint { durable_to, .. }) | Self::None { durable_to, .. } => {
                *durable_to
            }
            Self::Times { .. } => 0,
        }
    }

    /// The log's records from here on are this broker's, if RocketMQ has not had the log since.
    pub fn ours_from(&self) -> Option<u64> {
        match self {
            Self::Ours(Checkpoint { ours_from, .. }) | Self::None { ours_from, .. } => *ours_from,
            Self::Times { .. } => None,
        }
    }
}

/// RocketMQ's first line.
type Times = [u8; TIMES_BYTES];

/// A slot: the checkpoint, and the first line that belongs to it.
#[derive(Clone, Copy)]
struct WithTimes {
    times: Times,
    checkpoint: Checkpoint,
}

impl Checkpoint {
    fn times(&self) -> Times {
        let mut times = [0; TIMES_BYTES];
        for place in times[..24].chunks_exact_mut(8) {
            place.copy_from_slice(&self.store_time_ms.to_be_bytes());
        }
        if let Some(mark) = &self.index {
            times[INDEX_TIME_AT..INDEX_TIME_AT + 8]
                .copy_from_slice(&mark.header.end_time_ms.to_be_bytes());
        }
        times
    }
}

impl Slot for WithTimes {
    fn encode(&self, number: u64) -> AlignedBuf {
        let checkpoint = &self.checkpoint;
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        buf[..NUMBER_AT].copy_from_slice(MAGIC);
        buf[NUMBER_AT..TIMES_AT].copy_from_slice(&number.to_be_bytes());
        buf[TIMES_AT..POSITION_AT].copy_from_slice(&self.times);
        buf[POSITION_AT..DIGEST_AT].copy_from_slice(&checkpoint.position.to_be_bytes());
        buf[DIGEST_AT..HAS_MARK_AT].copy_from_slice(&checkpoint.queues_digest.to_be_bytes());
        if let Some(mark) = &checkpoint.index {
            buf[HAS_MARK_AT..MARK_AT].copy_from_slice(&1_u64.to_be_bytes());
            buf[MARK_AT..CRC_AT].copy_from_slice(&mark.encode());
        }
        let crc = crc32fast::hash(&buf[..CRC_AT]);
        buf[CRC_AT..DURABLE_AT].copy_from_slice(&crc.to_be_bytes());
        buf[DURABLE_AT..DURABLE_CRC_AT].copy_from_slice(&checkpoint.durable_to.to_be_bytes());
        let crc = crc32fast::hash(&buf[..DURABLE_CRC_AT]);
        buf[DURABLE_CRC_AT..OURS_FROM_AT].copy_from_slice(&crc.to_be_bytes());
        if let Some(ours_from) = checkpoint.ours_from {
            buf[OURS_FROM_AT..OURS_FROM_CRC_AT].copy_from_slice(&ours_from.to_be_bytes());
            let crc = crc32fast::hash(&buf[..OURS_FROM_CRC_AT]);
            buf[OURS_FROM_CRC_AT..END].copy_from_slice(&crc.to_be_bytes());
        }
        buf
    }

    fn decode(block: &[u8]) -> Option<(u64, Self)> {
        let bytes = block.get(..END)?;
        let number = |at: usize| bytes[at..].first_chunk().map(|n| u64::from_be_bytes(*n));
        let holds =
            |at: usize| bytes[at..].starts_with(&crc32fast::hash(&bytes[..at]).to_be_bytes());
        let is_whole = bytes.starts_with(MAGIC) && holds(CRC_AT);
        let times: Times = *bytes[TIMES_AT..].first_chunk().filter(|_| is_whole)?;
        let mark = bytes[MARK_AT..].first_chunk().and_then(Mark::decode);
        let has_mark = number(HAS_MARK_AT)? != 0;
        let position = number(POSITION_AT)?;
        let durable_to = match holds(DURABLE_CRC_AT) {
            true => number(DURABLE_AT)?.max(position),
            false => position,
        };
        let checkpoint = Checkpoint {
            position,
            store_time_ms: i64::from_be_bytes(*times.first_chunk()?),
            queues_digest: number(DIGEST_AT)?,
            index: mark.filter(|_| has_mark),
            durable_to,
            ours_from: number(OURS_FROM_AT).filter(|_| holds(OURS_FROM_CRC_AT)),
        };
        Some((number(NUMBER_AT)?, Self { times, checkpoint }))
    }
}

/// Number of the newest slot, whether or not it counts, and what the file says.
fn found(line: Option<&Times>, slots: &[u8]) -> (u64, Found) {
    let [newest, other] = whole::<WithTimes>(slots);
    let last = newest.map_or(0, |(number, _)| number);
    let none = Found::None {
        durable_to: newest.map_or(0, |(_, slot)| slot.checkpoint.durable_to),
        ours_from: None,
    };
    let (Some((_, ours)), Some(line)) = (newest, line) else {
        return (last, times_in(line).unwrap_or(none));
    };
    let before = other.map_or(ours.times, |(_, other)| other.times);
    if is_torn_of(line, &ours.times, &before) {
        return (last, Found::Ours(ours.checkpoint));
    }
    let is_revoked = [ours.times, before]
        .iter()
        .any(|times| is_torn_of(line, times, &REVOKED));
    if is_revoked {
        let Checkpoint {
            durable_to,
            ours_from,
            ..
        } = ours.checkpoint;
        let revoked = Found::None {
            durable_to,
            ours_from,
        };
        return (last, revoked);
    }
    (last, times_in(Some(line)).unwrap_or(none))
}

fn times_in(line: Option<&Times>) -> Option<Found> {
    let time_ms = |at: usize| {
        let bytes = line?.get(at..)?.first_chunk()?;
        Some(i64::from_be_bytes(*bytes)).filter(|time_ms| *time_ms > 0)
    };
    let (physic_ms, logics_ms) = time_ms(0).zip(time_ms(8))?;
    Some(Found::Times {
        store_time_ms: physic_ms.min(logics_ms),
    })
}

/// Whether the line begins like one and ends like the other.
fn is_torn_of(line: &Times, one: &Times, other: &Times) -> bool {
    let is = |at: usize, head: &Times, tail: &Times| {
        line[..at] == head[..at] && line[at..] == tail[at..]
    };
    (0..=TIMES_BYTES).any(|at| is(at, one, other) || is(at, other, one))
}

/// The file `checkpoint` of a store.
pub(in crate::store) struct CheckpointFile<I: Io> {
    slots: TwoSlots<I>,
    /// What it says now, if that is ours.
    saved: Cell<Option<Checkpoint>>,
    /// The file may say something that counts.
    counts: Cell<bool>,
    /// The first line that belongs to the last slot, if another one may be there.
    owed: Cell<Option<Times>>,
}

impl<I: Io> CheckpointFile<I> {
    pub fn new(io: Medium<I>, dir: &Path) -> Self {
        Self {
            slots: TwoSlots::new(io, dir, "checkpoint", 1),
            saved: Cell::new(None),
            counts: Cell::new(false),
            owed: Cell::new(None),
        }
    }

    pub async fn load(&self) -> Result<Found, StoreError> {
        let Some(bytes) = self.slots.read().await? else {
            return Ok(Found::None {
                durable_to: 0,
                ours_from: None,
            });
        };
        let (last, found) = found(bytes.first_chunk(), self.slots.slots_of(&bytes));
        self.slots.continue_from(last);
        self.counts.set(!matches!(found, Found::None { .. }));
        if let Found::Ours(checkpoint) = found {
            self.saved.set(Some(checkpoint));
            self.owed.set(Some(checkpoint.times()));
        }
        Ok(found)
    }

    /// What was loaded or saved last, unless it was revoked.
    pub fn saved(&self) -> Option<Checkpoint> {
        self.saved.get()
    }

    /// In place of the last but one; the last one counts until this one is durable.
    pub async fn save(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        // Also after an error: some of it may have been written.
        self.counts.set(true);
        // The line before the last one belongs to no slot once that slot is overwritten.
        self.write_owed_times().await?;
        let (times, checkpoint) = (checkpoint.times(), *checkpoint);
        self.slots
            .write_next(&WithTimes { times, checkpoint })
            .await?;
        self.owed.set(Some(times));
        self.saved.set(Some(checkpoint));
        self.write_owed_times().await
    }

    /// Writes again what was loaded. A flush may have failed before the process ended: pages that the kernel dropped then count as clean, and a
    /// flush now would not write them.
    pub async fn write_again(&self) -> Result<(), StoreError> {
        let Some(checkpoint) = self.saved.get() else {
            return Ok(());
        };
        let times = checkpoint.times();
        self.slots
            .write_again(&WithTimes { times, checkpoint })
            .await?;
        self.owed.set(Some(times));
        self.write_owed_times().await
    }

    /// Called before the queues' files are rebuilt: until they are complete, no checkpoint says what they hold.
    pub async fn revoke(&self) -> Result<(), StoreError> {
        // Without one there may be no space to write this either.
        if self.counts.get() {
            self.write_line(&REVOKED).await?;
            self.counts.set(false);
            self.saved.set(None);
            self.owed.set(None);
        }
        Ok(())
    }

    async fn write_owed_times(&self) -> Result<(), StoreError> {
        if let Some(times) = self.owed.get() {
            self.write_line(&times).await?;
            self.owed.set(None);
        }
        Ok(())
    }

    async fn write_line(&self, times: &Times) -> Result<(), StoreError> {
        let mut line = AlignedBuf::zeroed(BLOCK_BYTES);
        line[..TIMES_BYTES].copy_from_slice(times);
        self.slots.write(line, 0).await
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::io::{Disk, Spawn};
    use crate::sim::{Sim, SimConfig};

    const ONE: Times = [1; TIMES_BYTES];
    const TWO: Times = [2; TIMES_BYTES];

    #[test]
    fn a_line_of_neither_is_of_rocketmq() {
        let mut torn = ONE;
        torn[17..].fill(2);
        for line in [ONE, TWO, torn] {
            assert!(is_torn_of(&line, &ONE, &TWO) && is_torn_of(&line, &TWO, &ONE));
        }
        torn[39] = 1;
        assert!(!is_torn_of(&torn, &ONE, &TWO));
        assert!(!is_torn_of(&[3; TIMES_BYTES], &ONE, &TWO));
    }

    fn slot(checkpoint: Checkpoint) -> WithTimes {
        WithTimes {
            times: checkpoint.times(),
            checkpoint,
        }
    }

    const SAVED: Checkpoint = Checkpoint {
        position: 10,
        store_time_ms: 1_795_000_000_000,
        queues_digest: 3,
        index: None,
        durable_to: 12,
        ours_from: Some(4),
    };

    #[test]
    fn a_slot_of_before_is_durable_up_to_its_position() {
        let mut block = slot(SAVED).encode(1);
        assert_eq!(WithTimes::decode(&block).unwrap().1.checkpoint, SAVED);
        block[OURS_FROM_AT..END].fill(0);
        let (_, read) = WithTimes::decode(&block).unwrap();
        let expected = Checkpoint {
            ours_from: None,
            ..SAVED
        };
        assert_eq!(read.checkpoint, expected);
        block[DURABLE_AT..END].fill(0);
        let (_, read) = WithTimes::decode(&block).unwrap();
        let expected = Checkpoint {
            durable_to: 10,
            ..expected
        };
        assert_eq!(read.checkpoint, expected);
        block[POSITION_AT] ^= 1;
        assert!(WithTimes::decode(&block).is_none());
    }

    /// However much of the line a power cut lets through, it is the checkpoint or none; and what it says of the log holds.
    #[test]
    fn a_revoked_checkpoint_still_says_what_is_durable() {
        let slots = slot(SAVED).encode(1);
        let revoked = Found::None {
            durable_to: 12,
            ours_from: Some(4),
        };
        for at in 0..=TIMES_BYTES {
            let [mut begun, mut rest] = [SAVED.times(); 2];
            begun[..at].copy_from_slice(&REVOKED[..at]);
            rest[at..].copy_from_slice(&REVOKED[at..]);
            for line in [begun, rest] {
                let (last, found) = found(Some(&line), &slots);
                match line == SAVED.times() {
                    true => assert_eq!(found, Found::Ours(SAVED)),
                    false => assert_eq!(found, revoked, "{line:?}"),
                }
                assert_eq!(last, 1);
            }
        }
        let theirs = Checkpoint {
            store_time_ms: 9,
            ..SAVED
        };
        let (_, found) = found(Some(&theirs.times()), &slots);
        assert_eq!(found, Found::Times { store_time_ms: 9 });
        assert_eq!((found.durable_to(), found.ours_from()), (0, None));
    }

    #[test]
    fn a_cut_leaves_the_last_one_or_the_next() {
        let sim = Sim::new(1, SimConfig::default());
        sim.run(async {
            let store = Path::new("/store");
            sim.host("a").create_dir_all(store).await.unwrap();
            sim.host("a").sync_dir(Path::new("/")).await.unwrap();
            let checkpoint = |position: u64| Checkpoint {
                position,
                store_time_ms: (position as i64) << (position % 50),
                queues_digest: position,
                index: None,
                durable_to: position + 7,
                ours_from: Some(position + 9),
            };
            let file = CheckpointFile::new(Medium::new(sim.host("a")), store);
            file.save(&checkpoint(0)).await.unwrap();
            let kept = Rc::new(Cell::new(0));
            for _ in 0..2_000 {
                let file = CheckpointFile::new(Medium::new(sim.host("a")), store);
                let Found::Ours(found) = file.load().await.unwrap() else {
                    panic!("neither of {} is there", kept.get());
                };
                let position = found.position;
                assert_eq!(found, checkpoint(position));
                assert!((kept.get()..=kept.get() + 1).contains(&position));
                let (next, saved) = (checkpoint(kept.get() + 1), kept.clone());
                sim.host("a").spawn("test", async move {
                    file.save(&next).await.unwrap();
                    saved.set(next.position);
                });
                sim.sleep(Duration::from_nanos(sim.below(12_000_000))).await;
                match sim.below(2) {
                    0 => sim.crash("a"),
                    _ => sim.power_cut("a"),
                }
            }
            assert!(kept.get() > 500, "{}", kept.get());
        });
    }
}
