//! The connected clients, by their heartbeats (RocketMQ: `ConsumerManager`, `ProducerManager`, `ConsumerGroupInfo`).

mod member;

pub use member::{ConnId, Member, Peer};

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use hashbrown::HashSet;

use self::member::{after, member, renew};
use super::sql92::Selector;
use super::subscription::Subscription;
use crate::parted::PartedMap;
use crate::wire::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};

/// A group of consumers that is online.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub consume_from_where: ConsumeFromWhere,
    members: BTreeMap<ConnId, Member>,
    /// Of the members, each with the number of its connections.
    client_ids: BTreeMap<String, usize>,
    subscriptions: BTreeMap<String, Subscription>,
    fingerprint: Option<i32>,
}

/// All groups that are online.
///
/// What a connection costs when it closes, or when its heartbeats stop, depends on its own groups only: `connections` names
/// them.
#[derive(Debug, Default)]
pub struct Clients {
    consumers: PartedMap<Rc<str>, ConsumerGroup>,
    producers: BTreeMap<Rc<str>, BTreeMap<ConnId, Member>>,
    /// Where a producer is, by its client id: replies to its requests go there.
    producer_conns: PartedMap<String, ConnId>,
    /// Consumer groups by the topics that they subscribe to.
    subscribers: PartedMap<String, BTreeSet<Rc<str>>>,
    connections: PartedMap<ConnId, Memberships>,
    /// Each connection once, with a time that is not later than its oldest heartbeat: a heartbeat does not move it, and
    /// [`Self::expire`] moves it on.
    oldest_heartbeats: BTreeSet<(u64, ConnId)>,
}

/// The groups of one connection.
#[derive(Debug, Default)]
struct Memberships {
    consumers: BTreeSet<Rc<str>>,
    producers: BTreeSet<Rc<str>>,
    /// Its place in `oldest_heartbeats`.
    noted_ms: u64,
}

impl Clients {
    pub fn consumers(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    pub fn producers(&self, group: &str) -> Option<impl Iterator<Item = &Member>> {
        self.producers.get(group).map(BTreeMap::values)
    }

    /// Some connections of the group's producers, in their order from somewhere on. Which ones depends on `place`, any number.
    pub fn some_producers(&self, group: &str, place: u32, most: usize) -> Vec<ConnId> {
        let Some(members) = self.producers.get(group) else {
            return Vec::new();
        };
        let first = members.first_key_value().map_or(0, |(conn, _)| conn.0);
        let last = members.last_key_value().map_or(0, |(conn, _)| conn.0);
        let from = ConnId(first + u64::from(place) % (last - first + 1));
        let some = members.range(from..).chain(members.range(..from));
        some.map(|(conn, _)| *conn).take(most).collect()
    }

    /// The group's producers behind this connection, in order.
    pub fn producers_after(
        &self,
        group: &str,
        conn: Option<ConnId>,
    ) -> impl Iterator<Item = (ConnId, &Member)> {
        let members = self.producers.get(group).into_iter();
        members.flat_map(move |members| after(members, conn))
    }

    /// The first group of producers behind this one, in order.
    pub fn producer_group_after(&self, group: Option<&str>) -> Option<&str> {
        let from = group.map_or(Bound::Unbounded, Bound::Excluded);
        let mut groups = self.producers.range::<str, _>((from, Bound::Unbounded));
        groups.next().map(|(group, _)| &**group)
    }

    /// Groups that have subscribed to the topic, behind this one, in order.
    pub fn groups_of_after(&self, topic: &str, group: Option<&str>) -> impl Iterator<Item = &str> {
        let from = group.map_or(Bound::Unbounded, Bound::Excluded);
        let groups = self.subscribers.get(topic).into_iter();
        groups
            .flat_map(move |groups| groups.range::<str, _>((from, Bound::Unbounded)))
            .map(|group| &**group)
    }

    pub fn register_producer(&mut self, group: &str, client_id: &str, peer: &Peer, now_ms: u64) {
        if let Some(members) = self.producers.get_mut(group)
            && renew(members, client_id, peer, now_ms)
        {
            return;
        }
        let group: Rc<str> = group.into();
        let members = self.producers.entry(group.clone()).or_default();
        members.insert(peer.conn, member(client_id, peer, now_ms));
        self.producer_conns.insert(client_id.into(), peer.conn);
        self.memberships(peer.conn, now_ms).producers.insert(group);
    }

    /// The connection of a producer, whichever its group.
    pub fn producer_conn(&self, client_id: &str) -> Option<ConnId> {
        self.producer_conns.get(client_id).copied()
    }

    /// Takes in what a heartbeat says of one group. Without `with_subscriptions` the known ones stay. Returns whether members
    /// or subscriptions have changed.
    pub fn register_consumer(
        &mut self,
        data: &ConsumerData,
        with_subscriptions: bool,
        client_id: &str,
        peer: &Peer,
        now_ms: u64,
    ) -> bool {
        let name = &*data.group_name;
        let name: Rc<str> = match self.consumers.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => name.into(),
        };
        let new = || (name.clone(), ConsumerGroup::default());
        let group = self.consumers.get_or_insert_with(&name, new);
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        let is_new = group.join(client_id, peer, now_ms);
        let mut is_changed = is_new;
        if with_subscriptions {
            let Changed { added, removed } = group.subscribe(&data.subscription_data_set);
            is_changed |= !added.is_empty() || !removed.is_empty();
            self.unsubscribe(&name, removed.iter().map(|topic| &**topic));
            for topic in added {
                let new = || (topic.clone(), BTreeSet::new());
                let groups = self.subscribers.get_or_insert_with(&topic, new);
                groups.insert(name.clone());
            }
        }
        if is_new {
            self.memberships(peer.conn, now_ms).consumers.insert(name);
        }
        is_changed
    }

