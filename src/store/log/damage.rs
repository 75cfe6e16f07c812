//! Damage in the log, as distinct from its torn end.
//!
//! A start reads the log up to the first record that is not the successor of the last. After a crash that is where the log
//! ends, and what lies behind is wiped. But a sector that has rotted, a file that was cut short or has gone look the same,
//! and to end the log there would take away what was acknowledged behind it. So first it is asked whether the log went on:
//!
//! | proof | because |
//! |---|---|
//! | the checkpoint, or `safe` of the file `acknowledged`, is behind the place | both are written once everything before them is durable |
//! | a record stands further behind it, or behind the end of the record of which the place has half, than an unflushed write can end (`max_unflushed_bytes`; one write in sync mode), with its own position and right CRCs | nothing is written there before the place itself was flushed |
//!
//! Records that are nearer prove nothing: of what was not flushed a power cut keeps any sectors it likes. Without a proof
//! it is the end. With one nothing is changed, and the start is refused, unless it is to go on behind the gap
//! (`skipDamagedLog`). Then the offsets of the messages in the gap stay theirs, with entries that lead into it, so that
//! they are passed over as any message that cannot be read (`unreadable.rs`).

use std::fmt;
use std::path::PathBuf;

use super::buffer::floor;
use super::reader::{
    Crcs, Found, MAX_RECORD_BYTES, PLACED_HEAD_BYTES, Walk, candidates, size_by_head,
};
use super::segments::Segments;
use crate::io::Io;
use crate::mem::BLOCK_BYTES;
use crate::store::names::offset_name;
use crate::store::{StoreConfig, StoreError};

/// Log looked through at a time.
const CHUNK_BYTES: u64 = 4 << 20;

/// A place at which the log cannot be read, and goes on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub position: u64,
    pub proof: Proof,
}

/// Why the log has not ended there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Everything before this position was durable, by the checkpoint or the file `acknowledged`.
    Durable(u64),
    /// A record stands here, further behind than what was not flushed can be.
    Record(u64),
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Durable(position) => {
                write!(f, "the log was durable up to {position}")
            }
            Self::Record(position) => write!(f, "a whole message stands behind it at {position}"),
        }
    }
}

/// A part of the log that is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Gap {
    pub from: u64,
    pub to: u64,
}

/// What is known of a log whose end is looked for.
pub(in crate::store) struct Known<'a, I: Io> {
    pub segments: &'a Segments<I>,
    pub config: &'a StoreConfig,
    /// Up to here the log was durable at some time; 0 if that is not known.
    pub flushed_to: u64,
    /// No write that was not flushed ends further than this behind the log's end.
    pub unflushed_bytes: u64,
    /// Which CRCs its records must have.
    pub crcs: Crcs,
}

impl<I: Io> Known<'_, I> {
    /// Whether the log goes on behind this place, at which no successor of the last record stands.
    pub async fn damage_at(&self, position: u64) -> Result<Option<Damage>, StoreError> {
        let damage = |proof| Ok(Some(Damage { position, proof }));
        if position < self.flushed_to {
            return damage(Proof::Durable(self.flushed_to));
        }
        let from = self.end_of_unflushed(self.end_of_half(position).await);
        let log_end = self.segments.end().unwrap_or(0);
        let to = from.saturating_add(CHUNK_BYTES + MAX_RECORD_BYTES as u64);
        if let Some(found) = self.first_record(from, to.min(log_end)).await? {
            return damage(Proof::Record(found));
        }
        for start in self.segments.starts() {
            if start >= from && self.is_record(start).await {
                return damage(Proof::Record(start));
            }
        }
        Ok(None)
    }

    /// Where the log goes on.
    pub async fn behind(&self, damage: &Damage) -> Result<Gap, StoreError> {
        let log_end = self.segments.end().unwrap_or(0);
        let next = self.first_record(damage.position + 1, log_end).await?;
        // Where nothing can be read, new messages must not take the places to which entries of lost ones lead.
        let to = next.unwrap_or(self.flushed_to.max(damage.position));
        Ok(Gap {
            from: damage.position,
            to,
        })
    }

    /// Where the record at this place ends by its own words. What was flushed last may end within it: a write ends where the log buffer
    /// or a piece from a master does.
    async fn end_of_half(&self, position: u64) -> u64 {
        if mutant!(HalfNotMeasured) {
            return position;
        }
        let start = floor(position);
        let in_block = (position - start) as usize;
        let read = self.segments.read(start, in_block + PLACED_HEAD_BYTES);
        let Ok(Some(block)) = read.await else {
            return position;
        };
        let rest = self.segments.segment_bytes() - position % self.segments.segment_bytes();
        let size = size_by_head(&block[in_block.min(block.len())..], position, rest);
        position + u64::from(size.unwrap_or(0))
    }

    /// What was written since the last flush ends before this, if the log ends at `end`: with that flush or behind it.
    fn end_of_unflushed(&self, end: u64) -> u64 {
        let bound = self.unflushed_bytes + 2 * BLOCK_BYTES as u64;
        floor(end).saturating_add(bound)
    }

    /// The first record that begins at `from` or behind it, and before `to`.
    pub async fn first_record(&self, from: u64, to: u64) -> Result<Option<u64>, StoreError> {
        let mut at = from;
        while at < to {
            let start = floor(at);
            let segment_end = self.segments.start_of(at) + self.segments.segment_bytes();
            let end = to.min(segment_end).min(start + CHUNK_BYTES);
            // A block more, for a head that stands across the end.
            let len = (end - start) as usize + BLOCK_BYTES;
            let bytes = self.readable(start, len).await;
            for candidate in candidates(&bytes, start) {
                if (at..end).contains(&candidate) && self.is_record(candidate).await {
                    return Ok(Some(candidate));
                }
            }
            at = end;
        }
        Ok(None)
    }

    /// A stretch of the log, zeros where the device does not give it.
    async fn readable(&self, start: u64, len: usize) -> Vec<u8> {
        if let Ok(read) = self.segments.read(start, len).await {
            return read.map_or_else(Vec::new, |block| block.to_vec());
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = start + bytes.len() as u64;
            if self.segments.start_of(at) != self.segments.start_of(start) {
                break;
            }
            match self.segments.read(at, BLOCK_BYTES).await {
                Ok(Some(block)) => bytes.extend_from_slice(&block),
                _ => bytes.resize(bytes.len() + BLOCK_BYTES, 0),
            }
        }
        bytes
    }

    async fn is_record(&self, position: u64) -> bool {
        let mut walk = Walk::probe(self.crcs);
        matches!(walk.at(self.segments, position).await, Ok(Found::Record(_)))
    }

    pub fn refusal(&self, damage: &Damage) -> StoreError {
        let segment = self.segments.start_of(damage.position);
        StoreError::Damaged {
            file: self.segments.dir().join(offset_name(segment)),
            offset: damage.position - segment,
            position: damage.position,
            reason: damage.proof.to_string(),
            dir: self.config.dir.clone(),
        }
    }
}

/// The files of the log end, or begin, where they cannot.
pub(in crate::store) fn missing(
    dir: PathBuf,
    log: Option<(u64, u64)>,
    flushed_to: u64,
) -> StoreError {
    let reason = match log {
        None => "it has no CommitLog file any more".to_owned(),
        Some((log_min, _)) if flushed_to < log_min => {
            format!("its CommitLog begins at {log_min}")
        }
        Some((_, log_end)) => format!("its CommitLog files end at {log_end}"),
    };
    StoreError::LogMissing {
        dir,
        reason,
        flushed_to,
    }
}
