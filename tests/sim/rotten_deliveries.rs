//! Protects what a master had delivered of delayed and timed messages, where its successor cannot read that part of its log: another broker of the group
//! can, and nothing is delivered twice.

use std::path::Path;

use ringmq::message::properties::{DELAY, TIMER_DELAY_MS};
use ringmq::message::{Check, Record};
use ringmq::sim::Tally;
use ringmq::store::Flush;

use crate::cluster::SEGMENT_BYTES;
use crate::controlled::group::Group;
use crate::controlled::member::BROKERS;
use crate::replication::{TOPIC, send};
use crate::seeds;
use crate::switch::property;

const NUMBER: u64 = 4_711;
const LOG: &str = "/store/commitlog/00000000000000000000";

#[test]
fn what_was_delivered_is_not_delivered_again_though_it_has_rotted() {
    seeds::from_environment("rotten deliveries", rotten_deliveries, 16);
}

/// Or the other test shows nothing.
#[test]
fn a_broker_is_elected_that_cannot_read_what_was_delivered() {
    let elected = (1..=6).filter(|seed| was_elected(*seed).1);
    assert!(elected.count() > 0);
}

pub fn rotten_deliveries(seed: u64) -> Tally {
    was_elected(seed).0
}

/// Whether it was elected, too.
fn was_elected(seed: u64) -> (Tally, bool) {
    let waits = match seed / 2 % 2 {
        0 => property(DELAY, 1),
        _ => property(TIMER_DELAY_MS, 1_000),
    };
    let flush = [Flush::Sync, Flush::Async][seed as usize % 2];
    let group = Group::new(seed, flush);
    let is_head = seed / 4 % 2 == 1;
    let was_elected = group.sim.run(delivers_once(&group, &waits, is_head));
    (group.sim.tally(), was_elected)
}

/// Whether the broker was elected whose log has rotted.
async fn delivers_once(group: &Group, waits: &str, is_head: bool) -> bool {
    group.start_all().await;
    group.send_until_acknowledged(1).await;
    group.sleep_ms(3_000).await;
    let old = group.master().unwrap();
    let mut others = BROKERS.into_iter().filter(|host| *host != old);
    let damaged = others.next().unwrap();
    let mut client = group.client(old).await;
    let reply = send(&mut client, NUMBER, waits).await;
    assert!(reply.is_success(), "{reply:?}");
    let times = async |host| {
        let messages = group.messages(host).await;
        messages.iter().filter(|it| **it == NUMBER).count()
    };
    while times(old).await == 0 {
        group.sleep_ms(5).await;
    }
    // By the second one its slaves know that the first one was confirmed.
    group.send_until_acknowledged(2).await;
    group.sim.crash(old);
    rot_delivered(group, damaged, is_head);
    let is_elected = || group.master().is_some_and(|master| master != old);
    group.until("elected", is_elected).await;
    let was_elected = group.master() == Some(damaged);
    group.sleep_ms(10_000).await;
    // What is in the last block of the log is repaired when the log has grown.
    group.send_until_acknowledged(30).await;
    group.start(old);
    let all = all_messages(group, 1 + 1 + 2 + 30).await;
    let times = all.iter().filter(|it| **it == NUMBER).count();
    assert_eq!(times, 1, "{all:?}");
    was_elected
}

/// What a master has, once that is so many messages at least; its role may change before, as damage is found by reading.
async fn all_messages(group: &Group, least: usize) -> Vec<u64> {
    for _ in 0..600 {
        group.sleep_ms(100).await;
        let Some(master) = group.master() else {
            continue;
        };
        match group.try_messages(master).await {
            Ok(all) if all.len() >= least => return all,
            _ => {}
        }
    }
    panic!("no master gives {least} messages");
}

/// A bit of the delivered message flips on the device of this broker; in its head, nothing tells that a record begins there.
fn rot_delivered(group: &Group, host: &str, is_head: bool) {
    let io = group.sim.host(host);
    let bytes = io.peek(Path::new(LOG), 0, SEGMENT_BYTES as usize).unwrap();
    let mut at = 0;
    while let Ok(record) = Record::decode(&bytes[at..], Check::Layout) {
        let size = record.total_size as usize;
        if record.topic == TOPIC && record.body.starts_with(&NUMBER.to_be_bytes()) {
            let byte = if is_head { at + 5 } else { at + size / 2 };
            return io.rot_byte(Path::new(LOG), byte as u64).unwrap();
        }
        at += size;
    }
    panic!("{host} does not have it");
}
