//! Buffers that the connections of a core take in turns.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

/// Spare ones that are kept, ...
const KEPT: usize = 16;
/// ... and how much each may hold: a larger one is freed.
const KEPT_BYTES: usize = 160 << 10;

#[derive(Default)]
pub struct Buffers {
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty one.
    pub fn take(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < KEPT && (1..=KEPT_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Plain text of a connection. Its memory is given back when it is dropped.
pub struct Opened {
    bytes: Vec<u8>,
    taken: usize,
    buffers: Rc<Buffers>,
}

impl Opened {
    pub fn new(bytes: Vec<u8>, buffers: &Rc<Buffers>) -> Self {
        Self {
            bytes,
            taken: 0,
            buffers: buffers.clone(),
        }
    }

    /// Moves as much to the beginning of `to` as fits; how much.
    pub fn move_to(&mut self, to: &mut [u8]) -> usize {
        let len = self.len().min(to.len());
        to[..len].copy_from_slice(&self[..len]);
        self.taken += len;
        len
    }
}

impl Deref for Opened {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.bytes));
    }
}
