//! Which broker serves which topic, and which brokers are alive.
//!
//! The rules are those of RocketMQ's `RouteInfoManager`. Tables are ordered, so that the same state always gives the same
//! bytes. Times are milliseconds of a monotonic clock, passed in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use super::route::{BrokerGroup, MASTER_ID, Queues, Route};
use crate::wire::DataVersion;
use crate::wire::topic::perm::WRITE;

/// Default expiry of a broker: four missed registrations.
const EXPIRY_MS: u64 = 120_000;

/// One REGISTER_BROKER, read.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    pub cluster: String,
    pub broker_name: String,
    pub addr: String,
    pub broker_id: i64,
    pub ha_addr: String,
    pub zone: Option<String>,
    pub heartbeat_timeout_ms: Option<u64>,
    /// None: a broker older than 5.0, without acting masters.
    pub acting_master: Option<bool>,
    pub data_version: DataVersion,
    pub topics: Vec<(String, Queues)>,
}

/// What is left of a registration once the broker has its place.
#[derive(Debug)]
pub struct Merge {
    pub(super) broker_name: String,
    pub(super) addr: String,
    pub(super) conn: u64,
    pub(super) topics: std::vec::IntoIter<(String, Queues)>,
    /// The broker's topics have changed since its last registration.
    pub(super) is_changed: bool,
    pub(super) read_only: bool,
    pub(super) absent: Option<Absent>,
}

/// Topics that the broker does not have any more.
#[derive(Debug, Default)]
pub(super) struct Absent {
    pub(super) reported: BTreeSet<String>,
    /// Topics up to this one are looked at.
    pub(super) after: Option<String>,
}

/// The reply to a registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    pub master_addr: Option<String>,
    pub ha_addr: Option<String>,
    /// The live broker that had this name and id before, at another address.
    pub replaced: Option<String>,
}

/// A first registration of a single topic: an incremental report that overtook the full one. The broker repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incomplete;

enum Place {
    New,
    Own,
    HeldByNewer,
    HeldByOlder(String),
}

/// How far a pass through all topics is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Topics up to this one are looked at.
    pub(super) after: Option<String>,
}

#[derive(Debug, Default)]
pub struct RouteTable {
    pub(super) topics: BTreeMap<String, BTreeMap<String, Row>>,
    groups: BTreeMap<String, BrokerGroup>,
    /// Of each name in `groups`: another number each time its first broker comes.
    pub(super) lives: BTreeMap<String, u64>,
    last_life: u64,
    /// Rows of names that are gone: they are removed from `topics` in slices, behind this topic.
    pub(super) sweep: Option<Sweep>,
    clusters: BTreeMap<String, BTreeSet<String>>,
    /// By address: no two brokers have the same, whatever they call themselves.
    live: HashMap<String, Live>,
}

/// What the brokers of a name have of a topic. With the last of them it is over, without a walk through all topics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) queues: Queues,
    /// As [`RouteTable::lives`] had it.
    pub(super) life: u64,
}

/// Which topics a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    OfCluster(String),
    /// Those whose system flag (1: of a unit, 2: with subscribers in units) has these bits of the mask.
    WithFlag {
        mask: i32,
        bits: i32,
    },
}

#[derive(Debug)]
struct Live {
    broker_name: String,
    conn: u64,
    seen_ms: u64,
    timeout_ms: u64,
    data_version: DataVersion,
    ha_addr: String,
}

