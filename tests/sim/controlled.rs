//! Protects a group of brokers under a controller: what was acknowledged survives the death of its master, another one is elected, and the old one
//! returns, cuts off what no other has, and follows. Three brokers on hosts of their own, with a controller and a name server.

pub mod decided;
pub mod group;
pub mod member;
mod named;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use ringmq::io::Disk;
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::{Flush, Medium, TextFiles};
use ringmq::wire::codes::{request, response};

use crate::pairs::copies::Device;
use crate::replication::{TOPIC, try_send};
use crate::requests;
use group::Group;
use member::{BROKERS, CONTROLLER, NAMES};

/// The note beside a log of which nothing was ever confirmed.
const UNCONFIRMED: &str = "ringmqUnconfirmed";

fn each(test: impl AsyncFn(&Group)) {
    for flush in [Flush::Sync, Flush::Async] {
        for seed in 0..2 {
            let group = Group::new(seed, flush);
            group.sim.run(test(&group));
        }
    }
}

/// The machine of the master is gone: another broker is elected and has all that was acknowledged. The old one returns and follows.
#[test]
fn acknowledged_messages_survive_their_master() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(40).await;
        // Before its second heartbeat a broker is given the time that it states, 10 s.
        group.sleep_ms(3_000).await;
        let (old, epoch) = (group.master().unwrap(), group.epoch());
        group.sim.power_cut(old);
        let died_ns = group.sim.mono_ns();
        group.send_until_acknowledged(1).await;
        let took_ns = group.sim.mono_ns() - died_ns;
        // Its host is silent: the controller waits for 1.5 s.
        assert!(took_ns < 4_000_000_000, "{took_ns}");
        let new = group.master().unwrap();
        assert!(new != old && group.epoch() > epoch);
        group.send_until_acknowledged(30).await;
        group.judge(new).await;
        group.start(old);
        group.until_whole().await;
        group.send_until_acknowledged(10).await;
        group.until_whole().await;
        for host in BROKERS {
            group.judge(host).await;
        }
    });
}

/// `kill -9`: the controller sees the connection close.
#[test]
fn the_death_of_a_process_is_noticed_at_once() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(10).await;
        for _ in 0..4 {
            let old = group.master().unwrap();
            group.sim.crash(old);
            let died_ns = group.sim.mono_ns();
            group.send_until_acknowledged(1).await;
            let took_ns = group.sim.mono_ns() - died_ns;
            assert!(took_ns < 2_000_000_000, "{took_ns}");
            group.send_until_acknowledged(10).await;
            group.start(old);
            let returned_ns = group.sim.mono_ns();
            group.until("all in sync", || group.set().len() == 3).await;
            let took_ns = group.sim.mono_ns() - returned_ns;
            assert!(took_ns < 3_000_000_000, "{took_ns}");
        }
        group.until_whole().await;
        group.judge(group.master().unwrap()).await;
    });
}

/// A planned stop.
#[test]
fn a_broker_that_stops_hands_its_role_over() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(10).await;
        let old = group.master().unwrap();
        group.stop(old).await;
        group.send_until_acknowledged(10).await;
        group.start(old);
        group.until_whole().await;
        group.judge(old).await;
    });
}

/// The name server knows no master but the one that the controller knows, at any time.
#[test]
fn only_the_master_is_in_the_route_as_one() {
    let group = Group::new(3, Flush::Sync);
    group.sim.run(async {
        group.start_all().await;
        group.send_until_acknowledged(10).await;
        let is_master = async || {
            let route = group.route().await;
            let master = group.master().map(|host| group.addr(host).to_string());
            route.get(&0).cloned() == master
        };
        for _ in 0..100 {
            if is_master().await {
                break;
            }
            group.sleep_ms(50).await;
        }
        let old = group.master().unwrap();
        group.sim.crash(old);
        group.send_until_acknowledged(5).await;
        let newer = group.addr(group.master().unwrap()).to_string();
        for _ in 0..100 {
            if is_master().await {
                break;
            }
            group.sleep_ms(20).await;
        }
        group.start(old);
        for _ in 0..200 {
            let route = group.route().await;
            assert_eq!(route.get(&0), Some(&newer), "{route:?}");
            group.sleep_ms(20).await;
        }
        let route = group.route().await;
        assert_eq!(route.len(), 3, "{route:?}");
    });
}

