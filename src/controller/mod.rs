//! The controller: which broker of a name is the master, and which have every acknowledged message. It answers the requests of
//! RocketMQ's controller (1001 to 1006, 1009 to 1013, 904).
//!
//! Several controllers agree on a log of [`Command`]s; [`Agreed`] is what the log makes. [`Controller`] is the memory of one of them: which brokers
//! sent heartbeats, on which connection, and its settings. Nothing here reads a clock or does I/O: times are milliseconds of a
//! monotonic clock, and what is to be agreed on goes out as [`Step::Propose`]. `quorum/` puts it on a port and a Raft engine.
//!
//! # What holds in every history
//!
//! * There is at most one master of an epoch, and epochs and ids only rise.
//! * A master comes out of the SyncStateSet, which has every acknowledged message, unless the operator allowed it otherwise.
//! * A broker that says that it has lost acknowledged messages is elected by an operator only.

mod agreed;
mod command;
mod election;
mod group;
mod liveness;
mod notice;
mod replies;
mod requests;
mod settings;
pub mod snapshot;
mod standing;

pub use agreed::{Agreed, MAX_GROUPS, MAX_REPLICAS, MAX_TEXT_BYTES};
pub use command::{Applied, AskedBy, Command};
pub use group::{Group, Replica};
pub use liveness::GRACE_MS;
pub use notice::Notice;
pub use replies::Asked;
pub use requests::needs_leader;
pub use settings::{SCAN_INTERVAL_MS, SILENCE_LIMIT_MS, Settings, UpdateError};
pub use standing::Standing;

use std::collections::BTreeMap;

use liveness::Liveness;

use crate::wire::Reply;

/// An election that was proposed is proposed again if it was not agreed on by then.
const ELECTION_AGAIN_MS: u64 = 1_000;

/// What a request leads to.
#[derive(Debug)]
pub enum Step {
    Reply(Reply),
    /// To be agreed on; [`Controller::reply`] makes the answer of what came of it.
    Propose {
        command: Command,
        asked: Asked,
    },
    /// The settings have changed: their new text is to be kept, then the reply sent.
    Keep {
        text: String,
        reply: Reply,
    },
}

/// A group, and how many of its brokers live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivingGroup {
    pub cluster: String,
    pub name: String,
    pub brokers: usize,
}

/// One controller's own memory.
#[derive(Debug, Default)]
pub struct Controller {
    settings: Settings,
    live: Liveness,
    is_leader: bool,
    next_scan_ms: u64,
    /// When an election of a group was last proposed, and for which epoch.
    proposed: BTreeMap<String, (i32, u64)>,
    notices: Vec<Notice>,
}

impl Controller {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What brokers are to be told since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// To be called when this controller becomes the leader of its group, or is it no longer.
    pub fn lead(&mut self, is_leader: bool, now_ms: u64) {
        self.live.pass_time(now_ms);
        if is_leader == self.is_leader {
            return;
        }
        self.is_leader = is_leader;
        self.proposed.clear();
        match is_leader {
            true => {
                let limit_ms = self.settings.silence_limit_ms;
                self.live.became_leader(now_ms, limit_ms);
            }
            false => self.live.ceased_to_lead(),
        }
    }

    /// The living brokers of each group; no group if this controller does not lead, as heartbeats reach the leader only.
    pub fn alive(&self, agreed: &Agreed, now_ms: u64) -> Vec<LivingGroup> {
        if !self.is_leader {
            return Vec::new();
        }
        let limit_ms = self.settings.silence_limit_ms;
        let groups = agreed.groups().map(|(name, group)| {
            let ids = group.replicas.keys();
            let alive = ids.filter(|id| self.live.is_alive(name, **id, now_ms, limit_ms));
            LivingGroup {
                cluster: group.cluster.clone(),
                name: name.to_owned(),
                brokers: alive.count(),
            }
        });
        groups.collect()
    }

    /// To be called when a connection ends.
    pub fn connection_closed(&mut self, connection: u64, now_ms: u64) {
        self.live.pass_time(now_ms);
        self.live.closed(connection, now_ms);
        // A death is judged at the next call of `due`, whatever the interval.
        self.next_scan_ms = 0;
    }

