//! One index file: on disk, and in memory while it is being filled.
//!
//! Entries are written behind each other, in large pieces. Header and slots are written when the file is full and when the
//! store is closed: written with each piece they would be small writes all over the file. A file that a crash left
//! without them gets them from its entries.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use super::growing::Growing;
use super::layout::{ENTRY_BYTES, Entry, HEADER_BYTES, Header, Name, SLOT_BYTES, Shape};
use crate::io::{Durability, Io, OpenOptions};
use crate::mem::AlignedBuf;
use crate::store::StoreError;
use crate::store::medium::{Guarded, Medium};

/// Written or read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Entries are read with those before them: a key that many messages have is all over the place, one that all have is not.
const WINDOW_ENTRIES: u32 = 200;

pub struct IndexFile<I: Io> {
    pub name: Name,
    path: PathBuf,
    shape: Shape,
    /// None: there is none yet.
    file: RefCell<Option<Guarded<I>>>,
    /// As long as it is not growing.
    header: Cell<Header>,
    pub growing: RefCell<Option<Growing>>,
}

/// What a reader of a file's entries has of them.
#[derive(Default)]
pub struct Window {
    first: u32,
    bytes: Vec<u8>,
}

/// The entries are not what was written.
pub struct Damaged;

impl<I: Io> IndexFile<I> {
    /// A new one, in memory alone.
    pub fn new(dir: &Path, name: Name, shape: Shape) -> Self {
        Self {
            name,
            path: name.in_dir(dir),
            shape,
            file: RefCell::new(None),
            header: Cell::new(Header::EMPTY),
            growing: RefCell::new(Some(Growing::new(shape))),
        }
    }

    /// One that is there; `None` if its size is another. Without `header` it is the file that says it.
    pub async fn open(
        io: &Medium<I>,
        dir: &Path,
        name: Name,
        shape: Shape,
        header: Option<Header>,
    ) -> Result<Option<Self>, StoreError> {
        let path = name.in_dir(dir);
        let file = open(io, &path, false).await?;
        let len = file.len_bytes().await?;
        let opened = Self {
            name,
            path,
            shape,
            file: RefCell::new(Some(file)),
            header: Cell::new(Header::EMPTY),
            growing: RefCell::new(None),
        };
        if len != shape.file_bytes() {
            return Ok(None);
        }
        let header = match header {
            Some(header) => header,
            None => match opened.read(0, HEADER_BYTES).await?.first_chunk() {
                Some(bytes) => Header::decode(bytes),
                None => return Ok(None),
            },
        };
        opened.header.set(header);
        Ok((1..=shape.entries)
            .contains(&header.count)
            .then_some(opened))
    }

    pub fn header(&self) -> Header {
        match &*self.growing.borrow() {
            Some(growing) => growing.header,
            None => self.header.get(),
        }
    }

    pub fn is_growing(&self) -> bool {
        self.growing.borrow().is_some()
    }

    pub fn is_full(&self) -> bool {
        self.header().count >= self.shape.entries
    }

    /// Number of the latest entry of a hash's slot; 0 if there is none.
    pub async fn latest(&self, hash: u32) -> Result<u32, StoreError> {
        if let Some(growing) = &*self.growing.borrow() {
            return Ok(growing.latest(hash));
        }
        let at = self.shape.slot_at(self.shape.slot_of(hash));
        let bytes = self.read(at, SLOT_BYTES).await?;
        Ok(bytes
            .first_chunk()
            .map_or(0, |slot| u32::from_be_bytes(*slot)))
    }

    /// An entry that is there.
    pub async fn entry(
        &self,
        number: u32,
        window: &mut Window,
    ) -> Result<Option<Entry>, StoreError> {
        if let Some(growing) = &*self.growing.borrow()
            && let Some(entry) = growing.unsaved(number)
        {
            return Ok(Some(entry));
        }
        if number < window.first || window.end() <= number {
            let first = number.saturating_sub(WINDOW_ENTRIES - 1).max(1);
            let len = (number + 1 - first) as usize * ENTRY_BYTES;
            window.bytes = self.read(self.shape.entry_at(first), len).await?;
            window.first = first;
        }
        let place = (number - window.first) as usize;
        Ok(window.bytes.as_chunks().0.get(place).map(Entry::decode))
    }

    /// Writes the entries that are not in the file yet, up to those that are there now, and if there will be no others
    /// header and slots too.
    pub async fn save(&self, io: &Medium<I>) -> Result<(), StoreError> {
        let mut left = self.unsaved_bytes();
        while left > 0 {
            let piece = self.growing.borrow().as_ref().map(|growing| {
                let (first, tail) = growing.tail();
                (first, tail[..left.min(tail.len())].to_vec())
            });
            let Some((first, bytes)) = piece else { break };
            let len = bytes.len();
            self.write(io, self.shape.entry_at(first), bytes).await?;
            if let Some(growing) = &mut *self.growing.borrow_mut() {
                growing.saved(len);
            }
            left -= len;
        }
        if self.is_full() && self.unsaved_bytes() == 0 {
            self.complete(io).await?;
        }
        Ok(())
    }

