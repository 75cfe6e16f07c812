//! POP: takes messages of whatever queue has some, writes their check point, and hands them out.
//!
//! A pop is a task of its own, as it may look at many queues, some of them on disk. While it reads a queue no other pop of
//! its group does (`taking.rs`). `acks.rs` takes acknowledgements, `revive.rs` delivers again what is not acknowledged, `parking.rs` lets pops
//! wait, `polls.rs` has those that do.

mod acks;
mod assignment;
mod looking;
mod parking;
mod polls;
mod revive;
pub(super) mod revive_log;
mod taking;
mod waking;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use tracing::error;

use self::polls::{Ask, LineKey, Polls};
use self::waking::Waking;
use super::answers::{not_appended, refuse};
use super::caller::Caller;
use super::connection::Connection;
use super::core::Core;
use super::effects;
use super::remoting_client::RemotingClient;
use super::slices::in_slices;
use crate::broker::pop::{Infos, PopPlan};
use crate::broker::{ConfigFile, Refusal};
use crate::io::{Gate, Io, Notify};
use crate::store::{AppendError, QueueIndex, ReadError};
use crate::wire::Header;
use crate::wire::codes::{request, response};
use crate::wire::pop::{NotificationRequest, PopReply, PopRequest};

/// Polls that are woken or answered in one turn.
const AT_A_TIME: usize = 32;

/// Queues that one pop looks at in one turn: a topic may have tens of thousands.
const SOURCES_AT_A_TIME: usize = 256;

/// Polls that are dropped in one turn.
const DROPPED_AT_A_TIME: usize = 128;

/// How often deadlines are looked at: a poll is late by so much at most.
const TICK_NS: u64 = 100_000_000;

const FOUND: &str = "FOUND";
const NOTHING: &str = "NO_MESSAGE_IN_QUEUE";

/// Serves pops, and keeps those that wait for a message.
pub(super) struct Pops<I: Io> {
    core: Rc<Core<I>>,
    polls: RefCell<Polls<Waiting<I>>>,
    waking: RefCell<Waking>,
    /// More polls have to be woken than one turn serves.
    wake_more: Notify,
    /// Connections that have closed with polls parked.
    closed: RefCell<VecDeque<u64>>,
    /// Queues that a pop of this group reads now.
    busy: RefCell<BTreeSet<(QueueIndex, Rc<str>)>>,
    /// A message may have to be delivered again earlier than at [`Self::wakes_at_ms`].
    bell: Notify,
    wakes_at_ms: Cell<u64>,
    /// Bytes of messages that are being taken.
    gathering: Rc<Gate>,
    /// To a name server, while no request uses it.
    link: RefCell<Option<RemotingClient<I>>>,
}

impl<I: Io> Pops<I> {
    pub(super) fn new(core: Rc<Core<I>>) -> Rc<Self> {
        let memory_bytes = core.setup.connection_memory_bytes / 4;
        Rc::new(Pops {
            core,
            polls: RefCell::default(),
            waking: RefCell::default(),
            wake_more: Notify::default(),
            closed: RefCell::default(),
            busy: RefCell::default(),
            bell: Notify::default(),
            wakes_at_ms: Cell::new(u64::MAX),
            gathering: Gate::new(memory_bytes),
            link: RefCell::default(),
        })
    }

    /// Starts the tasks, which end with the shard.
    pub(super) fn start(self: &Rc<Self>) {
        let io = &self.core.io;
        io.spawn("pop-revive", revive::run(self.clone()));
        io.spawn("pop-deadlines", run_deadlines(self.clone()));
        io.spawn("pop-wakes", run_wakes(self.clone()));
    }

    /// At the end: the tasks see that the shard stops.
    pub(super) fn wake(&self) {
        self.bell.notify();
        self.wake_more.notify();
    }

    /// Pops and notifications that wait for a message.
    pub(super) fn gathered_bytes(&self) -> [usize; 2] {
        [self.gathering.used(), self.gathering.limit()]
    }

    pub(super) fn parked(&self) -> usize {
        self.polls.borrow().len()
    }

    /// The connection's polls are of no use any more.
    pub(super) fn closed(&self, connection: u64) {
        if self.polls.borrow().has_connection(connection) {
            self.closed.borrow_mut().push_back(connection);
        }
    }

    /// Drops a poll of a connection that has closed; `false` if there is none.
    fn drop_orphan(&self) -> bool {
        let Some(connection) = self.closed.borrow().front().copied() else {
            return false;
        };
        let orphan = self.polls.borrow_mut().take_of_connection(connection);
        if orphan.is_none() {
            self.closed.borrow_mut().pop_front();
        }
        true
    }

    /// Messages come back at this time.
    fn due_at(&self, due_ms: u64) {
        if due_ms < self.wakes_at_ms.get() {
            self.bell.notify();
        }
    }

