//! Files, with the contract of what a crash may do to them.
//!
//! | After | the device holds |
//! |---|---|
//! | `write_at(.., Durability::Written)` | the bytes, unless power is lost before the next `sync_data` (any 512-byte sector of them may then be old, new or torn; sectors are lost independently and in any order) |
//! | `write_at(.., Durability::Synced)` | the bytes of this write, whatever happens next; nothing is said of earlier writes |
//! | `sync_data` | the bytes of all writes that were complete when it was submitted, and the file's length |
//! | `rename`, creation, removal | both names or either, until `sync_dir` of that directory; nothing is said of names above it |
//! | `create_dir_all` | the directories |
//! | `sync_tree` | the bytes, lengths and names of everything that was done in the directory and below it before |
//!
//! After an error of a write or a sync the state of the device is unknown. The operation must not be repeated, as the kernel may
//! have dropped the dirty pages and a second sync would succeed without them: the caller fences itself.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use crate::mem::{AlignedBuf, IoBuf, LogBuffer};

/// How durable a write is when it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Handed to the device (O_DIRECT) or the page cache (buffered).
    Written,
    /// On the device and its cache flushed (`RWF_DSYNC`).
    Synced,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    pub write: bool,
    pub create: bool,
    /// O_DIRECT: offsets, lengths and buffers must be multiples of 4096. On a file system without it the same holds, and each write is
    /// `Durability::Synced`, as the page cache would not survive a crash of the kernel.
    pub direct: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub path: PathBuf,
    pub is_dir: bool,
    pub len_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Without the blocks that are reserved for the superuser, as `df` computes its percentage.
    pub total_bytes: u64,
    pub available_bytes: u64,
}

pub trait Disk {
    type File: File;
    /// Held until it is dropped, or until its process has ended and the process's last write with it.
    type Lock: 'static;

    fn open(
        &self,
        path: &Path,
        options: OpenOptions,
    ) -> impl Future<Output = io::Result<Self::File>>;

    /// Entries of one directory, sorted by path; empty if it does not exist.
    fn list(&self, dir: &Path) -> impl Future<Output = io::Result<Vec<DirEntry>>>;

    /// `false` if the directory is there already.
    fn create_dir(&self, dir: &Path) -> impl Future<Output = io::Result<bool>>;

    /// The directory and those above it, with durable names.
    fn create_dir_all(&self, dir: &Path) -> impl Future<Output = io::Result<()>> {
        let create = async |dir: &Path| self.create_dir(dir).await;
        let sync = async |dir: &Path| self.sync_dir(dir).await;
        create_dir_all(dir, create, sync, io::Error::kind)
    }

    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>>;

    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>>;

    /// Makes names in `dir` as durable as `sync_data` makes bytes.
    fn sync_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>>;

    /// Makes everything durable that was done in `dir` and below it, whatever the number of files: bytes, lengths, names.
    fn sync_tree(&self, dir: &Path) -> impl Future<Output = io::Result<()>>;

    /// Locks the file `path`, made with this text; `ErrorKind::WouldBlock` if another process holds it, or if writes of a
    /// killed process are still on their way to the device.
    fn lock(&self, path: &Path, text: &str) -> io::Result<Self::Lock>;

    /// The same for a directory, which gets no file by it.
    fn lock_dir(&self, dir: &Path) -> io::Result<Self::Lock>;

    fn space(&self, dir: &Path) -> impl Future<Output = io::Result<Space>>;

    /// A log buffer, registered with the kernel so that writes from it skip the page look-up. Where that is not allowed (memlock limit) or has no
    /// meaning, writes cost more and work the same. Its bytes may be any: a buffer that nobody has any more is given out again, because its pages
    /// are there (64 MiB of new ones cost 60 ms).
    fn log_buffer(&self, capacity_bytes: usize) -> io::Result<LogBuffer>;
}

/// An open file. A clone is another handle on the same descriptor, closed when the last is dropped.
pub trait File: Clone + 'static {
    fn len_bytes(&self) -> impl Future<Output = io::Result<u64>>;

    /// Reads up to `len` bytes at `offset` into the start of `buf`; fewer only at the end of the file.
    fn read_at(
        &self,
        buf: AlignedBuf,
        len: usize,
        offset: u64,
    ) -> impl Future<Output = (io::Result<usize>, AlignedBuf)>;

    /// Writes all of `buf` at `offset`, or fails: a short write is an error (`ErrorKind::WriteZero`).
    fn write_at<B: IoBuf>(
        &self,
        buf: B,
        offset: u64,
        durability: Durability,
    ) -> impl Future<Output = (io::Result<()>, B)>;

    fn sync_data(&self) -> impl Future<Output = io::Result<()>>;

    /// Reserves `len_bytes` of disk from the start of the file and makes it that long; new bytes read as zero.
    fn allocate(&self, len_bytes: u64) -> impl Future<Output = io::Result<()>>;

    /// Cuts the file or extends it with a hole.
    fn resize(&self, len_bytes: u64) -> impl Future<Output = io::Result<()>>;
}

/// Level by level: a crash part-way leaves at most one directory without a durable name, the lowest one that exists. Hence
/// that name is synced too. `create` and `sync` are [`Disk::create_dir`] and [`Disk::sync_dir`], `kind` that of their errors.
pub async fn create_dir_all<E>(
    dir: &Path,
    create: impl AsyncFn(&Path) -> Result<bool, E>,
    sync: impl AsyncFn(&Path) -> Result<(), E>,
    kind: impl Fn(&E) -> io::ErrorKind,
) -> Result<(), E> {
    let sync_name = async |path: &Path| {
        let above = match path.parent() {
            None => return Ok(()),
            Some(above) if above.as_os_str().is_empty() => Path::new("."),
            Some(above) => above,
        };
        match sync(above).await {
            // A directory without permission to read has got no new entries from this process.
            Err(error) if kind(&error) == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    };
    let sync_names = async |level: &Path, made: bool| {
        if let (true, Some(above)) = (made, level.parent()) {
            sync_name(above).await?;
        }
        sync_name(level).await
    };
    let mut missing = Vec::new();
    let mut level = dir;
    loop {
        match (create(level).await, level.parent()) {
            (Err(error), Some(above)) if kind(&error) == io::ErrorKind::NotFound => {
                missing.push(level);
                level = above;
            }
            (made, _) => {
                sync_names(level, made?).await?;
                break;
            }
        }
    }
    for level in missing.into_iter().rev() {
        // "Not found" is an error here, as what is above exists: so says /proc, where nothing can be made.
        let made = create(level).await?;
        sync_names(level, made).await?;
    }
    Ok(())
}
