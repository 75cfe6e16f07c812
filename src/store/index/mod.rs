//! The key index: from a message's keys to its place in the log, in RocketMQ's files (`IndexService`, `IndexFile`).
//!
//! ```text
//! index/<yyyyMMddHHmmssSSS>      each of the next so many keys; the last one is being filled
//!
//! log       | in the index's files ... | in memory ........ | committed, not indexed yet | not committed
//!                                mark.position         position
//! ```
//! The index follows the log (`follow.rs`): no send waits for it, and a query waits until it has come to where the log was
//! committed when it was asked (`query.rs`). What is in its files is said by a [`Mark`] in the checkpoint. After a crash
//! entries behind the mark are forgotten and come again from the log; so does the whole index if its files are not those
//! of the mark.

mod file;
mod follow;
mod growing;
pub(super) mod layout;
mod mark;
mod query;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(super) use follow::each_key;
pub use layout::Shape;
pub(super) use layout::{
    ENTRY_BYTES as INDEX_ENTRY_BYTES, Entry, HEADER_BYTES as INDEX_HEADER_BYTES, Header, Name,
};
pub(super) use mark::Mark;
pub use query::{KeyMatches, KeyQuery, Wanted};

use self::file::IndexFile;
use self::growing::Key;
use super::StoreError;
use super::gate::Gate;
use super::log::Log;
use super::medium::Medium;
use crate::io::{Io, Notify, Waiters};

/// Entries in memory above which they are written before their time, and above which the index waits for that.
const SAVE_BYTES: usize = 1 << 20;
const MAX_UNSAVED_BYTES: usize = 16 << 20;

pub(super) struct Index<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
    shape: Shape,
    /// In the order of the log, and of their names.
    files: RefCell<VecDeque<Rc<IndexFile<I>>>>,
    /// Files of which all messages are gone; they go when the checkpoint no longer names them.
    outlived: RefCell<Vec<Rc<IndexFile<I>>>>,
    /// Messages before this log position, and no others, are in the index.
    position: Cell<u64>,
    /// What the checkpoint says until the last file has its slots again.
    restoring: Cell<Option<Mark>>,
    moved: Waiters,
    /// A query waits for what is committed now.
    hurry: Notify,
}

/// The index and the log that it follows.
pub(super) struct KeyIndex<I: Io> {
    index: Index<I>,
    log: Rc<Log<I>>,
    gate: Rc<Gate>,
}

impl<I: Io> KeyIndex<I> {
    pub fn new(index: Index<I>, log: Rc<Log<I>>, gate: Rc<Gate>) -> Self {
        Self { index, log, gate }
    }

    /// Writes what is in memory, and returns what the checkpoint is to say once that is done.
    pub async fn save(&self) -> Result<Mark, StoreError> {
        self.index.save(self.log.min()).await
    }

    pub fn wants_saving(&self) -> bool {
        self.index.unsaved_bytes() >= SAVE_BYTES
    }

    /// Writes the entries that are in memory now, and completes files that have become full.
    pub async fn save_entries(&self) -> Result<(), StoreError> {
        self.index.save_entries().await
    }

    /// Removes the files that the checkpoint no longer names.
    pub async fn remove_outlived(&self) -> Result<(), StoreError> {
        self.index.remove_outlived().await
    }

    /// Makes the last file whole, for a restart that need not look at its entries, and for RocketMQ.
    pub async fn complete(&self) -> Result<(), StoreError> {
        self.index.complete().await
    }
}

impl<I: Io> Index<I> {
    /// With the files that `mark` names, if it is of the log `log_min..log_max` and they are there; else without any.
    pub async fn open(
        io: Medium<I>,
        dir: PathBuf,
        shape: Shape,
        mark: Option<Mark>,
        was_closed: bool,
        (log_min, log_max): (u64, u64),
    ) -> Result<Self, StoreError> {
        let mut found = names(&io, &dir).await?;
        let mut files = None;
        let mark = mark.filter(|mark| mark.position <= log_max);
        if let Some(mark) = &mark {
            files = restore(&io, &dir, shape, mark, &found).await?;
        }
        if files.is_some() {
            found.retain(|name| !mark.is_some_and(|mark| mark.names(*name)));
        }
        for name in found {
            let path = name.in_dir(&dir);
            io.remove_file(&path).await?;
        }
        let mark = mark.filter(|_| files.is_some());
        let files = files.unwrap_or_default();
        let lacks_slots = !was_closed && files.back().is_some_and(|file| !file.is_full());
        Ok(Self {
            io,
            dir,
            shape,
            files: RefCell::new(files),
            outlived: RefCell::default(),
            position: Cell::new(match mutant!(IndexNotContinued) {
                true => log_max,
                false => mark.map_or(log_min, |mark| mark.position),
            }),
            restoring: Cell::new(mark.filter(|_| lacks_slots)),
            moved: Waiters::default(),
            hurry: Notify::default(),
        })
    }

    /// Writes what is in memory, and returns what the checkpoint is to say once that is done.
    pub async fn save(&self, log_min: u64) -> Result<Mark, StoreError> {
        if let Some(mark) = self.restoring.get() {
            return Ok(mark);
        }
        self.leave_outlived(log_min);
        // Of this moment: what comes meanwhile is for the next time.
        let mark = self.mark();
        self.save_entries().await?;
        Ok(mark)
    }

