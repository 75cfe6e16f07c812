//! Which of the records that a master sends carry a CRC over all of them. They are looked at before they are in the log.

use std::cell::Cell;

use crate::io::Io;
use crate::message::{CRC_PROPERTY_BYTES, ends_in_crc};
use crate::store::log::Log;
use crate::store::log::buffer::CommitLog;
use crate::store::log::reader::{Announced, HEAD_BYTES};

pub(super) struct Received {
    /// All records before this position were looked at; one begins here, or the log ends.
    at: Cell<u64>,
}

/// The end of the log buffer, and what is to be appended.
struct Stretch<'a> {
    buffer: &'a CommitLog,
    new: &'a [u8],
}

impl Stretch<'_> {
    fn end(&self) -> u64 {
        self.buffer.tail() + self.new.len() as u64
    }

    /// `None`: not all of them are there.
    fn bytes<const N: usize>(&self, position: u64) -> Option<[u8; N]> {
        let tail = self.buffer.tail();
        if let Some(at) = position.checked_sub(tail) {
            return self.new.get(at as usize..)?.first_chunk().copied();
        }
        let in_buffer = (tail - position).min(N as u64) as usize;
        let mut bytes = [0; N];
        let (old, new) = bytes.split_at_mut(in_buffer);
        old.copy_from_slice(self.buffer.hot(position, in_buffer)?);
        new.copy_from_slice(self.new.get(..new.len())?);
        Some(bytes)
    }
}

impl Received {
    pub fn new(tail: u64) -> Self {
        Self {
            at: Cell::new(tail),
        }
    }

    /// How many of these bytes may be appended now: all, or those before the end of a record without a CRC that has to wait.
    pub fn look<I: Io>(&self, log: &Log<I>, new: &[u8]) -> usize {
        let buffer = &log.buffer();
        let stretch = Stretch { buffer, new };
        while let Some(head) = stretch.bytes::<HEAD_BYTES>(self.at.get()) {
            let position = self.at.get();
            let announced = Announced::read(&head, position, buffer.segment_bytes());
            let end = announced.map_or(u64::MAX, Announced::end);
            if end > stretch.end() {
                break;
            }
            if let Some(Announced::Record { .. }) = announced {
                let last = end.saturating_sub(CRC_PROPERTY_BYTES as u64).max(position);
                let last = stretch.bytes::<CRC_PROPERTY_BYTES>(last);
                if last.is_some_and(|last| ends_in_crc(&last)) {
                    log.ours().comes_with_crc(position);
                } else if !log.ours().comes_without() {
                    return (end - 1 - buffer.tail()) as usize;
                }
            }
            self.at.set(end);
        }
        new.len()
    }
}
