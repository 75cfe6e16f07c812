//! Protects producers from a replica whose disk is full or slow: it is not waited for after a second or two, and comes back by itself.

use std::time::Duration;

use ringmq::reactor::Role;
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::Flush;
use ringmq::wire::codes::response;

use crate::cluster::DISK_BYTES;
use crate::controlled::group::Group;
use crate::controlled::member::BROKERS;
use crate::replication::{Pair, SLAVE, SLAVE_TIMEOUT_MS, send};

/// A member that does not advance leaves the set after 1.5 s.
const LONGEST_MS: u64 = 2_000;

/// With a group in which all are in sync, and one that is no master.
fn each(test: impl AsyncFn(&Group, &'static str)) {
    for flush in [Flush::Sync, Flush::Async] {
        for seed in 0..2 {
            let group = Group::new(seed, flush);
            group.sim.run(async {
                group.start_all().await;
                group.send_until_acknowledged(10).await;
                let master = group.master();
                let mut others = BROKERS.into_iter().filter(|host| master != Some(*host));
                let slow = others.next().unwrap();
                test(&group, slow).await;
                group.send_until_acknowledged(5).await;
                group.until_whole().await;
                assert_eq!(group.master(), master, "no election");
                group.judge(slow).await;
            });
        }
    }
}

/// Sends go on for so long. Returns how many there were, and how many took longer than 100 ms.
async fn send_for(group: &Group, seconds: u64, pause_ms: u64) -> (u32, u32) {
    let end_ns = group.sim.mono_ns() + seconds * 1_000_000_000;
    let (mut sent, mut late) = (0, 0);
    while group.sim.mono_ns() < end_ns {
        let sent_ns = group.sim.mono_ns();
        group.send_until_acknowledged(1).await;
        let took_ms = (group.sim.mono_ns() - sent_ns) / 1_000_000;
        assert!(took_ms <= LONGEST_MS, "{took_ms} ms");
        late += u32::from(took_ms > 100);
        sent += 1;
        group.sleep_ms(pause_ms).await;
    }
    (sent, late)
}

#[test]
fn a_member_whose_disk_is_full_leaves_and_returns() {
    each(async |group, full| {
        group.sim.host(full).occupy(DISK_BYTES);
        let (sent, late) = send_for(group, 20, 20).await;
        assert!(sent > 400 && late <= 4, "{late} of {sent}");
        group.sim.host(full).occupy(0);
    });
}

/// Each write takes 2 s. It catches up in each pause, and must not delay the senders again and again.
#[test]
fn a_member_whose_disk_is_slow_leaves_and_returns() {
    each(async |group, slow| {
        let stall = Rule::new(Fault::Stall(Duration::from_secs(2)));
        let stall = stall.of(Op::Write).on("commitlog");
        group.sim.host(slow).inject(stall);
        let (sent, late) = send_for(group, 90, 3_000).await;
        assert!(sent > 20 && late <= 7, "{late} of {sent}");
        group.sim.host(slow).heal();
    });
}

/// Without a controller each send is answered within `slaveTimeout`.
#[test]
fn a_slave_whose_disk_is_full_is_not_waited_for_and_returns() {
    for flush in [Flush::Sync, Flush::Async] {
        let pair = Pair::new(1, flush, Role::SyncMaster);
        pair.sim.run(async {
            let (_master, _slave, mut client) = pair.start_both().await;
            pair.sim.host(SLAVE).occupy(DISK_BYTES);
            for number in 0..200 {
                let sent_ns = pair.sim.mono_ns();
                let reply = send(&mut client, number, "").await;
                let took_ms = (pair.sim.mono_ns() - sent_ns) / 1_000_000;
                assert!(took_ms <= SLAVE_TIMEOUT_MS + 200, "{took_ms}");
                let codes = [
                    response::SUCCESS,
                    response::FLUSH_SLAVE_TIMEOUT,
                    response::SLAVE_NOT_AVAILABLE,
                ];
                assert!(codes.contains(&reply.code), "{reply:?}");
            }
            pair.sim.host(SLAVE).occupy(0);
            pair.until_answered(&mut client, response::SUCCESS).await;
            pair.until_same().await;
        });
    }
}
