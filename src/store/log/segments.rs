//! The CommitLog's files: made to their full size ahead of the log, and written with zeros before it gets there.
//!
//! Into blocks that were written before, a commit is one device write; into blocks that were merely allocated it also
//! changes the file system's metadata, at 3 to 5 times the latency. So a background task writes zeros ahead of the tail,
//! at its ease while it is well ahead, and makes the next file before this one is full. A zero write in flight and a log
//! write never touch the same block: [`Segments::busy`] says where the log must not write now.
//!
//! A file whose time is over becomes the log's next one: it has all its blocks, so that zeros are plain overwrites. What
//! it holds is harmless. Its records say another position than the one where they would be read; of each former life all
//! bytes were overwritten by the next one, up to the very end, so that a single blank record is left, which says no
//! position and is made zeros here; so is the beginning, where RocketMQ, which looks at no position, would go on after a
//! clean stop. The way from one name to the other leads over `spare`:
//!
//! ```text
//! rename to spare | sync the folder | zero the beginning, zero the blank record | ... | rename to its new name | sync
//! ```
//! Before the first sync a power cut leaves the old file as it was, after it no file of the log is touched until the
//! second; a start removes a `spare` that it finds.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::buffer::{ceil, floor};
use crate::io::{Durability, File, Io, Notify, OpenOptions, Waiters};
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::message::BLANK_MAGIC;
use crate::store::StoreError;
use crate::store::names::{offset_name, parse_offset_name};

/// Zeros written at a time: the device is busy with them for a fraction of a millisecond, which a log write may have to
/// wait for.
const CHUNK_BYTES: u64 = 256 << 10;

/// Written with zeros before a new log takes its first message.
const FIRST_BYTES: u64 = 4 << 20;

/// Pause between two chunks when there is no hurry: about 50 MB/s.
const EASY_PAUSE_NS: u64 = 5_000_000;

/// Share of their distance that the zeros jump ahead of a tail that has caught up with them: a sixteenth.
const HEADWAY_SHARE: u64 = 16;

/// A file whose time is over, until it is needed.
const SPARE: &str = "spare";

/// The blank record at the end of a file is looked for so far from the end; no message is longer.
const MAX_BLANK_BYTES: u64 = 32 << 20;

/// Pause after an error.
const RETRY_NS: u64 = 1_000_000_000;

pub(in crate::store) struct Segments<I: Io> {
    io: I,
    dir: PathBuf,
    segment_bytes: u64,
    /// The zeros stay this far ahead of the tail: then nothing is written that the log will not soon need.
    ahead_bytes: u64,
    files: RefCell<BTreeMap<u64, I::File>>,
    zeros: RefCell<Option<AlignedBuf>>,
    /// Blocks from the tail up to here have been written.
    zeroed_to: Cell<u64>,
    busy: Cell<Option<(u64, u64)>>,
    spare: RefCell<Option<I::File>>,
    /// A file is being made; who needs it too waits.
    is_making: Cell<bool>,
    made: Waiters,
    /// Why the next file could not be made, if it was for lack of space.
    no_space: RefCell<Option<Arc<str>>>,
    /// Somebody should look now whether files can go.
    pub clean_now: Notify,
}

