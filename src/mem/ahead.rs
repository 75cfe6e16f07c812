//! Huge pages that are touched ahead of their first use, on a thread of their own.
//!
//! At the first touch of a huge page the kernel finds and clears 2 MiB, and in a virtual machine the host does the same for the guest's
//! memory. That took 0.3 ms where the guest had used the memory before, and 30 to 400 ms where it had not. The thread that answers messages
//! must not wait for it.

use std::io;
use std::mem;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

/// Memory that is kept touched beyond what is in use.
pub(super) const AHEAD_BYTES: usize = 8 << 20;

/// Bytes that are asked for together: a huge page.
pub(super) const STEP_BYTES: usize = 2 << 20;

/// How far the memory is to be touched.
#[derive(Debug)]
pub(super) struct Mark {
    total_bytes: usize,
    asked_bytes: usize,
}

impl Mark {
    pub(super) fn new(total_bytes: usize) -> Self {
        Mark {
            total_bytes,
            asked_bytes: 0,
        }
    }

    /// With so much in use: what is to be touched now, if anything.
    #[inline]
    pub(super) fn next(&mut self, used_bytes: usize) -> Option<Range<usize>> {
        let wanted = used_bytes.saturating_add(AHEAD_BYTES).min(self.total_bytes);
        if wanted <= self.asked_bytes {
            return None;
        }
        let end = wanted
            .next_multiple_of(STEP_BYTES)
            .min(self.total_bytes.next_multiple_of(STEP_BYTES));
        let range = self.asked_bytes..end;
        self.asked_bytes = end;
        Some(range)
    }
}

/// The thread that touches. It ends when this is dropped, which waits for it.
pub(super) struct Toucher {
    ranges: Option<Sender<Range<usize>>>,
    thread: Option<JoinHandle<()>>,
}

impl Toucher {
    /// # Safety
    ///
    /// All ranges that are passed to [`Self::touch`] are mapped from `base` on, until the toucher has been dropped.
    pub(super) unsafe fn start(base: NonNull<u8>) -> io::Result<Toucher> {
        let (ranges, received) = mpsc::channel();
        let base = base.as_ptr().expose_provenance();
        let touch = move || touch_all(base, &received);
        let thread = thread::Builder::new().name("touch-memory".into());
        Ok(Toucher {
            ranges: Some(ranges),
            thread: Some(thread.spawn(touch)?),
        })
    }

    /// Bytes from the base on.
    pub(super) fn touch(&self, range: Range<usize>) {
        if let Some(ranges) = &self.ranges {
            // An error means that the thread has ended: the memory is touched at its first use.
            let _ = ranges.send(range);
        }
    }
}

impl Drop for Toucher {
    fn drop(&mut self) {
        self.ranges.take();
        if let Some(thread) = self.thread.take() {
            // It has panicked, or it has ended: it touches nothing any more.
            let _ = thread.join();
        }
    }
}

/// The thread is started by one that is pinned to a core, and inherits that. While the host makes a page, the virtual core is halted:
/// it must not be that one. The main thread has the cores that the process was given.
fn leave_the_core() {
    // SAFETY: the set consists of integers, for which zeros are valid.
    let mut cores: libc::cpu_set_t = unsafe { mem::zeroed() };
    let len = mem::size_of_val(&cores);
    // SAFETY: `cores` is valid for reading and writing `len` bytes. After an error the thread stays where it is.
    unsafe {
        if libc::sched_getaffinity(libc::getpid(), len, &mut cores) == 0 {
            libc::sched_setaffinity(0, len, &cores);
        }
    }
}

fn touch_all(base: usize, ranges: &Receiver<Range<usize>>) {
    leave_the_core();
    for range in ranges {
        for at in range.step_by(STEP_BYTES) {
            let at = ptr::without_provenance_mut::<libc::c_void>(base + at);
            // An error (a kernel before 5.14, no memory) means that the memory is touched at its first use.
            //
            // SAFETY: the range is mapped (see `start`), and populating it changes no byte of it.
            unsafe { libc::madvise(at, STEP_BYTES, libc::MADV_POPULATE_WRITE) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_asked_for_once_ahead_of_its_use_and_not_beyond_the_end() {
        let total = 5 * AHEAD_BYTES;
        let mut mark = Mark::new(total);
        assert_eq!(mark.next(0), Some(0..AHEAD_BYTES));
        assert_eq!(mark.next(0), None);
        let mut asked = AHEAD_BYTES;
        for used in (0..total).step_by(1280) {
            if let Some(range) = mark.next(used) {
                assert_eq!((range.start, range.end), (asked, asked + STEP_BYTES));
                asked = range.end;
            }
            assert!(asked >= (used + AHEAD_BYTES).min(total));
        }
        assert_eq!(asked, total);
    }
}
