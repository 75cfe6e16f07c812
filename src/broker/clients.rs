//! Who is connected, as heartbeats tell (RocketMQ: `ConsumerManager`, `ProducerManager`, `ConsumerGroupInfo`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use hashbrown::HashMap;

use super::filter::{self, TagFilter};
use super::sql92::Selector;
use crate::message::java_hash;
use crate::wire::Language;
use crate::wire::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};

/// A connection, by a number that is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub conn: ConnId,
    pub addr: SocketAddr,
    pub language: Language,
    /// As in its headers.
    pub version: i32,
}

/// A client in a group.
#[derive(Clone, Debug)]
pub struct Member {
    pub client_id: String,
    pub addr: SocketAddr,
    pub language: Language,
    pub version: i32,
    pub heartbeat_ms: u64,
}

/// What a group wants of a topic.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub data: SubscriptionData,
    pub filter: TagFilter,
    /// Of an expression that is not of tags, if it is one.
    pub selector: Option<Rc<Selector>>,
}

/// A group of consumers that is online.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub consume_from_where: ConsumeFromWhere,
    members: BTreeMap<ConnId, Member>,
    subscriptions: HashMap<String, Subscription>,
    fingerprint: Option<i32>,
}

/// All groups that are online.
#[derive(Debug, Default)]
pub struct Clients {
    consumers: HashMap<String, ConsumerGroup>,
    producers: HashMap<String, BTreeMap<ConnId, Member>>,
    /// Where a producer is, by its client id: replies to its requests go there.
    producer_conns: HashMap<String, ConnId>,
}

/// A group whose members or subscriptions have changed, with those who should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub group: String,
    pub conns: Vec<ConnId>,
}

