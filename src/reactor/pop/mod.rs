//! POP: takes messages of whatever queue has some, writes their check point, and hands them out.
//!
//! A pop is a task of its own, as it may look at many queues, some of them on disk. While it reads a queue no other pop of
//! its group does. `acks.rs` takes acknowledgements, `revive.rs` brings back what nobody acknowledged, `polls.rs` is where
//! pops wait.

mod acks;
mod assignment;
mod polls;
mod revive;

pub(super) use revive::{restore, run};

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use tracing::error;

use self::polls::{Ask, LineKey, Polls};
use super::connection::{Caller, Connection};
use super::registration::Link;
use super::send::refusal_of;
use super::shard::Shard;
use crate::broker::pop::{Infos, Look, PopKey, PopPlan, ReviveRecord, Source, check_point};
use crate::broker::{Broker, PropertyFilter, Refusal};
use crate::io::{Io, Notify};
use crate::message::{Check, MAX_PROPERTIES_BYTES, Properties, Record, RecordFields, properties};
use crate::store::{AppendError, Position, QueueIndex, ReadError, Scan, ScanLimits};
use crate::wire::Header;
use crate::wire::codes::{request, response};
use crate::wire::pop::{
    NotificationReply, NotificationRequest, PeekRequest, PollingInfoReply, PollingInfoRequest,
    PopReply, PopRequest, Receipt,
};

/// Entries of one queue that one look may pass over.
const MAX_ENTRIES: usize = 800;

const FOUND: &str = "FOUND";
const NOTHING: &str = "NO_MESSAGE_IN_QUEUE";

/// The shard's pops.
pub(super) struct Pops<I: Io> {
    polls: RefCell<Polls<Waiting<I>>>,
    /// Queues that a pop of this group reads now.
    busy: RefCell<BTreeSet<(QueueIndex, Rc<str>)>>,
    /// There may be something to bring back earlier than at [`Self::wakes_at_ms`].
    bell: Notify,
    wakes_at_ms: Cell<u64>,
    /// To a name server, while nobody uses it.
    link: RefCell<Option<Link<I::Stream>>>,
}

impl<I: Io> Default for Pops<I> {
    fn default() -> Self {
        Self {
            polls: RefCell::default(),
            busy: RefCell::default(),
            bell: Notify::default(),
            wakes_at_ms: Cell::new(u64::MAX),
            link: RefCell::default(),
        }
    }
}

