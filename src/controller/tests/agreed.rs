use super::*;

fn apply_id(agreed: &mut Agreed, name: &str, id: i64, code: &str) -> Applied {
    agreed.apply(&Command::ApplyId {
        cluster: "c".into(),
        name: name.into(),
        id,
        check_code: code.into(),
        address: format!("host-{code}:1"),
    })
}

fn elect(agreed: &mut Agreed, asked: AskedBy, candidates: &[i64]) -> Applied {
    agreed.apply(&Command::Elect {
        name: "a".into(),
        asked,
        candidates: candidates.to_vec(),
        unclean: false,
    })
}

fn clean(agreed: &mut Agreed, ids: Option<&[i64]>) -> Applied {
    agreed.apply(&Command::Clean {
        name: "a".into(),
        ids: ids.map(|ids| ids.iter().copied().collect()),
    })
}

/// Brokers 1 to 3, of which 1 is the master and 1 and 2 are in the set.
fn agreed() -> Agreed {
    let mut agreed = Agreed::default();
    for id in 1..=3 {
        assert!(apply_id(&mut agreed, "a", id, &id.to_string()).is_ok());
    }
    assert!(elect(&mut agreed, AskedBy::Broker(1), &[]).is_ok());
    assert!(agreed.apply(&alter(&[1, 2], &[1, 2])).is_ok());
    agreed
}

fn alter(set: &[i64], live: &[i64]) -> Command {
    Command::AlterSet {
        name: "a".into(),
        master: 1,
        master_epoch: 1,
        set_epoch: 1,
        set: set.iter().copied().collect(),
        live: live.iter().copied().collect(),
    }
}

#[test]
fn an_id_goes_to_one_broker() {
    let mut agreed = Agreed::default();
    assert_eq!(
        apply_id(&mut agreed, "a", 2, "x").code,
        CONTROLLER_BROKER_ID_INVALID
    );
    assert!(apply_id(&mut agreed, "a", 1, "x").is_ok());
    // The reply was lost: the same broker asks again.
    assert!(apply_id(&mut agreed, "a", 1, "x").is_ok());
    assert_eq!(
        apply_id(&mut agreed, "a", 1, "y").code,
        CONTROLLER_BROKER_ID_INVALID
    );
    assert_eq!(agreed.next_id("a"), 2);
    assert!(apply_id(&mut agreed, "a", 2, "y").is_ok());
    assert_eq!(
        apply_id(&mut agreed, "a", 9, "z").code,
        CONTROLLER_BROKER_ID_INVALID
    );
    assert_eq!(agreed.group("a").unwrap().replicas.len(), 2);
}

#[test]
fn no_id_and_no_epoch_comes_back_when_all_brokers_are_removed() {
    let mut agreed = agreed();
    let before = agreed.group("a").unwrap().clone();
    assert!(clean(&mut agreed, None).is_ok());
    assert_eq!(agreed.group("a"), None);
    assert_eq!(agreed.groups().count(), 0);
    assert_eq!(agreed.next_id("a"), 4);
    assert_eq!(
        apply_id(&mut agreed, "a", 1, "x").code,
        CONTROLLER_BROKER_ID_INVALID
    );
    assert!(apply_id(&mut agreed, "a", 4, "x").is_ok());
    let elected = elect(&mut agreed, AskedBy::Broker(4), &[]).group.unwrap();
    assert_eq!(elected.master, Some(4));
    assert!(elected.master_epoch > before.master_epoch && elected.set_epoch > before.set_epoch);
}

#[test]
fn a_removed_master_leaves_no_master_and_new_epochs() {
    let mut agreed = agreed();
    let group = clean(&mut agreed, Some(&[1])).group.unwrap();
    assert_eq!((group.master, group.master_epoch), (None, 2));
    assert_eq!((group.set.len(), group.set_epoch), (1, 3));
    // Without a member only an operator can say whose log is to count.
    clean(&mut agreed, Some(&[2]));
    assert_eq!(
        elect(&mut agreed, AskedBy::Broker(3), &[3]).code,
        CONTROLLER_ELECT_MASTER_FAILED
    );
    assert!(elect(&mut agreed, AskedBy::Operator(3), &[3]).is_ok());
    assert_eq!(
        clean(&mut agreed, Some(&[7])).group.unwrap().replicas.len(),
        1
    );
}

