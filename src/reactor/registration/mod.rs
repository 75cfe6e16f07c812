//! Registration with the name servers: a change at once, and every 30 s everything that they do not have.
//!
//! One task for each name server, ours or a foreign one, over one connection that is opened again when it breaks. A name server
//! removes the broker's routes when the connection closes.
//!
//! | What | Request | When |
//! |---|---|---|
//! | a topic that was made or changed | REGISTER_TOPIC_IN_NAMESRV (217) | at once |
//! | everything | REGISTER_BROKER (103), in parts of [`PART_TOPICS`] | on a new connection; when the broker's permission changes; soon after a deletion; after 30 s if QUERY_DATA_VERSION (322) says that it has another version |
//!
//! A name server with `deleteTopicWithBrokerRegistration` takes a part of REGISTER_BROKER for all topics, and removes the others. So
//! it is sent everything in one request, and a single topic is registered by 217.

mod body;
pub(super) mod servers;
mod state;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tracing::{info, warn};

use super::core::Core;
use super::master_address;
use super::remoting_client::{AskError, RemotingClient};
use super::replication::setup::MasterAddr;
use super::replication::state::Replication;
use crate::io::{Either, Io, select, yield_now};
use crate::wire::codes::request;
use crate::wire::register::{BrokerIdentity, RegisterBroker};
use crate::wire::topic::TopicRequest;
use crate::wire::{DataVersion, loose_json};
use servers::Server;
use state::{Pending, Schedule};

/// How long a name server may take for one answer (RocketMQ gives it 24 s, and its brokers wait as long for their start).
const PATIENCE_NS: u64 = 3_000_000_000;

const RETRY_NS: u64 = 1_000_000_000;

/// Topics in one registration (RocketMQ: `splitRegistrationSize`). A name server may be on a core that answers messages.
const PART_TOPICS: usize = 800;

/// Topics that are encoded in one turn.
const SLICE_TOPICS: usize = 200;

/// What a name server takes is 16 MiB, with the request's header.
const MAX_BODY_BYTES: usize = (16 << 20) - (64 << 10);

/// Starts a task for each name server.
pub(super) fn start<I: Io>(core: &Rc<Core<I>>) -> Vec<Rc<Server>> {
    if is_without_role(core) {
        return Vec::new();
    }
    let namesrv = core.setup.namesrv.iter();
    let servers = namesrv.map(|name_server| {
        let server = core.registration.add(name_server.clone());
        let task = keep_registered(core.clone(), server.clone());
        core.io.spawn("registration", task);
        server
    });
    servers.collect()
}

/// Waits until each has been tried once. How many have the routes.
pub(super) async fn tried(servers: Vec<Rc<Server>>) -> usize {
    let mut registered = 0;
    for server in servers {
        server.tried.notified().await;
        registered += usize::from(server.registered.get());
    }
    registered
}

async fn keep_registered<I: Io>(core: Rc<Core<I>>, server: Rc<Server>) {
    let mut link: Option<RemotingClient<I>> = None;
    let mut schedule = Schedule::new(core.setup.register_interval_ms * 1_000_000);
    while !core.is_stopping() {
        let outcome = register_pending(&core, &server, &mut link, &mut schedule).await;
        let retry_ns = note(&core, &server, &mut link, outcome);
        server.tried.notify();
        if core.is_stopping() {
            break;
        }
        let wake_ns = retry_ns.unwrap_or(schedule.due_ns());
        let woken = select(server.wake.notified(), core.io.sleep_until(wake_ns));
        match &mut link {
            None => {
                // Both end the wait.
                let _ = woken.await;
            }
            Some(open) => {
                if let Either::Right(()) = select(woken, open.until_closed()).await {
                    link = None;
                }
            }
        }
        if server.has_deleted.take() {
            let topics = core.broker.borrow().topics().len();
            schedule.topic_deleted(topics, core.io.now().mono_ns);
        }
    }
    // The next term registers at once; an unregistration that the name server carries out later would take that back.
    let is_over = server.registered.get() && !core.is_changing();
    if let Some(link) = link.as_mut().filter(|_| is_over)
        && let Err(error) = unregister(&core, link).await
    {
        warn!(namesrv = %server.name_server.name(), %error, "not unregistered; the name server sees that the connection has closed");
    }
}

