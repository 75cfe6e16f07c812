//! Pulls: answered from the log buffer where the messages still are there, from the disk in a task of their own, or
//! parked until there is something.

use std::rc::Rc;

use super::connection::{Caller, Connection, Parking};
use super::gate::Pass;
use super::shard::Shard;
use crate::broker::{PullAnswer, PullOutcome, PullPlan, Refusal, Scanned};
use crate::io::Io;
use crate::store::{Position, QueueIndex, ReadError, Scan, ScanLimits};
use crate::wire::codes::{request, response};
use crate::wire::pull::PullRequest;
use crate::wire::{Header, frame};

/// Pulls that may wait for a message at a time, some 500 bytes each; further ones are told at once that there is none.
const MAX_PARKED: usize = 1 << 19;

/// The same for one connection: a client with so many queues of a broker.
const MAX_PARKED_OF_ONE: usize = 1 << 16;

/// A pull that waits for a message.
pub(super) struct ParkedPull<I: Io> {
    connection: Rc<Connection<I::Stream>>,
    caller: Caller,
    plan: PullPlan<'static>,
    _parking: Parking<I::Stream>,
}

/// What was found in the log, and what the reply may take.
struct Read {
    scanned: Scanned,
    body: Vec<u8>,
    messages: usize,
    _pass: Pass,
}

/// Where a pull stands in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    /// Woken by a message; gives up at this time.
    Woken {
        deadline_ns: u64,
    },
    Last,
}

impl<I: Io> Shard<I> {
    pub(super) fn pull(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) {
        let is_lite = header.code == request::LITE_PULL_MESSAGE;
        let now_ms = self.now_ms();
        let plan = PullRequest::decode(&header.ext)
            .map_err(Refusal::from)
            .and_then(|request| {
                self.broker
                    .borrow_mut()
                    .admit_pull(&request, is_lite, now_ms)
            });
        match plan {
            Ok(plan) => self.serve(connection, caller, plan, Try::First),
            Err(refusal) => self.refuse(connection, caller, &refusal),
        }
    }

    /// A queue that somebody waits for has got entries.
    pub(super) fn wake_pulls(self: &Rc<Self>, queue: QueueIndex) {
        let woken = self.parked.borrow_mut().take_queue(queue);
        for (deadline_ns, parked) in woken {
            if !parked.connection.is_closed() {
                self.serve(
                    &parked.connection,
                    parked.caller,
                    parked.plan,
                    Try::Woken { deadline_ns },
                );
            }
        }
        self.store
            .watch(queue, self.parked.borrow().waits_for(queue));
    }

    /// Answers the pulls whose time is over.
    pub(super) fn expire_pulls(self: &Rc<Self>, now_ns: u64) {
        loop {
            let due = self.parked.borrow_mut().take_due(now_ns);
            let Some((_, parked)) = due else { return };
            if !parked.connection.is_closed() {
                self.serve(
                    &parked.connection,
                    parked.caller,
                    parked.plan.without_hold(),
                    Try::Last,
                );
            }
        }
    }

    /// Lets go of what waits for clients that have gone.
    pub(super) fn drop_orphans(&self) {
        if self.has_orphans.take() {
            let mut parked = self.parked.borrow_mut();
            parked.retain(|pull| !pull.connection.is_closed());
        }
    }

