//! What all services of a shard share: the store, the rules, the connections, and the one way into the log.
//!
//! Arrows point one way: `shard` -> services (`sends`, `pulls`, `pop`, `timer`, ...) -> `core` -> connections, store, broker. A state that
//! only one service needs belongs to that service.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::ShardSetup;
use super::access::{Asker, Checks};
use super::acks::{Acks, SendReceipt, UniqueKey};
use super::admission::AdmissionQueue;
use super::answers::SendAnswers;
use super::connection::Connection;
use super::connections::Connections;
use super::latencies::Latencies;
use super::own_queue::QueueListeners;
use super::registration::servers::Registration;
use super::replication::state::Replication;
use super::rounds::Rounds;
use super::saves::pending::Saves;
use super::stages::Stages;
use super::term::{Orders, Term};
use super::timer::running::RunningTimers;
use crate::auth::Credentials;
use crate::broker::{Broker, Effect, MessageType, Refusal, SendPlan};
use crate::io::{Io, Notify};
use crate::message::ids::offset_message_id;
use crate::message::{Check, Message, Record, batch};
use crate::metrics::families::RPC_LATENCY;
use crate::store::{AppendError, Appended, QueueIndex, Store};
use crate::wire::Ext;
use crate::wire::codes::response;

pub(super) struct Core<I: Io> {
    pub io: I,
    /// As it is in this term.
    pub setup: ShardSetup,
    pub term: Term,
    /// Where the next one is asked for.
    pub orders: Rc<Orders>,
    pub store: Rc<Store<I>>,
    pub broker: RefCell<Broker>,
    pub connections: Rc<Connections<I::Stream>>,
    pub admission: AdmissionQueue<I>,
    pub acks: Acks<I::Stream>,
    pub stages: Stages,
    pub answers: SendAnswers,
    pub saves: Saves<I>,
    pub registration: Registration,
    pub queue_listeners: QueueListeners,
    /// `None`: the broker is neither a slave nor a master that takes replicas.
    pub replication: Option<Replication<I>>,
    pub timers: RunningTimers,
    pub rounds: Rounds,
    /// `None`: everybody may do everything.
    pub checks: Option<Rc<Checks>>,
    /// Wakes a task that sleeps for long, so that it sees that the shard stops.
    pub stopped: Notify,
    ends: Cell<Option<Ends>>,
    /// No replica is waited for any more.
    is_confirmed_for_good: Cell<bool>,
    effects: RefCell<Vec<Effect>>,
}

/// What ends, when the services of a shard do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// The shard, with its process.
    Shard,
    /// This term: the next one begins at once.
    Term,
}

/// What a core is made of.
pub(super) struct Parts<I: Io> {
    pub store: Rc<Store<I>>,
    pub broker: Broker,
    pub replication: Option<Replication<I>>,
    /// `None`: everybody may do everything.
    pub checks: Option<Rc<Checks>>,
}

impl<I: Io> Core<I> {
    pub fn new(
        io: I,
        setup: ShardSetup,
        term: Term,
        orders: Rc<Orders>,
        parts: Parts<I>,
    ) -> Rc<Self> {
        let Parts {
            store,
            broker,
            replication,
            checks,
        } = parts;
        let clock = io.clone();
        let latencies = Latencies::new(RPC_LATENCY, 1_000_000, move || clock.now().mono_ns);
        let guards_strangers = checks
            .as_ref()
            .is_some_and(|it| it.access().authenticates());
        let (memory, open) = (setup.connection_memory_bytes, setup.max_connections);
        let connections = Connections::new(memory, open, latencies, guards_strangers);
        let slow_ms = setup.broker.settings.slow_request_ms;
        connections.slow_requests().set_limit(slow_ms);
        Rc::new(Core {
            admission: AdmissionQueue::new(io.clone(), store.clone(), &setup),
            answers: SendAnswers::new(&setup),
            connections,
            saves: Saves::new(store.medium(), &setup.store.dir),
            io,
            setup,
            term,
            orders,
            store,
            broker: RefCell::new(broker),
            acks: Acks::default(),
            stages: Stages::default(),
            registration: Registration::default(),
            queue_listeners: QueueListeners::default(),
            replication,
            timers: RunningTimers::default(),
            rounds: Rounds::default(),
            checks,
            stopped: Notify::default(),
            ends: Cell::default(),
            is_confirmed_for_good: Cell::default(),
            effects: RefCell::default(),
        })
    }

    /// A master's replicas have the log up to here.
    pub fn confirm(&self, position: u64) {
        if !self.is_confirmed_for_good.get() {
            self.orders.note_confirmed(position.min(self.store.tail()));
            self.store.confirm(position);
        }
    }

    /// At the end of a master, when its senders have been answered: what is left is committed by its own device. The manager may still learn another
    /// set, whose confirm offset is lower: the end would wait for replicas that are not connected any more.
    pub fn confirm_for_good(&self) {
        self.is_confirmed_for_good.set(true);
        self.store.confirm(u64::MAX);
    }