    /// Remembers the fingerprint of the group's last heartbeat; whether the one before was another (RocketMQ:
    /// `consumerGroupHeartbeatTable`).
    pub fn fingerprint_changed(&mut self, group: &str, fingerprint: i32) -> bool {
        let Some(group) = self.consumers.get_mut(group) else {
            return false;
        };
        let before = group.fingerprint.replace(fingerprint);
        before.is_some_and(|before| before != fingerprint)
    }

    pub fn unregister_producer(&mut self, group: &str, conn: ConnId) {
        let Some(member) = self.remove_producer(group, conn) else {
            return;
        };
        if let Some(groups) = self.connections.get_mut(&conn) {
            groups.producers.remove(group);
        }
        self.forget_producer(conn, &member.client_id);
        self.forget_if_idle(conn);
    }

    /// Whether the connection was a member.
    pub fn unregister_consumer(&mut self, group: &str, conn: ConnId) -> bool {
        if !self.remove_consumer(group, conn) {
            return false;
        }
        if let Some(groups) = self.connections.get_mut(&conn) {
            groups.consumers.remove(group);
        }
        self.forget_if_idle(conn);
        true
    }

    /// Forgets a connection in all its groups; returns the groups of consumers that it was in and that remain, in order.
    pub fn remove(&mut self, conn: ConnId) -> Vec<Rc<str>> {
        let Some(groups) = self.connections.remove(&conn) else {
            return Vec::new();
        };
        self.oldest_heartbeats.remove(&(groups.noted_ms, conn));
        for group in groups.producers {
            if let Some(member) = self.remove_producer(&group, conn) {
                self.forget_producer(conn, &member.client_id);
            }
        }
        let mut left: Vec<Rc<str>> = groups.consumers.into_iter().collect();
        left.retain(|group| {
            self.remove_consumer(group, conn);
            self.consumers.contains_key(group)
        });
        left
    }