impl RouteTable {
    /// Gives the broker of a report its place. Its topics are to be merged next, before another report begins. Topics that it does not
    /// mention stay, unless `forget_absent`.
    pub fn begin(
        &mut self,
        report: Registration,
        conn: u64,
        forget_absent: bool,
        now_ms: u64,
    ) -> Result<(Registered, Option<Merge>), Incomplete> {
        let replaced = match self.place(&report)? {
            Place::New => None,
            Place::Own => None,
            // A deposed master that has not noticed yet. It gets no error, as RocketMQ's gets none, and no place.
            Place::HeldByNewer => {
                self.remove_live(&report.addr);
                return Ok((Registered::default(), None));
            }
            // The former holder is no longer reachable through the route, so its end must not touch it either.
            Place::HeldByOlder(known) => self.live.remove(&known).map(|_| known),
        };
        let is_first = !self
            .groups
            .get(&report.broker_name)
            .is_some_and(|group| group.addrs.contains_key(&report.broker_id));
        self.leave_former_name(&report);
        let group = self.join(&report);
        let is_lowest = group.addrs.keys().next() == Some(&report.broker_id);
        let is_prime_replica =
            report.acting_master.is_some() && is_lowest && report.broker_id != MASTER_ID;
        let read_only = is_prime_replica && group.acting_master;
        let master_addr = group
            .addrs
            .get(&MASTER_ID)
            .filter(|_| report.broker_id != MASTER_ID)
            .cloned();
        let has_topics = report.broker_id == MASTER_ID || is_prime_replica;
        let known = self.live.get(&report.addr);
        let is_changed = known.is_none_or(|live| live.data_version != report.data_version);
        let merge = has_topics.then(|| Merge {
            broker_name: report.broker_name.clone(),
            addr: report.addr.clone(),
            conn,
            topics: report.topics.into_iter(),
            is_changed: is_first || is_changed,
            read_only,
            absent: forget_absent.then(Default::default),
        });
        let live = Live {
            broker_name: report.broker_name,
            conn,
            seen_ms: now_ms,
            timeout_ms: report.heartbeat_timeout_ms.unwrap_or(EXPIRY_MS),
            data_version: report.data_version,
            ha_addr: report.ha_addr,
        };
        self.live.insert(report.addr, live);
        Ok((self.registered(master_addr, replaced), merge))
    }

    fn registered(&self, master_addr: Option<String>, replaced: Option<String>) -> Registered {
        let master =
            master_addr.and_then(|addr| Some((self.live.get(&addr)?.ha_addr.clone(), addr)));
        let (ha_addr, master_addr) = master.unzip();
        Registered {
            master_addr,
            ha_addr,
            replaced,
        }
    }

    /// All of a registration in one turn.
    #[cfg(test)]
    pub fn register(
        &mut self,
        report: Registration,
        conn: u64,
        forget_absent: bool,
        now_ms: u64,
    ) -> Result<Registered, Incomplete> {
        let (registered, merge) = self.begin(report, conn, forget_absent, now_ms)?;
        if let Some(mut merge) = merge {
            while self.merge_some(&mut merge) {}
        }
        Ok(registered)
    }

    /// The current holder of the report's name and id.
    fn place(&self, report: &Registration) -> Result<Place, Incomplete> {
        let group = self.groups.get(&report.broker_name);
        match group.and_then(|group| group.addrs.get(&report.broker_id)) {
            None if report.topics.len() == 1 => Err(Incomplete),
            None => Ok(Place::New),
            Some(known) if *known == report.addr => Ok(Place::Own),
            Some(known) => {
                let is_newer = self.live.get(known).is_some_and(|live| {
                    live.data_version.state_version > report.data_version.state_version
                });
                Ok(match is_newer {
                    true => Place::HeldByNewer,
                    false => Place::HeldByOlder(known.clone()),
                })
            }
        }
    }

    /// A broker may have been renamed: what its address was before must not linger in the route.
    fn leave_former_name(&mut self, report: &Registration) {
        let is_former = |(name, group): &(&String, &BrokerGroup)| {
            **name != report.broker_name && group.holds(&report.addr)
        };
        let former = self.groups.iter().find(is_former);
        if let Some(name) = former.map(|(name, _)| name.clone()) {
            self.unregister(&report.addr, &name);
        }
        self.leave_clusters(&report.broker_name);
    }

