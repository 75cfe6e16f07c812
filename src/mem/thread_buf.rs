//! A buffer on another thread, which gives it to the kernel there.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::aligned::AlignedBuf;
use super::buf::Buf;
use super::log_buffer::{LogSlice, LogView};

/// A [`Buf`] that may go to another thread and come back. The owner of a log slice keeps it meanwhile, as its count of references is the
/// owner's thread's alone.
#[derive(Debug, Default)]
pub enum ThreadBuf {
    #[default]
    Empty,
    Heap(Vec<u8>),
    Aligned(AlignedBuf),
    Log(LogView),
}

impl Buf {
    /// What goes to the other thread, and what the owner keeps until that comes back.
    pub fn lend(self) -> (ThreadBuf, Option<LogSlice>) {
        match self {
            Buf::Empty => (ThreadBuf::Empty, None),
            Buf::Heap(bytes) => (ThreadBuf::Heap(bytes), None),
            Buf::Aligned(bytes) => (ThreadBuf::Aligned(bytes), None),
            Buf::Log(slice) => (ThreadBuf::Log(slice.view()), Some(slice)),
        }
    }
}

impl ThreadBuf {
    /// The buffer as it was lent.
    pub fn back(self, kept: Option<LogSlice>) -> Buf {
        match (self, kept) {
            (ThreadBuf::Empty, _) => Buf::Empty,
            (ThreadBuf::Heap(bytes), _) => Buf::Heap(bytes),
            (ThreadBuf::Aligned(bytes), _) => Buf::Aligned(bytes),
            (ThreadBuf::Log(_), Some(slice)) => Buf::Log(slice),
            (ThreadBuf::Log(_), None) => unreachable!("the owner keeps a lent slice"),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            ThreadBuf::Empty => 0,
            ThreadBuf::Heap(bytes) => bytes.len(),
            ThreadBuf::Aligned(bytes) => bytes.len(),
            ThreadBuf::Log(view) => view.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the bytes behind the first `done` ones to `offset` of the file, with `RWF_DSYNC` if asked: how many were written.
    pub fn write(
        &self,
        file: BorrowedFd<'_>,
        done: usize,
        offset: u64,
        dsync: bool,
    ) -> io::Result<usize> {
        assert!(done <= self.len());
        let part = libc::iovec {
            iov_base: self.as_ptr().wrapping_add(done).cast_mut().cast(),
            iov_len: self.len() - done,
        };
        let fd = file.as_raw_fd();
        let written = match dsync {
            // SAFETY: the kernel reads the bytes and does not write them. They are within the buffer, which lives as long as the call.
            false => unsafe { libc::pwrite(fd, part.iov_base, part.iov_len, offset as i64) },
            // By number, as not every C library has the function. On a 64-bit machine the upper half of the offset is not used.
            // SAFETY: as above; `part` lives as long as the call, too.
            true => unsafe {
                let (number, flags) = (libc::SYS_pwritev2, libc::RWF_DSYNC);
                libc::syscall(number, fd, &raw const part, 1_usize, offset, 0_usize, flags) as isize
            },
        };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    fn as_ptr(&self) -> *const u8 {
        match self {
            ThreadBuf::Empty => std::ptr::null(),
            ThreadBuf::Heap(bytes) => bytes.as_ptr(),
            ThreadBuf::Aligned(bytes) => bytes.as_ptr(),
            ThreadBuf::Log(view) => view.as_ptr(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::mem::{BLOCK_BYTES, IoBuf, LogBuffer};

    /// Written on another thread, whatever the kind, and given back.
    fn there_and_back<B: IoBuf>(buf: B, expected: &[u8]) -> B {
        let buf: Buf = buf.into();
        let (lent, kept) = buf.lend();
        assert_eq!(lent.len(), expected.len());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = std::fs::File::create(&path).unwrap();
        let lent = std::thread::spawn(move || {
            let first = lent.write(file.as_fd(), 0, 7, true).unwrap();
            assert_eq!(first, lent.len());
            assert_eq!(lent.write(file.as_fd(), 1, 8, false).unwrap(), first - 1);
            lent
        });
        let lent = lent.join().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[7..], expected);
        B::try_from(lent.back(kept)).expect("the same kind")
    }

    #[test]
    fn every_kind_is_written_and_comes_back() {
        there_and_back(vec![1, 2, 3], &[1, 2, 3]);
        there_and_back(AlignedBuf::zeroed(BLOCK_BYTES), &[0; BLOCK_BYTES]);
        let mut log = LogBuffer::new(2 * BLOCK_BYTES).unwrap();
        log.write(BLOCK_BYTES as u64, BLOCK_BYTES).fill(5);
        there_and_back(
            log.slice(BLOCK_BYTES as u64, BLOCK_BYTES),
            &[5; BLOCK_BYTES],
        );
    }

    #[test]
    fn a_view_outlives_the_buffer_and_the_slice() {
        let mut log = LogBuffer::new(BLOCK_BYTES).unwrap();
        log.write(0, BLOCK_BYTES).fill(9);
        let (view, kept) = Buf::from(log.slice(0, BLOCK_BYTES)).lend();
        drop((log, kept));
        let file = tempfile::tempfile().unwrap();
        assert_eq!(view.write(file.as_fd(), 0, 0, false).unwrap(), BLOCK_BYTES);
    }
}
