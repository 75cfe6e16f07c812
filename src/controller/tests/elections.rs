//! Deaths, and which broker is elected then.

use super::*;

/// The milliseconds until the master is another one than `old`, the others living on.
fn time_to_elect(world: &mut World, old: i64, living: &[i64]) -> u64 {
    let from = world.now_ms;
    while world.group().master == Some(old) {
        assert!(world.now_ms < from + 60_000, "nobody was elected");
        let epoch = world.group().master_epoch;
        if (world.now_ms - from).is_multiple_of(1_000) {
            living.iter().for_each(|id| world.beat(*id, epoch, 100));
        }
        world.pass(50);
    }
    world.now_ms - from
}

#[test]
fn a_closed_connection_elects_at_once() {
    let mut world = World::with_group(3);
    world.controller.connection_closed(11, world.now_ms);
    let due = world.controller.due(&world.agreed, world.now_ms);
    assert_eq!(due.len(), 1);
    assert!(world.agree(&due[0]).is_elected);
    assert_ne!(world.group().master, Some(1));
    assert_eq!(world.group().set.len(), 1);
}

/// RocketMQ's broker is elected as it starts, and sends its first heartbeat later.
#[test]
fn the_first_master_has_the_time_to_send_a_heartbeat() {
    let mut world = World::new(Settings::default());
    let first = world.join();
    assert_eq!(world.elect(first, false).code, response::SUCCESS);
    world.pass(GRACE_MS - 50);
    let elected = (Some(first), 1);
    assert_eq!((world.group().master, world.group().master_epoch), elected);
    world.beat(first, 1, 0);
    world.pass(1_000);
    assert_eq!((world.group().master, world.group().master_epoch), elected);
}

#[test]
fn a_first_master_that_never_sends_a_heartbeat_is_dead() {
    let mut world = World::new(Settings::default());
    let first = world.join();
    assert_eq!(world.elect(first, false).code, response::SUCCESS);
    world.pass(GRACE_MS + 50);
    assert_eq!(world.group().master, None);
}

#[test]
fn a_silent_master_is_replaced_within_the_limit() {
    let mut world = World::with_group(3);
    world.live(&[1, 2, 3], 3);
    let took = time_to_elect(&mut world, 1, &[2, 3]);
    assert!((2_000..=3_200).contains(&took), "{took}");
}

#[test]
fn everybody_alive_is_told_and_nobody_else() {
    let mut world = World::with_group(4);
    world.live(&[1, 2, 3, 4], 2);
    world.controller.connection_closed(14, world.now_ms);
    world.controller.connection_closed(11, world.now_ms);
    world.pass(200);
    let master = world.group().master.unwrap();
    let notices = world.controller.take_notices();
    let told: Vec<_> = notices
        .iter()
        .map(|it| (it.broker_id, it.broker_address.as_str()))
        .collect();
    assert_eq!(told, [(2, "10.0.0.2:10911"), (3, "10.0.0.3:10911")]);
    assert!([2, 3].contains(&master));
    assert!(notices.iter().all(|it| it.master_epoch == 2));
}

#[test]
fn notices_can_be_turned_off() {
    let settings = Settings {
        notify_brokers: false,
        ..Settings::default()
    };
    let mut world = World::with_group_and(2, settings);
    world.controller.connection_closed(11, world.now_ms);
    world.pass(200);
    assert_eq!(world.group().master, Some(2));
    assert!(world.controller.take_notices().is_empty());
}

/// After its return a hung master believes that it still is one: it learns of its loss with its first heartbeat.
#[test]
fn a_returned_master_is_told_at_once_and_causes_no_second_election() {
    let mut world = World::with_group(3);
    world.live(&[1, 2, 3], 3);
    time_to_elect(&mut world, 1, &[2, 3]);
    world.live(&[2, 3], 20);
    let group = world.group().clone();
    world.controller.take_notices();
    world.beat(1, 1, 500);
    let told = world.controller.take_notices();
    assert_eq!(
        told.iter()
            .map(|it| (it.broker_id, it.master_epoch))
            .collect::<Vec<_>>(),
        [(1, 2)]
    );
    world.live(&[1, 2, 3], 130);
    assert_eq!(*world.group(), group);
}

#[test]
fn the_newest_epoch_and_the_longest_log_win() {
    let mut world = World::with_group(4);
    for _ in 0..2 {
        for (id, epoch, offset) in [
            (1, 1, 900),
            (2, 1, 1 << 40),
            (3, 2, 10),
            (4, 2, (1 << 32) + 9),
        ] {
            world.beat(id, epoch, offset);
        }
        world.pass(500);
    }
    world.controller.connection_closed(11, world.now_ms);
    world.pass(200);
    assert_eq!(world.group().master, Some(4));
}

