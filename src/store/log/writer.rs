//! Group commit: one log write in flight, and the next one is whatever has arrived meanwhile.
//!
//! There is no timer. In sync mode a write is done when the device has flushed it, in async mode when the device has taken
//! it; a task of its own then flushes every `flush_interval_ms`. When a write is done its messages become visible, tasks
//! that wait for them are woken, and the next write is submitted at once: it precedes the replies in the kernel's queue.
//!
//! After an error the content of the device is unknown, and the store is fenced: a later write or flush that succeeds says
//! nothing of what the kernel has dropped before. So nothing more is written, and what was in flight meanwhile is not
//! acknowledged either.
//!
//! A lack of space is no such error, be it of the file or of the write (a file system that copies on write, a thin device):
//! the write goes past the page cache, so nothing of it is left behind that a later flush could take for clean. Nothing
//! of it was acknowledged, all of its bytes are still in the log buffer, and all of them are written again, to the same
//! place, until there is space. A *flush* that fails for lack of space fences like any other: it is about earlier writes.

use std::sync::Arc;

use tracing::{info, warn};

use super::Log;
use super::ack_watermark::Mark;
use super::recent_writes::LogWrite;
use super::segments::Segments;
use super::watermarks::Dispatched;
use crate::io::select;
use crate::io::{Durability, Io};
use crate::mem::LogSlice;
use crate::store::gate::Lack;
use crate::store::{Flush, StoreError};

/// Pause before a write is repeated for which there was no space or no descriptor.
const RETRY_NS: u64 = 200_000_000;

/// What becomes of a write that has ended.
enum Next {
    Commit,
    Repeat,
    End,
}

impl<I: Io> Log<I> {
    /// Writes until the store is closed and everything is written, or until a write fails. `dispatch` makes the messages
    /// visible that end at or before a position; a log that follows another one is committed elsewhere (`follow.rs`).
    pub async fn run(
        &self,
        dispatch: impl Fn(u64) -> Option<Dispatched>,
        commits_here: impl Fn() -> bool,
    ) {
        let durability = match self.config.flush {
            Flush::Sync if mutant!(AckBeforeFlush) => Durability::Written,
            Flush::Sync if self.config.follows && mutant!(ReportBeforeFlush) => Durability::Written,
            Flush::Sync => Durability::Synced,
            Flush::Async => Durability::Written,
        };
        loop {
            let sealed = self.buffer.borrow_mut().seal(self.zero_ahead.busy());
            let Some(sealed) = sealed else {
                if self.has_ended() {
                    return;
                }
                self.work.notified().await;
                continue;
            };
            let len = sealed.slice.len() as u64;
            self.grown.wake_all();
            if mutant!(ShowBeforeWrite) {
                self.marks.commit(sealed.end, dispatch(sealed.end));
            }
            if self.bound_unflushed(sealed.end).await.is_err() {
                return;
            }
            if mutant!(CommitWaitsForNames) {
                let _ = self.io.list(&self.config.dir).await;
            }
            let began_ns = self.io.now().mono_ns;
            let written = write(&self.segments, sealed.start, sealed.slice, durability).await;
            let ended_ns = self.io.now().mono_ns;
            match self.next(written) {
                Next::Commit => {}
                Next::Repeat => {
                    self.pause(RETRY_NS).await;
                    continue;
                }
                Next::End => return,
            }
            let write = LogWrite {
                start: sealed.start,
                end: sealed.end,
                bytes: len,
                began_ns,
                ended_ns,
            };
            self.wrote(write, durability);
            if commits_here() {
                self.commit_more(&dispatch);
            }
            self.moved.wake_all();
            self.grown.wake_all();
            self.gate.room.wake_all();
        }
    }

    /// This much more is on the device.
    fn wrote(&self, write: LogWrite, durability: Durability) {
        self.times.borrow_mut().wrote(write);
        self.writes.set(self.writes.get() + 1);
        self.written_bytes
            .set(self.written_bytes.get() + write.bytes);
        if durability == Durability::Synced {
            self.flushes.set(self.flushes.get() + 1);
        }
        self.buffer.borrow_mut().complete(write.end);
        self.marks.persist(write.end);
    }

    fn next(&self, written: Result<(), StoreError>) -> Next {
        let error = match written {
            // Whether the rest is all there is unknown.
            Ok(()) if self.gate.is_fenced() => return Next::End,
            Ok(()) => {
                self.note_space(None);
                self.has_shortage.set(false);
                return Next::Commit;
            }
            Err(error) => error,
        };
        let may_repeat = !self.gate.is_closing();
        if error.is_no_space() && may_repeat {
            self.note_space(Some(&error));
            return Next::Repeat;
        }
        if mutant!(SwallowWriteError) {
            return Next::Commit;
        }
        if error.is_shortage() && may_repeat {
            // Sends wait until the process has descriptors or memory again.
            if !self.has_shortage.replace(true) {
                warn!(%error, "the log cannot be written; the write is repeated until it succeeds");
            }
            return Next::Repeat;
        }
        // A write error has set the fence; what else keeps the log from being written does it here.
        self.gate.fence_off(&error);
        Next::End
    }

