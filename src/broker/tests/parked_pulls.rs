//! Pulls that have waited.

use super::pulls::request;
use super::*;
use crate::message::tags_code;
use crate::wire::pull::PullRequest;
use crate::wire::pull::pull_sys_flag::SUSPEND;

/// A pull with the subscription of its group's heartbeats, held for a message.
fn parked_pull(broker: &mut Broker) -> PullPlan<'static> {
    broker
        .clients
        .register_consumer(&consumer("g", "T", "A"), true, "c", &peer(1), 0);
    let request = PullRequest {
        sys_flag: SUSPEND,
        sub_version: 1,
        ..request()
    };
    broker.admit_pull(&request, false, 0).unwrap().into_owned()
}

#[test]
fn a_parked_pull_is_judged_by_what_is_allowed_now() {
    type Forbid = fn(&mut Broker);
    let cases: [(Forbid, i32); 6] = [
        (
            |broker| broker.config.broker_permission = crate::wire::topic::perm::WRITE,
            16,
        ),
        (
            |broker| {
                let mut group = broker.groups.find("g").unwrap().clone();
                group.consume_enable = false;
                broker.groups.put(group, 0);
            },
            16,
        ),
        (
            |broker| {
                let mut config = topic("T", 4);
                config.perm = crate::wire::topic::perm::WRITE;
                broker.topics.put(config, 0);
            },
            16,
        ),
        (
            |broker| {
                broker.topics.put(topic("T", 1), 0);
            },
            29,
        ),
        (
            |broker| {
                broker.topics.remove("T", 0);
            },
            17,
        ),
        (
            |broker| {
                broker.clients.unregister_consumer("g", ConnId(1));
            },
            24,
        ),
    ];
    for (case, (forbid, code)) in cases.into_iter().enumerate() {
        let mut broker = broker();
        let mut plan = parked_pull(&mut broker);
        assert_eq!(broker.reconsider(&mut plan), Ok(false), "case {case}");
        forbid(&mut broker);
        let refusal = broker.reconsider(&mut plan).unwrap_err();
        assert_eq!(refusal.code, code, "case {case}: {}", refusal.remark);
    }
}

#[test]
fn a_new_subscription_begins_where_the_pull_did() {
    let mut broker = broker();
    let mut plan = parked_pull(&mut broker);
    // The old one has skipped these.
    plan.skip_to(9);
    let mut newer = consumer("g", "T", "B");
    newer.subscription_data_set[0].sub_version = 2;
    broker
        .clients
        .register_consumer(&newer, true, "c", &peer(1), 0);
    assert_eq!(broker.reconsider(&mut plan), Ok(true));
    assert_eq!(plan.offset(), 5);
    assert!(plan.filter.matches(tags_code("B")) && !plan.filter.matches(tags_code("A")));
    plan.skip_to(9);
    assert_eq!(broker.reconsider(&mut plan), Ok(false));
    assert_eq!(plan.offset(), 9, "the same subscription goes on");
}

#[test]
fn a_parked_pull_keeps_its_deadline_until_it_begins_again() {
    let mut broker = broker();
    let mut plan = parked_pull(&mut broker);
    let Attempt::First { hold_ms } = plan.attempt() else {
        panic!("{:?}", plan.attempt());
    };
    let hold_ns = hold_ms * 1_000_000;
    assert_eq!(plan.park(7), Some(7 + hold_ns));
    assert_eq!(plan.park(9), Some(7 + hold_ns), "woken without a message");
    let mut again = plan.clone().begin_again();
    assert_eq!(again.park(9), Some(9 + hold_ns));
    assert_eq!(plan.without_hold().park(9), None);
}

#[test]
fn a_reset_ends_the_wait_of_a_parked_pull() {
    let mut broker = broker();
    let mut plan = parked_pull(&mut broker);
    plan.park(0).unwrap();
    broker.offsets.reset("g", "T", 1, 3);
    assert_eq!(broker.reconsider(&mut plan), Ok(true));
    assert_eq!(plan.park(0), None);
    let last = plan.begin_again().without_hold();
    assert_eq!(last.attempt(), Attempt::Reset { offset: 3 });
}
