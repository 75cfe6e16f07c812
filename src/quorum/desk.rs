//! One controller: the engine, the agreed state, and its own memory of the brokers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use openraft::ServerState;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::access::{Access, Links};
use super::counts::{Counts, Ending};
use super::machine::Machine;
use super::notifier::Notifier;
use super::rpc::{self, Door, PeerError};
use super::setup::Setup;
use super::types::Raft;
use super::whole_file::replace;
use crate::controller::{
    Applied, Command, Controller, LivingGroup, SCAN_INTERVAL_MS, Standing, Step, needs_leader,
};
use crate::wire::Reply;
use crate::wire::codes::response;
use crate::wire::header::Header;

/// RocketMQ's brokers wait 3 s for an answer.
const AGREE_LIMIT: Duration = Duration::from_millis(2_500);
/// How often due elections are looked for, if nothing happens.
const TURN: Duration = Duration::from_millis(SCAN_INTERVAL_MS);
/// The name of a file that is in a store until it has been filled for the first time. While it is there the controller does not vote for one that has more.
pub const MARKER: &str = "joining";
/// The engine's terms begin with 1.
const NO_TERM: u64 = 0;
pub const SETTINGS_FILE: &str = "changedSettings.properties";

#[derive(Debug)]
pub enum Stopped {
    /// The engine has ended: its journal cannot be written, or it found a contradiction.
    Engine(String),
}

pub struct Desk {
    pub setup: Setup,
    pub door: Arc<Door>,
    pub raft: Raft,
    pub machine: Machine,
    controller: Mutex<Controller>,
    notifier: Notifier,
    pub(super) access: Option<Arc<Access>>,
    pub(super) counts: Counts,
    started: Instant,
    /// The term that this process leads in, once it knows all that was agreed on before it.
    begun_term: AtomicU64,
    /// Something has happened: `watch` looks at once.
    wake: Notify,
}

impl Desk {
    pub fn new(setup: Setup, door: Arc<Door>, raft: Raft, machine: Machine, links: Links) -> Self {
        Self {
            controller: Mutex::new(Controller::new(setup.settings.clone())),
            setup,
            door,
            raft,
            machine,
            access: links.access.clone(),
            notifier: Notifier::new(links),
            counts: Counts::default(),
            started: Instant::now(),
            begun_term: AtomicU64::new(NO_TERM),
            wake: Notify::new(),
        }
    }

    /// The answer to a broker or an administrator.
    pub async fn answer(
        self: &Arc<Self>,
        header: &Header<'_>,
        body: &[u8],
        connection: u64,
    ) -> Reply {
        let arrived = Instant::now();
        let reply = self.decide(header, body, connection).await;
        let ending = Ending::of(reply.code);
        self.counts.answered(header.code, ending, arrived.elapsed());
        reply
    }

    async fn decide(self: &Arc<Self>, header: &Header<'_>, body: &[u8], connection: u64) -> Reply {
        if needs_leader(header.code) && !self.leads_for_sure().await {
            // An engine that was the leader until now may not have noticed.
            let standing = Standing {
                is_leader: false,
                ..self.standing()
            };
            return self.step(&standing, header, body, connection).await;
        }
        self.step(&self.standing(), header, body, connection).await
    }

    async fn step(
        self: &Arc<Self>,
        standing: &Standing,
        header: &Header<'_>,
        body: &[u8],
        connection: u64,
    ) -> Reply {
        let now_ms = self.now_ms();
        let step = {
            let state = self.machine.state();
            let mut controller = self.controller();
            controller.handle(&state.agreed, standing, header, body, connection, now_ms)
        };
        self.send_notices();
        match step {
            Step::Reply(reply) => reply,
            Step::Keep { text, reply } => match self.keep(&text) {
                Ok(()) => reply,
                Err(error) => Reply::error(format!("changed, but not kept: {error}")),
            },
            Step::Propose { command, asked } => {
                let desk = self.clone();
                // On a task of its own: what follows from an outcome is done also when no request waits for it any more.
                let agreed = tokio::spawn(async move { desk.agree(command).await });
                match timeout(AGREE_LIMIT, agreed).await {
                    Ok(Ok(Ok(applied))) => self.controller().reply(&asked, &applied, self.now_ms()),
                    Ok(Ok(Err(reply))) => reply,
                    _ => Reply::error("the controllers did not agree in time"),
                }
            }
        }
    }

    /// Whether a majority takes this controller for the leader at this moment.
    async fn leads_for_sure(&self) -> bool {
        self.standing().is_leader
            && timeout(AGREE_LIMIT, self.raft.ensure_linearizable())
                .await
                .is_ok_and(|sure| sure.is_ok())
    }

    async fn agree(&self, command: Command) -> Result<Applied, Reply> {
        let began = Instant::now();
        let written = self.raft.client_write(command.clone()).await;
        let ending = match (&written, began.elapsed() > AGREE_LIMIT) {
            (Ok(_), false) => Ending::Success,
            (Ok(_), true) => Ending::Timeout,
            (Err(_), _) => Ending::Failed,
        };
        self.counts.appended(ending, began.elapsed());
        let written = written.map_err(|error| {
            warn!(%error, ?command, "not agreed");
            let remark = format!("not agreed: {error}");
            match error.forward_to_leader() {
                Some(_) => Reply::refused(response::CONTROLLER_NOT_LEADER, remark),
                None => Reply::error(remark),
            }
        })?;
        let applied = written
            .data
            .ok_or_else(|| Reply::error("the entry had no outcome"))?;
        log(&command, &applied);
        self.counts.applied(&command, &applied);
        self.controller().applied(&command, &applied, self.now_ms());
        self.send_notices();
        Ok(applied)
    }

