//! Replies of one connection that the kernel does not have yet.

use std::collections::VecDeque;

/// A body of this size or more is not copied behind its header: it is handed over as it is.
const HANDED_OVER_BYTES: usize = 64 << 10;

/// What is to be sent, in order: first the parts, then what is collected.
#[derive(Default)]
pub struct Unsent {
    parts: VecDeque<Vec<u8>>,
    part_bytes: usize,
    collected: Vec<u8>,
}

impl Unsent {
    /// Bytes that small replies are appended to.
    pub fn collected(&mut self) -> &mut Vec<u8> {
        &mut self.collected
    }

    /// Appends a body behind the header that was collected last.
    pub fn push_body(&mut self, body: Vec<u8>) {
        if body.len() < HANDED_OVER_BYTES {
            self.collected.extend_from_slice(&body);
            return;
        }
        let before = std::mem::take(&mut self.collected);
        self.part_bytes += before.len() + body.len();
        if !before.is_empty() {
            self.parts.push_back(before);
        }
        self.parts.push_back(body);
    }

    /// What is sent next: a part, or everything that was collected. `spare` is an empty buffer to collect in.
    pub fn take(&mut self, spare: Vec<u8>) -> Vec<u8> {
        match self.parts.pop_front() {
            Some(part) => {
                self.part_bytes -= part.len();
                part
            }
            None => std::mem::replace(&mut self.collected, spare),
        }
    }

    pub fn bytes(&self) -> usize {
        self.part_bytes + self.collected.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    pub fn clear(&mut self) {
        self.parts.clear();
        self.part_bytes = 0;
        self.collected.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_body_is_handed_over_and_keeps_its_place() {
        let mut unsent = Unsent::default();
        unsent.collected().extend_from_slice(b"head 1 ");
        unsent.push_body(b"small ".to_vec());
        unsent.collected().extend_from_slice(b"head 2 ");
        let large = vec![7; 15 << 20];
        let place = large.as_ptr();
        unsent.push_body(large);
        unsent.collected().extend_from_slice(b"head 3");
        assert_eq!(unsent.take(Vec::new()), b"head 1 small head 2 ");
        let sent = unsent.take(Vec::new());
        assert_eq!((sent.len(), sent.as_ptr()), (15 << 20, place), "not copied");
        assert!(!unsent.is_empty());
        assert_eq!(unsent.take(Vec::new()), b"head 3");
        assert!(unsent.is_empty() && unsent.take(Vec::new()).is_empty());
    }
}
