//! Looking without taking: peeks, notifications, and how many pops wait.

use std::rc::Rc;

use super::super::answers::refuse;
use super::super::connection::{Caller, Connection};
use super::super::effects;
use super::super::view::View;
use super::polls::{Ask, LineKey};
use super::{Batch, FOUND, NOTHING, Pops, Waiting, reply_pop};
use crate::broker::pop::PopPlan;
use crate::broker::{Broker, Refusal};
use crate::io::Io;
use crate::store::ReadError;
use crate::wire::Header;
use crate::wire::codes::response;
use crate::wire::pop::{NotificationReply, PeekRequest, PollingInfoReply, PollingInfoRequest};

impl<I: Io> Pops<I> {
    pub(super) fn peek(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) -> Result<(), Refusal> {
        let request = PeekRequest::decode(&header.ext)?;
        let plan = self
            .core
            .broker
            .borrow_mut()
            .admit_peek(&request, self.core.now_ms())?;
        let waiting: Waiting<I> = Waiting {
            connection: connection.clone(),
            caller,
            plan,
            ask: Ask::Pop,
        };
        let pops = self.clone();
        let reading = connection.start_reading();
        self.core.io.spawn("pop-batch", async move {
            let _reading = reading;
            match pops.look_at_sources(&waiting.plan).await {
                Ok(batch) if batch.messages > 0 => {
                    reply_pop(&waiting, response::SUCCESS, FOUND, &batch)
                }
                Ok(batch) => reply_pop(&waiting, response::PULL_NOT_FOUND, NOTHING, &batch),
                Err(error) => {
                    let refusal = Refusal::new(response::SYSTEM_ERROR, error.to_string());
                    refuse(&waiting.connection, caller, &refusal);
                }
            }
            effects::carry_out(&pops.core);
        });
        Ok(())
    }

    /// As a pop gathers, but takes nothing.
    async fn look_at_sources(self: &Rc<Self>, plan: &PopPlan) -> Result<Batch, ReadError> {
        let mut batch = Batch::default();
        let sources = self.core.broker.borrow_mut().pop_sources(plan);
        for source in &sources {
            let queue = self.core.store.queue(&source.topic, source.queue_id);
            let bounds = self.core.store.bounds(queue);
            let view = View { core: &self.core };
            let offset = self
                .core
                .broker
                .borrow()
                .pop_offset(plan, source, bounds, &view);
            batch.rest += bounds.max - offset;
            let left = plan.max_messages - batch.messages;
            if left == 0 || offset == bounds.max || self.is_full(&batch) {
                continue;
            }
            let taken = self.read_source(plan, queue, offset, left, &batch).await?;
            batch.messages += taken.offsets.len();
            batch.body.extend_from_slice(&taken.records);
            let messages = taken.offsets.len() as u64;
            let mut broker = self.core.broker.borrow_mut();
            let bytes = taken.records.len() as u64;
            broker.handed_out(plan, source, messages, bytes, self.core.now_ms());
        }
        Ok(batch)
    }

    pub(super) fn answer_notification(self: &Rc<Self>, mut waiting: Waiting<I>) {
        loop {
            let (has_message, batch) = self.has_message(&waiting.plan);
            if has_message {
                // It takes nothing: what it was notified of is there for the next one, too.
                self.wake_next(&waiting.line());
                return reply_notification(&waiting, true, false);
            }
            match self.park_pop(waiting, &batch) {
                Some(again) => waiting = again,
                None => return,
            }
        }
    }

    pub(super) fn has_message(&self, plan: &PopPlan) -> (bool, Batch) {
        let mut batch = Batch::default();
        let now_ms = self.core.now_ms();
        let mut broker = self.core.broker.borrow_mut();
        let sources = broker.pop_sources(plan);
        let broker: &Broker = &broker;
        let view = View { core: &self.core };
        let has_message = sources.iter().any(|source| {
            let queue = self.core.store.queue(&source.topic, source.queue_id);
            let bounds = self.core.store.bounds(queue);
            batch.seen.push((queue, bounds.max));
            let is_blocked = plan.is_orderly && broker.is_pop_blocked(plan, source, now_ms);
            !is_blocked && broker.pop_offset(plan, source, bounds, &view) < bounds.max
        });
        (has_message, batch)
    }

    pub(super) fn polling_info(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) -> Result<(), Refusal> {
        let request = PollingInfoRequest::decode(&header.ext)?;
        let now_ms = self.core.now_ms();
        let queue_id = self
            .core
            .broker
            .borrow_mut()
            .admit_polling_info(&request, now_ms)?;
        let line = LineKey {
            topic: request.topic.into(),
            group: request.consumer_group.into(),
            queue_id,
            ask: Ask::Pop,
        };
        let reply = PollingInfoReply {
            polling: self.polls.borrow().waiting(&line) as i32,
        };
        connection.answer(caller, response::SUCCESS, None, &reply.ext(), &[]);
        Ok(())
    }
}

pub(super) fn reply_notification<I: Io>(
    waiting: &Waiting<I>,
    has_message: bool,
    is_polling_full: bool,
) {
    let reply = NotificationReply {
        has_message,
        is_polling_full,
    };
    let (connection, caller) = (&waiting.connection, waiting.caller);
    connection.answer(caller, response::SUCCESS, None, &reply.ext(), &[]);
}
