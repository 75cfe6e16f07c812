//! Owned memory that starts at a block boundary and ends at one, as O_DIRECT requires.

use std::alloc::{self, Layout};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use super::BLOCK_BYTES;

pub struct AlignedBuf {
    base: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: it owns its memory and does not share it; moving it to another thread moves the only handle.
unsafe impl Send for AlignedBuf {}
// SAFETY: `&AlignedBuf` only gives `&[u8]`.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len_bytes` zeros; a multiple of [`BLOCK_BYTES`], of which 0 is one that allocates nothing.
    pub fn zeroed(len_bytes: usize) -> AlignedBuf {
        let base = match layout(len_bytes) {
            None => NonNull::<Block>::dangling().cast(),
            Some(layout) => {
                // SAFETY: the layout's size is not zero.
                let base = unsafe { alloc::alloc_zeroed(layout) };
                NonNull::new(base).unwrap_or_else(|| alloc::handle_alloc_error(layout))
            }
        };
        AlignedBuf { base, len_bytes }
    }

    /// The smallest buffer that holds `len` bytes.
    pub fn with_room_for(len: usize) -> AlignedBuf {
        AlignedBuf::zeroed(len.next_multiple_of(BLOCK_BYTES))
    }
}

/// Gives dangling pointers of empty buffers the alignment of the others.
#[repr(align(4096))]
struct Block;

const _: () = assert!(align_of::<Block>() == BLOCK_BYTES);

fn layout(len_bytes: usize) -> Option<Layout> {
    assert!(
        len_bytes.is_multiple_of(BLOCK_BYTES),
        "aligned buffer of {len_bytes} bytes: not a multiple of {BLOCK_BYTES}"
    );
    if len_bytes == 0 {
        return None;
    }
    Some(Layout::from_size_align(len_bytes, BLOCK_BYTES).expect("a length below isize::MAX"))
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if let Some(layout) = layout(self.len_bytes) {
            // SAFETY: allocated with this very layout, and dropped once.
            unsafe { alloc::dealloc(self.base.as_ptr(), layout) }
        }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len_bytes` initialised bytes that live as long as `self`.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len_bytes) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only way to it.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.len_bytes) }
    }
}

impl Default for AlignedBuf {
    /// An empty one.
    fn default() -> AlignedBuf {
        AlignedBuf::zeroed(0)
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_writable() {
        for blocks in [0, 1, 3, 256] {
            let mut buf = AlignedBuf::zeroed(blocks * BLOCK_BYTES);
            assert_eq!(buf.len(), blocks * BLOCK_BYTES);
            assert!(buf.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
            assert!(buf.iter().all(|&b| b == 0));
            buf.fill(7);
            assert!(buf.iter().all(|&b| b == 7));
        }
    }

    #[test]
    fn rounds_up() {
        assert_eq!(AlignedBuf::with_room_for(0).len(), 0);
        assert_eq!(AlignedBuf::with_room_for(1).len(), BLOCK_BYTES);
        assert_eq!(AlignedBuf::with_room_for(4097).len(), 2 * BLOCK_BYTES);
    }

    #[test]
    #[should_panic(expected = "not a multiple")]
    fn refuses_a_ragged_length() {
        AlignedBuf::zeroed(100);
    }
}
