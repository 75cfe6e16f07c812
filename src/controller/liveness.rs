//! Which brokers are alive. This is the memory of one controller; it is not agreed.
//!
//! Every controller listens to heartbeats (brokers send them to all), so a new leader knows which ones it heard as a follower. A broker is alive
//! while the connection of its last heartbeat is open and its silence is not too long. Times are milliseconds of a monotonic clock.

use std::collections::{BTreeMap, BTreeSet};

use super::election::Candidate;
use super::group::Group;
use super::settings::{SCAN_INTERVAL_MS, SILENCE_LIMIT_MS};

/// What RocketMQ's controller takes when a heartbeat states none (`DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`).
const DEFAULT_STATED_MS: u64 = 10_000;

/// RocketMQ's brokers send each second; a shorter limit would take every delay for a death.
const MIN_STATED_MS: u64 = 2_000;

/// How long a broker counts as alive that has not had the time to send a heartbeat: one that a new leader could not hear before, and the first
/// master of a group, which is elected as it starts. RocketMQ's brokers look every 3 s which controllers they reach, and then send each second.
pub const GRACE_MS: u64 = 5_000;

/// A longer pause between two calls was a pause of this process, and no sign of a dead broker. Calls come each [`SCAN_INTERVAL_MS`].
const MAX_PAUSE_MS: u64 = 250;

/// A broker is dead when this many of its heartbeats stayed away. So a pause of one interval, of its process or of its machine, never ends a
/// master's role; with ringmq's interval the limit is [`SILENCE_LIMIT_MS`].
const MISSED_HEARTBEATS: u64 = 3;

// A pause of this process that is not taken out, and one interval of a broker, are no death.
const _: () = assert!(MAX_PAUSE_MS >= 4 * SCAN_INTERVAL_MS);
const _: () = assert!(MAX_PAUSE_MS + 2 * (SILENCE_LIMIT_MS / MISSED_HEARTBEATS) < SILENCE_LIMIT_MS);

/// A dead broker is kept this long, for what its death says to a new leader.
const KEPT_MS: u64 = 600_000;

/// A heartbeat (904).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub epoch: i32,
    pub max_offset: i64,
    pub priority: i32,
    pub stated_ms: Option<i64>,
    /// The broker's log ends before its acknowledgement mark.
    pub is_lossy: bool,
    /// It cannot read a part of its log.
    pub is_damaged: bool,
}

#[derive(Debug)]
struct Broker {
    last: Heartbeat,
    heard_ms: u64,
    /// The connection of the last heartbeat, while it is open.
    connection: Option<u64>,
    closed_ms: u64,
    /// Between the last two heartbeats.
    last_interval_ms: Option<u64>,
    /// The shorter one of the last two intervals: one that was late, or early, does not change it.
    interval_ms: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Liveness {
    /// By name and id.
    brokers: BTreeMap<String, BTreeMap<i64, Broker>>,
    /// Since when this controller is the leader.
    leader_since_ms: Option<u64>,
    /// The groups of which it heard a broker then.
    heard_then: BTreeSet<String>,
    /// By name: a master that was elected before its first heartbeat, and when.
    first_masters: BTreeMap<String, (i64, u64)>,
    last_call_ms: Option<u64>,
}

impl Liveness {
    /// To be called before anything is judged: takes out the time in which this process did not run.
    pub fn pass_time(&mut self, now_ms: u64) {
        let pause = self
            .last_call_ms
            .map_or(0, |last| now_ms.saturating_sub(last));
        self.last_call_ms = Some(now_ms);
        if pause <= MAX_PAUSE_MS {
            return;
        }
        for broker in self.brokers.values_mut().flat_map(BTreeMap::values_mut) {
            broker.heard_ms = now_ms.min(broker.heard_ms + pause);
        }
        let elected = self.first_masters.values_mut().map(|(_, at)| at);
        for since in self.leader_since_ms.iter_mut().chain(elected) {
            *since = now_ms.min(*since + pause);
        }
    }

    /// A broker was elected. The first one of a group may not have sent a heartbeat yet.
    pub fn elected(&mut self, name: &str, id: i64, now_ms: u64) {
        if self.broker(name, id).is_none() {
            self.first_masters.insert(name.to_owned(), (id, now_ms));
        }
    }

    pub fn became_leader(&mut self, now_ms: u64, limit_ms: u64) {
        let is_heard = |brokers: &BTreeMap<i64, Broker>| {
            brokers.values().any(|it| it.is_alive(now_ms, limit_ms))
        };
        let heard = self.brokers.iter().filter(|(_, brokers)| is_heard(brokers));
        self.heard_then = heard.map(|(name, _)| name.clone()).collect();
        self.leader_since_ms = Some(now_ms);
    }

    pub fn ceased_to_lead(&mut self) {
        self.leader_since_ms = None;
        self.heard_then.clear();
    }

    /// Returns whether the broker was not alive before.
    pub fn heard(
        &mut self,
        name: &str,
        id: i64,
        heartbeat: Heartbeat,
        connection: u64,
        now_ms: u64,
        limit_ms: u64,
    ) -> bool {
        if !self.brokers.contains_key(name) {
            self.brokers.insert(name.to_owned(), BTreeMap::new());
        }
        let Some(brokers) = self.brokers.get_mut(name) else {
            return false;
        };
        let before = brokers.get(&id).filter(|it| it.is_alive(now_ms, limit_ms));
        let is_new = before.is_none();
        let last_interval_ms = before.map(|it| now_ms.saturating_sub(it.heard_ms));
        let one_before = before.and_then(|it| it.last_interval_ms);
        let broker = Broker {
            last: heartbeat,
            heard_ms: now_ms,
            connection: Some(connection),
            closed_ms: 0,
            last_interval_ms,
            interval_ms: last_interval_ms.map(|last| last.min(one_before.unwrap_or(last))),
        };
        brokers.insert(id, broker);
        is_new
    }

