//! What a thread of the pool is asked to do, and how it does it.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::io::Durability;
use crate::mem::{AlignedBuf, BLOCK_BYTES, ThreadBuf};

/// The frequent ones allocate nothing.
pub(super) enum Work {
    Read {
        file: Arc<OwnedFd>,
        buf: AlignedBuf,
        len: usize,
        offset: u64,
    },
    Write {
        file: Arc<OwnedFd>,
        buf: ThreadBuf,
        offset: u64,
        durability: Durability,
    },
    Call(Box<dyn FnOnce() -> io::Result<Answer> + Send>),
    /// The last `close` of a removed file frees its blocks, and with `discard` waits for the device, 0.4 s for a GiB and more.
    Close(Arc<OwnedFd>),
}

/// What a [`Work::Call`] returns.
pub(super) type Answer = Box<dyn Any + Send>;

/// How it ended.
pub(super) struct Outcome {
    /// Bytes that were transferred.
    pub(super) result: io::Result<usize>,
    pub(super) buf: ThreadBuf,
    pub(super) answer: Option<Answer>,
}

impl Work {
    /// It was not begun.
    pub(super) fn cancelled(self) -> Outcome {
        let buf = match self {
            Work::Read { buf, .. } => ThreadBuf::Aligned(buf),
            Work::Write { buf, .. } => buf,
            Work::Call(_) | Work::Close(_) => ThreadBuf::Empty,
        };
        Outcome {
            result: Err(io::Error::from_raw_os_error(libc::ECANCELED)),
            buf,
            answer: None,
        }
    }

    /// On a thread that may block. Every file is given back before the outcome is, so that this thread does not close it later than
    /// its owner.
    pub(super) fn run(self) -> Outcome {
        match self {
            Work::Read {
                file,
                mut buf,
                len,
                offset,
            } => {
                let result = read(file.as_fd(), &mut buf[..len], offset);
                drop(file);
                Outcome {
                    result,
                    buf: ThreadBuf::Aligned(buf),
                    answer: None,
                }
            }
            Work::Write {
                file,
                buf,
                offset,
                durability,
            } => {
                let result = write(file.as_fd(), &buf, offset, durability);
                drop(file);
                Outcome {
                    result,
                    buf,
                    answer: None,
                }
            }
            Work::Call(call) => {
                let answered = catch_unwind(AssertUnwindSafe(call));
                let panicked = |_| Err(io::Error::other("a system call's thread has panicked"));
                let (result, answer) = match answered.unwrap_or_else(panicked) {
                    Ok(answer) => (Ok(0), Some(answer)),
                    Err(error) => (Err(error), None),
                };
                Outcome {
                    result,
                    buf: ThreadBuf::Empty,
                    answer,
                }
            }
            Work::Close(file) => {
                drop(file);
                Outcome {
                    result: Ok(0),
                    buf: ThreadBuf::Empty,
                    answer: None,
                }
            }
        }
    }
}

fn read(file: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match rustix::io::pread(file, &mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !done.is_multiple_of(BLOCK_BYTES) {
            // A short read that ends within a block is the end of the file. O_DIRECT cannot continue from here.
            break;
        }
    }
    Ok(done)
}

/// The kernel or the file system has no `RWF_DSYNC`: a write and a flush take its place.
static LACKS_DSYNC: AtomicBool = AtomicBool::new(false);

fn write(
    file: BorrowedFd<'_>,
    buf: &ThreadBuf,
    offset: u64,
    durability: Durability,
) -> io::Result<usize> {
    let is_synced = durability == Durability::Synced;
    let mut with_flag = is_synced && !LACKS_DSYNC.load(Ordering::Relaxed);
    let mut done = 0;
    while done < buf.len() {
        match buf.write(file, done, offset + done as u64, with_flag) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if with_flag && is_unsupported(&error) => {
                LACKS_DSYNC.store(true, Ordering::Relaxed);
                with_flag = false;
            }
            Err(error) => return Err(error),
        }
    }
    if is_synced && !with_flag {
        rustix::fs::fdatasync(file)?;
    }
    Ok(done)
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP))
}
