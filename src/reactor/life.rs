//! A shard from its start to its end, and the two tasks that drive it: the log's commits and the clock.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tracing::{debug, error, info, warn};

use super::connections::accept;
use super::shard::Shard;
use super::slices::in_slices;
use super::standstill::Standstill;
use super::{
    Ready, ServeError, ShardSetup, delay, listen, pop, pulls, registration, saves, timer,
    transaction,
};
use crate::broker::files::changes;
use crate::broker::{self, Broker, ConfigFile};
use crate::io::Io;
use crate::io::{First, first};
use crate::store::{Progress, Store, refuse_foreign};
use crate::wire::codes::response;

/// How often deadlines are looked at: parked pulls and slow flushes are late by so much at most.
const TICK_NS: u64 = 100_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Fewer than this is worth a warning.
const FEW_CONNECTIONS: usize = 2_000;

/// Acknowledgements answered in one turn.
const ACKS_AT_A_TIME: usize = 512;

/// Queues with new entries that are looked at in one turn.
const QUEUES_AT_A_TIME: usize = 512;

/// How long the end may take for clients that do not read their last replies.
const LAST_REPLIES_NS: u64 = 2_000_000_000;

/// Files that RocketMQ may have left in config/, their tables, and what is in these.
const UNREAD: [(&str, &str, &str); 2] = [
    (
        "topicQueueMapping.json",
        "topicQueueMappingInfoMap",
        "static topics, whose queues are parts of other queues",
    ),
    (
        "lmqConsumerOffset.json",
        "offsetTable",
        "offsets of light message queues",
    ),
];

/// How long the end may take for the last commit.
const LAST_COMMIT_NS: u64 = 10_000_000_000;

/// How a shard is, for whoever watches over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Opening(Progress),
    Serving,
    /// Nothing is acknowledged any more; messages can be read.
    Fenced(Arc<str>),
    /// No message is taken until there is space.
    Full(Arc<str>),
    Stopping,
}

/// Serves one shard until `stop` is done: then stops accepting, finishes what was accepted, and closes the store. Each
/// change of its health goes to `watch`.
pub async fn run<I: Io>(
    io: I,
    setup: ShardSetup,
    stop: impl Future<Output = ()>,
    bound: impl AsyncFnOnce(),
    ready: impl FnOnce(Ready),
    watch: impl Fn(Health) + 'static,
) -> Result<(), ServeError> {
    refuse_foreign(&io, &setup.store.dir).await?;
    let report = |progress: Progress| {
        info!("{progress}");
        watch(Health::Opening(progress));
    };
    let store = Store::open(io.clone(), setup.store.clone(), report).await?;
    let (broker, change_files) = load_broker(&io, &setup, &store).await?;
    let listeners = [listen(&io, setup.listen)?, listen(&io, setup.vip_listen)?];
    if setup.max_connections < FEW_CONNECTIONS {
        warn!(
            connections = setup.max_connections,
            "few clients can connect: the process may open few files (ulimit -n, RLIMIT_NOFILE)"
        );
    }
    let shard = Shard::new(io.clone(), setup, store, broker);
    shard.saves.read_up_to(change_files);
    pop::restore(&shard).await?;
    for listener in listeners {
        io.spawn(
            "accept",
            accept(
                io.clone(),
                listener,
                shard.clone(),
                shard.connections.clone(),
            ),
        );
    }
    io.spawn("release-committed", release_committed(shard.clone()));
    io.spawn("tick", tick(shard.clone()));
    io.spawn("pull-deadlines", pulls::run_deadlines(shard.clone()));
    io.spawn("pull-wakes", pulls::run_wakes(shard.clone()));
    io.spawn("delay", delay::run(shard.clone()));
    io.spawn("transactions", transaction::run(shard.clone()));
    io.spawn("timers", timer::run(shard.clone()));
    io.spawn("pop-revive", pop::run(shard.clone()));
    io.spawn("pop-deadlines", pop::run_deadlines(shard.clone()));
    io.spawn("pop-wakes", pop::run_wakes(shard.clone()));
    saves::start(&shard).await;
    let mut stop = pin!(stop);
    if let First::Left(()) = first(stop.as_mut(), bound()).await {
        // Another shard of the process cannot start.
        end(&shard).await?;
        return Ok(());
    }
    let registered = registration::start(&shard).await;
    ready(Ready {
        figures: shard.store.figures(),
        registered,
    });
    let watch = Rc::new(watch);
    io.spawn("health", tell_health(shard.clone(), watch.clone()));
    stop.await;
    watch(Health::Stopping);
    end(&shard).await
}

