//! Protects a group one of whose logs has rotted: what cannot be read at one broker is repaired from another, consumers get an error there and never a
//! gap while a broker has the message, and no broker is elected with a hole in its log while another one is whole.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ringmq::io::Disk;
use ringmq::message::{Check, Record};
use ringmq::reactor::{self, Role};
use ringmq::sim::{Fault, Op, Rule, SimIo, Tally};
use ringmq::store::Flush;
use ringmq::wire::Codec;
use ringmq::wire::codes::response;

use crate::client::Client;
use crate::cluster::SEGMENT_BYTES;
use crate::controlled::group::Group;
use crate::controlled::member::BROKERS;
use crate::replication::{GROUP, MASTER, Pair, SLAVE, TOPIC, queue, send};
use crate::requests::{self, Pull};
use crate::seeds;

/// So many are more than the log buffer holds: the first ones are read from the disk.
const MANY: usize = 700;

/// The damaged message: it is in the log's first file.
const ROTTEN: u64 = 20;

/// In a record: its size, its magic, its position in the log, the number in its body.
const SIZE_AT: u64 = 2;
const MAGIC_AT: u64 = 5;
const POSITION_AT: u64 = 30;
const NUMBER_AT: u64 = 90;
const BYTES: [u64; 4] = [SIZE_AT, MAGIC_AT, POSITION_AT, NUMBER_AT];

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
    try_pulled(group, host, offset).await.unwrap()
}

/// An error while the broker does not listen.
async fn try_pulled(group: &Group, host: &str, offset: u64) -> io::Result<(i32, BTreeSet<u64>)> {
    let mut client = group.try_client(host).await?;
    let queue = queue();
    let pull = Pull::of_all(GROUP, &queue, offset);
    let reply = requests::pull(&mut client, &pull).await?;
    let records = requests::records(&reply.body).into_iter();
    let found = records.map(|record| record.queue_offset).collect();
    Ok((reply.code, found))
}

fn file_of(position: u64) -> PathBuf {
    let start = position - position % SEGMENT_BYTES;
    PathBuf::from(format!("/store/commitlog/{start:020}"))
}

