//! A controller is for all clusters: who may do something in one of them may do nothing here.

use super::*;
use crate::auth::needs::is_mapped;
use crate::wire::codes::CONTROLLER_TO_CONTROLLER;
use crate::wire::codes::request::*;

const READS: [i32; 4] = [
    CONTROLLER_GET_REPLICA_INFO,
    CONTROLLER_GET_METADATA_INFO,
    CONTROLLER_GET_SYNC_STATE_DATA,
    GET_CONTROLLER_CONFIG,
];

const CHANGES: [i32; 9] = [
    BROKER_HEARTBEAT,
    CONTROLLER_ALTER_SYNC_STATE_SET,
    CONTROLLER_ELECT_MASTER,
    CONTROLLER_REGISTER_BROKER,
    UPDATE_CONTROLLER_CONFIG,
    CLEAN_BROKER_DATA,
    CONTROLLER_GET_NEXT_BROKER_ID,
    CONTROLLER_APPLY_BROKER_ID,
    CONTROLLER_TO_CONTROLLER,
];

const FIELDS: [(&str, &str); 3] = [("clusterName", "A"), ("brokerName", "b"), ("brokerId", "1")];

fn all_codes() -> impl Iterator<Item = i32> {
    (0..4_000).chain([CONTROLLER_TO_CONTROLLER])
}

/// What a user with these rights may do, in the order of the codes.
fn open_codes(entries: &[(&str, &str, &str)]) -> Vec<i32> {
    let guard = guard(&directory(entries));
    let is_open = |code: &i32| {
        let request = (*code, &FIELDS[..], &b""[..]);
        let visit = &mut Visit::default();
        reason(ask_as(
            &guard,
            visit,
            ("u", "s"),
            Place::Controller,
            request,
        ))
        .is_none()
    };
    all_codes().filter(is_open).collect()
}

#[test]
fn each_code_of_a_controller_has_a_row_and_no_other_has() {
    let mapped = all_codes().filter(|code| is_mapped(Place::Controller, *code));
    let mut expected = [&READS[..], &CHANGES].concat();
    expected.sort();
    assert_eq!(mapped.collect::<Vec<_>>(), expected);
}

#[test]
fn rights_in_one_cluster_open_nothing() {
    assert_eq!(open_codes(&[("Cluster:A", "All", "Allow")]), [0; 0]);
    assert_eq!(open_codes(&[("Topic:*", "All", "Allow")]), [0; 0]);
}

#[test]
fn who_may_read_may_change_nothing() {
    assert_eq!(open_codes(&[("Cluster:*", "Get", "Allow")]), READS);
    assert_eq!(open_codes(&[("Cluster:*", "Update", "Allow")]), CHANGES);
}

/// A broker asks for an election without naming a winner, and from its own address.
#[test]
fn only_an_operator_names_a_winner() {
    let administers = |code, designate: &str| {
        let fields = [
            ("clusterName", "A"),
            ("brokerName", "b"),
            ("brokerId", "1"),
            ("designateElect", designate),
        ];
        with_request(code, &fields, administers_controller)
    };
    assert!(administers(CONTROLLER_ELECT_MASTER, "true"));
    assert!(!administers(CONTROLLER_ELECT_MASTER, "false"));
    assert!(!administers(CONTROLLER_REGISTER_BROKER, "true"));
    assert!(administers(CLEAN_BROKER_DATA, "false"));
    assert!(administers(UPDATE_CONTROLLER_CONFIG, "false"));
}
