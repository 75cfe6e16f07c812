//! Parking: a pop that has found nothing waits until one of its queues gets a message, or until its time is over.

use super::looking::{Noticed, reply_notification};
use super::polls::Ask;
use super::{Batch, NOTHING, Pops, SOURCES_AT_A_TIME, Waiting, reply_pop};
use crate::io::{Io, yield_now};
use crate::store::QueueIndex;
use crate::wire::codes::response;

impl<I: Io> Pops<I> {
    pub(super) fn give_up(&self, waiting: &Waiting<I>, code: i32) {
        if waiting.ask == Ask::Notification {
            let noticed = match code {
                response::POLLING_FULL => Noticed::PollingFull,
                _ => Noticed::Nothing,
            };
            return reply_notification(waiting, noticed);
        }
        let batch = Batch {
            pop_time_ms: self.core.now_ms(),
            ..Batch::default()
        };
        reply_pop(waiting, code, NOTHING, &batch);
    }

    /// Parks a pop that has found nothing; returns it if there is something by now.
    pub(super) async fn park_pop(
        &self,
        mut waiting: Waiting<I>,
        batch: &Batch,
    ) -> Option<Waiting<I>> {
        let now = self.core.io.now();
        let now_ms = now.unix_ms as u64;
        let until_ms = waiting.plan.waits_until_ms;
        let Some(until_ms) = until_ms.filter(|until_ms| *until_ms > now_ms) else {
            self.give_up(&waiting, response::POLLING_TIMEOUT);
            return None;
        };
        let mut slices = batch.seen.chunks(SOURCES_AT_A_TIME);
        let first = slices.next().unwrap_or_default();
        if self.have_grown(first) {
            return Some(waiting);
        }
        let line = waiting.line();
        let is_full = {
            let polls = self.polls.borrow();
            let broker = self.core.broker.borrow();
            let limits = &broker.config().pop;
            polls.len() >= limits.max_polls || polls.waiting(&line) > limits.max_polls_of_queue
        };
        if is_full {
            self.give_up(&waiting, response::POLLING_FULL);
            return None;
        }
        let deadline_ns = now
            .mono_ns
            .saturating_add((until_ms - now_ms).saturating_mul(1_000_000));
        let connection = waiting.connection.id;
        waiting.caller = waiting.caller.parked();
        let queues = first.iter().map(|(queue, _)| *queue);
        self.polls
            .borrow_mut()
            .park(line.clone(), queues, deadline_ns, connection, waiting);
        self.watch(first);
        for slice in slices {
            yield_now().await;
            let queues = slice.iter().map(|(queue, _)| *queue);
            if !self.polls.borrow_mut().watch_more(&line, queues) {
                break;
            }
            self.watch(slice);
            if self.have_grown(slice) {
                self.wake_next(&line);
            }
        }
        None
    }

    /// Whether one of the queues has more messages than when it was looked at.
    fn have_grown(&self, seen: &[(QueueIndex, u64)]) -> bool {
        let mut seen = seen.iter();
        seen.any(|(queue, end)| self.core.store.bounds(*queue).max > *end)
    }

    fn watch(&self, seen: &[(QueueIndex, u64)]) {
        for (queue, _) in seen {
            self.core.store.watch(*queue, true);
        }
    }
}
