//! The CommitLog's files: opening, making, reading, writing and removing them. They are made to their full size ahead of
//! the log (`zero_ahead.rs`), and the oldest becomes the newest (`recycle.rs`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::buffer::ceil;
use super::recycle::Spare;
use crate::io::{Durability, Io, Notify, OpenOptions, Waiters};
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::store::StoreError;
use crate::store::medium::{Guarded, Medium};
use crate::store::names::{offset_name, parse_offset_name};
use crate::store::turns::{Turn, Turns};

pub(in crate::store) struct Segments<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
    segment_bytes: u64,
    files: RefCell<BTreeMap<u64, Guarded<I>>>,
    zeros: RefCell<Option<AlignedBuf>>,
    spare: Spare<I>,
    /// One file is made at a time.
    is_making: Cell<bool>,
    made: Waiters,
    /// A file is not removed while a part of it is repaired.
    removals: Turns,
    /// Why the next file could not be made, if it was for lack of space.
    no_space: RefCell<Option<Arc<str>>>,
    /// Retention should look at once whether files can be removed.
    pub clean_now: Rc<Notify>,
}

impl<I: Io> Segments<I> {
    /// Opens what is there; the files must follow one another without a gap. `mend` makes what is missing of them, without
    /// any message.
    pub async fn open(
        io: Medium<I>,
        dir: PathBuf,
        segment_bytes: u64,
        mend: bool,
    ) -> Result<Self, StoreError> {
        io.create_dir_all(&dir)
            .await
            .map_err(StoreError::not_writable(&dir))?;
        Spare::remove_left(&io, &dir).await?;
        let mut files = BTreeMap::new();
        let mut expected = None;
        let entries = io.list(&dir).await?;
        let last = entries
            .iter()
            .rev()
            .find_map(|entry| parse_offset_name(&entry.path));
        for entry in entries {
            let Some(start) = parse_offset_name(&entry.path) else {
                continue;
            };
            let is_short = entry.len_bytes < segment_bytes;
            if is_short && last == Some(start) && is_unused(&io, &entry.path).await? {
                // It was being made when the power went.
                io.remove_file(&entry.path).await?;
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
        io: &Medium<I>,
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
            files.insert(*start, io.open(&path, options).await?);
        }
        Ok(Self::with(io.clone(), dir.to_owned(), segment_bytes, files))
    }

    fn with(
        io: Medium<I>,
        dir: PathBuf,
        segment_bytes: u64,
        files: BTreeMap<u64, Guarded<I>>,
    ) -> Self {
        Self {
            spare: Spare::new(io.clone(), &dir, segment_bytes),
            io,
            dir,
            segment_bytes,
            files: RefCell::new(files),
            zeros: RefCell::default(),
            is_making: Cell::new(false),
            made: Waiters::default(),
            removals: Turns::default(),
            no_space: RefCell::default(),
            clean_now: Rc::default(),
        }
    }

    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    pub fn min_position(&self) -> Option<u64> {
        self.files.borrow().keys().next().copied()
    }

    pub fn start_of(&self, position: u64) -> u64 {
        position / self.segment_bytes * self.segment_bytes
    }

    pub fn path_of(&self, position: u64) -> PathBuf {
        self.dir.join(offset_name(self.start_of(position)))
    }

    pub fn file(&self, position: u64) -> Option<Guarded<I>> {
        self.files.borrow().get(&self.start_of(position)).cloned()
    }

    /// Whether the device gives another block of the file of this position.
    pub async fn answers_near(&self, position: u64) -> bool {
        let start = self.start_of(position);
        let last = start + self.segment_bytes() - BLOCK_BYTES as u64;
        for block in [start, last] {
            if let Ok(Some(_)) = self.read(block, BLOCK_BYTES).await {
                return true;
            }
        }
        false
    }

    /// The file of this position, made if need be.
    pub async fn file_or_create(&self, position: u64) -> Result<Guarded<I>, StoreError> {
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
        let making = Making(self);
        let made = self.make_up_to(start).await;
        drop(making);
        self.note_space(&made);
        made
    }

    fn note_space(&self, made: &Result<Guarded<I>, StoreError>) {
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

    /// In order: a power cut leaves no file behind one that is missing. What is to be zeroed may be files ahead of what is written.
    async fn make_up_to(&self, start: u64) -> Result<Guarded<I>, StoreError> {
        loop {
            let next = self.end().filter(|end| *end < start).unwrap_or(start);
            let made = self.make(next).await;
            if made.is_err() || next == start {
                return made;
            }
        }
    }

    async fn make(&self, start: u64) -> Result<Guarded<I>, StoreError> {
        let path = self.dir.join(offset_name(start));
        let file = match self.spare.place(&path).await? {
            Some(spare) => spare,
            None => self.allocate(&path).await?,
        };
        self.sync_dir().await?;
        self.files.borrow_mut().insert(start, file.clone());
        Ok(file)
    }

    async fn allocate(&self, path: &Path) -> Result<Guarded<I>, StoreError> {
        let file = open_direct(&self.io, path, true).await?;
        if let Err(error) = file.allocate(self.segment_bytes).await {
            // Its blocks are needed elsewhere. A removal that fails, too, changes nothing.
            let _ = self.io.remove_file(path).await;
            return Err(error);
        }
        file.sync_data().await?;
        Ok(file)
    }

    async fn sync_dir(&self) -> Result<(), StoreError> {
        self.io.sync_dir(&self.dir).await
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
        self.spare.is_there()
    }

    pub async fn drop_spare(&self) -> Result<(), StoreError> {
        self.spare.remove().await
    }

    /// Removes the oldest file, or keeps it as a spare if there is none. One at a time: after a power cut there is no gap.
    pub async fn remove_first(&self, recycle: bool) -> Result<(), StoreError> {
        let _removal = self.removals.take().await;
        let first = self
            .files
            .borrow()
            .first_key_value()
            .map(|(start, file)| (*start, file.clone()));
        let Some((start, file)) = first else {
            return Ok(());
        };
        if recycle && !self.has_spare() && !self.is_making.get() {
            self.spare.receive(&file).await?;
            self.files.borrow_mut().remove(&start);
            self.sync_dir().await?;
            return self.spare.clear(file).await;
        }
        self.io.remove_file(&self.path_of(start)).await?;
        self.files.borrow_mut().remove(&start);
        self.sync_dir().await
    }

    /// As long as this is held no file is removed.
    pub async fn removal(&self) -> Turn<'_> {
        self.removals.take().await
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
            self.io.remove_file(&self.path_of(*start)).await?;
            self.sync_dir().await?;
        }
        Ok(())
    }

