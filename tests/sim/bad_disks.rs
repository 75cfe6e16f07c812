//! Protects what is promised when the disk is to blame: after an error of the log nothing more is acknowledged, and what
//! was stays, through every end that follows; a rotten sector is never delivered.

use std::collections::BTreeSet;

use ringmq::io::Disk;
use ringmq::message::ids::parse_offset_message_id;
use ringmq::sim::{Fault, Op, Rule, Tally};
use ringmq::store::Flush;
use ringmq::wire::codes::response;

use crate::cluster::{Cluster, FLUSH_INTERVAL_MS};
use crate::dice::Dice;
use crate::faults::{Producer, started};
use crate::oracle::{Queue, Told};
use crate::recovered;
use crate::requests::{self, Pull};
use crate::workload::CREATED;

const SEEDS: std::ops::Range<u64> = 0..12;
const MS: u64 = 1_000_000;
const SECTOR_BYTES: u64 = 512;

#[test]
fn after_an_error_of_the_log_what_was_acknowledged_stays() {
    for seed in SEEDS {
        failing_log(seed);
    }
}

/// The log fails at some time; the broker ends, starts, works, and its host loses its power.
pub fn failing_log(seed: u64) -> Tally {
    let dice = Dice::new(seed, 31);
    let flush = *dice.pick(&[Flush::Sync, Flush::Async]);
    let cluster = Cluster::new(seed, flush);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(dice.within(0, 60) as usize).await;
        let (fault, op) = *dice.pick(&[
            (Fault::Io, Op::Write),
            (Fault::Io, Op::Sync),
            (Fault::Short, Op::Write),
        ]);
        let rule = Rule::new(fault).of(op).on("commitlog");
        let passes = if op == Op::Sync { 3 } else { 20 };
        cluster.broker().inject(rule.after(dice.below(passes)));
        let mut tries = 0;
        while producer.send(300).await.1.is_success() {
            cluster.sleep_ms(10).await;
            tries += 1;
            assert!(tries < 300, "{flush:?}: sends go on although {op:?} fails");
        }
        // What the flush that failed was to save is as if the power had gone.
        producer.oracle().power_was_cut(cluster.sim.mono_ns());
        cluster.broker().heal();
        for _ in 0..5 {
            let (_, reply) = producer.send(300).await;
            assert!(
                !reply.is_success(),
                "acknowledged after an error of the log: {reply:?}"
            );
        }
        recovered::read_all(&cluster, &shared).await;
        if op == Op::Sync {
            // What was read from memory just now the device has lost, however the process ends.
            producer.oracle().power_was_cut(cluster.sim.mono_ns());
        }
        for _ in 0..dice.within(1, 3) {
            end(&cluster, &producer, &dice);
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
            producer = Producer::new(&cluster, &shared, "producer").await;
            producer.send_well(dice.within(1, 20) as usize).await;
            cluster.sleep_ms(dice.below(2 * FLUSH_INTERVAL_MS)).await;
        }
        end(&cluster, &producer, &dice);
        cluster.start().await;
        recovered::read_all(&cluster, &shared).await;
    });
    cluster.sim.tally()
}

#[test]
fn a_single_error_of_a_flush_is_not_passed_over() {
    for seed in SEEDS {
        failing_flush(seed);
    }
}

/// The kernel tells it once, and all later flushes succeed.
pub fn failing_flush(seed: u64) -> Tally {
    let dice = Dice::new(seed, 33);
    let cluster = Cluster::new(seed, Flush::Async);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(dice.within(0, 60) as usize).await;
        cluster.sleep_ms(2 * FLUSH_INTERVAL_MS).await;
        producer.send_well(dice.within(1, 5) as usize).await;
        let rule = Rule::new(Fault::Io).of(Op::Sync).on("commitlog");
        cluster.broker().inject(rule.times(1));
        cluster.sleep_ms(2 * FLUSH_INTERVAL_MS).await;
        let (_, reply) = producer.send(300).await;
        assert!(!reply.is_success(), "taken after a flush that failed");
        producer
            .oracle()
            .power_was_cut(cluster.sim.mono_ns() - 2 * FLUSH_INTERVAL_MS * MS);
        end(&cluster, &producer, &dice);
        cluster.start().await;
        recovered::read_all(&cluster, &shared).await;
    });
    cluster.sim.tally()
}

fn end(cluster: &Cluster, producer: &Producer, dice: &Dice) {
    if dice.one_in(3) {
        return cluster.kill();
    }
    cluster.cut_power();
    producer.oracle().power_was_cut(cluster.sim.mono_ns());
}

#[test]
fn rot_is_never_delivered() {
    for seed in SEEDS {
        rot(seed);
    }
}

/// Sectors of the log rot while the broker is stopped.
pub fn rot(seed: u64) -> Tally {
    const MESSAGES: usize = 200;
    let dice = Dice::new(seed, 32);
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        let mut last = 0;
        for _ in 0..MESSAGES {
            let (_, reply) = producer.send(dice.within(8, 3_000) as usize).await;
            assert!(reply.is_success(), "{reply:?}");
            (_, last) = parse_offset_message_id(reply.text("msgId")).unwrap();
        }
        let lost_from = MESSAGES as u64;
        cluster.stop().await;
        let broker = cluster.broker();
        let files = broker.list("/store/commitlog".as_ref()).await.unwrap();
        for _ in 0..dice.within(1, 12) {
            let place = dice.below(files.len() as u64);
            let file = &files[place as usize];
            let at = dice.below(file.len_bytes);
            // Without its last message the log is not the one that the queues are of, and the start would be refused.
            if place * file.len_bytes + at < last / SECTOR_BYTES * SECTOR_BYTES {
                broker.rot_sector(&file.path, at).unwrap();
            }
        }
        cluster.start().await;
        let found = read_what_can_be_read(&cluster, &producer, lost_from).await;
        match dice.one_in(2) {
            true => cluster.kill(),
            false => cluster.cut_power(),
        }
        cluster.start().await;
        let again = read_what_can_be_read(&cluster, &producer, lost_from).await;
        assert_eq!(found, again, "a restart changes what can be read");
    });
    cluster.sim.tally()
}

/// Which offsets of the queue are answered with messages; the oracle looks at every one.
async fn read_what_can_be_read(cluster: &Cluster, producer: &Producer, end: u64) -> BTreeSet<u64> {
    let mut client = cluster.client("reader").await;
    let queue = Queue {
        topic: CREATED[0].to_owned(),
        id: 0,
    };
    let mut found = BTreeSet::new();
    for offset in 0..end {
        let pull = Pull::of_all("readers", &queue, offset);
        let asked_ns = cluster.sim.mono_ns();
        let reply = requests::pull(&mut client, &pull).await.unwrap();
        let told = Told {
            asked_ns,
            told_ns: asked_ns + MS,
        };
        match reply.code {
            response::SUCCESS => {
                // What cannot be read is passed over.
                for record in requests::records(&reply.body) {
                    let at = record.queue_offset;
                    assert!(at >= offset, "asked for {offset}: {record:?}");
                    producer.oracle().delivered(&queue, at, &record, told);
                    found.insert(at);
                }
            }
            response::SYSTEM_ERROR => {}
            _ => panic!("a pull from {offset}: {reply:?}"),
        }
    }
    found
}
