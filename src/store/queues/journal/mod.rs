//! The journal of queue entries: what a start needs to know of the queues, in one file that is read from end to end.
//!
//! ```text
//! queuejournal/<20 digits>      a generation: a table of all queues, then a block about once a second
//!
//! a queue      min ........ base (saved) ........ journaled ........ max
//!              in its files | in the journal      | read from the log after a crash
//! ```
//! A block holds the entries that were committed since the one before, the names of new queues, and what was deleted; it
//! is written only when the log is durable as far, so that it never has an entry of a message that is not there.
//! Queue files are written behind the journal. Once they have everything up to some position, and that is durable, a new
//! generation begins: with a table that states it, and the entries that came meanwhile. The old one goes when the new one is
//! durable. A generation without a whole table is none; a block that is not whole ends it (`block.rs`).

mod block;
mod read;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

pub(in crate::store) use block::{Block, Coverage, Item, Origin, Part, QueueItem};
pub(in crate::store) use read::Reader;

use crate::io::{Durability, Io, OpenOptions, yield_now};
use crate::mem::AlignedBuf;
use crate::store::StoreError;
use crate::store::medium::{Guarded, Medium};
use crate::store::names::{offset_name, parse_offset_name};

/// Bytes read and written at a time when a generation is written again.
const REWRITTEN_AT_ONCE: u64 = 4 << 20;

pub(in crate::store) struct Journal<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
    current: RefCell<Option<Current<I>>>,
    /// The last number that was used, or tried.
    last_generation: Cell<u64>,
    /// Of all blocks, whatever has become of the last one.
    coverage: Cell<Coverage>,
    /// A block that there was no space for, and its CRC.
    owed: RefCell<Option<(Vec<u8>, u32)>>,
}

/// The generation that grows.
struct Current<I: Io> {
    file: Guarded<I>,
    generation: u64,
    origin: Origin,
    /// Where the next block goes.
    end: u64,
    /// So much of it is the table.
    table_end: u64,
    last_crc: u32,
}

impl<I: Io> Journal<I> {
    pub fn new(io: Medium<I>, dir: PathBuf) -> Self {
        Self {
            io,
            dir,
            current: RefCell::default(),
            last_generation: Cell::new(0),
            coverage: Cell::default(),
            owed: RefCell::default(),
        }
    }

    /// Number of the generation that grows. None: there is none, or what it has got is not known.
    pub fn generation(&self) -> Option<u64> {
        let current = self.current.borrow();
        current.as_ref().map(|current| current.generation)
    }

    /// How far the log has been put into it: a new generation begins with no less and no more.
    pub fn coverage(&self) -> Coverage {
        self.coverage.get()
    }

    /// Bytes of blocks since the table.
    pub fn grown_bytes(&self) -> u64 {
        let current = self.current.borrow();
        current
            .as_ref()
            .map_or(0, |current| current.end - current.table_end)
    }

    /// Writes a block, which is durable then. Without space it is owed: the same bytes go to the same place once there is
    /// some. After any other error what the file has is unknown, and only a new generation helps.
    pub async fn append(&self, block: Block, reached: Coverage) -> Result<(), StoreError> {
        self.append_owed().await?;
        let (bytes, crc) = {
            let current = self.current.borrow();
            let Some(current) = &*current else {
                unreachable!("a generation was begun");
            };
            block.seal(
                current.last_crc,
                current.generation,
                Part::News,
                current.origin,
                reached,
            )
        };
        self.coverage.set(reached);
        self.owed.replace(Some((bytes, crc)));
        self.append_owed().await
    }

