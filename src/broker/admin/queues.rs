//! The inside of a queue: 321.

use crate::broker::Broker;
use crate::broker::reply::Reply;
use crate::store::QueueBounds;
use crate::wire::admin::{QueryConsumeQueue, QueueEntries, QueueEntry};

impl Broker {
    /// With the entries that were found; none: the queue has none at that index.
    pub fn queue_entries(
        &self,
        asked: &QueryConsumeQueue<'_>,
        bounds: QueueBounds,
        entries: Option<Vec<QueueEntry>>,
    ) -> Reply {
        let mut body = QueueEntries {
            max_queue_index: bounds.max as i64,
            min_queue_index: bounds.min as i64,
            ..QueueEntries::default()
        };
        if let Some(group) = asked.consumer_group {
            let online = self.clients.consumers(group);
            let subscription = online.and_then(|members| members.subscription(asked.topic));
            body.filter_data = Some(match subscription {
                // RocketMQ's filter of an expression, which a tag is not.
                Some(_) => "null".into(),
                None => format!("{group}@{} is not online!", asked.topic),
            });
            body.subscription_data = subscription.map(|subscription| subscription.data.clone());
        }
        let Some(entries) = entries else {
            let remark = format!(
                "Index {} of {}@{} is not exist!",
                asked.index, asked.queue_id, asked.topic
            );
            return Reply {
                remark: Some(remark.into()),
                ..Reply::ok()
            };
        };
        body.queue_data = entries;
        Reply::json(&body)
    }
}
