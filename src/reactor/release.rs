//! Releases acknowledgements: when the log is committed, when that takes too long, and when it has failed.

use super::acks::Ack;
use super::core::Core;
use super::slices::in_slices;
use crate::io::Io;
use crate::replication::answers::{Answer, Rules};
use crate::wire::codes::response;

/// Acknowledgements answered in one turn.
const AT_A_TIME: usize = 512;

/// Acknowledges what a log committed up to `position` has.
pub(super) async fn committed<I: Io>(core: &Core<I>, position: u64) {
    let now_ns = core.io.now().mono_ns;
    let now_ms = core.now_ms();
    in_slices(AT_A_TIME, || {
        let Some(ack) = core.acks.pop_committed(position) else {
            return false;
        };
        core.answers.acknowledge(&ack, response::SUCCESS, None);
        let took_ns = note_times(core, &ack, now_ns);
        let took_ms = took_ns / 1_000_000;
        let mut broker = core.broker.borrow_mut();
        broker.append_took(ack.queue(), took_ms, now_ms);
        true
    })
    .await;
}

/// A send was answered that was stored. Returns the time since its append.
pub(super) fn note_times<I: Io>(core: &Core<I>, ack: &Ack<I::Stream>, now_ns: u64) -> u64 {
    let (stored, peer) = (ack.stored(), ack.connection.peer);
    let log = core.store.log_times();
    core.stages
        .acknowledged(&stored, &log, || core.io.exact_ns());
    let slow = core.connections.slow_requests();
    slow.acknowledged(ack.caller.code, &stored, peer, &log, now_ns);
    let took_ns = now_ns.saturating_sub(ack.appended_ns);
    core.acks.times().record(took_ns, now_ns);
    took_ns
}

/// Whether these messages are stored is not known: their producers have to send them again.
pub(super) async fn failed<I: Io>(core: &Core<I>, reason: &str) {
    in_slices(AT_A_TIME, || {
        let Some(ack) = core.acks.pop() else {
            return false;
        };
        ack.connection
            .answer(ack.caller, response::SYSTEM_ERROR, Some(reason), &[], &[]);
        true
    })
    .await;
}

/// Answers sends that the disk does not take in time. Those that it has taken wait for replicas (`replication/releases.rs`).
///
/// Not after the process stood still (SIGSTOP, a paused machine): what the disk has done meanwhile has to be seen first.
pub(super) async fn overdue<I: Io>(core: &Core<I>, now_ns: u64) {
    let timeout_ms = core.setup.sync_flush_timeout_ms;
    let rules = Rules::of_disk(timeout_ms * 1_000_000);
    let persisted = core.store.persisted();
    let is_late = |ack: &Ack<I::Stream>| {
        rules.answer(ack.waiting(persisted, now_ns)) == Some(Answer::DiskLate)
    };
    in_slices(AT_A_TIME, || {
        let Some(ack) = core.acks.pop_if(is_late) else {
            return false;
        };
        let cause = core.admission.cause();
        let remark =
            format!("{cause}: the message is in the log, but not flushed within {timeout_ms} ms");
        let code = response::FLUSH_DISK_TIMEOUT;
        core.answers.acknowledge(&ack, code, Some(&remark));
        true
    })
    .await;
}
