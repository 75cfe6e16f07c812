//! Protects the log's end, and what is saved beside the log, from what ends leave on the device: whole records behind the
//! end that are of an earlier life, or of the file's former place; entries of messages that are lost; files that were not
//! flushed. Nothing of it may be taken for the log's, and nothing that was read may go with the next end.
//!
//! The records here fill whole sectors, so that a power cut keeps some of them as they are and others not at all.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ringmq::io::{Clock, Disk};
use ringmq::message::ids::parse_offset_message_id;
use ringmq::sim::{Fault, Op, Rule, Tally};
use ringmq::store::{Flush, Retention};

use crate::client::Reply;
use crate::cluster::{Cluster, FLUSH_INTERVAL_MS};
use crate::dice::Dice;
use crate::faults::{Producer, started};
use crate::oracle::{Oracle, Queue, Told};
use crate::recovered;
use crate::requests::{self, Pull};
use crate::sent::Sent;
use crate::workload::{CREATED, Shared};

const SEEDS: std::ops::Range<u64> = 0..8;
const SECTOR_BYTES: usize = 512;
const MS: u64 = 1_000_000;
const TOPIC: &str = CREATED[0];

/// What is appended at once so that the zeros ahead of the log are overtaken.
const MANY: u64 = 80;

/// Sends messages whose records fill whole sectors.
pub struct Fitting {
    pub producer: Producer,
    /// Of a record, besides what its producer gives.
    overhead_bytes: usize,
    next_number: u64,
    /// More of each record than it needs.
    pub extra_bytes: usize,
    /// Each record ends at a multiple of this.
    pub unit_bytes: usize,
    /// Behind the last record, as far as it is known.
    pub tail: u64,
}

impl Fitting {
    pub async fn new(cluster: &Cluster, shared: &Rc<Shared>) -> Self {
        let mut producer = Producer::new(cluster, shared, "producer").await;
        let (sent, reply) = producer.send(8).await;
        let (_, physical_offset) = parse_offset_message_id(reply.text("msgId")).unwrap();
        let offset = reply.number("queueOffset") as u64;
        let queue = queue();
        let pull = pull_from(&queue, offset);
        let found = requests::pull(&mut producer.client, &pull).await.unwrap();
        let size = requests::records(&found.body)[0].total_size as usize;
        let mut fitting = Fitting {
            producer,
            overhead_bytes: size - given_bytes(&sent),
            next_number: sent.number + 1,
            extra_bytes: 0,
            unit_bytes: SECTOR_BYTES,
            tail: physical_offset + size as u64,
        };
        // Its record ends with a sector, as all others from then on.
        fitting.burst(1, 0).await;
        fitting
    }

    /// Goes on after a start, with the next sector.
    async fn reconnect(&mut self, cluster: &Cluster) {
        self.producer = Producer::new(cluster, &self.producer.shared, "producer").await;
        self.tail = 0;
    }

    /// All in one piece, and all acknowledged.
    pub async fn burst(&mut self, count: u64, queue_id: i32) {
        let asked_ns = self.producer.client.io.now().mono_ns;
        let mut asked: HashMap<i32, Sent> = HashMap::new();
        for _ in 0..count {
            let sent = self.next();
            let opaque = requests::send(&mut self.producer.client, &sent, queue_id);
            asked.insert(opaque, sent);
        }
        self.producer.client.flush().await.unwrap();
        for _ in 0..count {
            let reply = self.producer.client.reply().await.unwrap();
            assert!(reply.is_success(), "{reply:?}");
            let sent = asked.remove(&reply.opaque).expect("an answer to a send");
            self.tail = self.tail.max(self.end_of(&sent, &reply));
            let told = Told {
                asked_ns,
                told_ns: self.producer.client.io.now().mono_ns,
            };
            let offset = reply.number("queueOffset") as u64;
            let mut oracle = self.producer.oracle();
            oracle.acknowledged(&sent, queue_id, offset, told);
        }
        assert!(self.tail.is_multiple_of(SECTOR_BYTES as u64));
    }

    pub fn next(&mut self) -> Sent {
        let now_ms = self.producer.client.io.now().unix_ms;
        let draft = Sent {
            number: self.next_number,
            topic: TOPIC.to_owned(),
            body_bytes: 8,
            delay_level: 0,
            is_half: false,
            born_ms: now_ms,
        };
        let least = self.tail as usize + self.overhead_bytes + given_bytes(&draft);
        let padding = least.next_multiple_of(self.unit_bytes) - least;
        let body_bytes = draft.body_bytes + padding + self.extra_bytes;
        let sent = self.producer.oracle().sends(TOPIC, body_bytes, 0, now_ms);
        assert_eq!(sent.number, self.next_number);
        self.next_number += 1;
        sent
    }

    fn end_of(&self, sent: &Sent, reply: &Reply) -> u64 {
        let id = parse_offset_message_id(reply.text("msgId"));
        let (_, physical_offset) = id.expect("the id says where it is");
        physical_offset + (self.overhead_bytes + given_bytes(sent)) as u64
    }
}

