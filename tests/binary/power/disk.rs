//! A disk in memory that forgets: a file system mounted through FUSE, below which the plug can be pulled.
//!
//! ```text
//! file       now  [ p0 | p1 | p2 ]     what reads see
//!            old       p1              as the device has it for certain, of every page written since the last flush
//! directory  now  { a, b, c }          what look-ups see
//!            durable { a }, pending [ +b, b->c ]
//! ```
//! A power cut keeps of every unflushed page any of its sectors, of every directory any beginning of what was done to it and not
//! synced, and nothing else. A flush of a file says nothing of its name. That is less than common file systems keep, and as
//! much as their documentation promises.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use crate::common::PATIENCE;
use crate::common::random::Random;

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;
/// Nothing is to be remembered above this file system.
const NO_TIME: Duration = Duration::ZERO;

type Page = [u8; PAGE_BYTES];

/// The device, without power or mounted.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

/// The disk with power; without when dropped.
pub struct Mounted {
    at: PathBuf,
    session: Option<BackgroundSession>,
}

struct State {
    inodes: HashMap<u64, Node>,
    next_inode: u64,
    capacity_bytes: u64,
    fault: Option<Fault>,
    /// Changes of names and lengths wait while it is set, ...
    holds_names: bool,
    /// ... so many of them.
    held: u64,
    /// Writes and flushes that had a fault.
    faults: u64,
}

/// What goes wrong with files whose name has `on` in it.
#[derive(Clone)]
pub struct Fault {
    pub on: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writes fail and nothing of them is kept.
    Write,
    /// Flushes fail, and what they should have flushed is forgotten by the power cut, whatever is flushed later.
    Flush,
    /// Reads fail.
    Read,
    /// Writes take so long.
    Stall(Duration),
}

enum Node {
    Dir(Dir),
    File(File),
}

struct Dir {
    parent: u64,
    now: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
    pending: Vec<Change>,
}

enum Change {
    Bind(OsString, u64),
    Unbind(OsString),
    Rename(OsString, OsString),
}

#[derive(Default)]
struct File {
    name: OsString,
    len: u64,
    pages: BTreeMap<u64, Box<Page>>,
    durable_len: u64,
    /// `None`: a hole.
    old: BTreeMap<u64, Option<Box<Page>>>,
    /// Old pages that no flush makes new: one failed.
    lost: BTreeMap<u64, Option<Box<Page>>>,
}

impl Disk {
    pub fn new(capacity_bytes: u64) -> Disk {
        let root = Node::Dir(Dir::new(INodeNo::ROOT.0));
        Disk(Arc::new(Mutex::new(State {
            inodes: HashMap::from([(INodeNo::ROOT.0, root)]),
            next_inode: INodeNo::ROOT.0 + 1,
            capacity_bytes,
            fault: None,
            holds_names: false,
            held: 0,
            faults: 0,
        })))
    }

    pub fn mount(&self, at: &Path) -> std::io::Result<Mounted> {
        let mounted = fuser::spawn_mount(Mount(self.clone()), at, &Config::default())?;
        Ok(Mounted {
            at: at.to_owned(),
            session: Some(mounted),
        })
    }

    /// Of a disk that is not mounted.
    pub fn lose_power(&self, random: &mut Random) {
        let mut state = self.state();
        for node in state.inodes.values_mut() {
            match node {
                Node::Dir(dir) => dir.lose_power(random),
                Node::File(file) => file.lose_power(random),
            }
        }
        state.drop_nameless();
    }

    pub fn inject(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// From now on renames, removals, new directories and changes of length wait, or no longer.
    pub fn hold_names(&self, hold: bool) {
        self.state().holds_names = hold;
    }

    /// Changes that wait now.
    pub fn held(&self) -> u64 {
        self.state().held
    }

    /// Carries out a change of names or lengths, now or once it may be; the file system goes on meanwhile.
    fn change_names(&self, change: impl FnOnce(&Disk) + Send + 'static) {
        let mut state = self.state();
        if !state.holds_names {
            drop(state);
            return change(self);
        }
        state.held += 1;
        drop(state);
        let disk = self.clone();
        std::thread::spawn(move || {
            while disk.state().holds_names {
                std::thread::sleep(Duration::from_millis(5));
            }
            disk.state().held -= 1;
            change(&disk);
        });
    }

    /// How many operations had a fault.
    pub fn faults(&self) -> u64 {
        self.state().faults
    }

    pub fn resize(&self, capacity_bytes: u64) {
        self.state().capacity_bytes = capacity_bytes;
    }

    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !unmount(&self.at) {
            return;
        }
        let session = self.session.take().expect("taken only here");
        let _ = session.join();
    }
}

