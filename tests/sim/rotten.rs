//! Protects a group one of whose logs has rotted: what cannot be read at one broker is repaired from another, consumers get an error there and never a
//! gap while a broker has the message, and no broker is elected with a hole in its log while another one is whole.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ringmq::io::Disk;
use ringmq::message::{Check, Record};
use ringmq::reactor::{self, Role};
use ringmq::sim::{Fault, Op, Rule, SimIo};
use ringmq::store::Flush;
use ringmq::wire::codes::response;

use crate::cluster::SEGMENT_BYTES;
use crate::controlled::group::Group;
use crate::controlled::member::BROKERS;
use crate::replication::{GROUP, MASTER, Pair, SLAVE, TOPIC, queue, send};
use crate::requests::{self, Pull};

/// So many are more than the log buffer holds: the first ones are read from the disk.
const MANY: usize = 700;

/// The damaged message: it is in the log's first file.
const ROTTEN: u64 = 20;

fn each(test: impl AsyncFn(&Group)) {
    for flush in [Flush::Sync, Flush::Async] {
        for seed in 0..2 {
            let group = Group::new(seed, flush);
            group.sim.run(async {
                group.start_all().await;
                group.send_until_acknowledged(MANY).await;
                group.sleep_ms(1_000).await;
                test(&group).await;
            });
        }
    }
}

/// What a consumer gets at an offset: the reply's code, and the offsets of the messages.
async fn pulled(group: &Group, host: &str, offset: u64) -> (i32, BTreeSet<u64>) {
    let mut client = group.client(host).await;
    let queue = queue();
    let pull = Pull::of_all(GROUP, &queue, offset);
    let reply = requests::pull(&mut client, &pull).await.unwrap();
    let records = requests::records(&reply.body).into_iter();
    let found = records.map(|record| record.queue_offset).collect();
    (reply.code, found)
}

fn file_of(position: u64) -> PathBuf {
    let start = position - position % SEGMENT_BYTES;
    PathBuf::from(format!("/store/commitlog/{start:020}"))
}

/// One bit of the message flips at this broker. Nobody has read it there: what was read is in memory for a while.
fn rot(group: &Group, host: &str, offset: u64) {
    flip(group, host, place_of(group, offset));
}

/// Where the message is in the log, by the file of a broker.
fn place_of(group: &Group, offset: u64) -> u64 {
    let io = group.sim.host(BROKERS[0]);
    let bytes = io.peek(&file_of(0), 0, SEGMENT_BYTES as usize).unwrap();
    let mut at = 0;
    while let Ok(record) = Record::decode(&bytes[at..], Check::Layout) {
        if record.topic == TOPIC && record.queue_offset == offset {
            return record.physical_offset;
        }
        at += record.total_size as usize;
    }
    panic!("offset {offset} is not in the first file");
}

/// In the body's number.
fn flip(group: &Group, host: &str, position: u64) {
    let at = position % SEGMENT_BYTES + 90;
    let io = group.sim.host(host);
    io.rot_byte(&file_of(position), at).unwrap();
}

fn others(host: &str) -> Vec<&'static str> {
    let others = BROKERS.into_iter().filter(|other| *other != host);
    others.collect()
}

/// The first file of the log at a broker.
fn first_file(group: &Group, host: &str) -> Vec<u8> {
    let io = group.sim.host(host);
    io.peek(&file_of(0), 0, SEGMENT_BYTES as usize)
        .unwrap_or_default()
}

/// It is the same at all brokers.
fn are_same_bytes(group: &Group) -> bool {
    let first = first_file(group, BROKERS[0]);
    BROKERS.iter().all(|host| first_file(group, host) == first)
}

async fn until_repaired(group: &Group) {
    group.until("repaired", || are_same_bytes(group)).await;
    group.until_whole().await;
    for host in BROKERS {
        group.judge(host).await;
    }
}

