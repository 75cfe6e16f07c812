//! What waits for a time of its own: the check point (60) and how many messages of each topic (61), as RocketMQ's slaves ask.

use crate::broker::reply::{Reply, StoreView};
use crate::broker::{Broker, Refusal};
use crate::wire::codes::response;

impl Broker {
    pub(in crate::broker) fn timer_check_point(
        &self,
        store: &dyn StoreView,
    ) -> Result<Reply, Refusal> {
        let figures = store
            .timers()
            .ok_or_else(|| Refusal::new(response::SYSTEM_ERROR, "The checkpoint is null"))?;
        Ok(Reply {
            body: figures.check_point(),
            ..Reply::ok()
        })
    }

    pub(in crate::broker) fn timer_metrics(&self, store: &dyn StoreView) -> Result<Reply, Refusal> {
        let figures = store.timers().ok_or_else(|| {
            Refusal::new(response::SYSTEM_ERROR, "The timer message store is null")
        })?;
        Ok(Reply::json(&figures.metrics()))
    }
}
