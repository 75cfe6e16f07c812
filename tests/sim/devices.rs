//! Protects what is promised on a device that misbehaves beside the log, or in ways that a broker may take for something
//! else: a flush of any file that fails and takes with it what no file had flushed, a lack of descriptors and memory, writes
//! that land in another block, names that take seconds, queue files that rot, a disk that only retention makes room on.

use std::path::Path;
use std::rc::Rc;

use ringmq::io::Disk;
use ringmq::mem::BLOCK_BYTES;
use ringmq::sim::{Fault, Lack, Op, Rule, SimConfig, Tally};
use ringmq::store::{Flush, Retention};
use ringmq::wire::codes::response;

use crate::cluster::{BROKER, Cluster, FLUSH_INTERVAL_MS};
use crate::dice::Dice;
use crate::faults::{Producer, started};
use crate::leftovers::Fitting;
use crate::oracle::{Queue, Told};
use crate::recovered;
use crate::requests::{self, Pull};
use crate::workload::{CREATED, Shared};

const SEEDS: std::ops::Range<u64> = 0..8;
const MS: u64 = 1_000_000;
const TOPIC: &str = CREATED[0];

/// What is written beside the log while messages are sent and a topic is created.
const BESIDE: [&str; 6] = [
    "queuejournal",
    "acknowledged",
    "checkpoint",
    "consumequeue",
    "index",
    ".json",
];

#[test]
fn a_flush_that_fails_beside_the_log_ends_the_acknowledgements() {
    for seed in SEEDS {
        lost_cache(seed);
    }
}

/// Once, the flush of a file beside the log fails, and the device has lost what no file had flushed. All later flushes
/// succeed.
pub fn lost_cache(seed: u64) -> Tally {
    let dice = Dice::new(seed, 61);
    let cluster = Cluster::new(seed, Flush::Async);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(dice.within(0, 60) as usize).await;
        let path = *dice.pick(&BESIDE);
        let fault = Rule::new(Fault::Io).of(Op::Sync).on(path);
        cluster.broker().inject(fault.after(dice.below(3)).times(1));
        let mut admin = cluster.client("admin").await;
        for n in 0..600 {
            if failed_flushes(&cluster) > 0 {
                break;
            }
            if n % 100 == 0 {
                requests::create_topic(&mut admin, &format!("another-{n}"));
                admin.flush().await.unwrap();
            }
            producer.send(dice.within(8, 900) as usize).await;
            cluster.sleep_ms(dice.below(20)).await;
        }
        if failed_flushes(&cluster) > 0 {
            // A fault is counted when its operation begins.
            cluster.sleep_ms(5).await;
            producer.oracle().power_was_cut(cluster.sim.mono_ns());
        }
        // Longer than the log waits for its next flush.
        for _ in 0..40 {
            producer.send(300).await;
            cluster.sleep_ms(50).await;
        }
        cluster.broker().heal();
        for _ in 0..dice.within(1, 2) {
            match dice.one_in(3) {
                true => cluster.kill(),
                false => cut_power(&cluster, &shared),
            }
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
            cluster.sleep_ms(dice.below(4 * FLUSH_INTERVAL_MS)).await;
        }
        cut_power(&cluster, &shared);
        cluster.start().await;
        recovered::read_all(&cluster, &shared).await;
    });
    cluster.sim.tally()
}

fn failed_flushes(cluster: &Cluster) -> u64 {
    let tally = cluster.sim.tally();
    tally.faults.get("EIO on flushes").copied().unwrap_or(0)
}

fn cut_power(cluster: &Cluster, shared: &Rc<Shared>) {
    cluster.cut_power();
    let now_ns = cluster.sim.mono_ns();
    shared.oracle.borrow_mut().power_was_cut(now_ns);
}

#[test]
fn a_shortage_neither_fences_nor_loses() {
    for seed in SEEDS {
        shortages(seed);
    }
}