/// Logs a change of the name server's state; when to try again, after a failure.
fn note<I: Io>(
    core: &Core<I>,
    server: &Server,
    link: &mut Option<RemotingClient<I>>,
    outcome: Result<(), AskError>,
) -> Option<u64> {
    let before = server.registered.replace(outcome.is_ok());
    let Err(error) = outcome else {
        if !before {
            let broker = &core.setup.broker.broker_name;
            info!(namesrv = %server.name_server.name(), broker, "registered");
        }
        return None;
    };
    if before || link.is_some() {
        warn!(namesrv = %server.name_server.name(), %error, "registration failed; trying again every second");
    }
    *link = None;
    Some(core.io.now().mono_ns + RETRY_NS)
}

/// Registers what the name server does not have yet.
async fn register_pending<I: Io>(
    core: &Core<I>,
    server: &Server,
    link: &mut Option<RemotingClient<I>>,
    schedule: &mut Schedule,
) -> Result<(), AskError> {
    let is_new = link.is_none();
    let link = match link {
        Some(link) => link,
        None => {
            let (name_server, credentials) = (&server.name_server, core.credentials());
            let connecting =
                RemotingClient::connect_to_names(&core.io, name_server, credentials, PATIENCE_NS);
            link.insert(connecting.await?)
        }
    };
    let now_ns = core.io.now().mono_ns;
    if is_new {
        // The name server has removed the routes of an earlier connection.
        server.pending.borrow_mut().all_changed();
    } else if now_ns >= schedule.due_ns()
        && (!schedule.is_asked_first(now_ns)
            || lacks_master(core)
            || !has_our_version(core, link).await?)
    {
        server.pending.borrow_mut().all_changed();
    }
    let pending = server.pending.borrow_mut().take();
    let outcome = match &pending {
        Pending::Nothing => Ok(()),
        Pending::Changed(topics) => match register_topics(core, link, topics).await {
            // An older name server does not know the request.
            Err(AskError::Refused { .. }) => register_all(core, link, schedule).await,
            outcome => outcome,
        },
        Pending::Everything => register_all(core, link, schedule).await,
    };
    if outcome.is_err() {
        server.pending.borrow_mut().give_back(pending);
    }
    outcome
}

