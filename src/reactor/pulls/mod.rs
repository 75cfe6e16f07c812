//! Pulls: answered from the log buffer where the messages still are there, from the disk in a task of their own, or
//! parked until there is something.
//!
//! A message for thousands of parked pulls, thousands of deadlines at the same moment and the end of a connection with
//! thousands of parked pulls are worked off in slices ([`in_slices`]): other tasks run in between.

mod cold;
mod parked;
mod read_errors;
mod waking;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use self::parked::Parked;
use self::read_errors::ReadErrors;
use self::waking::Waking;
use super::answers::refuse;
use super::caller::Caller;
use super::connection::{Connection, Parking};
use super::core::Core;
use super::slices::in_slices;
use crate::broker::limits::{MAX_PARKED, MAX_PARKED_OF_ONE};
use crate::broker::{Attempt, Effort, PullAnswer, PullOutcome, PullPlan, Refusal, Scanned};
use crate::io::{Io, Notify};
use crate::store::{Position, QueueBounds, QueueIndex, Scan, ScanLimits};
use crate::wire::codes::request;
use crate::wire::pull::PullRequest;
use crate::wire::{Header, frame};

/// Parked pulls that are served in one turn. Each may copy 256 KiB.
const AT_A_TIME: usize = 32;

/// Parked pulls that are dropped in one turn.
const DROPPED_AT_A_TIME: usize = 128;

/// How often deadlines are looked at: a parked pull is late by so much at most.
const TICK_NS: u64 = 100_000_000;

/// Serves pulls, and keeps those that wait for a message.
pub(super) struct Pulls<I: Io> {
    core: Rc<Core<I>>,
    parked: RefCell<Parked<ParkedPull<I>>>,
    waking: RefCell<Waking>,
    /// More pulls have to be woken than one turn serves.
    wake: Notify,
    /// Connections that have closed with pulls parked.
    closed: RefCell<VecDeque<u64>>,
    /// Reused by every pull.
    positions: RefCell<Vec<Position>>,
    read_errors: ReadErrors,
}

impl<I: Io> Pulls<I> {
    pub(super) fn new(core: Rc<Core<I>>) -> Rc<Self> {
        Rc::new(Pulls {
            core,
            parked: RefCell::default(),
            waking: RefCell::default(),
            wake: Notify::default(),
            closed: RefCell::default(),
            positions: RefCell::default(),
            read_errors: ReadErrors::default(),
        })
    }

    /// Starts the tasks, which end with the shard.
    pub(super) fn start(self: &Rc<Self>) {
        let io = &self.core.io;
        io.spawn("pull-deadlines", run_deadlines(self.clone()));
        io.spawn("pull-wakes", run_wakes(self.clone()));
    }

    fn parked(&self) -> usize {
        self.parked.borrow().len()
    }

    /// The connection's parked pulls are of no use any more.
    pub(super) fn closed(&self, connection: &Connection<I::Stream>) {
        if connection.parked() > 0 {
            self.closed.borrow_mut().push_back(connection.id);
        }
    }

    /// At the end: the tasks see that the shard stops.
    pub(super) fn wake(&self) {
        self.wake.notify();
    }

    /// Drops a parked pull of a connection that has closed; `false` if there is none.
    fn drop_orphan(&self) -> bool {
        let Some(connection) = self.closed.borrow().front().copied() else {
            return false;
        };
        let orphan = self.parked.borrow_mut().take_of_connection(connection);
        if orphan.is_none() {
            self.closed.borrow_mut().pop_front();
        }
        true
    }
}

/// A pull without a message.
struct ParkedPull<I: Io> {
    connection: Rc<Connection<I::Stream>>,
    caller: Caller,
    plan: PullPlan<'static>,
    _parking: Parking<I::Stream>,
}

/// What becomes of a pull.
enum Decision {
    Answered,
    Empty(PullAnswer),
    /// The entries or the messages are only on disk.
    Cold,
    Park {
        /// There are further entries to look at.
        looks_again: bool,
    },
}

impl From<PullOutcome> for Decision {
    fn from(outcome: PullOutcome) -> Self {
        match outcome {
            PullOutcome::Reply(answer) => Decision::Empty(answer),
            PullOutcome::Park => Decision::Park { looks_again: false },
            PullOutcome::Scan(_) => unreachable!("a scan has been made"),
        }
    }
}

