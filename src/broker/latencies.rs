//! How long sends and pulls took, by queue (RocketMQ: `TOPIC_PUT_LATENCY` and `GROUP_GET_LATENCY` of `BrokerStatsManager`).

use std::collections::BTreeMap;

use super::limits::MAX_LATENCIES;
use super::meter::Meter;
use crate::parted::PartedMap;
use crate::store::QueueIndex;

/// The latencies of [`MAX_LATENCIES`] queues; those of further queues are not counted.
#[derive(Debug, Default)]
pub struct SendLatencies {
    by_queue: PartedMap<QueueIndex, Meter>,
}

impl SendLatencies {
    /// Counts the sends to this queue from now on. A queue that was not added is not counted: one that is deleted while a send to it
    /// waits for the disk does not come back.
    pub fn add_queue(&mut self, queue: QueueIndex) {
        if self.by_queue.len() < MAX_LATENCIES {
            let new = || (queue, Meter::default());
            self.by_queue.get_or_insert_with(&queue, new);
        }
    }

    pub fn took(&mut self, queue: QueueIndex, ms: u64, now_ms: u64) {
        if let Some(meter) = self.by_queue.get_mut(&queue) {
            meter.add(ms, now_ms);
        }
    }

    /// `None` if no send to it was acknowledged yet.
    pub fn find(&self, queue: QueueIndex) -> Option<&Meter> {
        self.by_queue.get(&queue).filter(|meter| !meter.is_empty())
    }

    pub fn len(&self) -> usize {
        self.by_queue.len()
    }

    pub fn forget(&mut self, queue: QueueIndex) {
        self.by_queue.remove(&queue);
    }
}

/// The latencies of one group's pulls from one topic.
#[derive(Debug, Default)]
pub struct PullLatencies {
    by_queue: BTreeMap<i32, Meter>,
}

impl PullLatencies {
    /// Counts a pull. `counted` is the number of all queues of all groups that are counted; returns whether this is a new one.
    pub fn took(&mut self, queue_id: i32, ms: u64, now_ms: u64, counted: usize) -> bool {
        if let Some(meter) = self.by_queue.get_mut(&queue_id) {
            meter.add(ms, now_ms);
            return false;
        }
        let is_counted = counted < MAX_LATENCIES;
        if is_counted {
            let meter = self.by_queue.entry(queue_id).or_default();
            meter.add(ms, now_ms);
        }
        is_counted
    }

    pub fn find(&self, queue_id: i32) -> Option<&Meter> {
        self.by_queue.get(&queue_id)
    }

    pub fn len(&self) -> usize {
        self.by_queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_are_counted_for_queues_that_are_there() {
        let mut latencies = SendLatencies::default();
        let (queue, deleted) = (QueueIndex(7), QueueIndex(8));
        latencies.add_queue(queue);
        latencies.add_queue(deleted);
        assert!(latencies.find(queue).is_none());
        latencies.took(queue, 3, 1_000);
        latencies.took(queue, 5, 1_000);
        let amount = latencies.find(queue).unwrap().minute(1_000);
        assert_eq!((amount.sum, amount.times), (8, 2));
        latencies.forget(deleted);
        latencies.took(deleted, 3, 1_000);
        assert!(latencies.find(deleted).is_none());
    }

    #[test]
    fn the_number_of_counted_queues_is_bounded() {
        let mut sends = SendLatencies::default();
        for index in 0..MAX_LATENCIES as u64 + 9 {
            sends.add_queue(QueueIndex(index));
        }
        assert_eq!(sends.by_queue.len(), MAX_LATENCIES);
        let mut pulls = PullLatencies::default();
        assert!(pulls.took(0, 1, 0, MAX_LATENCIES - 1));
        assert!(!pulls.took(1, 1, 0, MAX_LATENCIES));
        assert!(!pulls.took(0, 1, 0, MAX_LATENCIES));
        let amount = pulls.find(0).unwrap().day(0);
        assert_eq!((pulls.len(), amount.times), (1, 2));
    }
}