/// For some time nothing can be opened, made longer or accepted, and no write of the log begins.
pub fn shortages(seed: u64) -> Tally {
    let dice = Dice::new(seed, 62);
    let cluster = Cluster::new(seed, *dice.pick(&[Flush::Sync, Flush::Async]));
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.client.patience = std::time::Duration::from_secs(30);
        for _ in 0..4 {
            for (op, path) in [(Op::Open, ""), (Op::Length, ""), (Op::Write, "commitlog")] {
                let lack = *dice.pick(&[
                    Lack::DescriptorsOfProcess,
                    Lack::DescriptorsOfSystem,
                    Lack::Memory,
                ]);
                let rule = Rule::new(Fault::Shortage(lack)).of(op).on(path);
                let rule = rule.after(dice.below(6)).times(dice.within(1, 8));
                cluster.broker().inject(rule);
            }
            cluster.sim.fail_accepts(BROKER, dice.within(1, 4));
            // Enough for the log's next files.
            for _ in 0..dice.within(20, 60) {
                let (_, reply) = producer.send(dice.within(8, 9_000) as usize).await;
                let is_late = reply.code == response::SYSTEM_BUSY;
                assert!(reply.is_success() || is_late, "{reply:?}");
            }
            cluster.sleep_ms(2_000).await;
            cluster.broker().heal();
            cluster.sleep_ms(2_000).await;
            let mut another = Producer::new(&cluster, &shared, "another").await;
            another.send_well(5).await;
        }
        cut_power(&cluster, &shared);
        cluster.start().await;
        recovered::read_all(&cluster, &shared).await;
    });
    cluster.sim.tally()
}

#[test]
fn what_was_written_to_another_place_is_not_delivered() {
    for seed in SEEDS {
        misdirected(seed);
    }
}

/// Records of one block each, so that a block in another place is a whole record.
pub fn misdirected(seed: u64) -> Tally {
    const BURSTS: u64 = 60;
    let dice = Dice::new(seed, 63);
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut fitting = Fitting::new(&cluster, &shared).await;
        fitting.unit_bytes = BLOCK_BYTES;
        fitting.burst(1, 0).await;
        let rule = Rule::new(Fault::Misdirected).of(Op::Write).on("commitlog");
        let rule = rule.after(dice.within(2, 60)).times(dice.within(1, 6));
        cluster.broker().inject(rule);
        for _ in 0..BURSTS {
            fitting.burst(dice.within(1, 8), 0).await;
        }
        cluster.broker().heal();
        let mut producer = fitting.producer;
        let end = requests::max_offset(&mut producer.client, &queue()).await;
        let end = end.unwrap().number("offset") as u64;
        for _ in 0..2 {
            for offset in (0..end).step_by(7) {
                check_one(&cluster, &mut producer, offset).await;
            }
            cluster.stop().await;
            cluster.start().await;
            producer = Producer::new(&cluster, &shared, "producer").await;
        }
    });
    cluster.sim.tally()
}

/// The queue's messages from there on are the right ones, or are passed over.
async fn check_one(cluster: &Cluster, producer: &mut Producer, offset: u64) {
    let asked_ns = cluster.sim.mono_ns();
    let reply = pull(producer, offset).await;
    if !reply.is_success() {
        return;
    }
    let told = Told {
        asked_ns,
        told_ns: cluster.sim.mono_ns(),
    };
    let next = reply.number("nextBeginOffset") as u64;
    let mut least = offset;
    for record in requests::records(&reply.body) {
        let at = record.queue_offset;
        assert!(
            (least..next).contains(&at),
            "in {least}..{next}: {record:?}"
        );
        least = at + 1;
        producer.oracle().delivered(&queue(), at, &record, told);
    }
}

fn queue() -> Queue {
    Queue {
        topic: TOPIC.to_owned(),
        id: 0,
    }
}

async fn pull(producer: &mut Producer, offset: u64) -> crate::client::Reply {
    let queue = queue();
    let pull = Pull::of_all("readers", &queue, offset);
    requests::pull(&mut producer.client, &pull).await.unwrap()
}

#[test]
fn names_that_take_seconds_delay_nobody() {
    for seed in SEEDS {
        slow_names(seed);
    }
}

/// Creations of directories, renames, removals and listings. Messages are sent and read meanwhile, within a file of
/// the log that is there.
pub fn slow_names(seed: u64) -> Tally {
    const MOST_MS: u64 = 100;
    let dice = Dice::new(seed, 64);
    let cluster = Cluster::new(seed, *dice.pick(&[Flush::Sync, Flush::Async]));
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(10).await;
        cluster.sleep_ms(2_000).await;
        let slow = Fault::Stall(std::time::Duration::from_millis(dice.within(2_000, 6_000)));
        cluster.broker().inject(Rule::new(slow).of(Op::Names));
        for n in 0..60 {
            producer.send_well(1).await;
            let took_ms = (producer.told.told_ns - producer.told.asked_ns) / MS;
            assert!(took_ms < MOST_MS, "a send took {took_ms} ms");
            requests::commit_offset(&mut producer.client, "readers", &queue(), n);
            producer.client.flush().await.unwrap();
            producer.client.reply().await.unwrap();
            let asked_ns = cluster.sim.mono_ns();
            assert!(pull(&mut producer, n).await.is_success());
            requests::heartbeat(&mut producer.client, "producer")
                .await
                .unwrap();
            let took_ms = (cluster.sim.mono_ns() - asked_ns) / MS;
            assert!(
                took_ms < MOST_MS,
                "a pull and a heartbeat took {took_ms} ms"
            );
            cluster.sleep_ms(dice.below(400)).await;
        }
        match dice.one_in(2) {
            true => cluster.kill(),
            false => cut_power(&cluster, &shared),
        }
        cluster.broker().heal();
        cluster.start().await;
        recovered::read_all(&cluster, &shared).await;
    });
    cluster.sim.tally()
}

