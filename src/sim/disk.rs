//! One host's disk: what `names` and `sectors` hold, with latencies, faults and the kernel's rules in front of them.
//!
//! An operation takes its time first and has its whole effect at the end. A write that is cancelled, fails or is in
//! flight when its process dies leaves any subset of its sectors behind.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::SimIo;
use super::descriptors::{Descriptor, Kind};
use super::faults::{Op, errno};
use super::file::{SimFile, is_aligned};
use super::host_disk::{HostDisk, absolute};
use super::names::{Names, Node};
use super::versions::Seq;
use super::world::World;
use super::write::Write;
use crate::io::{DirEntry, Disk, Durability, File, OpenOptions, Space};
use crate::mem::{AlignedBuf, BLOCK_BYTES, IoBuf, LogBuffer};

/// What another store may have left in a log buffer.
const LEFT_IN_BUFFERS: u8 = 0xa5;

/// A path that one process holds.
pub struct SimLock {
    world: Rc<World>,
    disk: Rc<HostDisk>,
    held: (PathBuf, u64),
    _descriptor: Descriptor,
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

impl Disk for SimIo {
    type File = SimFile;
    type Lock = SimLock;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<SimFile> {
        let path = absolute(path);
        self.name_op(Op::Open, &path, |names, seq| {
            // As in the kernel, which makes no file that it has no number for.
            let descriptor = self.descriptor(Kind::File)?;
            let inode = match names.find(&path) {
                None if options.create => names.create(&path, seq),
                _ => names.file(&path),
            }?;
            Ok(SimFile {
                io: self.clone(),
                inode,
                options,
                _descriptor: Rc::new(descriptor),
            })
        })
        .await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let under = absolute(dir);
        self.name_op(Op::Names, &under, |names, _| {
            let _descriptor = self.descriptor(Kind::Other)?;
            let entries = names
                .children(&under)
                .filter_map(|(path, node)| Some(dir_entry(dir.join(path.file_name()?), node)));
            Ok(entries.collect())
        })
        .await
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let dir = absolute(dir);
        self.name_op(Op::Names, &dir, |names, seq| {
            let is_new = names.create_dir(&dir, seq)?;
            // The kernel says only that the name is there; an open says whether it is a directory.
            let _descriptor = (!is_new)
                .then(|| self.descriptor(Kind::Other))
                .transpose()?;
            Ok(is_new)
        })
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
        let _descriptor = self.descriptor(Kind::Other)?;
        let submitted = self.disk.next_seq();
        let synced = self.take_time(Op::Sync, &dir).await;
        self.lose_cache_after(synced)?;
        self.disk.names.borrow_mut().sync_dir(&dir, submitted)
    }

    async fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        let dir = absolute(dir);
        self.keep_tree(&dir)?;
        let submitted = self.disk.next_seq();
        let synced = self.take_time(Op::Sync, &dir).await;
        self.lose_cache_after(synced)?;
        let mut names = self.disk.names.borrow_mut();
        for inode in names.files_below(&dir) {
            inode.borrow_mut().flush(submitted);
        }
        names.sync_tree(&dir, submitted)
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

    fn log_buffer(&self, capacity_bytes: usize) -> io::Result<LogBuffer> {
        let mut buffer = LogBuffer::new(capacity_bytes)?;
        buffer.write(0, capacity_bytes).fill(LEFT_IN_BUFFERS);
        Ok(buffer)
    }
}

impl SimIo {
    fn hold(&self, path: &Path) -> io::Result<SimLock> {
        if let Some(fault) = self.strike(Op::Open, path) {
            fault.error().map_or(Ok(()), Err)?;
        }
        let descriptor = self.descriptor(Kind::Other)?;
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
            _descriptor: descriptor,
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
        let inode = self.inode.borrow();
        if !inode.is_readable(offset..offset + len as u64) {
            self.io.world.count_fault("reads of unreadable sectors", 1);
            return (Err(errno::io()), buf);
        }
        let read = inode.read(offset, &mut buf[..len]);
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
        let synced = self.take_time(Op::Sync).await;
        self.io.lose_cache_after(synced)?;
        self.inode.borrow_mut().flush(submitted);
        Ok(())
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
