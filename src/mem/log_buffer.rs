//! The shard's log buffer: the recent log, at a place where the CPU, the disk and the readers all find it.
//!
//! The byte of log position `p` lives at `p % capacity`. The memory is one file (memfd) mapped twice, back to back, so
//! that a record that runs over the end is still contiguous:
//!
//! ```text
//! address    base              base + capacity       base + 2 * capacity
//!            |  file 0..capacity  |  the same bytes again  |
//! record                      [==========]     <- position % capacity .. + len, in one slice
//! ```
//!
//! While the kernel writes a [`LogSlice`] to the disk the broker may append behind it, even in the same block: the bytes
//! that were sealed do not change, and the next write decides what the device has of the others.
//!
//! So the last block of a write may change while the device reads it. On ext4 and XFS, which are what this broker supports,
//! nothing computes a checksum over a block in flight. ZFS with direct I/O, btrfs before Linux 6.14 and devices with
//! protection information (T10 PI) do: there a write may fail or leave a block that cannot be read. A private copy of the
//! last block would avoid that. It is not made: a log write would need two buffers, one of them not registered with the
//! ring, and each commit would pay for file systems on which the store is not supported.

use std::cell::Cell;
use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};

use super::BLOCK_BYTES;
use super::map::Map;

pub struct LogBuffer {
    shared: Rc<Shared>,
}

struct Shared {
    /// Also a [`LogView`]'s, on another thread.
    map: Arc<Map>,
    file: File,
    capacity_bytes: usize,
    /// Index in the ring's table of registered buffers.
    registered: Cell<Option<u16>>,
}

impl LogBuffer {
    /// `capacity_bytes` zeros; a multiple of [`BLOCK_BYTES`], not 0.
    pub fn new(capacity_bytes: usize) -> io::Result<LogBuffer> {
        assert!(
            capacity_bytes > 0 && capacity_bytes.is_multiple_of(BLOCK_BYTES),
            "log buffer of {capacity_bytes} bytes: not a multiple of {BLOCK_BYTES}"
        );
        let file = memory_file(c"ringmq-log")?;
        file.set_len(capacity_bytes as u64)?;
        let map = Arc::new(Map::mirrored(file.as_fd(), capacity_bytes)?);
        // Shared memory has huge pages only where the administrator allows it; without them all works the same.
        let _ = map.advise_huge();
        let shared = Rc::new(Shared {
            map,
            file,
            capacity_bytes,
            registered: Cell::new(None),
        });
        Ok(LogBuffer { shared })
    }

    /// The buffer of which this slice is the last part that anybody has, with what it held; `None` if there are others.
    pub(crate) fn unused(last: &LogSlice) -> Option<LogBuffer> {
        last.is_alone().then(|| LogBuffer {
            shared: last.shared.clone(),
        })
    }

    pub fn capacity_bytes(&self) -> usize {
        self.shared.capacity_bytes
    }

    /// Whether the kernel writes from it without looking its pages up.
    pub fn is_registered(&self) -> bool {
        self.shared.registered.get().is_some()
    }

    /// `len` bytes at a log position, `len <= capacity`. That they are still those of this position is for the caller
    /// to know.
    pub fn read(&self, position: u64, len: usize) -> &[u8] {
        let at = self.shared.address(position, len);
        // SAFETY: `address` has checked the range, the bytes are initialised (a new file reads as zeros), and code that
        // writes to them holds `&mut self`.
        unsafe { slice::from_raw_parts(at, len) }
    }

    pub fn write(&mut self, position: u64, len: usize) -> &mut [u8] {
        let at = self.shared.address(position, len);
        // SAFETY: as in `read`; `&mut self` excludes other references, and `len <= capacity` that the slice holds
        // the same byte twice. A `LogSlice` gives no references, only the kernel reads through it.
        unsafe { slice::from_raw_parts_mut(at, len) }
    }

    pub fn zero(&mut self, position: u64, len: usize) {
        self.write(position, len).fill(0);
    }

    /// For the kernel. Must not run over the end of the buffer, as only the first mapping is registered.
    pub fn slice(&self, position: u64, len: usize) -> LogSlice {
        let start = self.shared.index(position);
        assert!(
            start + len <= self.capacity_bytes(),
            "slice of {len} bytes at {position} runs over the end of a log buffer of {} bytes",
            self.capacity_bytes()
        );
        LogSlice {
            shared: self.shared.clone(),
            start,
            len,
        }
    }
}

/// A part of the log buffer on its way to the kernel. Keeps the memory alive.
pub struct LogSlice {
    shared: Rc<Shared>,
    start: usize,
    len: usize,
}

