//! Requests, one by one.

use super::*;

#[test]
fn only_the_leader_answers_but_for_what_every_controller_knows() {
    let mut world = World::with_group(1);
    world.standing.is_leader = false;
    let all = [1001, 1002, 1003, 1004, 1005, 1006, 1010, 1011, 1012, 1013];
    for code in all {
        let reply = world.ask(code, &[], b"");
        let expected = match code {
            request::CONTROLLER_GET_METADATA_INFO | request::GET_CONTROLLER_CONFIG => {
                response::SUCCESS
            }
            _ => response::CONTROLLER_NOT_LEADER,
        };
        assert_eq!(reply.code, expected, "{code}");
        assert_eq!(
            needs_leader(code),
            expected == response::CONTROLLER_NOT_LEADER,
            "{code}"
        );
    }
    world.beat(1, 1, 1);
}

#[test]
fn an_unknown_request_and_missing_fields_are_answered() {
    let mut world = World::with_group(1);
    assert_eq!(
        world.ask(11, &[], b"").code,
        response::REQUEST_CODE_NOT_SUPPORTED
    );
    for code in [904, 1001, 1002, 1003, 1004, 1006, 1011, 1012, 1013] {
        assert_eq!(
            world.ask(code, &[], b"").code,
            response::SYSTEM_ERROR,
            "{code}"
        );
    }
    let broken = [
        ("brokerName", Value::Str(NAME)),
        ("masterBrokerId", Value::I64(1)),
        ("masterEpoch", Value::I64(1)),
    ];
    assert_eq!(
        world.ask(1001, &broken, b"{\"syncStateSet\":[").code,
        response::SYSTEM_ERROR
    );
    assert_eq!(world.ask(1006, &[], b"{").code, response::SYSTEM_ERROR);
}

#[test]
fn an_unknown_name_is_refused_with_rocketmqs_codes() {
    let mut world = World::with_group(1);
    let name = [("brokerName", Value::Str("nobody"))];
    let of_master = [
        &name[..],
        &[
            ("masterBrokerId", Value::I64(1)),
            ("masterEpoch", Value::I64(1)),
        ],
    ]
    .concat();
    let broker = [
        &name[..],
        &[
            ("clusterName", Value::Str(CLUSTER)),
            ("brokerId", Value::I64(1)),
            ("brokerAddress", Value::Str("x")),
        ],
    ]
    .concat();
    for (code, fields, expected) in [
        (
            1004,
            &name[..],
            response::CONTROLLER_BROKER_METADATA_NOT_EXIST,
        ),
        (
            1001,
            &of_master,
            response::CONTROLLER_ALTER_SYNC_STATE_SET_FAILED,
        ),
        (
            1002,
            &broker,
            response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED,
        ),
        (
            1003,
            &broker,
            response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED,
        ),
        (
            1011,
            &name,
            response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA,
        ),
    ] {
        assert_eq!(world.ask(code, fields, b"{}").code, expected, "{code}");
    }
    assert_eq!(
        world.register(9, "x").code,
        response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED
    );
    assert_eq!(
        world.elect(9, false).code,
        response::CONTROLLER_ELECT_MASTER_FAILED
    );
}

#[test]
fn a_registration_names_the_master_while_it_lives() {
    let mut world = World::with_group(2);
    let reply = world.register(2, &address(2));
    assert_eq!(
        (
            field(&reply, "masterBrokerId"),
            field(&reply, "masterEpoch")
        ),
        ("1".into(), "1".into())
    );
    world.alter(1, 1, 2, &[1]);
    world.controller.connection_closed(11, world.now_ms);
    let reply = world.register(2, &address(2));
    assert_eq!(
        (reply.code, field(&reply, "masterBrokerId")),
        (0, String::new())
    );
}

/// A pod that comes back with another address is the same replica, and what still sends from the former one is not.
#[test]
fn an_address_changes_and_the_id_stays() {
    let mut world = World::with_group(2);
    world.controller.connection_closed(12, world.now_ms);
    let reply = world.register(2, "10.0.0.99:10911");
    assert_eq!(reply.code, response::SUCCESS);
    assert_eq!(world.group().address(2), Some("10.0.0.99:10911"));
    assert_eq!(world.group().replicas.len(), 2);
    world.beat(2, 1, 100);
    let table = world.sync_state_data().replicas_info_table;
    assert_eq!(table.keys().collect::<Vec<_>>(), [NAME]);
    assert!(
        table[NAME]
            .in_sync_replicas
            .iter()
            .all(|it| it.alive == (it.broker_id == 1))
    );
}