#[test]
fn a_slave_with_a_flipped_bit_is_repaired_from_its_master() {
    each(async |group| {
        let (master, epoch) = (group.master().unwrap(), group.epoch());
        let slave = others(master)[0];
        rot(group, slave, ROTTEN);
        let (code, found) = pulled(group, slave, ROTTEN).await;
        assert_eq!((code, found.len()), (response::SYSTEM_ERROR, 0), "no gap");
        // What stands before it is delivered.
        let (code, found) = pulled(group, slave, ROTTEN - 5).await;
        assert!(code == response::SUCCESS, "{code}");
        assert!(found.contains(&(ROTTEN - 1)));
        let found_ns = group.sim.mono_ns();
        until_repaired(group).await;
        let took_ns = group.sim.mono_ns() - found_ns;
        assert!(took_ns < 2_000_000_000, "{took_ns}");
        group.send_until_acknowledged(10).await;
        assert_eq!((group.master(), group.epoch()), (Some(master), epoch));
        assert_eq!(group.set().len(), 3);
    });
}

/// It hands its role over to one that has all of the log, and is repaired as its slave.
#[test]
fn a_master_with_a_flipped_bit_is_replaced_and_repaired() {
    each(async |group| {
        let old = group.master().unwrap();
        rot(group, old, ROTTEN);
        let (code, _) = pulled(group, old, ROTTEN).await;
        assert_eq!(code, response::SYSTEM_ERROR);
        let replaced = || group.master().is_some_and(|master| master != old);
        group.until("replaced", replaced).await;
        let new = group.master().unwrap();
        group.send_until_acknowledged(10).await;
        let (code, found) = pulled(group, new, ROTTEN).await;
        assert_eq!(code, response::SUCCESS);
        assert!(found.contains(&ROTTEN));
        until_repaired(group).await;
        assert_eq!(group.master(), Some(new), "one change");
    });
}

/// The slave cannot be repaired, as its master's disk gives nothing, and then the master dies.
#[test]
fn none_is_elected_with_a_hole_while_another_is_whole() {
    each(async |group| {
        let old = group.master().unwrap();
        // Of two that have as much of the log, the lower number is elected.
        let [damaged, whole] = others(old)[..] else {
            panic!("three brokers");
        };
        let fails = Rule::new(Fault::Io).of(Op::Read).on("commitlog");
        group.sim.host(old).inject(fails);
        rot(group, damaged, ROTTEN);
        let (code, _) = pulled(group, damaged, ROTTEN).await;
        assert_eq!(code, response::SYSTEM_ERROR);
        group.sleep_ms(5_000).await;
        assert_eq!(group.set().len(), 3);
        assert_eq!(group.master(), Some(old));
        let (code, _) = pulled(group, damaged, ROTTEN).await;
        assert_eq!(code, response::SYSTEM_ERROR, "not repaired yet");
        group.sim.crash(old);
        group.send_until_acknowledged(10).await;
        assert_eq!(group.master(), Some(whole));
        group.sim.host(old).heal();
        group.start(old);
        until_repaired(group).await;
    });
}

/// What the master's disk has is no record: the new replica does not join with it, and another broker, which has it whole, becomes the master.
#[test]
fn an_empty_replica_takes_no_damage_over() {
    for flush in [Flush::Sync, Flush::Async] {
        let group = Group::new(3, flush);
        group.sim.run(async {
            group.start_first(2).await;
            group.send_until_acknowledged(MANY).await;
            let old = group.master().unwrap();
            rot(&group, old, ROTTEN);
            let whole = others(old)[0];
            group.start(BROKERS[2]);
            let id = BROKERS.len() as i64;
            group.until("in sync", || group.set().contains(&id)).await;
            assert!(first_file(&group, BROKERS[2]) == first_file(&group, whole));
            let new = group.master().unwrap();
            assert_eq!(new, whole);
            until_repaired(&group).await;
            assert_eq!(group.master(), Some(new));
        });
    }
}

/// It is known again after a restart, and repaired then.
#[test]
fn a_hole_is_not_forgotten_with_the_process() {
    each(async |group| {
        let master = group.master().unwrap();
        let slave = others(master)[0];
        let fails = Rule::new(Fault::Io).of(Op::Read).on("commitlog");
        group.sim.host(master).inject(fails);
        rot(group, slave, ROTTEN);
        pulled(group, slave, ROTTEN).await;
        group.sleep_ms(500).await;
        group.sim.crash(slave);
        group.sim.host(master).heal();
        group.start(slave);
        until_repaired(group).await;
        assert_eq!(group.master(), Some(master));
    });
}

