//! A name server is for all clusters: a cluster that the sender names opens nothing but what is done to that cluster alone.

use super::*;
use crate::auth::needs::is_mapped;
use crate::wire::codes::request::*;

/// Every code that the name server answers, and some that it does not.
const CODES: std::ops::Range<i32> = 0..4_000;

fn asked(guard: &Guard, code: i32, fields: &[(&str, &str)]) -> Option<Reason> {
    let visit = &mut Visit::default();
    let request = (code, fields, &b""[..]);
    reason(ask_as(guard, visit, ("u", "s"), Place::NameServer, request))
}

fn open_codes(entries: &[(&str, &str, &str)], fields: &[(&str, &str)]) -> Vec<i32> {
    let guard = guard(&directory(entries));
    let mapped = CODES.filter(|code| is_mapped(Place::NameServer, *code));
    mapped
        .filter(|code| asked(&guard, *code, fields).is_none())
        .collect()
}

#[test]
fn a_forged_cluster_opens_nothing() {
    let all_of_a = [("Cluster:A", "All", "Allow")];
    let forged = [
        ("clusterName", "A"),
        ("cluster", "A"),
        ("brokerName", "b"),
        ("topic", "t"),
    ];
    assert_eq!(open_codes(&all_of_a, &forged), [DELETE_TOPIC_IN_NAMESRV]);
    // Of a field that was sent twice the last one counts, for the handler as well.
    for other in ["B", "", "%RETRY%A"] {
        let twice = [&forged[..], &[("clusterName", other)]].concat();
        assert_eq!(open_codes(&all_of_a, &twice), [0; 0], "{other}");
    }
    assert_eq!(open_codes(&all_of_a, &forged[2..]), [0; 0]);
    let group = [("Group:A", "All", "Allow")];
    let of_group = [("clusterName", "%RETRY%A"), ("topic", "t")];
    assert_eq!(open_codes(&group, &of_group), [0; 0]);
}

#[test]
fn who_may_change_all_clusters_may_do_all_that_changes_some() {
    let changes = [
        PUT_KV_CONFIG,
        DELETE_KV_CONFIG,
        REGISTER_BROKER,
        UNREGISTER_BROKER,
        WIPE_WRITE_PERM_OF_BROKER,
        DELETE_TOPIC_IN_NAMESRV,
        REGISTER_TOPIC_IN_NAMESRV,
        UPDATE_NAMESRV_CONFIG,
        ADD_WRITE_PERM_OF_BROKER,
        BROKER_HEARTBEAT,
    ];
    let mut open = open_codes(&[("Cluster:*", "Update", "Allow")], &[]);
    let mut expected = changes.to_vec();
    open.sort();
    expected.sort();
    assert_eq!(open, expected);
}
