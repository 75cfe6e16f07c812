//! What is too particular to be left to chance.

use std::time::Duration;

use ringmq::message::properties;
use ringmq::sim::{Fault, Op, Rule, SimConfig};
use ringmq::store::Flush;
use ringmq::wire::codes::response;

use super::pair::{Pair, SLAVE_TIMEOUT_MS};
use crate::client::{Client, Reply};
use crate::cluster::DELAY_LEVELS_MS;
use crate::create_topics;
use crate::oracle::{Oracle, Queue};
use crate::requests::{self, Pull};

const TOPIC: &str = "first";

fn each(test: impl AsyncFn(&Pair, &mut Oracle)) {
    for flush in [Flush::Sync, Flush::Async] {
        for seed in 0..2 {
            let pair = Pair::new(seed, flush, SimConfig::default());
            pair.sim().run(async {
                pair.cluster.start().await;
                create_topics(&pair.cluster).await;
                test(&pair, &mut Oracle::new(flush)).await;
            });
        }
    }
}

/// The answer to a message of this delay level.
async fn send(client: &mut Client, oracle: &mut Oracle, level: u64) -> Reply {
    let now_ms = ringmq::io::Clock::now(&client.io).unix_ms;
    let sent = oracle.sends(TOPIC, 100, level, now_ms);
    requests::send(client, &sent, 0);
    client.flush().await.unwrap();
    client.reply().await.unwrap()
}

/// What stands in the queue from this offset on.
async fn pull(client: &mut Client, offset: u64) -> Reply {
    let queue = Queue {
        topic: TOPIC.to_owned(),
        id: 0,
    };
    let pull = Pull::of_all("readers", &queue, offset);
    requests::pull(client, &pull).await.unwrap()
}

/// A consumer that was refused would send its message back once more.
#[test]
fn only_senders_are_told_that_replicas_are_missing() {
    each(async |pair, oracle| {
        let mut client = pair.cluster.client("client").await;
        let reply = send(&mut client, oracle, 0).await;
        assert_eq!(reply.code, response::SLAVE_NOT_AVAILABLE, "{reply:?}");
        let pulled = pull(&mut client, 0).await;
        let records = requests::records(&pulled.body);
        requests::send_back(&mut client, &records[0], "readers", 1, 16);
        client.flush().await.unwrap();
        let reply = client.reply().await.unwrap();
        assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
    });
}

/// Nobody sends meanwhile: what is due goes on without the replicas, and neither a start nor an end waits for them.
#[test]
fn what_a_master_appends_by_itself_does_not_wait_for_ever() {
    each(async |pair, oracle| {
        pair.begin_slave();
        pair.until_slave_is_ready().await;
        let mut client = pair.cluster.client("client").await;
        while send(&mut client, oracle, 0).await.code != response::SUCCESS {
            pair.cluster.sleep_ms(100).await;
        }
        let reply = send(&mut client, oracle, 1).await;
        assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
        // The slave is connected, and writes nothing any more.
        let stall = Fault::Stall(Duration::from_secs(60));
        let stalled = Rule::new(stall).of(Op::Write).on("commitlog");
        pair.slave().inject(stalled);
        let is_due_ms = DELAY_LEVELS_MS[0] + 2 * SLAVE_TIMEOUT_MS;
        pair.cluster.sleep_ms(is_due_ms).await;
        let max = requests::max_offset(
            &mut client,
            &Queue {
                topic: TOPIC.to_owned(),
                id: 0,
            },
        )
        .await;
        let last = max.unwrap().number("offset") as u64 - 1;
        let pulled = pull(&mut client, last).await;
        let records = requests::records(&pulled.body);
        let delayed = properties::find(records[0].properties, properties::REAL_TOPIC);
        assert_eq!(delayed, Some(TOPIC), "the delayed one: {records:?}");
        pair.kill_slave();
        for ms in [0, 5, 10, 20, 30] {
            let mut client = pair.cluster.client("client").await;
            let reply = send(&mut client, oracle, 1).await;
            assert_eq!(reply.code, response::SLAVE_NOT_AVAILABLE, "{reply:?}");
            pair.cluster.sleep_ms(DELAY_LEVELS_MS[0] + ms).await;
            pair.cluster.stop().await;
            pair.cluster.start().await;
        }
    });
}

/// A stopped slave has the beginning of a record at the end of its log. It is no damage.
#[test]
fn a_slave_that_stopped_within_a_record_starts_again() {
    for seed in 0..4 {
        // So slow that records are cut everywhere.
        let world = SimConfig {
            net_segment_bytes: 1_400,
            net_delay_ns: 2_000_000..=9_000_000,
            ..SimConfig::default()
        };
        let pair = Pair::new(seed, Flush::Async, world);
        pair.sim().run(async {
            pair.cluster.start().await;
            create_topics(&pair.cluster).await;
            let mut oracle = Oracle::new(Flush::Async);
            let mut client = pair.cluster.client("producer").await;
            client.is_replicated = true;
            for _ in 0..6 {
                pair.begin_slave();
                pair.until_slave_is_ready().await;
                for _ in 0..8 {
                    let sent = oracle.sends(TOPIC, 15_000, 0, 1);
                    requests::send(&mut client, &sent, 0);
                }
                client.flush().await.unwrap();
                pair.cluster.sleep_ms(pair.sim().below(150)).await;
                pair.stop_slave().await;
                for _ in 0..8 {
                    assert!(client.reply().await.unwrap().is_success());
                }
            }
        });
    }
}
