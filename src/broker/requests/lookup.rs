//! What is read from the store: messages (12, 33), offsets by time (29, 32), the inside of a queue (321).

use crate::broker::limits::MAX_ENTRIES;
use crate::broker::step::{EntriesPlan, ReadPlan, Step};
use crate::broker::{Broker, Refusal};
use crate::store::{Boundary, QueueBounds};
use crate::wire::Reply;
use crate::wire::admin::{QueryConsumeQueue, QueueEntries, QueueEntry};
use crate::wire::codes::response;
use crate::wire::offset::{self, QueueRequest, SearchOffset};
use crate::wire::query::{QueryMessage, ViewAgain, ViewMessage};

pub(super) fn message(asked: &ViewMessage<'_>, again: &ViewAgain) -> Result<Step, Refusal> {
    Ok(Step::Read(ReadPlan::Message {
        physical_offset: position(asked.offset)?,
        is_from_device: again.is_from_device,
    }))
}

/// A place in the log, as a request names it.
pub fn position(offset: i64) -> Result<u64, Refusal> {
    u64::try_from(offset).map_err(|_| {
        Refusal::new(
            response::SYSTEM_ERROR,
            format!("a log offset of {offset} cannot be"),
        )
    })
}

pub(super) fn offset_by_time(asked: &SearchOffset<'_>) -> Result<Step, Refusal> {
    Ok(Step::Read(ReadPlan::OffsetByTime {
        topic: asked.topic.into(),
        queue_id: queue_id(asked.queue_id)?,
        timestamp_ms: asked.timestamp_ms,
        boundary: match asked.boundary {
            offset::Boundary::Upper => Boundary::Upper,
            offset::Boundary::Lower => Boundary::Lower,
        },
    }))
}

pub(super) fn earliest_time(asked: &QueueRequest<'_>) -> Result<Step, Refusal> {
    Ok(Step::Read(ReadPlan::EarliestTime {
        topic: asked.topic.into(),
        queue_id: queue_id(asked.queue_id)?,
    }))
}

pub(super) fn entries(asked: &QueryConsumeQueue<'_>) -> Step {
    Step::Read(ReadPlan::QueueEntries(EntriesPlan {
        topic: asked.topic.into(),
        queue_id: asked.queue_id,
        index: asked.index,
        count: usize::try_from(asked.count).unwrap_or(0).min(MAX_ENTRIES),
        group: asked.consumer_group.map(str::to_owned),
    }))
}

fn queue_id(id: i32) -> Result<u32, Refusal> {
    u32::try_from(id).map_err(|_| {
        Refusal::new(
            response::INVALID_PARAMETER,
            format!("queueId[{id}] is illegal"),
        )
    })
}

impl Broker {
    pub(super) fn by_key(&self, asked: &QueryMessage<'_>) -> Step {
        Step::Read(ReadPlan::ByKey(self.plan_query(asked)))
    }

    /// With the entries that were found; none: the queue has none at that index.
    pub fn queue_entries(
        &self,
        asked: &EntriesPlan,
        bounds: QueueBounds,
        entries: Option<Vec<QueueEntry>>,
    ) -> Reply {
        let mut body = QueueEntries {
            max_queue_index: bounds.max as i64,
            min_queue_index: bounds.min as i64,
            ..QueueEntries::default()
        };
        if let Some(group) = &asked.group {
            let online = self.clients.consumers(group);
            let subscription = online.and_then(|members| members.subscription(&asked.topic));
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
