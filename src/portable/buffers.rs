//! Receive buffers, shared by all connections.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

/// A buffer is lent to a reader with what was received into it. When many are lent their readers have stopped: then only the received bytes are
/// kept, as a copy.
pub(super) struct Buffers {
    free: RefCell<Vec<Vec<u8>>>,
    lent: Cell<usize>,
    most: usize,
    buffer_bytes: usize,
}

impl Buffers {
    pub(super) fn new(most: usize, buffer_bytes: usize) -> Rc<Buffers> {
        assert!(most > 0 && buffer_bytes > 0);
        Rc::new(Buffers {
            free: RefCell::default(),
            lent: Cell::new(0),
            most,
            buffer_bytes,
        })
    }

    pub(super) fn take(&self) -> Vec<u8> {
        let free = self.free.borrow_mut().pop();
        free.unwrap_or_else(|| vec![0; self.buffer_bytes])
    }

    /// Nothing was received into it, or it is used no longer.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if free.len() < self.most {
            free.push(buffer);
        }
    }

    /// `len` bytes were received into a buffer.
    pub(super) fn received(self: &Rc<Buffers>, buffer: Vec<u8>, len: usize) -> Chunk {
        if self.lent.get() >= self.most - self.most / 4 {
            let copy = buffer[..len].to_vec();
            self.give_back(buffer);
            return Chunk {
                bytes: copy,
                len,
                lender: None,
            };
        }
        self.lent.update(|count| count + 1);
        Chunk {
            bytes: buffer,
            len,
            lender: Some(self.clone()),
        }
    }

    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.lent.get()
    }
}

/// Received bytes. Dropping it gives their memory back.
pub struct Chunk {
    bytes: Vec<u8>,
    len: usize,
    /// `None` of a copy.
    lender: Option<Rc<Buffers>>,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(lender) = &self.lender {
            lender.lent.update(|count| count - 1);
            lender.give_back(std::mem::take(&mut self.bytes));
        }
    }
}
