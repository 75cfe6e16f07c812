//! The timers as RocketMQ keeps them beside its store, so that a store which changes hands delivers none of them twice
//! (RocketMQ: `TimerLog`, `TimerMessageStore.recover`, `TimerCheckpoint`).
//!
//! ```text
//! config/timercheck   [ lastReadTimeMs 8 | lastTimerLogFlushPos 8 | lastTimerQueueOffset 8 | masterTimerQueueOffset 8 | version 24 ]
//! timerlog/00000000000000000000, files of 100 MiB, of units of 52 bytes:
//! [ size 4 | position of the one before in this second 8 | magic 4 | written 8 | delay 4 | physicalOffset 8 | size 4 | 12 of no use here ]
//! ```
//! RocketMQ goes on with what the log has from `lastReadTimeMs` on, and reads the timer topic behind the message of the log's last
//! unit, or from `lastTimerQueueOffset` on if there is no log. Its wheel (`timerwheel`) is made from the log where it is missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::entries::{Timer, TimerKind};
use crate::io::{Durability, Io, OpenOptions};
use crate::mem::AlignedBuf;
use crate::store::error::if_there;
use crate::store::medium::{Guarded, Medium};
use crate::store::{Position, StoreError, whole_file};

const FILE_BYTES: u64 = 100 << 20;
const UNIT_BYTES: u64 = 52;
/// Size, nothing and magic of what is left at a file's end.
const BLANK_BYTES: u64 = 16;
const BLANK_MAGIC: u32 = 0xBBCC_DDEE ^ (1_880_681_586 + 8);
const PRECISION_MS: u64 = 1000;
/// A second that RocketMQ has passed, where it looks for no unit any more.
const LONG_AGO_MS: u64 = 3_600_000;

/// How far RocketMQ is to go on from, or was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerCheck {
    /// What is due by then and before the offset has been delivered.
    pub read_ms: u64,
    /// In the timer topic's queue.
    pub offset: u64,
}

/// What RocketMQ has left behind, if it had the store.
pub async fn load_timer_check<I: Io>(
    io: &Medium<I>,
    store_dir: &Path,
) -> Result<Option<TimerCheck>, StoreError> {
    let path = check_path(store_dir);
    let Some(file) = if_there(io.open(&path, OpenOptions::default()).await)? else {
        return Ok(None);
    };
    let (read, buf) = file.read_at(AlignedBuf::with_room_for(24), 24, 0).await;
    let (numbers, _) = buf[..read?].as_chunks::<8>();
    let number = |index: usize| numbers.get(index).map(|bytes| u64::from_be_bytes(*bytes));
    let check = number(0).zip(number(2));
    Ok(check.map(|(read_ms, offset)| TimerCheck { read_ms, offset }))
}

/// RocketMQ's log of timers, written anew.
pub struct TimerLog<'a, I: Io> {
    io: &'a Medium<I>,
    store_dir: &'a Path,
    now_ms: u64,
    end: u64,
    file: Option<(u64, Guarded<I>)>,
    /// The last unit of each second that may still get one.
    last: BTreeMap<u64, u64>,
}

impl<'a, I: Io> TimerLog<'a, I> {
    /// Removes what there was. Until [`Self::finish`] RocketMQ would read all of the timer topic: messages twice rather than never.
    pub async fn begin(
        io: &'a Medium<I>,
        store_dir: &'a Path,
        now_ms: u64,
    ) -> Result<Self, StoreError> {
        save_timer_check(io, store_dir, TimerCheck::default()).await?;
        if_there(io.remove_file(&store_dir.join("timerwheel")).await)?;
        let dir = store_dir.join("timerlog");
        for entry in io.list(&dir).await? {
            if_there(io.remove_file(&entry.path).await)?;
        }
        Ok(Self {
            io,
            store_dir,
            now_ms,
            end: 0,
            file: None,
            last: BTreeMap::new(),
        })
    }

    /// Timers in the order of their times.
    pub async fn append(&mut self, timers: &[Timer]) -> Result<(), StoreError> {
        for part in timers.chunks(8192) {
            let mut rest = part;
            while !rest.is_empty() {
                rest = self.append_to_file(rest).await?;
            }
        }
        Ok(())
    }

