//! Names and lengths. Their system calls block when the journal of the file system is full or the disk stalls, so the ring's
//! thread makes none of them: the kernel's workers do, or a thread of its own where io_uring lacks the call.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use super::descriptor::Descriptor;
use super::file::RingFile;
use super::lock::{self, RingLock};
use super::off_thread::off_thread;
use super::op::Request;
use super::{LogRegistration, Ring};
use crate::io::{DirEntry, Disk, OpenOptions, Space};
use crate::mem::LogBuffer;

const AT_CWD: types::Fd = types::Fd(libc::AT_FDCWD);
const FILE_MODE: libc::mode_t = 0o644;
const DIR_MODE: libc::mode_t = 0o777;

impl Disk for Ring {
    type File = RingFile;
    type Lock = RingLock;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<RingFile> {
        let opened = self.open_fd(path, open_flags(options)).await;
        let fd = opened.map_err(|error| cannot_open(path, options, error))?;
        Ok(RingFile {
            core: self.core.clone(),
            descriptor: Descriptor::file(&self.core, fd),
        })
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = dir.to_owned();
        off_thread(&self.core, "list", move || list(&dir)).await
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        let made = self.name_op(dir, |name| {
            opcode::MkDirAt::new(AT_CWD, name).mode(DIR_MODE).build()
        });
        match made.await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let opened = self.open_fd(dir, libc::O_PATH | libc::O_DIRECTORY).await;
                is_there(error, opened.err())
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
        off_thread(&self.core, "syncfs", move || sync_all_below(&tree, &dir)).await
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<RingLock> {
        lock::lock_file(&self.core, path, text)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<RingLock> {
        lock::lock_dir(&self.core, dir)
    }

    async fn space(&self, dir: &Path) -> io::Result<Space> {
        let dir = dir.to_owned();
        off_thread(&self.core, "statvfs", move || space(&dir)).await
    }

    fn register(&self, buffer: &LogBuffer) -> bool {
        let registration = self.core.register(buffer);
        let registered = matches!(registration, LogRegistration::Registered { .. });
        self.core.capabilities.borrow_mut().log_buffer = registration;
        registered
    }
}

impl Ring {
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

fn list(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let found = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let mut entries = Vec::new();
    for entry in found {
        let path = entry?.path();
        let metadata = fs::metadata(&path)?;
        entries.push(DirEntry {
            is_dir: metadata.is_dir(),
            len_bytes: metadata.len(),
            path,
        });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn space(dir: &Path) -> io::Result<Space> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: a C string and room for the result, both of which outlive the call.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled in, as the call has succeeded.
    let stat = unsafe { stat.assume_init() };
    let reserved_blocks = stat.f_bfree - stat.f_bavail;
    Ok(Space {
        total_bytes: (stat.f_blocks - reserved_blocks) * stat.f_frsize,
        available_bytes: stat.f_bavail * stat.f_frsize,
    })
}

fn open_flags(options: OpenOptions) -> i32 {
    let mut flags = if options.write {
        libc::O_RDWR
    } else {
        libc::O_RDONLY
    };
    if options.create {
        flags |= libc::O_CREAT;
    }
    if options.direct {
        flags |= libc::O_DIRECT;
    }
    flags
}

/// Whether the name that is there already is a directory's, by how its open ended. One that could not be opened for want of a descriptor may be.
fn is_there(made: io::Error, opened: Option<io::Error>) -> io::Result<bool> {
    match opened {
        None => Ok(false),
        Some(error) if error.raw_os_error() == Some(libc::ENOTDIR) => Err(made),
        Some(error) => Err(error),
    }
}

/// The error with its number, which decides what follows from it: a lack of descriptors is no failure of the device.
fn cannot_open(path: &Path, options: OpenOptions, error: io::Error) -> io::Error {
    if options.direct && error.raw_os_error() == Some(libc::EINVAL) {
        let path = path.display();
        return io::Error::new(
            io::ErrorKind::Unsupported,
            format!("cannot open {path}: its file system has no O_DIRECT; ext4 and XFS have"),
        );
    }
    error
}

fn sync_all_below(dir: &fs::File, path: &Path) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `dir` is, and the buffer is one that `fstatfs` fills.
    let (got, file_system) = unsafe {
        let mut file_system: libc::statfs = std::mem::zeroed();
        (
            libc::fstatfs(dir.as_raw_fd(), &raw mut file_system),
            file_system,
        )
    };
    // For a file system in user space `syncfs` returns success without reaching it.
    if got == 0 && file_system.f_type == libc::FUSE_SUPER_MAGIC {
        return sync_each_below(path);
    }
    // SAFETY: as above.
    match unsafe { libc::syncfs(dir.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn sync_each_below(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_each_below(&entry.path())?,
            // A file that was removed meanwhile needs no sync.
            false => match fs::File::open(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => file?.sync_all()?,
            },
        }
    }
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_descriptor_it_is_not_said_that_a_directory_is_a_file() {
        let of = |errno| {
            let made = io::Error::from_raw_os_error(libc::EEXIST);
            let opened = Some(io::Error::from_raw_os_error(errno));
            is_there(made, opened).unwrap_err().raw_os_error()
        };
        assert_eq!(of(libc::EMFILE), Some(libc::EMFILE));
        assert_eq!(of(libc::ENFILE), Some(libc::ENFILE));
        assert_eq!(of(libc::ENOTDIR), Some(libc::EEXIST));
    }
}