#[test]
fn a_set_is_judged_in_rocketmqs_order() {
    let is = |change: fn(&mut Command), expected: i32| {
        let mut command = alter(&[1, 2, 3], &[1, 2, 3]);
        if let Command::AlterSet { set_epoch, .. } = &mut command {
            *set_epoch = 2;
        }
        change(&mut command);
        assert_eq!(agreed().apply(&command).code, expected, "{command:?}");
    };
    macro_rules! with {
        ($($field:ident = $value:expr),*) => {
            |command| {
                if let Command::AlterSet { $($field,)* .. } = command { $(*$field = $value;)* }
            }
        };
    }
    is(|_| (), SUCCESS);
    // Each also has every later fault.
    is(
        with!(name = "b".into(), master = 9),
        CONTROLLER_ALTER_SYNC_STATE_SET_FAILED,
    );
    is(
        with!(set = [1, 2].into(), master = 9),
        CONTROLLER_ALTER_SYNC_STATE_SET_FAILED,
    );
    is(
        with!(master = 2, master_epoch = 9),
        CONTROLLER_INVALID_MASTER,
    );
    is(
        with!(master_epoch = 9, set_epoch = 9),
        CONTROLLER_FENCED_MASTER_EPOCH,
    );
    is(
        with!(set_epoch = 1, set = [7].into()),
        CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH,
    );
    is(with!(set = [2, 7].into()), CONTROLLER_INVALID_REPLICAS);
    is(
        with!(set = [2, 3].into(), live = [2].into()),
        CONTROLLER_BROKER_NOT_ALIVE,
    );
    is(
        with!(set = [2, 3].into()),
        CONTROLLER_ALTER_SYNC_STATE_SET_FAILED,
    );
}

/// The reply was lost: the repeated request changes nothing.
#[test]
fn a_set_that_is_altered_twice_changes_once() {
    let mut agreed = agreed();
    let before = agreed.clone();
    let again = agreed.apply(&alter(&[1, 2], &[1, 2]));
    assert_eq!(again.code, CONTROLLER_ALTER_SYNC_STATE_SET_FAILED);
    assert_eq!(agreed, before);
}

#[test]
fn the_old_master_stays_while_it_lives() {
    let mut agreed = agreed();
    let before = agreed.clone();
    for asked in [
        AskedBy::Anyone,
        AskedBy::Broker(2),
        AskedBy::Operator(1),
        AskedBy::Controller { master_epoch: 1 },
    ] {
        let applied = elect(&mut agreed, asked, &[2, 1]);
        assert_eq!(applied.code, CONTROLLER_MASTER_STILL_EXIST, "{asked:?}");
        assert_eq!(applied.group.unwrap().master, Some(1));
    }
    assert_eq!(agreed, before);
}

#[test]
fn only_a_live_member_is_elected() {
    for (candidates, winner) in [
        (vec![3, 2], Some(2)),
        (vec![3], None),
        (vec![], None),
        (vec![9], None),
    ] {
        let mut agreed = agreed();
        let applied = elect(
            &mut agreed,
            AskedBy::Controller { master_epoch: 1 },
            &candidates,
        );
        let group = applied.group.unwrap();
        assert_eq!(
            (group.master, group.master_epoch),
            (winner, 2),
            "{candidates:?}"
        );
        assert_eq!(applied.is_elected, winner.is_some());
        let (set, set_epoch) = if winner.is_some() {
            (vec![2], 3)
        } else {
            (vec![1, 2], 2)
        };
        assert_eq!(
            (group.set.into_iter().collect::<Vec<_>>(), group.set_epoch),
            (set, set_epoch)
        );
    }
    let mut agreed = agreed();
    assert_eq!(
        elect(&mut agreed, AskedBy::Operator(3), &[3, 2]).code,
        CONTROLLER_ELECT_MASTER_FAILED
    );
    assert_eq!(
        elect(&mut agreed, AskedBy::Operator(2), &[1]).code,
        CONTROLLER_ELECT_MASTER_FAILED
    );
    assert_eq!(
        elect(&mut agreed, AskedBy::Operator(9), &[9]).code,
        CONTROLLER_ELECT_MASTER_FAILED
    );
    assert_eq!(
        elect(&mut agreed, AskedBy::Operator(2), &[1, 2])
            .group
            .unwrap()
            .master,
        Some(2)
    );
}