    /// The elections that are due. To be called after each closed connection, and a few times within `scan_interval_ms`.
    pub fn due(&mut self, agreed: &Agreed, now_ms: u64) -> Vec<Command> {
        self.live.pass_time(now_ms);
        if now_ms < self.next_scan_ms {
            return Vec::new();
        }
        self.next_scan_ms = now_ms + self.settings.scan_interval_ms;
        self.live.prune(
            |name, id| {
                agreed
                    .group(name)
                    .is_some_and(|group| group.replicas.contains_key(&id))
            },
            now_ms,
        );
        if !self.is_leader {
            return Vec::new();
        }
        let due = agreed
            .groups()
            .filter(|(name, group)| self.is_election_due(name, group, now_ms));
        let due: Vec<_> = due
            .map(|(name, group)| (name.to_owned(), group.master_epoch))
            .collect();
        let commands = due.into_iter().filter_map(|(name, master_epoch)| {
            let asked = AskedBy::Controller { master_epoch };
            let command = self.election(agreed.group(&name)?, &name, asked, now_ms);
            self.proposed.insert(name, (master_epoch, now_ms));
            Some(command)
        });
        commands.collect()
    }

    fn is_election_due(&self, name: &str, group: &Group, now_ms: u64) -> bool {
        let proposed = self.proposed.get(name);
        if proposed.is_some_and(|(epoch, at)| {
            *epoch == group.master_epoch && now_ms < at + ELECTION_AGAIN_MS
        }) {
            return false;
        }
        let limit_ms = self.settings.silence_limit_ms;
        let heard = || self.live.candidates(name, group, false, now_ms, limit_ms);
        match group.master {
            Some(id) if !self.live.is_fit(name, id, now_ms, limit_ms) => {
                !election::awaits_whole(group, &heard())
            }
            Some(id) => self.live.is_damaged(name, id) && election::has_whole(group, &heard()),
            None if group.is_new => false,
            None => {
                let alive = heard();
                let unclean = self.settings.elect_unclean_master;
                let may_win = |id| unclean || group.set.contains(id);
                alive.iter().any(|it| may_win(&it.id)) && !election::awaits_whole(group, &alive)
            }
        }
    }

    fn election(&self, group: &Group, name: &str, asked: AskedBy, now_ms: u64) -> Command {
        // Only an operator may elect a broker that has lost acknowledged messages.
        let even_lossy = matches!(asked, AskedBy::Operator(_));
        let limit_ms = self.settings.silence_limit_ms;
        let heard = self
            .live
            .candidates(name, group, even_lossy, now_ms, limit_ms);
        let heard = match asked {
            AskedBy::Operator(_) => heard,
            _ => election::whole_if_any(group, heard),
        };
        let mut candidates = election::in_order(heard);
        // A new leader that has not had the time to hear the master leaves it where it is.
        let presumed = group
            .master
            .filter(|id| self.live.is_fit(name, *id, now_ms, limit_ms))
            .filter(|id| !self.live.is_damaged(name, *id));
        candidates.extend(presumed.filter(|id| !candidates.contains(id)));
        Command::Elect {
            name: name.to_owned(),
            asked,
            candidates,
            unclean: self.settings.elect_unclean_master,
        }
    }

    /// What follows from a command that was agreed on while this controller was the leader.
    pub fn applied(&mut self, command: &Command, applied: &Applied, now_ms: u64) {
        let Command::Elect { name, .. } = command else {
            return;
        };
        self.proposed.remove(name);
        let Some(group) = applied.group.as_ref().filter(|_| applied.is_elected) else {
            return;
        };
        if let Some(id) = group.master {
            self.live.elected(name, id, now_ms);
        }
        for id in group.replicas.keys() {
            if self
                .live
                .is_alive(name, *id, now_ms, self.settings.silence_limit_ms)
            {
                self.notify(name, group, *id);
            }
        }
    }

    fn notify(&mut self, name: &str, group: &Group, id: i64) {
        if self.settings.notify_brokers {
            self.notices.extend(Notice::new(name, group, id));
        }
    }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
