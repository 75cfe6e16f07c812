//! Files. Reading, writing and flushing are the ring's; what happens once a gigabyte or less often (names, lengths)
//! is an ordinary system call that holds up the thread for microseconds.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::thread;

use io_uring::{opcode, squeue, types};

use super::Ring;
use super::core::Core;
use super::desc::{Desc, entry};
use super::facilities::LogRegistration;
use super::op::Request;
use super::queues::REGISTERED_BUFFERS;
use crate::io::{DirEntry, Disk, Durability, File, OpenOptions, Space};
use crate::mem::{AlignedBuf, BLOCK_BYTES, Buf, IoBuf, LogBuffer};

/// More than the kernel moves in one go (2 GiB - 4096); aligned, so that what is left stays so.
const MAX_TRANSFER_BYTES: usize = 1 << 30;
/// What a thread says of its system call.
const ERRNO_BYTES: usize = size_of::<i32>();

const FILE_MODE: libc::mode_t = 0o644;

impl Disk for Ring {
    type File = RingFile;
    type Lock = fs::File;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<RingFile> {
        let name = CString::new(path.as_os_str().as_bytes())?.into_bytes_with_nul();
        let at_cwd = types::Fd(libc::AT_FDCWD);
        let request = Request {
            entry: opcode::OpenAt::new(at_cwd, name.as_ptr().cast())
                .flags(open_flags(options))
                .mode(FILE_MODE)
                .build(),
            buf: name.into(),
            desc: None,
            opens: true,
        };
        let (result, _) = self.core.submit(request).await;
        let fd = result.map_err(|error| cannot_open(path, options, &error))?;
        // SAFETY: the kernel has just opened it for us, and nobody else was told.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(RingFile {
            core: self.core.clone(),
            desc: Desc::new(&self.core, fd),
        })
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
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

    async fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(false),
            made => made.map(|()| true),
        }
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let desc = Desc::plain(&self.core, fs::File::open(dir)?.into());
        let entry = opcode::Fsync::new(desc.raw()).build();
        let (result, _) = self.core.submit(Request::new(entry, &desc)).await;
        result.map(drop)
    }

    /// `syncfs`, which io_uring does not have: a thread of its own calls it and says so through a pipe.
    async fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        let (path, dir) = (dir.to_owned(), fs::File::open(dir)?);
        let (answer, mut teller) = io::pipe()?;
        let call = move || {
            let errno = match sync_all_below(&path, &dir) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            };
            // Nobody listens any more if the ring has ended.
            let _ = teller.write_all(&errno.to_ne_bytes());
        };
        thread::Builder::new().name("syncfs".into()).spawn(call)?;
        let desc = Desc::plain(&self.core, answer.into());
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        let entry = opcode::Read::new(desc.raw(), buf.as_mut_ptr(), ERRNO_BYTES as u32)
            .offset(u64::MAX)
            .build();
        let request = Request::new(entry, &desc).with_buf(buf.into());
        let (result, buf) = self.core.submit(request).await;
        let read = result? as usize;
        let errno = own::<AlignedBuf>(buf).first_chunk().copied();
        match errno
            .filter(|_| read == ERRNO_BYTES)
            .map(i32::from_ne_bytes)
        {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<fs::File> {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        lock_first_byte(&file)?;
        file.set_len(0)?;
        match file.write_all(text.as_bytes()) {
            // It is held all the same.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            written => written?,
        }
        Ok(file)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let path = CString::new(dir.as_os_str().as_bytes())?;
        let mut stat = MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: a C string and room for the answer, both of which outlive the call.
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

    fn register(&self, buffer: &LogBuffer) -> bool {
        let registration = self.core.register(buffer);
        let registered = matches!(registration, LogRegistration::Registered { .. });
        self.core.facilities.borrow_mut().log_buffer = registration;
        registered
    }
}

/// The lock that RocketMQ takes (`DefaultMessageStore.start`), which knows nothing of `flock`. As one of an open file it is also
/// kept from other rings of this process.
fn lock_first_byte(file: &fs::File) -> io::Result<()> {
    match first_byte(file, libc::F_OFD_SETLK) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error),
    }
}

/// Whether somebody holds that lock, RocketMQ or we.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let lock = first_byte(&fs::File::open(path)?, libc::F_OFD_GETLK)?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

fn first_byte(file: &fs::File, command: libc::c_int) -> io::Result<libc::flock> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: an open file, and a value that outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) } == 0 {
        return Ok(lock);
    }
    Err(io::Error::last_os_error())
}

#[derive(Clone)]
pub struct RingFile {
    core: Rc<Core>,
    desc: Rc<Desc>,
}

