//! RocketMQ's rules as pure decisions: what is asked, the time and what the store holds come in as arguments; a plan, a
//! reply or a refusal comes out, and [`Effect`]s that the reactor carries out. No socket, no clock, no await.
//!
//! The way of a send: [`Broker::admit_send`] -> [`SendPlan`] -> the store. Of a pull: [`Broker::admit_pull`] ->
//! [`PullPlan`] -> the store. Everything else: [`requests`] -> [`Step`].

mod admin;
pub mod admission;
pub mod clients;
pub mod config;
mod config_file;
mod creations;
pub mod delay;
mod ends;
pub mod files;
pub mod filter;
mod gets;
pub mod groups;
pub mod known;
pub mod locks;
mod named_table;
pub mod offsets;
pub mod pop;
pub mod pull;
pub mod query;
pub mod refusal;
pub mod request_reply;
pub mod requests;
mod rows;
mod saving;
pub mod send;
pub mod sql92;
pub mod stats;
pub mod step;
pub mod system_topics;
pub mod timer;
pub mod topics;
pub mod transaction;

mod latencies;
pub mod limits;
mod meter;
pub mod metrics;
mod notices;
mod puts;
pub mod recall;
mod removal;
mod send_back;
mod send_batch;
mod send_plan;
mod send_properties;
pub mod store_view;
mod subscription;
mod unsaved;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

pub use crate::wire::Reply;
pub use crate::wire::topic::perm;
pub use clients::{ConnId, Peer};
pub use config::BrokerConfig;
pub use config_file::{ConfigFile, ConfigFiles};
pub use creations::Creation;
pub use files::has_entries;
pub use filter::{PropertyFilter, TagFilter};
pub use offsets::LeftCommit;
pub use pull::{Attempt, PullAnswer, PullOutcome, PullPlan, Scanned};
pub use puts::MessageType;
pub use refusal::Refusal;
pub use saving::TableChanges;
pub use send_plan::{SendPlan, UniqueKey, origin};
pub use sql92::Effort;
pub use step::{ClientRequest, Relay, Rewind, Step, Target};
pub use store_view::{ShardFigures, StoreView};

use crate::message::KeyMaker;
use clients::Clients;
use creations::Creations;
use delay::Delays;
use filter::Selectors;
use groups::Groups;
use locks::Locks;
use notices::Notices;
use offsets::Offsets;
use pop::Pops;
use stats::Stats;
use topics::Topics;
use transaction::Transactions;

use crate::message::properties;
use crate::store::{QueueIndex, Retention};
use crate::wire::group::SubscriptionGroupConfig;
use crate::wire::topic::TopicConfig;

/// One shard's broker. Its state can be read from outside; it is changed only by the operations of `broker/`.
#[derive(Debug)]
pub struct Broker {
    config: BrokerConfig,
    topics: Topics,
    groups: Groups,
    offsets: Offsets,
    clients: Clients,
    notices: Notices,
    locks: Locks,
    delays: Delays,
    transactions: Transactions,
    pops: Pops,
    stats: Stats,
    creations: Creations,
    selectors: Selectors,
    /// MSG_REGION, TRACE_ON and CLUSTER as every message gets them.
    suffix: Rc<str>,
    keys: KeyMaker,
    random: u64,
    effects: Vec<Effect>,
    /// The files that `effects` names.
    persisting: ConfigFiles,
    /// By name; see `admin/settings.rs`.
    changed_settings: BTreeMap<String, String>,
    started_ms: u64,
}

/// What is to happen besides the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell these clients (40, one-way) that their group has changed.
    Notify { group: String, conns: Vec<ConnId> },
    /// Ask this (one-way) of these clients.
    Tell {
        conns: Vec<ConnId>,
        request: ClientRequest,
    },
    /// Tell the name servers of this topic.
    Register { topic: String },
    /// Tell the name servers of every topic: what the broker allows has changed.
    RegisterAll,
    /// Tell the name servers what is left: this topic is gone.
    TopicDeleted { topic: String },
    /// Save a file of `config/`.
    Persist(ConfigFile),
    /// Keep messages by these rules from now on.
    KeepBy(Retention),
    /// Admit sends by these limits from now on.
    Admit(admission::AdmissionLimits),
    /// State this as `traceOn` in replies to sends from now on.
    SayTraceOn(bool),
    /// Log requests that take longer than so many milliseconds from now on; 0: none.
    LogSlowRequests(u64),
    /// These controllers decide about the role of this broker from now on.
    UseControllers(Vec<SocketAddr>),
    /// Let expired messages go now.
    CleanLog,
    /// Remove the queue files whose messages are gone.
    CleanQueues,
    /// Remove the queues of topics that are none.
    CleanUnusedTopics,
    /// Close connections of clients that have fallen silent.
    Close(Vec<ConnId>),
    /// A controller has decided about the role of this broker.
    RoleChanged(RoleDecision),
}

