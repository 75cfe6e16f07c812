//! A disk in memory that forgets: a file system mounted through FUSE, below which the plug can be pulled.
//!
//! ```text
//! file       now  [ p0 | p1 | p2 ]     what reads see
//!            old       p1              as the device has it for certain, of every page written since the last flush
//! directory  now  { a, b, c }          what look-ups see
//!            durable { a }, pending [ +b, b->c ]
//! ```
//! A power cut keeps of every unflushed page any of its sectors, of every directory any beginning of what was done to it and not
//! synced, and nothing else. A flush of a file does not make its name durable. That is less than common file systems keep, and as
//! much as their documentation promises.

mod dir;
mod file;
mod mount;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{BackgroundSession, Config, Errno, FileAttr, FileType, INodeNo};

use crate::common::PATIENCE;
use crate::common::random::Random;
use dir::{Change, Dir};
use file::{File, pages_of};
use mount::Mount;

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

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
    /// A file cannot be opened with O_DIRECT.
    lacks_direct_io: bool,
    /// Changes of names and lengths wait while it is set.
    holds_names: bool,
    /// Writes to files whose name has this in it wait while it is set.
    holds_writes: Option<&'static str>,
    /// So many changes and writes wait.
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

impl Disk {
    pub fn new(capacity_bytes: u64) -> Disk {
        let root = Node::Dir(Dir::default());
        Disk(Arc::new(Mutex::new(State {
            inodes: HashMap::from([(INodeNo::ROOT.0, root)]),
            next_inode: INodeNo::ROOT.0 + 1,
            capacity_bytes,
            fault: None,
            lacks_direct_io: false,
            holds_names: false,
            holds_writes: None,
            held: 0,
            faults: 0,
        })))
    }

    /// As on a file system without O_DIRECT.
    pub fn without_direct_io(self) -> Disk {
        self.state().lacks_direct_io = true;
        self
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

    /// From now on writes to files whose name has `on` in it wait, or no longer.
    pub fn hold_writes(&self, on: Option<&'static str>) {
        self.state().holds_writes = on;
    }

    /// Changes and writes that wait now.
    pub fn held(&self) -> u64 {
        self.state().held
    }

    /// Carries out a change of names or lengths, now or once it may be.
    fn change_names(&self, change: impl FnOnce(&Disk) + Send + 'static) {
        self.unless_held(|state| state.holds_names, change);
    }

    /// Carries out `change`, now or when it is no longer held; the file system stays usable meanwhile.
    fn unless_held(
        &self,
        is_held: impl Fn(&mut State) -> bool + Send + 'static,
        change: impl FnOnce(&Disk) + Send + 'static,
    ) {
        let mut state = self.state();
        if !is_held(&mut state) {
            drop(state);
            return change(self);
        }
        state.held += 1;
        drop(state);
        let disk = self.clone();
        std::thread::spawn(move || {
            while is_held(&mut disk.state()) {
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
    /// A file is to be opened with these flags.
    fn refuses(&self, flags: i32) -> bool {
        self.lacks_direct_io && flags & libc::O_DIRECT != 0
    }

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

    /// The names in this directory, not its own name in the one above it.
    fn sync_dir(&mut self, inode: u64) -> Result<(), Errno> {
        self.dir(inode)?.sync();
        Ok(())
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

    fn is_write_held(&mut self, inode: u64) -> bool {
        let Some(on) = self.holds_writes else {
            return false;
        };
        self.file(inode)
            .is_ok_and(|file| file.name.to_string_lossy().contains(on))
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
