//! The removal of a topic with all that is known of it: offsets, statistics, what was popped of it, its queues.
//!
//! Ten thousand groups may have consumed the topic, each with retry topics of its own, so it is done in slices. From the first one on
//! the topic is not there, and until the last one its name is not given to a new topic ([`Topics::is_leaving`]): what is removed is of
//! the old topic only.
//!
//! [`Topics::is_leaving`]: crate::broker::topics::Topics::is_leaving

use crate::broker::limits::ROWS_PER_TURN;
use crate::broker::pop::retry_topic;
use crate::broker::{Broker, ConfigFile, Effect};
use crate::store::QueueIndex;

/// What a slice of a removal has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Removed {
    /// There is more to remove.
    Some,
    /// The store is to remove the queues of this topic before the next slice.
    AllButQueues(String),
    All,
}

/// Topics that are being removed. One has to end before the next begins, except for the retry topics of a topic, which end before it.
#[derive(Debug, Default)]
pub(in crate::broker) struct Removal {
    /// The last one first.
    topics: Vec<OfTopic>,
}

#[derive(Debug)]
struct OfTopic {
    topic: String,
    with_retries: bool,
    stage: Stage,
    /// It was in the table.
    was_there: bool,
    offsets_changed: bool,
    orders_changed: bool,
}

/// What is removed next.
#[derive(Debug)]
enum Stage {
    Entry,
    Latencies(std::vec::IntoIter<Option<QueueIndex>>),
    Offsets,
    Statistics,
    Orders,
    InFlight,
    Queues,
    Name,
}

impl Removal {
    /// Of the topic and of the retry topics into which POP has put its messages, in both ways of naming them.
    pub fn with_retries(topic: &str) -> Self {
        Self {
            topics: vec![OfTopic::new(topic.to_owned(), true)],
        }
    }

    /// Of these topics only, the last one first.
    pub fn of(topics: Vec<String>) -> Self {
        let topics = topics.into_iter();
        Self {
            topics: topics.map(|topic| OfTopic::new(topic, false)).collect(),
        }
    }

    pub fn turn(&mut self, broker: &mut Broker, now_ms: u64) -> Removed {
        for _ in 0..ROWS_PER_TURN {
            let Some(current) = self.topics.last_mut() else {
                return Removed::All;
            };
            match current.step(broker, now_ms) {
                Step::Again => {}
                Step::First(retries) => self.topics.extend(retries),
                Step::Queues => return Removed::AllButQueues(current.topic.clone()),
                Step::Done => drop(self.topics.pop()),
            }
        }
        match self.topics.is_empty() {
            true => Removed::All,
            false => Removed::Some,
        }
    }
}

enum Step {
    Again,
    /// These have to be removed first.
    First(Vec<OfTopic>),
    Queues,
    Done,
}

impl OfTopic {
    fn new(topic: String, with_retries: bool) -> Self {
        Self {
            topic,
            with_retries,
            stage: Stage::Entry,
            was_there: false,
            offsets_changed: false,
            orders_changed: false,
        }
    }

    fn step(&mut self, broker: &mut Broker, now_ms: u64) -> Step {
        let topic = &*self.topic;
        match &mut self.stage {
            Stage::Entry => {
                let entry = broker.topics.begin_removal(topic, now_ms);
                self.was_there = entry.is_some();
                let queues = entry.map_or(Vec::new(), |entry| entry.queues);
                self.stage = Stage::Latencies(queues.into_iter());
            }
            Stage::Latencies(queues) => match queues.next() {
                Some(Some(queue)) => broker.stats.forget_queue(queue),
                Some(None) => {}
                None => self.stage = Stage::Offsets,
            },
            Stage::Offsets => {
                let Some(group) = broker.offsets.remove_next_of(topic) else {
                    self.stage = Stage::Statistics;
                    return Step::Again;
                };
                self.offsets_changed = true;
                let retries = self.retries_of(broker, &group);
                if !retries.is_empty() {
                    return Step::First(retries);
                }
            }
            Stage::Statistics => {
                if !broker.stats.forget_group_of(topic) {
                    broker.stats.forget_topic(topic);
                    self.stage = Stage::Orders;
                }
            }
            Stage::Orders => match broker.pops.orders.remove_next_of(topic) {
                true => self.orders_changed = true,
                false => self.stage = Stage::InFlight,
            },
            Stage::InFlight => {
                if !broker.pops.in_flight.remove_next_of(topic) {
                    self.stage = Stage::Queues;
                }
            }
            Stage::Queues => {
                self.stage = Stage::Name;
                if self.was_there {
                    return Step::Queues;
                }
            }
            Stage::Name => {
                self.end(broker, now_ms);
                return Step::Done;
            }
        }
        Step::Again
    }

