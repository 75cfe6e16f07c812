//! A number, the leading controller, the role.

use super::*;

#[test]
fn a_number_is_in_its_file_before_it_is_used() {
    let mut broker = Broker::new(None, None);
    assert_eq!(broker.asked(), Ask::Leader);
    broker.leads();
    assert_eq!(broker.asked(), Ask::NextId);
    let saves = broker.answer(Answer::NextId(1));
    assert_eq!(saves, [Action::SaveClaim(claim())]);
    assert_eq!(broker.after(10_000), [], "not before it is saved");
    broker.manager.saved(Ok(()), broker.now_ns);
    assert_eq!(broker.asked(), Ask::Apply(claim()));
    let saves = broker.answer(Answer::Applied);
    assert_eq!(saves, [Action::SaveIdentity(1)]);
    assert_eq!(broker.after(10_000), []);
    broker.manager.saved(Ok(()), broker.now_ns);
    assert_eq!(broker.asked(), Ask::Register(1));
    assert_eq!(
        beats(&broker.after(3_000)),
        0,
        "not before it is registered"
    );
}

#[test]
fn a_claim_that_was_saved_is_repeated() {
    let mut broker = Broker::new(None, Some(claim()));
    broker.asked();
    broker.leads();
    assert_eq!(broker.asked(), Ask::Apply(claim()));
    broker.does_not_answer();
    broker.asked();
    broker.leads();
    assert_eq!(broker.asked(), Ask::Apply(claim()), "the same number");
    broker.refuses(Refusal::IdTaken);
    let refused_ns = broker.now_ns;
    assert_eq!(broker.asked(), Ask::NextId);
    // Of brokers that start together all but one are refused each time.
    assert!(broker.now_ns - refused_ns <= 100 * MS);
}

#[test]
fn the_leader_is_looked_for_at_all_controllers() {
    let mut broker = Broker::new(Some(1), None);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let ask = broker.asked();
        assert_eq!(ask, Ask::Leader);
        if let Some(Busy::Asking(_, to)) = &broker.manager.busy {
            asked.push(to.port());
        }
        broker.answer(Answer::Leader {
            is_leader: false,
            leader: None,
        });
    }
    assert_eq!(asked, [9878, 9868, 9878, 9868]);
    broker.asked();
    broker.answer(Answer::Leader {
        is_leader: false,
        leader: Some(addr(9868)),
    });
    assert_eq!(broker.asked(), Ask::Register(1));
    assert_eq!(broker.manager.leader, Some(addr(9868)));
    broker.refuses(Refusal::NotLeader);
    assert_eq!(broker.asked(), Ask::Leader);
}

#[test]
fn without_a_master_it_offers_itself() {
    let (mut broker, actions) = Broker::registered(Facts::default(), None);
    assert!(actions.is_empty());
    assert_eq!(beats(&broker.poll()), 1, "the controller knows it as alive");
    broker.manager.busy = None;
    assert_eq!(broker.asked(), Ask::Elect(1));
    let actions = broker.answer(Answer::Elected(decision(Some(1), 1)));
    let role = Role::Master {
        epoch: 1,
        set: set([1], 1),
    };
    assert!(takes(&actions, &role), "{actions:?}");
}

#[test]
fn an_election_that_fails_is_asked_for_again() {
    let (mut broker, _) = Broker::registered(Facts::default(), None);
    assert_eq!(broker.asked(), Ask::Elect(1));
    broker.refuses(Refusal::Other);
    assert_eq!(broker.asked(), Ask::Decision);
    broker.decides(decision(None, 4));
    assert_eq!(broker.asked(), Ask::Elect(1));
}

#[test]
fn only_a_newer_epoch_changes_the_role() {
    let mut broker = Broker::master();
    assert!(
        broker
            .notified(decision(Some(2), 2))
            .iter()
            .all(|action| !matches!(action, Action::TakeRole { .. }))
    );
    let actions = broker.notified(decision(Some(2), 4));
    assert!(takes(&actions, &slave(4, Some(2))));
    assert_eq!(broker.notified(decision(Some(2), 4)), [], "once");
    let actions = broker.notified(decision(Some(3), 5));
    assert!(takes(&actions, &slave(5, Some(3))), "another master");
    assert_eq!(
        broker.notified(decision(Some(3), 6)),
        [],
        "the same one, in another epoch"
    );
    let actions = broker.notified(decision(Some(1), 7));
    let role = Role::Master {
        epoch: 7,
        set: set([1], 7),
    };
    assert!(takes(&actions, &role));
}

