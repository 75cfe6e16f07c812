//! Reading through the old part of the log, so that damage is found before a consumer comes to it.
//!
//! Each message's entry in its queue's file is compared with the message. A queue file has no checksum, and a reader
//! cannot notice a rotten tags code: a tag filter passes over the intact message, which it does not read. Such an entry is
//! made again from the log. This costs a read of a block of the queue's file for every 64 messages of a queue that stand
//! near each other in the log, and at most one for each message; it counts as so many bytes of `scrubBytesPerSecond`.
//!
//! ```text
//! log_min ........ position ........ hot_from ======= tail
//!         checked |                 | in memory
//! ```
//! A pass goes from the log's first record to where the log buffer begins, and follows it; a new one begins a day after
//! the last did. It reads past the cache, 256 KiB at a time and `scrubBytesPerSecond` at most, and each time waits until
//! no log write is in flight, so that a busy disk is left to the log. Its position is kept in `config/unreadable.json`,
//! beside what was found, by it or by a consumer (`log/unreadable.rs`).

use std::cell::Cell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::StoreError;
use super::config::StoreConfig;
use super::config_files::TextFiles;
use super::gate::Gate;
use super::log::Log;
use super::log::reader::{Found, Walk};
use super::log::unreadable::Unreadable;
use super::medium::Medium;
use super::queues::Queues;
use super::queues::compare::Expected;
use crate::io::{Io, Notify, select};
use crate::mem::BLOCK_BYTES;

const FILE: &str = "unreadable.json";

/// Read between two pauses.
const STEP_BYTES: u64 = 256 << 10;

/// From the beginning of a pass to that of the next.
const PASS_MS: i64 = 24 * 3_600_000;

/// Pause when there is nothing to read.
const IDLE_NS: u64 = 10_000_000_000;

/// How often it is looked whether the log's disk is idle, and how long at most.
const LOOK_NS: u64 = 2_000_000;
const MAX_LOOKS: u32 = 5_000;

/// The position is saved after so much of the log: a crash costs so much reading.
const SAVE_BYTES: u64 = 256 << 20;

pub(super) struct Scrub<I: Io> {
    io: Medium<I>,
    config: Rc<StoreConfig>,
    gate: Rc<Gate>,
    log: Rc<Log<I>>,
    queues: Rc<Queues<I>>,
    texts: Rc<TextFiles<I>>,
    /// What is before it was read in this pass, and is whole or noted.
    position: Cell<u64>,
    pub began_ms: Cell<i64>,
    saved_position: Cell<u64>,
    /// This part is read before the pass goes on.
    doubted: Cell<Option<Part>>,
    pub wake: Notify,
}

/// Of the log.
#[derive(Clone, Copy, Debug)]
struct Part {
    at: u64,
    to: u64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Saved {
    scrubbed_to: u64,
    pass_began_ms: i64,
    unreadable: Vec<Unreadable>,
}

impl<I: Io> Scrub<I> {
    pub fn new(
        io: &Medium<I>,
        config: &Rc<StoreConfig>,
        gate: &Rc<Gate>,
        log: &Rc<Log<I>>,
        queues: &Rc<Queues<I>>,
        texts: &Rc<TextFiles<I>>,
    ) -> Self {
        Self {
            io: io.clone(),
            config: config.clone(),
            gate: gate.clone(),
            log: log.clone(),
            queues: queues.clone(),
            texts: texts.clone(),
            position: Cell::new(0),
            began_ms: Cell::new(0),
            saved_position: Cell::new(0),
            doubted: Cell::default(),
            wake: Notify::default(),
        }
    }

    /// Continues where the last pass was, with what it had found.
    pub async fn restore(&self) -> Result<(), StoreError> {
        let text = self.texts.load(FILE).await?.unwrap_or_default();
        // Without it a pass begins, and finds everything again.
        let saved: Saved = serde_json::from_str(&text).unwrap_or_default();
        let unreadable = self.log.known_unreadable();
        unreadable.restore(saved.unreadable);
        self.began_ms.set(saved.pass_began_ms);
        self.saved_position.set(saved.scrubbed_to);
        // The log may have been cut. Other records come there, and a later start must not go on in the middle of one.
        let tail = self.log.tail();
        self.position.set(saved.scrubbed_to.min(tail));
        unreadable.forget(tail, u64::MAX);
        if saved.scrubbed_to > tail {
            unreadable.changed.set(true);
        }
        if unreadable.changed.get() {
            self.save().await;
        }
        Ok(())
    }

    pub fn position(&self) -> u64 {
        self.position.get()
    }

    /// Somebody asks for the record at this position, and none begins there. Either none ever did, or its first bytes have rotted: only the records before it
    /// tell which, from the beginning of their file on. One part is read at a time, in the scrub's rhythm, whatever is asked for.
    pub fn doubt(&self, position: u64) {
        let is_cold = position < self.log.buffer().hot_from();
        if is_cold && !mutant!(NotDoubted) && self.doubted.get().is_none() {
            let at = self.log.segments().start_of(position);
            let to = position + 1;
            self.doubted.set(Some(Part { at, to }));
            self.wake.notify();
        }
    }

