//! A shard from its start to its end, and the two tasks that drive it: the log's commits and the clock.

use std::future::Future;
use std::rc::Rc;

use tracing::{debug, error, info, warn};

use super::connection::accept;
use super::shard::Shard;
use super::{
    Ready, ServeError, ShardSetup, delay, listen, persistence, pop, registration, timer,
    transaction,
};
use crate::broker::{Broker, ConfigFile};
use crate::io::Io;
use crate::io::{First, first};
use crate::store::{Progress, Store};
use crate::wire::codes::response;

/// How often deadlines are looked at: parked pulls and slow flushes are late by so much at most.
const TICK_NS: u64 = 100_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// How long the end may take for clients that do not read their last replies.
const LAST_REPLIES_NS: u64 = 2_000_000_000;

/// How long the end may take for the last commit.
const LAST_COMMIT_NS: u64 = 10_000_000_000;

/// Serves one shard until `stop` is done: then stops accepting, finishes what was accepted, and closes the store.
pub async fn run<I: Io>(
    io: I,
    setup: ShardSetup,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    let store = Store::open(io.clone(), setup.store.clone(), report).await?;
    let broker = load_broker(&io, &setup, &store).await?;
    let listeners = [listen(&io, setup.listen)?, listen(&io, setup.vip_listen)?];
    let shard = Shard::new(io.clone(), setup, store, broker);
    pop::restore(&shard).await?;
    for listener in listeners {
        io.spawn(accept(
            io.clone(),
            listener,
            shard.clone(),
            shard.connections.clone(),
        ));
    }
    io.spawn(release_committed(shard.clone()));
    io.spawn(tick(shard.clone()));
    io.spawn(persistence::run(shard.clone()));
    io.spawn(persistence::watch_offsets(shard.clone()));
    io.spawn(delay::run(shard.clone()));
    io.spawn(transaction::run(shard.clone()));
    io.spawn(timer::run(shard.clone()));
    io.spawn(pop::run(shard.clone()));
    persistence::save_all(&shard).await;
    let registered = registration::start(&shard).await;
    ready(Ready {
        figures: shard.store.figures(),
        registered,
    });
    stop.await;
    end(&shard).await;
    Ok(())
}

fn report(progress: Progress) {
    info!("{progress}");
}

/// The rules with what config/ has kept, and a topic for every queue of the store: a message that was acknowledged must
/// not be out of reach because the power went before its new topic was saved.
async fn load_broker<I: Io>(
    io: &I,
    setup: &ShardSetup,
    store: &Store<I>,
) -> Result<Broker, ServeError> {
    let now_ms = io.now().unix_ms as u64;
    let mut broker = Broker::new(setup.broker.clone(), now_ms);
    for file in ConfigFile::ALL {
        if let Some(text) = store.load_text(file.name()).await?
            && let Err(error) = broker.load_file(file, &text)
        {
            warn!(file = file.name(), %error, "cannot be read; starting without it");
        }
    }
    for (name, value) in broker.changed_settings() {
        info!(
            name,
            value, "changed in the running broker earlier, stronger than broker.conf"
        );
    }
    for (topic, queues) in store.topics() {
        broker.adopt_topic(&topic, queues, now_ms);
    }
    Ok(broker)
}

