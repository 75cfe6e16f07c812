//! What may be given to the kernel: a closed set, so that an operation's slot can own any of it without allocating.

use std::fmt;

use super::{AlignedBuf, LogSlice};

#[derive(Debug, Default)]
pub enum Buf {
    #[default]
    Empty,
    Heap(Vec<u8>),
    Aligned(AlignedBuf),
    Log(LogSlice),
}

/// A buffer that goes to the kernel by ownership and comes back with the result.
pub trait IoBuf: Into<Buf> + TryFrom<Buf, Error = WrongBuf> + 'static {}

/// An operation returned another buffer than it was given.
#[derive(Debug)]
pub struct WrongBuf(pub Buf);

impl Buf {
    pub fn len(&self) -> usize {
        match self {
            Buf::Empty => 0,
            Buf::Heap(bytes) => bytes.len(),
            Buf::Aligned(bytes) => bytes.len(),
            Buf::Log(slice) => slice.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows the bytes; those of the log as a copy (see [`LogSlice::copy_to`]).
    pub fn with_bytes<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Buf::Empty => look(&[]),
            Buf::Heap(bytes) => look(bytes),
            Buf::Aligned(bytes) => look(bytes),
            Buf::Log(slice) => {
                let mut bytes = vec![0; slice.len()];
                slice.copy_to(&mut bytes);
                look(&bytes)
            }
        }
    }

    /// Copies all of it into the start of `dst`.
    pub fn copy_to(&self, dst: &mut [u8]) {
        match self {
            Buf::Log(slice) => slice.copy_to(dst),
            other => other.with_bytes(|bytes| dst[..bytes.len()].copy_from_slice(bytes)),
        }
    }

    /// The bytes as memory that may be written to; `None` for those that the kernel only reads.
    pub fn as_mut(&mut self) -> Option<&mut [u8]> {
        match self {
            Buf::Heap(bytes) => Some(bytes),
            Buf::Aligned(bytes) => Some(bytes),
            Buf::Empty | Buf::Log(_) => None,
        }
    }

    /// Stays the same however the `Buf` is moved, as the bytes live elsewhere.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        match self {
            Buf::Empty => std::ptr::null(),
            Buf::Heap(bytes) => bytes.as_ptr(),
            Buf::Aligned(bytes) => bytes.as_ptr(),
            Buf::Log(slice) => slice.as_ptr(),
        }
    }
}

macro_rules! io_buf {
    ($type:ty, $variant:ident) => {
        impl IoBuf for $type {}

        impl From<$type> for Buf {
            fn from(buf: $type) -> Buf {
                Buf::$variant(buf)
            }
        }

        impl TryFrom<Buf> for $type {
            type Error = WrongBuf;

            fn try_from(buf: Buf) -> Result<$type, WrongBuf> {
                match buf {
                    Buf::$variant(buf) => Ok(buf),
                    other => Err(WrongBuf(other)),
                }
            }
        }
    };
}

io_buf!(Vec<u8>, Heap);
io_buf!(AlignedBuf, Aligned);
io_buf!(LogSlice, Log);

impl fmt::Display for WrongBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not the kind of buffer expected: got {:?}", self.0)
    }
}

impl std::error::Error for WrongBuf {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{BLOCK_BYTES, LogBuffer};

    fn there_and_back<B: IoBuf>(buf: B, expected: &[u8]) -> B {
        let buf: Buf = buf.into();
        assert_eq!(buf.len(), expected.len());
        buf.with_bytes(|bytes| assert_eq!(bytes, expected));
        let mut copy = vec![0; expected.len() + 1];
        buf.copy_to(&mut copy);
        assert_eq!(&copy[..expected.len()], expected);
        B::try_from(buf).expect("the same kind")
    }

    #[test]
    fn every_kind_comes_back() {
        there_and_back(vec![1, 2, 3], &[1, 2, 3]);
        there_and_back(AlignedBuf::zeroed(BLOCK_BYTES), &[0; BLOCK_BYTES]);
        let mut log = LogBuffer::new(BLOCK_BYTES).unwrap();
        log.write(0, BLOCK_BYTES).fill(5);
        there_and_back(log.slice(0, BLOCK_BYTES), &[5; BLOCK_BYTES]);
    }

    #[test]
    fn another_kind_is_refused() {
        let wrong = AlignedBuf::try_from(Buf::Heap(vec![1])).unwrap_err();
        assert!(matches!(wrong.0, Buf::Heap(bytes) if bytes == [1]));
    }
}
