//! Receive buffers, shared by all connections: the kernel fills the next free one for the connection that has data.
//!
//! The kernel takes buffers from the front of a ring of entries; released buffers are put back at its end:
//!
//! ```text
//! entry (16 bytes):  address 8 | length 4 | buffer id 2 | tail 2 (of the whole ring, in entry 0 only)
//! ```
//!
//! The last quarter is never lent to readers: its bytes are copied and the buffer is put back at once. So connections whose
//! readers have stopped cannot starve the others, and a receive that found no buffer (ENOBUFS) succeeds in the next turn.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::queues::Queues;
use crate::mem::AlignedBuf;

/// The only group of buffers.
pub(super) const GROUP: u16 = 0;

pub(super) struct RecvBuffers {
    entries: RefCell<Entries>,
    memory: AlignedBuf,
    buffer_bytes: usize,
    count: u16,
    /// Buffers that the kernel has, by the completions taken so far.
    available: Cell<u16>,
}

struct Entries {
    memory: AlignedBuf,
    count: u16,
    tail: u16,
}

impl RecvBuffers {
    pub(super) fn new(count: u16, buffer_bytes: usize) -> Rc<RecvBuffers> {
        assert!(
            count.is_power_of_two() && buffer_bytes > 0,
            "{count} receive buffers: not a power of two"
        );
        let entries = Entries {
            memory: AlignedBuf::with_room_for(usize::from(count) * size_of::<BufRingEntry>()),
            count,
            tail: 0,
        };
        let buffers = RecvBuffers {
            entries: RefCell::new(entries),
            memory: AlignedBuf::with_room_for(usize::from(count) * buffer_bytes),
            buffer_bytes,
            count,
            available: Cell::new(0),
        };
        for id in 0..count {
            buffers.give_back(id);
        }
        Rc::new(buffers)
    }

    pub(super) fn register(&self, queues: &Queues) -> io::Result<()> {
        let address = self.entries.borrow().memory.as_ptr().addr() as u64;
        // SAFETY: the entries and the buffers they name live as long as this, which the ring's core drops only after
        // all receives have ended and the ring itself is closed.
        unsafe {
            queues
                .uring()
                .submitter()
                .register_buf_ring_with_flags(address, self.count, GROUP, 0)
        }
    }

    /// The kernel has filled `len` bytes of a buffer.
    pub(super) fn take(self: &Rc<RecvBuffers>, id: u16, len: usize) -> Chunk {
        assert!(id < self.count && len <= self.buffer_bytes);
        self.available.update(|count| count - 1);
        let lent = Lent {
            buffers: self.clone(),
            id,
            len,
        };
        if self.available.get() < self.count.div_ceil(4) {
            return Chunk(Memory::Copied(lent.to_vec()));
        }
        Chunk(Memory::Lent(lent))
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    #[cfg(test)]
    pub(super) fn available(&self) -> u16 {
        self.available.get()
    }

    fn give_back(&self, id: u16) {
        let address = self.memory[usize::from(id) * self.buffer_bytes..].as_ptr();
        self.entries
            .borrow_mut()
            .put(id, address, self.buffer_bytes);
        self.available.update(|count| count + 1);
        assert!(self.available.get() <= self.count);
    }
}

impl Entries {
    fn put(&mut self, id: u16, address: *const u8, len: usize) {
        let base: *mut BufRingEntry = self.memory.as_mut_ptr().cast();
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `count` entries fit the memory, which is aligned to a page; all zeros is a valid entry. The kernel
        // does not read this one before the tail has moved past it.
        let entry = unsafe { &mut *base.add(index) };
        entry.set_addr(address.expose_provenance() as u64);
        entry.set_len(len as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `base` is the first entry, and the tail in it is aligned to its 2 bytes. The kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        // After the entry's own bytes, as the kernel reads the tail first.
        tail.store(self.tail, Ordering::Release);
    }
}

/// Received bytes. Dropping it gives their memory back.
pub struct Chunk(Memory);

enum Memory {
    Lent(Lent),
    Copied(Vec<u8>),
}

struct Lent {
    buffers: Rc<RecvBuffers>,
    id: u16,
    len: usize,
}

impl Chunk {
    pub(super) fn empty() -> Chunk {
        Chunk(Memory::Copied(Vec::new()))
    }

    #[cfg(test)]
    pub(super) fn is_lent(&self) -> bool {
        matches!(self.0, Memory::Lent(_))
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Lent(lent) => lent,
            Memory::Copied(bytes) => bytes,
        }
    }
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let address =
            self.buffers.memory[usize::from(self.id) * self.buffers.buffer_bytes..].as_ptr();
        // SAFETY: `take` has checked id and length against the memory, which `buffers` keeps; the kernel has finished
        // with this buffer and does not get it back before `self` is dropped.
        unsafe { slice::from_raw_parts(address, self.len) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.buffers.give_back(self.id);
    }
}