/// The master of this broker's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleDecision {
    /// The controller's number of it.
    pub master_id: i64,
    pub master_addr: SocketAddr,
    pub epoch: i32,
    /// The brokers that have every acknowledged message, and the version of this set.
    pub set: BTreeSet<i64>,
    pub set_epoch: i32,
}

impl Broker {
    /// With the topics and groups that are there from the start; see [`Broker::load_file`] for what was saved.
    pub fn new(config: BrokerConfig, now_ms: u64) -> Self {
        let mut topics = Topics::new(now_ms);
        for topic in system_topics::at_start(&config) {
            topics.put_quietly(topic);
        }
        Self {
            topics,
            groups: Groups::new(now_ms),
            offsets: Offsets::new(now_ms),
            clients: Clients::default(),
            notices: Notices::default(),
            locks: Locks::new(config.lock_expiry_ms),
            delays: Delays::new(config.delay_levels_ms.clone(), now_ms),
            transactions: Transactions::default(),
            pops: Pops::new(&config.cluster_name),
            stats: Stats::new(now_ms),
            creations: Creations::default(),
            selectors: Selectors::default(),
            suffix: suffix(&config).into(),
            keys: KeyMaker::new(config.advertise.ip(), config.seed),
            // Any seed but 0 will do for xorshift.
            random: config.seed | 1 << 63,
            effects: Vec::new(),
            persisting: ConfigFiles::default(),
            changed_settings: BTreeMap::new(),
            started_ms: now_ms,
            config,
        }
    }

    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    pub fn delays(&self) -> &Delays {
        &self.delays
    }

    pub fn pops(&self) -> &Pops {
        &self.pops
    }

    /// Makes a topic for messages that the store has and topics.json does not know: the power went before it was saved.
    pub fn adopt_topic(&mut self, topic: &str, queue_nums: u32, now_ms: u64) {
        if !self.topics.contains(topic) {
            let config = TopicConfig {
                topic_name: topic.into(),
                read_queue_nums: queue_nums as i32,
                write_queue_nums: queue_nums as i32,
                ..TopicConfig::default()
            };
            self.topics.put(config, now_ms);
        }
    }

    /// The store's handle of a queue, which saves the queue's next message a look-up.
    pub fn remember_queue(&mut self, topic: &str, queue_id: u32, queue: QueueIndex) {
        if let Some(entry) = self.topics.find_mut(topic)
            && let Some(place) = entry.queues.get_mut(queue_id as usize)
        {
            *place = Some(queue);
            self.stats.add_queue(queue);
        }
    }

    /// Topics that keep their messages for so many milliseconds only, by name; `None` if that has not changed since the last call.
    pub fn take_reserved_ms(&mut self) -> Option<Vec<(String, u64)>> {
        self.topics.take_reserved_ms()
    }

    /// Expressions of pulls that are kept in their parsed form: how many, and the bytes of their texts.
    pub fn parsed_expressions(&self) -> (usize, usize) {
        self.selectors.size()
    }

    /// Queues whose latencies are counted: those of sends, and those of pulls.
    pub fn queues_with_latencies(&self) -> [usize; 2] {
        self.stats.queues_with_latencies()
    }

    /// Locks of queues that are held, or were until a moment ago.
    pub fn held_locks(&self) -> usize {
        self.locks.held()
    }

    /// Settings that administrators have changed, which are stronger than broker.conf.
    pub fn changed_settings(&self) -> &BTreeMap<String, String> {
        &self.changed_settings
    }

    /// What is to be carried out since the last time; appended to `out`.
    pub fn take_effects(&mut self, out: &mut Vec<Effect>) {
        out.append(&mut self.effects);
        self.persisting = ConfigFiles::default();
    }