impl<I: Io> Pops<I> {
    /// At the end: nobody is to sleep over it.
    pub(super) fn wake(&self) {
        self.bell.notify();
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

/// A pop, or a question whether there is something to pop, and who asked.
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

/// Messages of one queue.
struct Taken {
    offsets: Vec<u64>,
    records: Vec<u8>,
    next_offset: u64,
}

#[derive(Debug, thiserror::Error)]
enum PopError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<PopError> for Refusal {
    fn from(error: PopError) -> Self {
        match error {
            PopError::Read(error) => Refusal::new(response::SYSTEM_ERROR, error.to_string()),
            PopError::Append(error) => {
                let (code, remark) = refusal_of(&error);
                Refusal::new(code, remark)
            }
        }
    }
}

impl<I: Io> Shard<I> {
    /// What asks for messages, or who does.
    pub(super) fn ask_pop(
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
            self.refuse(connection, caller, &refusal);
        }
    }

    fn pop(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) -> Result<(), Refusal> {
        if self.stopping.get() {
            let remark = "the broker is shutting down";
            return Err(Refusal::new(response::SERVICE_NOT_AVAILABLE, remark));
        }
        let now_ms = self.now_ms();
        let mut broker = self.broker.borrow_mut();
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
        let shard = self.clone();
        let reading = waiting.connection.start_reading();
        self.io.spawn(async move {
            let _reading = reading;
            shard.answer_pop(waiting).await;
            shard.carry_out_effects();
        });
    }

    async fn answer_pop(self: &Rc<Self>, mut waiting: Waiting<I>) {
        let line = waiting.line();
        loop {
            let batch = match self.gather(&waiting).await {
                Ok(batch) => batch,
                Err(error) => {
                    error!(%error, topic = %waiting.plan.topic, "a pop has failed");
                    return self.refuse(&waiting.connection, waiting.caller, &error.into());
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
            match self.park_pop(waiting, &batch) {
                Some(again) => waiting = again,
                None => return,
            }
        }
    }

    /// Somebody has left messages behind.
    fn wake_next(self: &Rc<Self>, line: &LineKey) {
        let next = self.pops.polls.borrow_mut().take_first(line);
        if let Some(next) = next {
            self.serve_woken(next);
        }
    }

    /// A client that has gone takes no messages; the next one in its line does.
    fn serve_woken(self: &Rc<Self>, mut waiting: Waiting<I>) {
        while waiting.connection.is_closed() {
            let next = self.pops.polls.borrow_mut().take_first(&waiting.line());
            match next {
                Some(next) => waiting = next,
                None => return,
            }
        }
        self.serve_pop(waiting);
    }

    /// Queues of the group that were blocked may be popped again.
    fn wake_freed(self: &Rc<Self>, group: &str, topic: &str, queue_id: u32) {
        let mut polls = self.pops.polls.borrow_mut();
        let woken = polls.take_for_group(topic, group, queue_id);
        drop(polls);
        woken
            .into_iter()
            .for_each(|waiting| self.serve_woken(waiting));
    }

    /// A queue that somebody watches has got entries.
    pub(super) fn wake_pops(self: &Rc<Self>, queue: QueueIndex) {
        let woken = self.pops.polls.borrow_mut().take_for_queue(queue);
        woken
            .into_iter()
            .for_each(|waiting| self.serve_woken(waiting));
        if self.pops.polls.borrow().waits_for(queue) {
            self.store.watch(queue, true);
        }
    }

    /// Answers those whose time is over.
    pub(super) fn expire_pops(&self, now_ns: u64) {
        loop {
            let due = self.pops.polls.borrow_mut().take_due(now_ns);
            let Some(waiting) = due else { return };
            self.give_up(&waiting, response::POLLING_TIMEOUT);
        }
    }

    fn give_up(&self, waiting: &Waiting<I>, code: i32) {
        if waiting.ask == Ask::Notification {
            return reply_notification(waiting, false, code == response::POLLING_FULL);
        }
        let batch = Batch {
            pop_time_ms: self.now_ms(),
            ..Batch::default()
        };
        reply_pop(waiting, code, NOTHING, &batch);
    }

    /// Lets a pop wait that has found nothing; returned if there is something by now.
    fn park_pop(self: &Rc<Self>, waiting: Waiting<I>, batch: &Batch) -> Option<Waiting<I>> {
        let now = self.io.now();
        let now_ms = now.unix_ms as u64;
        let until_ms = waiting.plan.waits_until_ms;
        let Some(until_ms) = until_ms.filter(|until_ms| *until_ms > now_ms) else {
            self.give_up(&waiting, response::POLLING_TIMEOUT);
            return None;
        };
        let mut seen = batch.seen.iter();
        if seen.any(|(queue, end)| self.store.bounds(*queue).max > *end) {
            return Some(waiting);
        }
        let line = waiting.line();
        let mut polls = self.pops.polls.borrow_mut();
        let is_full = {
            let limits = &self.broker.borrow().config.pop;
            polls.len() >= limits.max_polls || polls.waiting(&line) > limits.max_polls_of_queue
        };
        if is_full {
            self.give_up(&waiting, response::POLLING_FULL);
            return None;
        }
        let deadline_ns = now
            .mono_ns
            .saturating_add((until_ms - now_ms).saturating_mul(1_000_000));
        let queues = batch.seen.iter().map(|(queue, _)| *queue);
        polls.park(line, queues, deadline_ns, waiting);
        for (queue, _) in &batch.seen {
            self.store.watch(*queue, true);
        }
        None
    }

    async fn gather(self: &Rc<Self>, waiting: &Waiting<I>) -> Result<Batch, PopError> {
        let mut batch = Batch {
            pop_time_ms: self.now_ms(),
            ..Batch::default()
        };
        let sources = self.broker.borrow_mut().pop_sources(&waiting.plan);
        for source in &sources {
            self.pop_from(waiting, source, &mut batch).await?;
        }
        Ok(batch)
    }

    async fn pop_from(
        self: &Rc<Self>,
        waiting: &Waiting<I>,
        source: &Source,
        batch: &mut Batch,
    ) -> Result<(), PopError> {
        let plan = &waiting.plan;
        let queue = self.store.queue(&source.topic, source.queue_id);
        let bounds = self.store.bounds(queue);
        batch.seen.push((queue, bounds.max));
        let Some(_lock) = self.pops.lock(queue, &plan.group) else {
            // Who has it wakes the next one if there is something left.
            return Ok(());
        };
        let now_ms = self.now_ms();
        let look = {
            let mut broker = self.broker.borrow_mut();
            broker.before_pop(plan, source, bounds, batch.messages, now_ms)
        };
        let offset = match look {
            Look::From(offset) => offset,
            Look::Skip { rest } => {
                batch.rest += rest;
                return Ok(());
            }
        };
        let key = match self.is_full(batch) {
            true => None,
            false => self.receipt(plan, source, offset, batch),
        };
        let Some(key) = key else {
            batch.rest += bounds.max - offset;
            return Ok(());
        };
        let left = plan.max_messages - batch.messages;
        let taken = self.read_source(plan, queue, offset, left, batch).await?;
        if waiting.connection.is_closed() {
            batch.rest += bounds.max - offset;
            return Ok(());
        }
        batch.rest += bounds.max.saturating_sub(taken.next_offset);
        if taken.offsets.is_empty() {
            batch.goes_on |= offset < taken.next_offset && taken.next_offset < bounds.max;
            let mut broker = self.broker.borrow_mut();
            broker.passed_over(plan, source, taken.next_offset, now_ms);
            return Ok(());
        }
        let times = match plan.is_orderly {
            true => {
                let mut broker = self.broker.borrow_mut();
                Some(broker.popped_in_order(plan, source, &taken.offsets, key.pop_time_ms))
            }
            false => {
                self.write_check_point(plan, source, key, &taken).await?;
                None
            }
        };
        batch
            .infos
            .add(source, offset, &taken.offsets, times.as_ref());
        batch.messages += taken.offsets.len();
        self.show(plan, source, key, &taken, &mut batch.body);
        let messages = taken.offsets.len() as u64;
        let mut broker = self.broker.borrow_mut();
        broker.handed_out(plan, source, messages, now_ms);
        Ok(())
    }

    /// One that no other pop has. The time of the pop stands in the reply once for all its queues, so that it can be moved
    /// only as long as there is nothing else in it.
    fn receipt(
        &self,
        plan: &PopPlan,
        source: &Source,
        start_offset: u64,
        batch: &mut Batch,
    ) -> Option<PopKey> {
        let broker = self.broker.borrow();
        loop {
            let key = PopKey {
                start_offset,
                pop_time_ms: batch.pop_time_ms,
            };
            if plan.is_orderly || !broker.is_receipt_taken(plan, source, key) {
                return Some(key);
            }
            if batch.messages > 0 {
                return None;
            }
            batch.pop_time_ms += 1;
        }
    }

    fn max_bytes(&self) -> usize {
        self.broker.borrow().config.max_pull_bytes as usize
    }

    /// Each look takes one message at least, however large.
    fn is_full(&self, batch: &Batch) -> bool {
        batch.body.len() >= self.max_bytes()
    }

    async fn write_check_point(
        self: &Rc<Self>,
        plan: &PopPlan,
        source: &Source,
        key: PopKey,
        taken: &Taken,
    ) -> Result<(), PopError> {
        let name = &self.setup.broker.broker_name;
        let body = check_point(plan, source, key, &taken.offsets, taken.next_offset, name);
        let record = ReviveRecord::of_pop(&body);
        self.store.wait_for_room(record.log_bytes()).await;
        self.append_check_point(&record, &body)?;
        Ok(())
    }

    /// Up to `max_messages` that the plan wants, from `offset` on, wherever they are.
    async fn read_source(
        self: &Rc<Self>,
        plan: &PopPlan,
        queue: QueueIndex,
        offset: u64,
        max_messages: usize,
        batch: &Batch,
    ) -> Result<Taken, ReadError> {
        let limits = ScanLimits {
            max_messages,
            max_bytes: self.max_bytes().saturating_sub(batch.body.len()),
            max_entries: MAX_ENTRIES,
        };
        let (mut offsets, mut at) = (Vec::new(), offset);
        let mut filter = |tags_code| {
            let is_wanted = plan.filter.matches(tags_code);
            if is_wanted {
                offsets.push(at);
            }
            at += 1;
            is_wanted
        };
        let mut positions: Vec<Position> = Vec::new();
        let store = &self.store;
        let hot = store.scan(queue, offset, &limits, &mut filter, &mut positions);
        let scan = match hot {
            Scan::Cold => {
                store
                    .scan_cold(queue, offset, &limits, &mut filter, &mut positions)
                    .await?
            }
            hot => hot,
        };
        // The scan has asked for one more than it took if it came to a limit.
        offsets.truncate(positions.len());
        let next_offset = match scan {
            Scan::Found { next_offset } | Scan::NoneMatched { next_offset } => next_offset,
            Scan::Cold => unreachable!("a cold scan reads what is cold"),
        };
        let mut records = store.read_cold(&positions, Vec::new()).await?;
        if let Some(filter) = &plan.properties {
            records = keep_matching(filter, &mut offsets, &positions, &records);
        }
        Ok(Taken {
            offsets,
            records,
            next_offset,
        })
    }

    /// Messages of a retry topic are shown as those of the topic that was asked for, with their receipt.
    fn show(&self, plan: &PopPlan, source: &Source, key: PopKey, taken: &Taken, out: &mut Vec<u8>) {
        if !source.is_retry || self.broker.borrow().config.pop.shows_retry_topic {
            return out.extend_from_slice(&taken.records);
        }
        let receipt = Receipt {
            start_offset: key.start_offset,
            pop_time_ms: key.pop_time_ms,
            invisible_ms: plan.invisible_ms,
            revive_queue: plan.revive_queue(),
            retry_flag: crate::broker::pop::retry_flag(&source.topic),
            broker_name: &self.setup.broker.broker_name,
        };
        let mut rest = &taken.records[..];
        for offset in &taken.offsets {
            match Record::decode(rest, Check::Layout) {
                Ok(record) => {
                    let text = receipt.text(source.queue_id, *offset);
                    let (bytes, behind) = rest.split_at(record.total_size as usize);
                    if !push_under(&plan.topic, &text, &record, out) {
                        out.extend_from_slice(bytes);
                    }
                    rest = behind;
                }
                Err(error) => {
                    // What cannot be read comes back to be looked at again, as every message that nobody acknowledges.
                    error!(%error, topic = %source.topic, offset, "a message cannot be decoded");
                    return;
                }
            }
        }
    }

    fn peek(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) -> Result<(), Refusal> {
        let request = PeekRequest::decode(&header.ext)?;
        let plan = self
            .broker
            .borrow_mut()
            .admit_peek(&request, self.now_ms())?;
        let waiting: Waiting<I> = Waiting {
            connection: connection.clone(),
            caller,
            plan,
            ask: Ask::Pop,
        };
        let shard = self.clone();
        let reading = connection.start_reading();
        self.io.spawn(async move {
            let _reading = reading;
            match shard.look_at_sources(&waiting.plan).await {
                Ok(batch) if batch.messages > 0 => {
                    reply_pop(&waiting, response::SUCCESS, FOUND, &batch)
                }
                Ok(batch) => reply_pop(&waiting, response::PULL_NOT_FOUND, NOTHING, &batch),
                Err(error) => {
                    let refusal = Refusal::new(response::SYSTEM_ERROR, error.to_string());
                    shard.refuse(&waiting.connection, caller, &refusal);
                }
            }
            shard.carry_out_effects();
        });
        Ok(())
    }

    /// As a pop gathers, but takes nothing.
    async fn look_at_sources(self: &Rc<Self>, plan: &PopPlan) -> Result<Batch, ReadError> {
        let mut batch = Batch::default();
        let sources = self.broker.borrow_mut().pop_sources(plan);
        for source in &sources {
            let queue = self.store.queue(&source.topic, source.queue_id);
            let bounds = self.store.bounds(queue);
            let offset = self.broker.borrow().pop_offset(plan, source, bounds);
            batch.rest += bounds.max - offset;
            let left = plan.max_messages - batch.messages;
            if left == 0 || offset == bounds.max || self.is_full(&batch) {
                continue;
            }
            let taken = self.read_source(plan, queue, offset, left, &batch).await?;
            batch.messages += taken.offsets.len();
            batch.body.extend_from_slice(&taken.records);
            let messages = taken.offsets.len() as u64;
            let mut broker = self.broker.borrow_mut();
            broker.handed_out(plan, source, messages, self.now_ms());
        }
        Ok(batch)
    }

    fn answer_notification(self: &Rc<Self>, mut waiting: Waiting<I>) {
        loop {
            let (has_message, batch) = self.has_message(&waiting.plan);
            if has_message {
                return reply_notification(&waiting, true, false);
            }
            match self.park_pop(waiting, &batch) {
                Some(again) => waiting = again,
                None => return,
            }
        }
    }

    fn has_message(&self, plan: &PopPlan) -> (bool, Batch) {
        let mut batch = Batch::default();
        let now_ms = self.now_ms();
        let mut broker = self.broker.borrow_mut();
        let sources = broker.pop_sources(plan);
        let broker: &Broker = &broker;
        let has_message = sources.iter().any(|source| {
            let queue = self.store.queue(&source.topic, source.queue_id);
            let bounds = self.store.bounds(queue);
            batch.seen.push((queue, bounds.max));
            let is_blocked = plan.is_orderly && broker.is_pop_blocked(plan, source, now_ms);
            !is_blocked && broker.pop_offset(plan, source, bounds) < bounds.max
        });
        (has_message, batch)
    }

    fn polling_info(
        &self,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) -> Result<(), Refusal> {
        let request = PollingInfoRequest::decode(&header.ext)?;
        let now_ms = self.now_ms();
        let queue_id = self
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
            polling: self.pops.polls.borrow().waiting(&line) as i32,
        };
        connection.answer(caller, response::SUCCESS, None, &reply.ext(), &[]);
        Ok(())
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

fn reply_notification<I: Io>(waiting: &Waiting<I>, has_message: bool, is_polling_full: bool) {
    let reply = NotificationReply {
        has_message,
        is_polling_full,
    };
    let (connection, caller) = (&waiting.connection, waiting.caller);
    connection.answer(caller, response::SUCCESS, None, &reply.ext(), &[]);
}

/// The records that pass, and their offsets only.
fn keep_matching(
    filter: &PropertyFilter,
    offsets: &mut Vec<u64>,
    positions: &[Position],
    records: &[u8],
) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::new(), records);
    let mut sizes = positions.iter().map(|position| position.size as usize);
    offsets.retain(|_| {
        let size = sizes.next().unwrap_or(0).min(rest.len());
        let (record, behind) = rest.split_at(size);
        rest = behind;
        let is_wanted = filter.matches(record);
        if is_wanted {
            kept.extend_from_slice(record);
        }
        is_wanted
    });
    kept
}

/// Appends the record as one of `topic`, with its receipt; `false` if there is no room for it among the properties. Then the
/// client makes it from the reply's header.
fn push_under(topic: &str, receipt: &str, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
    let mut own = String::new();
    properties::push(&mut own, properties::POP_RECEIPT, receipt);
    let fields = RecordFields {
        queue_id: record.queue_id,
        flag: record.flag,
        queue_offset: record.queue_offset,
        physical_offset: record.physical_offset,
        sys_flag: record.sys_flag,
        born_timestamp_ms: record.born_timestamp_ms,
        born_host: record.born_host,
        store_timestamp_ms: record.store_timestamp_ms,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        prepared_transaction_offset: record.prepared_transaction_offset,
        body: record.body,
        topic,
        properties: Properties::new(record.properties_without_crc()).with(&own),
    };
    if fields.properties_len() > MAX_PROPERTIES_BYTES {
        return false;
    }
    let start = out.len();
    out.resize(start + fields.encoded_len(), 0);
    fields.encode(&mut out[start..]);
    true
}
