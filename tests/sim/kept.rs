//! Protects what a broker keeps beside its log, through ends at the worst moments: offsets are never torn, never back at
//! zero and never ahead of the log; a deleted topic stays deleted; what has a key is found by it; a locked queue has one
//! owner.

use ringmq::io::Clock;
use ringmq::sim::{Fault, Rule, Tally};
use ringmq::store::Flush;
use ringmq::wire::codes::{request, response};
use ringmq::wire::lock::{LockBatch, LockedQueues};
use ringmq::wire::query::QueryMessage;
use ringmq::wire::{MessageQueue, Value};

use crate::client::Client;
use crate::cluster::{Cluster, FLUSH_INTERVAL_MS, SAVE_OFFSETS_INTERVAL_MS};
use crate::dice::Dice;
use crate::faults::{Producer, started};
use crate::leftovers::{cut_power_unflushed, hold_flushes};
use crate::oracle::Queue;
use crate::requests::{self, Pull};
use crate::workload::CREATED;

const SEEDS: std::ops::Range<u64> = 0..8;
const GROUP: &str = "kept";

fn queue() -> Queue {
    Queue {
        topic: CREATED[0].to_owned(),
        id: 0,
    }
}

fn end(cluster: &Cluster, dice: &Dice) {
    match dice.one_in(2) {
        true => cluster.kill(),
        false => cluster.cut_power(),
    }
}

/// A group that has asked for something is known.
async fn consumer(cluster: &Cluster) -> Client {
    let mut client = cluster.client("consumer").await;
    let queue = queue();
    let pull = Pull::of_all(GROUP, &queue, 0);
    requests::pull(&mut client, &pull).await.unwrap();
    client
}

async fn commit(client: &mut Client, offset: u64) {
    requests::commit_offset(client, GROUP, &queue(), offset);
    client.flush().await.unwrap();
    assert!(client.reply().await.unwrap().is_success());
}

#[test]
fn offsets_survive_an_end_while_they_are_saved() {
    for seed in SEEDS {
        offsets(seed);
    }
}

pub fn offsets(seed: u64) -> Tally {
    let dice = Dice::new(seed, 41);
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut sure = 0;
        for _ in 0..4 {
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            let mut client = consumer(&cluster).await;
            for step in 0..60 {
                producer.send_well(1).await;
                let end = requests::max_offset(&mut client, &queue()).await.unwrap();
                let offset = end.number("offset") as u64;
                commit(&mut client, offset).await;
                if step == 20 {
                    sure = offset;
                }
                cluster.sleep_ms(dice.below(40)).await;
            }
            cluster.sleep_ms(SAVE_OFFSETS_INTERVAL_MS + 200).await;
            let slow = Fault::Stall(std::time::Duration::from_millis(300));
            cluster.broker().inject(Rule::new(slow).on("config"));
            commit(&mut client, sure + 1).await;
            cluster.sleep_ms(dice.below(2_000)).await;
            end(&cluster, &dice);
            cluster.broker().heal();
            cluster.start().await;
            let mut client = cluster.client("consumer").await;
            let kept = requests::query_offset(&mut client, GROUP, &queue()).await;
            let kept = kept.unwrap().unwrap_or(-1);
            assert!(
                kept >= sure as i64,
                "committed {sure} long before the end, {kept} is kept"
            );
        }
    });
    cluster.sim.tally()
}

#[test]
fn offsets_are_not_ahead_of_the_log() {
    for seed in SEEDS {
        offsets_and_log(seed);
    }
}

/// When the offsets are to be saved, the messages that they speak of are not flushed yet, and a power cut takes these.
pub fn offsets_and_log(seed: u64) -> Tally {
    let dice = Dice::new(seed, 42);
    let cluster = Cluster::new(seed, Flush::Async);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        for _ in 0..4 {
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            let mut client = consumer(&cluster).await;
            producer.send_well(dice.within(1, 5) as usize).await;
            cluster.sleep_ms(2 * FLUSH_INTERVAL_MS).await;
            hold_flushes(&cluster);
            let held_ns = cluster.sim.mono_ns();
            for _ in 0..dice.within(4, 10) {
                producer.send_well(1).await;
                let end = requests::max_offset(&mut client, &queue()).await.unwrap();
                commit(&mut client, end.number("offset") as u64).await;
            }
            let saved_ms = SAVE_OFFSETS_INTERVAL_MS + dice.below(1_000);
            cluster.sleep_ms(saved_ms).await;
            cut_power_unflushed(&cluster, &mut producer.oracle(), held_ns);
            cluster.start().await;
            let mut client = cluster.client("consumer").await;
            let kept = requests::query_offset(&mut client, GROUP, &queue()).await;
            let end = requests::max_offset(&mut client, &queue()).await.unwrap();
            let (kept, end) = (kept.unwrap().unwrap_or(0), end.number("offset"));
            assert!(kept <= end, "{kept} is committed, the queue ends at {end}");
        }
    });
    cluster.sim.tally()
}