    pub fn connection_closed(&mut self, conn: ConnId, now_ms: u64) {
        for group in self.clients.remove(conn) {
            self.group_changed(&group, now_ms);
        }
    }

    /// Once in a tick: notifies the next members of groups that have changed.
    pub fn notify_members(&mut self, now_ms: u64) {
        let is_collected = self.collects_changes();
        let mut left = limits::NOTIFIED_PER_TURN;
        while let Some(slice) = self.notices.next(now_ms, left) {
            let group = self.clients.consumers(&slice.group);
            let conns = group.map_or(Vec::new(), |group| {
                group.connections_after(slice.after, slice.most)
            });
            let members = group.map(|group| group.member_count());
            self.notices
                .notified(&slice, &conns, members, is_collected, now_ms);
            left = left.saturating_sub(conns.len().max(1));
            if !conns.is_empty() {
                let group = slice.group.to_string();
                self.effects.push(Effect::Notify { group, conns });
            }
        }
    }

    /// Once a second or so: removes what has expired, samples the rates.
    pub fn housekeeping(&mut self, now_ms: u64) {
        let expiry_ms = self.config.client_expiry_ms;
        let most = limits::EXPIRED_PER_TURN;
        let expired = self.clients.expire(now_ms, expiry_ms, most);
        for group in &expired.groups {
            self.group_changed(group, now_ms);
        }
        if !expired.conns.is_empty() {
            self.effects.push(Effect::Close(expired.conns));
        }
        self.locks.expire(now_ms, limits::EXAMINED_PER_TURN);
        self.pops.orders.expire(now_ms, limits::EXAMINED_PER_TURN);
        self.stats.sample(now_ms);
    }

    /// The group's settings; makes it if that is allowed.
    pub(crate) fn find_or_create_group(
        &mut self,
        group: &str,
        now_ms: u64,
    ) -> Option<&SubscriptionGroupConfig> {
        if !self.groups.contains(group)
            && self.config.auto_create_group
            && self.groups.create(group, now_ms)
        {
            self.persist(ConfigFile::SubscriptionGroups);
        }
        self.groups.find(group)
    }

    /// Makes a retry or dead letter topic.
    fn create_derived(
        &mut self,
        topic: &str,
        queue_nums: i32,
        order: bool,
        topic_sys_flag: i32,
        now_ms: u64,
    ) {
        if self
            .topics
            .create_derived(topic, queue_nums, order, topic_sys_flag, now_ms)
        {
            self.topic_changed(topic);
        }
    }

    fn topic_changed(&mut self, topic: &str) {
        self.persist(ConfigFile::Topics);
        self.effects.push(Effect::Register {
            topic: topic.into(),
        });
    }

    fn persist(&mut self, file: ConfigFile) {
        if self.persisting.add(file) {
            self.effects.push(Effect::Persist(file));
        }
    }

    /// A group's members or subscriptions have changed: its members are notified, those of a large group later.
    fn group_changed(&mut self, group: &str, now_ms: u64) {
        let Some(members) = self.clients.consumers(group) else {
            return;
        };
        let is_wanted = self.config.notify_consumer_ids_changed
            && self
                .groups
                .find(group)
                .is_none_or(|config| config.notify_consumer_ids_changed_enable);
        if !is_wanted || members.is_broadcasting() {
            return;
        }
        let is_collected = self.collects_changes();
        if is_collected || members.member_count() > limits::NOTIFIED_AT_ONCE {
            self.notices.changed(group, is_collected, now_ms);
        } else {
            let conns = members.connections_after(None, limits::NOTIFIED_AT_ONCE);
            let group = group.into();
            self.effects.push(Effect::Notify { group, conns });
        }
    }

    fn collects_changes(&self) -> bool {
        !self.config.notify_consumer_changes_at_once
    }

    fn make_unique_key(&mut self, now_ms: u64) -> crate::message::ids::MessageId {
        self.keys.next(now_ms)
    }

    /// xorshift64
    fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }
}

fn suffix(config: &BrokerConfig) -> String {
    let trace_on = config.trace_on.to_string();
    let mut suffix = String::new();
    properties::push(&mut suffix, properties::MSG_REGION, &config.region_id);
    properties::push(&mut suffix, properties::TRACE_ON, &trace_on);
    properties::push(&mut suffix, properties::CLUSTER, &config.cluster_name);
    suffix
}

#[cfg(test)]
mod tests;
