//! A shard under a controller: the manager of `replication/manager/`, with its connections and files.
//!
//! It lives beside the terms of the shard, as the connections of its heartbeats stay open while one role ends and the next begins.
//!
//! ```text
//!               ┌─ heartbeats, one task a controller ─► controllers
//! manager ──────┼─ questions and files, one task ─────► the leading controller, brokerIdentity
//!    ▲          └─ orders ─────────────────────────────► the next term
//!    └─ steering ◄── the present term: its log, its replicas, the controller's notices
//! ```
//! | File | |
//! |---|---|
//! | `steering.rs` | what manager and term share |
//! | `requests.rs` | the questions as requests |
//! | `heartbeats.rs` | heartbeats to one controller |
//! | `files.rs` | the broker's number; what its log has lost |
//! | `view.rs` | a term as the manager sees it |

mod files;
mod heartbeats;
mod requests;
pub(super) mod steering;
mod unconfirmed;
mod view;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use tracing::{error, info, warn};

use super::replication::setup::{ControllerSetup, MasterAddr, Role};
use super::term::{Mandate, Orders, Term};
use super::{ServeError, ShardSetup};
use crate::auth::{Signer, signed};
use crate::io::{Io, Notify, select};
use crate::replication::manager::ask::{Answer, Ask, Failure};
use crate::replication::manager::identity::{Claim, GroupName};
use crate::replication::manager::set::Limits;
use crate::replication::manager::{self, Action, Facts, Manager, Settings};
use crate::replication::members::{MemberId, SyncStateSet};
use crate::replication::replicas::Replicas;
use crate::store::{Medium, Resume};
use crate::wire::codes::request;
use crate::wire::controller::LogLoss;
use crate::wire::register::BrokerHeartbeat;
use crate::wire::{Codec, Head, frame};
use files::{Files, Found};
use heartbeats::Posts;
use requests::Asker;
use steering::{SendGate, Steering, TermView};
use unconfirmed::Unconfirmed;

const MS: u64 = 1_000_000;

/// How often the manager is asked what is to be done, besides what it is woken for.
const TICK_NS: u64 = 50 * MS;

/// A member of the set whose reported position does not advance for so long leaves it.
const STANDSTILL_NS: u64 = 1_500 * MS;

/// What takes its time.
#[derive(Debug)]
enum Job {
    Ask(Ask, SocketAddr),
    SaveClaim(Claim),
    SaveIdentity(MemberId),
}

enum Outcome {
    Asked(Result<Answer, Failure>),
    Saved(Result<(), String>),
}

/// The tasks of one manager.
pub(super) struct Controlled {
    group: GroupName,
    addr: SocketAddr,
    /// Signs the heartbeats; other requests are signed where they are sent.
    signer: Option<Signer>,
    setup: ControllerSetup,
    orders: Rc<Orders>,
    steering: Rc<Steering>,
    posts: Posts,
    job: RefCell<Option<Job>>,
    has_job: Notify,
    outcome: RefCell<Option<Outcome>>,
    is_over: Cell<bool>,
}

/// Starts them, if a controller decides about the shard.
pub(super) async fn start<I: Io>(
    io: &I,
    medium: &Medium<I>,
    setup: &ShardSetup,
    orders: &Rc<Orders>,
) -> Result<Option<Rc<Controlled>>, ServeError> {
    let replication = setup.replication.as_ref();
    let Some(controller) = replication.and_then(|replication| replication.controller.clone())
    else {
        return Ok(None);
    };
    let group = GroupName {
        cluster: setup.broker.cluster_name.clone(),
        broker_name: setup.broker.broker_name.clone(),
    };
    let (files, found) = Files::open(medium, &setup.store.dir, group.clone()).await?;
    orders.noted_unconfirmed(found.is_unconfirmed);
    let posts = Posts::default();
    posts.send_to(io, &controller.controllers);
    let credentials = setup.broker.settings.inner_credentials.clone();
    let controlled = Rc::new(Controlled {
        group: group.clone(),
        addr: setup.broker.advertise,
        signer: credentials.as_ref().map(Signer::new),
        setup: controller,
        orders: orders.clone(),
        steering: orders.steering().clone(),
        posts,
        job: RefCell::default(),
        has_job: Notify::default(),
        outcome: RefCell::default(),
        is_over: Cell::new(false),
    });
    let asker = Asker::new(io.clone(), group, setup.broker.advertise, credentials);
    let files = Rc::new(files);
    let jobs = do_jobs(controlled.clone(), asker, files.clone());
    io.spawn("ask-controller", jobs);
    let managed = manage(io.clone(), controlled.clone(), files, found);
    io.spawn("manage-role", managed);
    Ok(Some(controlled))
}