#[test]
fn one_outside_the_set_is_elected_only_when_that_is_allowed_and_nobody_inside_lives() {
    let unclean = |candidates: &[i64]| {
        let command = Command::Elect {
            name: "a".into(),
            asked: AskedBy::Controller { master_epoch: 1 },
            candidates: candidates.to_vec(),
            unclean: true,
        };
        agreed().apply(&command).group.unwrap().master
    };
    assert_eq!(unclean(&[3, 2]), Some(2));
    assert_eq!(unclean(&[3]), Some(3));
    assert_eq!(unclean(&[9]), None);
}

/// Two elections of one dead master were proposed: the second is out of date.
#[test]
fn an_election_is_of_the_epoch_that_was_seen() {
    let mut agreed = agreed();
    let asked = AskedBy::Controller { master_epoch: 1 };
    assert!(elect(&mut agreed, asked, &[2]).is_elected);
    let before = agreed.clone();
    assert!(!elect(&mut agreed, asked, &[]).is_elected);
    assert_eq!(agreed, before);
}

#[test]
fn a_broker_of_another_cluster_gets_no_id_here() {
    let mut agreed = agreed();
    let foreign = Command::ApplyId {
        cluster: "d".into(),
        name: "a".into(),
        id: 4,
        check_code: "x".into(),
        address: "x".into(),
    };
    assert_eq!(agreed.apply(&foreign).code, CONTROLLER_BROKER_ID_INVALID);
}

#[test]
fn nothing_grows_without_bound() {
    let mut agreed = Agreed::default();
    for id in 1..=MAX_REPLICAS as i64 {
        assert!(apply_id(&mut agreed, "a", id, &id.to_string()).is_ok());
    }
    assert!(!apply_id(&mut agreed, "a", MAX_REPLICAS as i64 + 1, "x").is_ok());
    for number in 1..MAX_GROUPS {
        assert!(apply_id(&mut agreed, &format!("b{number}"), 1, "x").is_ok());
    }
    assert!(!apply_id(&mut agreed, "one too many", 1, "x").is_ok());
    assert!(!apply_id(&mut agreed, "b1", 2, &"x".repeat(MAX_TEXT_BYTES + 1)).is_ok());
    let long = Command::SetAddress {
        name: "a".into(),
        id: 1,
        address: "x".repeat(MAX_TEXT_BYTES + 1),
    };
    assert!(!agreed.apply(&long).is_ok());
}

#[test]
fn epochs_end_instead_of_wrapping() {
    let mut agreed = agreed();
    agreed.groups.get_mut("a").unwrap().master_epoch = i32::MAX;
    let before = agreed.clone();
    let asked = AskedBy::Controller {
        master_epoch: i32::MAX,
    };
    assert_eq!(elect(&mut agreed, asked, &[2]).code, SYSTEM_ERROR);
    assert_eq!(agreed, before);
    assert_eq!(clean(&mut agreed, Some(&[1])).code, SYSTEM_ERROR);
    assert_eq!(agreed, before);
}

#[test]
fn a_snapshot_is_the_whole_state() {
    use crate::controller::snapshot::{SnapshotError, decode, encode};
    let mut removed = agreed();
    clean(&mut removed, None);
    for state in [Agreed::default(), agreed(), removed] {
        let bytes = encode(&state);
        assert_eq!(decode(&bytes), Ok(state));
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err());
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(decode(&bad).is_err(), "byte {at}");
        }
    }
    let mut newer = encode(&agreed());
    newer[11] = 2;
    assert_eq!(decode(&newer), Err(SnapshotError::Version { got: 2 }));
}
