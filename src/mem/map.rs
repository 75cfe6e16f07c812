//! A mapping of memory, unmapped when dropped.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

#[derive(Debug)]
pub(super) struct Map {
    base: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: it is a range of addresses that stays mapped until it is dropped, on whichever thread. Whoever touches the bytes through
// `base` says why he may.
unsafe impl Send for Map {}
// SAFETY: as above; its own fields do not change.
unsafe impl Sync for Map {}

impl Map {
    /// Private zeros, one page at a time on first touch.
    pub(super) fn anonymous(len_bytes: usize, extra_flags: libc::c_int) -> io::Result<Map> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | extra_flags;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no existing one.
        let base = unsafe { libc::mmap(ptr::null_mut(), len_bytes, PROT, flags, -1, 0) };
        Map::from_mmap(base, len_bytes)
    }

    /// The first `len_bytes` of the file, twice, back to back.
    pub(super) fn mirrored(fd: BorrowedFd<'_>, len_bytes: usize) -> io::Result<Map> {
        let map = Map::anonymous(2 * len_bytes, libc::MAP_NORESERVE)?;
        for half in 0..2 {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            // SAFETY: replaces one half of the mapping just made, into which no reference exists yet.
            let base = unsafe {
                let at = map.base.as_ptr().add(half * len_bytes).cast();
                libc::mmap(at, len_bytes, PROT, flags, fd.as_raw_fd(), 0)
            };
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(map)
    }

    /// Asks for huge pages. `Ok` only says that the kernel has taken note.
    pub(super) fn advise_huge(&self) -> io::Result<()> {
        // SAFETY: this advice changes the size of pages, never their contents.
        let result = unsafe {
            libc::madvise(
                self.base.as_ptr().cast(),
                self.len_bytes,
                libc::MADV_HUGEPAGE,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn from_mmap(base: *mut libc::c_void, len_bytes: usize) -> io::Result<Map> {
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("mmap does not map page 0 unasked");
        Ok(Map { base, len_bytes })
    }
}

const PROT: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this range belongs to this `Map` alone, and every reference into it borrows from the `Map` or from its owner.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len_bytes) };
    }
}