/// One bit of the message flips at this broker. Nobody has read it there: what was read is in memory for a while.
fn rot(group: &Group, host: &str, offset: u64) {
    flip(group, host, place_of(group, offset), NUMBER_AT);
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

fn flip(group: &Group, host: &str, position: u64, byte: u64) {
    let at = position % SEGMENT_BYTES + byte;
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

/// What the master's disk has is no record: the new replica does not join with it, and another broker, which has it whole, becomes the master. Where the first
/// bytes of the record have rotted nothing begins at that place, as at any within a record.
#[test]
fn an_empty_replica_takes_no_damage_over() {
    for flush in [Flush::Sync, Flush::Async] {
        for byte in BYTES {
            let group = Group::new(3, flush);
            group
                .sim
                .run(takes_no_damage_over(&group, byte, async || {}));
        }
    }
}

/// The same when the master has read the record before, and has it whole in memory.
#[test]
fn damage_is_found_although_the_record_is_in_memory() {
    seeds::from_environment("in memory", in_memory, BYTES.len() as u64);
}

pub fn in_memory(seed: u64) -> Tally {
    let flush = [Flush::Sync, Flush::Async][seed as usize % 2];
    let group = Group::new(seed, flush);
    let byte = BYTES[seed as usize % BYTES.len()];
    let read = async || {
        // The scrub has read that part of the log by then.
        group.sleep_ms(25_000).await;
        let (code, found) = pulled(&group, group.master().unwrap(), ROTTEN).await;
        assert!(code == response::SUCCESS && found.contains(&ROTTEN));
    };
    group.sim.run(takes_no_damage_over(&group, byte, read));
    group.sim.tally()
}

async fn takes_no_damage_over(group: &Group, byte: u64, before: impl AsyncFn()) {
    group.start_first(2).await;
    group.send_until_acknowledged(MANY).await;
    before().await;
    let old = group.master().unwrap();
    flip(group, old, place_of(group, ROTTEN), byte);
    let whole = others(old)[0];
    group.start(BROKERS[2]);
    let id = BROKERS.len() as i64;
    group.until("in sync", || group.set().contains(&id)).await;
    assert!(first_file(group, BROKERS[2]) == first_file(group, whole));
    let new = group.master().unwrap();
    assert_eq!(new, whole);
    until_repaired(group).await;
    assert_eq!(group.master(), Some(new));
}

/// The master has just been elected, and the broker that has the message has not found it yet: consumers wait.
#[test]
fn a_master_that_is_alone_passes_over_nothing() {
    seeds::from_environment("alone", alone, 4);
}

pub fn alone(seed: u64) -> Tally {
    let flush = [Flush::Sync, Flush::Async][seed as usize % 2];
    let group = Group::new(seed, flush);
    group.sim.run(async {
        group.start_all().await;
        group.send_until_acknowledged(MANY).await;
        group.sleep_ms(1_000).await;
        let old = group.master().unwrap();
        // Of two that have as much of the log, the lower number is elected.
        let [damaged, whole] = others(old)[..] else {
            panic!("three brokers");
        };
        rot(&group, damaged, ROTTEN);
        group.sim.partition(damaged, whole);
        group.sim.crash(old);
        let is_elected = || group.master() == Some(damaged);
        group.until("elected", is_elected).await;
        waits(&group, damaged, 5_000).await;
        assert!(is_elected());
        group.sim.heal_partition(damaged, whole);
        group.start(old);
        until_repaired(&group).await;
    });
    group.sim.tally()
}

/// The first reader of a slave that was started comes before its repair has begun.
#[test]
fn a_start_passes_over_nothing() {
    seeds::from_environment("start", start, 4);
}

pub fn start(seed: u64) -> Tally {
    let flush = [Flush::Sync, Flush::Async][seed as usize % 2];
    let pair = Pair::new(seed, flush, Role::SyncMaster);
    pair.sim.run(async {
        let (_master, _slave, mut client) = pair.start_both().await;
        for number in 0..MANY as u64 {
            assert!(send(&mut client, number, "").await.is_success());
        }
        // The slave gets the group. Its next start writes it to a file, which takes some time.
        pair.bodies_from(MASTER, MANY as u64).await;
        pair.sleep_ms(1_500).await;
        let (master, slave) = (pair.sim.host(MASTER), pair.sim.host(SLAVE));
        slave.rot_byte(&file_of(0), 20_000).unwrap();
        master.inject(Rule::new(Fault::Io).of(Op::Read).on("commitlog"));
        pair.sim.crash(SLAVE);
        let stall = Fault::Stall(Duration::from_millis(50));
        slave.inject(Rule::new(stall).of(Op::Write).on("config"));
        let started = pair.start(SLAVE);
        let (_slave, waits) = futures_util::future::join(started, reads_on(&pair)).await;
        assert!(waits > 10, "{waits}");
    });
    pair.sim.tally()
}

/// A consumer of the slave reads all, again and again from where it is. Returns how often it got an error.
async fn reads_on(pair: &Pair) -> u32 {
    let (mut offset, mut waits) = (0, 0);
    let (queue, io) = (queue(), pair.sim.host("reader"));
    for _ in 0..500 {
        pair.sleep_ms(1).await;
        let connected = Client::connect(&io, pair.addr(SLAVE), Codec::Rocketmq).await;
        let Ok(mut client) = connected else { continue };
        let pull = Pull::of_all(GROUP, &queue, offset);
        let Ok(reply) = requests::pull(&mut client, &pull).await else {
            continue;
        };
        waits += u32::from(reply.code == response::SYSTEM_ERROR);
        for record in requests::records(&reply.body) {
            assert_eq!(record.queue_offset, offset, "passed over");
            offset += 1;
        }
    }
    waits
}

/// Consumers of this broker get an error at the damaged message, whenever they get an answer.
async fn waits(group: &Group, host: &str, ms: u64) {
    let (until_ns, mut waits) = (group.sim.mono_ns() + ms * 1_000_000, 0);
    while group.sim.mono_ns() < until_ns {
        if let Ok((code, found)) = try_pulled(group, host, ROTTEN).await {
            let is_there = found.first() == Some(&ROTTEN);
            assert!(is_there || found.is_empty(), "passed over: {found:?}");
            waits += u32::from(code == response::SYSTEM_ERROR);
        }
        group.sleep_ms(1).await;
    }
    assert!(waits > 10, "{waits}");
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
            flip(&group, host, position, NUMBER_AT);
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
    flip(group, slave, position, NUMBER_AT);
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