#[test]
fn a_master_that_the_controller_took_for_dead_is_master_no_longer() {
    let mut broker = Broker::master();
    let actions = broker.notified(decision(None, 4));
    assert!(takes(&actions, &slave(4, None)));
    broker.replicas = None;
    assert_eq!(broker.asked(), Ask::Elect(1));
}

#[test]
fn the_decision_is_asked_for_in_its_period_and_after_a_pause() {
    let mut broker = Broker::master();
    broker.after(50);
    let started_ns = broker.now_ns;
    assert_eq!(broker.asked(), Ask::Decision);
    assert!((4 * S..6 * S).contains(&(broker.now_ns - started_ns)));
    broker.decides(decision(Some(1), 3));
    broker.now_ns += 20 * S;
    let paused_ns = broker.now_ns;
    assert_eq!(broker.asked(), Ask::Decision);
    assert_eq!(broker.now_ns, paused_ns, "at once");
}

#[test]
fn a_notice_without_proof_is_a_reason_to_ask() {
    let mut broker = Broker::master();
    broker.after(150);
    broker.manager.notified_without_proof(broker.now_ns);
    let notified_ns = broker.now_ns;
    assert_eq!(broker.asked(), Ask::Decision);
    assert_eq!(broker.now_ns, notified_ns, "at once");
    broker.decides(decision(Some(1), 3));
    // However many there are, the controllers are not asked without a pause.
    let mut asked = 0;
    for _ in 0..20 {
        broker.manager.notified_without_proof(broker.now_ns);
        let actions = broker.after(50);
        if actions
            .iter()
            .any(|it| matches!(it, Action::Ask(Ask::Decision, _)))
        {
            asked += 1;
            broker.decides(decision(Some(1), 3));
        }
    }
    assert!((5..=10).contains(&asked), "{asked} in 1 s");
}

#[test]
fn heartbeats_go_on_while_a_question_is_open() {
    let mut broker = Broker::master();
    assert_eq!(broker.asked(), Ask::Decision);
    assert!((9..=11).contains(&beats(&broker.after(10_000))));
}

/// A controller takes three intervals for a death.
#[test]
fn late_polls_do_not_add_up() {
    let mut broker = Broker::master();
    broker.after(50);
    let mut count = 0;
    for _ in 0..1_000 {
        broker.now_ns += 70 * MS;
        count += beats(&broker.poll());
    }
    assert!((69..=71).contains(&count), "{count} in 70 s");
    // After a pause there is one, not all that were due.
    broker.now_ns += 20 * S;
    assert_eq!(beats(&broker.poll()), 1);
    assert_eq!(beats(&broker.after(500)), 0);
}

#[test]
fn a_group_that_the_controller_has_forgotten_is_registered_again() {
    let mut broker = Broker::master();
    assert_eq!(broker.asked(), Ask::Decision);
    broker.refuses(Refusal::UnknownGroup);
    assert_eq!(broker.asked(), Ask::Register(1));
    broker.refuses(Refusal::NotRegistered);
    let asked_ns = broker.now_ns;
    assert_eq!(broker.asked(), Ask::Register(1));
    assert!(broker.now_ns - asked_ns >= HOPELESS_NS);
}

