//! Transactions through virtual minutes: what is committed is seen, what is not is never seen, and a producer that does not decide
//! is asked until the broker drops the message, whatever happens to broker and producers in between.

use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringmq::io::Clock;
use ringmq::message::{Record, properties};
use ringmq::store::Flush;
use ringmq::wire::codes::response;
use ringmq::wire::transaction::{TRANSACTION_NOT_TYPE, TRANSACTION_ROLLBACK_TYPE};

use crate::client::{Client, PATIENCE, Reply};
use crate::cluster::{
    CHECK_INTERVAL_MS, CHECK_TIMEOUT_MS, Cluster, DELAY_LEVELS_MS, OP_BATCH_INTERVAL_MS,
};
use crate::oracle::{End, Queue, Told};
use crate::recovered;
use crate::requests::{self, Half, Pull};
use crate::sent::{Sent, number_of};
use crate::workload::{CREATED, Shared, on_wire};
use crate::{create_topics, new_shared};

const SEEDS: std::ops::Range<u64> = 0..3;
const TOPIC: &str = CREATED[0];
const CHECKS: usize = 15;

/// A question comes with the first round after the timeout, and a round may have just begun.
const LONGEST_MS: u64 = CHECK_INTERVAL_MS + CHECK_TIMEOUT_MS + 1_000;

struct Producer<'a> {
    client: Client,
    cluster: &'a Cluster,
    shared: Rc<Shared>,
}

impl<'a> Producer<'a> {
    async fn new(cluster: &'a Cluster, shared: &Rc<Shared>, host: &str) -> Self {
        let mut client = cluster.client(host).await;
        requests::heartbeat(&mut client, host).await.unwrap();
        Producer {
            client,
            cluster,
            shared: shared.clone(),
        }
    }

    async fn half(&mut self) -> (Sent, Half) {
        let now_ms = self.client.io.now().unix_ms;
        let sent = self
            .shared
            .oracle
            .borrow_mut()
            .sends_half(TOPIC, 100, now_ms);
        let half = self.send(&sent).await;
        (sent, half)
    }

    async fn send(&mut self, sent: &Sent) -> Half {
        requests::send(&mut self.client, sent, 2);
        self.client.flush().await.unwrap();
        let reply = self.client.reply().await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        assert_eq!(reply.number("queueId"), 2, "the real one: {reply:?}");
        assert!(!reply.text("transactionId").is_empty());
        Half::sent(&reply)
    }

    async fn end(&mut self, sent: &Sent, half: Half, end: End) {
        self.shared.oracle.borrow_mut().ends(sent, end);
        let asked_ns = self.client.io.now().mono_ns;
        requests::end_transaction(&mut self.client, half, on_wire(end));
        self.client.flush().await.unwrap();
        let reply = self.client.reply().await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let told_ns = self.client.io.now().mono_ns;
        if end == End::Commit {
            let told = Told { asked_ns, told_ns };
            self.shared.oracle.borrow_mut().committed_half(sent, told);
        }
    }

    /// The next question, which comes in time.
    async fn question(&mut self) -> Reply {
        self.client.patience = Duration::from_millis(LONGEST_MS);
        let question = self.client.question().await;
        self.client.patience = PATIENCE;
        question.unwrap_or_else(|error| panic!("no question: {error}"))
    }

    /// For some rounds nobody is asked.
    async fn is_left_alone(&mut self) {
        self.client.patience = Duration::from_millis(3 * LONGEST_MS);
        let question = self.client.question().await;
        self.client.patience = PATIENCE;
        let error = question.expect_err("a needless question");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// The numbers of the messages that consumers see, and how often. The oracle knows which may be seen.
    async fn visible(&mut self) -> Vec<u64> {
        read(&mut self.client, TOPIC, 2)
            .await
            .iter()
            .map(|bytes| {
                let records = requests::records(bytes);
                number_of(&records[0])
            })
            .collect()
    }

    async fn all_is_settled(&self) {
        let stored = recovered::read_all(self.cluster, &self.shared).await;
        self.shared.oracle.borrow().is_settled(&stored, 0);
    }
}

/// All records of a queue.
async fn read(client: &mut Client, topic: &str, id: i32) -> Vec<Vec<u8>> {
    let queue = Queue {
        topic: topic.to_owned(),
        id,
    };
    let mut all = Vec::new();
    loop {
        let pull = Pull::of_all("readers", &queue, all.len() as u64);
        let reply = requests::pull(client, &pull).await.unwrap();
        if reply.code != response::SUCCESS {
            return all;
        }
        let mut rest = &reply.body[..];
        for record in requests::records(&reply.body) {
            let (bytes, behind) = rest.split_at(record.total_size as usize);
            all.push(bytes.to_vec());
            rest = behind;
        }
    }
}

async fn started(cluster: &Cluster, seed: u64) -> Rc<Shared> {
    cluster.start().await;
    create_topics(cluster).await;
    new_shared(cluster, seed)
}

fn property<'a>(record: &Record<'a>, name: &str) -> Option<&'a str> {
    properties::find(record.properties, name)
}

