//! Sends that a sync master answers although replicas are missing.
//!
//! | Answer | when |
//! |---|---|
//! | SEND_OK | the needed replicas have it |
//! | SLAVE_NOT_AVAILABLE (11) | too few of them are connected or near: at once, when it is on this broker's disk |
//! | FLUSH_SLAVE_TIMEOUT (12) | they are there and too slow: after `slaveTimeout` |
//! | SEND_OK | the message said `WAIT=false`: when it is on this broker's disk |
//!
//! The message is stored in any case, and is visible as soon as its sender has been answered. What no client has sent (a delayed message that is due, the
//! check point of a pop) is released after the same times.
//!
//! Where every member of the in-sync set counts, FLUSH_SLAVE_TIMEOUT is the only answer of these for what replicas lack, and the message stays
//! invisible until they have it: an elected one may not.

use std::rc::Rc;

use super::state::Replication;
use crate::io::{Either, Io, select};
use crate::reactor::acks::{Ack, Acks};
use crate::reactor::core::Core;
use crate::reactor::release::note_times;
use crate::reactor::slices::in_slices;
use crate::replication::answers::{Answer, Rules};
use crate::store::Cause;
use crate::wire::codes::response;

/// Answers in one turn.
const AT_A_TIME: usize = 512;

/// How often late ones are looked for.
const TICK_NS: u64 = 50_000_000;

pub(super) async fn run<I: Io>(core: Rc<Core<I>>) {
    let Some(replication) = &core.replication else {
        return;
    };
    let mut seen = core.store.persisted();
    let mut late = Late::default();
    // Also what the end of the shard finds waiting: its connections to the replicas are closed.
    while !core.is_stopping() || !core.acks.is_empty() || !replication.alone.is_empty() {
        let tick = core.io.sleep_until(core.io.now().mono_ns + TICK_NS);
        match select(core.store.persisted_beyond(seen), tick).await {
            Either::Left(Ok(position)) => seen = position,
            // The other sends are answered where the commits are waited for.
            Either::Left(Err(error)) => {
                return replication.fail_alone(&core, &error.to_string()).await;
            }
            Either::Right(()) => {}
        }
        replication.release(&core, seen, &mut late).await;
    }
}

/// A position that was persisted and not committed at that time.
#[derive(Default)]
struct Late {
    position: u64,
    since_ns: u64,
}

impl<I: Io> Replication<I> {
    /// A send that waits for no replica.
    pub fn wait_alone(&self, ack: Ack<I::Stream>) {
        self.alone.push(ack);
    }

    /// Whether a send waits for replicas unless it says otherwise.
    pub fn waits_for_replicas(&self) -> bool {
        self.setup.needed() > 1 || self.setup.controller.is_some()
    }

    /// Answers what does not wait for replicas, or does so in vain. The log is persisted up to `persisted`.
    async fn release(&self, core: &Core<I>, persisted: u64, late: &mut Late) {
        answer(
            core,
            &self.alone,
            response::SUCCESS,
            || None,
            |alone| alone.pop_committed(persisted),
        )
        .await;
        // Whether a message that the replicas do not have is kept is not known: its sender gets an error (`life.rs`).
        if core.is_changing() {
            return;
        }
        let rules = self.rules(core);
        let now_ns = core.io.now().mono_ns;
        let answered_with = |wanted| {
            move |acks: &Acks<I::Stream>| {
                acks.pop_if(|ack| rules.answer(ack.waiting(persisted, now_ns)) == Some(wanted))
            }
        };
        let Rules {
            in_sync, needed, ..
        } = rules;
        let remark = || {
            let cause = Cause::ReplicasAway;
            Some(format!("{cause}: {in_sync} of {needed} are there"))
        };
        let code = response::SLAVE_NOT_AVAILABLE;
        let next = answered_with(Answer::NoReplicas);
        answer(core, &core.acks, code, remark, next).await;
        if in_sync < needed {
            // Also what no send waits for.
            return self.waive(core, persisted);
        }
        let timeout_ms = self.setup.slave_timeout_ms;
        let remark = || {
            Some(format!(
                "{}: they do not have it within {timeout_ms} ms",
                Cause::ReplicasBehind
            ))
        };
        let code = response::FLUSH_SLAVE_TIMEOUT;
        let next = answered_with(Answer::ReplicasLate);
        if let Some(end) = answer(core, &core.acks, code, remark, next).await {
            self.waive(core, end);
        }
        if late.position <= core.store.committed() {
            (late.position, late.since_ns) = (persisted, now_ns);
        }
        // All senders of what was persisted then have been answered above.
        if now_ns.saturating_sub(late.since_ns) > rules.replicas_ns {
            self.waive(core, late.position);
        }
    }

    fn rules(&self, core: &Core<I>) -> Rules {
        let (tail, gap) = (core.store.tail(), self.setup.max_gap_bytes);
        let in_sync = self.replicas.borrow().in_sync(tail, gap);
        let (needed, in_sync) = match self.waits_for_all_members() {
            // A member that is away leaves the set; until then it may still come back in time.
            true => (2, 2),
            false => (self.setup.needed(), in_sync),
        };
        Rules {
            needed,
            in_sync,
            // `release.rs` looks at what the disk lacks.
            disk_ns: u64::MAX,
            replicas_ns: self.setup.slave_timeout_ms * 1_000_000,
        }
    }

    /// The log has failed: whether these messages are stored is not known.
    async fn fail_alone(&self, core: &Core<I>, reason: &str) {
        let code = response::SYSTEM_ERROR;
        let reason = || Some(reason.to_owned());
        answer(core, &self.alone, code, reason, Acks::pop).await;
    }

    fn waive(&self, core: &Core<I>, position: u64) {
        if position <= core.store.committed() || self.waits_for_all_members() {
            return;
        }
        let confirmed = {
            let mut replicas = self.replicas.borrow_mut();
            replicas.waive(position);
            replicas.confirm()
        };
        core.confirm(confirmed);
    }
}

/// Answers what `next` takes. Returns the end of the last of them in the log.
async fn answer<I: Io>(
    core: &Core<I>,
    acks: &Acks<I::Stream>,
    code: i32,
    remark: impl Fn() -> Option<String>,
    mut next: impl FnMut(&Acks<I::Stream>) -> Option<Ack<I::Stream>>,
) -> Option<u64> {
    let now_ns = core.io.now().mono_ns;
    let mut end = None;
    in_slices(AT_A_TIME, || {
        let Some(ack) = next(acks) else {
            return false;
        };
        core.answers.acknowledge(&ack, code, remark().as_deref());
        note_times(core, &ack, now_ns);
        end = Some(ack.end);
        true
    })
    .await;
    end
}