/// A master that is heard and hears nothing leaves the set as it is, so there is somebody to elect when it is not heard any more either.
#[test]
fn a_master_that_hears_nothing_has_a_successor() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(10).await;
        group.sleep_ms(3_000).await;
        let old = group.master().unwrap();
        let others: Vec<_> = BROKERS.into_iter().filter(|host| *host != old).collect();
        for other in others.iter().copied().chain([CONTROLLER]) {
            group.sim.partition_one_way(other, old);
        }
        // There is something that the others have not reported.
        let mut client = group.client(old).await;
        let sent = group.send(&mut client).await;
        assert!(sent.is_ok_and(|reply| reply.code != response::SUCCESS));
        group.sleep_ms(6_000).await;
        assert_eq!(group.set().len(), 3);
        group.sim.partition_one_way(old, CONTROLLER);
        group.send_until_acknowledged(10).await;
        assert!(group.master().is_some_and(|master| master != old));
        for other in others.into_iter().chain([CONTROLLER]) {
            group.sim.heal_partition(other, old);
        }
        group.until_whole().await;
        group.judge(group.master().unwrap()).await;
    });
}

/// A member whose disk hangs leaves the set, and comes back by itself.
#[test]
fn a_member_that_hangs_leaves_and_returns() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(10).await;
        let master = group.master().unwrap();
        let slow = BROKERS.into_iter().find(|host| *host != master).unwrap();
        let stall = Fault::Stall(Duration::from_secs(6));
        let rule = Rule::new(stall).of(Op::Write).on("commitlog");
        group.sim.host(slow).inject(rule);
        let began_ns = group.sim.mono_ns();
        group.send_until_acknowledged(5).await;
        let took_ns = group.sim.mono_ns() - began_ns;
        assert!(took_ns < 3_000_000_000, "{took_ns}");
        assert_eq!(group.set().len(), 2);
        group.sim.host(slow).heal();
        group.send_until_acknowledged(5).await;
        group.until_whole().await;
        assert_eq!(group.master(), Some(master), "no election");
    });
}

/// An answer about the set is lost in either direction.
#[test]
fn a_lost_answer_about_the_set_loses_nothing() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(10).await;
        let master = group.master().unwrap();
        let other = BROKERS.into_iter().find(|host| *host != master).unwrap();
        let code = request::CONTROLLER_ALTER_SYNC_STATE_SET;
        for _ in 0..2 {
            group.controllers.lose_replies(code, 1);
            group.sim.crash(other);
            group.send_until_acknowledged(5).await;
            group.controllers.lose_replies(code, 1);
            group.start(other);
            group.until("all in sync", || group.set().len() == 3).await;
        }
        group.sim.crash(master);
        group.send_until_acknowledged(5).await;
        group.judge(group.master().unwrap()).await;
    });
}

/// With fewer than `minInSyncReplicas` a message is refused before it is stored.
#[test]
fn too_few_in_sync_is_a_refusal() {
    let group = Group::new(5, Flush::Sync);
    group.min_in_sync.set(2);
    group.sim.run(async {
        group.controllers.start(&group.sim, CONTROLLER);
        group.start(BROKERS[0]);
        group.until("elected", || group.master().is_some()).await;
        group.sleep_ms(2_000).await;
        let mut client = group.client(BROKERS[0]).await;
        requests::make_topic(&mut client, TOPIC).await;
        let reply = group.send(&mut client).await.unwrap();
        assert_eq!(reply.code, response::SYSTEM_ERROR, "{reply:?}");
        assert_eq!(reply.remark.as_deref(), Some("in-sync replicas not enough"));
        let reply = try_send(&mut client, 77, "WAIT\u{1}false\u{2}")
            .await
            .unwrap();
        assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
        group.start(BROKERS[1]);
        group.until("both in sync", || group.set().len() == 2).await;
        group.send_until_acknowledged(5).await;
        assert_eq!(group.messages(BROKERS[0]).await.len(), 6);
    });
}