    /// A connection ended. Brokers whose last heartbeat came over it are dead at once; one that has sent over a newer one is not.
    pub fn closed(&mut self, connection: u64, now_ms: u64) {
        for broker in self.brokers.values_mut().flat_map(BTreeMap::values_mut) {
            if broker.connection == Some(connection) {
                broker.connection = None;
                broker.closed_ms = now_ms;
            }
        }
    }

    /// Whether the broker counts as alive: it was heard, or there was no time to hear it.
    pub fn is_alive(&self, name: &str, id: i64, now_ms: u64, limit_ms: u64) -> bool {
        let broker = self.broker(name, id);
        self.is_heard(name, id, now_ms, limit_ms)
            || self.is_presumed(name, broker, now_ms, limit_ms)
            || broker.is_none() && self.is_first_master(name, id, now_ms)
    }

    /// Whether its heartbeats come: it is not only presumed to be alive.
    pub fn is_heard(&self, name: &str, id: i64, now_ms: u64, limit_ms: u64) -> bool {
        let broker = self.broker(name, id);
        broker.is_some_and(|it| it.is_alive(now_ms, limit_ms))
    }

    fn is_first_master(&self, name: &str, id: i64, now_ms: u64) -> bool {
        let first = self.first_masters.get(name);
        first.is_some_and(|(master, at)| *master == id && now_ms < at + GRACE_MS)
    }

    /// Whether it may stay the master: alive, and with all that it acknowledged.
    pub fn is_fit(&self, name: &str, id: i64, now_ms: u64, limit_ms: u64) -> bool {
        let is_lossy = self.broker(name, id).is_some_and(|it| it.last.is_lossy);
        self.is_alive(name, id, now_ms, limit_ms) && !is_lossy
    }

    /// Whether it cannot read a part of its log, as it said last.
    pub fn is_damaged(&self, name: &str, id: i64) -> bool {
        let broker = self.broker(name, id);
        broker.is_some_and(|it| it.last.is_damaged)
    }

    /// Brokers of a group that were heard, for an election. Those that have lost acknowledged messages only if `even_lossy`.
    pub fn candidates(
        &self,
        name: &str,
        group: &Group,
        even_lossy: bool,
        now_ms: u64,
        limit_ms: u64,
    ) -> Vec<Candidate> {
        let ids = group.replicas.keys();
        let heard = ids.filter_map(|id| Some((*id, self.broker(name, *id)?)));
        let fit = heard
            .filter(|(_, it)| it.is_alive(now_ms, limit_ms) && (even_lossy || !it.last.is_lossy));
        fit.map(|(id, broker)| Candidate {
            id,
            epoch: broker.last.epoch,
            max_offset: broker.last.max_offset,
            priority: broker.last.priority,
            is_damaged: broker.last.is_damaged,
            // Of a broker outside the set the log counts, whatever its silence.
            is_silent: group.set.contains(&id) && broker.is_late(now_ms, limit_ms),
        })
        .collect()
    }

    /// Drops what is of no more use: long dead, or no longer registered.
    pub fn prune(&mut self, is_registered: impl Fn(&str, i64) -> bool, now_ms: u64) {
        for (name, brokers) in &mut self.brokers {
            brokers
                .retain(|id, it| it.evidence_ms() + KEPT_MS > now_ms && is_registered(name, *id));
        }
        self.brokers.retain(|_, brokers| !brokers.is_empty());
        self.first_masters
            .retain(|_, (_, at)| now_ms < *at + GRACE_MS);
    }

    fn broker(&self, name: &str, id: i64) -> Option<&Broker> {
        self.brokers.get(name)?.get(&id)
    }

    /// A new leader that had not heard a broker for longer than the limit, nor any other of its group, was cut off from them or has
    /// just started: for a while that is no sign of a death.
    fn is_presumed(&self, name: &str, broker: Option<&Broker>, now_ms: u64, limit_ms: u64) -> bool {
        let Some(since) = self
            .leader_since_ms
            .filter(|since| now_ms < since + GRACE_MS)
        else {
            return false;
        };
        broker
            .is_none_or(|it| it.evidence_ms() + limit_ms < since && !self.heard_then.contains(name))
    }
}

impl Broker {
    fn is_alive(&self, now_ms: u64, limit_ms: u64) -> bool {
        self.connection.is_some()
            && now_ms.saturating_sub(self.heard_ms) <= self.silence_ms(limit_ms)
    }

    /// Half of the silence after which it is dead: one and a half of its intervals at least.
    fn is_late(&self, now_ms: u64, limit_ms: u64) -> bool {
        now_ms.saturating_sub(self.heard_ms) > self.silence_ms(limit_ms) / 2
    }

    /// How long it may be silent: never longer than it states; `limit_ms`, or [`MISSED_HEARTBEATS`] of its intervals if that is longer. Before
    /// a second heartbeat its interval is not known.
    fn silence_ms(&self, limit_ms: u64) -> u64 {
        let stated = self.last.stated_ms.and_then(|ms| u64::try_from(ms).ok());
        let stated = stated.unwrap_or(DEFAULT_STATED_MS).max(MIN_STATED_MS);
        match self.interval_ms {
            None => stated,
            Some(interval) => stated.min(limit_ms.max(MISSED_HEARTBEATS * interval)),
        }
    }

    fn evidence_ms(&self) -> u64 {
        self.heard_ms.max(self.closed_ms)
    }
}

#[cfg(test)]
#[path = "tests/liveness.rs"]
mod tests;