    /// The living brokers of each group; heartbeats reach the leader only.
    pub(super) fn brokers_alive(&self) -> Vec<LivingGroup> {
        let state = self.machine.state();
        self.controller().alive(&state.agreed, self.now_ms())
    }

    /// A connection of the port has ended.
    pub fn closed(&self, connection: u64) {
        self.controller()
            .connection_closed(connection, self.now_ms());
        self.wake.notify_one();
    }

    /// Looks for elections that are due, until the engine ends.
    pub async fn watch(self: Arc<Self>) -> Stopped {
        let (desk, mut changes) = (self.clone(), self.raft.server_metrics());
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                desk.wake.notify_one();
            }
        });
        let mut beginning: Option<(u64, JoinHandle<()>)> = None;
        loop {
            let _ = timeout(TURN, self.wake.notified()).await;
            let running = self.raft.metrics().borrow().running_state.clone();
            if let Err(error) = running {
                return Stopped::Engine(error.to_string());
            }
            if self.door.is_joining.load(Ordering::Relaxed) {
                self.join();
            }
            let term = self
                .leading_term()
                .filter(|term| self.begun_term.load(Ordering::Relaxed) != *term);
            let is_beginning = |term| {
                beginning
                    .as_ref()
                    .is_some_and(|(other, task)| *other == term && !task.is_finished())
            };
            if let Some(term) = term.filter(|term| !is_beginning(*term)) {
                beginning = Some((term, tokio::spawn(self.clone().begin())));
            }
            let is_leader = self.standing().is_leader;
            let now_ms = self.now_ms();
            let due = {
                let state = self.machine.state();
                let mut controller = self.controller();
                controller.lead(is_leader, now_ms);
                controller.due(&state.agreed, now_ms)
            };
            for command in due {
                let desk = self.clone();
                tokio::spawn(async move { desk.agree(command).await });
            }
        }
    }

    /// Ends the time in which this controller does not vote: it has applied an entry of the present leader's term, and so everything before.
    fn join(&self) {
        let term = self.raft.metrics().borrow().current_term;
        let applied = self.machine.state().applied;
        if applied.is_none_or(|id| id.index == 0 || id.leader_id.term != term) {
            return;
        }
        match std::fs::remove_file(self.setup.dir.join(MARKER)) {
            Ok(()) => info!("this controller has what the others agreed on"),
            Err(error) => warn!(%error, "the file {MARKER} cannot be removed"),
        }
        self.door.is_joining.store(false, Ordering::Relaxed);
    }

    fn leading_term(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        (metrics.state == ServerState::Leader).then_some(metrics.current_term)
    }

    /// Begins to lead. The engine may lead again right after a restart, in the term of before, and does not know then how much of its
    /// log was agreed on: its own read barrier passes although the state is still that of the last snapshot. So this controller
    /// answers only after an entry of this process was applied.
    async fn begin(self: Arc<Self>) {
        match self.raft.client_write(Command::Begin).await {
            Ok(written) => {
                let term = written.log_id.leader_id.term;
                info!(term, "this controller leads");
                self.begun_term.store(term, Ordering::Relaxed);
                self.wake.notify_one();
            }
            Err(error) => info!(%error, "this controller does not lead"),
        }
    }

    /// The answer to another controller.
    pub async fn answer_peer(&self, header: &Header<'_>, body: &[u8]) -> Result<Reply, PeerError> {
        let request = self.door.admit(header, body)?;
        Ok(rpc::answer(&self.raft, request).await)
    }

    pub fn standing(&self) -> Standing {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let leader = metrics
            .current_leader
            .and_then(|number| self.setup.peers.get(&number));
        let has_begun = self.begun_term.load(Ordering::Relaxed) == metrics.current_term;
        Standing {
            group: self.setup.group.clone(),
            peers: self.setup.peers_text(),
            leader_id: leader.map(|node| node.id.clone()),
            leader_address: leader.map(|node| node.address.clone()),
            is_leader: metrics.state == ServerState::Leader && has_begun,
            fixed_settings: self.setup.fixed_text(),
        }
    }

    fn keep(&self, text: &str) -> std::io::Result<()> {
        replace(&self.setup.dir, SETTINGS_FILE, text.as_bytes())
    }

    fn send_notices(&self) {
        let notices = self.controller().take_notices();
        notices
            .into_iter()
            .for_each(|notice| self.notifier.send(notice));
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.controller
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

fn log(command: &Command, applied: &Applied) {
    let (remark, group) = (applied.remark.as_deref(), applied.group.as_ref());
    let master = group.and_then(|group| group.master);
    let (epoch, set) = group.map_or((0, None), |group| (group.master_epoch, Some(&group.set)));
    match command {
        Command::Begin => {}
        Command::Elect {
            name,
            asked,
            candidates,
            ..
        } => {
            info!(broker = %name, ?asked, ?candidates, ?master, epoch, remark, "election");
        }
        Command::AlterSet { name, .. } => {
            info!(broker = %name, ?set, epoch, remark, "SyncStateSet")
        }
        Command::ApplyId {
            name, id, address, ..
        } => info!(broker = %name, id, %address, remark, "a broker registers"),
        Command::SetAddress { name, id, address } => {
            info!(broker = %name, id, %address, remark, "a broker has moved")
        }
        Command::Clean { name, ids } => info!(broker = %name, ?ids, remark, "brokers are removed"),
    }
}