#[test]
fn what_is_committed_is_seen_and_nothing_else() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            let (first, half_of_first) = producer.half().await;
            let (second, half_of_second) = producer.half().await;
            assert!(producer.visible().await.is_empty());
            producer.end(&second, half_of_second, End::Commit).await;
            assert_eq!(producer.visible().await, [second.number]);
            producer.end(&first, half_of_first, End::Rollback).await;
            producer.is_left_alone().await;
            assert_eq!(producer.visible().await, [second.number]);

            let records = read(&mut producer.client, TOPIC, 2).await;
            let record = requests::records(&records[0])[0];
            assert_eq!(
                record.prepared_transaction_offset,
                half_of_second.physical_offset as u64
            );
            assert_eq!(property(&record, "TRAN_MSG"), Some("true"));
            producer.all_is_settled().await;
            cluster.stop().await;
            cluster.start().await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            producer.is_left_alone().await;
            assert_eq!(producer.visible().await, [second.number]);
        });
    }
}

#[test]
fn a_delay_begins_with_the_commit() {
    let cluster = Cluster::new(1, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, 1).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        let now_ms = producer.client.io.now().unix_ms;
        let sent = Sent {
            delay_level: 2,
            ..shared.oracle.borrow_mut().sends_half(TOPIC, 100, now_ms)
        };
        let half = producer.send(&sent).await;
        cluster.sleep_ms(DELAY_LEVELS_MS[1] - 500).await;
        producer.end(&sent, half, End::Commit).await;
        cluster.sleep_ms(DELAY_LEVELS_MS[1] - 100).await;
        assert!(producer.visible().await.is_empty());
        cluster.sleep_ms(300).await;
        assert_eq!(producer.visible().await, [sent.number]);
    });
}

#[test]
fn a_producer_that_does_not_know_yet_is_asked_again() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            let (sent, half) = producer.half().await;
            let mut last = half;
            for checks in 1..=3 {
                let question = producer.question().await;
                let records = requests::records(&question.body);
                assert_eq!(shared.oracle.borrow().end_of(&records[0]), None);
                assert_eq!(records[0].queue_id, 2);
                let checks = checks.to_string();
                let counted = property(&records[0], "TRANSACTION_CHECK_TIMES");
                assert_eq!(counted, Some(&*checks));
                assert_eq!(
                    question.text("transactionId"),
                    property(&records[0], "UNIQ_KEY").unwrap()
                );
                let asked = Half::asked(&question);
                assert!(asked.queue_offset > last.queue_offset, "{question:?}");
                assert_eq!(records[0].queue_offset as i64, asked.queue_offset);
                last = asked;
                let client = &mut producer.client;
                requests::end_transaction_oneway(client, asked, TRANSACTION_NOT_TYPE);
                client.flush().await.unwrap();
            }
            producer.end(&sent, last, End::Commit).await;
            assert_eq!(producer.visible().await, [sent.number]);
            producer.is_left_alone().await;
            assert_eq!(producer.visible().await, [sent.number]);
        });
    }
}

/// The producer may be done with its work between two questions and answers unasked, naming the half message that it
/// has sent and not the copy that it was asked about.
#[test]
fn an_end_that_comes_late_ends_the_copies_too() {
    let cluster = Cluster::new(1, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, 1).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        let (sent, half) = producer.half().await;
        producer.question().await;
        producer.question().await;
        producer.end(&sent, half, End::Commit).await;
        producer.is_left_alone().await;
        assert_eq!(producer.visible().await, [sent.number]);
    });
}