impl<I: Io> Segments<I> {
    /// Opens what is there; the files must follow one another without a gap. `mend` makes what is missing of them, without
    /// any message.
    pub async fn open(
        io: I,
        dir: PathBuf,
        segment_bytes: u64,
        mend: bool,
    ) -> Result<Self, StoreError> {
        io.create_dir_all(&dir)
            .await
            .map_err(|source| StoreError::NotWritable {
                dir: dir.clone(),
                source,
            })?;
        let mut files = BTreeMap::new();
        let mut expected = None;
        let entries = io.list(&dir).await.map_err(StoreError::io("list", &dir))?;
        let last = entries
            .iter()
            .rev()
            .find_map(|entry| parse_offset_name(&entry.path));
        for entry in entries {
            if entry.path == dir.join(SPARE) {
                io.remove_file(&entry.path)
                    .await
                    .map_err(StoreError::io("remove", &entry.path))?;
            }
            let Some(start) = parse_offset_name(&entry.path) else {
                continue;
            };
            let is_short = entry.len_bytes < segment_bytes;
            if is_short && last == Some(start) && is_unused(&io, &entry.path).await? {
                // It was being made when the power went.
                io.remove_file(&entry.path)
                    .await
                    .map_err(StoreError::io("remove", &entry.path))?;
                continue;
            }
            let fits = entry.len_bytes == segment_bytes || is_short && mend;
            if !fits || !start.is_multiple_of(segment_bytes) {
                let (path, got) = (entry.path, entry.len_bytes);
                return Err(StoreError::SegmentBytes {
                    path,
                    got,
                    expected: segment_bytes,
                });
            }
            while let Some(missing) = expected.filter(|expected| *expected < start) {
                let path = dir.join(offset_name(missing));
                if !mend {
                    return Err(StoreError::SegmentMissing { path });
                }
                files.insert(missing, allocated(&io, &path, segment_bytes).await?);
                expected = missing.checked_add(segment_bytes);
            }
            expected = start.checked_add(segment_bytes);
            let file = match is_short {
                true => allocated(&io, &entry.path, segment_bytes).await?,
                false => open_direct(&io, &entry.path, false).await?,
            };
            files.insert(start, file);
        }
        Ok(Self::with(io, dir, segment_bytes, files))
    }

    /// Those that begin at these positions, to be read only.
    pub async fn view(
        io: &I,
        dir: &Path,
        segment_bytes: u64,
        starts: &[u64],
    ) -> Result<Self, StoreError> {
        let mut files = BTreeMap::new();
        for start in starts {
            let path = dir.join(offset_name(*start));
            let options = OpenOptions {
                direct: true,
                ..OpenOptions::default()
            };
            let file = io.open(&path, options).await;
            files.insert(*start, file.map_err(StoreError::io("open", &path))?);
        }
        Ok(Self::with(io.clone(), dir.to_owned(), segment_bytes, files))
    }

    fn with(io: I, dir: PathBuf, segment_bytes: u64, files: BTreeMap<u64, I::File>) -> Self {
        Self {
            io,
            dir,
            segment_bytes,
            ahead_bytes: segment_bytes,
            files: RefCell::new(files),
            zeros: RefCell::default(),
            zeroed_to: Cell::new(0),
            busy: Cell::new(None),
            spare: RefCell::default(),
            is_making: Cell::new(false),
            made: Waiters::default(),
            no_space: RefCell::default(),
            clean_now: Notify::default(),
        }
    }

    /// The same with its zeros no further ahead than this.
    pub fn with_zeros_ahead(self, bytes: u64) -> Self {
        Self {
            ahead_bytes: self.segment_bytes.min(bytes),
            ..self
        }
    }

    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    pub fn min_position(&self) -> Option<u64> {
        self.files.borrow().keys().next().copied()
    }

    pub fn busy(&self) -> Option<(u64, u64)> {
        self.busy.get()
    }

    pub fn start_of(&self, position: u64) -> u64 {
        position / self.segment_bytes * self.segment_bytes
    }

    pub fn path_of(&self, position: u64) -> PathBuf {
        self.dir.join(offset_name(self.start_of(position)))
    }

    pub fn file(&self, position: u64) -> Option<I::File> {
        self.files.borrow().get(&self.start_of(position)).cloned()
    }

    /// The file of this position, made if need be.
    pub async fn file_or_create(&self, position: u64) -> Result<I::File, StoreError> {
        let start = self.start_of(position);
        loop {
            if let Some(file) = self.file(start) {
                return Ok(file);
            }
            if !self.is_making.replace(true) {
                break;
            }
            let is_done = || (!self.is_making.get()).then_some(());
            self.made.until(is_done).await;
        }
        let made = self.make(start).await;
        self.is_making.set(false);
        self.made.wake_all();
        self.note_space(&made);
        made
    }

    fn note_space(&self, made: &Result<I::File, StoreError>) {
        match made {
            Ok(_) => drop(self.no_space.take()),
            Err(error) if error.is_no_space() => {
                let reason = format!("the log cannot grow: {error}");
                self.no_space.replace(Some(reason.into()));
                self.clean_now.notify();
            }
            Err(_) => {}
        }
    }

