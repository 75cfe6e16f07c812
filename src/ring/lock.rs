//! Locks of a store. Each stays in the ring's table of files until the kernel has ended the last request of the ring: a write
//! that is in flight when the process is killed reaches the disk after the kernel has closed the process's descriptors, and
//! until then the next process must not append at that place.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::rc::Rc;

use super::core::Core;
use super::descriptor::Descriptor;

/// Held until it is dropped; after a kill, until the ring's last request has ended.
pub struct RingLock {
    _descriptor: Rc<Descriptor>,
}

#[cfg(test)]
impl RingLock {
    pub(super) fn number(&self) -> std::os::fd::RawFd {
        self._descriptor.fd().as_raw_fd()
    }
}

pub(super) fn lock_file(core: &Rc<Core>, path: &Path, text: &str) -> io::Result<RingLock> {
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
    Ok(RingLock {
        _descriptor: Descriptor::new(core, file.into()),
    })
}

/// A lock on the directory itself (`flock`): a file in it could keep RocketMQ from starting on it.
pub(super) fn lock_dir(core: &Rc<Core>, dir: &Path) -> io::Result<RingLock> {
    let dir = fs::File::open(dir)?;
    // SAFETY: an open descriptor; no memory is involved.
    if unsafe { libc::flock(dir.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(RingLock {
        _descriptor: Descriptor::new(core, dir.into()),
    })
}

/// The lock that RocketMQ takes (`DefaultMessageStore.start`), which is not a `flock`. It is a lock of the open file, so that
/// other rings of this process cannot take it either.
fn lock_first_byte(file: &fs::File) -> io::Result<()> {
    match first_byte(file, libc::F_OFD_SETLK) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error),
    }
}

/// Whether a process holds that lock, RocketMQ's or a ringmq.
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