async fn manage<I: Io>(io: I, controlled: Rc<Controlled>, files: Rc<Files<I>>, found: Found) {
    let check_code = format!("{};{}", controlled.addr, io.now().unix_ms);
    let settings = controlled.settings(check_code);
    let mut manager = Manager::new(settings, found.id, found.claim);
    let mut loss = Loss {
        up_to: found.lost_up_to,
        is_known: false,
    };
    let mut unconfirmed = Unconfirmed::default();
    let mut facts = Facts::default();
    let mut lacks_acknowledged = false;
    while !controlled.is_over.get() {
        let named = controlled.steering.take_controllers();
        if let Some(addrs) = named.filter(|addrs| manager.use_controllers(addrs)) {
            let broker = &controlled.group.broker_name;
            info!(broker, ?addrs, "other controllers are named");
            controlled.posts.send_to(&io, &addrs);
        }
        if let Some(term) = controlled.steering.term() {
            lacks_acknowledged = loss.follow(&files, &*term).await;
            let orders = &controlled.orders;
            unconfirmed.follow(&files, orders, &*term).await;
        }
        // The files may have taken their time: a replica that joins has to have what is committed now.
        if let Some(term) = controlled.steering.term() {
            facts = Facts {
                lacks_acknowledged,
                ..term.facts()
            };
        }
        // Without its log it can say nothing about itself.
        if loss.is_known {
            controlled.step(&mut manager, &facts, io.now().mono_ns);
        }
        let tick = io.sleep_until(io.now().mono_ns + TICK_NS);
        let _ = select(controlled.steering.wake.notified(), tick).await;
    }
}

/// What the log has lost of what was acknowledged.
struct Loss {
    /// The log has to come so far.
    up_to: Option<u64>,
    /// The first term has said it.
    is_known: bool,
}

impl Loss {
    /// Whether the log lacks something of it.
    async fn follow<I: Io>(&mut self, files: &Files<I>, term: &dyn TermView) -> bool {
        if !self.is_known {
            let found = term.lost_up_to();
            if found > self.up_to {
                self.up_to = found;
                if let Err(error) = files.save_loss(found.unwrap_or(0)).await {
                    warn!(%error, "that acknowledged messages are missing cannot be noted");
                }
            }
            self.is_known = true;
        }
        let lacks = self.up_to.is_some_and(|up_to| term.persisted() < up_to);
        if self.up_to.is_some() && !lacks {
            info!("the log has what it had lost");
            self.up_to = None;
            files.forget_loss().await;
        }
        lacks
    }
}

async fn do_jobs<I: Io>(controlled: Rc<Controlled>, mut asker: Asker<I>, files: Rc<Files<I>>) {
    while !controlled.is_over.get() {
        let job = controlled.job.take();
        let Some(job) = job else {
            controlled.has_job.notified().await;
            continue;
        };
        let saved = |saved: Result<(), crate::store::StoreError>| {
            Outcome::Saved(saved.map_err(|error| error.to_string()))
        };
        let outcome = match job {
            Job::Ask(ask, to) => Outcome::Asked(asker.ask(&ask, to).await),
            Job::SaveClaim(claim) => saved(files.save_claim(&claim).await),
            Job::SaveIdentity(id) => saved(files.save_identity(id).await),
        };
        controlled.outcome.replace(Some(outcome));
        controlled.steering.wake.notify();
    }
}

impl Controlled {
    /// The controllers see the connections close: another master is elected at once.
    pub fn stop(&self) {
        self.is_over.set(true);
        self.has_job.notify();
        self.steering.wake.notify();
        self.posts.end();
    }

    fn settings(&self, check_code: String) -> Settings {
        let setup = &self.setup;
        Settings {
            controllers: setup.controllers.clone(),
            check_code,
            heartbeat_ns: setup.heartbeat_ms * MS,
            decision_ns: setup.decision_ms * MS,
            leader_ns: setup.leader_ms * MS,
            limits: Limits {
                standstill_ns: STANDSTILL_NS,
                behind_ns: setup.behind_ms * MS,
            },
            lease_ns: setup.timeout_ms * MS * 2 / 3,
        }
    }

    /// One turn of the manager.
    fn step(&self, manager: &mut Manager, facts: &Facts, now_ns: u64) {
        let term = self.steering.term();
        let actions = {
            let mut held = term.as_ref().and_then(|term| term.replicas());
            let mut replicas = held
                .as_mut()
                .filter(|(epoch, _)| is_epoch_of(manager, *epoch))
                .map(|(_, replicas)| &mut **replicas);
            if let Some(outcome) = self.outcome.take() {
                told(manager, outcome, replicas.as_deref_mut(), now_ns);
            }
            if let Some(notice) = self.steering.take_notice() {
                manager.notified(notice, replicas.as_deref_mut(), now_ns);
            }
            if self.steering.take_unproven() {
                manager.notified_without_proof(now_ns);
            }
            let actions = manager.poll(facts, replicas.as_deref_mut(), now_ns);
            if let (Some(term), Some(replicas)) = (&term, &replicas) {
                term.set_gate(self.gate(manager, replicas, now_ns));
            }
            actions
        };
        if let Some(term) = &term {
            term.judge();
        }
        for action in actions {
            self.carry_out(action, facts, manager.id());
        }
    }