    fn lock(&self, queue: QueueIndex, group: &Rc<str>) -> Option<Lock<'_, I>> {
        let key = (queue, group.clone());
        let is_free = self.busy.borrow_mut().insert(key.clone());
        is_free.then_some(Lock { pops: self, key })
    }
}

/// A queue is read by one pop of a group at a time.
struct Lock<'a, I: Io> {
    pops: &'a Pops<I>,
    key: (QueueIndex, Rc<str>),
}

impl<I: Io> Drop for Lock<'_, I> {
    fn drop(&mut self) {
        self.pops.busy.borrow_mut().remove(&self.key);
    }
}

/// A pop, or a request for a notification, and its connection.
struct Waiting<I: Io> {
    connection: Rc<Connection<I::Stream>>,
    caller: Caller,
    plan: PopPlan,
    ask: Ask,
}

impl<I: Io> Waiting<I> {
    fn line(&self) -> LineKey {
        LineKey {
            topic: self.plan.topic.clone(),
            group: self.plan.group.clone(),
            queue_id: self.plan.queue_id,
            ask: self.ask,
        }
    }
}

/// What a pop has gathered.
#[derive(Default)]
struct Batch {
    pop_time_ms: u64,
    infos: Infos,
    body: Vec<u8>,
    messages: usize,
    rest: u64,
    /// The queues that were looked at, and where each ended.
    seen: Vec<(QueueIndex, u64)>,
    /// Nothing was found, but there is more to look at.
    goes_on: bool,
}

#[derive(Debug, thiserror::Error)]
enum PopError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("{}", .0.remark)]
    Busy(Refusal),
}

impl From<Refusal> for PopError {
    fn from(refusal: Refusal) -> Self {
        PopError::Busy(refusal)
    }
}

impl From<PopError> for Refusal {
    fn from(error: PopError) -> Self {
        match error {
            PopError::Read(error) => Refusal::new(response::SYSTEM_ERROR, error.to_string()),
            PopError::Append(error) => not_appended(&error),
            PopError::Busy(refusal) => refusal,
        }
    }
}

/// Answers polls whose deadline has passed, and drops those of closed connections, until the shard stops.
async fn run_deadlines<I: Io>(pops: Rc<Pops<I>>) {
    while !pops.core.is_stopping() {
        let now_ns = pops.core.io.now().mono_ns;
        in_slices(AT_A_TIME, || pops.expire_pop(now_ns)).await;
        in_slices(DROPPED_AT_A_TIME, || pops.drop_orphan()).await;
        in_slices(DROPPED_AT_A_TIME, || {
            pops.polls.borrow_mut().unwatch_ended()
        })
        .await;
        pops.core.io.sleep_until(now_ns + TICK_NS).await;
    }
}

/// Wakes the polls that were too many for one turn, until the shard stops.
async fn run_wakes<I: Io>(pops: Rc<Pops<I>>) {
    while !pops.core.is_stopping() {
        pops.wake_more.notified().await;
        in_slices(AT_A_TIME, || pops.serve_one_woken()).await;
    }
}

impl<I: Io> Pops<I> {
    /// Requests for messages, and for the state of such requests.
    pub(super) fn ask(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
        body: &[u8],
    ) {
        let asked = match header.code {
            request::PEEK_MESSAGE => self.peek(connection, caller, header),
            request::POLLING_INFO => self.polling_info(connection, caller, header),
            request::QUERY_ASSIGNMENT => self.query_assignment(connection, caller, body),
            _ => self.pop(connection, caller, header),
        };
        if let Err(refusal) = asked {
            refuse(connection, caller, &refusal);
        }
    }

    fn pop(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) -> Result<(), Refusal> {
        if self.core.is_stopping() {
            let remark = "the broker is shutting down";
            return Err(Refusal::new(response::SERVICE_NOT_AVAILABLE, remark));
        }
        if header.code != request::NOTIFICATION
            && let Some(error) = self.core.store.refuses()
        {
            // Without its check point in the log nothing may be handed out.
            return Err(PopError::Append(error).into());
        }
        let now_ms = self.core.now_ms();
        let mut broker = self.core.broker.borrow_mut();
        let (plan, ask) = match header.code {
            request::NOTIFICATION => {
                let request = NotificationRequest::decode(&header.ext)?;
                let plan = broker.admit_notification(&request, now_ms)?;
                (plan, Ask::Notification)
            }
            _ => {
                let request = PopRequest::decode(&header.ext)?;
                (broker.admit_pop(&request, now_ms)?, Ask::Pop)
            }
        };
        drop(broker);
        self.serve_pop(Waiting {
            connection: connection.clone(),
            caller,
            plan,
            ask,
        });
        Ok(())
    }

