//! Names and lengths. Their system calls block when the journal of the file system is full or the disk stalls, so the reactor's
//! thread makes none of them.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::PoisonError;

use super::Portable;
use super::file::PortableFile;
use crate::io::{DirEntry, Disk, OpenOptions, Space};
use crate::mem::LogBuffer;
use crate::ring::linux::{self, DIR_MODE, Direct, FILE_MODE};

/// Held until it is dropped; after a kill, until the process's last thread has ended, and so its last write: the kernel closes the
/// descriptors of a process when none of its threads has them any more.
pub struct PortableLock {
    _file: fs::File,
}

#[cfg(test)]
impl PortableLock {
    pub(super) fn file(&self) -> &fs::File {
        &self._file
    }
}

impl Disk for Portable {
    type File = PortableFile;
    type Lock = PortableLock;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<PortableFile> {
        let path = path.to_owned();
        let (fd, direct) = self.core.call(move || open(&path, options)).await?;
        Ok(PortableFile::new(&self.core, fd, direct))
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = dir.to_owned();
        self.core.call(move || linux::list(&dir)).await
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let dir = dir.to_owned();
        self.core.call(move || create_dir(&dir)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.core.call(move || fs::rename(from, to)).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        self.core.call(move || fs::remove_file(path)).await
    }

    async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        self.core.call(move || fs::remove_dir(path)).await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = dir.to_owned();
        let sync = move || open_dir(&dir, 0)?.sync_all();
        self.core.call(sync).await
    }

    async fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        let (trees, dir) = (self.core.synced_trees.clone(), dir.to_owned());
        let sync = move || {
            let mut kept = trees.lock().unwrap_or_else(PoisonError::into_inner);
            let tree = match kept.get(&dir) {
                Some(tree) => tree.clone(),
                None => {
                    let tree = std::sync::Arc::new(open_dir(&dir, 0)?);
                    kept.insert(dir.clone(), tree.clone());
                    tree
                }
            };
            drop(kept);
            linux::sync_all_below(&tree, &dir)
        };
        self.core.call(sync).await
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<PortableLock> {
        let _file = linux::lock_file(path, text)?;
        Ok(PortableLock { _file })
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<PortableLock> {
        let _file = linux::lock_dir(dir)?;
        Ok(PortableLock { _file })
    }

    async fn space(&self, dir: &Path) -> io::Result<Space> {
        let dir = dir.to_owned();
        self.core.call(move || linux::space(&dir)).await
    }

    /// There is nothing to register it with, and its pages come as they are used.
    fn log_buffer(&self, capacity_bytes: usize) -> io::Result<LogBuffer> {
        LogBuffer::new(capacity_bytes)
    }
}

fn open(path: &Path, options: OpenOptions) -> io::Result<(OwnedFd, Direct)> {
    let mut direct = Direct::asked(options);
    let with = |direct| {
        fs::OpenOptions::new()
            .read(true)
            .write(options.write)
            // std refuses it of a file that is not written to.
            .create(options.create && options.write)
            .truncate(false)
            .mode(FILE_MODE)
            .custom_flags(linux::open_flags(options, direct))
            .open(path)
    };
    let mut opened = with(direct);
    if let Err(error) = &opened
        && linux::lacks_direct(path, direct, error)
    {
        direct = Direct::Missing;
        opened = with(direct);
    }
    Ok((opened?.into(), direct))
}

fn create_dir(dir: &Path) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(DIR_MODE).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            linux::is_there(error, open_dir(dir, libc::O_PATH).err())
        }
        made => made.map(|()| true),
    }
}

fn open_dir(dir: &Path, flags: i32) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags | libc::O_DIRECTORY)
        .open(dir)
}
