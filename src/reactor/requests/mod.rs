//! Requests that the rules answer. Most are answered at once; what needs the disk (`read.rs`), another client (`relay.rs`), or more than
//! one turn is a [`Step`], carried out in a task of its own.

mod read;
mod relay;

use std::rc::Rc;

use super::access::Asker;
use super::answers::{answer, unreadable};
use super::caller::Caller;
use super::calls::Calls;
use super::connection::Connection;
use super::core::Core;
use super::decisions::Decisions;
use super::pulls::Pulls;
use super::slices::in_slices;
use super::view::View;
use crate::broker::requests::{Handler, Request};
use crate::broker::{Creation, Refusal, Rewind, Step, Target};
use crate::io::{Io, yield_now};
use crate::store::Boundary;
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::{Header, Language};

/// Queues of a group that are rewound in one turn.
const QUEUES_AT_A_TIME: usize = 256;

pub(super) struct Requests<I: Io> {
    core: Rc<Core<I>>,
    calls: Rc<Calls>,
    pulls: Rc<Pulls<I>>,
}

impl<I: Io> Requests<I> {
    pub(super) fn new(core: Rc<Core<I>>, calls: Rc<Calls>, pulls: Rc<Pulls<I>>) -> Rc<Self> {
        Rc::new(Requests { core, calls, pulls })
    }

    pub(super) fn handle(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
        handler: Handler,
    ) {
        let core = &self.core;
        let request = Request {
            ext: &header.ext,
            body,
            peer: connection.as_peer(header),
            language: header.language,
            now_ms: core.now_ms(),
            store: &View { core },
        };
        let mut decisions = Decisions::new(core.clone());
        let step = decisions.decide(|broker| handler(broker, &request));
        let step = step.unwrap_or_else(|refusal| Step::Reply(refusal.into()));
        let creation = core.broker.borrow().creation(header.code, &header.ext);
        match step {
            Step::Reply(reply) if decisions.changed_nothing() => {
                self.count(creation, caller, &reply);
                answer(connection, caller, reply);
            }
            step => {
                let asker = core.asker(connection, &header.ext, header.code);
                self.carry_out(connection, caller, step, decisions, creation, asker);
            }
        }
    }

    /// Answers when everything that the answer needs is known, and all files that the request has changed are saved.
    fn carry_out(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        step: Step,
        mut decisions: Decisions<I>,
        creation: Option<Creation>,
        asker: Option<Asker>,
    ) {
        let (requests, connection) = (self.clone(), connection.clone());
        let reading = connection.start_reading();
        self.core.io.spawn("administer", async move {
            let _reading = reading;
            let reply = requests
                .carried_out(step, &mut decisions, asker.as_ref())
                .await;
            let reply = reply.unwrap_or_else(Reply::from);
            let reply = decisions.once_saved(reply).await;
            requests.count(creation, caller, &reply);
            answer(&connection, caller, reply);
        });
    }

    fn count(&self, creation: Option<Creation>, caller: Caller, reply: &Reply) {
        if let Some(creation) = creation {
            let took_ns = self.core.io.now().mono_ns - caller.arrived_ns;
            let is_made = reply.code == response::SUCCESS;
            let mut broker = self.core.broker.borrow_mut();
            broker.creation_took(creation, is_made, took_ns / 1_000_000);
        }
    }

    async fn carried_out(
        self: &Rc<Self>,
        step: Step,
        decisions: &mut Decisions<I>,
        asker: Option<&Asker>,
    ) -> Result<Reply, Refusal> {
        match step {
            Step::Reply(reply) => Ok(reply),
            Step::Work(work) => decisions.carry_out(work).await,
            Step::Read(plan) => self.read(plan, asker).await,
            Step::Rewind { rewind, language } => self.rewind(&rewind, language, decisions).await,
            Step::Ask(relay) => self.forward(&relay).await,
            Step::AskWithMessage {
                relay,
                physical_offset,
            } => self.consume_directly(relay, physical_offset, asker).await,
            Step::AskStatus(asked) => self.consumer_status(asked).await,
        }
    }

    async fn rewind(
        self: &Rc<Self>,
        rewind: &Rewind,
        language: Language,
        decisions: &mut Decisions<I>,
    ) -> Result<Reply, Refusal> {
        let mut offsets = Vec::with_capacity(rewind.queues.len());
        for (index, queue_id) in rewind.queues.iter().enumerate() {
            if index % QUEUES_AT_A_TIME == QUEUES_AT_A_TIME - 1 {
                yield_now().await;
            }
            let offset = match (
                rewind.target,
                self.core.store.find_queue(&rewind.topic, *queue_id),
            ) {
                (Target::Offset(offset), _) => offset,
                (_, None) => 0,
                (Target::End, Some(queue)) => self.core.store.bounds(queue).max,
                (Target::Time(time_ms), Some(queue)) => self
                    .core
                    .store
                    .offset_by_time(queue, time_ms, Boundary::Lower)
                    .await
                    .map_err(unreadable)?,
            };
            offsets.push((*queue_id, offset));
        }
        let step = decisions.decide(|broker| broker.rewind(rewind, &offsets, language))?;
        let reply = match step {
            Step::Work(work) => decisions.carry_out(work).await?,
            Step::Reply(reply) => reply,
            step => unreachable!("a rewind is carried out by {step:?}"),
        };
        // Parked pulls are answered with it at once.
        let mut queues = offsets.iter();
        in_slices(QUEUES_AT_A_TIME, || {
            let Some((queue_id, _)) = queues.next() else {
                return false;
            };
            if let Some(queue) = self.core.store.find_queue(&rewind.topic, *queue_id) {
                self.pulls.wake_queue(queue);
            }
            true
        })
        .await;
        Ok(reply)
    }
}
