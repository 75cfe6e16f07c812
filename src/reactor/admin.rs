//! Carries out the steps of requests that need the disk, a client, or more than one turn, each in a task of its own. Those that
//! need a client are in `relay.rs`.

use std::rc::Rc;

use super::connection::{Caller, Connection};
use super::shard::{Shard, answer};
use super::view::View;
use crate::broker::query;
use crate::broker::step::{EntriesPlan, Progress, ReadPlan, Work};
use crate::broker::{Refusal, Rewind, Step, Target};
use crate::io::{Io, pause};
use crate::store::{Boundary, ReadError, ScanLimits};
use crate::wire::Language;
use crate::wire::Reply;
use crate::wire::admin::QueueEntry;
use crate::wire::codes::response;

impl<I: Io> Shard<I> {
    /// Answers once it is known what the answer needs, and once what it promises has been saved.
    pub(super) fn carry_out(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        step: Step,
    ) {
        let (shard, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.io.spawn("administer", async move {
            let _reading = reading;
            let reply = shard.carried_out(step).await;
            let reply = reply.unwrap_or_else(Reply::from);
            let files = shard.carry_out_effects();
            let reply = shard.once_saved(reply, files).await;
            answer(&connection, caller, &reply);
        });
    }

    async fn carried_out(self: &Rc<Self>, step: Step) -> Result<Reply, Refusal> {
        match step {
            Step::Reply(reply) => Ok(reply),
            Step::Work(work) => self.work(work).await,
            Step::Read(plan) => self.read(plan).await,
            Step::Rewind { rewind, language } => self.rewind(&rewind, language).await,
            Step::Ask(relay) => self.forward(&relay).await,
            Step::AskWithMessage {
                relay,
                physical_offset,
            } => self.consume_directly(relay, physical_offset).await,
            Step::AskStatus(relays) => self.consumer_status(relays).await,
        }
    }

    /// A slice in each turn.
    async fn work(self: &Rc<Self>, mut work: Box<dyn Work>) -> Result<Reply, Refusal> {
        loop {
            let (view, now_ms) = (View { shard: self }, self.now_ms());
            let progress = work.turn(&mut self.broker.borrow_mut(), &view, now_ms)?;
            match progress {
                Progress::Done(reply) => return Ok(reply),
                Progress::More => {}
                Progress::Times(places) => {
                    let mut times = Vec::with_capacity(places.len());
                    for place in places {
                        times.push(
                            self.store_time(&place.topic, place.queue_id, place.offset)
                                .await?,
                        );
                    }
                    work.times(times);
                }
            }
            pause().await;
        }
    }

    async fn store_time(
        &self,
        topic: &str,
        queue_id: u32,
        offset: u64,
    ) -> Result<Option<i64>, Refusal> {
        let Some(queue) = self.store.find_queue(topic, queue_id) else {
            return Ok(None);
        };
        self.store
            .store_time(queue, offset)
            .await
            .map_err(unreadable)
    }

    async fn read(self: &Rc<Self>, plan: ReadPlan) -> Result<Reply, Refusal> {
        match plan {
            ReadPlan::Message { physical_offset } => self.message(physical_offset).await,
            ReadPlan::ByKey(plan) => {
                let found = self.store.find_by_key(&plan.query()).await;
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
                let offset = match self.store.find_queue(&topic, queue_id) {
                    Some(queue) => self
                        .store
                        .offset_by_time(queue, timestamp_ms, boundary)
                        .await
                        .map_err(unreadable)?,
                    None => 0,
                };
                Ok(Reply::ok().with("offset", offset))
            }
            ReadPlan::EarliestTime { topic, queue_id } => {
                let timestamp_ms = match self.store.find_queue(&topic, queue_id) {
                    Some(queue) => self
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

    async fn message(&self, physical_offset: u64) -> Result<Reply, Refusal> {
        let record = self.store.record_at(physical_offset).await;
        let Some(body) = record.map_err(unreadable)? else {
            let remark = match self.store.unreadable_at(physical_offset) {
                Some(lost) => format!(
                    "the message at {physical_offset} cannot be read any more: {}",
                    lost.reason
                ),
                None => format!("can not find message by the offset, {physical_offset}"),
            };
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        Ok(Reply {
            body,
            ..Reply::ok()
        })
    }

    async fn rewind(
        self: &Rc<Self>,
        rewind: &Rewind,
        language: Language,
    ) -> Result<Reply, Refusal> {
        let mut offsets = Vec::with_capacity(rewind.queues.len());
        for queue_id in &rewind.queues {
            let offset = match (
                rewind.target,
                self.store.find_queue(&rewind.topic, *queue_id),
            ) {
                (Target::Offset(offset), _) => offset,
                (_, None) => 0,
                (Target::End, Some(queue)) => self.store.bounds(queue).max,
                (Target::Time(time_ms), Some(queue)) => self
                    .store
                    .offset_by_time(queue, time_ms, Boundary::Lower)
                    .await
                    .map_err(unreadable)?,
            };
            offsets.push((*queue_id, offset));
        }
        let reply = self
            .broker
            .borrow_mut()
            .rewind(rewind, &offsets, language)?;
        // Parked pulls are answered with it at once.
        for (queue_id, _) in offsets {
            if let Some(queue) = self.store.find_queue(&rewind.topic, queue_id) {
                self.wake_pulls(queue);
            }
        }
        Ok(reply)
    }

    async fn queue_entries(self: &Rc<Self>, asked: &EntriesPlan) -> Result<Reply, Refusal> {
        let queue = u32::try_from(asked.queue_id)
            .ok()
            .and_then(|queue_id| self.store.find_queue(&asked.topic, queue_id));
        let Some(queue) = queue else {
            let remark = format!("{}@{} is not exist!", asked.queue_id, asked.topic);
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        let bounds = self.store.bounds(queue);
        let count = asked.count;
        let first = u64::try_from(asked.index).unwrap_or(u64::MAX);
        if !(bounds.min..bounds.max).contains(&first) || count == 0 {
            return Ok(self.broker.borrow().queue_entries(asked, bounds, None));
        }
        let limits = ScanLimits {
            max_messages: count,
            max_bytes: usize::MAX,
            max_entries: count,
        };
        let (mut tags_codes, mut positions) = (Vec::new(), Vec::new());
        let seen = |tags_code| {
            tags_codes.push(tags_code);
            true
        };
        self.store
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
            .broker
            .borrow()
            .queue_entries(asked, bounds, Some(entries)))
    }
}

pub(super) fn unreadable(error: ReadError) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, error.to_string())
}