#[test]
fn queue_files_that_rot_cost_no_message() {
    for seed in SEEDS {
        rotten_queues(seed);
    }
}

/// Of the 20 bytes of a queue entry: where the size of its message stands.
const SIZE_IN_ENTRY: u64 = 8;
const ENTRY_BYTES: u64 = 20;

/// Bits flip at rest in the sizes that queue entries have, which the log says, too.
pub fn rotten_queues(seed: u64) -> Tally {
    let dice = Dice::new(seed, 65);
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        for _ in 0..3 {
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            for _ in 0..dice.within(20, 60) {
                let (_, reply) = producer.send(dice.within(8, 9_000) as usize).await;
                assert!(reply.is_success(), "{reply:?}");
            }
            cluster.sleep_ms(dice.below(3_000)).await;
            match dice.below(3) {
                0 => cluster.stop().await,
                1 => cluster.kill(),
                _ => cut_power(&cluster, &shared),
            }
            let dir = format!("/store/consumequeue/{TOPIC}/0");
            let files = cluster.broker().list(Path::new(&dir)).await.unwrap();
            for _ in 0..dice.within(1, 4) {
                let Some(file) = files.first() else { continue };
                let at = SIZE_IN_ENTRY + ENTRY_BYTES * dice.below(60);
                cluster.broker().rot_byte(&file.path, at).unwrap();
            }
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
        }
    });
    cluster.sim.tally()
}

#[test]
fn a_disk_that_is_full_of_old_messages_takes_new_ones() {
    for seed in SEEDS {
        small_disk(seed);
    }
}

/// More is sent than the disk holds, and there is space only because files are removed before their time.
pub fn small_disk(seed: u64) -> Tally {
    let dice = Dice::new(seed, 66);
    let retention = Retention {
        reserved_ms: 72 * 3_600_000,
        delete_hours: Vec::new(),
        interval_ms: 500,
        clean_forcibly: true,
        // Space runs out before sends are refused for a ratio.
        max_used_percent: 100,
        forcible_percent: 100,
        warning_percent: 100,
        ..Retention::default()
    };
    let flush = *dice.pick(&[Flush::Sync, Flush::Async]);
    let cluster = Cluster::within(seed, flush, retention, SimConfig::default());
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(20).await;
        cluster.sleep_ms(2_000).await;
        let io = cluster.broker();
        let space = io.space(Path::new("/")).await.unwrap();
        let left_bytes = dice.within(900 << 10, 3 << 20);
        io.occupy(space.available_bytes - left_bytes);
        let (mut sent_bytes, mut taken) = (0, 0);
        while sent_bytes < 2 * left_bytes {
            let bytes = dice.within(4_000, 16_000);
            let (_, reply) = producer.send(bytes as usize).await;
            sent_bytes += bytes;
            match reply.code {
                response::SUCCESS => taken += 1,
                _ => cluster.sleep_ms(200).await,
            }
        }
        assert!(taken > 50, "{taken}");
        cluster.sleep_ms(5_000).await;
        let mut last = 0;
        for _ in 0..20 {
            last = send_in_time(&cluster, &mut producer).await;
            cluster.sleep_ms(300).await;
        }
        match dice.one_in(2) {
            true => cluster.kill(),
            false => cut_power(&cluster, &shared),
        }
        cluster.start().await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        check_one(&cluster, &mut producer, last - 10).await;
    });
    cluster.sim.tally()
}

/// The offset of a message that is taken within the time in which a file is removed.
async fn send_in_time(cluster: &Cluster, producer: &mut Producer) -> u64 {
    for _ in 0..20 {
        let (_, reply) = producer.send(9_000).await;
        if reply.is_success() {
            return reply.number("queueOffset") as u64;
        }
        cluster.sleep_ms(500).await;
    }
    panic!("no message is taken for 10 s");
}