impl Clients {
    pub fn consumers(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    pub fn producers(&self, group: &str) -> Option<impl Iterator<Item = &Member>> {
        self.producers.get(group).map(BTreeMap::values)
    }

    /// The connections of the group's producers, in the order in which they came.
    pub fn producer_connections(&self, group: &str) -> Vec<ConnId> {
        let members = self.producers.get(group);
        members.map_or(Vec::new(), |members| members.keys().copied().collect())
    }

    /// Producer groups and their members, in order.
    pub fn all_producers(&self) -> BTreeMap<&str, Vec<&Member>> {
        let groups = self.producers.iter();
        groups
            .map(|(group, members)| (&**group, members.values().collect()))
            .collect()
    }

    /// Groups that have subscribed to the topic, in order.
    pub fn groups_of(&self, topic: &str) -> Vec<&str> {
        let groups = self.consumers.iter();
        let mut groups: Vec<_> = groups
            .filter(|(_, group)| group.subscriptions.contains_key(topic))
            .map(|(name, _)| &**name)
            .collect();
        groups.sort_unstable();
        groups
    }

    pub fn register_producer(&mut self, group: &str, client_id: &str, peer: &Peer, now_ms: u64) {
        let members = self.producers.entry_ref(group).or_default();
        if touch(members, client_id, peer, now_ms) {
            self.producer_conns.insert(client_id.into(), peer.conn);
        }
    }

    /// The connection of a producer, whichever its group.
    pub fn producer_conn(&self, client_id: &str) -> Option<ConnId> {
        self.producer_conns.get(client_id).copied()
    }

    /// Takes in what a heartbeat says of one group. Without `with_subscriptions` the known ones stay.
    pub fn register_consumer(
        &mut self,
        data: &ConsumerData,
        with_subscriptions: bool,
        client_id: &str,
        peer: &Peer,
        now_ms: u64,
    ) -> Option<Change> {
        let group = self.consumers.entry_ref(&*data.group_name).or_default();
        group.consume_type = data.consume_type;
        group.message_model = data.message_model;
        group.consume_from_where = data.consume_from_where;
        let is_new = touch(&mut group.members, client_id, peer, now_ms);
        let is_changed = with_subscriptions && group.subscribe(&data.subscription_data_set);
        (is_new || is_changed).then(|| group.change(&data.group_name))
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
        let Some(members) = self.producers.get_mut(group) else {
            return;
        };
        let removed = members.remove(&conn);
        if members.is_empty() {
            self.producers.remove(group);
        }
        if let Some(member) = removed {
            self.forget_producer(conn, &member.client_id);
        }
    }

    /// Unless the connection is in another group still.
    fn forget_producer(&mut self, conn: ConnId, client_id: &str) {
        let mut groups = self.producers.values();
        if self.producer_conn(client_id) == Some(conn)
            && !groups.any(|members| members.contains_key(&conn))
        {
            self.producer_conns.remove(client_id);
        }
    }

    pub fn unregister_consumer(&mut self, group: &str, conn: ConnId) -> Option<Change> {
        let members = self.consumers.get_mut(group)?;
        members.members.remove(&conn)?;
        let change = members.change(group);
        if members.members.is_empty() {
            self.consumers.remove(group);
        }
        Some(change)
    }

    /// Forgets a connection in all groups.
    pub fn remove(&mut self, conn: ConnId, changes: &mut Vec<Change>) {
        self.retain(changes, |other, _| other != conn);
    }

    /// Forgets clients without a heartbeat for so long; returns their connections, which are to be closed.
    pub fn expire(
        &mut self,
        now_ms: u64,
        expiry_ms: u64,
        changes: &mut Vec<Change>,
    ) -> Vec<ConnId> {
        let mut expired = Vec::new();
        self.retain(changes, |conn, member| {
            let lives = now_ms.saturating_sub(member.heartbeat_ms) <= expiry_ms;
            if !lives {
                expired.push(conn);
            }
            lives
        });
        expired.sort_unstable();
        expired.dedup();
        expired
    }

    fn retain(&mut self, changes: &mut Vec<Change>, mut keep: impl FnMut(ConnId, &Member) -> bool) {
        let mut gone = Vec::new();
        self.producers.retain(|_, members| {
            members.retain(|conn, member| {
                let is_kept = keep(*conn, member);
                if !is_kept {
                    gone.push((*conn, std::mem::take(&mut member.client_id)));
                }
                is_kept
            });
            !members.is_empty()
        });
        for (conn, client_id) in gone {
            self.forget_producer(conn, &client_id);
        }
        let known = changes.len();
        self.consumers.retain(|name, group| {
            let before = group.members.len();
            group.members.retain(|conn, member| keep(*conn, member));
            if group.members.len() < before && !group.members.is_empty() {
                changes.push(group.change(name));
            }
            !group.members.is_empty()
        });
        // A map's order is another one each time, and a run has to be repeatable.
        changes[known..].sort_unstable_by(|left, right| left.group.cmp(&right.group));
    }
}

impl ConsumerGroup {
    /// In the order in which they came.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// The same with their connections.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, &Member)> {
        self.members.iter().map(|(conn, member)| (*conn, member))
    }

    pub fn subscription(&self, topic: &str) -> Option<&Subscription> {
        self.subscriptions.get(topic)
    }

    /// What the group wants by properties, by topic.
    pub fn selectors(&self) -> impl Iterator<Item = (&str, &Rc<Selector>)> {
        let all = self.subscriptions.iter();
        all.filter_map(|(topic, subscription)| Some((&**topic, subscription.selector.as_ref()?)))
    }

    /// By topic.
    pub fn subscriptions(&self) -> BTreeMap<&str, &SubscriptionData> {
        let all = self.subscriptions.iter();
        all.map(|(topic, subscription)| (&**topic, &subscription.data))
            .collect()
    }

    pub fn is_broadcasting(&self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }

    /// Topics that come or go are a change, a newer expression is not (RocketMQ: `updateSubscription`).
    fn subscribe(&mut self, wanted: &[SubscriptionData]) -> bool {
        let mut is_changed = false;
        for data in wanted {
            match self.subscriptions.get_mut(&*data.topic) {
                Some(known) if data.sub_version > known.data.sub_version => {
                    *known = Subscription::new(data, Some(known));
                }
                Some(_) => {}
                None => {
                    let subscription = Subscription::new(data, None);
                    self.subscriptions.insert(data.topic.clone(), subscription);
                    is_changed = true;
                }
            }
        }
        let before = self.subscriptions.len();
        self.subscriptions
            .retain(|topic, _| wanted.iter().any(|data| data.topic == *topic));
        is_changed || self.subscriptions.len() < before
    }

