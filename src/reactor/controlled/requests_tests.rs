//! What RocketMQ's own brokers 5.5.0 asked its controller, and what that answered (`tests/golden/controller`).

use std::collections::BTreeMap;

use super::*;
use crate::wire::{Scratch, frame, header};

/// A recorded frame: its code, fields and body.
fn recorded(name: &str) -> (i32, BTreeMap<String, String>, Vec<u8>) {
    let path = format!(
        "{}/tests/golden/controller/{name}.bin",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(&path).unwrap();
    let frame = frame::split(&bytes).unwrap().unwrap();
    let mut scratch = Scratch::default();
    let header = header::decode(&frame, &mut scratch).unwrap();
    let ext = header.ext.iter();
    let ext = ext.map(|(name, value)| (name.to_owned(), value.to_owned()));
    (header.code, ext.collect(), frame.body.to_vec())
}

fn reply(name: &str) -> exchange::Answer {
    let path = format!(
        "{}/tests/golden/controller/{name}.rep.bin",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(&path).unwrap();
    let frame = frame::split(&bytes).unwrap().unwrap();
    let mut scratch = Scratch::default();
    let header = header::decode(&frame, &mut scratch).unwrap();
    exchange::Answer::of(&header, frame.body)
}

fn group() -> GroupName {
    GroupName {
        cluster: "DefaultCluster".into(),
        broker_name: "broker-a".into(),
    }
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], port))
}

fn set(members: impl IntoIterator<Item = i64>, epoch: i32) -> SyncStateSet {
    SyncStateSet {
        members: members.into_iter().collect(),
        epoch,
    }
}

#[test]
fn questions_are_those_of_rocketmqs_brokers() {
    let claim = Claim {
        id: 1,
        check_code: "127.0.0.2:30911;1795921975442".into(),
    };
    let alter = Ask::Alter {
        master: 1,
        master_epoch: 1,
        set: set([1, 2], 1),
    };
    for (ask, name) in [
        (Ask::Leader, "metadata"),
        (Ask::KnowsLoss, "config"),
        (Ask::NextId, "next_broker_id"),
        (Ask::Apply(claim), "apply_broker_id"),
        (Ask::Register(1), "register_without_master"),
        (Ask::Elect(1), "elect_first"),
        (Ask::Decision, "replica_info"),
        (alter, "alter_sync_state_set"),
    ] {
        let (code, ext, body) = request_of(&ask, &group(), addr(30911));
        let ext: BTreeMap<_, _> = ext
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    Field::Text(text) => text.clone(),
                    Field::Number(number) => number.to_string(),
                    Field::Is(is) => is.to_string(),
                };
                ((*name).to_owned(), value)
            })
            .collect();
        let (expected_code, mut expected, expected_body) = recorded(&format!("{name}.req"));
        // The other end does not read it.
        expected.remove("invokeTime");
        assert_eq!((code, ext), (expected_code, expected), "{name}");
        assert_eq!(body, expected_body, "{name}");
    }
}

#[test]
fn answers_of_rocketmqs_controller_are_understood() {
    let master = Some(Master {
        id: 1,
        addr: addr(30911),
    });
    let decision = Decision {
        master,
        epoch: 1,
        set: set([1], 1),
    };
    let leader = Answer::Leader {
        is_leader: true,
        leader: Some(addr(29878)),
    };
    let alter = Ask::Alter {
        master: 1,
        master_epoch: 1,
        set: set([1, 2], 1),
    };
    let claim = Claim {
        id: 1,
        check_code: String::new(),
    };
    for (ask, name, expected) in [
        (Ask::Leader, "metadata", leader),
        (Ask::KnowsLoss, "config", Answer::KnowsLoss(false)),
        (Ask::NextId, "next_broker_id", Answer::NextId(1)),
        (Ask::Apply(claim), "apply_broker_id", Answer::Applied),
        (
            Ask::Register(1),
            "register_without_master",
            Answer::Registered(None),
        ),
        (
            Ask::Register(2),
            "register_with_master",
            Answer::Registered(Some(decision.clone())),
        ),
        (
            Ask::Elect(1),
            "elect_first",
            Answer::Elected(decision.clone()),
        ),
        (Ask::Decision, "replica_info", Answer::Decision(decision)),
        (
            alter,
            "alter_sync_state_set",
            Answer::Altered(set([1, 2], 2)),
        ),
    ] {
        assert_eq!(read(&ask, &reply(name)), Ok(expected), "{name}");
    }
    let failed = read(&Ask::Elect(1), &reply("elect_failed"));
    assert!(matches!(
        failed,
        Err(Failure::Refused(Refusal::Other, text)) if text.contains("Failed to elect")
    ));
}

#[test]
fn an_old_master_that_stays_is_an_election() {
    let mut stays = reply("elect_first");
    stays.code = response::CONTROLLER_MASTER_STILL_EXIST;
    assert!(matches!(
        read(&Ask::Elect(1), &stays),
        Ok(Answer::Elected(_))
    ));
    assert!(read(&Ask::Decision, &stays).is_err());
}

#[test]
fn our_controller_knows_about_losses() {
    let mut config = reply("config");
    config.body = crate::controller::Settings::default()
        .properties_text()
        .into_bytes();
    assert_eq!(read(&Ask::KnowsLoss, &config), Ok(Answer::KnowsLoss(true)));
}

#[test]
fn an_answer_that_makes_no_sense_is_an_error() {
    let mut wrong = reply("replica_info");
    wrong.body = b"{".to_vec();
    assert!(matches!(
        read(&Ask::Decision, &wrong),
        Err(Failure::Refused(Refusal::Other, _))
    ));
    let empty = exchange::Answer::default();
    for ask in [Ask::NextId, Ask::Decision, Ask::Elect(1)] {
        assert!(read(&ask, &empty).is_err(), "{ask:?}");
    }
}