#[test]
fn a_set_of_one_elects_nobody_else() {
    let mut world = World::with_group(2);
    assert_eq!(world.alter(1, 1, 2, &[1]).code, response::SUCCESS);
    world.controller.connection_closed(11, world.now_ms);
    world.live(&[2], 10);
    let group = world.group().clone();
    assert_eq!((group.master, group.master_epoch), (None, 2));
    assert_eq!(group.set, [1].into());
    assert_eq!(
        world.elect(2, false).code,
        response::CONTROLLER_ELECT_MASTER_FAILED
    );
    assert_eq!(
        world.elect(2, true).code,
        response::CONTROLLER_ELECT_MASTER_FAILED
    );
    // The member returns: it is master again, in a new epoch, and is notified of that.
    world.controller.take_notices();
    world.beat(1, 1, 100);
    world.pass(200);
    assert_eq!(
        (world.group().master, world.group().master_epoch),
        (Some(1), 3)
    );
    assert!(
        world
            .controller
            .take_notices()
            .iter()
            .any(|it| it.broker_id == 1 && it.master_epoch == 3)
    );
}

#[test]
fn an_unclean_election_only_if_allowed() {
    let settings = Settings {
        elect_unclean_master: true,
        ..Settings::default()
    };
    let mut world = World::with_group_and(2, settings);
    world.alter(1, 1, 2, &[1]);
    world.controller.connection_closed(11, world.now_ms);
    world.pass(200);
    assert_eq!(world.group().master, Some(2));
}

/// Everybody is gone, then a member that is not the old master comes first: it has all that was acknowledged.
#[test]
fn any_member_that_returns_is_elected() {
    let mut world = World::with_group(3);
    for connection in [11, 12, 13] {
        world.controller.connection_closed(connection, world.now_ms);
    }
    world.pass(1_000);
    assert_eq!(world.group().master, None);
    let epoch = world.group().master_epoch;
    world.pass(60_000);
    assert_eq!(world.group().master_epoch, epoch, "one epoch for one death");
    world.beat(3, 1, 100);
    world.pass(200);
    assert_eq!(world.group().master, Some(3));
}

