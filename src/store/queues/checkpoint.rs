//! The checkpoint: up to where the ConsumeQueues' files agree with the log. It is behind the journal, which counts only as
//! long as the checkpoint is ours.
//!
//! ```text
//!    0  physicMsgTimestamp 8 | logicsMsgTimestamp 8 | indexMsgTimestamp 8 | masterFlushedOffset 8 | confirmPhyOffset 8
//! 4096  magic "ringmq02" 8 | number 8 | the first line as it is with this one 40 | savedPosition 8 | digest of the queues 8
//!       | has a mark 8 | mark of the key index 68 | CRC32 of all before it 4
//! 8192  the same, of the number before or behind it
//! ```
//! The first line is RocketMQ's (`StoreCheckpoint`), which reads and writes only that; the others are ours, in turn: the
//! next one takes the place of the last but one, and only then are the times written. So whatever a power cut leaves of a
//! write, one of the two is whole, and the first line is that of one of them or begins like one and ends like the other.
//! Any other first line is RocketMQ's, which has had the store meanwhile: then none of ours counts.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use crate::io::{Durability, File, Io, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::store::StoreError;
use crate::store::index::Mark;

const MAGIC: &[u8; 8] = b"ringmq02";
const NUMBER_AT: usize = 8;
const TIMES_AT: usize = NUMBER_AT + 8;
const POSITION_AT: usize = TIMES_AT + TIMES_BYTES;
const DIGEST_AT: usize = POSITION_AT + 8;
const HAS_MARK_AT: usize = DIGEST_AT + 8;
const MARK_AT: usize = HAS_MARK_AT + 8;
const CRC_AT: usize = MARK_AT + Mark::BYTES;
const END: usize = CRC_AT + 4;

/// RocketMQ's line, and its indexMsgTimestamp.
const TIMES_BYTES: usize = 40;
const INDEX_TIME_AT: usize = 16;

/// The line, and two of ours.
const FILE_BYTES: usize = 3 * BLOCK_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Checkpoint {
    /// Messages before this position, and no others, are in the files of their queues.
    pub position: u64,
    /// Store time of the last message before the position.
    pub store_time_ms: i64,
    /// [`super::memory::ConsumeQueues::saved_digest`] of these files.
    pub queues_digest: u64,
    /// None: messages are not indexed.
    pub index: Option<Mark>,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Found {
    Ours(Checkpoint),
    /// RocketMQ's: the older of the times of its log and its queues.
    Times {
        store_time_ms: i64,
    },
    None,
}

/// RocketMQ's first line.
type Times = [u8; TIMES_BYTES];

/// One of ours with what stands beside it.
#[derive(Clone, Copy)]
struct Numbered {
    number: u64,
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

    fn encode(&self, number: u64) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        buf[..NUMBER_AT].copy_from_slice(MAGIC);
        buf[NUMBER_AT..TIMES_AT].copy_from_slice(&number.to_be_bytes());
        buf[TIMES_AT..POSITION_AT].copy_from_slice(&self.times());
        buf[POSITION_AT..DIGEST_AT].copy_from_slice(&self.position.to_be_bytes());
        buf[DIGEST_AT..HAS_MARK_AT].copy_from_slice(&self.queues_digest.to_be_bytes());
        if let Some(mark) = &self.index {
            buf[HAS_MARK_AT..MARK_AT].copy_from_slice(&1_u64.to_be_bytes());
            buf[MARK_AT..CRC_AT].copy_from_slice(&mark.encode());
        }
        let crc = crc32fast::hash(&buf[..CRC_AT]);
        buf[CRC_AT..END].copy_from_slice(&crc.to_be_bytes());
        buf
    }
}

impl Numbered {
    fn decode(block: &[u8]) -> Option<Self> {
        let bytes = block.get(..END)?;
        let number = |at: usize| bytes[at..].first_chunk().map(|n| u64::from_be_bytes(*n));
        let is_whole = bytes.starts_with(MAGIC)
            && bytes[CRC_AT..] == crc32fast::hash(&bytes[..CRC_AT]).to_be_bytes();
        let times: Times = *bytes[TIMES_AT..].first_chunk().filter(|_| is_whole)?;
        let mark = bytes[MARK_AT..].first_chunk().and_then(Mark::decode);
        let has_mark = number(HAS_MARK_AT)? != 0;
        Some(Self {
            number: number(NUMBER_AT)?,
            times,
            checkpoint: Checkpoint {
                position: number(POSITION_AT)?,
                store_time_ms: i64::from_be_bytes(*times.first_chunk()?),
                queues_digest: number(DIGEST_AT)?,
                index: mark.filter(|_| has_mark),
            },
        })
    }
}