/// Answers pulls whose deadline has passed, and drops those of closed connections, until the shard stops.
async fn run_deadlines<I: Io>(pulls: Rc<Pulls<I>>) {
    while !pulls.core.is_stopping() {
        let now_ns = pulls.core.io.now().mono_ns;
        in_slices(AT_A_TIME, || pulls.expire_pull(now_ns)).await;
        in_slices(DROPPED_AT_A_TIME, || pulls.drop_orphan()).await;
        pulls.core.io.sleep_until(now_ns + TICK_NS).await;
    }
}

/// Serves the woken pulls that were too many for one turn, until the shard stops.
async fn run_wakes<I: Io>(pulls: Rc<Pulls<I>>) {
    while !pulls.core.is_stopping() {
        pulls.wake.notified().await;
        in_slices(AT_A_TIME, || pulls.serve_one_woken()).await;
    }
}

impl<I: Io> Pulls<I> {
    pub(super) fn pull(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        header: &Header<'_>,
    ) {
        let is_lite = header.code == request::LITE_PULL_MESSAGE;
        let now_ms = self.core.now_ms();
        let plan = PullRequest::decode(&header.ext)
            .map_err(Refusal::from)
            .and_then(|request| {
                self.core
                    .broker
                    .borrow_mut()
                    .admit_pull(&request, is_lite, now_ms)
            });
        match plan {
            // The offset that it brings along is committed; messages would go nowhere.
            Ok(_) if caller.is_oneway => {}
            Ok(plan) => self.serve(connection, caller, plan),
            Err(refusal) => refuse(connection, caller, &refusal),
        }
    }

    /// A watched queue has got entries: its parked pulls are served by [`Self::serve_woken`].
    pub(super) fn queue_grew(&self, queue: QueueIndex) {
        let parked = self.parked.borrow();
        if parked.waits_for(queue) {
            let before = parked.next_ticket();
            self.waking.borrow_mut().add(queue, before);
            self.core.store.watch(queue, true);
        }
    }

    /// The same outside of a commit.
    pub(super) fn wake_queue(&self, queue: QueueIndex) {
        self.queue_grew(queue);
        self.wake.notify();
    }

    /// Serves a parked pull of a queue that has grown; `false` if there is none. The queues take turns.
    fn serve_one_woken(self: &Rc<Self>) -> bool {
        let Some((queue, before)) = self.waking.borrow().first() else {
            return false;
        };
        let woken = self.parked.borrow_mut().take_first(queue, before);
        match woken {
            None => self.waking.borrow_mut().finish_first(),
            Some(parked) => {
                self.waking.borrow_mut().rotate();
                self.serve_parked(parked);
            }
        }
        true
    }

    /// After a commit: serves a turn's worth of woken pulls at once, and leaves the rest to [`run_wakes`].
    pub(super) fn serve_woken(self: &Rc<Self>) {
        let are_left = (0..AT_A_TIME).all(|_| self.serve_one_woken());
        if are_left {
            self.wake.notify();
        }
    }

    /// Answers a pull whose deadline has passed; `false` if there is none.
    fn expire_pull(self: &Rc<Self>, now_ns: u64) -> bool {
        let due = self.parked.borrow_mut().take_due(now_ns);
        let Some(mut parked) = due else { return false };
        parked.plan = parked.plan.without_hold();
        self.serve_parked(parked);
        true
    }

    fn serve_parked(self: &Rc<Self>, parked: ParkedPull<I>) {
        if parked.connection.is_closed() {
            return;
        }
        let ParkedPull {
            connection,
            caller,
            mut plan,
            ..
        } = parked;
        let decided = self.core.broker.borrow_mut().reconsider(&mut plan);
        match decided {
            Ok(_) => self.serve(&connection, caller, plan),
            Err(refusal) => refuse(&connection, caller, &refusal),
        }
    }

    fn serve(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        mut plan: PullPlan<'_>,
    ) {
        let queue = self.queue_of(&plan);
        match self.decide(connection, caller, &mut plan, queue) {
            Decision::Answered => {}
            Decision::Empty(answer) => self.reply_empty(connection, caller, &plan, &answer),
            Decision::Cold => {
                self.serve_cold(connection.clone(), caller, plan.into_owned(), queue);
            }
            Decision::Park { looks_again } => {
                let now_ns = self.core.io.now().mono_ns;
                let may_park = self.may_park(connection);
                let Some(deadline_ns) = plan.park(now_ns).filter(|_| may_park) else {
                    self.serve(connection, caller, plan.without_hold());
                    return;
                };
                let parked = ParkedPull {
                    _parking: connection.start_parking(),
                    connection: connection.clone(),
                    caller: caller.parked(),
                    plan: plan.into_owned(),
                };
                self.park(queue, deadline_ns, parked);
                if looks_again {
                    self.wake_queue(queue);
                }
            }
        }
    }

