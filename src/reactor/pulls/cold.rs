//! Pulls whose entries or messages are only on disk, each in a task of its own.

use std::rc::Rc;

use tracing::error;

use super::{Pulls, limits_of};
use crate::broker::{Effort, PropertyFilter, PullOutcome, PullPlan, Scanned};
use crate::io::{Io, Pass};
use crate::reactor::answers::refuse;
use crate::reactor::caller::Caller;
use crate::reactor::connection::Connection;
use crate::store::{Position, QueueIndex, ReadError, Scan, ScanLimits};
use crate::wire::codes::response;

/// What was found in the log, and the memory that the reply may take.
struct Read {
    scanned: Scanned,
    body: Vec<u8>,
    messages: usize,
    _pass: Pass,
}

impl Read {
    /// What was looked for is removed: the queue goes on there.
    fn gone(next_offset: u64, pass: Pass) -> Self {
        Self {
            scanned: Scanned::Removed { next_offset },
            body: Vec::new(),
            messages: 0,
            _pass: pass,
        }
    }
}

impl<I: Io> Pulls<I> {
    pub(super) fn serve_cold(
        self: &Rc<Self>,
        connection: Rc<Connection<I::Stream>>,
        caller: Caller,
        plan: PullPlan<'static>,
        queue: QueueIndex,
    ) {
        let pulls = self.clone();
        let reading = connection.start_reading();
        self.core.io.spawn("pull-from-disk", async move {
            let _reading = reading;
            let _turn = match pulls.core.connections.replies.is_free() {
                true => None,
                false => match connection.reply_turn().await {
                    Some(turn) => Some(turn),
                    None => return,
                },
            };
            let topic = plan.topic.clone();
            let queue_id = plan.queue_id;
            let read = pulls.read_cold(&connection, caller, plan, queue).await;
            if let Err(error) = read {
                let remark = error.to_string();
                let now_ns = pulls.core.io.now().mono_ns;
                if pulls.read_errors.is_news(&remark, now_ns) {
                    error!(error = remark, %topic, queue_id, "a message cannot be read");
                }
                connection.answer(caller, response::SYSTEM_ERROR, Some(&remark), &[], &[]);
            }
        });
    }

    async fn read_cold(
        self: &Rc<Self>,
        connection: &Rc<Connection<I::Stream>>,
        caller: Caller,
        mut plan: PullPlan<'static>,
        queue: QueueIndex,
    ) -> Result<(), ReadError> {
        let offset = plan.offset().max(0) as u64;
        let since_ms = self.core.now_ms();
        let Read {
            scanned,
            body,
            messages,
            _pass,
        } = self.scan_cold(connection, &plan, queue).await?;
        let decided = self.core.broker.borrow_mut().reconsider(&mut plan);
        match decided {
            Ok(false) => {}
            // What was read is not what is wanted now.
            Ok(true) => {
                self.serve(connection, caller, plan.begin_again());
                return Ok(());
            }
            Err(refusal) => {
                refuse(connection, caller, &refusal);
                return Ok(());
            }
        }
        let plan = plan.without_hold();
        let bounds = self.core.store.bounds(queue);
        let has_moved = offset < bounds.min && !matches!(scanned, Scanned::Found { .. });
        // Messages have gone while they were looked for: the queue begins behind them by now.
        let outcome = match has_moved {
            true => plan.before_scan(bounds),
            false => plan.after_scan(scanned, bounds),
        };
        let PullOutcome::Reply(answer) = outcome else {
            unreachable!("a pull that may not be held is answered");
        };
        if answer.is_found() {
            self.core.broker.borrow_mut().pull_answered(
                &plan,
                &answer,
                messages as u32,
                body.len() as u64,
                since_ms,
                self.core.now_ms(),
            );
            connection.answer_with(
                caller,
                answer.code,
                Some(answer.remark),
                &answer.header.ext(),
                body,
            );
        } else {
            self.reply_empty(connection, caller, &plan, &answer);
        }
        Ok(())
    }

