//! The log, as frames to one replica.

use super::link::{LinkError, Protocol};
use super::state::Replication;
use crate::io::{Either, Io, Stream, select};
use crate::reactor::core::Core;
use crate::replication::frames::{classic, epoch};
use crate::replication::replicas::Link;

/// Log that one send to the kernel has at most.
const SEND_BYTES: usize = 256 << 10;

/// A replica is told within this time that what it has was confirmed.
const CONFIRM_NS: u64 = 10_000_000;

/// Sends the log from `at` on, as it grows.
pub(super) async fn run<I: Io>(
    core: &Core<I>,
    replication: &Replication<I>,
    (link, stream): (Link, &I::Stream),
    mut at: u64,
    protocol: Protocol,
) -> Result<(), LinkError> {
    let sender = Sender {
        core,
        replication,
        protocol,
    };
    let mut out = Vec::new();
    let mut told = 0;
    loop {
        let end = sender.end();
        out.clear();
        if at < end {
            at = sender.fill(at, end, &mut out).await?;
        } else if let Either::Right(()) = select(sender.grown(at), sender.pause(told)).await {
            let is_due = told < core.store.committed() || told >= core.store.tail();
            if is_due || protocol == Protocol::Classic {
                sender.header(at, 0, &mut out)?;
            }
        }
        if out.is_empty() {
            continue;
        }
        told = core.store.committed();
        replication.transferred(link, out.len(), core.io.now());
        let (sent, buf) = stream.send(out).await;
        sent?;
        out = buf;
    }
}

struct Sender<'c, I: Io> {
    core: &'c Core<I>,
    replication: &'c Replication<I>,
    protocol: Protocol,
}

impl<I: Io> Sender<'_, I> {
    /// Up to where the log is sent: what the master's device was given. So a replica gets in one piece what the master writes at once, and both
    /// write it at the same time. Without epochs no broker could find out that a replica has what the master lost: it gets what is on the
    /// master's device.
    fn end(&self) -> u64 {
        match self.protocol {
            Protocol::Classic => self.core.store.persisted(),
            Protocol::Epochs => self.core.store.sealed(),
        }
    }

    /// Done when there is something behind `at`.
    async fn grown(&self, at: u64) {
        self.core.store.until_grown(|| self.end() > at).await;
    }

    /// Done when a heartbeat is due, or the replica is to be told the confirm offset.
    async fn pause(&self, told: u64) {
        let heartbeat_ns = self.replication.setup.heartbeat_ms * 1_000_000;
        let has_news = self.protocol == Protocol::Epochs && told < self.core.store.tail();
        let ns = if has_news { CONFIRM_NS } else { heartbeat_ns };
        let now_ns = self.core.io.now().mono_ns;
        self.core.io.sleep_until(now_ns + ns).await;
    }

    /// Frames of the log from `at` up to `end` at most. Returns where they end.
    async fn fill(&self, at: u64, end: u64, out: &mut Vec<u8>) -> Result<u64, LinkError> {
        let store = &self.core.store;
        let most = (end - at).min(SEND_BYTES as u64) as usize;
        let mut at = self.fill_hot(at, at + most as u64, out)?;
        if out.is_empty() {
            // What is not in memory is on the device, but not all that follows it: the last writes may be under way.
            let written = store.persisted().saturating_sub(at);
            let bytes = store
                .read_log(at, written.min(most as u64) as usize)
                .await?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let len = self.frame_bytes(at, rest.len())?;
                let (body, behind) = rest.split_at(len);
                self.header(at, len as u32, out)?;
                out.extend_from_slice(body);
                at += len as u64;
                rest = behind;
            }
        }
        Ok(at)
    }

    /// From the log buffer, as far as it has it.
    fn fill_hot(&self, mut at: u64, end: u64, out: &mut Vec<u8>) -> Result<u64, LinkError> {
        while at < end {
            let len = self.frame_bytes(at, (end - at) as usize)?;
            let before = out.len();
            self.header(at, len as u32, out)?;
            if !self.core.store.copy_log(at, len, out) {
                out.truncate(before);
                break;
            }
            at += len as u64;
        }
        Ok(at)
    }

    /// How much of the log a frame has that begins at `at`: it crosses neither the end of a file nor that of an epoch.
    fn frame_bytes(&self, at: u64, most: usize) -> Result<usize, LinkError> {
        let segment_bytes = self.core.store.segment_bytes();
        let in_segment = segment_bytes - at % segment_bytes;
        let mut len = (most as u64)
            .min(self.replication.setup.batch_bytes as u64)
            .min(in_segment);
        if self.protocol == Protocol::Epochs {
            let epochs = self.replication.epochs.borrow();
            let reign = epochs.reign_at(at, self.core.store.tail());
            len = len.min(reign.ok_or(LinkError::NoEpoch(at))?.end - at);
        }
        Ok(len as usize)
    }

    fn header(&self, position: u64, size: u32, out: &mut Vec<u8>) -> Result<(), LinkError> {
        if self.protocol == Protocol::Classic {
            classic::Header { position, size }.encode(out);
            return Ok(());
        }
        let reign = self
            .replication
            .epochs
            .borrow()
            .reign_at(position, self.core.store.tail());
        let header = epoch::Header {
            size,
            position,
            epoch: reign.ok_or(LinkError::NoEpoch(position))?.epoch,
            confirm: self.core.store.committed(),
        };
        header.encode(out);
        Ok(())
    }
}