impl File for RingFile {
    async fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.std_file()?.metadata()?.len())
    }

    async fn read_at(
        &self,
        mut buf: AlignedBuf,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, AlignedBuf) {
        assert!(len <= buf.len(), "{len} bytes into {}", buf.len());
        let mut done = 0;
        while done < len {
            let part = (len - done).min(MAX_TRANSFER_BYTES) as u32;
            let at = buf[done..].as_mut_ptr();
            let entry = entry!(self.desc, |fd| opcode::Read::new(fd, at, part)
                .offset(offset + done as u64)
                .build());
            let (result, back) = self.transfer(entry, buf).await;
            buf = back;
            match result {
                Ok(0) => break,
                Ok(read) => done += read as usize,
                Err(error) => return (Err(error), buf),
            }
            if !done.is_multiple_of(BLOCK_BYTES) {
                // Only the end of the file is ragged; and O_DIRECT does not read on from here.
                break;
            }
        }
        (Ok(done), buf)
    }

    async fn write_at<B: IoBuf>(
        &self,
        buf: B,
        offset: u64,
        durability: Durability,
    ) -> (io::Result<()>, B) {
        let flags = match durability {
            Durability::Written => 0,
            Durability::Synced => libc::RWF_DSYNC,
        };
        let mut buf: Buf = buf.into();
        let mut done = 0;
        let result = loop {
            if done == buf.len() {
                break Ok(());
            }
            let entry = self.write_entry(&buf, done, offset, flags);
            let (result, back) = self.transfer_any(entry, buf).await;
            buf = back;
            match result {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written as usize,
                Err(error) => break Err(error),
            }
        };
        (result, own(buf))
    }

    async fn sync_data(&self) -> io::Result<()> {
        let flags = types::FsyncFlags::DATASYNC;
        let entry = entry!(self.desc, |fd| opcode::Fsync::new(fd).flags(flags).build());
        let (result, _) = self.transfer_any(entry, Buf::Empty).await;
        result.map(drop)
    }

    async fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        let entry = entry!(self.desc, |fd| opcode::Fallocate::new(fd, len_bytes)
            .build());
        let (result, _) = self.transfer_any(entry, Buf::Empty).await;
        result.map(drop)
    }

    async fn resize(&self, len_bytes: u64) -> io::Result<()> {
        self.std_file()?.set_len(len_bytes)
    }
}

impl RingFile {
    fn write_entry(&self, buf: &Buf, done: usize, offset: u64, flags: i32) -> squeue::Entry {
        let len = (buf.len() - done).min(MAX_TRANSFER_BYTES) as u32;
        let offset = offset + done as u64;
        // Within the buffer, as `done` is below its length.
        let at = buf.as_ptr().wrapping_add(done);
        let registered = match buf {
            Buf::Log(slice) => slice.registered(),
            _ => None,
        };
        match registered {
            Some(index) => entry!(self.desc, |fd| opcode::WriteFixed::new(fd, at, len, index)
                .offset(offset)
                .rw_flags(flags)
                .build()),
            None => entry!(self.desc, |fd| opcode::Write::new(fd, at, len)
                .offset(offset)
                .rw_flags(flags)
                .build()),
        }
    }

    async fn transfer<B: IoBuf>(&self, entry: squeue::Entry, buf: B) -> (io::Result<u32>, B) {
        let (result, buf) = self.transfer_any(entry, buf.into()).await;
        (result, own(buf))
    }

    async fn transfer_any(&self, entry: squeue::Entry, buf: Buf) -> (io::Result<u32>, Buf) {
        let request = Request::new(entry, &self.desc).with_buf(buf);
        self.core.submit(request).await
    }

    /// For std's calls on the same open file.
    fn std_file(&self) -> io::Result<fs::File> {
        Ok(self.desc.fd().try_clone()?.into())
    }
}

impl Core {
    fn register(&self, buffer: &LogBuffer) -> LogRegistration {
        let capacity_bytes = buffer.capacity_bytes();
        let whole = buffer.slice(0, capacity_bytes);
        let mut registered = self.registered.borrow_mut();
        if whole.registered().is_some() {
            let ours = registered.iter().any(|one| one.as_ptr() == whole.as_ptr());
            return match ours {
                true => LogRegistration::Registered { capacity_bytes },
                false => LogRegistration::Refused("it belongs to another ring".into()),
            };
        }
        let index = registered.len() as u32;
        if index >= REGISTERED_BUFFERS {
            return LogRegistration::Refused(format!("{index} buffers are registered already"));
        }
        let memory = libc::iovec {
            iov_base: whole.as_ptr().cast_mut().cast(),
            iov_len: capacity_bytes,
        };
        let queues = self.queues.borrow();
        let submitter = queues.uring().submitter();
        // SAFETY: `registered` keeps the memory mapped for as long as the ring lives.
        match unsafe { submitter.register_buffers_update(index, &[memory], None) } {
            Ok(()) => {
                whole.mark_registered(Some(index as u16));
                registered.push(whole);
                LogRegistration::Registered { capacity_bytes }
            }
            Err(error) => LogRegistration::Refused(error.to_string()),
        }
    }
}

fn own<B: IoBuf>(buf: Buf) -> B {
    B::try_from(buf).unwrap_or_else(|wrong| unreachable!("an operation gave back {:?}", wrong.0))
}

fn open_flags(options: OpenOptions) -> i32 {
    let mut flags = libc::O_CLOEXEC;
    flags |= if options.write {
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

fn cannot_open(path: &Path, options: OpenOptions, error: &io::Error) -> io::Error {
    let path = path.display();
    if options.direct && error.raw_os_error() == Some(libc::EINVAL) {
        return io::Error::new(
            io::ErrorKind::Unsupported,
            format!("cannot open {path}: its file system has no O_DIRECT; ext4 and XFS have"),
        );
    }
    io::Error::new(error.kind(), format!("cannot open {path}: {error}"))
}

fn sync_all_below(path: &Path, dir: &fs::File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `dir` is, and the buffer is one that `fstatfs` fills.
    let (got, file_system) = unsafe {
        let mut file_system: libc::statfs = std::mem::zeroed();
        (
            libc::fstatfs(dir.as_raw_fd(), &raw mut file_system),
            file_system,
        )
    };
    // To a file system in user space the kernel does not pass it on, and calls it done.
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
            // What is gone meanwhile need not be kept.
            false => match fs::File::open(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => file?.sync_all()?,
            },
        }
    }
    fs::File::open(dir)?.sync_all()
}