    fn serve(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        mut plan: PullPlan<'_>,
        current: Try,
    ) {
        let queue = self.queue_of_pull(&plan);
        if current != Try::First {
            self.broker.borrow_mut().reconsider(&mut plan);
        }
        loop {
            let bounds = self.store.bounds(queue);
            let outcome = match plan.before_scan(bounds) {
                PullOutcome::Scan(offset) => {
                    let mut positions = self.positions.take();
                    positions.clear();
                    let scan = self.scan(queue, offset, &plan, &mut positions);
                    let scanned = match scan {
                        // With little memory left each waits for its part of it.
                        Scan::Found { next_offset }
                            if self.connections.replies.is_free()
                                && self.reply_hot(
                                    connection,
                                    caller,
                                    &plan,
                                    next_offset,
                                    queue,
                                    &positions,
                                ) =>
                        {
                            self.positions.replace(positions);
                            return;
                        }
                        Scan::Found { .. } | Scan::Cold => None,
                        Scan::NoneMatched { next_offset } => {
                            Some(Scanned::NoneMatched { next_offset })
                        }
                    };
                    self.positions.replace(positions);
                    let Some(scanned) = scanned else {
                        return self.serve_cold(
                            connection.clone(),
                            caller,
                            plan.into_owned(),
                            queue,
                        );
                    };
                    // Who waits does not want to hear of messages that are not for him: he waits on, from behind them.
                    // Only where looking at messages takes long he is sent on with what has been seen so far.
                    if let (Try::Woken { .. }, Scanned::NoneMatched { next_offset }) =
                        (current, scanned)
                        && (plan.properties.is_none() || next_offset >= bounds.max)
                    {
                        plan.offset = next_offset as i64;
                        continue;
                    }
                    plan.after_scan(scanned, bounds)
                }
                outcome => outcome,
            };
            return match outcome {
                PullOutcome::Reply(answer) => self.reply_empty(connection, caller, &plan, &answer),
                PullOutcome::Park { .. } if !self.may_park(connection) => {
                    self.serve(connection, caller, plan.without_hold(), Try::Last)
                }
                PullOutcome::Park { hold_ms } => {
                    let deadline_ns = match current {
                        Try::Woken { deadline_ns } => deadline_ns,
                        _ => self
                            .io
                            .now()
                            .mono_ns
                            .saturating_add(hold_ms.saturating_mul(1_000_000)),
                    };
                    let connection = connection.clone();
                    let parked = ParkedPull {
                        _parking: connection.start_parking(),
                        connection,
                        caller,
                        plan: plan.into_owned(),
                    };
                    self.parked.borrow_mut().park(queue, deadline_ns, parked);
                    self.store.watch(queue, true);
                }
                PullOutcome::Scan(_) => unreachable!("a scan has been made"),
            };
        }
    }

    fn scan(
        &self,
        queue: QueueIndex,
        offset: u64,
        plan: &PullPlan<'_>,
        positions: &mut Vec<Position>,
    ) -> Scan {
        let limits = limits_of(plan);
        match &plan.properties {
            None => {
                let filter = |tags_code| plan.filter.matches(tags_code);
                self.store.scan(queue, offset, &limits, filter, positions)
            }
            Some(wanted) => {
                let filter = |record: &[u8]| wanted.matches(record);
                self.store
                    .scan_messages(queue, offset, &limits, filter, positions)
            }
        }
    }

    /// Answers from the log buffer; `false` if a message is no longer there.
    fn reply_hot(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        plan: &PullPlan<'_>,
        next_offset: u64,
        queue: QueueIndex,
        positions: &[Position],
    ) -> bool {
        // They ascend, and the buffer loses its oldest bytes first.
        if !positions
            .first()
            .is_some_and(|first| self.store.is_hot(first))
        {
            return false;
        }
        let PullOutcome::Reply(answer) =
            plan.after_scan(Scanned::Found { next_offset }, self.store.bounds(queue))
        else {
            unreachable!("found messages are handed out");
        };
        let head = caller.head(answer.code, Some(answer.remark));
        connection.write(|out| {
            let open = frame::begin(out, &head, &answer.header.ext());
            for position in positions {
                assert!(
                    self.store.copy_hot(position, out),
                    "the buffer does not change during a turn"
                );
            }
            frame::finish(out, open);
        });
        self.broker.borrow_mut().pull_answered(
            plan,
            &answer,
            positions.len() as u32,
            self.now_ms(),
        );
        true
    }

    fn reply_empty(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        plan: &PullPlan<'_>,
        answer: &PullAnswer,
    ) {
        self.broker
            .borrow_mut()
            .pull_answered(plan, answer, 0, self.now_ms());
        connection.answer(
            caller,
            answer.code,
            Some(answer.remark),
            &answer.header.ext(),
            &[],
        );
    }

    /// The entries or the messages are only on disk.
    fn serve_cold(
        self: &Rc<Self>,
        connection: Rc<Connection<I::Stream>>,
        caller: Caller,
        plan: PullPlan<'static>,
        queue: QueueIndex,
    ) {
        let shard = self.clone();
        let reading = connection.start_reading();
        self.io.spawn("pull-from-disk", async move {
            let _reading = reading;
            let _turn = match shard.connections.replies.is_free() {
                true => None,
                false => match connection.reply_turn().await {
                    Some(turn) => Some(turn),
                    None => return,
                },
            };
            if let Err(error) = shard.read_cold(&connection, caller, &plan, queue).await {
                tracing::error!(%error, topic = %plan.topic, queue_id = plan.queue_id, "a message cannot be read");
                connection.answer(caller, response::SYSTEM_ERROR, Some(&error.to_string()), &[], &[]);
            }
        });
    }

