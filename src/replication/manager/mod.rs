//! A broker under a controller: how it gets its number, learns its role, and changes the SyncStateSet. No socket, no time, no file.
//!
//! ```text
//! without a number ─ 1012 ─► file of the claim ─ 1013 ─► file of the identity ─ 1003 ─► registered ─ 904 ─► a role
//!                                                                                            │ 1004, 1008, 1002
//!        no role ──────► slave of a master ◄──── a newer epoch ────► master of an epoch ◄────┘
//! ```
//! [`Manager::poll`] says what is to be done now; what came of it is given to [`Manager::answered`], [`Manager::failed`] and
//! [`Manager::saved`]. One question is open at a time. Codes and order are those of RocketMQ's `ReplicasManager`; what differs:
//!
//! * The set is changed after the controller has agreed, in both directions (`members.rs`). If an answer is lost, the change is asked for
//!   again until the set's epoch has moved.
//! * A set without a member is asked for only of a controller that is heard at that moment.
//! * An epoch is begun once: a broker that was restarted in the epoch in which it is master ends that epoch by closing the connections of its
//!   heartbeats. Its slaves may have what it has lost, and could not tell it from what it would write there.
//! * A broker whose device has failed closes these connections as well, and asks nothing more.
//! * A broker that cannot read a part of its log states it in its heartbeats, and a whole one is elected before it. So does one that may have lost the end of
//!   its log in a crash, until it has caught up. Unlike the other one it sends heartbeats to every controller: after a power cut of all brokers none
//!   could be elected otherwise.
//! * A broker that has lost acknowledged messages states it in its heartbeats. To a controller that does not understand it, it sends no heartbeats until it has
//!   them from another.

pub mod ask;
mod decisions;
pub mod identity;
pub mod set;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use super::epochs::Epoch;
use super::members::{MemberId, SyncStateSet};
use super::replicas::Replicas;
use ask::{Answer, Ask, Decision, Failure, Master, Refusal};
use identity::Claim;
use set::{Limits, OwnLog, Reports};

const MS: u64 = 1_000_000;

/// After no answer, or from one that does not lead.
const NEXT_CONTROLLER_NS: u64 = 100 * MS;

/// After the refusal of a set because another one, or another master, was decided on.
const NEXT_SET_NS: u64 = 100 * MS;

/// After a refusal.
const AGAIN_NS: u64 = 500 * MS;

/// After a refusal that only an operator can change.
const HOPELESS_NS: u64 = 5_000 * MS;

/// How often the controller is asked while there is no master.
const NO_MASTER_NS: u64 = 500 * MS;

/// How often while it has to end an epoch, how long a heartbeat is given to arrive before its connection is closed, and when all that is tried again.
const ENDING_ASK_NS: u64 = 100 * MS;
const ENDING_CLOSE_NS: u64 = 300 * MS;
const ENDING_AGAIN_NS: u64 = 5_000 * MS;

/// Between two polls of a process that runs. A controller of ringmq elects another master after a pause of twice that at the earliest.
const PAUSE_NS: u64 = 500 * MS;

/// A set without a member is asked for so soon after the controller's decision was read. If this master were heard and heard nothing itself, the
/// controller would grant the set, take the master for dead later, and find no broker in the set to elect.
const FRESH_NS: u64 = 100 * MS;

/// Between an answer of a controller and the question that a notice without proof leads to.
const UNPROVEN_GAP_NS: u64 = 100 * MS;

/// No controller grants a change so late: it gives its group 5 s.
const LATE_GRANT_NS: u64 = 60_000 * MS;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub controllers: Vec<SocketAddr>,
    /// Of the claim: the broker's address, and milliseconds.
    pub check_code: String,
    /// `brokerHeartbeatInterval`
    pub heartbeat_ns: u64,
    /// `syncBrokerMetadataPeriod`
    pub decision_ns: u64,
    /// `syncControllerMetadataPeriod`
    pub leader_ns: u64,
    pub limits: Limits,
    /// Without an answer of any controller for so long a master may have a successor.
    pub lease_ns: u64,
}

/// What a manager knows of its broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub log_end: u64,
    pub committed: u64,
    /// The newest one of its log.
    pub last_epoch: Option<Epoch>,
    /// Its device has failed.
    pub is_fenced: bool,
    /// It has acknowledged messages that are not in its log.
    pub lacks_acknowledged: bool,
    /// A part of its log cannot be read, and another broker may have it.
    pub has_holes: bool,
    /// The last bytes of its log may have been lost in a crash, and it has not caught up with a master since.
    pub is_end_in_doubt: bool,
}