/// Whenever the log has been committed further: acknowledges the sends up to there and wakes the pulls that waited.
async fn release_committed<I: Io>(shard: Rc<Shard<I>>) {
    let mut seen = shard.store.committed();
    let mut arrivals = Vec::new();
    loop {
        match shard.store.committed_beyond(seen).await {
            Ok(position) => seen = position,
            Err(reason) => {
                // The store has said so loudly.
                debug!(%reason, "nothing more is acknowledged");
                return fail_pending(&shard, &reason.to_string());
            }
        }
        let now_ns = shard.io.now().mono_ns;
        let mut longest_ns = 0;
        let mut put_times_us = shard.put_times_us.borrow_mut();
        loop {
            let ack = shard.acks.borrow_mut().pop_committed(seen);
            let Some(ack) = ack else { break };
            shard.acknowledge(&ack, response::SUCCESS, None);
            let took_ns = now_ns.saturating_sub(ack.appended_ns);
            longest_ns = longest_ns.max(took_ns);
            put_times_us.saturating_record(took_ns / 1000);
        }
        drop(put_times_us);
        shard
            .broker
            .borrow_mut()
            .stats
            .put_took(longest_ns / 1_000_000);
        shard.store.take_arrivals(&mut arrivals);
        for queue in arrivals.drain(..) {
            shard.wake_pulls(queue);
            shard.ring(queue);
            shard.wake_pops(queue);
        }
    }
}

/// Whether these messages are stored nobody knows: their producers have to send them again.
fn fail_pending<I: Io>(shard: &Shard<I>, reason: &str) {
    loop {
        let ack = shard.acks.borrow_mut().pop();
        let Some(ack) = ack else { return };
        ack.connection
            .answer(ack.caller, response::SYSTEM_ERROR, Some(reason), &[], &[]);
    }
}

async fn tick<I: Io>(shard: Rc<Shard<I>>) {
    let mut second_due_ns = 0;
    while !shard.stopping.get() {
        let now = shard.io.now();
        shard.expire_pulls(now.mono_ns);
        shard.expire_pops(now.mono_ns);
        let timeout_ms = shard.setup.sync_flush_timeout_ms;
        let oldest_ns = now.mono_ns.saturating_sub(timeout_ms * 1_000_000);
        loop {
            let ack = shard.acks.borrow_mut().pop_older_than(oldest_ns);
            let Some(ack) = ack else { break };
            let remark =
                format!("the message is in the log, but not flushed within {timeout_ms} ms");
            shard.acknowledge(&ack, response::FLUSH_DISK_TIMEOUT, Some(&remark));
        }
        shard.write_due_op(now.unix_ms as u64);
        if now.mono_ns >= second_due_ns {
            second_due_ns = now.mono_ns + SECOND_NS;
            shard.broker.borrow_mut().housekeeping(now.unix_ms as u64);
            shard.carry_out_effects();
            let reserved_ms = shard.broker.borrow().topics.reserved_ms();
            shard.store.keep_topics(reserved_ms);
            shard
                .connections
                .close_idle(now.mono_ns, shard.setup.connection_idle_s);
        }
        shard.io.sleep_until(now.mono_ns + TICK_NS).await;
    }
}

async fn end<I: Io>(shard: &Rc<Shard<I>>) {
    info!(broker = shard.setup.broker.broker_name, "stopping");
    shard.stopping.set(true);
    shard.connections.stop_accepting();
    shard.registration.all_changed();
    shard.stopped.notify();
    shard.saves.wake();
    shard.ring_all();
    shard.pops.wake();
    wait_until(shard, LAST_COMMIT_NS, || shard.acks.borrow().is_empty()).await;
    wait_until(shard, LAST_COMMIT_NS, || !shard.timers_running.get()).await;
    wait_until(shard, LAST_REPLIES_NS, || shard.connections.are_drained()).await;
    shard.connections.close_all();
    shard.end_transactions();
    persistence::save_all(shard).await;
    if let Err(error) = shard.store.close().await {
        error!(%error, "the store could not be closed cleanly; the next start recovers it");
    }
}

async fn wait_until<I: Io>(shard: &Shard<I>, patience_ns: u64, is_so: impl Fn() -> bool) {
    let deadline_ns = shard.io.now().mono_ns + patience_ns;
    let polled = async {
        while !is_so() {
            shard
                .io
                .sleep_until(shard.io.now().mono_ns + 1_000_000)
                .await;
        }
    };
    if let First::Right(()) = first(polled, shard.io.sleep_until(deadline_ns)).await {
        warn!("gave up waiting for clients or the disk at the end");
    }
}