    async fn read_cold(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        plan: &PullPlan<'static>,
        queue: QueueIndex,
    ) -> Result<(), ReadError> {
        let offset = plan.offset.max(0) as u64;
        let Read {
            scanned,
            body,
            messages,
            _pass,
        } = self.scan_cold(connection, plan, queue).await?;
        let bounds = self.store.bounds(queue);
        let has_moved = offset < bounds.min && !matches!(scanned, Scanned::Found { .. });
        // Messages have gone while they were looked for: the queue begins behind them by now.
        let outcome = match has_moved {
            true => plan.before_scan(bounds),
            false => plan.after_scan(scanned, bounds),
        };
        let PullOutcome::Reply(answer) = outcome else {
            unreachable!("only an empty queue makes a pull wait");
        };
        if answer.is_found() {
            self.broker
                .borrow_mut()
                .pull_answered(plan, &answer, messages as u32, self.now_ms());
            connection.answer(
                caller,
                answer.code,
                Some(answer.remark),
                &answer.header.ext(),
                &body,
            );
        } else {
            self.reply_empty(connection, caller, plan, &answer);
        }
        Ok(())
    }

    async fn scan_cold(
        &self,
        connection: &Connection<I::Stream>,
        plan: &PullPlan<'static>,
        queue: QueueIndex,
    ) -> Result<Read, ReadError> {
        let offset = plan.offset.max(0) as u64;
        let limits = limits_of(plan);
        if let Some(wanted) = &plan.properties {
            let pass = self.connections.replies.enter(limits.max_bytes).await;
            let filter = |record: &[u8]| wanted.matches(record);
            let (scan, body, messages) = self
                .store
                .scan_messages_cold(queue, offset, &limits, filter, Vec::new())
                .await?;
            return Ok(Read {
                scanned: scanned_cold(scan),
                body,
                messages,
                _pass: pass,
            });
        }
        let mut positions = Vec::new();
        let filter = |tags_code| plan.filter.matches(tags_code);
        let scan = self
            .store
            .scan_cold(queue, offset, &limits, filter, &mut positions)
            .await?;
        let bytes: usize = positions
            .iter()
            .map(|position| position.size as usize)
            .sum();
        // Of a damaged entry nobody knows what it says.
        let bytes = bytes.min(self.connections.replies.limit());
        let pass = self.connections.replies.enter(bytes).await;
        if connection.is_closed() {
            positions.clear();
        }
        let records = Vec::with_capacity(bytes);
        let read = match self.store.read_readable(queue, &positions, records).await {
            Err(ReadError::Removed { .. }) => {
                let next_offset = self.store.goes_on_at(queue, offset);
                return Ok(Read {
                    scanned: Scanned::Removed { next_offset },
                    body: Vec::new(),
                    messages: 0,
                    _pass: pass,
                });
            }
            read => read?,
        };
        let scanned = match scan {
            // None of them can be read any more.
            Scan::Found { next_offset } if read.records.is_empty() => {
                Scanned::Removed { next_offset }
            }
            scan => scanned_cold(scan),
        };
        Ok(Read {
            scanned,
            messages: positions.len() - read.lost.len(),
            body: read.records,
            _pass: pass,
        })
    }

    fn may_park(&self, connection: &Connection<I::Stream>) -> bool {
        self.parked.borrow().len() < MAX_PARKED && connection.parked() < MAX_PARKED_OF_ONE
    }

    fn queue_of_pull(&self, plan: &PullPlan<'_>) -> QueueIndex {
        plan.queue.unwrap_or_else(|| {
            let queue = self.store.queue(&plan.topic, plan.queue_id);
            self.remember_queue(&plan.topic, plan.queue_id, queue);
            queue
        })
    }
}

fn scanned_cold(scan: Scan) -> Scanned {
    match scan {
        Scan::Found { next_offset } => Scanned::Found { next_offset },
        Scan::NoneMatched { next_offset } => Scanned::NoneMatched { next_offset },
        Scan::Cold => unreachable!("a cold scan reads what is cold"),
    }
}

fn limits_of(plan: &PullPlan<'_>) -> ScanLimits {
    ScanLimits {
        max_messages: plan.max_messages as usize,
        max_bytes: plan.max_bytes as usize,
        max_entries: plan.max_entries as usize,
    }
}
