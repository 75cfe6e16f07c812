use super::super::passes::PermChange;
use super::*;
use crate::wire::topic::perm::READ;
use proptest::prelude::*;

const VERSION_1: DataVersion = DataVersion {
    state_version: 0,
    timestamp_ms: 1_000,
    counter: 1,
};
const VERSION_2: DataVersion = DataVersion {
    state_version: 0,
    timestamp_ms: 1_000,
    counter: 2,
};

fn queues(number: i32) -> Queues {
    Queues {
        read: number,
        write: number,
        perm: 6,
        topic_sys_flag: 0,
    }
}

fn report(name: &str, broker_id: i64, addr: &str, topics: &[&str]) -> Registration {
    Registration {
        cluster: "C".into(),
        broker_name: name.into(),
        addr: addr.into(),
        broker_id,
        ha_addr: format!("{addr}-ha"),
        zone: None,
        heartbeat_timeout_ms: None,
        acting_master: Some(false),
        data_version: VERSION_1,
        topics: topics
            .iter()
            .map(|topic| (String::from(*topic), queues(8)))
            .collect(),
    }
}

fn table_of(reports: impl IntoIterator<Item = Registration>) -> RouteTable {
    let mut table = RouteTable::default();
    for (conn, report) in reports.into_iter().enumerate() {
        table.register(report, conn as u64, false, 0).unwrap();
    }
    table
}

fn perm(table: &RouteTable, topic: &str, name: &str) -> i32 {
    table.route(topic).unwrap().queues[name].perm
}

