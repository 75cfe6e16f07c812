//! Protects producers from a replica whose disk is full or slow: it is not waited for after a second or two, and comes back by itself.

use std::time::Duration;

use ringmq::reactor::Role;
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::Flush;
use ringmq::wire::Value;
use ringmq::wire::codes::{request, response};

use crate::cluster::DISK_BYTES;
use crate::controlled::group::Group;
use crate::controlled::member::BROKERS;
use crate::oracle::Queue;
use crate::replication::{MASTER, Pair, SLAVE, SLAVE_TIMEOUT_MS, TOPIC, send};
use crate::requests;

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

/// Files with offsets refer to messages, so each waits for the slave. They wait side by side: a reset is answered after the try that is under way and its own.
#[test]
fn a_reset_waits_for_no_other_offsets() {
    let pair = Pair::new(1, Flush::Sync, Role::SyncMaster);
    pair.sim.run(async {
        let (_master, _slave, mut client) = pair.start_both().await;
        let body = r#"{"groupName":"readers","consumeEnable":true}"#;
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        let made = client.call(code, &[], body.as_bytes()).await.unwrap();
        assert!(made.is_success(), "{made:?}");
        let stall = Rule::new(Fault::Stall(Duration::from_secs(10)));
        let stall = stall.of(Op::Write).on("commitlog");
        pair.sim.host(SLAVE).inject(stall);
        let queue = Queue {
            topic: TOPIC.to_owned(),
            id: 0,
        };
        let mut sender = pair.client(MASTER).await;
        for round in 0..60 {
            // Something to deliver, so the progress of delays and offsets changes all the time, and something to wait for.
            sender.ask(
                request::SEND_MESSAGE_V2,
                &requests::send_to(TOPIC, "DELAY\u{1}1\u{2}").ext(),
                b"x",
            );
            requests::commit_offset(&mut sender, "others", &queue, round);
            sender.flush().await.unwrap();
            pair.sleep_ms(130).await;
            if round % 10 == 9 {
                let fields = [
                    ("topic", Value::Str(TOPIC)),
                    ("group", Value::Str("readers")),
                    ("queueId", Value::I64(0)),
                    ("offset", Value::I64(round as i64)),
                    ("timestamp", Value::I64(-1)),
                    ("isForce", Value::Bool(true)),
                ];
                let asked_ns = pair.sim.mono_ns();
                client.patience = Duration::from_secs(60);
                let code = request::INVOKE_BROKER_TO_RESET_OFFSET;
                let reset = client.call(code, &fields, &[]).await.unwrap();
                assert!(reset.is_success(), "{reset:?}");
                let took_ms = (pair.sim.mono_ns() - asked_ns) / 1_000_000;
                assert!(took_ms <= 2 * SLAVE_TIMEOUT_MS + 400, "{took_ms}");
            }
        }
    });
}