    /// Flushes what has been written (in sync mode it is flushed) and notes what has been acknowledged, every so often,
    /// until the store is closed.
    pub async fn flush_regularly(&self) {
        let interval_ns = self.config.flush_interval_ms * 1_000_000;
        loop {
            let is_last = self.gate.is_closing();
            let persisted = self.marks.persisted();
            if self.flush(persisted).await.is_err() || is_last {
                return;
            }
            let due = self.io.sleep_until(self.io.now().mono_ns + interval_ns);
            select(self.flush_now.notified(), due).await;
        }
    }

    /// Keeps zeros ahead of the tail until the store is closed.
    pub async fn zero_ahead(&self) {
        let tail = || (!self.gate.is_closing() && !self.gate.is_fenced()).then(|| self.tail());
        let grown = async |beyond| {
            self.until_grown(|| tail().is_none_or(|tail| tail > beyond))
                .await;
        };
        let moved = || self.work.notify();
        self.zero_ahead.keep(tail, moved, grown).await;
    }

    /// Nothing more will be written.
    fn has_ended(&self) -> bool {
        let buffer = self.buffer.borrow();
        let is_written = buffer.tail() == buffer.written();
        self.gate.is_fenced() || (self.gate.is_closing() && is_written)
    }

    /// Async mode: keeps what is not flushed within its bound. In sync mode that is one write at most.
    async fn bound_unflushed(&self, end: u64) -> Result<(), StoreError> {
        let unflushed = match self.config.flush {
            Flush::Async => end - self.marks.flushed(),
            Flush::Sync => return Ok(()),
        };
        if unflushed > self.config.max_unflushed_bytes / 2 {
            self.flush_now.notify();
        }
        if unflushed > self.config.max_unflushed_bytes {
            self.flush(self.marks.persisted()).await?;
        }
        Ok(())
    }

    /// Makes the log durable up to `position`, which has been written. One flush at a time: of two the kernel reports only
    /// to one that it has lost something.
    pub async fn flush(&self, position: u64) -> Result<(), StoreError> {
        let _turn = self.flush_turn.take().await;
        // A flush that succeeds after one that failed proves nothing: the kernel may hold the lost pages to be clean.
        self.gate.check_fence()?;
        // Up to here messages are acknowledged.
        let mark = Mark {
            position: self.marks.dispatched(),
            messages: self.marks.dispatched_messages(),
        };
        let position = mark.position.max(position);
        if self.marks.flushed() >= position {
            self.marks.flush(self.marks.flushed(), mark.position);
            return Ok(());
        }
        self.acknowledged.note(mark).await;
        if let Err(error) = self.flush_files(position).await {
            self.gate.fence_off(&error);
        }
        self.gate.check_fence()?;
        self.marks.flush(position, mark.position);
        self.acknowledged.is_safe(mark);
        Ok(())
    }

    async fn flush_files(&self, position: u64) -> Result<(), StoreError> {
        let mut at = self.marks.flushed();
        while at < position && self.config.flush == Flush::Async {
            if let Some(file) = self.segments.file(at)
                && !mutant!(NeverFlush)
            {
                let began_ns = self.io.now().mono_ns;
                let flushed = file.sync_data().await;
                let took_ns = self.io.now().mono_ns - began_ns;
                self.times.borrow_mut().flushed(took_ns);
                if !mutant!(SwallowFlushError) {
                    flushed?;
                }
            }
            self.flushes.set(self.flushes.get() + 1);
            at = self.segments.start_of(at) + self.config.segment_bytes;
        }
        Ok(())
    }

    /// Whether there was space for what was written last.
    fn note_space(&self, error: Option<&StoreError>) {
        if self.gate.has_lack(Lack::Log) == error.is_some() {
            return;
        }
        match error {
            Some(error) => warn!(%error, "no more messages are taken until there is space"),
            None => info!("the log is written again: messages are taken"),
        }
        let reason = error.map(|error| Arc::from(format!("the log cannot be written: {error}")));
        self.gate.note(Lack::Log, reason);
        self.gate.clean_now.notify();
    }
}

async fn write<I: Io>(
    segments: &Segments<I>,
    position: u64,
    blocks: LogSlice,
    durability: Durability,
) -> Result<(), StoreError> {
    let file = segments.file_or_create(position).await?;
    let at = position % segments.segment_bytes();
    file.write_at(blocks, at, durability).await.0
}
