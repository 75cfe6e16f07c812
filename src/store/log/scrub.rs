//! Reading through the old part of the log, so that damage is found before a consumer comes to it.
//!
//! ```text
//! log_min ........ position ........ hot_from ======= tail
//!         checked |                 | in memory
//! ```
//! A pass goes from the log's first record to where the log buffer begins, and follows it; a new one begins a day after
//! the last did. It reads past the cache, 256 KiB at a time and `scrubBytesPerSecond` at most, and each time waits until
//! no log write is in flight, so that a busy disk is left to the log. Where it has come to is kept in
//! `config/unreadable.json`, beside what was found, by it or by a consumer (`unreadable.rs`).

use std::cell::Cell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::damage;
use super::reader::{Found, Walk};
use super::unreadable::Unreadable;
use crate::io::{Io, Notify, first};
use crate::store::{Position, Store, StoreError};

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

#[derive(Default)]
pub(in crate::store) struct Scrub {
    /// What is before it was read in this pass, and is whole or noted.
    position: Cell<u64>,
    pub began_ms: Cell<i64>,
    saved_position: Cell<u64>,
    pub wake: Notify,
}

impl Scrub {
    pub fn position(&self) -> u64 {
        self.position.get()
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Saved {
    scrubbed_to: u64,
    pass_began_ms: i64,
    unreadable: Vec<Unreadable>,
}

/// Scrubs for as long as the store is open, and keeps what was found.
pub(in crate::store) async fn run<I: Io>(store: Rc<Store<I>>) {
    let rate = store.config.scrub_bytes_per_s;
    while !store.state.borrow().closing {
        let read_bytes = match rate {
            0 => 0,
            _ => store.scrub_step().await.unwrap_or_else(|error| {
                warn!(%error, "the log cannot be read through");
                0
            }),
        };
        store.save_scrub().await;
        let pause_ns = match read_bytes {
            0 => IDLE_NS,
            bytes => (u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1))) as u64,
        };
        let due_ns = store.io.now().mono_ns + pause_ns;
        first(store.scrub.wake.notified(), store.io.sleep_until(due_ns)).await;
    }
    store.scrub.saved_position.set(u64::MAX);
    store.save_scrub().await;
}

impl<I: Io> Store<I> {
    /// Takes up what was found, and where the last pass had come to.
    pub(in crate::store) async fn restore_scrub(&self) -> Result<(), StoreError> {
        let text = self.texts.load(FILE).await?.unwrap_or_default();
        // Without it a pass begins, and finds everything again.
        let saved: Saved = serde_json::from_str(&text).unwrap_or_default();
        self.scrub.position.set(saved.scrubbed_to);
        self.scrub.saved_position.set(saved.scrubbed_to);
        self.scrub.began_ms.set(saved.pass_began_ms);
        self.unreadable.restore(saved.unreadable);
        Ok(())
    }

    async fn save_scrub(&self) {
        self.unreadable.forget(0, self.log_min());
        let position = self.scrub.position.get();
        let has_moved = position.abs_diff(self.scrub.saved_position.get()) >= SAVE_BYTES;
        let is_due = self.unreadable.changed.get() || has_moved && position > 0;
        if !is_due {
            return;
        }
        let saved = Saved {
            scrubbed_to: position,
            pass_began_ms: self.scrub.began_ms.get(),
            unreadable: self.unreadable.all(),
        };
        let text = serde_json::to_string_pretty(&saved).expect("plain fields");
        self.unreadable.changed.set(false);
        match self.texts.save(FILE, text).await {
            Ok(()) => self.scrub.saved_position.set(position),
            Err(error) => {
                self.unreadable.changed.set(true);
                warn!(%error, "what was found to be unreadable cannot be saved");
            }
        }
    }

    /// Reads the next part of the log; how much that was.
    async fn scrub_step(&self) -> Result<u64, StoreError> {
        let (log_min, end) = (self.log_min(), self.state.borrow().log.hot_from());
        let mut at = self.scrub.position.get().max(log_min);
        if at >= end {
            let now_ms = self.io.now().unix_ms;
            if now_ms - self.scrub.began_ms.get() < PASS_MS || log_min >= end {
                return Ok(0);
            }
            self.scrub.began_ms.set(now_ms);
            at = log_min;
        }
        self.until_idle().await;
        let from = at;
        let mut walk = Walk::reading(STEP_BYTES as usize);
        while at < end && at - from < STEP_BYTES {
            at = match self.scrub_one(&mut walk, at).await {
                Ok(next) => next,
                Err(error) => self.past_damage(at, end, error).await?,
            };
            self.scrub.position.set(at);
        }
        Ok(at - from)
    }

    /// Position behind what stands there.
    async fn scrub_one(&self, walk: &mut Walk, at: u64) -> Result<u64, StoreError> {
        let next = match walk.at(&self.segments, at).await? {
            Found::Record(record) => at + u64::from(record.total_size),
            Found::Blank { size } => return Ok(at + size),
            Found::None(none) => return Err(none.at(at)),
        };
        if self.unreadable.len() > 0 {
            self.unreadable.forget(at, next);
        }
        Ok(next)
    }

    /// Notes what cannot be read from there on, and says where the log goes on.
    async fn past_damage(&self, at: u64, end: u64, error: StoreError) -> Result<u64, StoreError> {
        // A second look, as what is wrong may be on the way and not on the device.
        let mut walk = Walk::reading(STEP_BYTES as usize);
        if let Ok(next) = self.scrub_one(&mut walk, at).await {
            return Ok(next);
        }
        let known = damage::Known {
            segments: &self.segments,
            config: &self.config,
            flushed_to: 0,
            unflushed_bytes: self.config.max_unflushed_bytes,
        };
        let next = known.first_record(at + 1, end).await?.unwrap_or(end);
        if at >= self.log_min() {
            let position = Position {
                physical_offset: at,
                size: u32::try_from(next - at).unwrap_or(u32::MAX),
            };
            self.note_unreadable(None, &position, error).await?;
        }
        Ok(next)
    }

    /// Done when no log write is in flight, or when that has lasted long.
    async fn until_idle(&self) {
        for _ in 0..MAX_LOOKS {
            let is_idle = {
                let state = self.state.borrow();
                state.closing || state.log.tail() == state.log.written()
            };
            if is_idle {
                return;
            }
            self.io.sleep_until(self.io.now().mono_ns + LOOK_NS).await;
        }
    }
}