    /// `newest` is the message before `check.offset`.
    pub async fn finish(
        mut self,
        newest: Option<Position>,
        check: TimerCheck,
    ) -> Result<(), StoreError> {
        if let Some(newest) = newest.filter(|_| self.end > 0) {
            // RocketMQ looks at the last unit only for where to go on.
            self.last.clear();
            let marker = Timer {
                at_ms: self.now_ms.saturating_sub(LONG_AGO_MS),
                physical_offset: newest.physical_offset,
                size: newest.size,
                kind: TimerKind::Deliver,
            };
            self.append(&[marker]).await?;
        }
        if let Some((_, file)) = &self.file {
            file.sync_data().await?;
            self.io.sync_dir(&self.dir()).await?;
        }
        let whole_seconds_ms = check.read_ms / PRECISION_MS * PRECISION_MS;
        let check = TimerCheck {
            read_ms: whole_seconds_ms,
            ..check
        };
        save_timer_check(self.io, self.store_dir, check).await
    }

    fn dir(&self) -> PathBuf {
        self.store_dir.join("timerlog")
    }

    /// As many as the file takes; the others.
    async fn append_to_file<'t>(&mut self, timers: &'t [Timer]) -> Result<&'t [Timer], StoreError> {
        let (start, file) = self.file_at_end().await?;
        let room = FILE_BYTES - (self.end - start);
        let fitting = ((room - BLANK_BYTES) / UNIT_BYTES).min(timers.len() as u64) as usize;
        let (now, later) = timers.split_at(fitting);
        let at = self.end - start;
        let mut bytes = Vec::with_capacity(now.len() * UNIT_BYTES as usize + BLANK_BYTES as usize);
        for timer in now {
            self.encode(timer, &mut bytes);
        }
        if !later.is_empty() {
            let rest = (start + FILE_BYTES - self.end) as u32;
            bytes.extend_from_slice(&rest.to_be_bytes());
            bytes.extend_from_slice(&[0; 8]);
            bytes.extend_from_slice(&BLANK_MAGIC.to_be_bytes());
            self.end = start + FILE_BYTES;
        }
        file.write_at(bytes, at, Durability::Written).await.0?;
        Ok(later)
    }

    async fn file_at_end(&mut self) -> Result<(u64, Guarded<I>), StoreError> {
        let start = self.end / FILE_BYTES * FILE_BYTES;
        if let Some((open, file)) = &self.file {
            if *open == start {
                return Ok((start, file.clone()));
            }
            file.sync_data().await?;
        }
        let dir = self.dir();
        self.io.create_dir_all(&dir).await?;
        let path = dir.join(format!("{start:020}"));
        let file = self.io.create(&path).await?;
        file.resize(FILE_BYTES).await?;
        self.file = Some((start, file.clone()));
        Ok((start, file))
    }

    fn encode(&mut self, timer: &Timer, out: &mut Vec<u8>) {
        let (time_ms, magic) = unit_of(timer);
        let second = time_ms / PRECISION_MS;
        let before = self.last.insert(second, self.end);
        // A recall stands a millisecond behind what it takes back.
        self.last = self.last.split_off(&second.saturating_sub(1));
        let delay_ms = time_ms as i64 - self.now_ms as i64;
        let delay_ms = delay_ms.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        let before = before.map_or(-1, |position| position as i64);
        out.extend_from_slice(&(UNIT_BYTES as u32).to_be_bytes());
        out.extend_from_slice(&before.to_be_bytes());
        out.extend_from_slice(&magic.to_be_bytes());
        out.extend_from_slice(&(time_ms as i64 - delay_ms).to_be_bytes());
        out.extend_from_slice(&(delay_ms as i32).to_be_bytes());
        out.extend_from_slice(&timer.physical_offset.to_be_bytes());
        out.extend_from_slice(&timer.size.to_be_bytes());
        out.extend_from_slice(&[0; 12]);
        self.end += UNIT_BYTES;
    }
}