fn queue() -> Queue {
    Queue {
        topic: TOPIC.to_owned(),
        id: 0,
    }
}

fn pull_from(queue: &Queue, offset: u64) -> Pull<'_> {
    Pull::of_all("readers", queue, offset)
}

fn given_bytes(sent: &Sent) -> usize {
    sent.body_bytes + sent.properties().len()
}

/// From now on no flush of the log comes to its end, and no write of zeros ahead of it: what has zeros already is all that
/// can be written (16 KiB).
pub fn hold_flushes(cluster: &Cluster) {
    let stall = Rule::new(Fault::Stall(Duration::from_secs(60)));
    cluster.broker().inject(stall.of(Op::Sync).on("commitlog"));
}

/// Whatever was acknowledged since `held_ns` has not been flushed.
pub fn cut_power_unflushed(cluster: &Cluster, oracle: &mut Oracle, held_ns: u64) {
    for cut_ns in (held_ns..cluster.sim.mono_ns()).step_by((FLUSH_INTERVAL_MS * MS) as usize) {
        oracle.power_was_cut(cut_ns);
    }
    cluster.cut_power();
    oracle.power_was_cut(cluster.sim.mono_ns());
    cluster.broker().heal();
}

fn cut_power(cluster: &Cluster, fitting: &Fitting) {
    cluster.cut_power();
    let now_ns = cluster.sim.mono_ns();
    fitting.producer.oracle().power_was_cut(now_ns);
    cluster.broker().heal();
}

#[test]
fn what_lies_behind_a_torn_end_does_not_come_back() {
    for seed in SEEDS {
        torn_end(seed);
    }
}

/// Of what a power cut took away there are whole records left behind the end; of what is written over them the next one
/// takes its part.
pub fn torn_end(seed: u64) -> Tally {
    let dice = Dice::new(seed, 51);
    let cluster = Cluster::new(seed, Flush::Async);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut fitting = Fitting::new(&cluster, &shared).await;
        for _ in 0..4 {
            fitting.burst(dice.within(1, 9), 0).await;
            cluster.sleep_ms(2 * FLUSH_INTERVAL_MS).await;
            hold_flushes(&cluster);
            for _ in 0..dice.within(1, 2) {
                fitting.extra_bytes = *dice.pick(&[0, 0, 2 * SECTOR_BYTES]);
                fitting.burst(dice.within(2, 4), 0).await;
            }
            cut_power(&cluster, &fitting);
            cluster.start().await;
            fitting.reconnect(&cluster).await;
            fitting.burst(dice.within(1, 3), 1).await;
            cut_power(&cluster, &fitting);
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
            fitting.reconnect(&cluster).await;
        }
    });
    cluster.sim.tally()
}

#[test]
fn nobody_sees_what_is_not_written_yet() {
    for seed in SEEDS {
        seen_and_lost(seed);
    }
}

/// A consumer reads while the log is being written; then it ends.
pub fn seen_and_lost(seed: u64) -> Tally {
    let dice = Dice::new(seed, 56);
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        for _ in 0..3 {
            let mut fitting = Fitting::new(&cluster, &shared).await;
            fitting.burst(dice.within(1, 9), 0).await;
            let stall = Rule::new(Fault::Stall(Duration::from_secs(2)));
            cluster.broker().inject(stall.of(Op::Write).on("commitlog"));
            for _ in 0..dice.within(1, 5) {
                let sent = fitting.next();
                requests::send(&mut fitting.producer.client, &sent, 0);
            }
            fitting.producer.client.flush().await.unwrap();
            let until_ns = cluster.sim.mono_ns() + dice.below(1_000) * MS;
            while cluster.sim.mono_ns() < until_ns {
                read_queue(&cluster, &shared).await;
                cluster.sleep_ms(50).await;
            }
            match dice.one_in(2) {
                true => cluster.kill(),
                false => cluster.cut_power(),
            }
            cluster.broker().heal();
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
        }
    });
    cluster.sim.tally()
}

/// From its beginning to where it seems to end.
async fn read_queue(cluster: &Cluster, shared: &Shared) {
    let mut client = cluster.client("reader").await;
    let (queue, mut offset) = (queue(), 0);
    loop {
        let asked_ns = cluster.sim.mono_ns();
        let pull = pull_from(&queue, offset);
        let reply = requests::pull(&mut client, &pull).await.unwrap();
        if !reply.is_success() {
            return;
        }
        let told = Told {
            asked_ns,
            told_ns: cluster.sim.mono_ns(),
        };
        for record in requests::records(&reply.body) {
            let mut oracle = shared.oracle.borrow_mut();
            oracle.delivered(&queue, offset, &record, told);
            offset += 1;
        }
    }
}

#[test]
fn a_recycled_file_does_not_show_what_it_was() {
    for seed in SEEDS {
        recycled_file(seed);
    }
}