    fn serve_pop(self: &Rc<Self>, waiting: Waiting<I>) {
        if waiting.ask == Ask::Notification {
            return self.answer_notification(waiting);
        }
        let pops = self.clone();
        let reading = waiting.connection.start_reading();
        self.core.io.spawn("pop", async move {
            let _reading = reading;
            // To a start a check point of a group that it does not know is one of a group that was deleted.
            pops.core
                .saves
                .settled(ConfigFile::SubscriptionGroups)
                .await;
            let _pass = pops.gathering.enter(pops.max_bytes()).await;
            pops.answer_pop(waiting).await;
            effects::carry_out(&pops.core);
        });
    }

    async fn answer_pop(self: &Rc<Self>, mut waiting: Waiting<I>) {
        let line = waiting.line();
        loop {
            let batch = match self.gather(&waiting).await {
                Ok(batch) => batch,
                Err(PopError::Busy(refusal)) => {
                    return refuse(&waiting.connection, waiting.caller, &refusal);
                }
                Err(error) => {
                    error!(%error, topic = %waiting.plan.topic, "a pop has failed");
                    return refuse(&waiting.connection, waiting.caller, &error.into());
                }
            };
            if batch.messages > 0 || waiting.connection.is_closed() {
                if batch.messages > 0 {
                    reply_pop(&waiting, response::SUCCESS, FOUND, &batch);
                }
                if batch.rest > 0 {
                    self.wake_next(&line);
                }
                return;
            }
            if batch.goes_on {
                continue;
            }
            match self.park_pop(waiting, &batch).await {
                Some(again) => waiting = again,
                None => return,
            }
        }
    }

    /// There are messages left: the next pop in the line takes them.
    fn wake_next(&self, line: &LineKey) {
        self.waking.borrow_mut().line(line.clone());
        self.wake_more.notify();
    }

    /// Queues of the group that were blocked may be popped again.
    fn wake_freed(&self, group: &str, topic: &str, queue_id: u32) {
        let lines = self.polls.borrow().lines_of_queue(topic, group, queue_id);
        lines.iter().for_each(|line| self.wake_next(line));
    }

    /// A watched queue has got entries: its lines are woken by [`Self::serve_woken`].
    pub(super) fn queue_grew(&self, queue: QueueIndex) {
        if self.polls.borrow_mut().waits_for(queue) {
            self.waking.borrow_mut().queue(queue);
            self.core.store.watch(queue, true);
        }
    }

    /// After a commit: wakes a turn's worth of polls at once, and leaves the rest to [`run_wakes`].
    pub(super) fn serve_woken(self: &Rc<Self>) {
        let are_left = (0..AT_A_TIME).all(|_| self.serve_one_woken());
        if are_left {
            self.wake_more.notify();
        }
    }

    /// Wakes one poll; `false` if nothing is left to do. One of a closed connection gives way to the next one in its line.
    fn serve_one_woken(self: &Rc<Self>) -> bool {
        let mut waking = self.waking.borrow_mut();
        if waking.is_empty() {
            return false;
        }
        let woken = waking.step(&mut self.polls.borrow_mut());
        drop(waking);
        let Some(woken) = woken else { return true };
        if woken.connection.is_closed() {
            self.wake_next(&woken.line());
            return true;
        }
        let now_ms = self.core.now_ms();
        let decided = self
            .core
            .broker
            .borrow_mut()
            .reconsider_pop(&woken.plan, now_ms);
        match decided {
            Ok(()) => self.serve_pop(woken),
            Err(refusal) => refuse(&woken.connection, woken.caller, &refusal),
        }
        true
    }

    /// Answers a poll whose time is over; `false` if there is none.
    fn expire_pop(&self, now_ns: u64) -> bool {
        let due = self.polls.borrow_mut().take_due(now_ns);
        let Some(waiting) = due else { return false };
        self.give_up(&waiting, response::POLLING_TIMEOUT);
        true
    }
}

fn reply_pop<I: Io>(waiting: &Waiting<I>, code: i32, remark: &str, batch: &Batch) {
    let text = |text: &'_ String| (!text.is_empty()).then_some(text.clone());
    let infos = [
        text(&batch.infos.start_offsets),
        text(&batch.infos.message_offsets),
        text(&batch.infos.order_counts),
    ];
    let reply = PopReply {
        invisible_ms: waiting.plan.invisible_ms as i64,
        start_offsets: infos[0].as_deref(),
        rest: batch.rest as i64,
        order_counts: infos[2].as_deref(),
        pop_time_ms: batch.pop_time_ms as i64,
        revive_queue: waiting.plan.revive_queue(),
        message_offsets: infos[1].as_deref(),
    };
    waiting.connection.answer(
        waiting.caller,
        code,
        Some(remark),
        &reply.ext(),
        &batch.body,
    );
}