impl Facts {
    /// What its heartbeats say: another broker may have what this one lacks.
    pub fn states_damage(&self) -> bool {
        self.has_holes || self.is_end_in_doubt
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Master { epoch: i32, set: SyncStateSet },
    Slave { epoch: i32, master: Option<Master> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Ask(Ask, SocketAddr),
    /// Durably, before [`Manager::saved`].
    SaveClaim(Claim),
    SaveIdentity(MemberId),
    /// To every controller.
    Heartbeat(MemberId),
    /// To every controller: it takes that for the broker's death.
    CloseHeartbeats,
    TakeRole {
        role: Role,
        reason: &'static str,
    },
    /// The set is asked for without these, each for a reason.
    Log(String),
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Nameless,
    /// The claim is in its file.
    Claims(Claim),
    /// The controller has given it the number.
    Named(MemberId),
    Registered(MemberId),
}

/// It is master of an epoch that it must not continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    epoch: i32,
    beat_ns: Option<u64>,
    is_closed: bool,
}

/// A change of the set that is due.
enum Change {
    /// The controller's decision has to be read first.
    AfterDecision,
    To(SyncStateSet),
}

#[derive(Debug)]
pub struct Manager {
    settings: Settings,
    facts: Facts,
    standing: Standing,
    next_controller: usize,
    leader: Option<SocketAddr>,
    leader_due_ns: u64,
    /// What is being asked or saved.
    busy: Option<Busy>,
    not_before_ns: u64,
    role: Option<Role>,
    newest_epoch: i32,
    lacks_master: bool,
    elect_due_ns: u64,
    decision_due_ns: u64,
    heartbeat_due_ns: u64,
    /// A controller answered last.
    answered_ns: Option<u64>,
    /// The leader of the controllers answered last what is decided.
    decided_ns: Option<u64>,
    /// The controllers were silent for so long that the connections of the heartbeats may carry nothing for some seconds more: TCP repeats what got lost
    /// later each time.
    are_links_stale: bool,
    knows_loss: Option<bool>,
    /// The last heartbeat said that another broker may have what this one lacks.
    has_stated_damage: bool,
    ending: Option<Ending>,
    has_resigned: bool,
    reports: Reports,
    /// No other set is asked for before this.
    change_due_ns: u64,
    /// Since when a change may have been granted without an answer.
    lost_grant_ns: Option<u64>,
    polled_ns: Option<u64>,
    ready: Vec<Action>,
    complaint: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Busy {
    Asking(Ask, SocketAddr),
    SavingClaim(Claim),
    SavingIdentity(MemberId),
}

impl Manager {
    /// Of a broker that has found this in its files.
    pub fn new(settings: Settings, id: Option<MemberId>, claim: Option<Claim>) -> Self {
        let standing = match (id, claim) {
            (Some(id), _) => Standing::Named(id),
            (None, Some(claim)) => Standing::Claims(claim),
            (None, None) => Standing::Nameless,
        };
        Self {
            settings,
            facts: Facts::default(),
            standing,
            next_controller: 0,
            leader: None,
            leader_due_ns: 0,
            busy: None,
            not_before_ns: 0,
            role: None,
            newest_epoch: 0,
            lacks_master: false,
            elect_due_ns: 0,
            decision_due_ns: 0,
            heartbeat_due_ns: 0,
            answered_ns: None,
            decided_ns: None,
            are_links_stale: false,
            knows_loss: None,
            has_stated_damage: false,
            ending: None,
            has_resigned: false,
            reports: Reports::default(),
            change_due_ns: 0,
            lost_grant_ns: None,
            polled_ns: None,
            ready: Vec::new(),
            complaint: String::new(),
        }
    }

    pub fn role(&self) -> Option<&Role> {
        self.role.as_ref()
    }

    /// These are the controllers from now on; whether they are others than before. The leader is looked for among them if it is none of them, and what they
    /// understand is asked again.
    pub fn use_controllers(&mut self, controllers: &[SocketAddr]) -> bool {
        if self.settings.controllers == controllers {
            return false;
        }
        self.leader = self.leader.filter(|leader| controllers.contains(leader));
        self.knows_loss = None;
        self.next_controller = 0;
        self.settings.controllers = controllers.to_vec();
        true
    }

