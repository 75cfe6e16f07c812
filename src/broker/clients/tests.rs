use super::*;
use crate::message::tags_code;
use crate::wire::Language;

fn peer(conn: u64) -> Peer {
    Peer {
        conn: ConnId(conn),
        addr: ([127, 0, 0, 1], 1).into(),
        language: Language::Java,
        version: 500,
    }
}

fn consumer(topics: &[(&str, &str, i64)]) -> ConsumerData {
    let subscription = |(topic, sub_string, sub_version): &(&str, &str, i64)| SubscriptionData {
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

fn members(clients: &Clients) -> Vec<ConnId> {
    let group = clients.consumers("g");
    group.map_or(Vec::new(), |group| group.connections_after(None, 9))
}

#[test]
fn a_group_changes_with_each_new_member() {
    let mut clients = Clients::default();
    let data = consumer(&[("T", "*", 1)]);
    let register = |clients: &mut Clients, conn| {
        let id = format!("c{conn}");
        clients.register_consumer(&data, true, &id, &peer(conn), 0)
    };
    assert!(register(&mut clients, 1) && !register(&mut clients, 1));
    assert!(register(&mut clients, 2));
    assert_eq!(members(&clients), [ConnId(1), ConnId(2)]);
    assert!(clients.groups_of_after("T", None).eq(["g"]));
    assert!(clients.unregister_consumer("g", ConnId(1)));
    assert_eq!(members(&clients), [ConnId(2)]);
    assert!(!clients.unregister_consumer("g", ConnId(1)));
    assert!(clients.unregister_consumer("g", ConnId(2)));
    assert!(
        clients.consumers("g").is_none() && clients.groups_of_after("T", None).next().is_none()
    );
    assert!(clients.connections.is_empty() && clients.oldest_heartbeats.is_empty());
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
        (change, filter)
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
    assert!(!change);
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
    let none = Expired::default();
    assert_eq!(clients.expire(120_000, 120_000, 9), none);
    let expired = clients.expire(120_001, 120_000, 9);
    assert_eq!(expired.conns, [ConnId(1)]);
    assert_eq!(expired.groups, BTreeSet::from(["g".into()]));
    assert!(clients.producers("p").is_none());
    assert!(clients.remove(ConnId(2)).is_empty(), "no member is left");
    assert!(clients.consumers("g").is_none());
    assert!(clients.connections.is_empty() && clients.oldest_heartbeats.is_empty());
}

#[test]
fn a_connection_lives_while_each_of_its_groups_does() {
    let mut clients = Clients::default();
    let data = consumer(&[("T", "*", 1)]);
    for now_ms in [0, 50, 100] {
        clients.register_consumer(&data, true, "a", &peer(1), now_ms);
    }
    clients.register_producer("p", "a", &peer(1), 100);
    assert_eq!(clients.expire(150, 100, 9), Expired::default());
    clients.register_consumer(&data, true, "a", &peer(1), 180);
    let expired = clients.expire(201, 100, 9);
    assert_eq!(
        expired.conns,
        [ConnId(1)],
        "the producer's heartbeats stopped"
    );
}

#[test]
fn few_connections_are_examined_at_a_time() {
    let mut clients = Clients::default();
    for conn in 0..10 {
        clients.register_producer("p", &format!("c{conn}"), &peer(conn), 0);
    }
    assert_eq!(clients.expire(2, 1, 4).conns.len(), 4);
    assert_eq!(clients.expire(2, 1, 4).conns.len(), 4);
    assert_eq!(clients.expire(2, 1, 4).conns.len(), 2);
}

#[test]
fn topics_know_their_subscribers() {
    let mut clients = Clients::default();
    clients.register_consumer(&consumer(&[("T", "*", 1)]), true, "a", &peer(1), 0);
    let both = consumer(&[("T", "*", 1), ("U", "*", 1)]);
    assert!(clients.register_consumer(&both, true, "a", &peer(1), 0));
    assert!(clients.groups_of_after("U", None).eq(["g"]));
    assert!(clients.register_consumer(&consumer(&[("U", "*", 1)]), true, "a", &peer(1), 0));
    assert!(clients.groups_of_after("T", None).next().is_none());
    clients.remove(ConnId(1));
    assert!(clients.subscribers.is_empty());
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
    clients.remove(ConnId(2));
    assert_eq!(clients.producer_conn("a"), Some(ConnId(3)));
    clients.remove(ConnId(3));
    assert_eq!(clients.producer_conn("a"), None);
}

#[test]
fn clients_of_a_group_are_counted_by_their_names() {
    let mut clients = Clients::default();
    let data = ConsumerData {
        group_name: "g".into(),
        ..ConsumerData::default()
    };
    let join = |clients: &mut Clients, id: &str, conn| {
        clients.register_consumer(&data, true, id, &peer(conn), 0)
    };
    for (id, conn) in [("b", 1), ("a", 2), ("b", 3), ("c", 4)] {
        assert!(join(&mut clients, id, conn));
    }
    let of = |clients: &Clients| {
        let group = clients.consumers("g").unwrap();
        let places = ["a", "b", "c", "d"].map(|id| group.place_of(id));
        (group.client_count(), places)
    };
    assert_eq!(of(&clients), (3, [Some(0), Some(1), Some(2), None]));
    assert!(!join(&mut clients, "d", 2), "the same connection");
    assert_eq!(of(&clients), (3, [None, Some(0), Some(1), Some(2)]));
    clients.unregister_consumer("g", ConnId(1));
    assert_eq!(of(&clients).0, 3, "by its other connection");
    clients.remove(ConnId(3));
    assert_eq!(of(&clients), (2, [None, None, Some(0), Some(1)]));
}