/// Whether it could; a killed process's files are closed some time after its end.
pub fn unmount(at: &Path) -> bool {
    let started = Instant::now();
    let mut umount = Command::new("umount");
    umount.arg(at).stderr(Stdio::null());
    while !umount.status().is_ok_and(|status| status.success()) {
        if started.elapsed() > PATIENCE {
            eprintln!("{} is still in use", at.display());
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

impl State {
    fn used_bytes(&self) -> u64 {
        let files = self.inodes.values().filter_map(|node| match node {
            Node::File(file) => Some(file.pages.len()),
            Node::Dir(_) => None,
        });
        files.sum::<usize>() as u64 * PAGE_BYTES as u64
    }

    fn dir(&mut self, inode: u64) -> Result<&mut Dir, Errno> {
        match self.inodes.get_mut(&inode) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(Errno::ENOTDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn file(&mut self, inode: u64) -> Result<&mut File, Errno> {
        match self.inodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn attr(&self, inode: u64) -> Result<FileAttr, Errno> {
        let (kind, size, pages) = match self.inodes.get(&inode).ok_or(Errno::ENOENT)? {
            Node::Dir(_) => (FileType::Directory, 0, 0),
            Node::File(file) => (FileType::RegularFile, file.len, file.pages.len()),
        };
        Ok(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: (pages * PAGE_BYTES / SECTOR_BYTES) as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: PAGE_BYTES as u32,
        })
    }

    fn make(&mut self, parent: u64, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        let inode = self.next_inode;
        let dir = self.dir(parent)?;
        if dir.now.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        dir.change(Change::Bind(name.to_owned(), inode));
        self.next_inode += 1;
        self.inodes.insert(inode, node);
        self.attr(inode)
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let inode = *self.dir(from.0)?.now.get(from.1).ok_or(Errno::ENOENT)?;
        if from.0 == to.0 {
            let change = Change::Rename(from.1.to_owned(), to.1.to_owned());
            self.dir(from.0)?.change(change);
        } else {
            // One entry of a journal, so never one half of it.
            self.dir(to.0)?.change(Change::Bind(to.1.to_owned(), inode));
            self.dir(from.0)?.change(Change::Unbind(from.1.to_owned()));
            self.dir(to.0)?.sync();
            self.dir(from.0)?.sync();
        }
        if let Ok(file) = self.file(inode) {
            file.name = to.1.to_owned();
        }
        Ok(())
    }

    fn sync_dir(&mut self, mut inode: u64) -> Result<(), Errno> {
        loop {
            let dir = self.dir(inode)?;
            dir.sync();
            if dir.parent == inode {
                return Ok(());
            }
            inode = dir.parent;
        }
    }

    fn write(&mut self, inode: u64, offset: u64, data: &[u8], durable: bool) -> Result<(), Errno> {
        let (used, capacity) = (self.used_bytes(), self.capacity_bytes);
        let file = self.file(inode)?;
        let new = pages_of(offset, data.len() as u64).filter(|page| !file.pages.contains_key(page));
        if used + new.count() as u64 * PAGE_BYTES as u64 > capacity {
            return Err(Errno::ENOSPC);
        }
        file.write(offset, data, durable);
        Ok(())
    }

    fn allocate(&mut self, inode: u64, offset: u64, len: u64) -> Result<(), Errno> {
        let (used, capacity) = (self.used_bytes(), self.capacity_bytes);
        let file = self.file(inode)?;
        let new: Vec<u64> = pages_of(offset, len)
            .filter(|page| !file.pages.contains_key(page))
            .collect();
        if used + new.len() as u64 * PAGE_BYTES as u64 > capacity {
            return Err(Errno::ENOSPC);
        }
        for page in new {
            file.page(page);
        }
        file.len = file.len.max(offset + len);
        Ok(())
    }

    /// How long to wait, or why it fails.
    fn meet_fault(&mut self, inode: u64, kind: Kind) -> Result<Duration, Errno> {
        let Some(fault) = self.fault.clone() else {
            return Ok(Duration::ZERO);
        };
        let name = self.file(inode)?.name.to_string_lossy().into_owned();
        if !name.contains(fault.on) {
            return Ok(Duration::ZERO);
        }
        match fault.kind {
            Kind::Stall(time) if kind == Kind::Write => {
                self.faults += 1;
                Ok(time)
            }
            of if of == kind => {
                self.faults += 1;
                Err(Errno::EIO)
            }
            _ => Ok(Duration::ZERO),
        }
    }

    fn drop_nameless(&mut self) {
        let mut named = vec![INodeNo::ROOT.0];
        let mut at = 0;
        while let Some(inode) = named.get(at) {
            if let Some(Node::Dir(dir)) = self.inodes.get(inode) {
                let children: Vec<u64> = dir.now.values().copied().collect();
                named.extend(children);
            }
            at += 1;
        }
        self.inodes.retain(|inode, _| named.contains(inode));
    }
}

impl Dir {
    fn new(parent: u64) -> Dir {
        Dir {
            parent,
            now: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        self.pending.clear();
        self.durable = self.now.clone();
    }

    fn lose_power(&mut self, random: &mut Random) {
        let kept = random.below(self.pending.len() + 1);
        for change in self.pending.drain(..).take(kept) {
            change.apply(&mut self.durable);
        }
        self.now = self.durable.clone();
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<OsString, u64>) {
        match self {
            Change::Bind(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Change::Unbind(name) => {
                names.remove(name);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl File {
    fn page(&mut self, page: u64) -> &mut Page {
        let page = self.pages.entry(page);
        page.or_insert_with(|| Box::new([0; PAGE_BYTES]))
    }

    fn write(&mut self, offset: u64, data: &[u8], durable: bool) {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let len = (PAGE_BYTES - within).min(data.len() - done);
            let piece = &data[done..done + len];
            if durable && len == PAGE_BYTES {
                self.old.remove(&page);
                self.lost.remove(&page);
            } else {
                let before = self.pages.get(&page).cloned();
                let old = self.old.entry(page).or_insert(before);
                if durable {
                    let old = old.get_or_insert_with(|| Box::new([0; PAGE_BYTES]));
                    old[within..within + len].copy_from_slice(piece);
                }
            }
            self.page(page)[within..within + len].copy_from_slice(piece);
            done += len;
        }
        let end = offset + data.len() as u64;
        self.len = self.len.max(end);
        if durable {
            self.durable_len = self.durable_len.max(end);
        }
    }

    fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let len = self.len.saturating_sub(offset).min(len as u64) as usize;
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let piece = (PAGE_BYTES - within).min(len - done);
            if let Some(page) = self.pages.get(&page) {
                bytes[done..done + piece].copy_from_slice(&page[within..within + piece]);
            }
            done += piece;
        }
        bytes
    }

    fn resize(&mut self, len: u64) {
        if len < self.len {
            let from = len / PAGE_BYTES as u64;
            let cut: Vec<u64> = self.pages.range(from..).map(|(page, _)| *page).collect();
            for page in cut {
                let before = self.pages.get(&page).cloned();
                self.old.entry(page).or_insert(before);
                let start = page * PAGE_BYTES as u64;
                if start >= len {
                    self.pages.remove(&page);
                } else {
                    self.page(page)[(len - start) as usize..].fill(0);
                }
            }
        }
        self.len = len;
    }

    fn flush(&mut self) {
        self.old.clear();
        self.durable_len = self.len;
    }

    fn forget_dirty(&mut self) {
        for (page, old) in std::mem::take(&mut self.old) {
            self.lost.entry(page).or_insert(old);
        }
    }

    fn lose_power(&mut self, random: &mut Random) {
        if random.below(2) == 0 {
            self.len = self.durable_len;
        }
        let mut unflushed = std::mem::take(&mut self.lost);
        for (page, old) in std::mem::take(&mut self.old) {
            unflushed.entry(page).or_insert(old);
        }
        for (page, old) in unflushed {
            let old = old.unwrap_or_else(|| Box::new([0; PAGE_BYTES]));
            let survivor = self.page(page);
            for start in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
                let sector = start..start + SECTOR_BYTES;
                if random.below(2) == 0 {
                    survivor[sector.clone()].copy_from_slice(&old[sector]);
                }
            }
        }
        let len = self.len;
        self.resize(len);
        self.pages
            .retain(|page, _| page * (PAGE_BYTES as u64) < len);
        self.old.clear();
        self.durable_len = len;
    }
}

fn pages_of(offset: u64, len: u64) -> std::ops::Range<u64> {
    offset / PAGE_BYTES as u64..(offset + len).div_ceil(PAGE_BYTES as u64)
}

/// What the kernel talks to.
struct Mount(Disk);

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
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
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
            let node = Node::Dir(Dir::new(parent.0));
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
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
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
        let mut state = self.0.state();
        let written = state.meet_fault(inode.0, Kind::Write).and_then(|wait| {
            drop(state);
            std::thread::sleep(wait);
            let mut state = self.0.state();
            if is_durable {
                state.meet_fault(inode.0, Kind::Flush)?;
            }
            state.write(inode.0, offset, data, is_durable)
        });
        answer!(reply, written, () => reply.written(data.len() as u32));
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