    fn change(&self, group: &str) -> Change {
        let conns = match self.is_broadcasting() {
            true => Vec::new(),
            false => self.members.keys().copied().collect(),
        };
        Change {
            group: group.into(),
            conns,
        }
    }
}

impl Subscription {
    /// What is `known` of an older one spares parsing its expression again: each member of a group has a version of its own.
    fn new(data: &SubscriptionData, known: Option<&Subscription>) -> Self {
        let is_all = data.class_filter_mode
            || matches!(&*data.sub_string, "" | "*")
            || !filter::is_tag_type(Some(&data.expression_type));
        let filter = match is_all {
            true => TagFilter::All,
            // Some clients send only one of the two.
            false => TagFilter::of_codes(
                filter::tags(&data.sub_string)
                    .map(java_hash)
                    .chain(data.code_set.iter().copied())
                    .collect(),
            ),
        };
        Self {
            data: data.clone(),
            filter,
            selector: selector_of(data, known),
        }
    }
}

fn selector_of(data: &SubscriptionData, known: Option<&Subscription>) -> Option<Rc<Selector>> {
    let (kind, expression) = (&data.expression_type, &data.sub_string);
    match known {
        _ if filter::is_tag_type(Some(kind)) => None,
        Some(known)
            if known.data.expression_type == *kind && known.data.sub_string == *expression =>
        {
            known.selector.clone()
        }
        _ => filter::selector(kind, expression).ok(),
    }
}