    /// Forgets clients without a heartbeat for so long; returns their connections, which are to be closed, and the groups that
    /// they were in. At most `most` connections are examined; the others are examined in the next call.
    pub fn expire(&mut self, now_ms: u64, expiry_ms: u64, most: usize) -> Expired {
        let mut expired = Expired::default();
        for _ in 0..most {
            let Some((noted_ms, conn)) = self.oldest_heartbeats.first().copied() else {
                break;
            };
            if now_ms.saturating_sub(noted_ms) <= expiry_ms {
                break;
            }
            self.oldest_heartbeats.pop_first();
            let oldest_ms = self.oldest_heartbeat_ms(conn).unwrap_or(0);
            if now_ms.saturating_sub(oldest_ms) > expiry_ms {
                expired.groups.extend(self.remove(conn));
                expired.conns.push(conn);
            } else if let Some(groups) = self.connections.get_mut(&conn) {
                groups.noted_ms = oldest_ms;
                self.oldest_heartbeats.insert((oldest_ms, conn));
            }
        }
        expired
    }

    fn oldest_heartbeat_ms(&self, conn: ConnId) -> Option<u64> {
        let groups = self.connections.get(&conn)?;
        let consumers = groups.consumers.iter();
        let consumers = consumers.filter_map(|group| self.consumers.get(group)?.members.get(&conn));
        let producers = groups.producers.iter();
        let producers = producers.filter_map(|group| self.producers.get(group)?.get(&conn));
        let members = consumers.chain(producers);
        members.map(|member| member.heartbeat_ms).min()
    }

    fn memberships(&mut self, conn: ConnId, now_ms: u64) -> &mut Memberships {
        let oldest = &mut self.oldest_heartbeats;
        self.connections.get_or_insert_with(&conn, || {
            oldest.insert((now_ms, conn));
            let memberships = Memberships {
                noted_ms: now_ms,
                ..Memberships::default()
            };
            (conn, memberships)
        })
    }

    fn forget_if_idle(&mut self, conn: ConnId) {
        let groups = self.connections.get(&conn);
        if groups.is_some_and(|groups| groups.consumers.is_empty() && groups.producers.is_empty()) {
            self.remove(conn);
        }
    }

    fn remove_producer(&mut self, group: &str, conn: ConnId) -> Option<Member> {
        let members = self.producers.get_mut(group)?;
        let member = members.remove(&conn)?;
        if members.is_empty() {
            self.producers.remove(group);
        }
        Some(member)
    }

    /// Unless the connection is in another group still.
    fn forget_producer(&mut self, conn: ConnId, client_id: &str) {
        let groups = self.connections.get(&conn);
        if groups.is_none_or(|groups| groups.producers.is_empty())
            && self.producer_conn(client_id) == Some(conn)
        {
            self.producer_conns.remove(client_id);
        }
    }

    fn remove_consumer(&mut self, name: &str, conn: ConnId) -> bool {
        let Some(group) = self.consumers.get_mut(name) else {
            return false;
        };
        let was_member = group.leave(conn);
        if group.members.is_empty()
            && let Some(group) = self.consumers.remove(name)
        {
            self.unsubscribe(name, group.subscriptions.keys().map(|topic| &**topic));
        }
        was_member
    }

    fn unsubscribe<'a>(&mut self, group: &str, topics: impl Iterator<Item = &'a str>) {
        for topic in topics {
            if let Some(groups) = self.subscribers.get_mut(topic) {
                groups.remove(group);
                if groups.is_empty() {
                    self.subscribers.remove(topic);
                }
            }
        }
    }
}

/// What [`Clients::expire`] has removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expired {
    pub conns: Vec<ConnId>,
    /// Groups of consumers that remain.
    pub groups: BTreeSet<Rc<str>>,
}

/// Topics that a heartbeat has added to its group's subscriptions, and removed from them.
#[derive(Default)]
struct Changed {
    added: Vec<String>,
    removed: Vec<String>,
}

