//! One host's disk: what `names` and `sectors` hold, with latencies, faults and the kernel's rules in front of them.
//!
//! An operation takes its time first and has its whole effect at the end. A write that is cancelled, fails or is in
//! flight when its process dies leaves any subset of its sectors behind.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::SimIo;
use super::faults::{Fault, Op, Rules, errno};
use super::names::{Names, Node};
use super::sectors::{Inode, Seq};
use super::tally::Tally;
use super::world::World;
use super::write::{LateWrites, Write};
use crate::io::{DirEntry, Disk, Durability, File, OpenOptions, Space};
use crate::mem::{AlignedBuf, BLOCK_BYTES, IoBuf, LogBuffer};

pub(super) struct HostDisk {
    names: RefCell<Names>,
    pub rules: RefCell<Rules>,
    next_seq: Cell<Seq>,
    /// What others have of this disk.
    pub occupied_bytes: Cell<u64>,
    /// By path and process.
    locks: RefCell<Vec<(PathBuf, u64)>>,
    pub late_writes: LateWrites,
}

impl HostDisk {
    pub fn new() -> Self {
        Self {
            names: RefCell::new(Names::new()),
            rules: RefCell::default(),
            next_seq: Cell::new(1),
            occupied_bytes: Cell::new(0),
            locks: RefCell::default(),
            late_writes: LateWrites::default(),
        }
    }

    pub fn file(&self, path: &Path) -> io::Result<Rc<RefCell<Inode>>> {
        self.names.borrow().file(&absolute(path))
    }

    pub fn lose_power(&self, rng: &mut super::rng::Rng, tally: &mut Tally) {
        self.names.borrow_mut().lose_power(rng, tally);
    }

    pub fn next_seq(&self) -> Seq {
        let seq = self.next_seq.get();
        self.next_seq.set(seq + 1);
        seq
    }

    fn used_bytes(&self) -> u64 {
        let names = self.names.borrow();
        let taken = names.files().map(|inode| inode.borrow().taken_bytes());
        self.occupied_bytes.get() + taken.sum::<u64>()
    }
}

/// A path that one process holds.
pub struct SimLock {
    world: Rc<World>,
    disk: Rc<HostDisk>,
    held: (PathBuf, u64),
}

impl Drop for SimLock {
    fn drop(&mut self) {
        if self.world.is_killing() {
            return; // its process's last write decides
        }
        let mut locks = self.disk.locks.borrow_mut();
        locks.retain(|lock| *lock != self.held);
    }
}

/// An open file. It belongs to the process that opened it and does nothing once that is gone.
#[derive(Clone)]
pub struct SimFile {
    pub(super) io: SimIo,
    pub(super) inode: Rc<RefCell<Inode>>,
    pub(super) options: OpenOptions,
}

impl Disk for SimIo {
    type File = SimFile;
    type Lock = SimLock;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<SimFile> {
        let path = absolute(path);
        self.name_op(Op::Open, &path, |names, seq| match names.find(&path) {
            None if options.create => names.create(&path, seq),
            _ => names.file(&path),
        })
        .await
        .map(|inode| SimFile {
            io: self.clone(),
            inode,
            options,
        })
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let under = absolute(dir);
        self.name_op(Op::Names, &under, |names, _| {
            let entries = names
                .children(&under)
                .filter_map(|(path, node)| Some(dir_entry(dir.join(path.file_name()?), node)));
            Ok(entries.collect())
        })
        .await
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let dir = absolute(dir);
        self.name_op(Op::Names, &dir, |names, seq| names.create_dir(&dir, seq))
            .await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (absolute(from), absolute(to));
        self.name_op(Op::Names, &to, |names, seq| names.rename(&from, &to, seq))
            .await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        self.name_op(Op::Names, &path, |names, seq| names.remove_file(&path, seq))
            .await
    }