    /// Writes the block that there was no space for, if there is one.
    pub async fn append_owed(&self) -> Result<(), StoreError> {
        let Some((bytes, crc)) = self.owed.take() else {
            return Ok(());
        };
        let Some(mut current) = self.current.take() else {
            unreachable!("a block is owed to a generation");
        };
        let written = self.write(&mut current, bytes, crc, Durability::Synced);
        match written.await {
            (Ok(()), _) => {
                self.current.replace(Some(current));
                Ok(())
            }
            (Err(error), bytes) if error.is_no_space() => {
                self.current.replace(Some(current));
                self.owed.replace(Some((bytes, crc)));
                Err(error)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The number that the next generation gets.
    pub fn next_generation(&self) -> u64 {
        self.last_generation.get() + 1
    }

    /// Begins a new generation with a table that `put_some` puts piece by piece until nothing is left, and removes the old
    /// one. Meanwhile no block is written. After an error nothing is left of the new one.
    pub async fn begin(
        &self,
        origin: Origin,
        reached: Coverage,
        put_some: impl FnMut(&mut Block) -> bool,
    ) -> Result<(), StoreError> {
        let generation = self.next_generation();
        self.last_generation.set(generation);
        self.coverage.set(reached);
        self.current.take();
        self.owed.take();
        let written = self.write_table(generation, origin, reached, put_some);
        match written.await {
            Ok(current) => {
                self.current.replace(Some(current));
                self.remove_others(Some(generation)).await
            }
            Err(error) => {
                // Otherwise each try would leave a file, and they would fill the disk.
                let _ = self.io.remove_file(&self.path(generation)).await;
                Err(error)
            }
        }
    }

    async fn write_table(
        &self,
        generation: u64,
        origin: Origin,
        reached: Coverage,
        mut put_some: impl FnMut(&mut Block) -> bool,
    ) -> Result<Current<I>, StoreError> {
        let mut current = self.create(generation, origin).await?;
        loop {
            let mut block = Block::new();
            let is_more = put_some(&mut block);
            let part = if is_more { Part::Table } else { Part::TableEnd };
            let (bytes, crc) = block.seal(current.last_crc, generation, part, origin, reached);
            let written = self.write(&mut current, bytes, crc, Durability::Written);
            written.await.0?;
            if !is_more {
                break;
            }
            yield_now().await;
        }
        self.make_durable(&current).await?;
        current.table_end = current.end;
        Ok(current)
    }

    async fn create(&self, generation: u64, origin: Origin) -> Result<Current<I>, StoreError> {
        self.io.create_dir_all(&self.dir).await?;
        let file = self.io.create(&self.path(generation)).await?;
        file.resize(0).await?;
        Ok(Current {
            file,
            generation,
            origin,
            end: 0,
            table_end: 0,
            last_crc: 0,
        })
    }

    async fn write(
        &self,
        current: &mut Current<I>,
        bytes: Vec<u8>,
        crc: u32,
        durability: Durability,
    ) -> (Result<(), StoreError>, Vec<u8>) {
        let (written, bytes) = current.file.write_at(bytes, current.end, durability).await;
        if written.is_ok() {
            current.end += bytes.len() as u64;
            current.last_crc = crc;
        }
        (written, bytes)
    }

    /// The generations that there are, the newest first.
    pub async fn generations(&self) -> Result<Vec<u64>, StoreError> {
        let entries = self.io.list(&self.dir).await?;
        let mut generations: Vec<u64> = entries
            .iter()
            .filter_map(|entry| parse_offset_name(&entry.path))
            .collect();
        generations.reverse();
        let newest = generations.first().copied().unwrap_or(0);
        self.last_generation
            .set(self.last_generation.get().max(newest));
        Ok(generations)
    }

    pub async fn reader(&self, generation: u64) -> Result<Reader<I>, StoreError> {
        let options = OpenOptions {
            write: true,
            ..OpenOptions::default()
        };
        let file = self.io.open(&self.path(generation), options).await?;
        Reader::new(file, generation).await
    }

    /// Continues the generation that was read, and removes the others. Unless `is_certain`, it is written again first: a flush may have
    /// failed before the process ended, and pages that the kernel dropped then count as clean, so that a flush now would not write them.
    pub async fn go_on(&self, reader: Reader<I>, is_certain: bool) -> Result<(), StoreError> {
        let (generation, reached) = (reader.generation(), reader.reached());
        let Some(current) = reader.into_current() else {
            unreachable!("only a generation that counts is continued");
        };
        if !is_certain {
            self.write_again(&current).await?;
        }
        self.make_durable(&current).await?;
        self.coverage.set(reached);
        self.current.replace(Some(current));
        self.remove_others(Some(generation)).await
    }

    /// The same bytes to the same places, which takes no space.
    async fn write_again(&self, current: &Current<I>) -> Result<(), StoreError> {
        let mut at = 0;
        while at < current.end {
            let len = (current.end - at).min(REWRITTEN_AT_ONCE) as usize;
            let buf = AlignedBuf::with_room_for(len);
            let (read, buf) = current.file.read_at(buf, len, at).await;
            let read = read?.min(len);
            if read == 0 {
                return Err(current.file.ends_early());
            }
            let bytes = buf[..read].to_vec();
            let (written, _) = current.file.write_at(bytes, at, Durability::Written).await;
            written?;
            at += read as u64;
        }
        Ok(())
    }

    /// Nothing in it counts any more.
    pub async fn discard(&self) -> Result<(), StoreError> {
        self.current.take();
        self.owed.take();
        self.io.create_dir_all(&self.dir).await?;
        self.remove_others(None).await?;
        // Otherwise they may be back after a power cut.
        self.io.sync_dir(&self.dir).await
    }

    async fn remove_others(&self, kept: Option<u64>) -> Result<(), StoreError> {
        // The oldest first: the newest one that is left is whole.
        let mut generations = self.generations().await?;
        generations.reverse();
        for generation in generations {
            if Some(generation) != kept {
                self.io.remove_file(&self.path(generation)).await?;
            }
        }
        Ok(())
    }

    async fn make_durable(&self, current: &Current<I>) -> Result<(), StoreError> {
        current.file.sync_data().await?;
        self.io.sync_dir(&self.dir).await
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.dir.join(offset_name(generation))
    }
}