impl ConsumerGroup {
    /// The members by their connections, in the order in which they came.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, &Member)> {
        self.members.iter().map(|(conn, member)| (*conn, member))
    }

    pub fn subscription(&self, topic: &str) -> Option<&Subscription> {
        self.subscriptions.get(topic)
    }

    /// How many clients they are: one may have several connections.
    pub fn client_count(&self) -> usize {
        self.client_ids.len()
    }

    /// The client's place in the order of the names. Those before it are skipped, at some nanoseconds each.
    pub fn place_of(&self, client_id: &str) -> Option<usize> {
        let is_there = self.client_ids.contains_key(client_id);
        let before = (Bound::Unbounded, Bound::Excluded(client_id));
        is_there.then(|| self.client_ids.range::<str, _>(before).count())
    }

    /// Whether the peer was no member before.
    fn join(&mut self, client_id: &str, peer: &Peer, now_ms: u64) -> bool {
        let before = self.members.get(&peer.conn);
        let has_name = before.is_some_and(|member| member.client_id == client_id);
        if !has_name {
            if let Some(before) = before.map(|member| member.client_id.clone()) {
                self.forget_id(&before);
            }
            *self.client_ids.entry(client_id.into()).or_default() += 1;
        }
        let is_new = !renew(&mut self.members, client_id, peer, now_ms);
        if is_new {
            let member = member(client_id, peer, now_ms);
            self.members.insert(peer.conn, member);
        }
        is_new
    }

    /// Whether the connection was a member.
    fn leave(&mut self, conn: ConnId) -> bool {
        let Some(member) = self.members.remove(&conn) else {
            return false;
        };
        self.forget_id(&member.client_id);
        true
    }

    fn forget_id(&mut self, client_id: &str) {
        if let Some(connections) = self.client_ids.get_mut(client_id) {
            *connections -= 1;
            if *connections == 0 {
                self.client_ids.remove(client_id);
            }
        }
    }

    /// At most `most` connections after this one, in order.
    pub fn connections_after(&self, conn: Option<ConnId>, most: usize) -> Vec<ConnId> {
        let members = self.members_after(conn).take(most);
        members.map(|(conn, _)| conn).collect()
    }

    /// Members behind this connection, in order.
    pub fn members_after(&self, conn: Option<ConnId>) -> impl Iterator<Item = (ConnId, &Member)> {
        after(&self.members, conn)
    }

    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    pub fn has_subscriptions(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// The filters on properties of the group, by topic.
    pub fn selectors(&self) -> impl Iterator<Item = (&str, &Rc<Selector>)> {
        let all = self.subscriptions.iter();
        all.filter_map(|(topic, subscription)| Some((&**topic, subscription.selector.as_ref()?)))
    }

    /// Topics behind this one and what is wanted of them, in order.
    pub fn subscriptions_after(
        &self,
        topic: &str,
    ) -> impl Iterator<Item = (&str, &SubscriptionData)> {
        let from = (Bound::Excluded(topic), Bound::Unbounded);
        let all = self.subscriptions.range::<str, _>(from);
        all.map(|(topic, subscription)| (&**topic, &subscription.data))
    }

    pub fn is_broadcasting(&self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }

    /// Topics that come or go are a change, a newer expression is not (RocketMQ: `updateSubscription`).
    fn subscribe(&mut self, wanted: &[SubscriptionData]) -> Changed {
        let mut changed = Changed::default();
        for data in wanted {
            match self.subscriptions.get_mut(&*data.topic) {
                Some(known) if data.sub_version > known.data.sub_version => {
                    *known = Subscription::new(data, Some(known));
                }
                Some(_) => {}
                None => {
                    let subscription = Subscription::new(data, None);
                    self.subscriptions.insert(data.topic.clone(), subscription);
                    changed.added.push(data.topic.clone());
                }
            }
        }
        // Every wanted topic is there by now: with as many as wanted, none is to be removed.
        let wanted: HashSet<&str> = wanted.iter().map(|data| &*data.topic).collect();
        if self.subscriptions.len() > wanted.len() {
            let known = self.subscriptions.keys();
            let unwanted = known.filter(|topic| !wanted.contains(&***topic));
            changed.removed = unwanted.cloned().collect();
            for topic in &changed.removed {
                self.subscriptions.remove(topic);
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests;
