//! Reads that an answer needs: messages, times and queue entries.

use super::Requests;
use crate::broker::step::{EntriesPlan, ReadPlan};
use crate::broker::{Refusal, query};
use crate::io::Io;
use crate::reactor::access::Asker;
use crate::reactor::answers::unreadable;
use crate::store::ScanLimits;
use crate::wire::Reply;
use crate::wire::admin::QueueEntry;
use crate::wire::codes::response;

impl<I: Io> Requests<I> {
    pub(super) async fn read(
        &self,
        plan: ReadPlan,
        asker: Option<&Asker>,
    ) -> Result<Reply, Refusal> {
        match plan {
            ReadPlan::Message {
                physical_offset,
                is_from_device,
            } => {
                if is_from_device {
                    self.core.store.forget_read(physical_offset).await;
                }
                self.message(physical_offset, asker).await
            }
            ReadPlan::ByKey(plan) => {
                let found = self.core.store.find_by_key(&plan.query()).await;
                let found = found.map_err(unreadable)?;
                let reply = query::answer(&found)?;
                Ok(Reply {
                    body: found.records,
                    ..reply
                })
            }
            ReadPlan::OffsetByTime {
                topic,
                queue_id,
                timestamp_ms,
                boundary,
            } => {
                let offset = match self.core.store.find_queue(&topic, queue_id) {
                    Some(queue) => self
                        .core
                        .store
                        .offset_by_time(queue, timestamp_ms, boundary)
                        .await
                        .map_err(unreadable)?,
                    None => 0,
                };
                Ok(Reply::ok().with("offset", offset))
            }
            ReadPlan::EarliestTime { topic, queue_id } => {
                let timestamp_ms = match self.core.store.find_queue(&topic, queue_id) {
                    Some(queue) => self
                        .core
                        .store
                        .earliest_store_time(queue)
                        .await
                        .map_err(unreadable)?,
                    None => None,
                };
                Ok(Reply::ok().with("timestamp", timestamp_ms.unwrap_or(-1)))
            }
            ReadPlan::QueueEntries(plan) => self.queue_entries(&plan).await,
        }
    }

    async fn message(&self, physical_offset: u64, asker: Option<&Asker>) -> Result<Reply, Refusal> {
        let record = self.core.store.record_at(physical_offset).await;
        let Some(body) = record.map_err(unreadable)? else {
            let remark = match self.core.store.unreadable_at(physical_offset) {
                Some(lost) => format!(
                    "the message at {physical_offset} cannot be read any more: {}",
                    lost.reason
                ),
                None => {
                    self.core.store.doubt(physical_offset);
                    format!("can not find message by the offset, {physical_offset}")
                }
            };
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        self.core.check_message(asker, &body)?;
        Ok(Reply {
            body,
            ..Reply::ok()
        })
    }

    async fn queue_entries(&self, asked: &EntriesPlan) -> Result<Reply, Refusal> {
        let queue = u32::try_from(asked.queue_id)
            .ok()
            .and_then(|queue_id| self.core.store.find_queue(&asked.topic, queue_id));
        let Some(queue) = queue else {
            let remark = format!("{}@{} is not exist!", asked.queue_id, asked.topic);
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        let bounds = self.core.store.bounds(queue);
        let count = asked.count;
        let first = u64::try_from(asked.index).unwrap_or(u64::MAX);
        if !(bounds.min..bounds.max).contains(&first) || count == 0 {
            return Ok(self.core.broker.borrow().queue_entries(asked, bounds, None));
        }
        let limits = ScanLimits {
            max_messages: count,
            max_bytes: usize::MAX,
            max_entries: count,
        };
        let (mut tags_codes, mut positions) = (Vec::new(), Vec::new());
        let seen = |_, tags_code| {
            tags_codes.push(tags_code);
            true
        };
        self.core
            .store
            .scan_cold(queue, first, &limits, seen, &mut positions)
            .await
            .map_err(unreadable)?;
        let entries = positions.iter().zip(tags_codes);
        let entries = entries.map(|(position, tags_code)| QueueEntry {
            eval: false,
            physical_offset: position.physical_offset as i64,
            size: position.size as i32,
            tags_code,
        });
        let entries = entries.collect();
        Ok(self
            .core
            .broker
            .borrow()
            .queue_entries(asked, bounds, Some(entries)))
    }
}