    async fn make(&self, start: u64) -> Result<I::File, StoreError> {
        let path = self.dir.join(offset_name(start));
        let spare = self.spare.take();
        let file = match spare {
            Some(spare) => {
                let from = self.dir.join(SPARE);
                self.io
                    .rename(&from, &path)
                    .await
                    .map_err(StoreError::io("rename", &from))?;
                spare
            }
            None => self.allocate(&path).await?,
        };
        self.sync_dir().await?;
        self.files.borrow_mut().insert(start, file.clone());
        Ok(file)
    }

    async fn allocate(&self, path: &Path) -> Result<I::File, StoreError> {
        let file = open_direct(&self.io, path, true).await?;
        if let Err(error) = file.allocate(self.segment_bytes).await {
            // What it has got would be missing elsewhere. That the removal may fail too changes nothing.
            let _ = self.io.remove_file(path).await;
            return Err(StoreError::io("allocate", path)(error));
        }
        file.sync_data()
            .await
            .map_err(StoreError::io("sync", path))?;
        Ok(file)
    }

    async fn sync_dir(&self) -> Result<(), StoreError> {
        self.io
            .sync_dir(&self.dir)
            .await
            .map_err(StoreError::io("sync", &self.dir))
    }

    /// Why the log cannot get its next file, if so.
    pub fn no_space(&self) -> Option<Arc<str>> {
        self.no_space.borrow().clone()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first positions of all files.
    pub fn starts(&self) -> Vec<u64> {
        self.files.borrow().keys().copied().collect()
    }

    pub fn has_spare(&self) -> bool {
        self.spare.borrow().is_some()
    }

    pub async fn drop_spare(&self) -> Result<(), StoreError> {
        if self.spare.take().is_none() {
            return Ok(());
        }
        let path = self.dir.join(SPARE);
        self.io
            .remove_file(&path)
            .await
            .map_err(StoreError::io("remove", &path))?;
        self.sync_dir().await
    }

    /// The oldest file goes; it may stay as a spare if there is none. One at a time: after a power cut there is no gap.
    pub async fn remove_first(&self, recycle: bool) -> Result<(), StoreError> {
        let first = self
            .files
            .borrow()
            .first_key_value()
            .map(|(start, file)| (*start, file.clone()));
        let Some((start, file)) = first else {
            return Ok(());
        };
        let path = self.dir.join(offset_name(start));
        if !recycle || self.has_spare() || self.is_making.get() {
            self.io
                .remove_file(&path)
                .await
                .map_err(StoreError::io("remove", &path))?;
            self.files.borrow_mut().remove(&start);
            return self.sync_dir().await;
        }
        let spare = self.dir.join(SPARE);
        self.io
            .rename(&path, &spare)
            .await
            .map_err(StoreError::io("rename", &path))?;
        self.files.borrow_mut().remove(&start);
        self.sync_dir().await?;
        if self.scrub(&file).await? {
            self.spare.replace(Some(file));
            return Ok(());
        }
        self.io
            .remove_file(&spare)
            .await
            .map_err(StoreError::io("remove", &spare))
    }

    /// Makes zeros of what could be taken for the log's in a file that gets another place in it: its beginning, and its
    /// blank record, the last bytes that are not zero. Without one it is not a file as we know it: `false`.
    async fn scrub(&self, file: &I::File) -> Result<bool, StoreError> {
        let path = self.dir.join(SPARE);
        let Some(blank) = self.find_blank(file).await? else {
            return Ok(false);
        };
        let last = floor(blank + 7);
        for block in [0, floor(blank), last] {
            let zeros = AlignedBuf::zeroed(BLOCK_BYTES);
            let (written, _) = file.write_at(zeros, block, Durability::Synced).await;
            written.map_err(StoreError::io("write", &path))?;
        }
        Ok(true)
    }

    /// Where the blank record is that ends a full file.
    async fn find_blank(&self, file: &I::File) -> Result<Option<u64>, StoreError> {
        let path = self.dir.join(SPARE);
        let lowest = self.segment_bytes.saturating_sub(MAX_BLANK_BYTES);
        let mut to = self.segment_bytes;
        while to > lowest {
            let from = to.saturating_sub(CHUNK_BYTES).max(lowest);
            // Some bytes more, as the record may begin in the piece before.
            let start = from.saturating_sub(BLOCK_BYTES as u64);
            let len = (to - start) as usize;
            let (read, bytes) = file
                .read_at(AlignedBuf::with_room_for(len), len, start)
                .await;
            read.map_err(StoreError::io("read", &path))?;
            let Some(last) = bytes[..len].iter().rposition(|byte| *byte != 0) else {
                to = from;
                continue;
            };
            let Some(record) = (last + 1).checked_sub(8) else {
                return Ok(None);
            };
            let blank = start + record as u64;
            let expected = ((self.segment_bytes - blank) as u32)
                .to_be_bytes()
                .into_iter();
            let expected = expected.chain(BLANK_MAGIC.to_be_bytes());
            let is_blank = bytes[record..=last].iter().copied().eq(expected);
            return Ok(is_blank.then_some(blank));
        }
        Ok(None)
    }

    /// Position behind the last file.
    pub fn end(&self) -> Option<u64> {
        let last = self.files.borrow().keys().next_back().copied();
        last.map(|start| start + self.segment_bytes)
    }

    /// Removes every file from this start on, the last one first: at no time there is a gap.
    pub async fn remove_from(&self, start: u64) -> Result<(), StoreError> {
        let removed = self.files.borrow_mut().split_off(&start);
        for start in removed.keys().rev() {
            let path = self.dir.join(offset_name(*start));
            self.io
                .remove_file(&path)
                .await
                .map_err(StoreError::io("remove", &path))?;
            self.sync_dir().await?;
        }
        Ok(())
    }

    /// Flushes the files from that of `from` on.
    pub async fn sync_from(&self, from: u64) -> Result<(), StoreError> {
        let files = self.files.borrow().clone();
        for (start, file) in files.range(self.start_of(from)..) {
            let path = self.dir.join(offset_name(*start));
            file.sync_data()
                .await
                .map_err(StoreError::io("sync", &path))?;
        }
        Ok(())
    }

    /// Reads at least `len` bytes from the beginning of a block on, but nothing beyond the end of its file. `None` if there
    /// is no such file.
    pub async fn read(&self, position: u64, len: usize) -> Result<Option<AlignedBuf>, StoreError> {
        self.read_into(None, position, len).await
    }

    /// The same, into a buffer that is there already if it has the right size.
    pub async fn read_into(
        &self,
        spare: Option<AlignedBuf>,
        position: u64,
        len: usize,
    ) -> Result<Option<AlignedBuf>, StoreError> {
        let Some(file) = self.file(position) else {
            return Ok(None);
        };
        let at = position % self.segment_bytes;
        // O_DIRECT reads whole blocks.
        let len = len
            .next_multiple_of(BLOCK_BYTES)
            .min((self.segment_bytes - at) as usize);
        let buf = spare
            .filter(|spare| spare.len() == len)
            .unwrap_or_else(|| AlignedBuf::with_room_for(len));
        let (read, buf) = file.read_at(buf, len, at).await;
        let path = self.path_of(position);
        let read = read.map_err(StoreError::io("read", &path))?;
        if read < len {
            let reason = format!("{} ends {} bytes early", path.display(), len - read);
            return Err(StoreError::Unreadable {
                physical_offset: position,
                reason,
            });
        }
        Ok(Some(buf))
    }

    /// Writes zeros over `len` bytes at a position, both multiples of the block size, and waits until they are durable.
    pub async fn zero(&self, position: u64, len: u64) -> Result<(), StoreError> {
        let zeros = match self.zeros.take() {
            Some(zeros) if zeros.len() as u64 == len => zeros,
            _ => AlignedBuf::zeroed(len as usize),
        };
        let (written, zeros) = self.write(position, zeros).await;
        self.zeros.replace(Some(zeros));
        written
    }

    /// Writes whole blocks of one segment, and waits until they are durable.
    pub async fn write(
        &self,
        position: u64,
        blocks: AlignedBuf,
    ) -> (Result<(), StoreError>, AlignedBuf) {
        let file = match self.file_or_create(position).await {
            Ok(file) => file,
            Err(error) => return (Err(error), blocks),
        };
        let (written, blocks) = file
            .write_at(blocks, position % self.segment_bytes, Durability::Synced)
            .await;
        let path = self.path_of(position);
        (written.map_err(StoreError::io("write", &path)), blocks)
    }

    /// For RocketMQ, which takes whatever looks like a record behind the tail for one: there are zeros behind it, and no
    /// file that is not of the log.
    pub async fn seal_end(&self, tail: u64) -> Result<(), StoreError> {
        self.drop_spare().await?;
        let behind = ceil(tail);
        let is_in_file = !behind.is_multiple_of(self.segment_bytes);
        if is_in_file && self.file(behind).is_some() {
            self.zero(behind, BLOCK_BYTES as u64).await?;
        }
        Ok(())
    }

    /// Room for the first messages; what the background does comes behind it.
    pub async fn prepare_first(&self, tail: u64) -> Result<(), StoreError> {
        let from = ceil(tail);
        if self.file(from).is_some() && !tail.is_multiple_of(self.segment_bytes) {
            self.zeroed_to.set(from);
            return Ok(());
        }
        let len = FIRST_BYTES.min(self.ahead_bytes);
        match self.zero(from, len).await {
            Ok(()) => self.zeroed_to.set(from + len),
            // It can still be read, and files can go.
            Err(error) if error.is_no_space() => self.zeroed_to.set(from),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Keeps zeros ahead of the log for as long as the store is open. `tail` tells where the log is and `moved` is called
    /// when a range that was busy is free again. What is not harmless has `failed`: the error of a flush may be about
    /// what the log wrote before, and the kernel tells it only once.
    pub async fn keep_ahead(
        self: Rc<Self>,
        tail: impl Fn() -> Option<u64>,
        moved: impl Fn(),
        failed: impl Fn(&StoreError),
    ) {
        while let Some(tail) = tail() {
            let ahead_of = ceil(tail);
            let from = if self.zeroed_to.get() < ahead_of {
                ahead_of + ceil(self.ahead_bytes / HEADWAY_SHARE)
            } else {
                self.zeroed_to.get()
            };
            if from >= tail + self.ahead_bytes {
                self.pause(EASY_PAUSE_NS * 2).await;
                continue;
            }
            let in_segment = self.segment_bytes - from % self.segment_bytes;
            let len = CHUNK_BYTES.min(in_segment).min(self.ahead_bytes);
            self.busy.set(Some((from, from + len)));
            let zeroed = self.zero(from, len).await;
            self.busy.set(None);
            moved();
            if let Err(error) = zeroed {
                if !error.is_harmless() {
                    return failed(&error);
                }
                // The log itself meets the same error, and decides.
                tracing::debug!(%error, "cannot prepare the log's space");
                self.pause(RETRY_NS).await;
                continue;
            }
            self.zeroed_to.set(from + len);
            if from + len > tail + self.ahead_bytes / 2 {
                self.pause(EASY_PAUSE_NS).await;
            }
        }
    }

    async fn pause(&self, ns: u64) {
        self.io.sleep_until(self.io.now().mono_ns + ns).await;
    }
}

const _: () = assert!(CHUNK_BYTES.is_multiple_of(BLOCK_BYTES as u64));

/// A file of the full size; what it has is kept.
async fn allocated<I: Io>(io: &I, path: &Path, len: u64) -> Result<I::File, StoreError> {
    let file = open_direct(io, path, true).await?;
    file.allocate(len)
        .await
        .map_err(StoreError::io("allocate", path))?;
    Ok(file)
}

async fn open_direct<I: Io>(io: &I, path: &Path, create: bool) -> Result<I::File, StoreError> {
    let options = OpenOptions {
        write: true,
        create,
        direct: true,
    };
    io.open(path, options)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::Unsupported => StoreError::NoDirect {
                dir: path.parent().unwrap_or(path).to_owned(),
            },
            _ => StoreError::io("open", path)(error),
        })
}

/// Whether a file that is shorter than a segment never got a record. One that did is of another segment size.
async fn is_unused<I: Io>(io: &I, path: &Path) -> Result<bool, StoreError> {
    let file = open_direct(io, path, false).await?;
    let block = AlignedBuf::zeroed(BLOCK_BYTES);
    let (read, block) = file.read_at(block, BLOCK_BYTES, 0).await;
    let read = read.map_err(StoreError::io("read", path))?;
    Ok(block[..read].iter().all(|byte| *byte == 0))
}
