//! Messages by key, the newest ones that there are (RocketMQ: `DefaultMessageStore.queryMessage`, `IndexFile.selectPhyOffset`).
//!
//! Only hashes are compared, as in RocketMQ: the caller compares the keys. Times are compared with the messages' own, as
//! those of the entries are rounded to seconds.

use super::KeyIndex;
use super::file::{IndexFile, Window};
use super::layout::TopicHash;
use crate::io::{Either, Io, select};
use crate::message::{Check, Record};
use crate::store::StoreError;

/// How long a query waits for the index to come to the end of the log.
const PATIENCE_NS: u64 = 2_000_000_000;

/// Entries looked at, so that no question keeps the disk busy for long.
const MAX_ENTRIES: usize = 1 << 17;

/// What a message is asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Its unique key or one of its KEYS.
    Key(&'a str),
    Tag(&'a str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyQuery<'a> {
    pub topic: &'a str,
    pub wanted: Wanted<'a>,
    pub max_messages: usize,
    /// The first message is taken even if it alone is larger.
    pub max_bytes: usize,
    pub begin_ms: i64,
    pub end_ms: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyMatches {
    /// Whole, in the order of the log.
    pub records: Vec<u8>,
    /// Place and time of the last message in the index.
    pub last_physical_offset: u64,
    pub last_store_time_ms: i64,
}

impl<I: Io> KeyIndex<I> {
    /// The newest messages with a key; all that were committed count.
    pub async fn find(&self, query: &KeyQuery<'_>) -> Result<KeyMatches, StoreError> {
        self.until_indexed().await?;
        let files: Vec<_> = self.index.files.borrow().iter().rev().cloned().collect();
        let Some(newest) = files.first().map(|file| file.header()) else {
            return Ok(KeyMatches::default());
        };
        let mut search = Search::new(query);
        for file in files {
            let header = file.header();
            if header.end_time_ms < query.begin_ms || search.is_done {
                break;
            }
            if header.overlaps(query.begin_ms, query.end_ms) {
                self.search_file(&file, &mut search).await?;
            }
        }
        search.records.reverse();
        Ok(KeyMatches {
            records: search.records.concat(),
            last_physical_offset: newest.end_offset,
            last_store_time_ms: newest.end_time_ms,
        })
    }

    async fn until_indexed(&self) -> Result<(), StoreError> {
        let (index, end) = (&self.index, self.log.marks().dispatched());
        let is_there =
            || (index.restoring.get().is_none() && index.position.get() >= end).then_some(());
        if is_there().is_some() {
            return Ok(());
        }
        index.hurry.notify();
        match select(index.moved.until(is_there), self.log.pause(PATIENCE_NS)).await {
            Either::Left(()) => Ok(()),
            Either::Right(()) => Err(StoreError::NotIndexed {
                position: index.position.get(),
                end,
            }),
        }
    }

    /// Along the chain of the key's slot, which leads to ever older entries.
    async fn search_file(
        &self,
        file: &IndexFile<I>,
        search: &mut Search<'_>,
    ) -> Result<(), StoreError> {
        let query = search.query;
        let mut number = file.latest(search.hash).await?;
        let header = file.header();
        let mut window = Window::default();
        while (1..header.count).contains(&number) && !search.is_done {
            search.entries += 1;
            if search.entries > MAX_ENTRIES {
                return search.give_up();
            }
            let Some(entry) = file.entry(number, &mut window).await? else {
                return Ok(());
            };
            let time_ms = header.begin_time_ms + i64::from(entry.seconds) * 1000;
            if time_ms.saturating_add(1000) <= query.begin_ms {
                return Ok(());
            }
            if entry.hash == search.hash && time_ms <= query.end_ms {
                self.take_message(entry.physical_offset, search).await?;
            }
            // A chain that leads anywhere else is damaged, and might have no end.
            if entry.previous >= number {
                return Ok(());
            }
            number = entry.previous;
        }
        Ok(())
    }

    async fn take_message(
        &self,
        physical_offset: u64,
        search: &mut Search<'_>,
    ) -> Result<(), StoreError> {
        // A message that has the same key twice.
        if search.last_offset.replace(physical_offset) == Some(physical_offset) {
            return Ok(());
        }
        match self.log.record_at(physical_offset).await {
            Ok(Some(bytes)) => search.take(bytes),
            Ok(None) | Err(StoreError::Unreadable { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

struct Search<'a> {
    query: &'a KeyQuery<'a>,
    hash: u32,
    entries: usize,
    last_offset: Option<u64>,
    /// The newest first.
    records: Vec<Vec<u8>>,
    bytes: usize,
    is_done: bool,
}

impl<'a> Search<'a> {
    fn new(query: &'a KeyQuery<'a>) -> Self {
        let topic = TopicHash::new(query.topic);
        Self {
            query,
            hash: match query.wanted {
                Wanted::Key(key) => topic.of_key(key),
                Wanted::Tag(tag) => topic.of_tag(tag),
            },
            entries: 0,
            last_offset: None,
            records: Vec::new(),
            bytes: 0,
            is_done: query.max_messages == 0,
        }
    }

    fn take(&mut self, bytes: Vec<u8>) {
        let Ok(record) = Record::decode(&bytes, Check::Layout) else {
            return;
        };
        if !(self.query.begin_ms..=self.query.end_ms).contains(&record.store_timestamp_ms) {
            return;
        }
        self.bytes += bytes.len();
        if self.bytes > self.query.max_bytes && !self.records.is_empty() {
            self.is_done = true;
            return;
        }
        self.records.push(bytes);
        self.is_done = self.records.len() >= self.query.max_messages;
    }

    /// What was found is worth more than nothing; nothing found would be a lie.
    fn give_up(&mut self) -> Result<(), StoreError> {
        self.is_done = true;
        if self.records.is_empty() {
            return Err(StoreError::TooManyEntries { limit: MAX_ENTRIES });
        }
        Ok(())
    }
}