    /// Looks at the queue once. What is found in the log buffer is answered on the way.
    fn decide(
        &self,
        connection: &Connection<I::Stream>,
        caller: Caller,
        plan: &mut PullPlan<'_>,
        queue: QueueIndex,
    ) -> Decision {
        let bounds = self.core.store.bounds(queue);
        let offset = match plan.before_scan(bounds) {
            PullOutcome::Scan(offset) => offset,
            outcome => return outcome.into(),
        };
        let mut positions = self.positions.take();
        positions.clear();
        let decision = match self.scan(queue, offset, plan, &mut positions) {
            // With little memory left each reply waits for its part of it.
            Scan::Found { next_offset }
                if self.core.connections.replies.is_free()
                    && self.reply_hot(connection, caller, plan, next_offset, queue, &positions) =>
            {
                Decision::Answered
            }
            Scan::Found { .. } | Scan::Cold => Decision::Cold,
            Scan::NoneMatched { next_offset } => none_matched(plan, next_offset, bounds),
        };
        self.positions.replace(positions);
        decision
    }

    fn park(&self, queue: QueueIndex, deadline_ns: u64, pull: ParkedPull<I>) {
        let connection = pull.connection.id;
        let mut parked = self.parked.borrow_mut();
        parked.park(queue, deadline_ns, connection, pull);
        self.core.store.watch(queue, true);
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
                let filter = |_, tags_code| plan.filter.matches(tags_code);
                self.core
                    .store
                    .scan(queue, offset, &limits, filter, positions)
            }
            Some(wanted) => {
                let mut effort = Effort::of_a_look();
                let filter = |record: &[u8]| wanted.look(record, &mut effort);
                self.core
                    .store
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
            .is_some_and(|first| self.core.store.is_hot(first))
        {
            return false;
        }
        let PullOutcome::Reply(answer) = plan.after_scan(
            Scanned::Found { next_offset },
            self.core.store.bounds(queue),
        ) else {
            unreachable!("found messages are handed out");
        };
        let head = caller.head(answer.code, Some(answer.remark));
        connection.write(|out| {
            let open = frame::begin(out, &head, &answer.header.ext());
            for position in positions {
                assert!(
                    self.core.store.copy_hot(position, out),
                    "the buffer does not change during a turn"
                );
            }
            frame::finish(out, open);
        });
        connection.answered(caller, answer.code);
        let sizes = positions.iter().map(|position| u64::from(position.size));
        let messages = positions.iter().map(|at| u32::from(at.messages)).sum();
        let now_ms = self.core.now_ms();
        self.core.broker.borrow_mut().pull_answered(
            plan,
            &answer,
            messages,
            sizes.sum(),
            now_ms,
            now_ms,
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
        let now_ms = self.core.now_ms();
        let mut broker = self.core.broker.borrow_mut();
        broker.pull_answered(plan, answer, 0, 0, now_ms, now_ms);
        drop(broker);
        connection.answer(
            caller,
            answer.code,
            Some(answer.remark),
            &answer.header.ext(),
            &[],
        );
    }

    fn may_park(&self, connection: &Connection<I::Stream>) -> bool {
        self.parked() < MAX_PARKED && connection.parked() < MAX_PARKED_OF_ONE
    }

    fn queue_of(&self, plan: &PullPlan<'_>) -> QueueIndex {
        plan.queue.unwrap_or_else(|| {
            let queue = self.core.store.queue(&plan.topic, plan.queue_id);
            self.core.remember_queue(&plan.topic, plan.queue_id, queue);
            queue
        })
    }
}

/// A parked pull is not answered because of messages that its filter rejects: it stays parked, with its offset behind them. Only
/// where filtering takes long, and more is left, its client gets the new offset and asks again.
fn none_matched(plan: &mut PullPlan<'_>, next_offset: u64, bounds: QueueBounds) -> Decision {
    let is_end = next_offset >= bounds.max;
    let has_moved = next_offset as i64 > plan.offset();
    match plan.attempt() {
        Attempt::Parked { .. } if has_moved && (is_end || plan.properties.is_none()) => {
            plan.skip_to(next_offset as i64);
            Decision::Park {
                looks_again: !is_end,
            }
        }
        _ => plan
            .after_scan(Scanned::NoneMatched { next_offset }, bounds)
            .into(),
    }
}

fn limits_of(plan: &PullPlan<'_>) -> ScanLimits {
    ScanLimits {
        max_messages: plan.max_messages as usize,
        max_bytes: plan.max_bytes as usize,
        max_entries: plan.max_entries as usize,
    }
}