    fn join(&mut self, report: &Registration) -> &BrokerGroup {
        self.clusters
            .entry(report.cluster.clone())
            .or_default()
            .insert(report.broker_name.clone());
        let name = &report.broker_name;
        if !self.groups.contains_key(name) {
            self.last_life += 1;
            self.lives.insert(name.clone(), self.last_life);
        }
        let group = self
            .groups
            .entry(name.clone())
            .or_insert_with(|| BrokerGroup {
                cluster: report.cluster.clone(),
                addrs: BTreeMap::new(),
                acting_master: false,
                zone: None,
            });
        group.cluster.clone_from(&report.cluster);
        group.acting_master = report.acting_master.unwrap_or(false);
        group.zone.clone_from(&report.zone);
        // A replica that became the master comes with the same address under its new id.
        group
            .addrs
            .retain(|id, addr| *id == report.broker_id || *addr != report.addr);
        group.addrs.insert(report.broker_id, report.addr.clone());
        group
    }

    /// Whether this address is registered, over this connection.
    pub(super) fn has_place(&self, addr: &str, conn: u64) -> bool {
        self.live.get(addr).is_some_and(|live| live.conn == conn)
    }

    /// Whether this address, if it is registered, was registered over this connection.
    pub fn is_registered_over(&self, addr: &str, conn: u64) -> bool {
        self.live.get(addr).is_none_or(|live| live.conn == conn)
    }

    /// Removes a broker that shuts down.
    pub fn unregister(&mut self, addr: &str, broker_name: &str) {
        let holder = self
            .groups
            .get_mut(broker_name)
            .filter(|group| group.holds(addr));
        let Some(group) = holder else { return };
        self.live.remove(addr);
        group.addrs.retain(|_, known| known != addr);
        if group.addrs.is_empty() {
            self.groups.remove(broker_name);
            self.lives.remove(broker_name);
            self.leave_clusters(broker_name);
            self.sweep = Some(Sweep::default());
        }
    }

    /// Removes the brokers that registered over this connection.
    pub fn connection_closed(&mut self, conn: u64) {
        let gone: Vec<String> = self
            .live
            .iter()
            .filter(|(_, live)| live.conn == conn)
            .map(|(addr, _)| addr.clone())
            .collect();
        gone.iter().for_each(|addr| self.remove_live(addr));
    }

    /// Removes brokers that sent nothing for longer than their heartbeat timeout, and returns their connections, which are to be closed.
    pub fn expire(&mut self, now_ms: u64) -> Vec<u64> {
        let is_expired = |live: &Live| live.seen_ms.saturating_add(live.timeout_ms) < now_ms;
        let gone: Vec<(String, u64)> = self
            .live
            .iter()
            .filter(|(_, live)| is_expired(live))
            .map(|(addr, live)| (addr.clone(), live.conn))
            .collect();
        gone.iter().for_each(|(addr, _)| self.remove_live(addr));
        gone.into_iter().map(|(_, conn)| conn).collect()
    }

    /// A sign of life between two registrations.
    pub fn seen(&mut self, addr: &str, now_ms: u64) {
        if let Some(live) = self.live.get_mut(addr) {
            live.seen_ms = now_ms;
        }
    }

    pub fn data_version(&self, addr: &str) -> Option<DataVersion> {
        self.live.get(addr).map(|live| live.data_version)
    }

    /// None: no broker serves this topic.
    pub fn route(&self, topic: &str) -> Option<Route> {
        let mut route = Route::default();
        for (name, row) in self.topics.get(topic)? {
            let group = self.groups.get(name);
            let Some(group) = group.filter(|_| self.is_current(name, row)) else {
                continue;
            };
            let mut queues = row.queues;
            // Replicas serve what there is, until a new master reports.
            if group.acting_master && !group.addrs.contains_key(&MASTER_ID) {
                queues.perm &= !WRITE;
            }
            route.queues.insert(name.clone(), queues);
            route.brokers.insert(name.clone(), group.clone());
        }
        (!route.brokers.is_empty()).then_some(route)
    }

    /// The row is not of an earlier life of its brokers' name.
    pub(super) fn is_current(&self, broker_name: &str, row: &Row) -> bool {
        self.life_of(broker_name) == Some(row.life)
    }

