//! The operations of the file system, as the kernel asks for them through FUSE.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::dir::{Change, Dir};
use super::file::File;
use super::{Disk, Kind, Node, PAGE_BYTES};

/// The kernel caches no names and attributes of this file system.
const NO_TIME: Duration = Duration::ZERO;

/// What the kernel talks to.
pub struct Mount(pub Disk);

/// Answers with what `$result` holds, or with its error.
macro_rules! answer {
    ($reply:expr, $result:expr, $value:pat => $done:expr) => {
        match $result {
            Ok($value) => $done,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Mount {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.0.state();
        let found = state
            .dir(parent.0)
            .and_then(|dir| dir.now.get(name).copied().ok_or(Errno::ENOENT));
        let attr = found.and_then(|inode| state.attr(inode));
        answer!(reply, attr, attr => reply.entry(&NO_TIME, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.0.state().attr(inode.0), attr => reply.attr(&NO_TIME, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.0.change_names(move |disk| {
            let mut state = disk.state();
            if let Some(size) = size
                && let Ok(file) = state.file(inode.0)
            {
                file.resize(size);
            }
            answer!(reply, state.attr(inode.0), attr => reply.attr(&NO_TIME, &attr));
        });
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let name = name.to_owned();
        self.0.change_names(move |disk| {
            let node = Node::Dir(Dir::default());
            let made = disk.state().make(parent.0, &name, node);
            answer!(reply, made, attr => reply.entry(&NO_TIME, &attr, Generation(0)));
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.0.change_names(move |disk| {
            let mut state = disk.state();
            let removed = state.dir(parent.0).and_then(|dir| {
                let known = dir.now.contains_key(&name);
                dir.change(Change::Unbind(name));
                known.then_some(()).ok_or(Errno::ENOENT)
            });
            answer!(reply, removed, () => reply.ok());
        });
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.0.state();
        let inode = state
            .dir(parent.0)
            .and_then(|dir| dir.now.get(name).copied().ok_or(Errno::ENOENT));
        let removed = inode
            .and_then(|inode| match state.dir(inode)?.now.is_empty() {
                true => Ok(()),
                false => Err(Errno::ENOTEMPTY),
            })
            .and_then(|()| {
                state.dir(parent.0)?.change(Change::Unbind(name.to_owned()));
                Ok(())
            });
        answer!(reply, removed, () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        self.0.change_names(move |disk| {
            let renamed = disk
                .state()
                .rename((parent.0, &name), (new_parent.0, &new_name));
            answer!(reply, renamed, () => reply.ok());
        });
    }

    /// Without FOPEN_DIRECT_IO: with it, a read by io_uring that meets the end of the file is given the same bytes again and
    /// again (`fuse_direct_read_iter` leaves the position as it was).
    fn open(&self, _: &Request, _: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.0.state().refuses(flags.0) {
            return reply.error(Errno::EINVAL);
        }
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        if self.0.state().refuses(flags) {
            return reply.error(Errno::EINVAL);
        }
        let file = File {
            name: name.to_owned(),
            ..File::default()
        };
        let made = self.0.state().make(parent.0, name, Node::File(file));
        answer!(reply, made, attr => reply.created(
            &NO_TIME, &attr, Generation(0), FileHandle(0), FopenFlags::empty()
        ));
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.0.state();
        let bytes = state
            .meet_fault(inode.0, Kind::Read)
            .and_then(|_| Ok(state.file(inode.0)?.read(offset, size as usize)));
        answer!(reply, bytes, bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let is_durable = flags.0 & libc::O_DSYNC != 0;
        let data = data.to_vec();
        let write = move |disk: &Disk| {
            let mut state = disk.state();
            let written = state.meet_fault(inode.0, Kind::Write).and_then(|wait| {
                drop(state);
                std::thread::sleep(wait);
                let mut state = disk.state();
                if is_durable {
                    state.meet_fault(inode.0, Kind::Flush)?;
                }
                state.write(inode.0, offset, &data, is_durable)
            });
            answer!(reply, written, () => reply.written(data.len() as u32));
        };
        self.0
            .unless_held(move |state| state.is_write_held(inode.0), write);
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        let allocated = self.0.state().allocate(inode.0, offset, length);
        answer!(reply, allocated, () => reply.ok());
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.0.state();
        let flushed = match state.meet_fault(inode.0, Kind::Flush) {
            Ok(_) => state.file(inode.0).map(File::flush),
            Err(error) => {
                if let Ok(file) = state.file(inode.0) {
                    file.forget_dirty();
                }
                Err(error)
            }
        };
        answer!(reply, flushed, () => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.0.state().sync_dir(inode.0), () => reply.ok());
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut state = self.0.state();
        let entries = match state.dir(inode.0) {
            Ok(dir) => dir.now.clone(),
            Err(error) => return reply.error(error),
        };
        for (place, (name, inode)) in entries.into_iter().enumerate().skip(offset as usize) {
            let kind = match state.inodes.get(&inode) {
                Some(Node::Dir(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(inode), place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let state = self.0.state();
        let all = state.capacity_bytes / PAGE_BYTES as u64;
        let free = all.saturating_sub(state.used_bytes() / PAGE_BYTES as u64);
        let page = PAGE_BYTES as u32;
        reply.statfs(all, free, free, 1 << 20, 1 << 20, page, 255, page);
    }
}