/// The time that says in which second RocketMQ looks for it, TIMER_OUT_MS, and what for.
fn unit_of(timer: &Timer) -> (u64, u32) {
    match timer.kind {
        TimerKind::Deliver => (timer.at_ms.saturating_sub(1), 1),
        TimerKind::Roll => (timer.at_ms, 1 | 2),
        TimerKind::Recall => (timer.at_ms, 1 | 4),
    }
}

fn check_path(store_dir: &Path) -> PathBuf {
    store_dir.join("config").join("timercheck")
}

async fn save_timer_check<I: Io>(
    io: &Medium<I>,
    store_dir: &Path,
    check: TimerCheck,
) -> Result<(), StoreError> {
    let path = check_path(store_dir);
    // RocketMQ maps a page of it.
    let mut bytes = Vec::with_capacity(4096);
    for number in [check.read_ms, 0, check.offset, check.offset] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.resize(4096, 0);
    let beside = path.with_extension("tmp");
    whole_file::write(io, &beside, bytes).await?;
    io.rename(&beside, &path).await?;
    io.sync_dir(&store_dir.join("config")).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Sim, SimConfig};

    fn timer(at_ms: u64, physical_offset: u64, kind: TimerKind) -> Timer {
        Timer {
            at_ms,
            physical_offset,
            size: 100,
            kind,
        }
    }

    /// What RocketMQ finds for a second: magic and physical offset, the last unit first.
    fn of_second(log: &[u8], second: u64) -> Vec<(u32, u64)> {
        let word = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_be_bytes(log[at..at + 8].try_into().unwrap());
        let time_ms =
            |at: usize| long(at + 16).wrapping_add_signed(i64::from(word(at + 24) as i32));
        let units = (0..log.len()).step_by(52).take_while(|at| word(*at) == 52);
        let mut at = units.filter(|at| time_ms(*at) / 1000 == second).last();
        let mut found = Vec::new();
        while let Some(unit) = at {
            found.push((word(unit + 12), long(unit + 28)));
            at = usize::try_from(long(unit + 4) as i64).ok();
        }
        found
    }

    #[test]
    fn a_second_has_its_timers_and_what_takes_them_back() {
        let sim = Sim::new(1, SimConfig::default());
        sim.run(async {
            let io = Medium::new(sim.host("a"));
            let dir = Path::new("/store");
            io.create_dir_all(&dir.join("config")).await.unwrap();
            let mut log = TimerLog::begin(&io, dir, 500).await.unwrap();
            log.append(&[
                timer(1_999, 1, TimerKind::Recall),
                timer(2_000, 2, TimerKind::Recall),
                timer(2_000, 3, TimerKind::Deliver),
                timer(2_001, 4, TimerKind::Deliver),
                timer(9_000, 5, TimerKind::Roll),
            ])
            .await
            .unwrap();
            let newest = Position::new(6, 7);
            let check = TimerCheck {
                read_ms: 1_234,
                offset: 8,
            };
            log.finish(Some(newest), check).await.unwrap();
            let kept = load_timer_check(&io, dir).await.unwrap();
            let whole = TimerCheck {
                read_ms: 1_000,
                ..check
            };
            assert_eq!(kept, Some(whole));
            let path = dir.join("timerlog/00000000000000000000");
            let file = io.open(&path, OpenOptions::default()).await.unwrap();
            assert_eq!(file.len_bytes().await.unwrap(), FILE_BYTES);
            let (_, read) = file.read_at(AlignedBuf::with_room_for(4096), 4096, 0).await;
            assert_eq!(of_second(&read, 1), [(1, 3), (5, 1)]);
            assert_eq!(of_second(&read, 2), [(1, 4), (5, 2)]);
            assert_eq!(of_second(&read, 9), [(3, 5)]);
            assert_eq!(of_second(&read, 0), [(1, 6)]);
            // Written anew, nothing of it is left.
            let log = TimerLog::begin(&io, dir, 500).await.unwrap();
            assert_eq!(
                load_timer_check(&io, dir).await.unwrap(),
                Some(TimerCheck::default())
            );
            assert!(io.list(&dir.join("timerlog")).await.unwrap().is_empty());
            log.finish(Some(newest), check).await.unwrap();
            assert!(io.list(&dir.join("timerlog")).await.unwrap().is_empty());
        });
    }
}