    /// Its number, once the controller has given it one.
    pub fn id(&self) -> Option<MemberId> {
        match self.standing {
            Standing::Named(id) | Standing::Registered(id) => Some(id),
            Standing::Nameless | Standing::Claims(_) => None,
        }
    }

    /// No controller has answered for so long that there may be another master.
    pub fn is_cut_off(&self, now_ns: u64) -> bool {
        let answered_ns = self.answered_ns.unwrap_or(0);
        now_ns.saturating_sub(answered_ns) > self.settings.lease_ns
    }

    fn heard(&mut self, now_ns: u64) {
        self.are_links_stale |= self.answered_ns.is_some() && self.is_cut_off(now_ns);
        self.answered_ns = Some(now_ns);
    }

    /// What is to be done now. `replicas`: of the master's term that runs, if it is of the epoch of this manager's role.
    pub fn poll(
        &mut self,
        facts: &Facts,
        replicas: Option<&mut Replicas>,
        now_ns: u64,
    ) -> Vec<Action> {
        self.facts = *facts;
        if facts.is_fenced {
            self.resign();
            return std::mem::take(&mut self.ready);
        }
        let paused_ns = now_ns.saturating_sub(self.polled_ns.unwrap_or(now_ns));
        if paused_ns > PAUSE_NS {
            // There may be another master by now.
            self.decision_due_ns = now_ns;
            self.reports.resume(now_ns);
        }
        self.polled_ns = Some(now_ns);
        self.beat(now_ns);
        if self.busy.is_none()
            && now_ns >= self.not_before_ns
            && let Some((ask, to)) = self.next_ask(replicas, now_ns)
        {
            self.busy = Some(Busy::Asking(ask.clone(), to));
            self.ready.push(Action::Ask(ask, to));
        }
        std::mem::take(&mut self.ready)
    }

    /// The controllers take its closed connections for its death.
    fn resign(&mut self) {
        if !self.has_resigned {
            self.has_resigned = true;
            self.busy = None;
            self.ready.push(Action::CloseHeartbeats);
        }
    }

    fn beat(&mut self, now_ns: u64) {
        let Standing::Registered(id) = self.standing else {
            return;
        };
        if let Some(mut ending) = self.ending {
            match ending.beat_ns {
                // It is noticed only that a connection over which it was heard is closed.
                None => {
                    ending.beat_ns = Some(now_ns);
                    self.ready.push(Action::Heartbeat(id));
                }
                Some(beat_ns) if !ending.is_closed && now_ns >= beat_ns + ENDING_CLOSE_NS => {
                    ending.is_closed = true;
                    self.ready.push(Action::CloseHeartbeats);
                }
                Some(beat_ns) if now_ns >= beat_ns + ENDING_AGAIN_NS => {
                    (ending.beat_ns, ending.is_closed) = (None, false);
                }
                Some(_) => {}
            }
            self.ending = Some(ending);
            return;
        }
        let has_news = self.facts.states_damage() != self.has_stated_damage;
        let is_due = now_ns >= self.heartbeat_due_ns;
        if self.may_beat() && (has_news || is_due) {
            self.has_stated_damage = self.facts.states_damage();
            if is_due {
                // Not later each time by what the poll was late.
                let next_ns = self.heartbeat_due_ns + self.settings.heartbeat_ns;
                self.heartbeat_due_ns = match next_ns > now_ns {
                    true => next_ns,
                    false => now_ns + self.settings.heartbeat_ns,
                };
            }
            self.ready.push(Action::Heartbeat(id));
        }
    }

    /// A broker that sends heartbeats may be elected. A controller that does not understand what this broker states would elect it before one that has
    /// everything. A master goes on, as no other broker would be elected in its place for a part of the log that cannot be read.
    fn may_beat(&self) -> bool {
        let is_master = matches!(self.role, Some(Role::Master { .. }));
        let is_whole = !self.facts.lacks_acknowledged && (!self.facts.has_holes || is_master);
        is_whole || self.knows_loss == Some(true)
    }