#[test]
fn a_deleted_topic_stays_deleted() {
    for seed in SEEDS {
        deleted_topic(seed);
    }
}

pub fn deleted_topic(seed: u64) -> Tally {
    let dice = Dice::new(seed, 43);
    let cluster = Cluster::new(seed, *dice.pick(&[Flush::Sync, Flush::Async]));
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(dice.within(1, 50) as usize).await;
        cluster.sleep_ms(dice.below(12_000)).await;
        let mut admin = cluster.client("admin").await;
        let topic = [("topic", Value::Str(CREATED[0]))];
        let deleted = admin.call(request::DELETE_TOPIC_IN_BROKER, &topic, &[]);
        assert!(deleted.await.unwrap().is_success());
        cluster.sleep_ms(dice.within(2_000, 8_000)).await;
        end(&cluster, &dice);
        cluster.start().await;
        let mut admin = cluster.client("admin").await;
        requests::make_topic(&mut admin, CREATED[0]).await;
        let max = requests::max_offset(&mut admin, &queue()).await.unwrap();
        assert_eq!(max.number("offset"), 0, "its messages are back");
    });
    cluster.sim.tally()
}

#[test]
fn what_has_a_key_is_found_by_it() {
    for seed in SEEDS {
        keys(seed);
    }
}

pub fn keys(seed: u64) -> Tally {
    let dice = Dice::new(seed, 44);
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut sent = Vec::new();
        for _ in 0..4 {
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            for _ in 0..dice.within(1, 40) {
                let (message, reply) = producer.send(300).await;
                assert!(reply.is_success(), "{reply:?}");
                sent.push(message);
            }
            cluster.sleep_ms(dice.below(7_000)).await;
            end(&cluster, &dice);
            cluster.start().await;
            cluster.sleep_ms(1_000).await;
            let mut client = cluster.client("reader").await;
            for message in &sent {
                let key = message.key();
                let fields = QueryMessage {
                    max_num: 32,
                    begin_timestamp_ms: 0,
                    key: &key,
                    unique_key_query: None,
                    topic: CREATED[0],
                    end_timestamp_ms: client.io.now().unix_ms + 1_000,
                    index_type: None,
                };
                let fields = fields.ext();
                let found = client.call(request::QUERY_MESSAGE, &fields, &[]);
                let found = found.await.unwrap();
                assert_eq!(
                    found.code,
                    response::SUCCESS,
                    "{key} is not found: {found:?}"
                );
                let records = requests::records(&found.body);
                assert_eq!(records.len(), 1, "{key}");
                message.check(&records[0]);
            }
        }
    });
    cluster.sim.tally()
}

#[test]
fn a_locked_queue_has_one_owner() {
    for seed in SEEDS {
        locks(seed);
    }
}

pub fn locks(seed: u64) -> Tally {
    let dice = Dice::new(seed, 45);
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(async {
        started(&cluster, seed).await;
        for life in 0..3 {
            let mut client = cluster.client("consumer").await;
            let first = dice.below(2);
            for (turn, asks) in [first, 1 - first, first, 1 - first].into_iter().enumerate() {
                let is_locked = lock(&mut client, asks).await;
                assert_eq!(is_locked, asks == first, "life {life}, turn {turn}");
                cluster.sleep_ms(dice.below(20_000)).await;
            }
            end(&cluster, &dice);
            cluster.start().await;
        }
    });
    cluster.sim.tally()
}

async fn lock(client: &mut Client, who: u64) -> bool {
    let wanted = LockBatch {
        client_id: format!("client-{who}"),
        consumer_group: GROUP.to_owned(),
        mq_set: vec![MessageQueue {
            broker_name: "broker".to_owned(),
            queue_id: 0,
            topic: queue().topic,
        }],
        only_this_broker: false,
    };
    let body = serde_json::to_vec(&wanted).unwrap();
    let reply = client.call(request::LOCK_BATCH_MQ, &[], &body);
    let reply = reply.await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    let locked: LockedQueues = serde_json::from_slice(&reply.body).unwrap();
    !locked.queues.is_empty()
}