    /// Writes the entries that are in memory now, and completes files that have become full.
    pub async fn save_entries(&self) -> Result<(), StoreError> {
        let growing: Vec<_> = self
            .files
            .borrow()
            .iter()
            .filter(|file| file.is_growing())
            .cloned()
            .collect();
        for file in growing {
            file.save(&self.io).await?;
        }
        Ok(())
    }

    /// Makes the last file whole, for a restart that need not look at its entries, and for RocketMQ.
    pub async fn complete(&self) -> Result<(), StoreError> {
        let last = self.files.borrow().back().cloned();
        match last {
            Some(last) => last.complete(&self.io).await,
            None => Ok(()),
        }
    }

    /// Removes the files that the checkpoint no longer names.
    pub async fn remove_outlived(&self) -> Result<(), StoreError> {
        let outlived = self.outlived.take();
        for file in outlived {
            file.remove(&self.io).await?;
        }
        Ok(())
    }

    fn unsaved_bytes(&self) -> usize {
        let files = self.files.borrow();
        files
            .iter()
            .rev()
            .map_while(|file| file.is_growing().then(|| file.unsaved_bytes()))
            .sum()
    }

    /// Makes the last file ready for more entries.
    async fn resume(&self) -> Result<(), StoreError> {
        let last = self.files.borrow().back().cloned();
        let Some(last) = last.filter(|last| !last.is_growing() && !last.is_full()) else {
            return Ok(());
        };
        last.resume().await
    }

    /// Makes the slots of the last file again, which a crash has left without them.
    async fn restore_slots(&self) -> Result<(), StoreError> {
        let last = self.files.borrow().back().cloned();
        let Some(last) = last.filter(|_| self.restoring.get().is_some()) else {
            return Ok(());
        };
        if last.resume_from_entries().await?.is_ok() {
            self.restoring.set(None);
            return Ok(());
        }
        tracing::warn!(dir = %self.dir.display(), "the key index is damaged: making it again from the log");
        self.forget().await
    }

    /// Begins anew. The checkpoint goes on to name the files until they are there again, which only a restart would
    /// notice, and it would do the same.
    async fn forget(&self) -> Result<(), StoreError> {
        let files = self.files.take();
        self.position.set(0);
        self.restoring.set(None);
        for file in files {
            file.remove(&self.io).await?;
        }
        Ok(())
    }

    /// Adds keys in the order of the log. The last file is ready for them.
    fn put(&self, mut keys: &[Key]) {
        while !keys.is_empty() {
            let file = self.file_with_room();
            let mut growing = file.growing.borrow_mut();
            let growing = growing.as_mut().expect("the last file was resumed");
            let count = growing.room().min(keys.len());
            let (now, later) = keys.split_at(count);
            now.iter().for_each(|key| growing.put(key));
            keys = later;
        }
    }

    fn file_with_room(&self) -> Rc<IndexFile<I>> {
        let mut files = self.files.borrow_mut();
        if let Some(last) = files.back().filter(|last| !last.is_full()) {
            return last.clone();
        }
        let local_ms = self.io.now().unix_ms + i64::from(self.io.utc_offset_s()) * 1000;
        let now = Name::at(local_ms);
        let name = files
            .back()
            .map_or(now, |last| now.max(Name(last.name.0 + 1)));
        let file = Rc::new(IndexFile::new(&self.dir, name, self.shape));
        files.push_back(file.clone());
        file
    }

    /// Everything before this position is in the index now.
    fn reached(&self, position: u64) {
        self.position.set(position);
        self.moved.wake_all();
    }

    fn mark(&self) -> Mark {
        let files = self.files.borrow();
        let name = |file: Option<&Rc<IndexFile<I>>>| file.map_or(Name::default(), |file| file.name);
        Mark {
            position: self.position.get(),
            count: files.len() as u32,
            first: name(files.front()),
            last: name(files.back()),
            header: files
                .back()
                .map_or(layout::Header::EMPTY, |last| last.header()),
        }
    }

    /// Takes files of which all messages are gone out of the index. The last file stays, as in RocketMQ.
    fn leave_outlived(&self, log_min: u64) {
        let mut files = self.files.borrow_mut();
        while files.len() > 1
            && let Some(file) =
                files.pop_front_if(|file| !file.is_growing() && file.header().end_offset < log_min)
        {
            self.outlived.borrow_mut().push(file);
        }
    }
}

async fn names<I: Io>(io: &Medium<I>, dir: &Path) -> Result<Vec<Name>, StoreError> {
    let entries = io.list(dir).await?;
    Ok(entries
        .iter()
        .filter_map(|entry| Name::parse(&entry.path))
        .collect())
}

/// The files that a mark names; `None` if some are not there or are others.
async fn restore<I: Io>(
    io: &Medium<I>,
    dir: &Path,
    shape: Shape,
    mark: &Mark,
    found: &[Name],
) -> Result<Option<VecDeque<Rc<IndexFile<I>>>>, StoreError> {
    let named: Vec<_> = found.iter().filter(|name| mark.names(**name)).collect();
    if named.len() != mark.count as usize {
        return Ok(None);
    }
    let mut files = VecDeque::new();
    for name in named {
        let is_last = *name == mark.last;
        let header = is_last.then_some(mark.header);
        let Some(file) = IndexFile::open(io, dir, *name, shape, header).await? else {
            return Ok(None);
        };
        if !is_last && !file.is_full() {
            return Ok(None);
        }
        files.push_back(Rc::new(file));
    }
    let has_ends = files.front().map(|file| file.name) == (mark.count > 0).then_some(mark.first);
    Ok(has_ends.then_some(files))
}