#[allow(clippy::len_without_is_empty)] // no write is empty
impl LogSlice {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies what the device would get now into the start of `dst`. It goes through the kernel (a `pread` of the
    /// memory file), as a reference of ours could overlap with one that `LogBuffer::write` has lent.
    pub fn copy_to(&self, dst: &mut [u8]) {
        self.shared
            .file
            .read_exact_at(&mut dst[..self.len], self.start as u64)
            .expect("a memory file reads to its end");
    }

    /// The same bytes for another thread.
    pub(super) fn view(&self) -> LogView {
        LogView {
            map: self.shared.map.clone(),
            start: self.start,
            len: self.len,
        }
    }

    /// Whether nothing else has the memory: neither the buffer nor another slice of it.
    pub(crate) fn is_alone(&self) -> bool {
        Rc::strong_count(&self.shared) == 1
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.shared.address(self.start as u64, self.len)
    }

    /// Where the ring has registered the whole buffer, if it has.
    pub(crate) fn registered(&self) -> Option<u16> {
        self.shared.registered.get()
    }

    pub(crate) fn mark_registered(&self, index: Option<u16>) {
        self.shared.registered.set(index);
    }
}

/// The bytes of a [`LogSlice`] on another thread, where they stay mapped. There is no reference to them: the log buffer's owner may write behind
/// them meanwhile, even in the same block. Only the kernel reads them.
#[derive(Debug)]
pub struct LogView {
    map: Arc<Map>,
    start: usize,
    len: usize,
}

#[allow(clippy::len_without_is_empty)] // no write is empty
impl LogView {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Of as many bytes as [`LogView::len`] says: they were checked when the slice was made.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.map.base().as_ptr().wrapping_add(self.start)
    }
}

impl Shared {
    fn index(&self, position: u64) -> usize {
        (position % self.capacity_bytes as u64) as usize
    }

    fn address(&self, position: u64, len: usize) -> *mut u8 {
        assert!(
            len <= self.capacity_bytes,
            "{len} bytes of a log buffer of {}",
            self.capacity_bytes
        );
        // Two addresses are one byte here, which the compiler does not know: it may move an access through one of them
        // over an access through the other. It does not move accesses over this line.
        compiler_fence(Ordering::SeqCst);
        // SAFETY: index < capacity and len <= capacity, so this stays within the 2 * capacity bytes mapped.
        unsafe { self.map.base().as_ptr().add(self.index(position)) }
    }
}

impl fmt::Debug for LogSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogSlice({} bytes at {})", self.len, self.start)
    }
}

fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: a C string that lives as long as the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nothing else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_over_the_end_is_contiguous() {
        let mut log = LogBuffer::new(2 * BLOCK_BYTES).unwrap();
        let record: Vec<u8> = (0..100).collect();
        let position = 5 * 8192 - 40;
        log.write(position, 100).copy_from_slice(&record);
        assert_eq!(log.read(position, 100), &record[..]);
        assert_eq!(log.read(5 * 8192, 60), &record[40..]);
        assert_eq!(log.read(0, 60), &record[40..]);
        log.zero(0, 60);
        assert_eq!(log.read(position, 40), &record[..40]);
        assert!(log.read(position + 40, 60).iter().all(|&b| b == 0));
    }

    #[test]
    fn a_slice_outlives_its_buffer() {
        let mut log = LogBuffer::new(BLOCK_BYTES).unwrap();
        log.write(0, BLOCK_BYTES).fill(9);
        let slice = log.slice(BLOCK_BYTES as u64 * 7, BLOCK_BYTES);
        drop(log);
        let mut copy = [0; BLOCK_BYTES];
        slice.copy_to(&mut copy);
        assert_eq!(copy, [9; BLOCK_BYTES]);
        assert!(slice.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
    }

    #[test]
    fn a_buffer_is_used_again_when_nobody_has_it() {
        let mut log = LogBuffer::new(BLOCK_BYTES).unwrap();
        log.write(7, 1).fill(9);
        let (kept, other) = (log.slice(0, BLOCK_BYTES), log.slice(0, 1));
        assert!(LogBuffer::unused(&kept).is_none(), "its owner has it");
        drop(log);
        assert!(LogBuffer::unused(&kept).is_none(), "a write is under way");
        drop(other);
        let again = LogBuffer::unused(&kept).unwrap();
        assert_eq!(again.read(7, 1), [9]);
        assert!(LogBuffer::unused(&kept).is_none(), "one owner at a time");
    }

    #[test]
    #[should_panic(expected = "runs over the end")]
    fn a_slice_does_not_wrap() {
        let log = LogBuffer::new(2 * BLOCK_BYTES).unwrap();
        log.slice(BLOCK_BYTES as u64, 2 * BLOCK_BYTES);
    }

    #[test]
    #[should_panic(expected = "of a log buffer of")]
    fn a_range_is_no_longer_than_the_buffer() {
        let log = LogBuffer::new(BLOCK_BYTES).unwrap();
        log.read(0, BLOCK_BYTES + 1);
    }

    proptest! {
        /// Against the model: byte `p` is at `p % capacity` of a plain array.
        #[test]
        fn is_an_array_modulo_its_capacity(writes in prop::collection::vec((0u64..1 << 40, 0usize..8193, any::<u8>()), 1..40)) {
            let capacity = 2 * BLOCK_BYTES;
            let mut log = LogBuffer::new(capacity).unwrap();
            let mut model = vec![0u8; capacity];
            for (position, len, fill) in writes {
                let len = len.min(capacity);
                log.write(position, len).fill(fill);
                for i in 0..len as u64 {
                    model[((position + i) % capacity as u64) as usize] = fill;
                }
                prop_assert_eq!(log.read(0, capacity), &model[..]);
                let mut wrapped = model[(position % capacity as u64) as usize..].to_vec();
                wrapped.extend_from_slice(&model[..capacity - wrapped.len()]);
                prop_assert_eq!(log.read(position, capacity), &wrapped[..]);
            }
        }
    }
}
