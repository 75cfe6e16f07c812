//! An administrator wants things gone ahead of their time: 306, 316, 329. All are answered at once and carried out
//! behind it, the last one as in RocketMQ.

use crate::broker::reply::Reply;
use crate::broker::system_topics::is_system;
use crate::broker::{Broker, Effect, Refusal};

impl Broker {
    pub(in crate::broker) fn clean(&mut self, effect: Effect) -> Result<Reply, Refusal> {
        self.effects.push(effect);
        Ok(Reply::ok())
    }

    /// Whether queues of this topic have no reason to be (RocketMQ: `ConsumeQueueStore.cleanUnusedTopic`).
    pub fn is_unused(&self, topic: &str) -> bool {
        !self.topics.contains(topic) && !is_system(topic, &self.config)
    }
}
