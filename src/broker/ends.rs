//! What refers to messages that are in no queue: after a cut of the log offsets, orders and marks may be ahead of the queues' ends. New
//! messages get those offsets, and would count as consumed or delivered.

use super::Broker;
use super::system_topics::SCHEDULE;

impl Broker {
    /// Nothing points behind the end of its queue, which `end` says. Returns how many offsets did.
    pub fn clamp_to_ends(&mut self, end: impl Fn(&str, u32) -> u64, now_ms: u64) -> usize {
        if mutant!(OffsetsNotClamped) {
            return 0;
        }
        let end_of = &|topic: &str, queue_id: i32| {
            let queue_id = u32::try_from(queue_id);
            queue_id.map_or(i64::MAX, |queue_id| end(topic, queue_id) as i64)
        };
        let behind = self.offsets.after(None).flat_map(|(topic, group, queues)| {
            let behind = queues
                .iter()
                .filter(move |(queue, offset)| **offset > end_of(topic, **queue));
            behind.map(move |(queue, _)| (topic.to_owned(), group.to_owned(), *queue))
        });
        let behind: Vec<_> = behind.collect();
        for (topic, group, queue) in &behind {
            let end = end_of(topic, *queue);
            self.offsets.commit(group, topic, *queue, end, now_ms);
        }
        let delays = self.delays.levels().filter(|level| {
            let offset = self.delays.offsets().get(level).copied();
            offset.is_some_and(|offset| offset > end_of(SCHEDULE, level - 1))
        });
        let delays: Vec<_> = delays.collect();
        for level in &delays {
            let end = end_of(SCHEDULE, level - 1) as u64;
            self.delays.advance(*level, end, now_ms);
        }
        let orders = self.pops.orders.forget_behind(&end);
        behind.len() + delays.len() + orders
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::broker;
    use super::*;

    #[test]
    fn no_offset_is_behind_the_end_of_its_queue() {
        let mut broker = broker();
        broker.offsets.commit("g", "T", 0, 5, 0);
        broker.offsets.commit("g", "T", 1, 7, 0);
        broker.offsets.commit("g", "gone", 0, 1, 0);
        broker.delays.advance(2, 9, 0);
        broker.delays.advance(3, 4, 0);
        broker.offsets.take_dirty();
        let end = |topic: &str, queue_id: u32| match (topic, queue_id) {
            ("T", _) => 6,
            (SCHEDULE, _) => 4,
            _ => 0,
        };
        assert_eq!(broker.clamp_to_ends(end, 0), 3);
        let offset = |topic, queue_id| broker.offsets.query("g", topic, queue_id);
        assert_eq!(
            (offset("T", 0), offset("T", 1), offset("gone", 0)),
            (Some(5), Some(6), Some(0))
        );
        let levels: Vec<_> = broker.delays.offsets().clone().into_iter().collect();
        assert_eq!(levels, [(2, 4), (3, 4)]);
        assert!(broker.offsets.take_dirty());
        assert_eq!(broker.clamp_to_ends(end, 0), 0);
    }
}