    /// Those in whose name this broker asks others.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.setup.broker.settings.inner_credentials.as_ref()
    }

    /// `None`: everybody may have every message.
    pub fn asker(
        &self,
        connection: &Connection<I::Stream>,
        ext: &Ext<'_>,
        code: i32,
    ) -> Option<Asker> {
        let checks = self.checks.as_ref();
        checks.map(|checks| checks.asker(connection, ext, code))
    }

    /// Whether it may have the message with these bytes.
    pub fn check_message(&self, asker: Option<&Asker>, record: &[u8]) -> Result<(), Refusal> {
        let Some((checks, asker)) = self.checks.as_ref().zip(asker) else {
            return Ok(());
        };
        let record = Record::decode(record, Check::Layout)
            .map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()))?;
        checks.check_message(self.io.now().mono_ns, asker, &record)
    }

    pub fn now_ms(&self) -> u64 {
        self.io.now().unix_ms as u64
    }

    pub fn is_stopping(&self) -> bool {
        self.ends.get().is_some()
    }

    /// No send waits for anything.
    pub fn are_answered(&self) -> bool {
        let replication = self.replication.as_ref();
        self.acks.is_empty() && replication.is_none_or(|replication| replication.alone.is_empty())
    }

    /// Another term follows this one.
    pub fn is_changing(&self) -> bool {
        self.ends.get() == Some(Ends::Term)
    }

    /// No service begins anything new from now on; the tasks are woken and end.
    pub fn stop(&self, ends: Ends) {
        self.ends.set(Some(ends));
        self.connections.stop_accepting();
        self.registration.stop();
        if let Some(replication) = &self.replication {
            replication.stop();
        }
        self.stopped.notify();
        self.rounds.wake();
        self.queue_listeners.notify_all();
    }

    /// Passes what the rules want done besides their answers to `carry_out`.
    pub fn take_effects(&self, carry_out: impl FnMut(Effect)) {
        let mut effects = self.effects.take();
        self.broker.borrow_mut().take_effects(&mut effects);
        effects.drain(..).for_each(carry_out);
        self.effects.replace(effects);
    }

    /// Saves the next message of this queue a look-up.
    pub fn remember_queue(&self, topic: &str, queue_id: u32, queue: QueueIndex) {
        let mut broker = self.broker.borrow_mut();
        broker.remember_queue(topic, queue_id, queue);
    }
}

/// The way into the log. Every record that this broker makes is appended by [`Core::append_one`], [`Core::append_message`] or [`Core::append_batch`], in the
/// turn in which it was decided. A replica has no records of its own: its stream brings them with their positions, does not pass here, and
/// enters the store beside `store/append.rs`; these three are where a replica refuses.
impl<I: Io> Core<I> {
    /// Appends what a plan says, one record or a batch. Returns the end of it in the log, and what the sender's answer says.
    pub fn append(
        &self,
        plan: &SendPlan<'_>,
        now_ms: i64,
    ) -> Result<(u64, SendReceipt), AppendError> {
        let (last, queue_offset, batch_ids) = match plan.batch {
            None => {
                let stored = self.append_one(plan, now_ms)?;
                (stored, stored.queue_offset, None)
            }
            Some(count) => {
                let (last, first_offset, ids) = self.append_batch(plan, count, now_ms)?;
                (last, first_offset, Some(ids))
            }
        };
        let receipt = SendReceipt {
            queue: self.queue_of(plan),
            queue_id: plan.real_queue_id,
            queue_offset,
            is_inner_batch: plan.is_inner_batch(),
            physical_offset: last.physical_offset,
            unique_key: UniqueKey::new(plan.unique_key.as_str().unwrap_or_default()),
            batch_ids,
            recall_handle: None,
        };
        Ok((last.end, receipt))
    }

    /// Appends what a plan that is no batch says.
    pub fn append_one(&self, plan: &SendPlan<'_>, now_ms: i64) -> Result<Appended, AppendError> {
        let (queue, message) = (self.queue_of(plan), plan.message());
        let stored = self
            .store
            .append(queue, &message, plan.entry_code(), now_ms)?;
        let (bytes, messages) = (stored.len as u64, plan.messages.into());
        self.count(&plan.topic, plan.message_type, messages, bytes, &stored);
        Ok(stored)
    }

    /// Appends one record of the broker's own to a queue of `topic`.
    pub fn append_message(
        &self,
        topic: &str,
        queue: QueueIndex,
        message: &Message<'_>,
        entry_code: Option<i64>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let stored = self.store.append(queue, message, entry_code, now_ms)?;
        self.count(topic, None, 1, stored.len as u64, &stored);
        Ok(stored)
    }

    /// Returns the last of them, the queue offset of the first, and all their message ids.
    fn append_batch(
        &self,
        plan: &SendPlan<'_>,
        count: u32,
        now_ms: i64,
    ) -> Result<(Appended, u64, Box<str>), AppendError> {
        // `admit_send` has found all of them well formed.
        let messages: Vec<_> = batch::iter(plan.body)
            .filter_map(Result::ok)
            .map(|item| plan.batch_message(&item))
            .collect();
        let queue = self.queue_of(plan);
        let stored = self.store.append_batch(queue, &messages, now_ms)?;
        let mut ids = String::new();
        for appended in &stored {
            if !ids.is_empty() {
                ids.push(',');
            }
            ids.push_str(&offset_message_id(
                self.answers.store_host,
                appended.physical_offset,
            ));
        }
        let (first, last) = (stored.first(), stored.last());
        let (first, last) = first.zip(last).expect("a batch has at least one message");
        let bytes = last.len as u64 * u64::from(count);
        self.count(&plan.topic, plan.message_type, count, bytes, last);
        Ok((*last, first.queue_offset, ids.into()))
    }

    fn count(
        &self,
        topic: &str,
        kind: Option<MessageType>,
        messages: u32,
        bytes: u64,
        last: &Appended,
    ) {
        let now_ms = last.store_timestamp_ms as u64;
        self.broker
            .borrow_mut()
            .stored(topic, kind, messages.into(), bytes, now_ms);
    }

    fn queue_of(&self, plan: &SendPlan<'_>) -> QueueIndex {
        plan.queue.unwrap_or_else(|| {
            let queue = self.store.queue(&plan.topic, plan.queue_id);
            self.remember_queue(&plan.topic, plan.queue_id, queue);
            queue
        })
    }
}
