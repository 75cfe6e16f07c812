//! Looking without taking: peeks, notifications, and how many pops wait.

use std::rc::Rc;

use super::super::answers::refuse;
use super::super::caller::Caller;
use super::super::connection::Connection;
use super::super::effects;
use super::super::view::View;
use super::polls::{Ask, LineKey};
use super::{Batch, FOUND, NOTHING, Pops, SOURCES_AT_A_TIME, Waiting, reply_pop};
use crate::broker::Refusal;
use crate::broker::pop::{PopPlan, Source, Sources};
use crate::io::{Io, yield_now};
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
        for (index, source) in sources.enumerate() {
            if index % SOURCES_AT_A_TIME == SOURCES_AT_A_TIME - 1 {
                yield_now().await;
            }
            let source = &source;
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
            let since_ms = self.core.now_ms();
            let taken = self.read_source(plan, queue, offset, left, &batch).await?;
            batch.messages += taken.offsets.len();
            batch.body.extend_from_slice(&taken.records);
            let messages = taken.offsets.len() as u64;
            let mut broker = self.core.broker.borrow_mut();
            let bytes = taken.records.len() as u64;
            let read_ms = self.core.now_ms();
            broker.handed_out(plan, source, messages, bytes, since_ms, read_ms);
        }
        Ok(batch)
    }

    /// Answered in this turn if one of the first queues has a message: a pop that the same message has woken has not taken it yet.
    pub(super) fn answer_notification(self: &Rc<Self>, waiting: Waiting<I>) {
        let mut sources = self.core.broker.borrow_mut().pop_sources(&waiting.plan);
        let mut batch = Batch::default();
        let first = sources.by_ref().take(SOURCES_AT_A_TIME);
        if self.has_message(&waiting.plan, first, &mut batch) {
            return self.notify(&waiting);
        }
        let pops = self.clone();
        let reading = waiting.connection.start_reading();
        self.core.io.spawn("notification", async move {
            let _reading = reading;
            pops.look_further(waiting, sources, batch).await;
        });
    }

    /// Looks at the other queues, a slice each turn, and parks the notification.
    async fn look_further(&self, mut waiting: Waiting<I>, mut sources: Sources, mut batch: Batch) {
        loop {
            loop {
                let before = batch.seen.len();
                yield_now().await;
                let slice = sources.by_ref().take(SOURCES_AT_A_TIME);
                if self.has_message(&waiting.plan, slice, &mut batch) {
                    return self.notify(&waiting);
                }
                if batch.seen.len() == before {
                    break;
                }
            }
            if waiting.connection.is_closed() {
                return;
            }
            match self.park_pop(waiting, &batch).await {
                Some(again) => waiting = again,
                None => return,
            }
            batch = Batch::default();
            sources = self.core.broker.borrow_mut().pop_sources(&waiting.plan);
        }
    }

    fn has_message(
        &self,
        plan: &PopPlan,
        mut sources: impl Iterator<Item = Source>,
        batch: &mut Batch,
    ) -> bool {
        let core = &self.core;
        let now_ms = core.now_ms();
        let broker = core.broker.borrow();
        sources.any(|source| {
            let source = &source;
            let queue = core.store.queue(&source.topic, source.queue_id);
            let bounds = core.store.bounds(queue);
            batch.seen.push((queue, bounds.max));
            let is_blocked = plan.is_orderly && broker.is_pop_blocked(plan, source, now_ms);
            !is_blocked && broker.pop_offset(plan, source, bounds, &View { core }) < bounds.max
        })
    }

    fn notify(&self, waiting: &Waiting<I>) {
        // It takes nothing: the message is there for the next one, too.
        self.wake_next(&waiting.line());
        reply_notification(waiting, Noticed::Message);
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

/// What a notification request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noticed {
    Message,
    Nothing,
    /// Too many requests wait already.
    PollingFull,
}

pub(super) fn reply_notification<I: Io>(waiting: &Waiting<I>, noticed: Noticed) {
    let reply = NotificationReply {
        has_message: noticed == Noticed::Message,
        is_polling_full: noticed == Noticed::PollingFull,
    };
    let (connection, caller) = (&waiting.connection, waiting.caller);
    connection.answer(caller, response::SUCCESS, None, &reply.ext(), &[]);
}
