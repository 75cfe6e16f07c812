//! Queues that a consumer in order takes for itself: 41, 42.

use crate::broker::limits::MAX_LOCK_NAME_BYTES;
use crate::broker::topics::queue_count;
use crate::broker::{Broker, Refusal};
use crate::message::names;
use crate::wire::MessageQueue;
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::lock::{LockBatch, LockedQueues};

impl Broker {
    /// Queues that are not there are not locked: else a client could lock what it invents. RocketMQ takes any `brokerName`; here it has to be a
    /// short one, as it is kept.
    pub(super) fn lock(&mut self, asked: LockBatch, now_ms: u64) -> Result<Reply, Refusal> {
        let LockBatch {
            client_id,
            consumer_group,
            mut mq_set,
            ..
        } = asked;
        names::check_group(&consumer_group)
            .map_err(|remark| Refusal::new(response::INVALID_PARAMETER, remark))?;
        if client_id.len() > MAX_LOCK_NAME_BYTES {
            let got = client_id.len();
            let remark = format!("a clientId of {got} bytes, limit {MAX_LOCK_NAME_BYTES}");
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        mq_set.retain(|queue| {
            self.has_queue(queue) && self.locks.lock(&consumer_group, queue, &client_id, now_ms)
        });
        Ok(Reply::json(&LockedQueues { queues: mq_set }))
    }

    fn has_queue(&self, queue: &MessageQueue) -> bool {
        let entry = self.topics.find(&queue.topic);
        let queues = entry.map_or(0, |entry| queue_count(&entry.config));
        let is_there = usize::try_from(queue.queue_id).is_ok_and(|id| id < queues);
        is_there && queue.broker_name.len() <= MAX_LOCK_NAME_BYTES
    }

    pub(super) fn unlock(&mut self, asked: LockBatch) -> Result<Reply, Refusal> {
        for queue in &asked.mq_set {
            self.locks
                .unlock(&asked.consumer_group, queue, &asked.client_id);
        }
        Ok(Reply::ok())
    }
}
