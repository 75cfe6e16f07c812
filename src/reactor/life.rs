//! A term of a shard, from its start to its end.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::access::Checks;
use super::connections::accept;
use super::controlled::steering::TermView;
use super::core::{Core, Ends, Parts};
use super::metrics::{self, Asked};
use super::pop::revive_log;
use super::replication::state::Replication;
use super::shard::Shard;
use super::term::{Orders, Term};
use super::{
    Ready, ServeError, ShardSetup, bind, delay, master_address, registration, release, replication,
    saves, timer, transaction,
};
use crate::broker::files::changes;
use crate::broker::{self, Broker, ConfigFile};
use crate::io::Io;
use crate::io::{Either, select};
use crate::store::{Medium, Progress, ReadError, Store, refuse_foreign};

/// How often the health is looked at.
const TICK_NS: u64 = 100_000_000;

/// Fewer than this is worth a warning.
const FEW_CONNECTIONS: usize = 2_000;

/// How long the end may take for clients that do not read their last replies.
const LAST_REPLIES_NS: u64 = 2_000_000_000;

/// The same where another term waits.
const LAST_REPLIES_OF_TERM_NS: u64 = 100_000_000;

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

/// The state of a shard, for the process that watches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Opening(Progress),
    Serving,
    /// The same of a slave, which takes no sends.
    Following,
    /// Nothing is acknowledged any more; messages can be read.
    Fenced(Arc<str>),
    /// No message is taken until there is space.
    Full(Arc<str>),
    Stopping,
}

/// How a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The shard is to stop.
    Stopped,
    /// The next term is asked for.
    Restart,
}

/// What a term shares with the others, besides the orders.
#[derive(Clone)]
pub struct Beside {
    pub asked: Option<Rc<Asked>>,
    /// `None`: everybody may do everything.
    pub checks: Option<Rc<Checks>>,
}

/// What is reported to the process of its shard, once, in the first term.
pub struct Opening<B, R> {
    /// The store is open and every port is bound.
    pub bound: B,
    pub ready: R,
}

/// Serves one term until `stop` is done or another term is asked for: then stops accepting, finishes what was accepted, and closes the
/// store. Each change of the shard's health goes to `watch`. `opening` is of the first term.
pub async fn run<I: Io, B: AsyncFnOnce(), R: FnOnce(Ready)>(
    medium: Medium<I>,
    setup: &ShardSetup,
    orders: &Rc<Orders>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    opening: Option<Opening<B, R>>,
    watch: Rc<impl Fn(Health) + 'static>,
    beside: Beside,
) -> Result<Ended, ServeError> {
    let term = orders.begin(|| Term::first(setup));
    let setup = term.applied_to(setup);
    let is_first = orders.is_first_term();
    let report = |progress: Progress| {
        info!("{progress}");
        watch(Health::Opening(progress));
    };
    let (core, listeners) = open(medium, setup, term, orders, beside.checks, report).await?;
    let shard = Shard::new(core.clone());
    start(&shard, &core, listeners, beside.asked);
    if core.store.follows() {
        // What was cut off is durable in no file of config/ when the log grows again.
        saves::start(&core).await;
        replication::start(&core, is_first).await?;
    } else {
        // Before the first save: that waits for what the tasks above have appended, which may wait for replicas.
        replication::start(&core, is_first).await?;
        saves::start(&core).await;
    }
    let view: Rc<dyn TermView> = core.clone();
    orders.steering().term_began(&view);
    if let Some(Opening { bound, ready }) = opening {
        if let Either::Left(()) = select(stop.as_mut(), bound()).await {
            // Another shard of the process cannot start.
            end(&shard, &core, Ends::Shard).await?;
            return Ok(Ended::Stopped);
        }
        let registered = registration::tried(registration::start(&core)).await;
        ready(Ready {
            figures: core.store.figures(),
            registered,
        });
    } else {
        registration::start(&core);
    }
    core.io
        .spawn("health", watch_health(core.clone(), watch.clone()));
    match select(stop, orders.asked()).await {
        Either::Left(()) => {
            watch(Health::Stopping);
            end(&shard, &core, Ends::Shard).await?;
            Ok(Ended::Stopped)
        }
        Either::Right(()) => {
            let ended = end(&shard, &core, Ends::Term);
            watch(Health::Opening(Progress::Reopening));
            ended.await?;
            Ok(Ended::Restart)
        }
    }
}

fn start<I: Io>(
    shard: &Rc<Shard<I>>,
    core: &Rc<Core<I>>,
    listeners: [I::Listener; 2],
    asked: Option<Rc<Asked>>,
) {
    let io = &core.io;
    if core.orders.is_first_term() {
        io.watch_stalls();
    }
    for listener in listeners {
        let connections = core.connections.clone();
        let accepting = accept(io.clone(), listener, shard.clone(), connections);
        io.spawn("accept", accepting);
    }
    master_address::start(core, shard);
    shard.start();
    if !core.store.follows() {
        io.spawn("delay", delay::run(core.clone()));
        io.spawn("transactions", transaction::run(core.clone()));
    }
    io.spawn("timers", timer::run(core.clone()));
    if let Some(asked) = asked {
        let (core, shard) = (core.clone(), shard.clone());
        io.spawn(
            "metrics",
            metrics::run(core, asked, move || shard.waiting()),
        );
    }
}