    /// `None`: no broker of this name is registered.
    pub(super) fn life_of(&self, broker_name: &str) -> Option<u64> {
        self.lives.get(broker_name).copied()
    }

    /// Queues of one topic, registered outside of a report. Ignored if one of the brokers is unknown.
    pub fn register_topic(
        &mut self,
        topic: &str,
        queues: impl IntoIterator<Item = (String, Queues)>,
    ) {
        let rows = queues.into_iter().map(|(broker_name, queues)| {
            let life = self.life_of(&broker_name)?;
            Some((broker_name, Row { queues, life }))
        });
        let Some(rows) = rows.collect::<Option<Vec<_>>>() else {
            return;
        };
        if !rows.is_empty() {
            let by_broker = self.topics.entry(topic.to_owned()).or_default();
            by_broker.extend(rows);
        }
    }

    /// Everywhere, or in one cluster.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            return;
        };
        let Some(by_broker) = self.topics.get_mut(topic) else {
            return;
        };
        for broker_name in self.clusters.get(cluster).into_iter().flatten() {
            by_broker.remove(broker_name);
        }
        if by_broker.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// Brokers that are registered.
    pub fn live_brokers(&self) -> usize {
        self.live.len()
    }

    /// Topics; some of brokers that have just gone included.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    #[cfg(test)]
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        let topics = self.topics_after(None, &Wanted::All);
        topics.filter_map(|(topic, is_wanted)| is_wanted.then_some(topic))
    }

    /// Topics behind this one, in order, and whether each is one of those that are wanted.
    pub fn topics_after(
        &self,
        topic: Option<&str>,
        wanted: &Wanted,
    ) -> impl Iterator<Item = (&str, bool)> {
        let rows = self.rows_after(topic);
        rows.map(|(topic, by_broker)| (topic, self.is_wanted(by_broker, wanted)))
    }

    /// Topics behind this one, in order, with the queues of each broker.
    pub(super) fn rows_after(
        &self,
        topic: Option<&str>,
    ) -> impl Iterator<Item = (&str, &BTreeMap<String, Row>)> {
        let from = topic.map_or(Bound::Unbounded, Bound::Excluded);
        let topics = self.topics.range::<str, _>((from, Bound::Unbounded));
        topics.map(|(topic, by_broker)| (topic.as_str(), by_broker))
    }

    fn is_wanted(&self, by_broker: &BTreeMap<String, Row>, wanted: &Wanted) -> bool {
        let mut rows = by_broker
            .iter()
            .filter(|(broker_name, row)| self.is_current(broker_name, row));
        match wanted {
            Wanted::All => rows.next().is_some(),
            Wanted::OfCluster(cluster) => {
                let names = self.clusters.get(cluster);
                names.is_some_and(|names| rows.any(|(broker_name, _)| names.contains(broker_name)))
            }
            // The flag of the first broker decides.
            Wanted::WithFlag { mask, bits } => rows
                .next()
                .is_some_and(|(_, row)| row.queues.topic_sys_flag & mask == *bits),
        }
    }

    pub fn clusters(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.clusters
            .iter()
            .map(|(cluster, names)| (cluster.as_str(), names))
    }

    pub fn brokers(&self) -> impl Iterator<Item = (&str, &BrokerGroup)> {
        self.groups
            .iter()
            .map(|(broker_name, group)| (broker_name.as_str(), group))
    }

    pub fn broker(&self, broker_name: &str) -> Option<&BrokerGroup> {
        self.groups.get(broker_name)
    }

    fn leave_clusters(&mut self, broker_name: &str) {
        self.clusters.retain(|_, names| {
            names.remove(broker_name);
            !names.is_empty()
        });
    }

    fn remove_live(&mut self, addr: &str) {
        let live = self.live.get(addr);
        if let Some(broker_name) = live.map(|live| live.broker_name.clone()) {
            self.unregister(addr, &broker_name);
        }
    }
}

#[cfg(test)]
#[path = "route_table_tests.rs"]
mod tests;
