//! Protects the time between a controller's decision and its arrival: the former master acknowledges with the set that it knows, and what it acknowledges is in the
//! log of the new one.
//!
//! The new master is a member of every set that the former one may count, and keeps all that is in its log when it takes the role.

use ringmq::sim::Tally;
use ringmq::store::Flush;
use ringmq::wire::Codec;
use ringmq::wire::codes::request;
use ringmq::wire::controller::ElectMaster;

use super::group::Group;
use super::member::{BROKERS, CONTROLLER};
use crate::client::Client;
use crate::dice::Dice;
use crate::seeds;

const FIXED_SEEDS: u64 = 6;

#[test]
fn what_is_acknowledged_after_a_decision_is_in_the_log_of_the_elected_one() {
    seeds::from_environment("decided", decided, FIXED_SEEDS);
}

/// Another master is decided on while a producer sends, and each broker hears it at another time.
pub fn decided(seed: u64) -> Tally {
    let dice = Dice::new(seed, 93);
    let group = Group::new(seed, *dice.pick(&[Flush::Sync, Flush::Async]));
    group.sim.run(live(&group, &dice));
    let mut tally = group.sim.tally();
    tally.operation("acknowledged", group.next.get());
    tally
}

async fn live(group: &Group, dice: &Dice) {
    group.start_all().await;
    group.send_until_acknowledged(10).await;
    let old = group.master().unwrap();
    let others: Vec<_> = BROKERS.into_iter().filter(|host| *host != old).collect();
    let elected = *dice.pick(&others);
    for host in BROKERS {
        group.sim.partition_one_way(CONTROLLER, host);
    }
    elect(group, elected).await;
    assert_eq!(group.master(), Some(elected));

    // Nobody has heard of it: the former master goes on with all members of its set.
    let mut client = group.client(old).await;
    for _ in 0..dice.within(1, 20) {
        let reply = group.send(&mut client).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
    }
    // The elected one hears it first, or another, while messages are on their way.
    let mut hosts = BROKERS.to_vec();
    let (mut left_ms, began_ns) = (dice.below(40), group.sim.mono_ns());
    while !hosts.is_empty() {
        if group.sim.mono_ns() - began_ns > left_ms * 1_000_000 {
            let host = match hosts.contains(&elected) && dice.one_in(2) {
                true => elected,
                false => *dice.pick(&hosts),
            };
            hosts.retain(|it| *it != host);
            group.sim.heal_partition(CONTROLLER, host);
            left_ms += *dice.pick(&[1, 30, 600, 3_000]);
        }
        send_some(group, old, dice).await;
    }
    group.send_until_acknowledged(10).await;
    group.until_whole().await;
    for host in BROKERS {
        group.judge(host).await;
    }
}

/// Several producers at once: one of them would wait for the answer to its message whenever a member has gone.
async fn send_some(group: &Group, host: &str, dice: &Dice) {
    let sends = (0..4).map(async |_| {
        let Ok(mut client) = group.try_client(host).await else {
            return group.sleep_ms(5).await;
        };
        for _ in 0..3 {
            // It may be master no longer.
            let sent = group.send(&mut client).await;
            if !sent.is_ok_and(|reply| reply.is_success()) {
                return;
            }
            group.sleep_ms(dice.below(3)).await;
        }
    });
    futures_util::future::join_all(sends).await;
}

/// An administrator decides.
async fn elect(group: &Group, host: &str) {
    let id = BROKERS.iter().position(|it| *it == host).unwrap() as i64 + 1;
    let io = group.sim.host("admin");
    let addr = group.controllers.addrs()[0];
    let mut admin = Client::connect(&io, addr, Codec::Json).await.unwrap();
    let broker = group.setup(host).broker;
    let fields = ElectMaster {
        cluster_name: &broker.cluster_name,
        broker_name: &broker.broker_name,
        broker_id: id,
        designate_elect: true,
    };
    let code = request::CONTROLLER_ELECT_MASTER;
    let reply = admin.call(code, &fields.ext(), &[]).await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
}