    /// A reader that goes from record to record has come to this position, and got none. If it is no blank rest of a file either, it is noted as damage.
    pub async fn look_at(&self, at: u64) -> Result<(), StoreError> {
        let mut walk = Walk::reading(BLOCK_BYTES, self.log.crcs());
        if let Err(error) = self.read_one(&mut walk, at, &mut Vec::new()).await {
            let end = self.log.marks().committed();
            self.past_damage(at, end, error).await?;
        }
        Ok(())
    }

    /// Scrubs for as long as the store is open, and keeps what was found.
    pub async fn run(&self) {
        let rate = self.config.scrub_bytes_per_s;
        while !self.gate.is_closing() {
            let read_bytes = match rate {
                0 => 0,
                _ => self.step().await.unwrap_or_else(|error| {
                    warn!(%error, "the log cannot be read through");
                    0
                }),
            };
            self.save().await;
            let pause_ns = match read_bytes {
                0 => IDLE_NS,
                bytes => (u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1))) as u64,
            };
            select(self.wake.notified(), self.log.pause(pause_ns)).await;
        }
        self.saved_position.set(u64::MAX);
        self.save().await;
    }

    /// Keeps what was found.
    pub async fn save(&self) {
        let unreadable = self.log.known_unreadable();
        unreadable.forget(0, self.log.min());
        let position = self.position.get();
        let has_moved = position.abs_diff(self.saved_position.get()) >= SAVE_BYTES;
        let is_due = unreadable.changed.get() || has_moved && position > 0;
        if !is_due {
            return;
        }
        let saved = Saved {
            scrubbed_to: position,
            pass_began_ms: self.began_ms.get(),
            unreadable: unreadable.all(),
        };
        let text = serde_json::to_string_pretty(&saved).expect("plain fields");
        unreadable.changed.set(false);
        match self.texts.save(FILE, text).await {
            Ok(()) => self.saved_position.set(position),
            Err(error) => {
                unreadable.changed.set(true);
                warn!(%error, "what was found to be unreadable cannot be saved");
            }
        }
    }

    /// Reads the next part of the log; how much that was.
    async fn step(&self) -> Result<u64, StoreError> {
        let (log_min, end) = (self.log.min(), self.log.buffer().hot_from());
        if let Some(Part { at, to }) = self.doubted.take().filter(|part| part.to > log_min) {
            let goes_on = |at| self.doubted.set((at < to).then_some(Part { at, to }));
            return self.read(at.max(log_min), to, goes_on).await;
        }
        let mut at = self.position.get().max(log_min);
        if at >= end {
            let now_ms = self.io.now().unix_ms;
            if now_ms - self.began_ms.get() < PASS_MS || log_min >= end {
                return Ok(0);
            }
            self.began_ms.set(now_ms);
            at = log_min;
        }
        self.read(at, end, |at| self.position.set(at)).await
    }

    /// Reads some of this part; how much that was. What is before the position that `passed` gets was read.
    async fn read(&self, from: u64, to: u64, passed: impl Fn(u64)) -> Result<u64, StoreError> {
        self.until_idle().await;
        let end = self.log.buffer().hot_from();
        let (mut at, mut expected) = (from, Vec::new());
        let mut walk = Walk::reading(STEP_BYTES as usize, self.log.crcs());
        while at < to && at - from < STEP_BYTES {
            at = match self.read_one(&mut walk, at, &mut expected).await {
                Ok(next) => next,
                Err(error) => self.past_damage(at, end, error).await?,
            };
            passed(at);
        }
        let reads = self.queues.compare(expected).await?;
        Ok(at - from + reads * BLOCK_BYTES as u64)
    }

    /// Position behind what stands there. The entry that its queue should have is added to `expected`.
    async fn read_one(
        &self,
        walk: &mut Walk,
        at: u64,
        expected: &mut Vec<Expected>,
    ) -> Result<u64, StoreError> {
        let next = match walk.at(self.log.segments(), at).await? {
            Found::Record(record) => {
                expected.extend(self.queues.expected(&record));
                at + u64::from(record.total_size)
            }
            Found::Blank { size } => return Ok(at + size),
            Found::None(none) => return Err(none.at(at)),
        };
        if self.log.known_unreadable().len() > 0 {
            self.log.known_unreadable().forget(at, next);
        }
        Ok(next)
    }

    /// Notes what cannot be read from there on, and says where the log goes on.
    async fn past_damage(&self, at: u64, end: u64, error: StoreError) -> Result<u64, StoreError> {
        // A second look, as what is wrong may be on the way and not on the device.
        let mut walk = Walk::reading(STEP_BYTES as usize, self.log.crcs());
        if let Ok(next) = self.read_one(&mut walk, at, &mut Vec::new()).await {
            return Ok(next);
        }
        let next = self.log.first_record(at + 1, end).await?.unwrap_or(end);
        if at >= self.log.min() {
            self.log.note_unreadable(at, next - at, error).await?;
        }
        Ok(next)
    }

    /// Done when no log write is in flight, or when that has lasted long.
    async fn until_idle(&self) {
        for _ in 0..MAX_LOOKS {
            let is_written = {
                let buffer = self.log.buffer();
                buffer.tail() == buffer.written()
            };
            if is_written || self.gate.is_closing() {
                return;
            }
            self.log.pause(LOOK_NS).await;
        }
    }
}
