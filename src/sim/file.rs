//! An open file, and what every operation on a disk has in front of it: latency, faults, space.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use super::SimIo;
use super::descriptors::Descriptor;
use super::faults::{Fault, Op, errno};
use super::sectors::Inode;
use crate::io::OpenOptions;
use crate::mem::BLOCK_BYTES;

/// An open file. It belongs to the process that opened it and does nothing once that is gone.
#[derive(Clone)]
pub struct SimFile {
    pub(super) io: SimIo,
    pub(super) inode: Rc<RefCell<Inode>>,
    pub(super) options: OpenOptions,
    pub(super) _descriptor: Rc<Descriptor>,
}

impl SimFile {
    pub(super) async fn take_time(&self, op: Op) -> io::Result<()> {
        let path = self.inode.borrow().name.clone();
        self.io.take_time(op, &path).await
    }

    /// The time of a write, and whether it lands elsewhere.
    pub(super) async fn take_time_of_write(&self) -> io::Result<bool> {
        let path = self.inode.borrow().name.clone();
        let fault = self.io.operate(Op::Write, &path).await?;
        Ok(fault == Some(Fault::Misdirected))
    }

    /// The flush that is a part of a durable write.
    pub(super) async fn flush_of_write(&self) -> io::Result<()> {
        let flushed = self.take_time(Op::Sync).await;
        self.io.lose_cache_after(flushed)
    }

    pub(super) async fn start_change_of_length(&self) -> io::Result<()> {
        if !self.options.write {
            return Err(errno::bad_descriptor());
        }
        self.take_time(Op::Length).await
    }

    pub(super) fn check_space(&self, range: Range<u64>) -> io::Result<()> {
        let growth = self.inode.borrow().growth_of(range);
        if growth > 0 && growth > self.available_bytes() {
            self.io.world.count_fault("ENOSPC", 1);
            return Err(errno::no_space());
        }
        Ok(())
    }

    pub(super) fn available_bytes(&self) -> u64 {
        let total_bytes = self.io.world.config.disk_bytes;
        total_bytes.saturating_sub(self.io.disk.used_bytes())
    }
}

impl SimIo {
    pub(super) fn strike(&self, op: Op, path: &Path) -> Option<Fault> {
        let mut rules = self.disk.rules.borrow_mut();
        let fault = self.world.draw(|rng| rules.strike(op, path, rng))?;
        self.world.count_fault(fault.name(op), 1);
        Some(fault)
    }

    /// A flush that fails concerns all unflushed data of the device, of any file and any process.
    pub(super) fn lose_cache_after(&self, flushed: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &flushed
            && !is_shortage(error)
        {
            self.world
                .lose(|rng, tally| self.disk.lose_cache(rng, tally));
        }
        flushed
    }

    pub(super) async fn take_time(&self, op: Op, path: &Path) -> io::Result<()> {
        self.operate(op, path).await.map(drop)
    }

    /// The latency of one operation, and whatever the rules have for it.
    pub(super) async fn operate(&self, op: Op, path: &Path) -> io::Result<Option<Fault>> {
        let fault = self.strike(op, path);
        self.world.count_operation(op.name(), 1);
        let config = &self.world.config;
        let latency_ns = self.world.within(match op {
            Op::Read => &config.disk_read_ns,
            Op::Write => &config.disk_write_ns,
            Op::Sync => &config.disk_sync_ns,
            Op::Open | Op::Length | Op::Names => &config.disk_name_ns,
        });
        let stall_ns = match fault {
            Some(Fault::Stall(stall)) => stall.as_nanos() as u64,
            _ => 0,
        };
        self.pause(latency_ns + stall_ns).await;
        self.world
            .trace("disk", self.owner.host as u64, op as u64, latency_ns);
        fault.and_then(Fault::error).map_or(Ok(fault), Err)
    }
}

/// Nothing was begun.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
    )
}

pub(super) fn is_aligned(n: u64) -> bool {
    n.is_multiple_of(BLOCK_BYTES as u64)
}