/// A controller that ceases to lead, or whose group does not agree in time, does not know whether the change comes about.
#[test]
fn a_restarted_master_ends_its_epoch_and_begins_none_twice() {
    let facts = Facts {
        log_end: 500,
        last_epoch: Some(Epoch {
            number: 3,
            start: 100,
        }),
        ..Facts::default()
    };
    let (mut broker, actions) = Broker::registered(facts, Some(decision(Some(1), 3)));
    assert!(matches!(actions[..], [Action::Log(_)]), "{actions:?}");
    broker.manager.busy = None;
    let mut actions = broker.poll();
    actions.extend(broker.after(1_000));
    assert_eq!(beats(&actions), 1, "{actions:?}");
    let closes = |action: &Action| *action == Action::CloseHeartbeats;
    let beat = actions.iter().position(|it| *it == Action::Heartbeat(1));
    assert!(beat < actions.iter().position(closes), "{actions:?}");
    broker.manager.busy = None;
    assert_eq!(broker.asked(), Ask::Decision);
    broker.decides(decision(Some(1), 3));
    assert_eq!(broker.asked(), Ask::Decision);
    broker.decides(decision(None, 4));
    assert_eq!(broker.asked(), Ask::Elect(1));
    assert_eq!(beats(&broker.after(1_000)), 1, "it is alive again");
    let actions = broker.answer(Answer::Elected(decision(Some(1), 5)));
    let role = Role::Master {
        epoch: 5,
        set: set([1], 5),
    };
    assert!(takes(&actions, &role));
}

/// A partition ends: TCP would repeat what it has of the old connections some seconds later, and the controller lets a slave into the set only once it
/// has heard it.
#[test]
fn a_slave_that_was_cut_off_sends_its_heartbeats_over_new_connections() {
    let closes = |action: &Action| *action == Action::CloseHeartbeats;
    for (was_master, silence_s, is_renewed) in [
        (true, 20, true),
        (false, 20, true),
        (true, 4, false),
        (false, 4, false),
    ] {
        let mut broker = match was_master {
            true => Broker::master(),
            false => Broker::registered(Facts::default(), Some(decision(Some(2), 3))).0,
        };
        broker.after(1_000);
        broker.manager.busy = None;
        broker.manager.answered_ns = Some(broker.now_ns);
        broker.now_ns += silence_s * S;
        assert_eq!(broker.asked(), Ask::Decision);
        let mut actions = broker.decides(decision(Some(2), 4));
        assert_eq!(actions.iter().any(closes), is_renewed);
        actions.extend(broker.poll());
        if is_renewed {
            let closed = actions.iter().position(closes);
            let beat = actions.iter().position(|it| *it == Action::Heartbeat(1));
            assert!(beat > closed, "at once: {actions:?}");
        }
        broker.manager.busy = None;
        assert_eq!(broker.asked(), Ask::Decision);
        let actions = broker.decides(decision(Some(2), 4));
        assert!(!actions.iter().any(closes), "once");
    }
}

/// A controller that has heard it all the time would take the closed connection for its death.
#[test]
fn a_master_that_stays_one_keeps_its_connections() {
    let mut broker = Broker::master();
    broker.after(1_000);
    broker.manager.busy = None;
    broker.now_ns += 20 * S;
    assert_eq!(broker.asked(), Ask::Decision);
    for master in [1, 2] {
        let actions = broker.decides(decision(Some(master), 3));
        assert!(!actions.contains(&Action::CloseHeartbeats), "{actions:?}");
        broker.manager.busy = None;
        assert_eq!(broker.asked(), Ask::Decision);
    }
}

#[test]
fn a_broker_whose_device_has_failed_gives_its_role_up() {
    let mut broker = Broker::master();
    broker.facts.is_fenced = true;
    assert_eq!(broker.after(10_000), [Action::CloseHeartbeats]);
    assert_eq!(broker.notified(decision(Some(1), 9)), []);
}

#[test]
fn one_that_has_lost_messages_is_not_elected() {
    let facts = Facts {
        lacks_acknowledged: true,
        ..Facts::default()
    };
    for knows in [false, true] {
        let (mut broker, _) = Broker::registered(facts, None);
        let before = broker.poll();
        assert_eq!(beats(&before), 0, "it is not known yet");
        assert!(matches!(before[..], [Action::Ask(Ask::KnowsLoss, _)]));
        broker.answer(Answer::KnowsLoss(knows));
        let mut heartbeats = 0;
        for _ in 0..10 {
            assert_eq!(broker.asked(), Ask::Decision, "it does not offer itself");
            broker.decides(decision(None, 4));
            heartbeats += beats(&broker.after(1_000));
            broker.manager.busy = None;
        }
        assert_eq!(heartbeats > 5, knows, "{heartbeats}");
        assert!(knows || heartbeats == 0, "{heartbeats}");
        broker.facts.lacks_acknowledged = false;
        assert!(beats(&broker.after(3_000)) >= 2, "it has them from another");
    }
}