/// Looks every tick, and says what has changed.
async fn tell_health<I: Io>(shard: Rc<Shard<I>>, watch: Rc<impl Fn(Health)>) {
    let mut told = None;
    while !shard.stopping.get() {
        let health = match (shard.store.fence(), shard.store.full()) {
            (Some(reason), _) => Health::Fenced(reason),
            (None, Some(reason)) => Health::Full(reason),
            (None, None) => Health::Serving,
        };
        if told.as_ref() != Some(&health) {
            watch(health.clone());
            told = Some(health);
        }
        shard.io.sleep_until(shard.io.now().mono_ns + TICK_NS).await;
    }
}

/// The rules with what config/ has kept, and a topic for every queue of the store: a message that was acknowledged must
/// not be out of reach because the power went before its new topic was saved.
async fn load_broker<I: Io>(
    io: &I,
    setup: &ShardSetup,
    store: &Store<I>,
) -> Result<(Broker, u64), ServeError> {
    let now_ms = io.now().unix_ms as u64;
    let mut broker = Broker::new(setup.broker.clone(), now_ms);
    for file in ConfigFile::ALL {
        if let Some(text) = store.load_text(file.name()).await?
            && let Err(error) = broker.load_file(file, &text)
        {
            warn!(file = file.name(), %error, "cannot be read; starting without it");
        }
    }
    let change_files = replay_changes(store, &mut broker).await?;
    for (file, table, what) in UNREAD {
        if let Some(text) = store.load_text(file).await?
            && broker::has_entries(&text, table)
        {
            warn!(file, "not supported, and therefore without effect: {what}");
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
    Ok((broker, change_files))
}

/// What changed of topics and groups after their files were written; the number of the last change file.
async fn replay_changes<I: Io>(store: &Store<I>, broker: &mut Broker) -> Result<u64, ServeError> {
    let mut files = Vec::new();
    for file in saves::change_files::NAMES {
        let Some(text) = store.load_text(file).await? else {
            continue;
        };
        let (changes, unread) = changes::read(text.as_bytes());
        if unread > 0 {
            warn!(
                file,
                bytes = unread,
                "ends with a change that was not written whole; not read"
            );
        }
        files.push(changes);
    }
    let (changes, last) = changes::in_order(files);
    let replayed = broker.replay_changes(changes);
    if replayed.is_merged {
        warn!(
            changes = replayed.changes,
            "topics.json or subscriptionGroup.json was written by another broker since; added what it does not have"
        );
    } else if replayed.changes > 0 {
        info!(
            changes = replayed.changes,
            "topics and groups changed since their files were written"
        );
    }
    Ok(last)
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
                return fail_pending(&shard, &reason.to_string()).await;
            }
        }
        let now_ns = shard.io.now().mono_ns;
        let mut longest_ns = 0;
        in_slices(ACKS_AT_A_TIME, || {
            let ack = shard.acks.borrow_mut().pop_committed(seen);
            let Some(ack) = ack else { return false };
            shard.acknowledge(&ack, response::SUCCESS, None);
            let took_ns = now_ns.saturating_sub(ack.appended_ns);
            longest_ns = longest_ns.max(took_ns);
            let mut put_times_us = shard.put_times_us.borrow_mut();
            put_times_us.saturating_record(took_ns / 1000);
            true
        })
        .await;
        shard
            .broker
            .borrow_mut()
            .stats
            .put_took(longest_ns / 1_000_000);
        shard.store.take_arrivals(&mut arrivals);
        let mut grown = arrivals.drain(..);
        in_slices(QUEUES_AT_A_TIME, || {
            let Some(queue) = grown.next() else {
                return false;
            };
            shard.queue_grew(queue);
            shard.ring(queue);
            shard.queue_of_pops_grew(queue);
            true
        })
        .await;
        drop(grown);
        shard.serve_woken_pulls();
        shard.serve_woken_pops();
    }
}

