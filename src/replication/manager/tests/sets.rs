//! Changes of the set.

use super::*;

#[test]
fn a_replica_joins_and_leaves_with_the_controllers_consent() {
    let mut broker = Broker::master();
    broker.has_replica();
    assert_eq!(broker.asked(), alter([1, 2], 3));
    assert_eq!(broker.needed(), [2], "from the question on");
    broker.answer(Answer::Altered(set([1, 2], 4)));
    assert_eq!(broker.needed(), [2]);
    broker.replicas().disconnected(7);
    broker.is_heard([1, 2], 4);
    assert_eq!(broker.asked(), alter([1], 4));
    assert_eq!(broker.needed(), [2], "until the answer");
    broker.answer(Answer::Altered(set([1], 5)));
    assert!(broker.needed().is_empty());
}

#[test]
fn a_lost_answer_leaves_both_sets_until_the_epoch_moves() {
    let mut broker = Broker::master();
    broker.has_replica();
    assert_eq!(broker.asked(), alter([1, 2], 3));
    broker.does_not_answer();
    broker.replicas().disconnected(7);
    assert_eq!(broker.asked(), Ask::Leader);
    broker.leads();
    assert_eq!(broker.asked(), Ask::Decision);
    broker.decides(Decision {
        set: set([1], 3),
        ..decision(Some(1), 3)
    });
    assert_eq!(broker.needed(), [2], "the first copy may still be granted");
    assert_eq!(broker.asked(), alter([1, 2], 3), "the same question");
    // The broker is dead: refused, and the first copy may have been granted before that.
    broker.refuses(Refusal::Members);
    assert_eq!(broker.needed(), [2]);
    assert_eq!(broker.asked(), Ask::Decision);
    broker.decides(Decision {
        set: set([1, 2], 4),
        ..decision(Some(1), 3)
    });
    assert_eq!(broker.needed(), [2]);
    assert_eq!(broker.asked(), alter([1], 4), "it is known now");
}

#[test]
fn a_lost_change_is_given_up_when_no_controller_can_grant_it() {
    let mut broker = Broker::master();
    broker.has_replica();
    assert_eq!(broker.asked(), alter([1, 2], 3));
    broker.does_not_answer();
    broker.replicas().disconnected(7);
    let lost_ns = broker.now_ns;
    while !broker.needed().is_empty() {
        match broker.asked() {
            Ask::Leader => broker.leads(),
            Ask::Decision => drop(broker.decides(decision(Some(1), 3))),
            Ask::Alter { .. } => broker.refuses(Refusal::Members),
            other => panic!("{other:?}"),
        }
        assert!(broker.now_ns - lost_ns < 2 * LATE_GRANT_NS);
    }
    assert!(broker.now_ns - lost_ns >= LATE_GRANT_NS);
}

#[test]
fn a_refused_change_is_none() {
    for refusal in [Refusal::OtherSet, Refusal::OtherMaster, Refusal::Members] {
        let mut broker = Broker::master();
        broker.has_replica();
        assert_eq!(broker.asked(), alter([1, 2], 3));
        broker.refuses(refusal);
        assert!(broker.needed().is_empty());
        assert_eq!(broker.asked(), Ask::Decision, "what is true is asked for");
    }
}

#[test]
fn a_controller_that_does_not_know_refuses_nothing() {
    for refusal in [Refusal::NotLeader, Refusal::Other] {
        let mut broker = Broker::master();
        broker.has_replica();
        assert_eq!(broker.asked(), alter([1, 2], 3));
        broker.refuses(refusal);
        assert_eq!(broker.needed(), [2]);
        while broker.asked() == Ask::Leader {
            broker.leads();
        }
        broker.decides(decision(Some(1), 3));
        assert_eq!(broker.asked(), alter([1, 2], 3));
    }
}

#[test]
fn a_lost_change_is_certain_once_epochs_have_moved() {
    let mut broker = Broker::master();
    broker.has_replica();
    broker.asked();
    broker.does_not_answer();
    broker.asked();
    broker.leads();
    broker.asked();
    broker.decides(decision(Some(1), 3));
    assert_eq!(broker.asked(), alter([1, 2], 3));
    broker.refuses(Refusal::OtherSet);
    assert!(broker.needed().is_empty());
}

