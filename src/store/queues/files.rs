//! ConsumeQueues on disk, as RocketMQ keeps them.
//!
//! ```text
//! consumequeue/<topic>/<queueId>/<20 digits>    300,000 entries of 20 bytes; the name is the byte offset of the first
//! ```
//! Files are sparse: what has no entry yet is a hole and reads as zeros. The first file of a queue whose first entry is
//! not at its start begins with blank entries: position 0, size 0x7FFFFFFF (RocketMQ: `ConsumeQueue.fillPreBlank`). They
//! are written behind the log and never trusted where they disagree with it. What was written is durable after
//! [`QueueFiles::sync`].

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::entry::{BLANK, ENTRY_BYTES, Entry};
use crate::io::{Durability, Io, OpenOptions};
use crate::mem::{AlignedBuf, BLOCK_BYTES};
use crate::store::StoreError;
use crate::store::error::if_there;
use crate::store::medium::{Guarded, Medium};
use crate::store::names::{offset_name, parse_offset_name};

pub(in crate::store) const FILE_ENTRIES: u64 = 300_000;
const FILE_BYTES: u64 = FILE_ENTRIES * ENTRY_BYTES as u64;

/// No topic has this many queues. A larger number comes from damage, and would cost memory.
pub(in crate::store) const MAX_QUEUE_ID: u32 = 1 << 20;

/// Queues that are read or written concurrently while nothing else uses the device.
pub(in crate::store) const AT_ONCE: usize = 64;

/// Open files that are kept, so that busy queues do not reopen theirs.
const MAX_OPEN: usize = 512;

pub(in crate::store) struct QueueFiles<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
    /// Files are opened to be written, too.
    writes: bool,
    open: RefCell<HashMap<PathBuf, Guarded<I>>>,
    /// Number of removals. A file that was opened before a removal may have no name any more.
    removals: Cell<u64>,
}

/// What the files hold of one queue.
pub(in crate::store) struct Found {
    pub topic: String,
    pub queue_id: u32,
    pub min: u64,
    pub max: u64,
    /// The last entry, unless it is blank.
    pub last: Option<Entry>,
    /// No file before the last one is missing or short.
    pub is_whole: bool,
}

impl<I: Io> QueueFiles<I> {
    pub fn new(io: Medium<I>, dir: PathBuf) -> Self {
        Self {
            io,
            dir,
            writes: true,
            open: RefCell::default(),
            removals: Cell::new(0),
        }
    }

    /// To be read only.
    pub fn view(io: Medium<I>, dir: PathBuf) -> Self {
        Self {
            writes: false,
            ..Self::new(io, dir)
        }
    }

    /// Every queue that has a file with an entry.
    pub async fn find_all(&self) -> Result<Vec<Found>, StoreError> {
        let mut queues = Vec::new();
        for topic_dir in self.dirs(&self.dir).await? {
            let Some(topic) = file_name(&topic_dir) else {
                continue;
            };
            for queue_dir in self.dirs(&topic_dir).await? {
                let queue_id = file_name(&queue_dir).and_then(|name| name.parse().ok());
                if let Some(queue_id) = queue_id.filter(|id| *id < MAX_QUEUE_ID) {
                    queues.push((topic.to_owned(), queue_id, queue_dir));
                }
            }
        }
        let found = queues
            .iter()
            .map(|(topic, queue_id, dir)| self.find(topic, *queue_id, dir));
        let found = stream::iter(found).buffered(AT_ONCE);
        found
            .try_filter_map(async |found| Ok(found))
            .try_collect()
            .await
    }

    /// Topics that have a folder.
    pub async fn topics(&self) -> Result<HashSet<String>, StoreError> {
        let dirs = self.dirs(&self.dir).await?;
        let names = dirs.iter().filter_map(|dir| file_name(dir));
        Ok(names.map(str::to_owned).collect())
    }