    async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let path = absolute(path);
        self.name_op(Op::Names, &path, |names, seq| names.remove_dir(&path, seq))
            .await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = absolute(dir);
        let submitted = self.disk.next_seq();
        self.take_time(Op::Sync, &dir).await?;
        self.disk.names.borrow_mut().sync_dir(&dir, submitted)
    }

    async fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        let dir = absolute(dir);
        let submitted = self.disk.next_seq();
        let result = self.take_time(Op::Sync, &dir).await;
        let mut names = self.disk.names.borrow_mut();
        for inode in names.files_below(&dir) {
            let mut inode = inode.borrow_mut();
            match result {
                Ok(()) => inode.flush(submitted),
                Err(_) => self
                    .world
                    .lose(|rng, tally| inode.forget_dirty(true, rng, tally)),
            }
        }
        result.and_then(|()| names.sync_tree(&dir, submitted))
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<SimLock> {
        let path = absolute(path);
        let lock = self.hold(&path)?;
        let mut names = self.disk.names.borrow_mut();
        let inode = match names.find(&path) {
            None => names.create(&path, self.disk.next_seq()),
            Some(_) => names.file(&path),
        }?;
        let seq = Some(self.disk.next_seq());
        inode.borrow_mut().write(0, text.as_bytes(), seq, || true);
        Ok(lock)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<SimLock> {
        let dir = absolute(dir);
        let is_there = matches!(self.disk.names.borrow().find(&dir), Some(Node::Dir));
        match is_there {
            true => self.hold(&dir),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    async fn space(&self, dir: &Path) -> io::Result<Space> {
        self.take_time(Op::Names, &absolute(dir)).await?;
        let total_bytes = self.world.config.disk_bytes;
        Ok(Space {
            total_bytes,
            available_bytes: total_bytes.saturating_sub(self.disk.used_bytes()),
        })
    }

    fn register(&self, _buffer: &LogBuffer) -> bool {
        false
    }
}

impl SimIo {
    fn hold(&self, path: &Path) -> io::Result<SimLock> {
        if let Some(fault) = self.strike(Op::Open, path) {
            fault.error().map_or(Ok(()), Err)?;
        }
        let incarnation = self.owner.incarnation;
        let mut locks = self.disk.locks.borrow_mut();
        // Those of earlier processes go with the last of their writes.
        locks.retain(|(_, holder)| *holder == incarnation || self.disk.late_writes.of(*holder) > 0);
        if locks.iter().any(|(held, _)| *held == *path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let held = (path.to_owned(), incarnation);
        locks.push(held.clone());
        Ok(SimLock {
            world: Rc::clone(&self.world),
            disk: Rc::clone(&self.disk),
            held,
        })
    }

    async fn name_op<T>(
        &self,
        op: Op,
        path: &Path,
        carry_out: impl FnOnce(&mut Names, Seq) -> io::Result<T>,
    ) -> io::Result<T> {
        self.take_time(op, path).await?;
        carry_out(&mut self.disk.names.borrow_mut(), self.disk.next_seq())
    }

    fn strike(&self, op: Op, path: &Path) -> Option<Fault> {
        let mut rules = self.disk.rules.borrow_mut();
        let fault = self.world.draw(|rng| rules.strike(op, path, rng))?;
        self.world.count_fault(fault.name(op), 1);
        Some(fault)
    }

    /// The latency of one operation, and whatever the rules have for it.
    async fn take_time(&self, op: Op, path: &Path) -> io::Result<()> {
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
        fault.and_then(Fault::error).map_or(Ok(()), Err)
    }
}

impl File for SimFile {
    async fn len_bytes(&self) -> io::Result<u64> {
        self.io.alive().await;
        Ok(self.inode.borrow().len())
    }

    async fn read_at(
        &self,
        mut buf: AlignedBuf,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, AlignedBuf) {
        assert!(len <= buf.len(), "{len} bytes into {}", buf.len());
        if self.options.direct && !(is_aligned(offset) && is_aligned(len as u64)) {
            return (Err(errno::invalid()), buf);
        }
        if let Err(error) = self.take_time(Op::Read).await {
            return (Err(error), buf);
        }
        let read = self.inode.borrow().read(offset, &mut buf[..len]);
        (Ok(read), buf)
    }

    async fn write_at<B: IoBuf>(
        &self,
        buf: B,
        offset: u64,
        durability: Durability,
    ) -> (io::Result<()>, B) {
        let mut write = Write::new(self, buf.into(), offset);
        let result = write.run(durability).await;
        let Ok(buf) = B::try_from(std::mem::take(&mut write.buf)) else {
            unreachable!("the buffer is the one that was given")
        };
        (result, buf)
    }

    async fn sync_data(&self) -> io::Result<()> {
        let submitted = self.io.disk.next_seq();
        let result = self.take_time(Op::Sync).await;
        let mut inode = self.inode.borrow_mut();
        match result {
            Ok(()) => inode.flush(submitted),
            Err(_) => self.io.world.lose(|rng, tally| {
                inode.forget_dirty(!self.options.direct, rng, tally);
            }),
        }
        result
    }

    /// Without enough space for all of it, the file keeps what it has got, as on ext4.
    async fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        self.start_change_of_length().await?;
        let growth = self.inode.borrow().growth_of(0..len_bytes);
        let missing = growth.saturating_sub(self.available_bytes());
        let got = len_bytes.saturating_sub(missing) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let len = if missing > 0 { got } else { len_bytes };
        let mut inode = self.inode.borrow_mut();
        inode.allocate(len, self.io.disk.next_seq());
        if missing > 0 {
            self.io.world.count_fault("ENOSPC", 1);
            return Err(errno::no_space());
        }
        Ok(())
    }

    async fn resize(&self, len_bytes: u64) -> io::Result<()> {
        self.start_change_of_length().await?;
        let mut inode = self.inode.borrow_mut();
        inode.resize(len_bytes, self.io.disk.next_seq());
        Ok(())
    }
}

impl SimFile {
    pub(super) async fn take_time(&self, op: Op) -> io::Result<()> {
        let path = self.inode.borrow().name.clone();
        self.io.take_time(op, &path).await
    }

    /// A flush that fails is about all that is not flushed, whoever asked for it.
    pub(super) async fn flush_of_write(&self) -> io::Result<()> {
        let flushed = self.take_time(Op::Sync).await;
        if flushed.is_err() {
            let mut inode = self.inode.borrow_mut();
            self.io.world.lose(|rng, tally| {
                inode.forget_dirty(!self.options.direct, rng, tally);
            });
        }
        flushed
    }

    async fn start_change_of_length(&self) -> io::Result<()> {
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

    fn available_bytes(&self) -> u64 {
        let total_bytes = self.io.world.config.disk_bytes;
        total_bytes.saturating_sub(self.io.disk.used_bytes())
    }
}

fn absolute(path: &Path) -> PathBuf {
    let parts = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    Path::new("/").join(parts.collect::<PathBuf>())
}

fn dir_entry(path: PathBuf, node: &Node) -> DirEntry {
    match node {
        Node::Dir => DirEntry {
            path,
            is_dir: true,
            len_bytes: 0,
        },
        Node::File(inode) => DirEntry {
            path,
            is_dir: false,
            len_bytes: inode.borrow().len(),
        },
    }
}

pub(super) fn is_aligned(n: u64) -> bool {
    n.is_multiple_of(BLOCK_BYTES as u64)
}
