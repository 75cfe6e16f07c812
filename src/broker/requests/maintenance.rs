//! Cleaning ahead of its time (306, 316, 329), answered at once and carried out behind the answer, the last one as in RocketMQ; and
//! what waits for a time of its own: the check point (60) and how many messages of each topic (61), as RocketMQ's slaves ask.

use crate::broker::store_view::StoreView;
use crate::broker::system_topics::is_system;
use crate::broker::{Broker, Effect, Refusal};
use crate::wire::Reply;
use crate::wire::codes::response;

impl Broker {
    pub(super) fn clean(&mut self, effect: Effect) -> Result<Reply, Refusal> {
        self.effects.push(effect);
        Ok(Reply::ok())
    }

    /// Whether queues of this topic have no reason to be (RocketMQ: `ConsumeQueueStore.cleanUnusedTopic`).
    pub fn is_unused(&self, topic: &str) -> bool {
        !self.topics.contains(topic) && !is_system(topic, &self.config)
    }

    pub(super) fn timer_check_point(&self, store: &dyn StoreView) -> Result<Reply, Refusal> {
        let figures = store
            .timers()
            .ok_or_else(|| Refusal::new(response::SYSTEM_ERROR, "The checkpoint is null"))?;
        Ok(Reply {
            body: figures.check_point(store.log_end()),
            ..Reply::ok()
        })
    }

    pub(super) fn timer_metrics(&self, store: &dyn StoreView) -> Result<Reply, Refusal> {
        let figures = store.timers().ok_or_else(|| {
            Refusal::new(response::SYSTEM_ERROR, "The timer message store is null")
        })?;
        Ok(Reply::json(&figures.metrics()))
    }
}
