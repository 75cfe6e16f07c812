//! Locks of a store. Each is a lock of the open file, so that other threads of this process cannot take it either, and lasts as long as
//! any descriptor of that file: how long that is after a kill is for each implementation to see to.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Locks the file, made with this text. `ErrorKind::WouldBlock` if another one holds it.
pub fn lock_file(path: &Path, text: &str) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    lock_first_byte(&file)?;
    file.set_len(0)?;
    match file.write_all(text.as_bytes()) {
        // The lock is held also without the text.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
        written => written?,
    }
    Ok(file)
}

/// A lock on the directory itself (`flock`): a file in it could keep RocketMQ from starting on it.
pub fn lock_dir(dir: &Path) -> io::Result<fs::File> {
    let dir = fs::File::open(dir)?;
    flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
    Ok(dir)
}

/// Whether a process holds a lock as [`lock_file`] takes it, RocketMQ's or a ringmq.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let lock = first_byte(&fs::File::open(path)?, libc::F_OFD_GETLK)?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

/// The lock that RocketMQ takes (`DefaultMessageStore.start`), which is not a `flock`.
fn lock_first_byte(file: &fs::File) -> io::Result<()> {
    match first_byte(file, libc::F_OFD_SETLK) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error),
    }
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
