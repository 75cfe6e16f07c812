//! Groups of controllers that lose members.

use super::cluster::{Cluster, NAME, ask, plain, until};
use crate::quorum::{ControllerError, read_peers, run};
use crate::wire::Value;
use crate::wire::codes::{request, response};

#[test]
fn the_group_goes_on_without_its_leader_and_loses_nothing() {
    let mut cluster = Cluster::start(3);
    cluster.register(1);
    cluster.register(2);
    let _brokers = [cluster.broker(1), cluster.broker(2)];
    assert_eq!(cluster.elect(1).code, response::SUCCESS);
    until(|| (cluster.alter(1, 1, 1, &[1, 2]).code == response::SUCCESS).then_some(()));
    let agreed = cluster.replica_info();
    assert_eq!((agreed.0, agreed.1), (Some(1), 1));

    for _ in 0..2 {
        let leader = cluster.leader();
        cluster.stop_node(leader);
        assert_ne!(cluster.leader(), leader);
        // Both brokers live: the new leader leaves everything as it is.
        assert_eq!(cluster.replica_info(), agreed);
        cluster.start_node(leader);
    }
    // All at once: what was agreed on is on their disks.
    (0..3).for_each(|id| cluster.stop_node(id));
    (0..3).for_each(|id| cluster.start_node(id));
    assert_eq!(cluster.replica_info(), agreed);
    cluster.register(3);
}

#[test]
fn a_broker_that_dies_is_replaced_also_right_after_a_change_of_the_leader() {
    let mut cluster = Cluster::start(3);
    cluster.register(1);
    cluster.register(2);
    let one = cluster.broker(1);
    let _two = cluster.broker(2);
    assert_eq!(cluster.elect(1).code, response::SUCCESS);
    until(|| (cluster.alter(1, 1, 1, &[1, 2]).code == response::SUCCESS).then_some(()));
    cluster.stop_node(cluster.leader());
    drop(one);
    until(|| (cluster.replica_info().0 == Some(2)).then_some(()));
    let (_, epoch, set) = cluster.replica_info();
    assert_eq!(
        (epoch, set.as_str()),
        (2, "{\"syncStateSet\":[2],\"syncStateSetEpoch\":3}")
    );
}

#[test]
fn without_a_majority_nothing_is_agreed_and_nothing_is_answered() {
    let mut cluster = Cluster::start(3);
    cluster.register(1);
    let leader = cluster.leader();
    let others: Vec<_> = (0..3).filter(|id| *id != leader).collect();
    others.iter().for_each(|id| cluster.stop_node(*id));
    let fields = [("brokerName", Value::Str(NAME))];
    // It may still take itself for the leader: it makes sure before it answers.
    let answer = ask(cluster.addresses[leader], 1004, &fields, b"").unwrap();
    assert_eq!(answer.code, response::CONTROLLER_NOT_LEADER, "{answer:?}");
    others.iter().for_each(|id| cluster.start_node(*id));
    cluster.register(2);
}

/// So many changes that a snapshot replaces the beginning of the log: one that was away gets it, and starts with it.
#[test]
fn one_that_was_away_for_long_gets_a_snapshot() {
    let mut cluster = Cluster::start(3);
    cluster.register(1);
    cluster.register(2);
    let _brokers = [cluster.broker(1), cluster.broker(2)];
    assert_eq!(cluster.elect(1).code, response::SUCCESS);
    until(|| (cluster.alter(1, 1, 1, &[1, 2]).code == response::SUCCESS).then_some(()));
    let away = (0..3).find(|id| *id != cluster.leader()).unwrap();
    cluster.stop_node(away);
    let mut set_epoch = 2;
    while set_epoch < 1_500 {
        let set: &[i64] = if set_epoch % 2 == 0 { &[1] } else { &[1, 2] };
        let answer = cluster.alter(1, 1, set_epoch, set);
        set_epoch += i32::from(answer.code == response::SUCCESS);
        if answer.code == response::CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH {
            set_epoch += 1;
        }
    }
    let agreed = cluster.replica_info();
    cluster.start_node(away);
    until(|| {
        std::fs::exists(cluster.dir(away).join("snapshot"))
            .unwrap()
            .then_some(())
    });
    // It and one other are a majority: it has everything.
    let other = (0..3).find(|id| *id != away).unwrap();
    cluster.stop_node(other);
    assert_eq!(cluster.replica_info(), agreed);
    (0..3)
        .filter(|id| *id != other)
        .for_each(|id| cluster.stop_node(id));
    (0..3).for_each(|id| cluster.start_node(id));
    assert_eq!(cluster.replica_info(), agreed);
}