    async fn find(
        &self,
        topic: &str,
        queue_id: u32,
        queue_dir: &Path,
    ) -> Result<Option<Found>, StoreError> {
        let files: Vec<(u64, u64)> = self
            .io
            .list(queue_dir)
            .await?
            .iter()
            .filter_map(|entry| Some((parse_offset_name(&entry.path)?, entry.len_bytes)))
            .filter(|(start, _)| start.is_multiple_of(FILE_BYTES))
            .collect();
        let (Some((first, _)), Some((last, _))) = (files.first(), files.last()) else {
            return Ok(None);
        };
        let in_last = self
            .count_entries(&queue_dir.join(offset_name(*last)))
            .await?;
        let (min, max) = (
            first / ENTRY_BYTES as u64,
            last / ENTRY_BYTES as u64 + in_last,
        );
        let newest = match max.checked_sub(1).filter(|newest| *newest >= min) {
            Some(newest) => self.entry(topic, queue_id, newest).await?,
            None => None,
        };
        Ok(Some(Found {
            topic: topic.into(),
            queue_id,
            min,
            max,
            last: newest.filter(|newest| *newest != BLANK),
            is_whole: files.windows(2).all(|pair| {
                pair[0].1 == FILE_BYTES && pair[0].0.checked_add(FILE_BYTES) == Some(pair[1].0)
            }),
        }))
    }

    /// Appends entries to the queue's files.
    pub async fn save(
        &self,
        topic: &str,
        queue_id: u32,
        first: u64,
        entries: &[u8],
    ) -> Result<(), StoreError> {
        assert!(entries.len().is_multiple_of(ENTRY_BYTES));
        let before = first % FILE_ENTRIES;
        let path = self.path(topic, queue_id, first);
        if before > 0 && self.file(&path, false).await?.is_none() {
            let mut blanks = vec![0; before as usize * ENTRY_BYTES];
            for blank in blanks.chunks_exact_mut(ENTRY_BYTES) {
                BLANK.encode(blank);
            }
            self.write(topic, queue_id, first - before, &blanks).await?;
        }
        self.write(topic, queue_id, first, entries).await
    }

    /// Overwrites entries with zeros, so that they do not count.
    pub async fn erase(
        &self,
        topic: &str,
        queue_id: u32,
        from: u64,
        to: u64,
    ) -> Result<(), StoreError> {
        let zeros = vec![0; (to - from) as usize * ENTRY_BYTES];
        self.write(topic, queue_id, from, &zeros).await
    }

    async fn write(
        &self,
        topic: &str,
        queue_id: u32,
        first: u64,
        entries: &[u8],
    ) -> Result<(), StoreError> {
        let (mut offset, mut rest) = (first, entries);
        while !rest.is_empty() {
            let room = (FILE_ENTRIES - offset % FILE_ENTRIES) as usize * ENTRY_BYTES;
            let (now, later) = rest.split_at(room.min(rest.len()));
            let path = self.path(topic, queue_id, offset);
            let file = self.file(&path, true).await?.expect("opened to be written");
            let at = offset % FILE_ENTRIES * ENTRY_BYTES as u64;
            file.write_at(now.to_vec(), at, Durability::Written)
                .await
                .0?;
            offset += (now.len() / ENTRY_BYTES) as u64;
            rest = later;
        }
        Ok(())
    }

    /// Up to `count` entries from `first` on; fewer where a file ends or has blank ones, none where it is missing.
    pub async fn load(
        &self,
        topic: &str,
        queue_id: u32,
        first: u64,
        count: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.read(topic, queue_id, first, count).await?;
        let are_real = entries
            .iter()
            .take_while(|entry| entry.size > 0 && **entry != BLANK);
        entries.truncate(are_real.count());
        Ok(entries)
    }

    /// One entry, which may be blank.
    pub async fn entry(
        &self,
        topic: &str,
        queue_id: u32,
        offset: u64,
    ) -> Result<Option<Entry>, StoreError> {
        let entries = self.read(topic, queue_id, offset, 1).await?;
        Ok(entries.first().copied().filter(|entry| entry.size > 0))
    }

    /// Up to `count` entries of one file, blank ones and zeros included.
    pub async fn read(
        &self,
        topic: &str,
        queue_id: u32,
        first: u64,
        count: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let path = self.path(topic, queue_id, first);
        let Some(file) = self.file(&path, false).await? else {
            return Ok(Vec::new());
        };
        let in_file = (FILE_ENTRIES - first % FILE_ENTRIES).min(count as u64) as usize;
        let at = first % FILE_ENTRIES * ENTRY_BYTES as u64;
        let len = in_file * ENTRY_BYTES;
        let (read, buf) = file.read_at(AlignedBuf::with_room_for(len), len, at).await;
        let entries = buf[..read?].as_chunks::<ENTRY_BYTES>().0;
        Ok(entries.iter().map(Entry::decode).collect())
    }