const LOSSY: [(&str, Value<'static>); 1] = [("ringmqLogLoss", Value::Bool(true))];

/// Its log ends before what it acknowledged (a power cut): another member has it all.
#[test]
fn a_master_that_lost_acknowledged_messages_is_replaced() {
    let mut world = World::with_group(3);
    world.beat_with(1, 1, 50, &LOSSY, 31);
    world.pass(200);
    assert_ne!(world.group().master, Some(1));
    assert_eq!(world.group().master_epoch, 2);
}

#[test]
fn one_that_lost_acknowledged_messages_is_elected_by_an_operator_only() {
    let mut world = World::with_group(2);
    world.controller.connection_closed(12, world.now_ms);
    world.beat_with(1, 1, 50, &LOSSY, 31);
    world.pass(200);
    assert_eq!(world.group().master, None);
    for _ in 0..5 {
        world.beat_with(1, 1, 50, &LOSSY, 31);
        world.pass(1_000);
        assert_eq!(
            world.elect(1, false).code,
            response::CONTROLLER_ELECT_MASTER_FAILED
        );
    }
    assert_eq!(field(&world.register(1, &address(1)), "masterBrokerId"), "");
    // The other one returns and has everything.
    let mut with_other = World {
        agreed: world.agreed.clone(),
        ..World::with_group(2)
    };
    with_other.beat_with(1, 1, 50, &LOSSY, 31);
    with_other.beat(2, 1, 100);
    with_other.pass(200);
    assert_eq!(with_other.group().master, Some(2));
    // It does not return, and the operator knows it.
    world.beat_with(1, 1, 50, &LOSSY, 31);
    assert_eq!(world.elect(1, true).code, response::SUCCESS);
    assert_eq!(world.group().master, Some(1));
}

const ELECTED_NOBODY: i32 = response::CONTROLLER_ELECT_MASTER_FAILED;

const DAMAGED: [(&str, Value<'static>); 1] = [("ringmqLogDamaged", Value::Bool(true))];

#[test]
fn a_broker_that_cannot_read_all_of_its_log_is_not_elected_before_a_whole_one() {
    let mut world = World::with_group(3);
    // Its log is the longest, and its number the lowest.
    world.beat_with(2, 1, 500, &DAMAGED, 12);
    world.beat(3, 1, 100);
    world.controller.connection_closed(11, world.now_ms);
    world.pass(200);
    assert_eq!(world.group().master, Some(3));
    // No other broker is left: what can be read of it is better than nothing.
    world.beat_with(2, 2, 500, &DAMAGED, 12);
    let set_epoch = world.group().set_epoch;
    assert_eq!(
        world.alter(3, 2, set_epoch, &[2, 3]).code,
        response::SUCCESS
    );
    world.controller.connection_closed(13, world.now_ms);
    world.pass(200);
    assert_eq!(world.group().master, Some(2));
}

/// Its heartbeat is late: by when it would be dead, it has either come or is not waited for any more.
#[test]
fn a_whole_member_that_is_silent_is_awaited_before_a_damaged_one_is_elected() {
    for returns in [true, false] {
        let mut world = World::with_group(3);
        // They are heard each second, so one is dead after three, and late after half of that.
        world.live(&[1, 2, 3], 2);
        world.pass(1_600);
        world.beat_with(2, 1, 500, &DAMAGED, 12);
        world.controller.connection_closed(11, world.now_ms);
        world.pass(200);
        assert_eq!(world.elect(2, false).code, ELECTED_NOBODY);
        assert_ne!(world.group().master, Some(2));
        if returns {
            world.beat(3, 1, 100);
        }
        for _ in 0..2 {
            world.pass(700);
            world.beat_with(2, 1, 500, &DAMAGED, 12);
        }
        let expected = if returns { 3 } else { 2 };
        assert_eq!(world.group().master, Some(expected), "{returns}");
    }
}

#[test]
fn mutant_silent_whole_passed() {
    use crate::mutants::{Mutant, fails};
    fails(
        Mutant::SilentWholePassed,
        a_whole_member_that_is_silent_is_awaited_before_a_damaged_one_is_elected,
    );
}

/// After a power cut of all of them.
#[test]
fn of_members_that_may_all_lack_something_the_longest_log_is_elected() {
    let mut world = World::with_group(3);
    for connection in [11, 12, 13] {
        world.controller.connection_closed(connection, world.now_ms);
    }
    world.pass(1_000);
    world.beat_with(1, 1, 100, &DAMAGED, 21);
    world.beat_with(2, 1, 300, &DAMAGED, 22);
    world.beat_with(3, 1, 200, &DAMAGED, 23);
    world.pass(200);
    assert_eq!(world.group().master, Some(2));
}

#[test]
fn a_master_that_cannot_read_all_of_its_log_is_replaced_by_a_whole_member() {
    let mut world = World::with_group(2);
    world.beat_with(1, 1, 100, &DAMAGED, 11);
    world.beat_with(2, 1, 100, &DAMAGED, 12);
    world.pass(1_000);
    assert_eq!(world.group().master, Some(1), "nobody is whole");
    world.beat_with(1, 1, 100, &DAMAGED, 11);
    world.beat(2, 1, 100);
    world.pass(200);
    assert_eq!(
        (world.group().master, world.group().master_epoch),
        (Some(2), 2)
    );
    // It is repaired, and nothing changes.
    world.beat(1, 1, 100);
    world.beat(2, 2, 100);
    world.pass(1_000);
    assert_eq!(
        (world.group().master, world.group().master_epoch),
        (Some(2), 2)
    );
}

#[test]
fn one_outside_the_set_does_not_replace_a_damaged_master() {
    let mut world = World::with_group(2);
    let set_epoch = world.group().set_epoch;
    assert_eq!(world.alter(1, 1, set_epoch, &[1]).code, response::SUCCESS);
    world.beat_with(1, 1, 100, &DAMAGED, 11);
    world.beat(2, 1, 100);
    world.pass(1_000);
    assert_eq!(world.group().master, Some(1));
}

/// What a new leader has not heard yet is no death.
#[test]
fn a_new_controller_leaves_the_masters_where_they_are() {
    let old = World::with_group(3);
    let mut world = World {
        agreed: old.agreed.clone(),
        ..World::new(Settings::default())
    };
    world.controller = Controller::default();
    world.controller.lead(true, world.now_ms);
    let before = world.agreed.clone();
    world.beat(2, 1, 100);
    world.beat(3, 1, 100);
    assert_eq!(
        world.elect(2, false).code,
        response::CONTROLLER_MASTER_STILL_EXIST
    );
    world.pass(1_000);
    // A broker's interval, and the time in which it looks which controllers it reaches.
    world.live(&[2, 3], 3);
    assert_eq!(world.agreed, before);
    world.live(&[1, 2, 3], 10);
    assert_eq!(world.agreed, before);

    // One that is really dead is found when that time is over.
    let mut world = World {
        agreed: before,
        ..World::new(Settings::default())
    };
    world.controller = Controller::default();
    world.controller.lead(true, world.now_ms);
    world.live(&[2, 3], 6);
    assert_ne!(world.group().master, Some(1));
}

#[test]
fn a_follower_proposes_nothing_and_remembers_whom_it_heard() {
    let mut world = World::with_group(2);
    world.controller.lead(false, world.now_ms);
    world.live(&[1, 2], 3);
    world.controller.connection_closed(11, world.now_ms);
    world.pass(2_000);
    world.beat(2, 1, 100);
    assert_eq!(world.group().master, Some(1));
    world.controller.lead(true, world.now_ms);
    world.pass(200);
    assert_eq!(
        world.group().master,
        Some(2),
        "it heard the master's death as a follower"
    );
}

/// Proposed, not yet agreed on: the engine may lose it with its leader, so it is proposed again, but not in every turn.
#[test]
fn a_proposed_election_is_repeated_after_a_while() {
    let mut world = World::with_group(2);
    world.live(&[1, 2], 2);
    world.controller.connection_closed(11, world.now_ms);
    let mut proposed = 0;
    for _ in 0..20 {
        world.now_ms += 100;
        proposed += world.controller.due(&world.agreed, world.now_ms).len();
    }
    assert_eq!(proposed, 2);
}