    fn retries_of(&self, broker: &Broker, group: &str) -> Vec<OfTopic> {
        if !self.with_retries {
            return Vec::new();
        }
        let names = [true, false].map(|is_v2| retry_topic(group, &self.topic, is_v2));
        let names = names.into_iter();
        let there = names.filter(|name| broker.topics.contains(name));
        there.map(|name| OfTopic::new(name, false)).collect()
    }

    fn end(&self, broker: &mut Broker, now_ms: u64) {
        broker.topics.end_removal(&self.topic, now_ms);
        // After a crash a topic of the same name must not begin with these.
        if self.offsets_changed || self.was_there {
            broker.persist(ConfigFile::ConsumerOffsets);
        }
        if self.orders_changed {
            broker.persist(ConfigFile::PopOrders);
        }
        if self.was_there {
            broker.persist(ConfigFile::Topics);
            let topic = self.topic.clone();
            broker.effects.push(Effect::TopicDeleted { topic });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::tests::{broker, effects, topic};

    const GROUPS: usize = 3_000;

    fn group(n: usize) -> String {
        format!("g{n:04}")
    }

    /// A topic `T` that each group has consumed and popped from, each with a retry topic.
    fn consumed_by_many() -> Broker {
        let mut broker = broker();
        for n in 0..GROUPS {
            let group = group(n);
            broker.offsets.commit(&group, "T", 0, 1, 0);
            broker.offsets.pulled(&group, "T", 0, 2);
            broker.stats.sent_back(&group, "T", 0);
            let orders = &mut broker.pops.orders;
            orders.hand_out(&group, "T", 0, None, &[0], 100, 0);
            orders.clear(&group, "T", 1, 0);
            broker
                .topics
                .put(topic(&retry_topic(&group, "T", false), 1), 0);
        }
        effects(&mut broker);
        broker
    }

    #[test]
    fn a_topic_of_many_groups_is_removed_in_slices() {
        let mut broker = consumed_by_many();
        broker.topics.put(topic("T2", 1), 0);
        broker.offsets.commit("g0000", "T2", 0, 1, 0);
        let mut removal = Removal::with_retries("T");
        let (mut turns, mut stored) = (0, Vec::new());
        loop {
            turns += 1;
            let rows = broker.offsets.groups_of_after("T", None).count();
            match removal.turn(&mut broker, 1) {
                Removed::Some => {}
                Removed::AllButQueues(topic) => stored.push(topic),
                Removed::All => break,
            }
            let left = broker.offsets.groups_of_after("T", None).count();
            assert!(rows - left <= ROWS_PER_TURN);
            // Neither is it there nor can another one take its name.
            assert!(
                !broker.topics.put(topic("T", 1), 1) || stored.last().is_some_and(|t| t == "T")
            );
        }
        assert!(turns > 10 * GROUPS / ROWS_PER_TURN, "{turns} turns");
        assert_eq!(stored.len(), GROUPS + 1);
        assert_eq!(broker.offsets.after(None).count(), 1, "of the other topic");
        assert!(broker.offsets.pulled_after(None).next().is_none());
        assert!(broker.pops.orders.after(None).next().is_none());
        assert!(
            broker.topics.put(topic("T", 1), 2),
            "its name is free again"
        );
    }

    #[test]
    fn what_was_popped_does_not_come_back() {
        use crate::broker::pop::{GroupQueue, Place, PopKey};
        let mut broker = broker();
        for offset in 0..10 {
            let place = Place {
                revive_queue: 0,
                offset,
            };
            let topic = if offset % 2 == 0 { "T" } else { "T2" };
            let queue = GroupQueue {
                group: "g",
                topic,
                queue_id: 0,
            };
            let key = PopKey {
                start_offset: offset,
                pop_time_ms: 1,
            };
            let in_flight = &mut broker.pops.in_flight;
            assert!(in_flight.add(place, queue, key, 50, vec![0], 0));
        }
        let mut removal = Removal::of(vec!["T".into()]);
        while removal.turn(&mut broker, 1) != Removed::All {}
        assert_eq!(broker.pops.in_flight.len(), 5);
        assert_eq!(broker.pops.in_flight.expired(50).unwrap().topic, "T2");
    }
}