/// The master is cut off from all others: it acknowledges nothing more, and follows when it is back.
#[test]
fn a_master_that_is_cut_off_acknowledges_nothing() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(10).await;
        let old = group.master().unwrap();
        let others = [CONTROLLER, NAMES];
        let others = others
            .into_iter()
            .chain(BROKERS.into_iter().filter(|host| *host != old));
        let others: Vec<_> = others.collect();
        let mut at_old = group.client(old).await;
        for other in &others {
            group.sim.partition(old, other);
        }
        let mut codes = BTreeSet::new();
        for _ in 0..15 {
            let number = group.next.replace(group.next.get() + 1);
            let Ok(reply) = try_send(&mut at_old, number, "").await else {
                break;
            };
            codes.insert(reply.code);
            group.sleep_ms(500).await;
        }
        assert!(!codes.contains(&response::SUCCESS), "{codes:?}");
        assert!(codes.contains(&response::FLUSH_SLAVE_TIMEOUT), "{codes:?}");
        // It knows by now that it may have a successor.
        assert!(
            codes.contains(&response::SERVICE_NOT_AVAILABLE),
            "{codes:?}"
        );
        assert_ne!(group.master(), Some(old));
        group.send_until_acknowledged(10).await;
        for other in &others {
            group.sim.heal_partition(old, other);
        }
        group.until_whole().await;
        group.judge(old).await;
    });
}

/// No other broker has a byte of the master's log when it is replaced: nothing was acknowledged, and it removes all of its log.
#[test]
fn a_log_of_which_no_other_broker_has_anything_is_removed() {
    for is_killed in [false, true] {
        each(async |group| {
            group.start_all().await;
            let old = replaced_before_anything_was_confirmed(group).await;
            if is_killed {
                group.sim.crash(old);
                group.start(old);
            }
            heal(group, old);
            group.until_whole().await;
            assert_eq!(group.messages(old).await, [0; 0]);
            group.send_until_acknowledged(10).await;
            group.until_whole().await;
            group.judge(old).await;
        });
    }
}

/// It may have come from elsewhere, with messages that were acknowledged there.
#[test]
fn a_log_is_not_removed_if_it_is_not_known_that_nothing_of_it_was_confirmed() {
    each(async |group| {
        group.start_all().await;
        let old = replaced_before_anything_was_confirmed(group).await;
        group.sim.crash(old);
        let note = Path::new("/store").join(UNCONFIRMED);
        group.sim.host(old).remove_file(&note).await.unwrap();
        group.start(old);
        heal(group, old);
        group.sleep_ms(20_000).await;
        assert_eq!(group.set().len(), 2, "it does not follow");
        group.send_until_acknowledged(10).await;
    });
}

#[test]
fn the_note_that_nothing_was_confirmed_goes_with_the_first_acknowledged_message() {
    each(async |group| {
        group.start_all().await;
        let noted = async || {
            let mut noted = Vec::new();
            for host in BROKERS {
                let files = TextFiles::open(Medium::new(group.sim.host(host)), Path::new("/store"));
                let note = files.await.unwrap().load(UNCONFIRMED).await.unwrap();
                noted.push(note.is_some());
            }
            noted
        };
        assert_eq!(noted().await, [true; 3]);
        group.send_until_acknowledged(1).await;
        group.sleep_ms(2_000).await;
        assert_eq!(noted().await, [false; 3]);
    });
}

/// The master, cut off from all others with a message that only it has, and replaced.
async fn replaced_before_anything_was_confirmed(group: &Group) -> &'static str {
    let old = group.master().unwrap();
    let mut at_old = group.client(old).await;
    for other in others(old) {
        group.sim.partition(old, other);
    }
    let reply = group.send(&mut at_old).await.unwrap();
    assert_eq!(reply.code, response::FLUSH_SLAVE_TIMEOUT, "{reply:?}");
    let is_replaced = || group.master().is_some_and(|master| master != old);
    group.until("replaced", is_replaced).await;
    old
}