/// Enters or renews a member; whether it is new.
fn touch(
    members: &mut BTreeMap<ConnId, Member>,
    client_id: &str,
    peer: &Peer,
    now_ms: u64,
) -> bool {
    if let Some(member) = members.get_mut(&peer.conn) {
        if member.client_id != client_id {
            member.client_id = client_id.into();
        }
        member.heartbeat_ms = now_ms;
        return false;
    }
    let member = Member {
        client_id: client_id.into(),
        addr: peer.addr,
        language: peer.language,
        version: peer.version,
        heartbeat_ms: now_ms,
    };
    members.insert(peer.conn, member);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tags_code;

    fn peer(conn: u64) -> Peer {
        Peer {
            conn: ConnId(conn),
            addr: ([127, 0, 0, 1], 1).into(),
            language: Language::Java,
            version: 500,
        }
    }

    fn consumer(topics: &[(&str, &str, i64)]) -> ConsumerData {
        let subscription =
            |(topic, sub_string, sub_version): &(&str, &str, i64)| SubscriptionData {
                topic: (*topic).into(),
                sub_string: (*sub_string).into(),
                sub_version: *sub_version,
                expression_type: "TAG".into(),
                ..SubscriptionData::default()
            };
        ConsumerData {
            group_name: "g".into(),
            subscription_data_set: topics.iter().map(subscription).collect(),
            ..ConsumerData::default()
        }
    }

    #[test]
    fn members_hear_of_each_other_once() {
        let mut clients = Clients::default();
        let data = consumer(&[("T", "*", 1)]);
        let register = |clients: &mut Clients, conn| {
            let id = format!("c{conn}");
            clients.register_consumer(&data, true, &id, &peer(conn), 0)
        };
        assert_eq!(register(&mut clients, 1).unwrap().conns, [ConnId(1)]);
        assert_eq!(register(&mut clients, 1), None);
        let change = register(&mut clients, 2).unwrap();
        assert_eq!(change.conns, [ConnId(1), ConnId(2)]);
        assert_eq!(clients.groups_of("T"), ["g"]);
        let change = clients.unregister_consumer("g", ConnId(1)).unwrap();
        assert_eq!(change.conns, [ConnId(2)]);
        assert_eq!(clients.unregister_consumer("g", ConnId(1)), None);
        assert!(clients.unregister_consumer("g", ConnId(2)).is_some());
        assert!(clients.consumers("g").is_none() && clients.groups_of("T").is_empty());
    }

    #[test]
    fn subscriptions_change_with_topics_not_with_versions() {
        let mut clients = Clients::default();
        let mut beat = |topics: &[_]| {
            let change = clients.register_consumer(&consumer(topics), true, "c", &peer(1), 0);
            let filter = clients
                .consumers("g")
                .unwrap()
                .subscription("T")
                .map(|s| s.filter.clone());
            (change.is_some(), filter)
        };
        assert!(beat(&[("T", "A", 2)]).0);
        let (is_changed, filter) = beat(&[("T", "B", 1)]);
        assert!(
            !is_changed && filter.unwrap().matches(tags_code("A")),
            "older: ignored"
        );
        let (is_changed, filter) = beat(&[("T", "B", 3)]);
        assert!(!is_changed && filter.unwrap().matches(tags_code("B")));
        assert!(beat(&[("T", "B", 3), ("U", "*", 3)]).0);
        assert_eq!(beat(&[("U", "*", 3)]), (true, None));
    }

    #[test]
    fn a_heartbeat_without_subscriptions_keeps_them() {
        let mut clients = Clients::default();
        clients.register_consumer(&consumer(&[("T", "*", 1)]), true, "c", &peer(1), 0);
        let change = clients.register_consumer(&consumer(&[]), false, "c", &peer(1), 5);
        assert_eq!(change, None);
        assert!(clients.consumers("g").unwrap().subscription("T").is_some());
        assert!(!clients.fingerprint_changed("g", 7));
        assert!(!clients.fingerprint_changed("g", 7));
        assert!(clients.fingerprint_changed("g", 8));
    }

    #[test]
    fn silent_clients_expire_everywhere() {
        let mut clients = Clients::default();
        let data = consumer(&[("T", "*", 1)]);
        clients.register_consumer(&data, true, "a", &peer(1), 0);
        clients.register_consumer(&data, true, "b", &peer(2), 60_000);
        clients.register_producer("p", "a", &peer(1), 0);
        let mut changes = Vec::new();
        assert!(clients.expire(120_000, 120_000, &mut changes).is_empty());
        assert_eq!(clients.expire(120_001, 120_000, &mut changes), [ConnId(1)]);
        assert_eq!(
            changes,
            [Change {
                group: "g".into(),
                conns: vec![ConnId(2)]
            }]
        );
        assert!(clients.producers("p").is_none());
        clients.remove(ConnId(2), &mut changes);
        assert!(clients.consumers("g").is_none());
        assert_eq!(changes.len(), 1, "nobody is left to be told");
    }

    #[test]
    fn a_producer_is_found_by_its_id_while_it_is_in_any_group() {
        let mut clients = Clients::default();
        clients.register_producer("p", "a", &peer(1), 0);
        clients.register_producer("q", "a", &peer(1), 0);
        assert_eq!(clients.producer_conn("a"), Some(ConnId(1)));
        clients.unregister_producer("p", ConnId(1));
        assert_eq!(clients.producer_conn("a"), Some(ConnId(1)));
        clients.unregister_producer("q", ConnId(1));
        assert_eq!(clients.producer_conn("a"), None);
        // It comes back on another connection before the old one is found to be dead.
        clients.register_producer("p", "a", &peer(2), 0);
        clients.register_producer("p", "a", &peer(3), 0);
        clients.remove(ConnId(2), &mut Vec::new());
        assert_eq!(clients.producer_conn("a"), Some(ConnId(3)));
        clients.remove(ConnId(3), &mut Vec::new());
        assert_eq!(clients.producer_conn("a"), None);
    }

    #[test]
    fn broadcasting_groups_are_not_told() {
        let mut clients = Clients::default();
        let mut data = consumer(&[("T", "*", 1)]);
        data.message_model = MessageModel::Broadcasting;
        let change = clients.register_consumer(&data, true, "a", &peer(1), 0);
        assert!(change.unwrap().conns.is_empty());
    }
}