/// A file of the log is used again; of what is written into it a power cut takes its part, and what it was is there again.
pub fn recycled_file(seed: u64) -> Tally {
    let dice = Dice::new(seed, 52);
    let retention = Retention {
        reserved_ms: 1_000,
        delete_hours: (0..24).collect(),
        interval_ms: 500,
        clean_forcibly: false,
        ..Retention::default()
    };
    let cluster = Cluster::keeping(seed, Flush::Async, retention);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut fitting = Fitting::new(&cluster, &shared).await;
        while !has_spare(&cluster).await {
            fitting.burst(MANY, 0).await;
            cluster.sleep_ms(400).await;
        }
        let before = log_files(&cluster).await;
        while has_spare(&cluster).await {
            fitting.burst(20, 0).await;
            cluster.sleep_ms(20).await;
        }
        let files = log_files(&cluster).await;
        let recycled = files.iter().find(|file| !before.contains(file)).copied();
        let recycled = recycled.expect("it has another name");
        let from = recycled + dice.within(8 << 10, 48 << 10);
        while fitting.tail < from {
            fitting.burst(20, 0).await;
            cluster.sleep_ms(20).await;
        }
        cluster.sleep_ms(dice.within(20, 50)).await;
        fitting.burst(MANY, 0).await;
        cluster.sleep_ms(2 * FLUSH_INTERVAL_MS).await;
        hold_flushes(&cluster);
        fitting.burst(dice.within(4, 14), 0).await;
        cut_power(&cluster, &fitting);
        cluster.start().await;
        recovered::read_all(&cluster, &shared).await;
        fitting.reconnect(&cluster).await;
        fitting.burst(MANY, 1).await;
        recovered::read_all(&cluster, &shared).await;
    });
    cluster.sim.tally()
}

async fn has_spare(cluster: &Cluster) -> bool {
    let dir = Path::new("/store/commitlog/recycled");
    let files = cluster.broker().list(dir).await;
    !files.unwrap().is_empty()
}

/// The first positions of the log's files.
async fn log_files(cluster: &Cluster) -> Vec<u64> {
    let files = cluster.broker().list(Path::new("/store/commitlog")).await;
    let files = files.unwrap().into_iter();
    files
        .filter_map(|file| file.path.file_name()?.to_str()?.parse().ok())
        .collect()
}

#[test]
fn the_journal_does_not_speak_of_what_is_lost() {
    for seed in SEEDS {
        journal_and_log(seed);
    }
}

/// The log is not flushed when a block of the journal is due.
pub fn journal_and_log(seed: u64) -> Tally {
    let dice = Dice::new(seed, 53);
    let cluster = Cluster::new(seed, Flush::Async);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut fitting = Fitting::new(&cluster, &shared).await;
        for _ in 0..4 {
            cluster
                .sleep_ms(2 * FLUSH_INTERVAL_MS + dice.below(1_000))
                .await;
            hold_flushes(&cluster);
            let held_ns = cluster.sim.mono_ns();
            for _ in 0..dice.within(2, 12) {
                fitting.burst(1, 0).await;
                cluster.sleep_ms(100).await;
            }
            cut_power_unflushed(&cluster, &mut fitting.producer.oracle(), held_ns);
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
            fitting.reconnect(&cluster).await;
        }
    });
    cluster.sim.tally()
}

#[test]
fn the_journal_does_not_speak_of_queue_files_that_are_not_flushed() {
    for seed in SEEDS {
        journal_and_queue_files(seed);
    }
}

/// Files of the log are complete, and so the queues are saved to theirs.
pub fn journal_and_queue_files(seed: u64) -> Tally {
    let dice = Dice::new(seed, 54);
    let cluster = Cluster::new(seed, *dice.pick(&[Flush::Sync, Flush::Async]));
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        for _ in 0..2 {
            for _ in 0..dice.within(16, 40) {
                assert!(producer.send(16_000).await.1.is_success());
            }
            cluster.sleep_ms(dice.within(600, 3_000)).await;
            cluster.cut_power();
            producer.oracle().power_was_cut(cluster.sim.mono_ns());
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
            producer = Producer::new(&cluster, &shared, "producer").await;
        }
    });
    cluster.sim.tally()
}

#[test]
fn what_a_restart_shows_the_next_end_does_not_take() {
    for seed in SEEDS {
        shown_and_cut(seed);
    }
}

/// The process is killed before it has flushed, and later the power is cut.
pub fn shown_and_cut(seed: u64) -> Tally {
    let dice = Dice::new(seed, 55);
    let cluster = Cluster::new(seed, Flush::Async);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        for _ in 0..3 {
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            producer.send_well(dice.within(1, 20) as usize).await;
            cluster.kill();
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
            cluster
                .sleep_ms(FLUSH_INTERVAL_MS + dice.within(200, 1_000))
                .await;
            cluster.cut_power();
            producer.oracle().power_was_cut(cluster.sim.mono_ns());
            cluster.start().await;
            recovered::read_all(&cluster, &shared).await;
        }
    });
    cluster.sim.tally()
}