    pub async fn remove(&self, topic: &str, queue_ids: &[u32]) -> Result<(), StoreError> {
        let topic_dir = self.dir.join(topic);
        for queue_id in queue_ids {
            let queue_dir = topic_dir.join(queue_id.to_string());
            for file in self.io.list(&queue_dir).await? {
                let removed = self.io.remove_file(&file.path).await;
                self.forget(&file.path);
                removed?;
            }
            // Either may be absent, or not empty because the topic is there again.
            let _ = self.io.remove_dir(&queue_dir).await;
        }
        let _ = self.io.remove_dir(&topic_dir).await;
        Ok(())
    }

    /// Removes the queue's files that end before an offset, the oldest first, but not the last one: it says where the
    /// queue goes on.
    pub async fn remove_below(
        &self,
        topic: &str,
        queue_id: u32,
        offset: u64,
    ) -> Result<(), StoreError> {
        let queue_dir = self.dir.join(topic).join(queue_id.to_string());
        let files = self.io.list(&queue_dir).await?;
        let Some((_last, before)) = files.split_last() else {
            return Ok(());
        };
        for file in before {
            let end = parse_offset_name(&file.path).and_then(|start| start.checked_add(FILE_BYTES));
            if end.is_none_or(|end| end > offset * ENTRY_BYTES as u64) {
                break;
            }
            let removed = self.io.remove_file(&file.path).await;
            self.forget(&file.path);
            removed?;
            self.io.sync_dir(&queue_dir).await?;
        }
        Ok(())
    }

    /// Number of entries in one file. They stand at its beginning: the first one without size is found by a binary search.
    async fn count_entries(&self, path: &Path) -> Result<u64, StoreError> {
        let Some(file) = self.file(path, false).await? else {
            return Ok(0);
        };
        let len = file.len_bytes().await?;
        let (mut low, mut high) = (0, (len / ENTRY_BYTES as u64).min(FILE_ENTRIES));
        while low < high {
            let middle = low.midpoint(high);
            let (read, buf) = file
                .read_at(
                    AlignedBuf::zeroed(BLOCK_BYTES),
                    ENTRY_BYTES,
                    middle * ENTRY_BYTES as u64,
                )
                .await;
            let entry = buf[..read?].first_chunk().map(Entry::decode);
            if entry.is_some_and(|entry| entry.size > 0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    async fn file(&self, path: &Path, create: bool) -> Result<Option<Guarded<I>>, StoreError> {
        if let Some(file) = self.open.borrow().get(path) {
            return Ok(Some(file.clone()));
        }
        let removals = self.removals.get();
        let options = OpenOptions {
            write: self.writes,
            create: false,
            direct: false,
        };
        let file = match if_there(self.io.open(path, options).await)? {
            Some(file) => file,
            None if create => self.create(path).await?,
            None => return Ok(None),
        };
        let mut open = self.open.borrow_mut();
        if open.len() >= MAX_OPEN {
            open.clear();
        }
        if self.removals.get() == removals {
            open.insert(path.to_owned(), file.clone());
        }
        Ok(Some(file))
    }

    /// It was removed.
    fn forget(&self, path: &Path) {
        self.removals.set(self.removals.get() + 1);
        if !mutant!(RemovedStayOpen) {
            self.open.borrow_mut().remove(path);
        }
    }

    async fn create(&self, path: &Path) -> Result<Guarded<I>, StoreError> {
        let dir = path.parent().expect("a file in its queue's folder");
        self.create_folder(dir).await?;
        let file = self.io.create(path).await?;
        file.resize(FILE_BYTES).await?;
        Ok(file)
    }

    /// The names of its folders become durable with all the rest ([`Self::sync`]).
    async fn create_folder(&self, queue_dir: &Path) -> Result<(), StoreError> {
        let topic_dir = queue_dir.parent().expect("a folder in its topic's");
        if if_there(self.io.create_dir(topic_dir).await)?.is_none() {
            self.io.create_dir_all(&self.dir).await?;
            self.io.create_dir(topic_dir).await?;
        }
        self.io.create_dir(queue_dir).await.map(drop)
    }

    /// Makes everything durable that was written or removed.
    pub async fn sync(&self) -> Result<(), StoreError> {
        if_there(self.io.sync_tree(&self.dir).await).map(drop)
    }

    async fn dirs(&self, dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
        let entries = self.io.list(dir).await?.into_iter();
        Ok(entries
            .filter(|entry| entry.is_dir)
            .map(|entry| entry.path)
            .collect())
    }

    fn path(&self, topic: &str, queue_id: u32, offset: u64) -> PathBuf {
        let start = offset / FILE_ENTRIES * FILE_BYTES;
        self.dir
            .join(topic)
            .join(queue_id.to_string())
            .join(offset_name(start))
    }
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