#[test]
fn a_route_shows_queues_and_addresses() {
    let table = table_of([
        report("a", 0, "a:1", &["T", "U"]),
        report("b", 0, "b:1", &["T", "V"]),
    ]);
    let route = table.route("T").unwrap();
    assert_eq!(route.queues.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(route.brokers["b"].addrs[&0], "b:1");
    assert_eq!(table.route("U").unwrap().brokers.len(), 1);
    assert_eq!(table.route("W"), None);
    assert_eq!(table.topics().collect::<Vec<_>>(), ["T", "U", "V"]);
}

#[test]
fn a_changed_report_updates_at_once_and_an_unchanged_one_does_not() {
    let mut table = table_of([report("a", 0, "a:1", &["T", "U"])]);
    let mut changed = report("a", 0, "a:1", &["T", "U"]);
    changed.topics[0].1 = queues(16);
    table.register(changed.clone(), 0, false, 0).unwrap();
    assert_eq!(
        table.route("T").unwrap().queues["a"],
        queues(8),
        "the same DataVersion means nothing changed"
    );
    changed.data_version = VERSION_2;
    table.register(changed, 0, false, 0).unwrap();
    assert_eq!(table.route("T").unwrap().queues["a"], queues(16));
}

#[test]
fn a_topic_that_is_missing_here_is_taken_under_an_old_version_too() {
    let mut table = table_of([report("a", 0, "a:1", &["T", "U"])]);
    table.delete_topic("T", None);
    table
        .register(report("a", 0, "a:1", &["T", "U"]), 0, false, 0)
        .unwrap();
    assert!(table.route("T").is_some());
}

#[test]
fn absence_from_a_report_deletes_only_if_asked_for() {
    let mut table = table_of([report("a", 0, "a:1", &["T", "U"])]);
    let shorter = Registration {
        data_version: VERSION_2,
        ..report("a", 0, "a:1", &["T", "V"])
    };
    table.register(shorter.clone(), 0, false, 0).unwrap();
    assert_eq!(table.topics().collect::<Vec<_>>(), ["T", "U", "V"]);
    table.register(shorter, 0, true, 0).unwrap();
    assert_eq!(table.topics().collect::<Vec<_>>(), ["T", "V"]);
}

#[test]
fn a_single_topic_is_an_increment_and_needs_a_full_report_before_it() {
    let mut table = RouteTable::default();
    let single = Registration {
        data_version: VERSION_2,
        ..report("a", 0, "a:1", &["T"])
    };
    assert_eq!(table.register(single.clone(), 0, false, 0), Err(Incomplete));
    assert_eq!(
        (table.brokers().count(), table.clusters().count()),
        (0, 0),
        "nothing is left behind"
    );
    table
        .register(report("a", 0, "a:1", &["U", "V"]), 0, false, 0)
        .unwrap();
    table.register(single, 0, false, 0).unwrap();
    assert_eq!(table.topics().collect::<Vec<_>>(), ["T", "U", "V"]);
    assert_eq!(table.data_version("a:1"), Some(VERSION_2));
}

#[test]
fn replicas_learn_of_their_master_and_do_not_touch_topics() {
    let mut table = table_of([report("a", 0, "a:1", &["T", "U"])]);
    let answer = table
        .register(report("a", 1, "a:2", &["X", "Y"]), 1, false, 0)
        .unwrap();
    assert_eq!(
        answer,
        Registered {
            master_addr: Some("a:1".into()),
            ha_addr: Some("a:1-ha".into()),
            replaced: None,
        }
    );
    assert_eq!(table.route("X"), None);
    assert_eq!(table.route("T").unwrap().brokers["a"].addrs.len(), 2);
    let master = table
        .register(report("a", 0, "a:1", &["T", "U"]), 0, false, 0)
        .unwrap();
    assert_eq!(master, Registered::default());
}

#[test]
fn a_replica_alone_speaks_for_its_name_and_read_only_as_acting_master() {
    let acting = Registration {
        acting_master: Some(true),
        ..report("a", 1, "a:2", &["T", "U"])
    };
    let table = table_of([acting]);
    assert_eq!(perm(&table, "T", "a"), READ);
    let route = table.route("T").unwrap().with_acting_masters();
    assert_eq!(
        route.brokers["a"].addrs,
        BTreeMap::from([(0, "a:2".into())])
    );

    let old = Registration {
        acting_master: None,
        ..report("a", 1, "a:2", &["T", "U"])
    };
    assert_eq!(
        table_of([old]).route("T"),
        None,
        "brokers before 5.0 leave this to their master"
    );
}

#[test]
fn a_promoted_replica_leaves_its_old_id() {
    let mut table = table_of([
        report("a", 0, "a:1", &["T", "U"]),
        report("a", 1, "a:2", &[]),
    ]);
    table
        .register(report("a", 0, "a:2", &["T", "U"]), 1, false, 0)
        .unwrap();
    assert_eq!(
        table.broker("a").unwrap().addrs,
        BTreeMap::from([(0, "a:2".into())])
    );
    table.connection_closed(0);
    assert!(
        table.route("T").is_some(),
        "the old master's end is not the new one's"
    );
}

#[test]
fn a_deposed_master_is_ignored() {
    let newer = DataVersion {
        state_version: 2,
        ..VERSION_1
    };
    let mut table = table_of([Registration {
        data_version: newer,
        ..report("a", 0, "a:2", &["T", "U"])
    }]);
    let answer = table.register(report("a", 0, "a:1", &["T", "U"]), 9, false, 0);
    assert_eq!(answer, Ok(Registered::default()));
    assert_eq!(table.broker("a").unwrap().addrs[&0], "a:2");
}

#[test]
fn a_renamed_broker_leaves_its_old_name() {
    let mut table = table_of([report("a", 0, "a:1", &["T", "U"])]);
    table
        .register(report("b", 0, "a:1", &["T", "U"]), 0, false, 0)
        .unwrap();
    assert_eq!(
        table.route("T").unwrap().queues.keys().collect::<Vec<_>>(),
        ["b"]
    );
    let moved = Registration {
        cluster: "D".into(),
        ..report("b", 0, "a:1", &["T", "U"])
    };
    table.register(moved, 0, false, 0).unwrap();
    assert_eq!(
        table
            .clusters()
            .map(|(cluster, _)| cluster)
            .collect::<Vec<_>>(),
        ["D"]
    );
}

#[test]
fn the_end_of_a_connection_is_the_end_of_its_brokers() {
    let mut table = table_of([
        report("a", 0, "a:1", &["T", "U"]),
        report("b", 0, "b:1", &["T", "V"]),
    ]);
    table.connection_closed(7);
    table.connection_closed(0);
    assert_eq!(table.topics().collect::<Vec<_>>(), ["T", "V"]);
    assert_eq!(
        table.brokers().map(|(name, _)| name).collect::<Vec<_>>(),
        ["b"]
    );
    table.connection_closed(1);
    assert_eq!(
        (
            table.topics().count(),
            table.clusters().count(),
            table.live.len()
        ),
        (0, 0, 0)
    );
}

#[test]
fn a_broker_that_came_back_over_a_new_connection_stays() {
    let mut table = table_of([report("a", 0, "a:1", &["T", "U"])]);
    table
        .register(report("a", 0, "a:1", &["T", "U"]), 5, false, 0)
        .unwrap();
    table.connection_closed(0);
    assert!(table.route("T").is_some());
    table.connection_closed(5);
    assert!(table.route("T").is_none());
}

#[test]
fn silence_ends_after_what_the_broker_promised() {
    let quick = Registration {
        heartbeat_timeout_ms: Some(3_000),
        ..report("a", 0, "a:1", &["T", "U"])
    };
    let mut table = table_of([quick, report("b", 0, "b:1", &["T", "U"])]);
    assert!(table.expire(3_000).is_empty());
    table.seen("a:1", 2_000);
    assert!(table.expire(5_000).is_empty());
    assert_eq!(table.expire(5_001), [0]);
    assert!(table.expire(120_000).is_empty());
    assert_eq!(table.expire(120_001), [1]);
    assert_eq!(table.topics().count(), 0);
}

#[test]
fn unregistering_a_master_leaves_replicas_read_only_if_one_may_act() {
    for (acting, left) in [(true, READ), (false, 6)] {
        let with = |report: Registration| Registration {
            acting_master: Some(acting),
            ..report
        };
        let mut table = table_of([
            with(report("a", 0, "a:1", &["T", "U"])),
            with(report("a", 1, "a:2", &["T", "U"])),
        ]);
        table.unregister("a:1", "a");
        assert_eq!(perm(&table, "T", "a"), left);
        table.unregister("a:2", "a");
        assert_eq!(table.route("T"), None);
    }
}

/// Topics that it has changed.
fn change_perm(table: &mut RouteTable, broker_name: &str, is_given: bool) -> i32 {
    let mut change = PermChange::new(broker_name, is_given);
    while change.change_some(table) {}
    change.changed
}

#[test]
fn a_broker_that_comes_back_has_none_of_its_former_topics() {
    let mut table = table_of([
        report("a", 0, "a:1", &["T", "U"]),
        report("b", 0, "b:1", &["U", "X"]),
    ]);
    table.unregister("a:1", "a");
    assert_eq!(table.topics.len(), 3, "rows go in slices");
    assert_eq!(table.topics().collect::<Vec<_>>(), ["U", "X"]);
    assert_eq!(change_perm(&mut table, "a", false), 0);
    table
        .register(report("a", 0, "a:1", &["V", "W"]), 9, false, 0)
        .unwrap();
    assert!(table.route("T").is_none());
    let brokers = |table: &RouteTable, topic| {
        table
            .route(topic)
            .unwrap()
            .queues
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(brokers(&table, "U"), ["b"]);
    while table.sweep_some() {}
    assert_eq!(
        table.topics.keys().collect::<Vec<_>>(),
        ["U", "V", "W", "X"]
    );
    assert_eq!(brokers(&table, "U"), ["b"]);
    assert_eq!(brokers(&table, "V"), ["a"]);
}

#[test]
fn write_permission_is_wiped_until_something_changes() {
    let mut table = table_of([
        report("a", 0, "a:1", &["T", "U"]),
        report("b", 0, "b:1", &["T", "V"]),
    ]);
    assert_eq!(change_perm(&mut table, "a", false), 2);
    assert_eq!(change_perm(&mut table, "nobody", false), 0);
    assert_eq!((perm(&table, "T", "a"), perm(&table, "T", "b")), (4, 6));
    table
        .register(report("a", 0, "a:1", &["T", "U"]), 0, false, 0)
        .unwrap();
    assert_eq!(perm(&table, "T", "a"), 4);
    assert_eq!(change_perm(&mut table, "a", true), 2);
    assert_eq!(perm(&table, "T", "a"), 6);
}

#[test]
fn topics_are_deleted_everywhere_or_in_a_cluster() {
    let other = Registration {
        cluster: "D".into(),
        ..report("d", 0, "d:1", &["T", "U"])
    };
    let mut table = table_of([report("a", 0, "a:1", &["T", "U"]), other]);
    table.delete_topic("T", Some("C"));
    table.delete_topic("T", Some("nowhere"));
    assert_eq!(
        table.route("T").unwrap().queues.keys().collect::<Vec<_>>(),
        ["d"]
    );
    let of_cluster = |cluster: &str| {
        let wanted = Wanted::OfCluster(cluster.into());
        let topics = table.topics_after(None, &wanted);
        let topics = topics.filter(|(_, is_wanted)| *is_wanted);
        topics
            .map(|(topic, _)| topic.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(of_cluster("C"), ["U"]);
    assert_eq!(of_cluster("D"), ["T", "U"]);
    table.delete_topic("U", None);
    assert_eq!(table.route("U"), None);
}

#[test]
fn a_topic_registered_on_its_own_needs_known_brokers() {
    let mut table = table_of([report("a", 0, "a:1", &["T", "U"])]);
    table.register_topic(
        "W",
        [
            ("a".to_owned(), queues(1)),
            ("stranger".to_owned(), queues(1)),
        ],
    );
    assert_eq!(table.route("W"), None);
    table.register_topic("W", [("a".to_owned(), queues(3))]);
    assert_eq!(table.route("W").unwrap().queues["a"], queues(3));
}

#[test]
fn zones_keep_near_brokers_and_those_without_master() {
    let zoned = |report: Registration, zone: &str| Registration {
        zone: Some(zone.into()),
        ..report
    };
    let table = table_of([
        zoned(report("a", 0, "a:1", &["T", "U"]), "east"),
        zoned(report("b", 0, "b:1", &["T", "U"]), "West"),
        zoned(report("c", 1, "c:1", &["T", "U"]), "east"),
    ]);
    let route = table.route("T").unwrap().of_zone("west");
    assert_eq!(route.brokers.keys().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(route.queues.keys().collect::<Vec<_>>(), ["b", "c"]);
}

/// After any sequence of requests the routes name only live brokers, and the tables agree with each other.
fn check(table: &RouteTable) {
    let addrs: Vec<&String> = table
        .groups
        .values()
        .flat_map(|group| group.addrs.values())
        .collect();
    assert!(
        addrs.iter().all(|addr| table.live.contains_key(*addr)),
        "{table:?}"
    );
    assert_eq!(addrs.len(), table.live.len());
    assert!(table.groups.values().all(|group| !group.addrs.is_empty()));
    let listed: usize = table.clusters.values().map(BTreeSet::len).sum();
    assert_eq!(listed, table.groups.len());
    assert!(table.topics.values().all(|by_broker| !by_broker.is_empty()));
    assert!(table.lives.keys().eq(table.groups.keys()));
    let mut rows = table.topics.values().flatten();
    let is_swept = rows.all(|(name, row)| table.is_current(name, row));
    assert!(is_swept || table.sweep.is_some(), "{table:?}");
}

proptest! {
    #[test]
    fn tables_agree_after_any_history(steps in prop::collection::vec((0u8..6, 0u8..3, 0i64..3, 0u8..5, 0u64..4, 0i64..3), 0..60)) {
        let mut table = RouteTable::default();
        let mut now_ms = 0;
        for (kind, name, broker_id, port, conn, version) in steps {
            let (name, addr) = (format!("b{name}"), format!("h:{port}"));
            match kind {
                0..=2 => {
                    let mut report = report(&name, broker_id, &addr, ["T", "U", "V"].get(..version as usize + 1).unwrap());
                    report.cluster = if port == 4 { "D".into() } else { "C".into() };
                    report.data_version.counter = version;
                    report.data_version.state_version = i64::from(kind);
                    report.acting_master = [None, Some(false), Some(true)][kind as usize];
                    let _ = table.register(report, conn, kind == 2, now_ms);
                }
                3 => table.connection_closed(conn),
                4 => {
                    now_ms += 50_000;
                    table.expire(now_ms);
                }
                _ => table.unregister(&addr, &name),
            }
            check(&table);
            let topics = |table: &RouteTable| table.topics().map(String::from).collect::<Vec<_>>();
            let before = topics(&table);
            if conn == 3 {
                while table.sweep_some() {}
                assert!(table.topics.keys().eq(&before));
            }
        }
    }
}