    /// Flushes the files from that of `from` on.
    pub async fn sync_from(&self, from: u64) -> Result<(), StoreError> {
        let files = self.files.borrow().clone();
        for file in files.range(self.start_of(from)..).map(|(_, file)| file) {
            file.sync_data().await?;
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
        let read = read?;
        if read < len {
            let path = self.path_of(position);
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
        let at = position % self.segment_bytes;
        file.write_at(blocks, at, Durability::Synced).await
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

    pub(super) async fn pause(&self, ns: u64) {
        self.io.sleep_until(self.io.now().mono_ns + ns).await;
    }
}

/// A file is being made for as long as this lives.
struct Making<'a, I: Io>(&'a Segments<I>);

impl<I: Io> Drop for Making<'_, I> {
    fn drop(&mut self) {
        self.0.is_making.set(false);
        self.0.made.wake_all();
    }
}

/// A file of the full size, also after a power cut; what it has is kept.
async fn allocated<I: Io>(io: &Medium<I>, path: &Path, len: u64) -> Result<Guarded<I>, StoreError> {
    let file = open_direct(io, path, true).await?;
    file.allocate(len).await?;
    file.sync_data().await?;
    let dir = path.parent().unwrap_or(path);
    io.sync_dir(dir).await?;
    Ok(file)
}

async fn open_direct<I: Io>(
    io: &Medium<I>,
    path: &Path,
    create: bool,
) -> Result<Guarded<I>, StoreError> {
    let options = OpenOptions {
        write: true,
        create,
        direct: true,
    };
    io.open(path, options).await
}

/// Whether a file that is shorter than a segment never got a record. One that did is of another segment size.
async fn is_unused<I: Io>(io: &Medium<I>, path: &Path) -> Result<bool, StoreError> {
    let file = open_direct(io, path, false).await?;
    let block = AlignedBuf::zeroed(BLOCK_BYTES);
    let (read, block) = file.read_at(block, BLOCK_BYTES, 0).await;
    Ok(block[..read?].iter().all(|byte| *byte == 0))
}
