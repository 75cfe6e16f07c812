//! Eviction: the chunks of saved entries are returned to the arena.

use super::memory::{CHUNK_ENTRIES, ConsumeQueues};

/// Progress of an eviction.
pub(in crate::store) struct Eviction {
    /// Chunks that this round takes from each queue.
    of_each: usize,
    looked_at: usize,
    freed: usize,
}

impl Default for Eviction {
    fn default() -> Self {
        Self {
            of_each: 1,
            looked_at: 0,
            freed: 0,
        }
    }
}

impl ConsumeQueues {
    /// Returns saved chunks, the oldest of each queue in turn, until `chunks` are free or no saved one is left. Each round
    /// over the queues takes twice as many of each as the one before, so that a few large ones cost no round per chunk.
    pub fn evict(&mut self, wanted_free: usize) {
        let mut eviction = Eviction::default();
        while self.evict_some(&mut eviction, wanted_free, usize::MAX) {}
    }

    /// The same, looking at no more than this many queues. `false`: it is done.
    pub fn evict_some(
        &mut self,
        eviction: &mut Eviction,
        wanted_free: usize,
        queues: usize,
    ) -> bool {
        for _ in 0..queues.min(self.queues.len()) {
            if self.arena.free_chunks() >= wanted_free {
                return false;
            }
            self.hand = (self.hand + 1) % self.queues.len();
            for _ in 0..eviction.of_each {
                if !self.evict_one(self.hand) {
                    break;
                }
                eviction.freed += 1;
            }
            eviction.looked_at += 1;
            if eviction.looked_at >= self.queues.len() {
                if eviction.freed == 0 {
                    return false;
                }
                *eviction = Eviction {
                    of_each: eviction.of_each.saturating_mul(2),
                    ..Eviction::default()
                };
            }
        }
        self.arena.free_chunks() < wanted_free && !self.queues.is_empty()
    }

    fn evict_one(&mut self, place: usize) -> bool {
        let queue = &mut self.queues[place];
        let end = ((queue.resident_from / CHUNK_ENTRIES + 1) * CHUNK_ENTRIES).min(queue.bounds.max);
        if queue.saved_to < end {
            return false;
        }
        let Some(chunk) = queue.chunks.pop_front() else {
            return false;
        };
        queue.resident_from = end;
        self.arena.free(chunk);
        true
    }
}