#[test]
fn members_that_leave_are_not_kept_by_one_that_joins() {
    let mut broker = Broker::master();
    let membership = Membership::new(1, set([1, 3], 3));
    broker.replicas = Some(Replicas::new(Rule::Members(membership), 0));
    broker.has_replica();
    broker.is_heard([1, 3], 3);
    assert_eq!(broker.asked(), alter([1], 3), "3 is not connected");
    broker.answer(Answer::Altered(set([1], 4)));
    assert_eq!(broker.asked(), alter([1, 2], 4));
}

/// The other members have more than the master has written, and one joins that lacks it: the master's write must not confirm it.
#[test]
fn one_that_joins_has_to_have_what_is_confirmed_next() {
    let mut broker = Broker::master();
    broker.has_replica();
    broker.asked();
    broker.answer(Answer::Altered(set([1, 2], 4)));
    (broker.facts.log_end, broker.facts.committed) = (200, 120);
    let now_ns = broker.now_ns;
    broker.replicas().reported(7, 200, 200, now_ns).unwrap();
    assert_eq!(broker.replicas().confirm(), 200);
    broker.replicas().connected(8, Some(3), false, now_ns);
    broker.replicas().reported(8, 150, 200, now_ns).unwrap();
    assert_eq!(broker.asked(), alter([1, 2, 3], 4));
    assert_eq!(broker.replicas().confirm(), 150, "3 lacks the rest");
    broker.replicas().reported(8, 200, 200, now_ns).unwrap();
    assert_eq!(broker.replicas().confirm(), 200);
}

/// A former master that the controller refuses learns at once that it is one. The change is not asked for again and again.
#[test]
fn after_a_refused_leave_the_decision_comes_first() {
    for refusal in [Refusal::OtherSet, Refusal::OtherMaster, Refusal::Members] {
        let mut broker = Broker::master();
        broker.has_replica();
        assert_eq!(broker.asked(), alter([1, 2], 3));
        broker.answer(Answer::Altered(set([1, 2], 4)));
        broker.replicas().disconnected(7);
        let begun_ns = broker.now_ns;
        let (mut changes, mut is_asked_anew) = (0, false);
        while broker.now_ns < begun_ns + 2_000 * MS {
            match broker.asked() {
                Ask::Decision => {
                    is_asked_anew = true;
                    broker.decides(Decision {
                        set: set([1, 2], 4),
                        ..decision(Some(1), 3)
                    });
                }
                asked => {
                    assert_eq!(asked, alter([1], 4), "2 is not connected");
                    assert!(std::mem::take(&mut is_asked_anew));
                    broker.refuses(refusal);
                    changes += 1;
                }
            }
        }
        assert!((2..=21).contains(&changes), "{changes} in 2 s");
    }
}

/// Its question would arrive and be granted, and the controller could elect no other broker than this master.
#[test]
fn a_master_that_hears_no_controller_asks_for_no_smaller_set() {
    let mut broker = Broker::master();
    broker.has_replica();
    broker.asked();
    broker.answer(Answer::Altered(set([1, 2], 4)));
    broker.replicas().disconnected(7);
    let begun_ns = broker.now_ns;
    while broker.now_ns < begun_ns + 20_000 * MS {
        let asked = broker.asked();
        assert!(matches!(asked, Ask::Decision | Ask::Leader), "{asked:?}");
        broker.now_ns += 3_000 * MS;
        broker.does_not_answer();
    }
    assert_eq!(broker.asked(), Ask::Leader);
    broker.leads();
    broker.is_heard([1, 2], 4);
    assert_eq!(broker.asked(), alter([1], 4));
}

#[test]
fn mutant_smaller_set_unheard() {
    use crate::mutants::{Mutant, fails};
    fails(
        Mutant::SmallerSetUnheard,
        a_master_that_hears_no_controller_asks_for_no_smaller_set,
    );
}