    fn next_ask(
        &mut self,
        replicas: Option<&mut Replicas>,
        now_ns: u64,
    ) -> Option<(Ask, SocketAddr)> {
        let Some(leader) = self.leader else {
            let controllers = &self.settings.controllers;
            let next = controllers.get(self.next_controller % controllers.len().max(1))?;
            self.next_controller += 1;
            return Some((Ask::Leader, *next));
        };
        if now_ns >= self.leader_due_ns {
            return Some((Ask::Leader, leader));
        }
        let ask = match &self.standing {
            Standing::Nameless => Ask::NextId,
            Standing::Claims(claim) => Ask::Apply(claim.clone()),
            Standing::Named(id) => Ask::Register(*id),
            Standing::Registered(id) => {
                let id = *id;
                self.ask_as_registered(id, replicas, now_ns)?
            }
        };
        Some((ask, leader))
    }

    fn ask_as_registered(
        &mut self,
        id: MemberId,
        replicas: Option<&mut Replicas>,
        now_ns: u64,
    ) -> Option<Ask> {
        let is_whole = !self.facts.lacks_acknowledged && !self.facts.has_holes;
        if !is_whole && self.knows_loss.is_none() {
            return Some(Ask::KnowsLoss);
        }
        // Before a change of the set: a refused one tells that there may be another master, and one without an answer may have been granted.
        if now_ns >= self.decision_due_ns {
            return Some(Ask::Decision);
        }
        if let Some(Role::Master { epoch, .. }) = self.role
            && let Some(replicas) = replicas
            && let Some(change) = self.change(replicas, now_ns)
        {
            return Some(match change {
                Change::AfterDecision => Ask::Decision,
                Change::To(set) => Ask::Alter {
                    master: id,
                    master_epoch: epoch,
                    set,
                },
            });
        }
        // One that has lost acknowledged messages does not offer itself.
        let may_be_elected =
            !self.facts.lacks_acknowledged && self.may_beat() && self.ending.is_none();
        let offers = self.lacks_master && may_be_elected && now_ns >= self.elect_due_ns;
        offers.then_some(Ask::Elect(id))
    }

    /// What the set has to change to, if it has to.
    fn change(&mut self, replicas: &mut Replicas, now_ns: u64) -> Option<Change> {
        if let Some(pending) = replicas.members()?.pending() {
            return Some(Change::To(pending));
        }
        self.lost_grant_ns = None;
        if now_ns < self.change_due_ns {
            return None;
        }
        let own = OwnLog {
            end: self.facts.log_end,
            committed: self.facts.committed,
            epoch_start: self.facts.last_epoch.map_or(0, |epoch| epoch.start),
        };
        let limits = self.settings.limits;
        let changes = self.reports.changes(replicas, &own, limits, now_ns);
        let members = replicas.membership()?;
        // A member that is dead keeps others out: without those first.
        if !changes.leave.is_empty() {
            let is_fresh = |decided_ns: u64| now_ns.saturating_sub(decided_ns) <= FRESH_NS;
            if !self.decided_ns.is_some_and(is_fresh) && !mutant!(SmallerSetUnheard) {
                return Some(Change::AfterDecision);
            }
            let leave = changes.leave.iter().map(|(id, _)| *id);
            let set = members.ask([], leave)?;
            self.reports.asked_without(&changes.leave, now_ns);
            for (id, reason) in &changes.leave {
                let text = format!("broker {id} leaves the in-sync set: {reason}");
                self.ready.push(Action::Log(text));
            }
            return Some(Change::To(set));
        }
        if changes.joins.is_empty() {
            return None;
        }
        let set = members.ask(changes.joins.iter().copied(), [])?;
        // They may lack what the other members have and this broker has not written yet.
        replicas.take_back(own.committed);
        for id in &changes.joins {
            let text = format!("broker {id} has all that is committed: it joins the in-sync set");
            self.ready.push(Action::Log(text));
        }
        Some(Change::To(set))
    }

    /// A file was written. An error: it is written again later.
    pub fn saved(&mut self, saved: Result<(), String>, now_ns: u64) {
        let Some(busy) = self.busy.take() else { return };
        if let Err(error) = saved {
            self.not_before_ns = now_ns + AGAIN_NS;
            return self.complain(format!("the broker's number cannot be saved: {error}"));
        }
        match busy {
            Busy::SavingClaim(claim) => self.standing = Standing::Claims(claim),
            Busy::SavingIdentity(id) => self.standing = Standing::Named(id),
            Busy::Asking(..) => {}
        }
    }

    /// Says it once.
    fn complain(&mut self, text: String) {
        if self.complaint != text {
            self.complaint.clone_from(&text);
            self.ready.push(Action::Log(text));
        }
    }
}