    fn gate(&self, manager: &Manager, replicas: &Replicas, now_ns: u64) -> SendGate {
        let Some(members) = replicas.members() else {
            return SendGate::Open;
        };
        let lease_ns = self.setup.timeout_ms * MS * 2 / 3;
        let is_silent = |id: MemberId| {
            let replica = replicas.of_member(id);
            replica.is_none_or(|it| now_ns.saturating_sub(it.heard_ns) > lease_ns)
        };
        if !members.are_enough() {
            SendGate::TooFewInSync
        } else if manager.is_cut_off(now_ns) && members.needed().any(is_silent) {
            SendGate::CutOff
        } else {
            SendGate::Open
        }
    }

    fn carry_out(&self, action: Action, facts: &Facts, own_id: Option<MemberId>) {
        let broker = &self.group.broker_name;
        match action {
            Action::Ask(ask, to) => self.give(Job::Ask(ask, to)),
            Action::SaveClaim(claim) => self.give(Job::SaveClaim(claim)),
            Action::SaveIdentity(id) => self.give(Job::SaveIdentity(id)),
            Action::Heartbeat(id) => {
                let frame = self.heartbeat(id, facts);
                self.posts.send(&frame);
            }
            Action::CloseHeartbeats => {
                if facts.is_fenced {
                    error!(
                        broker,
                        "the device has failed: the controllers are to take this broker for dead"
                    );
                }
                self.posts.close();
            }
            Action::TakeRole { role, reason } => {
                let Some(own_id) = own_id else { return };
                info!(broker, id = own_id, ?role, reason, "the role changes");
                let mut term = term_of(role, own_id);
                if mutant!(WinnerCutsUnconfirmed) && term.role == Role::SyncMaster {
                    term.resume = Resume::CutAt(facts.committed);
                }
                self.orders.ask_for_term(term);
            }
            Action::Log(text) => info!(broker, "{text}"),
        }
    }

    fn give(&self, job: Job) {
        self.job.replace(Some(job));
        self.has_job.notify();
    }

    fn heartbeat(&self, id: MemberId, facts: &Facts) -> Vec<u8> {
        const NO_EPOCH: i32 = -1;
        let addr = self.addr.to_string();
        let fields = BrokerHeartbeat {
            cluster_name: &self.group.cluster,
            broker_addr: &addr,
            broker_name: &self.group.broker_name,
            broker_id: Some(id),
            epoch: Some(facts.last_epoch.map_or(NO_EPOCH, |epoch| epoch.number)),
            max_offset: Some(facts.log_end as i64),
            confirm_offset: Some(facts.committed as i64),
            heartbeat_timeout_ms: Some(self.setup.timeout_ms as i64),
            election_priority: Some(self.setup.priority),
        };
        let loss = LogLoss {
            is_lossy: facts.lacks_acknowledged,
            is_damaged: facts.states_damage(),
        };
        let ext: Vec<_> = fields.ext().into_iter().chain(loss.ext()).collect();
        let head = Head::oneway(Codec::Json, request::BROKER_HEARTBEAT, 0);
        let (mut bytes, mut signature) = (Vec::new(), String::new());
        let signed = signed(self.signer.as_ref(), &ext, &[], &mut signature);
        frame::write(&mut bytes, &head, &signed, &[]);
        bytes
    }
}

fn is_epoch_of(manager: &Manager, running: i32) -> bool {
    let role = manager.role();
    matches!(role, Some(manager::Role::Master { epoch, .. }) if *epoch == running)
}

fn told(manager: &mut Manager, outcome: Outcome, replicas: Option<&mut Replicas>, now_ns: u64) {
    match outcome {
        Outcome::Asked(Ok(answer)) => manager.answered(answer, replicas, now_ns),
        Outcome::Asked(Err(failure)) => manager.failed(&failure, replicas, now_ns),
        Outcome::Saved(saved) => manager.saved(saved, now_ns),
    }
}

fn term_of(role: manager::Role, own_id: MemberId) -> Term {
    match role {
        manager::Role::Master { epoch, set } => Term {
            role: Role::SyncMaster,
            broker_id: 0,
            master: None,
            mandate: Some(Mandate { epoch, set, own_id }),
            resume: Resume::AsIs,
        },
        manager::Role::Slave { epoch, master } => Term {
            role: Role::Slave,
            broker_id: own_id,
            // Its port for replicas is asked of the master itself.
            master: Some(MasterAddr {
                remoting: master.map(|master| master.addr),
                ha: None,
            }),
            mandate: Some(Mandate {
                epoch,
                set: SyncStateSet::default(),
                own_id,
            }),
            resume: Resume::AsIs,
        },
    }
}