/// What two of three agreed on is lost if the one that lost its disk elects the one that was away.
#[test]
fn one_that_lost_its_disk_does_not_vote_before_it_has_what_was_agreed_on() {
    let mut cluster = Cluster::start(3);
    cluster.register(1);
    let leader = cluster.leader();
    let (away, wiped) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.stop_node(away);
    cluster.register(2);
    cluster.stop_node(leader);
    cluster.stop_node(wiped);
    for name in ["journal", "snapshot"] {
        let _ = std::fs::remove_file(cluster.dir(wiped).join(name));
    }
    cluster.start_node(wiped);
    cluster.start_node(away);
    // Time enough for several elections, of which none may succeed.
    std::thread::sleep(std::time::Duration::from_secs(4));
    cluster.start_node(leader);
    let next = [
        ("clusterName", Value::Str("c")),
        ("brokerName", Value::Str(NAME)),
    ];
    let answer = cluster.ask(request::CONTROLLER_GET_NEXT_BROKER_ID, &next, b"");
    assert_eq!(answer.field("nextBrokerId"), Some("3"), "{answer:?}");
    // Filled again, it counts again.
    until(|| (!std::fs::exists(cluster.dir(wiped).join("joining")).unwrap()).then_some(()));
    cluster.stop_node(away);
    cluster.register(3);
}

/// Entries were written by leaders of a group that is only beginning, and none was agreed on: with any next leader the group begins.
#[test]
fn a_group_begins_with_any_first_leader() {
    for _ in 0..5 {
        let mut cluster = Cluster::start(3);
        let first = cluster.leader();
        cluster.stop_node(first);
        cluster.start_node(first);
        cluster.register(1);
    }
}

#[test]
fn a_store_of_others_is_not_taken() {
    let mut cluster = Cluster::start(1);
    cluster.register(1);
    let in_use = run(cluster.setup(0), plain(), std::future::pending(), |_| ());
    assert!(
        matches!(in_use, Err(ControllerError::InUse { .. })),
        "{in_use:?}"
    );
    cluster.stop_node(0);
    let mut setup = cluster.setup(0);
    setup.peers.extend(read_peers("n7-127.0.0.1:1").unwrap());
    let other = run(setup, plain(), std::future::pending(), |_| ());
    assert!(
        matches!(other, Err(ControllerError::OtherGroup { .. })),
        "{other:?}"
    );
    std::fs::create_dir(cluster.dir(0).join("dledger-n0")).unwrap();
    let foreign = run(cluster.setup(0), plain(), std::future::pending(), |_| ());
    assert!(
        matches!(foreign, Err(ControllerError::Foreign { .. })),
        "{foreign:?}"
    );
}

#[test]
fn changed_settings_are_kept() {
    let mut cluster = Cluster::start(1);
    let text = b"enableElectUncleanMaster=true\n";
    assert_eq!(
        cluster
            .ask(request::UPDATE_CONTROLLER_CONFIG, &[], text)
            .code,
        response::SUCCESS
    );
    cluster.stop_node(0);
    cluster.start_node(0);
    let shown = cluster.ask(request::GET_CONTROLLER_CONFIG, &[], b"");
    let shown = String::from_utf8(shown.body).unwrap();
    assert!(
        shown.contains("enableElectUncleanMaster=true\n")
            && shown.contains("controllerDLegerSelfId=n0\n"),
        "{shown}"
    );
}
