//! A write from its submission to its completion, and after its process was killed.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::SimIo;
use super::faults::errno;
use super::file::{SimFile, is_aligned, is_shortage};
use super::process::Owner;
use super::sectors::{Inode, SECTOR_BYTES};
use crate::io::Durability;
use crate::mem::{BLOCK_BYTES, Buf};

/// A write from its submission to its completion. The kernel may read the buffer at any time in between.
pub(super) struct Write<'a> {
    file: &'a SimFile,
    pub buf: Buf,
    offset: u64,
    /// What a part of the log buffer held at submission: its owner may go on writing behind the sealed bytes.
    at_submission: Option<Vec<u8>>,
    submitted: bool,
}

impl<'a> Write<'a> {
    pub fn new(file: &'a SimFile, buf: Buf, offset: u64) -> Self {
        let at_submission = matches!(buf, Buf::Log(_)).then(|| buf.with_bytes(<[u8]>::to_vec));
        Self {
            file,
            buf,
            offset,
            at_submission,
            submitted: false,
        }
    }

    pub async fn run(&mut self, durability: Durability) -> io::Result<()> {
        self.check()?;
        self.submitted = true;
        let written = self.file.take_time_of_write().await;
        let lands_elsewhere = matches!(written, Ok(true));
        let written = match (written, durability) {
            (Ok(_), Durability::Synced) => self.file.flush_of_write().await,
            (written, _) => written.map(drop),
        };
        let end = self.offset + self.buf.len() as u64;
        let written = written.and_then(|()| self.file.check_space(self.offset..end));
        self.submitted = false;
        match &written {
            Ok(()) if lands_elsewhere => self.reach_elsewhere(durability),
            Err(error) if is_shortage(error) => {}
            Ok(()) => self.reach_disk(durability, || true),
            Err(error) if is_of_a_beginning(error) => self.reach_disk_partly(true),
            Err(_) => self.reach_disk_partly(false),
        }
        written
    }

    fn check(&self) -> io::Result<()> {
        if !self.file.options.write {
            return Err(errno::bad_descriptor());
        }
        // Memory of a `Vec` is aligned only by accident, and an accident must not depend on the allocator here.
        let unaligned = matches!(self.buf, Buf::Heap(_))
            || !is_aligned(self.offset)
            || !is_aligned(self.buf.len() as u64);
        match self.file.options.direct && unaligned {
            true => Err(errno::invalid()),
            false => Ok(()),
        }
    }

    fn reach_disk_partly(&self, only_a_beginning: bool) {
        let world = &self.file.io.world;
        let mut reaches = true;
        self.reach_disk(Durability::Written, || {
            reaches = world.coin() && (reaches || !only_a_beginning);
            reaches
        });
    }

    /// In another block of the file, if it has one.
    fn reach_elsewhere(&mut self, durability: Durability) {
        let blocks = self.file.inode.borrow().len() / BLOCK_BYTES as u64;
        let own = self.buf.len().div_ceil(BLOCK_BYTES) as u64;
        let meant = self.offset;
        if blocks > own {
            let world = &self.file.io.world;
            let other = world.below(blocks - own + 1) * BLOCK_BYTES as u64;
            self.offset = other;
        }
        self.reach_disk(durability, || true);
        self.offset = meant;
    }

    fn reach_disk(&self, durability: Durability, reaches: impl FnMut() -> bool) {
        let disk = &self.file.io.disk;
        let seq = match durability {
            Durability::Written => Some(disk.next_seq()),
            Durability::Synced => None,
        };
        let mut inode = self.file.inode.borrow_mut();
        self.buf.with_bytes(|now| match self.blend(now) {
            Some(blend) => inode.write(self.offset, &blend, seq, reaches),
            None => inode.write(self.offset, now, seq, reaches),
        });
    }

    /// Each sector as it was at submission or as it is now.
    fn blend(&self, now: &[u8]) -> Option<Vec<u8>> {
        let mut blend = self.at_submission.clone()?;
        let sectors = blend.chunks_mut(SECTOR_BYTES);
        for (then, now) in sectors.zip(now.chunks(SECTOR_BYTES)) {
            if then != now && self.file.io.world.coin() {
                then.copy_from_slice(now);
            }
        }
        Some(blend)
    }
}

impl Drop for Write<'_> {
    /// Cancelled, or its process died: the device may have any part of it, or get all of it later.
    fn drop(&mut self) {
        let io = &self.file.io;
        if !self.submitted || !io.is_alive() {
            return;
        }
        if self.file.options.direct && io.world.is_killing() && io.world.coin() {
            return self.outlive();
        }
        io.world.count_fault("writes cut short by an end", 1);
        self.reach_disk_partly(false);
    }
}

impl Write<'_> {
    /// The device has been asked for it, and nothing takes that back.
    fn outlive(&self) {
        let io = &self.file.io;
        io.world.count_fault("writes that outlive a kill", 1);
        let bytes = self
            .buf
            .with_bytes(|now| self.blend(now).unwrap_or_else(|| now.to_vec()));
        let late = LateWrite {
            io: io.clone(),
            inode: Rc::clone(&self.file.inode),
            offset: self.offset,
            bytes,
            is_done: false,
        };
        io.disk.late_writes.begin(io.owner.incarnation);
        let kernel = Owner::kernel(io.owner.host);
        io.world.executor.spawn(kernel, Box::pin(late.run()));
    }
}

/// A write whose process is gone. Its locks are held until it has ended.
struct LateWrite {
    io: SimIo,
    inode: Rc<RefCell<Inode>>,
    offset: u64,
    bytes: Vec<u8>,
    is_done: bool,
}

impl LateWrite {
    async fn run(mut self) {
        let timeline = &self.io.world.timeline;
        let after_ns = self.io.world.within(&self.io.world.config.late_write_ns);
        timeline.sleep_until(timeline.now_ns() + after_ns).await;
        self.reach_disk(|| true);
        self.is_done = true;
    }

    fn reach_disk(&self, reaches: impl FnMut() -> bool) {
        let seq = Some(self.io.disk.next_seq());
        let mut inode = self.inode.borrow_mut();
        inode.write(self.offset, &self.bytes, seq, reaches);
    }
}

impl Drop for LateWrite {
    fn drop(&mut self) {
        if !self.is_done {
            self.reach_disk(|| self.io.world.coin());
        }
        self.io.disk.late_writes.end(self.io.owner.incarnation);
    }
}

fn is_of_a_beginning(error: &io::Error) -> bool {
    use io::ErrorKind::{StorageFull, WriteZero};
    matches!(error.kind(), StorageFull | WriteZero)
}
