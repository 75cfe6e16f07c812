//! Carries out what the rules want done besides the answer to a request.

use std::rc::Rc;

use super::calls::{request_head, values};
use super::connections::Connections;
use super::core::Core;
use super::slices::in_slices;
use crate::broker::{ClientRequest, ConfigFiles, ConnId, Effect, RoleDecision};
use crate::io::{Io, Stream};
use crate::replication::manager::ask::{Decision, Master};
use crate::replication::members::SyncStateSet;
use crate::wire::codes::request;
use crate::wire::consumer::ConsumerGroup;
use crate::wire::{FLAG_ONEWAY, frame};

/// Clients that are sent something, or closed, in one turn.
const CLIENTS_AT_A_TIME: usize = 64;

/// Bytes of requests to clients that are copied in one turn: each client gets a copy of its own, which may be megabytes.
const BYTES_AT_A_TIME: usize = 256 << 10;

/// Topics of the store that are looked at in one turn, and how many queues of each are removed at a time.
const TOPICS_AT_A_TIME: usize = 64;
const QUEUES_AT_A_TIME: usize = 16;

/// Carries out the effects since the last time; returns the files that are being saved.
pub(super) fn carry_out<I: Io>(core: &Rc<Core<I>>) -> ConfigFiles {
    let mut files = ConfigFiles::default();
    core.take_effects(|effect| match effect {
        Effect::Notify { group, conns } => notify_consumers(&core.connections, &group, &conns),
        Effect::Tell { conns, request } => send(core, conns, request),
        Effect::Register { topic } => core.registration.topic_changed(topic),
        Effect::RegisterAll => core.registration.all_changed(),
        Effect::TopicDeleted { .. } => core.registration.topic_deleted(),
        Effect::Persist(file) => {
            core.saves.soon(file);
            files.add(file);
        }
        Effect::KeepBy(retention) => core.store.keep_by(retention),
        Effect::Admit(limits) => core.admission.set_limits(limits),
        Effect::SayTraceOn(is_on) => core.answers.say_trace_on(is_on),
        Effect::LogSlowRequests(ms) => core.connections.slow_requests().set_limit(ms),
        Effect::UseControllers(addrs) => core.orders.steering().use_controllers(addrs),
        Effect::CleanLog => core.store.clean_log_now(),
        Effect::CleanQueues => core.store.clean_queues_now(),
        Effect::CleanUnusedTopics => clean_unused_topics(core),
        Effect::Close(conns) => close(core, conns),
        Effect::RoleChanged(changed) => {
            core.orders.steering().notified(decision_of(changed));
        }
    });
    files
}

fn decision_of(changed: RoleDecision) -> Decision {
    Decision {
        master: Some(Master {
            id: changed.master_id,
            addr: changed.master_addr,
        }),
        epoch: changed.epoch,
        set: SyncStateSet {
            members: changed.set,
            epoch: changed.set_epoch,
        },
    }
}

/// A slice of the topics and their queues each turn.
fn clean_unused_topics<I: Io>(core: &Rc<Core<I>>) {
    let of_task = core.clone();
    core.io.spawn("clean-topics", async move {
        let mut topics = of_task.store.topics().into_iter().peekable();
        in_slices(TOPICS_AT_A_TIME, || {
            let Some((topic, _)) = topics.peek() else {
                return false;
            };
            let is_unused = of_task.broker.borrow().is_unused(topic);
            if !is_unused || !of_task.store.delete_some(topic, QUEUES_AT_A_TIME) {
                topics.next();
            }
            true
        })
        .await;
    });
}

/// Sends a request without an answer to a slice of the clients each turn.
fn send<I: Io>(core: &Core<I>, conns: Vec<ConnId>, request: ClientRequest) {
    let connections = core.connections.clone();
    let mut conns = conns.into_iter();
    core.io.spawn("tell-clients", async move {
        let head = request_head(request.code, 0, FLAG_ONEWAY);
        let ext = values(&request.ext);
        in_slices(clients_at_a_time(request.body.len()), || {
            let Some(conn) = conns.next() else {
                return false;
            };
            if let Some(connection) = connections.find(conn.0) {
                connection.write(|out| frame::write(out, &head, &ext, &request.body));
            }
            true
        })
        .await;
    });
}

/// Clients that are sent a body of this size in one turn.
fn clients_at_a_time(body_bytes: usize) -> usize {
    (BYTES_AT_A_TIME / body_bytes.max(1)).clamp(1, CLIENTS_AT_A_TIME)
}

/// Closes a slice of the clients each turn.
fn close<I: Io>(core: &Core<I>, conns: Vec<ConnId>) {
    let connections = core.connections.clone();
    let mut conns = conns.into_iter();
    core.io.spawn("close-clients", async move {
        in_slices(CLIENTS_AT_A_TIME, || {
            let Some(conn) = conns.next() else {
                return false;
            };
            if let Some(connection) = connections.find(conn.0) {
                connection.close();
            }
            true
        })
        .await;
    });
}

fn notify_consumers<S: Stream>(connections: &Connections<S>, group: &str, conns: &[ConnId]) {
    let fields = ConsumerGroup {
        consumer_group: group,
    };
    for connection in conns.iter().filter_map(|conn| connections.find(conn.0)) {
        let head = request_head(request::NOTIFY_CONSUMER_IDS_CHANGED, 0, FLAG_ONEWAY);
        connection.write(|out| frame::write(out, &head, &fields.ext(), &[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_clients_are_sent_a_large_body_in_one_turn() {
        let sizes = [0, 1_000, 8 << 10, 100 << 10, 5 << 20];
        assert_eq!(sizes.map(clients_at_a_time), [64, 64, 32, 2, 1]);
        for size in sizes {
            let bytes = clients_at_a_time(size) * size;
            assert!(bytes <= BYTES_AT_A_TIME.max(size));
        }
    }
}
