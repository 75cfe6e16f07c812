//! The queues that a pop looks at, one after the other: they may be tens of thousands.

use std::collections::VecDeque;
use std::rc::Rc;

use super::{PopPlan, retry_topic};
use crate::broker::Broker;

/// A queue that a pop looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub topic: Rc<str>,
    pub queue_id: u32,
    pub is_retry: bool,
    /// Tells the topic from another one of the same name ([`crate::broker::topics::Topics::epoch`]).
    pub(super) epoch: Option<u64>,
}

/// The queues of up to three topics, as an iterator.
#[derive(Clone, Debug)]
pub struct Sources {
    topics: VecDeque<OfTopic>,
    /// Queues of the first topic that have been returned.
    passed: u32,
}

/// `queues` of a topic from `begin` on; behind the queue before `wraps_at` comes the first one.
#[derive(Clone, Debug)]
struct OfTopic {
    topic: Rc<str>,
    is_retry: bool,
    epoch: Option<u64>,
    begin: u32,
    queues: u32,
    wraps_at: u32,
}

impl Iterator for Sources {
    type Item = Source;

    fn next(&mut self) -> Option<Source> {
        while self.passed == self.topics.front()?.queues {
            self.topics.pop_front();
            self.passed = 0;
        }
        let of_topic = self.topics.front()?;
        let place = u64::from(of_topic.begin) + u64::from(self.passed);
        self.passed += 1;
        Some(Source {
            topic: of_topic.topic.clone(),
            queue_id: (place % u64::from(of_topic.wraps_at)) as u32,
            is_retry: of_topic.is_retry,
            epoch: of_topic.epoch,
        })
    }
}

impl Broker {
    /// The queues to look at, in this order: mostly the topic's own first, from a random one on.
    pub fn pop_sources(&mut self, plan: &PopPlan) -> Sources {
        let random = self.random() % 100;
        let mut own = self.sources_of(plan.topic.clone(), false, random);
        if let Some(queue_id) = plan.queue_id {
            (own.begin, own.queues, own.wraps_at) = (queue_id, 1, u32::MAX);
        }
        let mut topics = VecDeque::from([own]);
        if !plan.is_orderly {
            let is_v2 = self.config.pop.retry_topic_v2;
            let retries = [is_v2, !is_v2].map(|is_v2| {
                let topic = retry_topic(&plan.group, &plan.topic, is_v2);
                self.sources_of(topic.into(), true, random)
            });
            topics.extend(retries);
        }
        if random < self.config.pop.retry_first_percent {
            topics.rotate_left(1);
        }
        Sources { topics, passed: 0 }
    }

    fn sources_of(&self, topic: Rc<str>, is_retry: bool, random: u32) -> OfTopic {
        let entry = self.topics.find(&topic);
        let queues = entry.map_or(0, |entry| entry.config.read_queue_nums.max(0) as u32);
        OfTopic {
            epoch: self.topics.epoch(&topic),
            topic,
            is_retry,
            begin: random,
            queues,
            wraps_at: queues,
        }
    }
}
