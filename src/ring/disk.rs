//! Names and lengths. Their system calls block when the journal of the file system is full or the disk stalls, so the ring's
//! thread makes none of them: the kernel's workers do, or a thread of its own where io_uring lacks the call.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use super::Ring;
use super::descriptor::Descriptor;
use super::file::RingFile;
use super::off_thread::off_thread;
use super::op::Request;
use crate::io::{DirEntry, Disk, OpenOptions, Space};
use crate::mem::LogBuffer;
use crate::ring::linux::{self, DIR_MODE, Direct, FILE_MODE, open_flags};

const AT_CWD: types::Fd = types::Fd(libc::AT_FDCWD);

/// Held until it is dropped. It is in the ring's table of files, where it stays until the kernel has ended the last request of the
/// ring: a write that is in flight when the process is killed reaches the disk after the kernel has closed the process's
/// descriptors, and until then the next process must not append at that place.
pub struct RingLock {
    _descriptor: Rc<Descriptor>,
}

#[cfg(test)]
impl RingLock {
    pub(super) fn number(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(self._descriptor.fd())
    }
}

impl Disk for Ring {
    type File = RingFile;
    type Lock = RingLock;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<RingFile> {
        let mut direct = Direct::asked(options);
        let mut opened = self.open_fd(path, open_flags(options, direct)).await;
        if let Err(error) = &opened
            && linux::lacks_direct(path, direct, error)
        {
            direct = Direct::Missing;
            opened = self.open_fd(path, open_flags(options, direct)).await;
        }
        Ok(RingFile {
            core: self.core.clone(),
            descriptor: Descriptor::file(&self.core, opened?),
            direct,
        })
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = dir.to_owned();
        off_thread(&self.core, "list", move || linux::list(&dir)).await
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let made = self.name_op(dir, |name| {
            opcode::MkDirAt::new(AT_CWD, name).mode(DIR_MODE).build()
        });
        match made.await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let opened = self.open_fd(dir, libc::O_PATH | libc::O_DIRECTORY).await;
                linux::is_there(error, opened.err())
            }
            made => made.map(|()| true),
        }
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = c_path(from)?;
        let second = names.len();
        names.extend(c_path(to)?);
        let (from, to) = (names.as_ptr(), names[second..].as_ptr());
        let entry = opcode::RenameAt::new(AT_CWD, from.cast(), AT_CWD, to.cast()).build();
        self.submit_names(entry, names).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.name_op(path, |name| opcode::UnlinkAt::new(AT_CWD, name).build())
            .await
    }

    async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.name_op(path, |name| {
            opcode::UnlinkAt::new(AT_CWD, name)
                .flags(libc::AT_REMOVEDIR)
                .build()
        })
        .await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let fd = self.open_fd(dir, libc::O_DIRECTORY).await?;
        let descriptor = Descriptor::plain(&self.core, fd);
        let entry = opcode::Fsync::new(descriptor.raw()).build();
        let (result, _) = self.core.submit(Request::new(entry, &descriptor)).await;
        result.map(drop)
    }

    async fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        let tree = self.synced_tree(dir).await?;
        let dir = dir.to_owned();
        off_thread(&self.core, "syncfs", move || {
            linux::sync_all_below(&tree, &dir)
        })
        .await
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<RingLock> {
        self.lock_of(linux::lock_file(path, text)?)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<RingLock> {
        self.lock_of(linux::lock_dir(dir)?)
    }

    async fn space(&self, dir: &Path) -> io::Result<Space> {
        let dir = dir.to_owned();
        off_thread(&self.core, "statvfs", move || linux::space(&dir)).await
    }

    fn log_buffer(&self, capacity_bytes: usize) -> io::Result<LogBuffer> {
        let buffer = match self.core.unused_log_buffer(capacity_bytes) {
            Some(buffer) => buffer,
            None => LogBuffer::new(capacity_bytes)?,
        };
        self.core.capabilities.borrow_mut().log_buffer = self.core.register(&buffer);
        Ok(buffer)
    }
}

impl Ring {
    fn lock_of(&self, file: fs::File) -> io::Result<RingLock> {
        Ok(RingLock {
            _descriptor: Descriptor::new(&self.core, file.into()),
        })
    }

    /// The descriptor by which the file system of a directory is flushed. It is kept: the kernel reports a lost write once to
    /// each descriptor, but not to one that is opened after another thread's descriptor got the report.
    async fn synced_tree(&self, dir: &Path) -> io::Result<Arc<fs::File>> {
        if let Some(kept) = self.core.synced_trees.borrow().get(dir) {
            return Ok(kept.clone());
        }
        let fd = self
            .open_fd(dir, libc::O_RDONLY | libc::O_DIRECTORY)
            .await?;
        let tree = Arc::new(fs::File::from(fd));
        let mut kept = self.core.synced_trees.borrow_mut();
        kept.insert(dir.to_owned(), tree.clone());
        Ok(tree)
    }

    async fn open_fd(&self, path: &Path, flags: i32) -> io::Result<OwnedFd> {
        let name = c_path(path)?;
        let request = Request {
            entry: opcode::OpenAt::new(AT_CWD, name.as_ptr().cast())
                .flags(flags | libc::O_CLOEXEC)
                .mode(FILE_MODE)
                .build(),
            buf: name.into(),
            descriptor: None,
            opens: true,
        };
        let (result, _) = self.core.submit(request).await;
        // SAFETY: the kernel has just opened it for this request, and nothing else knows its number.
        result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    async fn name_op(
        &self,
        path: &Path,
        entry: impl FnOnce(*const libc::c_char) -> squeue::Entry,
    ) -> io::Result<()> {
        let name = c_path(path)?;
        let entry = entry(name.as_ptr().cast());
        self.submit_names(entry, name).await
    }

    /// `entry` points into `names`.
    async fn submit_names(&self, entry: squeue::Entry, names: Vec<u8>) -> io::Result<()> {
        let request = Request {
            entry,
            buf: names.into(),
            descriptor: None,
            opens: false,
        };
        let (result, _) = self.core.submit(request).await;
        result.map(drop)
    }
}

fn c_path(path: &Path) -> io::Result<Vec<u8>> {
    Ok(CString::new(path.as_os_str().as_bytes())?.into_bytes_with_nul())
}
