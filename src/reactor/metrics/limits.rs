//! What is used of what can grow with the load: the rows of the table "Limits" of the manual whose bound is for all clients together.

use super::super::core::Core;
use super::waiting::WaitingRequests;
use crate::broker::limits::{
    MAX_CALLS, MAX_LATENCIES, MAX_LOCKS, MAX_PARKED, MAX_SELECTOR_BYTES, MAX_SELECTORS,
};
use crate::broker::metrics::Scrape;
use crate::io::Io;
use crate::metrics::families::{LIMIT_BOUND, LIMIT_USED};
use crate::reactor::latencies::MAX_KINDS;
use crate::store::StoreFigures;

/// Name of the label, what is used, and the bound.
type Row = (&'static str, usize, usize);

pub(super) fn write<I: Io>(
    core: &Core<I>,
    scrape: &mut Scrape,
    store: &StoreFigures,
    waiting: &WaitingRequests,
) {
    let rows = memory(core, store, waiting);
    for (limit, used, bound) in rows.into_iter().chain(numbers(core, waiting)) {
        scrape.sample(&LIMIT_USED, &[("limit", limit)], used);
        scrape.sample(&LIMIT_BOUND, &[("limit", limit)], bound);
    }
}

fn memory<I: Io>(core: &Core<I>, store: &StoreFigures, waiting: &WaitingRequests) -> [Row; 7] {
    let connections = &core.connections;
    let in_buffer = core.store.tail() - core.store.persisted();
    let chunks = store.queue_chunks;
    let broker = core.broker.borrow();
    let requests = &connections.requests;
    let [gathered, may_be_gathered] = waiting.gathered_bytes;
    let config = &core.setup.store;
    [
        (
            "incomplete_request_bytes",
            requests.used(),
            requests.limit(),
        ),
        (
            "unsent_reply_bytes",
            connections.replies.used(),
            connections.max_reply_bytes(),
        ),
        ("gathered_pop_bytes", gathered, may_be_gathered),
        (
            "log_buffer_bytes",
            in_buffer as usize,
            config.log_buffer_bytes,
        ),
        (
            "unflushed_log_bytes",
            store.not_flushed_bytes as usize,
            config.max_unflushed_bytes as usize,
        ),
        ("queue_chunks", chunks - store.free_queue_chunks, chunks),
        (
            "sql_expression_bytes",
            broker.parsed_expressions().1,
            MAX_SELECTOR_BYTES,
        ),
    ]
}

fn numbers<I: Io>(core: &Core<I>, waiting: &WaitingRequests) -> [Row; 10] {
    let (connections, setup) = (&core.connections, &core.setup);
    let broker = core.broker.borrow();
    let [sends, pulls] = broker.queues_with_latencies();
    [
        ("connections", connections.len(), setup.max_connections),
        ("parked_pulls", connections.parked(), MAX_PARKED),
        (
            "parked_pops",
            waiting.parked_pops,
            broker.config().pop.max_polls,
        ),
        ("requests_to_clients", waiting.calls, MAX_CALLS),
        ("locks", broker.held_locks(), MAX_LOCKS),
        (
            "timers",
            core.timers.in_memory(),
            setup.broker.timer_memory_entries,
        ),
        (
            "sql_expressions",
            broker.parsed_expressions().0,
            MAX_SELECTORS,
        ),
        ("latencies_of_sends", sends, MAX_LATENCIES),
        ("latencies_of_pulls", pulls, MAX_LATENCIES),
        (
            "latencies_of_requests",
            connections.latencies().by_kind().len(),
            MAX_KINDS,
        ),
    ]
}