/// While the replica's heartbeats come, another one with its identity is refused: both would write as the same replica.
#[test]
fn a_copy_of_a_living_broker_is_refused_and_takes_a_dead_ones_place() {
    let mut world = World::with_group(2);
    let reply = world.register(2, "10.0.0.99:10911");
    assert_eq!(reply.code, response::CONTROLLER_INVALID_REQUEST);
    let remark = reply.remark.as_deref().unwrap_or_default();
    assert!(remark.contains("same brokerIdentity"), "{remark}");
    assert_eq!(world.group().address(2), Some(&*address(2)));
    world.pass(60_000);
    let reply = world.register(2, "10.0.0.99:10911");
    assert_eq!(reply.code, response::SUCCESS, "it was silent for too long");
}

#[test]
fn a_heartbeat_needs_an_id_and_a_registered_one() {
    let mut world = World::with_group(1);
    let fields = [
        ("clusterName", Value::Str(CLUSTER)),
        ("brokerName", Value::Str(NAME)),
        ("brokerAddr", Value::Str("x")),
    ];
    assert_eq!(
        world.ask(904, &fields, b"").code,
        response::CONTROLLER_INVALID_REQUEST
    );
    let strangers = ["a", "b", "c"].map(|name| {
        [
            ("brokerName", Value::Str(name)),
            ("clusterName", Value::Str("x")),
            ("brokerAddr", Value::Str("x")),
            ("brokerId", Value::I64(7)),
        ]
    });
    for fields in strangers {
        assert_eq!(world.ask(904, &fields, b"").code, response::SUCCESS);
    }
    assert_eq!(
        format!("{:?}", world.controller.live)
            .matches("heard_ms")
            .count(),
        1,
        "of strangers nothing is kept"
    );
}

#[test]
fn a_dead_member_enters_no_set() {
    let mut world = World::with_group(3);
    world.alter(1, 1, 2, &[1]);
    world.controller.connection_closed(13, world.now_ms);
    assert_eq!(
        world.alter(1, 1, 3, &[1, 3]).code,
        response::CONTROLLER_BROKER_NOT_ALIVE
    );
    assert_eq!(world.alter(1, 1, 3, &[1, 2]).code, response::SUCCESS);
    let reply = world.alter(1, 1, 4, &[1]);
    assert_eq!(field(&reply, "newSyncStateSetEpoch"), "5");
    let many: Vec<i64> = (1..100).collect();
    assert_eq!(
        world.alter(1, 1, 5, &many).code,
        response::CONTROLLER_INVALID_REPLICAS
    );
}

#[test]
fn an_operator_moves_the_master() {
    let mut world = World::with_group(3);
    let reply = world.elect(3, true);
    assert_eq!(
        (reply.code, field(&reply, "masterBrokerId")),
        (0, "3".into())
    );
    assert_eq!(world.controller.take_notices().len(), 3);
    assert_eq!(
        world.elect(3, true).code,
        response::CONTROLLER_MASTER_STILL_EXIST
    );
    // The set is the new master alone now.
    assert_eq!(
        world.elect(2, true).code,
        response::CONTROLLER_ELECT_MASTER_FAILED
    );
}

#[test]
fn the_living_are_not_removed_by_mistake() {
    let mut world = World::with_group(3);
    world.controller.connection_closed(13, world.now_ms);
    for (ids, even_living, expected) in [
        (
            "",
            false,
            response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA,
        ),
        (
            "2",
            false,
            response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA,
        ),
        (
            "3;x",
            false,
            response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA,
        ),
        ("3", false, response::SUCCESS),
        ("2", true, response::SUCCESS),
    ] {
        assert_eq!(
            world.clean(ids, even_living).code,
            expected,
            "{ids:?} {even_living}"
        );
    }
    // RocketMQ removes the whole group when the living may be removed, whatever the ids.
    assert_eq!(world.group().replicas.keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(world.clean("", true).code, response::SUCCESS);
    assert_eq!(world.agreed.group(NAME), None);
}

#[test]
fn settings_change_and_are_shown() {
    let mut world = World::new(Settings::default());
    world.standing.fixed_settings = "controllerDLegerSelfId=n0\n".into();
    let update = super::request(
        request::UPDATE_CONTROLLER_CONFIG,
        &[],
        b"notifyBrokerRoleChanged=false\n",
    );
    let Step::Keep { text, reply } = world.step(&update, 0) else {
        panic!("not kept");
    };
    assert!(text.contains("notifyBrokerRoleChanged=false\n") && reply.code == response::SUCCESS);
    let shown = world.ask(request::GET_CONTROLLER_CONFIG, &[], b"");
    let shown = String::from_utf8(shown.body).unwrap();
    assert!(
        shown.starts_with("controllerDLegerSelfId=n0\n")
            && shown.contains("notifyBrokerRoleChanged=false\n")
    );
    let wrong = world.ask(
        request::UPDATE_CONTROLLER_CONFIG,
        &[],
        b"scanNotActiveBrokerInterval=x\n",
    );
    assert_eq!(wrong.code, response::SYSTEM_ERROR);
}
