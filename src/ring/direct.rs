//! The ring's table of direct descriptors: which of its places are taken.
//!
//! An operation by table index does not touch the process's descriptor table, whose use costs two atomics each time.
//! A full table is no error: a descriptor without a place in it works by its number.

use std::os::fd::RawFd;

use super::queues::Queues;

pub(super) struct DirectTable {
    capacity: u32,
    /// Places from here on have never been used.
    fresh: u32,
    freed: Vec<u32>,
}

const EMPTY: RawFd = -1;

impl DirectTable {
    pub(super) fn register(queues: &Queues, capacity: u32) -> DirectTable {
        let registered = capacity > 0
            && queues
                .uring()
                .submitter()
                .register_files_sparse(capacity)
                .is_ok();
        DirectTable {
            capacity: if registered { capacity } else { 0 },
            fresh: 0,
            freed: Vec::new(),
        }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.fresh as usize - self.freed.len()
    }

    pub(super) fn add(&mut self, queues: &Queues, fd: RawFd) -> Option<u32> {
        let index = match self.freed.pop() {
            Some(index) => index,
            None if self.fresh < self.capacity => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return None,
        };
        if update(queues, index, fd) {
            return Some(index);
        }
        self.freed.push(index);
        None
    }

    pub(super) fn remove(&mut self, queues: &Queues, index: u32) {
        if update(queues, index, EMPTY) {
            self.freed.push(index);
        }
    }
}

fn update(queues: &Queues, index: u32, fd: RawFd) -> bool {
    let submitter = queues.uring().submitter();
    submitter
        .register_files_update(index, &[fd])
        .is_ok_and(|updated| updated == 1)
}