/// Whether these messages are stored nobody knows: their producers have to send them again.
async fn fail_pending<I: Io>(shard: &Shard<I>, reason: &str) {
    in_slices(ACKS_AT_A_TIME, || {
        let ack = shard.acks.borrow_mut().pop();
        let Some(ack) = ack else { return false };
        ack.connection
            .answer(ack.caller, response::SYSTEM_ERROR, Some(reason), &[], &[]);
        true
    })
    .await;
}

/// Answers sends whose commit takes too long.
///
/// Not after the process stood still (SIGSTOP, a paused machine): what the disk has done meanwhile has to be seen first.
async fn answer_overdue<I: Io>(shard: &Shard<I>, now_ns: u64) {
    let timeout_ms = shard.setup.sync_flush_timeout_ms;
    let oldest_ns = now_ns.saturating_sub(timeout_ms * 1_000_000);
    in_slices(ACKS_AT_A_TIME, || {
        let ack = shard.acks.borrow_mut().pop_older_than(oldest_ns);
        let Some(ack) = ack else { return false };
        let remark = format!("the message is in the log, but not flushed within {timeout_ms} ms");
        shard.acknowledge(&ack, response::FLUSH_DISK_TIMEOUT, Some(&remark));
        true
    })
    .await;
}

async fn tick<I: Io>(shard: Rc<Shard<I>>) {
    let mut second_due_ns = 0;
    let mut standstill = Standstill::new(shard.io.now().mono_ns);
    while !shard.stopping.get() {
        let now = shard.io.now();
        shard.look_at_backlog(now);
        shard
            .connections
            .check_some(now.mono_ns, shard.setup.connection_idle_s);
        if !standstill.was_before(now.mono_ns) {
            answer_overdue(&shard, now.mono_ns).await;
        }
        shard.write_due_op(now.unix_ms as u64);
        shard.broker.borrow_mut().notify_members(now.unix_ms as u64);
        shard.carry_out_effects();
        if now.mono_ns >= second_due_ns {
            second_due_ns = now.mono_ns + SECOND_NS;
            shard.broker.borrow_mut().housekeeping(now.unix_ms as u64);
            shard.carry_out_effects();
            let reserved_ms = shard.broker.borrow().topics.reserved_ms();
            shard.store.keep_topics(reserved_ms);
        }
        shard.io.sleep_until(now.mono_ns + TICK_NS).await;
    }
}

async fn end<I: Io>(shard: &Rc<Shard<I>>) -> Result<(), ServeError> {
    info!(broker = shard.setup.broker.broker_name, "stopping");
    shard.stopping.set(true);
    shard.connections.stop_accepting();
    shard.registration.stop();
    shard.stopped.notify();
    shard.ring_all();
    shard.pulls.wake();
    shard.pops.wake();
    wait_until(shard, LAST_COMMIT_NS, || shard.acks.borrow().is_empty()).await;
    wait_until(shard, LAST_COMMIT_NS, || !shard.timers_running.get()).await;
    wait_until(shard, LAST_REPLIES_NS, || shard.connections.are_drained()).await;
    shard.connections.close_all();
    shard.end_transactions();
    saves::finish(shard).await;
    shard.store.close().await.map_err(|source| {
        let dir = shard.setup.store.dir.clone();
        let unclean = ServeError::Unclean { dir, source };
        error!("{unclean}");
        unclean
    })
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