/// All brokers have lost the same message: it is passed over, and the group goes on.
#[test]
fn what_no_broker_has_is_passed_over() {
    let group = Group::new(7, Flush::Sync);
    group.sim.run(async {
        group.start_all().await;
        group.send_until_acknowledged(MANY).await;
        group.sleep_ms(1_000).await;
        let position = place_of(&group, ROTTEN);
        for host in BROKERS {
            flip(&group, host, position);
        }
        let mut passed_over = 0;
        for _ in 0..400 {
            let Some(master) = group.master() else {
                group.sleep_ms(500).await;
                continue;
            };
            for host in BROKERS {
                if group.try_client(host).await.is_err() {
                    continue;
                }
                let (code, found) = pulled(&group, host, ROTTEN).await;
                assert!(!found.contains(&ROTTEN));
                let is_passed = code == response::SUCCESS && found.contains(&(ROTTEN + 1));
                passed_over += u32::from(is_passed && host == master);
            }
            group.send_until_acknowledged(1).await;
            group.sleep_ms(500).await;
        }
        assert!(passed_over > 50, "{passed_over}");
        assert!(group.epoch() < 5, "{}", group.epoch());
        assert_eq!(group.set().len(), 3);
    });
}

/// Damage in what a start reads of the log refuses it. `--skip-damaged` starts without the message, which then comes from the master.
#[test]
fn a_replica_that_skips_damage_gets_it_from_its_master() {
    each(skips_damage);
}

/// Its next start reads the log from the beginning.
async fn without_queues(io: &SimIo) {
    let mut dirs = ["/store/queuejournal", "/store/consumequeue"]
        .map(PathBuf::from)
        .to_vec();
    while let Some(dir) = dirs.pop() {
        for entry in io.list(&dir).await.unwrap() {
            match entry.is_dir {
                true => dirs.push(entry.path),
                false => io.remove_file(&entry.path).await.unwrap(),
            }
        }
    }
}

async fn skips_damage(group: &Group) {
    let master = group.master().unwrap();
    let slave = others(master)[0];
    let position = place_of(group, ROTTEN);
    group.sim.crash(slave);
    flip(group, slave, position);
    let io = group.sim.host(slave);
    without_queues(&io).await;

    let started = reactor::run(io, group.setup(slave), std::future::pending(), |_| {});
    let error = started.await.unwrap_err().to_string();
    assert!(error.contains(&format!("at {position} ")), "{error}");
    group.sim.crash(slave);

    let mut setup = group.setup(slave);
    setup.store.skip_damaged = true;
    group.start_as(slave, setup);
    until_repaired(group).await;
    let (code, found) = pulled(group, slave, ROTTEN).await;
    assert!(code == response::SUCCESS && found.contains(&ROTTEN));
    group.send_until_acknowledged(10).await;
    assert_eq!((group.master(), group.set().len()), (Some(master), 3));
}

/// Without a controller.
#[test]
fn a_slave_of_a_fixed_master_is_repaired() {
    for flush in [Flush::Sync, Flush::Async] {
        let pair = Pair::new(1, flush, Role::SyncMaster);
        pair.sim.run(async {
            let (_master, _slave, mut client) = pair.start_both().await;
            for number in 0..MANY as u64 {
                assert!(send(&mut client, number, "").await.is_success());
            }
            pair.sleep_ms(1_000).await;
            let bytes = |host| {
                let io = pair.sim.host(host);
                io.peek(&file_of(0), 0, SEGMENT_BYTES as usize).unwrap()
            };
            let slave = pair.sim.host(SLAVE);
            slave.rot_byte(&file_of(0), 20_000).unwrap();
            assert!(pair.bodies(SLAVE).await.len() < MANY, "no gap");
            pair.until("repaired", || bytes(SLAVE) == bytes(MASTER))
                .await;
            assert!(pair.until_same().await.len() > MANY);
        });
    }
}