/// The newest of ours in the file, whether or not it counts, and what is there.
fn found(bytes: &[u8]) -> (Option<Numbered>, Found) {
    let ours = |at: usize| bytes.get(at..).and_then(Numbered::decode);
    let (mut newest, mut other) = (ours(BLOCK_BYTES), ours(2 * BLOCK_BYTES));
    let number = |ours: &Option<Numbered>| ours.map(|ours| ours.number);
    if number(&newest) < number(&other) {
        std::mem::swap(&mut newest, &mut other);
    }
    let line = bytes.first_chunk();
    if let (Some(ours), Some(line)) = (newest, line) {
        let before = other.map_or(ours.times, |other| other.times);
        if is_torn_of(line, &ours.times, &before) {
            return (newest, Found::Ours(ours.checkpoint));
        }
    }
    let time_ms = |at: usize| {
        let bytes = line?.get(at..)?.first_chunk()?;
        Some(i64::from_be_bytes(*bytes)).filter(|time_ms| *time_ms > 0)
    };
    let found = match (time_ms(0), time_ms(8)) {
        (Some(physic_ms), Some(logics_ms)) => Found::Times {
            store_time_ms: physic_ms.min(logics_ms),
        },
        _ => Found::None,
    };
    (newest, found)
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
    io: I,
    dir: PathBuf,
    path: PathBuf,
    /// Its name is on the device, and what another process may have written.
    is_durable: Cell<bool>,
    /// It has one that can be relied on.
    is_whole: Cell<bool>,
    /// Number of the last one that is whole.
    last: Cell<u64>,
    /// The first line that belongs to it, if another one may be there.
    owed: Cell<Option<Times>>,
}

impl<I: Io> CheckpointFile<I> {
    pub fn new(io: I, dir: &Path) -> Self {
        Self {
            io,
            dir: dir.to_owned(),
            path: dir.join("checkpoint"),
            is_durable: Cell::new(false),
            is_whole: Cell::new(false),
            last: Cell::new(0),
            owed: Cell::new(None),
        }
    }

    pub async fn load(&self) -> Result<Found, StoreError> {
        let file = match self.io.open(&self.path, OpenOptions::default()).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Found::None);
            }
            Err(error) => return Err(StoreError::io("open", &self.path)(error)),
        };
        let (read, buf) = file
            .read_at(AlignedBuf::zeroed(FILE_BYTES), FILE_BYTES, 0)
            .await;
        let read = read.map_err(StoreError::io("read", &self.path))?;
        let (newest, found) = found(&buf[..read]);
        self.is_whole.set(!matches!(found, Found::None));
        self.last.set(newest.map_or(0, |newest| newest.number));
        let ours = newest.filter(|_| matches!(found, Found::Ours(_)));
        self.owed.set(ours.map(|ours| ours.times));
        Ok(found)
    }

    /// In the place of the last but one; the last one counts until that is durable.
    pub async fn save(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let saved = self.write_next(checkpoint).await;
        // Even if not all of it was, and whoever revoked meanwhile has not revoked this one.
        self.is_whole.set(true);
        saved
    }

    /// Before the queues' files are made again: until that is done nothing can be relied on.
    pub async fn revoke(&self) -> Result<(), StoreError> {
        // Where there is none there may be no room for one either.
        if self.is_whole.get() {
            let zeros = AlignedBuf::zeroed(FILE_BYTES);
            self.write(zeros, 0).await?;
            self.is_whole.set(false);
            self.owed.set(None);
        }
        Ok(())
    }

    async fn write_next(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        // The line of before the last one would be nobody's once that one is overwritten.
        self.write_owed_times().await?;
        // After an error it is tried in the same place again: the other one may be the only one that is whole.
        let number = self.last.get() + 1;
        let place = (1 + number % 2) * BLOCK_BYTES as u64;
        self.write(checkpoint.encode(number), place).await?;
        self.last.set(number);
        self.owed.set(Some(checkpoint.times()));
        self.write_owed_times().await
    }

    async fn write_owed_times(&self) -> Result<(), StoreError> {
        if let Some(times) = self.owed.get() {
            let mut line = AlignedBuf::zeroed(BLOCK_BYTES);
            line[..TIMES_BYTES].copy_from_slice(&times);
            self.write(line, 0).await?;
            self.owed.set(None);
        }
        Ok(())
    }

    async fn write(&self, bytes: AlignedBuf, at: u64) -> Result<(), StoreError> {
        let options = OpenOptions {
            write: true,
            create: true,
            direct: false,
        };
        let opened = self.io.open(&self.path, options).await;
        let file = opened.map_err(StoreError::io("open", &self.path))?;
        if !self.is_durable.get() {
            let synced = file.sync_data().await;
            synced.map_err(StoreError::io("sync", &self.path))?;
            let synced = self.io.sync_dir(&self.dir).await;
            synced.map_err(StoreError::io("sync", &self.dir))?;
            self.is_durable.set(true);
        }
        let (written, _) = file.write_at(bytes, at, Durability::Synced).await;
        written.map_err(StoreError::io("write", &self.path))
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
            };
            let file = CheckpointFile::new(sim.host("a"), store);
            file.save(&checkpoint(0)).await.unwrap();
            let kept = Rc::new(Cell::new(0));
            for _ in 0..2_000 {
                let file = CheckpointFile::new(sim.host("a"), store);
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