    /// Writes what makes the file whole, and gives its memory back.
    pub async fn complete(&self, io: &Medium<I>) -> Result<(), StoreError> {
        let mut at = 0;
        while at < self.shape.entry_at(0) {
            let len = PIECE_BYTES.min((self.shape.entry_at(0) - at) as usize);
            let head = {
                let growing = self.growing.borrow();
                let Some(growing) = &*growing else {
                    return Ok(());
                };
                growing.head(at, len)
            };
            if let Some(bytes) = head {
                self.write(io, at, bytes).await?;
            }
            at += len as u64;
        }
        if let Some(growing) = self.growing.take() {
            assert_eq!(growing.unsaved_bytes(), 0);
            self.header.set(growing.header);
        }
        Ok(())
    }

    pub fn unsaved_bytes(&self) -> usize {
        self.growing
            .borrow()
            .as_ref()
            .map_or(0, Growing::unsaved_bytes)
    }

    /// Goes on with a file that is whole.
    pub async fn resume(&self) -> Result<(), StoreError> {
        let mut slots = Vec::with_capacity(self.shape.slots as usize);
        let end = self.shape.entry_at(0);
        let mut at = self.shape.slot_at(0);
        while at < end {
            let bytes = self.read(at, PIECE_BYTES.min((end - at) as usize)).await?;
            let read = bytes.as_chunks().0;
            slots.extend(read.iter().map(|slot| u32::from_be_bytes(*slot)));
            at += bytes.len() as u64;
        }
        self.grow(slots);
        Ok(())
    }

    /// Goes on with a file that a crash left without its slots.
    pub async fn resume_from_entries(&self) -> Result<Result<(), Damaged>, StoreError> {
        let header = self.header.get();
        let mut slots = vec![0; self.shape.slots as usize];
        let (mut number, mut offset) = (1, header.begin_offset);
        while number < header.count {
            let count = (PIECE_BYTES / ENTRY_BYTES).min((header.count - number) as usize);
            let bytes = self
                .read(self.shape.entry_at(number), count * ENTRY_BYTES)
                .await?;
            for entry in bytes.as_chunks().0.iter().map(Entry::decode) {
                let slot = &mut slots[self.shape.slot_of(entry.hash) as usize];
                if entry.previous != *slot || entry.physical_offset < offset {
                    return Ok(Err(Damaged));
                }
                *slot = number;
                offset = entry.physical_offset;
                number += 1;
            }
        }
        if header.count > 1 && offset != header.end_offset {
            return Ok(Err(Damaged));
        }
        self.grow(slots);
        Ok(Ok(()))
    }

    fn grow(&self, slots: Vec<u32>) {
        let growing = Growing::restored(self.shape, self.header.get(), slots);
        self.growing.replace(Some(growing));
    }

    async fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let file = self.file.borrow().clone();
        let Some(file) = file else {
            return Ok(Vec::new());
        };
        let (read, buf) = file.read_at(AlignedBuf::with_room_for(len), len, at).await;
        if read? < len {
            return Err(file.ends_early());
        }
        Ok(buf[..len].to_vec())
    }

    async fn write(&self, io: &Medium<I>, at: u64, bytes: Vec<u8>) -> Result<(), StoreError> {
        let there = self.file.borrow().clone();
        let file = match there {
            Some(file) => file,
            None => self.create(io).await?,
        };
        file.write_at(bytes, at, Durability::Synced).await.0
    }

    async fn create(&self, io: &Medium<I>) -> Result<Guarded<I>, StoreError> {
        let dir = self.path.parent().expect("a file in the index's folder");
        io.create_dir_all(dir).await?;
        let file = open(io, &self.path, true).await?;
        file.resize(self.shape.file_bytes()).await?;
        file.sync_data().await?;
        io.sync_dir(dir).await?;
        self.file.replace(Some(file.clone()));
        Ok(file)
    }

    pub async fn remove(&self, io: &Medium<I>) -> Result<(), StoreError> {
        if self.file.borrow().is_none() {
            return Ok(());
        }
        io.remove_file(&self.path).await
    }
}

impl Window {
    fn end(&self) -> u32 {
        self.first + (self.bytes.len() / ENTRY_BYTES) as u32
    }
}

async fn open<I: Io>(io: &Medium<I>, path: &Path, create: bool) -> Result<Guarded<I>, StoreError> {
    let options = OpenOptions {
        write: true,
        create,
        direct: false,
    };
    io.open(path, options).await
}