fn heal(group: &Group, host: &str) {
    for other in others(host) {
        group.sim.heal_partition(host, other);
    }
}

fn others(host: &str) -> impl Iterator<Item = &'static str> {
    let all = [CONTROLLER, NAMES].into_iter().chain(BROKERS);
    all.filter(move |other| *other != host)
}

/// A master whose device has failed is replaced, and acknowledges nothing more.
#[test]
fn a_master_whose_device_has_failed_is_replaced() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(10).await;
        let old = group.master().unwrap();
        let fails = Rule::new(Fault::Io).of(Op::Write).on("commitlog");
        group.sim.host(old).inject(fails);
        let failed_ns = group.sim.mono_ns();
        group.send_until_acknowledged(10).await;
        let took_ns = group.sim.mono_ns() - failed_ns;
        assert!(took_ns < 3_000_000_000, "{took_ns}");
        assert_ne!(group.master(), Some(old));
        group.judge(group.master().unwrap()).await;
    });
}

/// The controller is away: nothing that the brokers do changes, and no message is lost.
#[test]
fn brokers_go_on_without_their_controller() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(10).await;
        let (master, epoch) = (group.master(), group.epoch());
        group.sim.crash(CONTROLLER);
        for _ in 0..5 {
            group.send_until_acknowledged(3).await;
            group.sleep_ms(4_000).await;
        }
        group.controllers.start(&group.sim, CONTROLLER);
        group.sleep_ms(8_000).await;
        group.send_until_acknowledged(10).await;
        assert_eq!((group.master(), group.epoch()), (master, epoch));
        group.until_whole().await;
    });
}

/// All brokers are without power at once. With the flush awaited, nothing is lost; otherwise one that knows that it has lost something is not elected.
#[test]
fn all_brokers_lose_their_power() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(40).await;
        group.sleep_ms(2_000).await;
        for host in BROKERS {
            group.sim.power_cut(host);
        }
        group.sleep_ms(5_000).await;
        for host in BROKERS {
            group.start(host);
        }
        group.send_until_acknowledged(10).await;
        group.until_whole().await;
        group.judge(group.master().unwrap()).await;
    });
}

/// Bytes that are not zero stand behind the end of each log, and each may lack something.
#[test]
fn of_brokers_that_are_all_in_doubt_one_is_elected() {
    each(async |group| {
        group.start_all().await;
        group.send_until_acknowledged(40).await;
        for host in BROKERS {
            group.sim.crash(host);
            let device = Device::new(group.sim.host(host));
            device.rot(device.log_end(0) + 10);
        }
        BROKERS.into_iter().for_each(|host| group.start(host));
        group.send_until_acknowledged(10).await;
        group.until_whole().await;
        group.judge(group.master().unwrap()).await;
        // The last one gets the bytes, and then removes the note.
        group.sleep_ms(1_000).await;
        for host in BROKERS {
            let note = Path::new("/store/ringmqEndInDoubt");
            assert_eq!(group.sim.host(host).peek(note, 0, 1), None, "{host}");
        }
    });
}

/// A broker keeps its number over a restart: it is in its file.
#[test]
fn a_broker_keeps_its_number() {
    each(async |group| {
        group.start_all().await;
        let identities = async || {
            let mut texts = Vec::new();
            for host in BROKERS {
                let files = TextFiles::open(Medium::new(group.sim.host(host)), Path::new("/store"));
                let text = files.await.unwrap().load("brokerIdentity").await.unwrap();
                texts.push(text.unwrap());
            }
            texts
        };
        let before = identities().await;
        for (index, text) in before.iter().enumerate() {
            assert!(text.ends_with(&format!("#{}", index + 1)), "{text}");
        }
        for host in BROKERS {
            group.sim.crash(host);
            group.start(host);
            group.until("all in sync", || group.set().len() == 3).await;
        }
        assert_eq!(identities().await, before);
    });
}