/// Whether the name server has the routes of the topics' current version.
async fn has_our_version<I: Io>(
    core: &Core<I>,
    link: &mut RemotingClient<I>,
) -> Result<bool, AskError> {
    let version = loose_json::to_vec(&version(core));
    let addr = master_address::in_routes(core).to_string();
    let fields = identity(core, &addr);
    let code = request::QUERY_DATA_VERSION;
    match link.ask(code, &fields.ext(), &version, PATIENCE_NS).await {
        Ok(answer) => Ok(answer.field("changed") == Some("false")),
        Err(AskError::Refused { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn register_topics<I: Io>(
    core: &Core<I>,
    link: &mut RemotingClient<I>,
    topics: impl IntoIterator<Item = &String>,
) -> Result<(), AskError> {
    for topic in topics {
        let body = body::of_topic(&core.broker.borrow(), topic);
        if let Some(body) = body {
            let fields = TopicRequest { topic };
            let code = request::REGISTER_TOPIC_IN_NAMESRV;
            link.ask(code, &fields.ext(), &body, PATIENCE_NS).await?;
        }
    }
    Ok(())
}

/// Registers the broker with all its topics.
async fn register_all<I: Io>(
    core: &Core<I>,
    link: &mut RemotingClient<I>,
    schedule: &mut Schedule,
) -> Result<(), AskError> {
    let (version, count) = (version(core), core.broker.borrow().topics().len());
    let has_parts = count > PART_TOPICS && !forgets_absent_topics(link).await?;
    let mut topics = body::Topics::default();
    let mut has_more = true;
    let mut parts = 0;
    while has_more {
        let mut added = 0;
        while has_more && (added < PART_TOPICS || !has_parts) {
            has_more = topics.add(&core.broker.borrow(), SLICE_TOPICS);
            added += SLICE_TOPICS;
            yield_now().await;
        }
        if topics.len_bytes() > MAX_BODY_BYTES {
            let reason = format!(
                "the {count} topics do not fit into one registration of 16 MiB: set deleteTopicWithBrokerRegistration=false at the name server"
            );
            return Err(io::Error::other(reason).into());
        }
        // A name server takes topics only with a version that is not the one before.
        parts += 1;
        let of_part = DataVersion {
            timestamp_ms: version.timestamp_ms - if has_more { parts } else { 0 },
            ..version
        };
        let (body, crc) = topics.take_body(of_part);
        register(core, link, body, crc).await?;
    }
    schedule.registered(core.io.now().mono_ns);
    Ok(())
}

/// Whether the name server deletes the routes of topics that a registration does not name.
async fn forgets_absent_topics<I: Io>(link: &mut RemotingClient<I>) -> Result<bool, AskError> {
    let code = request::GET_NAMESRV_CONFIG;
    match link.ask(code, &[], &[], PATIENCE_NS).await {
        Ok(answer) => {
            let properties = String::from_utf8_lossy(&answer.body);
            let mut lines = properties.lines().filter_map(|line| line.split_once('='));
            Ok(lines.any(|(name, value)| {
                name.trim() == "deleteTopicWithBrokerRegistration" && value.trim() == "true"
            }))
        }
        Err(AskError::Refused { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn register<I: Io>(
    core: &Core<I>,
    link: &mut RemotingClient<I>,
    body: Vec<u8>,
    crc: i32,
) -> Result<(), AskError> {
    let advertise = core.setup.broker.advertise;
    let ha_port = match &core.replication {
        Some(replication) => replication.setup().listen.port(),
        None => advertise.port() + 1,
    };
    let ha_addr = SocketAddr::new(advertise.ip(), ha_port).to_string();
    let fields = RegisterBroker {
        broker_name: &core.setup.broker.broker_name,
        broker_addr: &master_address::in_routes(core).to_string(),
        cluster_name: &core.setup.broker.cluster_name,
        ha_server_addr: &ha_addr,
        broker_id: broker_id(core),
        heartbeat_timeout_ms: None,
        enable_acting_master: core.term.mandate.as_ref().map(|_| false),
        compressed: false,
        body_crc32: Some(crc),
        zone_name: None,
    };
    let code = request::REGISTER_BROKER;
    let ext = fields.ext();
    let answer = link.ask_with(code, &ext, body, PATIENCE_NS).await?;
    if let Some(replication) = &core.replication {
        let addr = |field| answer.field(field).and_then(|addr| addr.parse().ok());
        replication.learn_master(MasterAddr {
            remoting: addr("masterAddr"),
            ha: addr("haServerAddr"),
        });
    }
    Ok(())
}

/// The controller has not decided yet: no name server is to know this broker, least of all as a master.
fn is_without_role<I: Io>(core: &Core<I>) -> bool {
    let replication = core.replication.as_ref();
    let is_controlled =
        replication.is_some_and(|replication| replication.setup().controller.is_some());
    is_controlled && core.term.mandate.is_none()
}

/// The topics' version. With a controller it has the epoch: of two masters a name server keeps the one with the newer.
fn version<I: Io>(core: &Core<I>) -> DataVersion {
    let version = core.broker.borrow().topics().version();
    match &core.term.mandate {
        Some(mandate) => DataVersion {
            state_version: mandate.epoch.into(),
            ..version
        },
        None => version,
    }
}

fn lacks_master<I: Io>(core: &Core<I>) -> bool {
    let replication = core.replication.as_ref();
    replication.is_some_and(Replication::lacks_master)
}

/// 0 is the master.
fn broker_id<I: Io>(core: &Core<I>) -> i64 {
    let replication = core.replication.as_ref();
    replication.map_or(0, |replication| replication.setup().broker_id)
}

async fn unregister<I: Io>(core: &Core<I>, link: &mut RemotingClient<I>) -> Result<(), AskError> {
    let addr = master_address::in_routes(core).to_string();
    let fields = identity(core, &addr);
    let code = request::UNREGISTER_BROKER;
    link.ask(code, &fields.ext(), &[], PATIENCE_NS).await?;
    Ok(())
}

fn identity<'a, I: Io>(core: &'a Core<I>, addr: &'a str) -> BrokerIdentity<'a> {
    BrokerIdentity {
        broker_name: &core.setup.broker.broker_name,
        broker_addr: addr,
        cluster_name: &core.setup.broker.cluster_name,
        broker_id: broker_id(core),
    }
}