/// The store and the rules as the last run has left them, and the ports bound.
async fn open<I: Io>(
    medium: Medium<I>,
    setup: ShardSetup,
    term: Term,
    orders: &Rc<Orders>,
    checks: Option<Rc<Checks>>,
    report: impl FnMut(Progress),
) -> Result<(Rc<Core<I>>, [I::Listener; 2]), ServeError> {
    let io = medium.io().clone();
    let is_first = orders.is_first_term();
    refuse_foreign(&medium, &setup.store.dir).await?;
    let store = Store::open_on(medium.clone(), setup.store.clone(), report).await?;
    let (broker, change_files) = load_broker(&io, &setup, &store).await?;
    let listeners = [
        bind(&io, setup.listen, is_first, I::listen_remoting).await?,
        bind(&io, setup.vip_listen, is_first, I::listen_remoting).await?,
    ];
    if is_first && setup.max_connections < FEW_CONNECTIONS {
        warn!(
            connections = setup.max_connections,
            "few clients can connect: the process may open few files (ulimit -n, RLIMIT_NOFILE)"
        );
    }
    let replication = match setup.replication.clone() {
        Some(replication) => {
            let opened = Replication::open(&medium, replication, &setup, &term, &store);
            Some(opened.await?)
        }
        None => None,
    };
    let parts = Parts {
        store,
        broker,
        replication,
        checks,
    };
    let core = Core::new(io, setup, term, orders.clone(), parts);
    core.saves.read_up_to(change_files);
    if let Some(addrs) = core.broker.borrow().named_controllers() {
        core.orders.steering().use_controllers(addrs);
    }
    if !core.store.follows() {
        // What it passes over is found by that, and the broker that is elected instead has it.
        revive_log::restore(&core).await?;
    }
    replication::await_repair(&core);
    Ok((core, listeners))
}

/// Looks every tick, and reports what has changed.
async fn watch_health<I: Io>(core: Rc<Core<I>>, watch: Rc<impl Fn(Health)>) {
    let mut reported = None;
    while !core.is_stopping() {
        let health = match (core.store.fence(), core.store.full()) {
            (Some(reason), _) => Health::Fenced(reason),
            (None, Some(reason)) => Health::Full(reason),
            (None, None) if core.store.follows() => Health::Following,
            (None, None) => Health::Serving,
        };
        if reported.as_ref() != Some(&health) {
            watch(health.clone());
            reported = Some(health);
        }
        core.io.sleep_until(core.io.now().mono_ns + TICK_NS).await;
    }
}

/// The rules with the contents of config/, and a topic for every queue of the store: a message that was acknowledged must
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
    if setup.replication.is_some() {
        let end = |topic: &str, queue_id| {
            let queue = store.find_queue(topic, queue_id);
            queue.map_or(0, |queue| store.bounds(queue).max)
        };
        let clamped = broker.clamp_to_ends(end, now_ms);
        if clamped > 0 {
            warn!(
                clamped,
                "offsets were behind the ends of their queues: the messages were cut off the log"
            );
        }
        timer::clamp_to_ends(store).await?;
    }
    for (name, value) in broker.changed_settings() {
        info!(
            name,
            value, "changed in the running broker earlier, takes precedence over broker.conf"
        );
    }
    for (topic, queues) in store.topics() {
        broker.adopt_topic(&topic, queues, now_ms);
    }
    Ok((broker, change_files))
}

/// Applies what changed of topics and groups after their files were written; returns the number of the last change file.
async fn replay_changes<I: Io>(store: &Store<I>, broker: &mut Broker) -> Result<u64, ServeError> {
    let mut files = Vec::new();
    for file in saves::change_files::NAMES {
        let Some(text) = store.load_grown(file).await? else {
            continue;
        };
        let (changes, unread) = changes::read(&text);
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

async fn end<I: Io>(shard: &Shard<I>, core: &Core<I>, ends: Ends) -> Result<(), ServeError> {
    let broker = &core.setup.broker.broker_name;
    match ends {
        Ends::Shard => info!(broker, "stopping"),
        Ends::Term => info!(broker, role = ?core.term.role, "the term ends"),
    }
    shard.stop(ends);
    if ends == Ends::Term {
        release::failed(core, "the broker changes its role: send the message again").await;
    }
    wait_until(&core.io, LAST_COMMIT_NS, || core.are_answered()).await;
    let last_replies_ns = match ends {
        Ends::Shard => LAST_REPLIES_NS,
        Ends::Term => LAST_REPLIES_OF_TERM_NS,
    };
    wait_until(&core.io, last_replies_ns, || core.connections.are_drained()).await;
    core.connections.close_all().await;
    if !core.store.follows() {
        // No client sees it any more, and there is no replica. Otherwise the last saves would wait for what the replicas do not have.
        core.confirm_for_good();
    }
    wait_until(&core.io, LAST_COMMIT_NS, || !core.timers.are_running()).await;
    shard.end_transactions();
    saves::finish(core).await;
    if ends == Ends::Term && core.orders.changes_log() {
        core.store.abandon().await;
        return match core.store.fence() {
            Some(reason) => Err(ReadError::Fenced { reason }.into()),
            None => Ok(()),
        };
    }
    match core.store.close().await {
        // The next term takes the store up as a start after a crash does.
        Err(error) if ends == Ends::Term && core.store.fence().is_none() => {
            warn!(%error, "the store could not be closed cleanly");
            Ok(())
        }
        closed => closed.map_err(|source| {
            let dir = core.setup.store.dir.clone();
            let unclean = ServeError::Unclean { dir, source };
            error!("{unclean}");
            unclean
        }),
    }
}

async fn wait_until<I: Io>(io: &I, patience_ns: u64, is_so: impl Fn() -> bool) {
    let deadline_ns = io.now().mono_ns + patience_ns;
    let polled = async {
        while !is_so() {
            io.sleep_until(io.now().mono_ns + 1_000_000).await;
        }
    };
    if let Either::Right(()) = select(polled, io.sleep_until(deadline_ns)).await {
        warn!("gave up waiting for clients or the disk at the end");
    }
}