/// A controller of ringmq elects a whole one before it. RocketMQ's would elect it as any other.
#[test]
fn a_slave_that_cannot_read_all_of_its_log_states_it_or_is_silent() {
    for knows in [false, true] {
        let led = Some(decision(Some(2), 3));
        let (mut broker, _) = Broker::registered(Facts::default(), led);
        broker.after(1_100);
        broker.facts.has_holes = true;
        broker.manager.busy = None;
        assert_eq!(broker.asked(), Ask::KnowsLoss);
        broker.answer(Answer::KnowsLoss(knows));
        let at_once = broker.after(50);
        assert_eq!(beats(&at_once), usize::from(knows), "{at_once:?}");
        let later = beats(&broker.after(5_000));
        assert_eq!(later >= 4, knows, "{later}");
        assert!(knows || later == 0, "{later}");
        broker.notified(decision(None, 4));
        let offers = offers_itself(&mut broker);
        assert_eq!(offers, knows, "a controller that knows it decides");
        broker.manager.busy = None;
        broker.facts.has_holes = false;
        assert_eq!(beats(&broker.after(50)), 1, "repaired");
    }
}

/// Whether it asks to be elected when there is no master.
fn offers_itself(broker: &mut Broker) -> bool {
    (0..5).any(|_| {
        broker.manager.busy = None;
        let asked = broker.asked();
        broker.decides(decision(None, 4));
        asked == Ask::Elect(1)
    })
}

/// After a power cut of all brokers each of them may be like that, and one has to be elected, by any controller.
#[test]
fn one_whose_end_is_in_doubt_states_it_and_may_be_elected() {
    for knows in [None, Some(false), Some(true)] {
        let facts = Facts {
            is_end_in_doubt: true,
            ..Facts::default()
        };
        assert!(facts.states_damage());
        let (mut broker, _) = Broker::registered(facts, None);
        broker.manager.knows_loss = knows;
        assert!(beats(&broker.after(3_000)) >= 4);
        broker.notified(decision(None, 4));
        let offers = offers_itself(&mut broker);
        assert!(offers);
        broker.manager.busy = None;
        broker.facts.is_end_in_doubt = false;
        assert_eq!(beats(&broker.after(50)), 1, "it has caught up");
    }
}

/// No broker would take its place: without heartbeats there would be no master.
#[test]
fn a_master_that_cannot_read_all_of_its_log_goes_on() {
    let mut broker = Broker::master();
    broker.facts.has_holes = true;
    assert_eq!(broker.asked(), Ask::KnowsLoss);
    broker.answer(Answer::KnowsLoss(false));
    assert!(beats(&broker.after(5_000)) >= 4);
}

#[test]
fn an_operator_may_elect_one_that_has_lost_messages() {
    let facts = Facts {
        lacks_acknowledged: true,
        ..Facts::default()
    };
    let (mut broker, _) = Broker::registered(facts, None);
    let actions = broker.notified(decision(Some(1), 9));
    let role = Role::Master {
        epoch: 9,
        set: set([1], 9),
    };
    assert!(takes(&actions, &role));
}

#[test]
fn a_master_without_answers_is_cut_off() {
    let mut broker = Broker::master();
    assert!(!broker.manager.is_cut_off(broker.now_ns + 6 * S));
    assert!(broker.manager.is_cut_off(broker.now_ns + 6 * S + 1));
    broker.asked();
    broker.does_not_answer();
    assert!(broker.manager.is_cut_off(broker.now_ns + 6 * S));
    broker.asked();
    broker.leads();
    assert!(!broker.manager.is_cut_off(broker.now_ns + 6 * S));
}