#[test]
fn nobody_is_asked_for_ever() {
    let cluster = Cluster::new(1, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, 1).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        let (sent, _) = producer.half().await;
        for _ in 0..CHECKS {
            producer.question().await;
        }
        producer.is_left_alone().await;
        let given_up = read(&mut producer.client, "TRANS_CHECK_MAX_TIME_TOPIC", 0).await;
        assert_eq!(given_up.len(), 1);
        let records = requests::records(&given_up[0]);
        sent.check(&records[0]);

        let id = ringmq::message::ids::offset_message_id(
            records[0].store_host,
            records[0].physical_offset,
        );
        let reply = requests::resume_check(&mut producer.client, &id)
            .await
            .unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let question = producer.question().await;
        producer
            .end(&sent, Half::asked(&question), End::Commit)
            .await;
        producer.is_left_alone().await;
        assert_eq!(producer.visible().await, [sent.number]);
        for wrong in [
            "x",
            "",
            &ringmq::message::ids::offset_message_id(records[0].store_host, 1),
        ] {
            let reply = requests::resume_check(&mut producer.client, wrong)
                .await
                .unwrap();
            assert_eq!(reply.code, response::SYSTEM_ERROR, "{reply:?}");
        }
    });
}

#[test]
fn another_producer_of_the_group_answers_for_a_dead_one() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut dead = Producer::new(&cluster, &shared, "dead").await;
            let (sent, _) = dead.half().await;
            drop(dead);
            cluster.sim.crash("dead");
            cluster
                .sim
                .reset_connections("dead", crate::cluster::BROKER);
            let mut other = Producer::new(&cluster, &shared, "other").await;
            let question = other.question().await;
            let records = requests::records(&question.body);
            sent.check(&records[0]);
            other.end(&sent, Half::asked(&question), End::Commit).await;
            assert_eq!(other.visible().await, [sent.number]);
            other.is_left_alone().await;
        });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Half,
    Commit,
    Op,
    Question,
}

/// The broker dies between any two of its steps.
#[test]
fn a_crash_forgets_nothing() {
    for seed in SEEDS {
        for is_power_cut in [false, true] {
            for after in [After::Half, After::Commit, After::Op, After::Question] {
                crash_and_check(seed, is_power_cut, after);
            }
        }
    }
}

fn crash_and_check(seed: u64, is_power_cut: bool, after: After) {
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        let (sent, half) = producer.half().await;
        match after {
            After::Half => {}
            After::Commit => producer.end(&sent, half, End::Commit).await,
            After::Op => {
                producer.end(&sent, half, End::Commit).await;
                cluster.sleep_ms(OP_BATCH_INTERVAL_MS + 300).await;
            }
            After::Question => {
                producer.question().await;
            }
        }
        match is_power_cut {
            true => cluster.cut_power(),
            false => cluster.kill(),
        }
        cluster.sleep_ms(100).await;
        cluster.start().await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        let is_seen = matches!(after, After::Commit | After::Op);
        let expected = Vec::from_iter(is_seen.then_some(sent.number));
        assert_eq!(producer.visible().await, expected, "{after:?}");
        if after == After::Op {
            return producer.is_left_alone().await;
        }
        // The commit's op record was still to be written: asked again, as RocketMQ asks.
        let question = producer.question().await;
        producer
            .end(&sent, Half::asked(&question), End::Commit)
            .await;
        let times = 1 + usize::from(is_seen);
        assert_eq!(producer.visible().await, vec![sent.number; times]);
        if after != After::Question {
            producer.is_left_alone().await;
        }
    });
}

/// Ends in any order, some of them named before a restart and some after it.
#[test]
fn many_are_told_apart() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Async);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            let mut open = BTreeSet::new();
            for n in 0..300 {
                let (sent, half) = producer.half().await;
                match n % 7 {
                    0 | 3 => producer.end(&sent, half, End::Commit).await,
                    1..=2 | 5 => producer.end(&sent, half, End::Rollback).await,
                    _ => {
                        open.insert(sent.number);
                    }
                }
                if n == 200 {
                    cluster.stop().await;
                    cluster.start().await;
                    producer = Producer::new(&cluster, &shared, "producer").await;
                }
            }
            let mut asked = BTreeSet::new();
            for _ in 0..open.len() {
                let question = producer.question().await;
                let records = requests::records(&question.body);
                let number = number_of(&records[0]);
                assert!(asked.insert(number), "{number} is asked about twice");
                let client = &mut producer.client;
                let half = Half::asked(&question);
                requests::end_transaction_oneway(client, half, TRANSACTION_ROLLBACK_TYPE);
                client.flush().await.unwrap();
            }
            assert_eq!(asked, open);
            producer.is_left_alone().await;
            producer.all_is_settled().await;
        });
    }
}