    /// The messages whose properties match.
    async fn filter_cold(
        &self,
        queue: QueueIndex,
        offset: u64,
        limits: &ScanLimits,
        wanted: &PropertyFilter,
    ) -> Result<Read, ReadError> {
        let pass = self.core.connections.replies.enter(limits.max_bytes).await;
        let mut effort = Effort::of_a_look();
        let filter = |record: &[u8]| wanted.look(record, &mut effort);
        let store = &self.core.store;
        let (scan, body, messages) = store
            .scan_messages_cold(queue, offset, limits, filter, Vec::new())
            .await?;
        Ok(Read {
            scanned: scanned_cold(scan),
            body,
            messages,
            _pass: pass,
        })
    }

    /// For this number of messages only: the next one awaits its repair.
    async fn scan_again(
        &self,
        plan: &PullPlan<'static>,
        queue: QueueIndex,
        limits: &ScanLimits,
        max_messages: usize,
    ) -> Result<Scan, ReadError> {
        let limits = ScanLimits {
            max_messages,
            ..*limits
        };
        let offset = plan.offset().max(0) as u64;
        let filter = |_, tags_code| plan.filter.matches(tags_code);
        let store = &self.core.store;
        store
            .scan_cold(queue, offset, &limits, filter, &mut Vec::new())
            .await
    }

    async fn scan_cold(
        &self,
        connection: &Connection<I::Stream>,
        plan: &PullPlan<'static>,
        queue: QueueIndex,
    ) -> Result<Read, ReadError> {
        let offset = plan.offset().max(0) as u64;
        let limits = limits_of(plan);
        if let Some(wanted) = &plan.properties {
            return self.filter_cold(queue, offset, &limits, wanted).await;
        }
        let mut positions = Vec::new();
        let filter = |_, tags_code| plan.filter.matches(tags_code);
        let scan = self
            .core
            .store
            .scan_cold(queue, offset, &limits, filter, &mut positions)
            .await?;
        let bytes = bytes_at(&positions);
        // A damaged entry may say anything.
        let bytes = bytes.min(self.core.connections.replies.limit());
        let pass = self.core.connections.replies.enter(bytes).await;
        if connection.is_closed() {
            positions.clear();
        }
        let records = Vec::with_capacity(bytes);
        let read = match self
            .core
            .store
            .read_readable(queue, &positions, records)
            .await
        {
            Err(ReadError::Removed { .. }) => {
                let next_offset = self.core.store.goes_on_at(queue, offset);
                return Ok(Read::gone(next_offset, pass));
            }
            read => read?,
        };
        positions.truncate(read.awaited.unwrap_or(positions.len()));
        let looked_at = messages_at(&positions);
        let scan = match read.awaited {
            None => scan,
            Some(_) => self.scan_again(plan, queue, &limits, looked_at).await?,
        };
        let lost = read.lost.iter().filter_map(|place| positions.get(*place));
        let scanned = match scan {
            // None of them can be read any more.
            Scan::Found { next_offset } if read.records.is_empty() => {
                Scanned::Removed { next_offset }
            }
            scan => scanned_cold(scan),
        };
        Ok(Read {
            scanned,
            messages: looked_at - messages_at(lost),
            body: read.records,
            _pass: pass,
        })
    }
}

fn bytes_at(positions: &[Position]) -> usize {
    positions.iter().map(|at| at.size as usize).sum()
}

fn messages_at<'a>(positions: impl IntoIterator<Item = &'a Position>) -> usize {
    let messages = positions.into_iter().map(|at| usize::from(at.messages));
    messages.sum()
}

fn scanned_cold(scan: Scan) -> Scanned {
    match scan {
        Scan::Found { next_offset } => Scanned::Found { next_offset },
        Scan::NoneMatched { next_offset } => Scanned::NoneMatched { next_offset },
        Scan::Cold => unreachable!("a cold scan reads what is cold"),
    }
}
