//! Protects consumers with SQL92 subscriptions: each gets exactly what it wants, from memory and from the disk, before and
//! after the broker's end, and sleeps while others get theirs.

use std::time::Duration;

use ringmq::store::Flush;
use ringmq::wire::codes::response;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::create_topics;
use crate::oracle::Queue;
use crate::requests::{self, Pull};
use crate::sent::Sent;
use crate::workload::CREATED;

const SEEDS: std::ops::Range<u64> = 0..4;

fn queue() -> Queue {
    Queue {
        topic: CREATED[0].into(),
        id: 0,
    }
}

fn pull<'a>(queue: &'a Queue, offset: u64, expression: &'a str, hold_ms: u64) -> Pull<'a> {
    Pull {
        group: "filtering",
        queue,
        offset,
        expression,
        hold_ms,
    }
}

/// Messages with these numbers, each acknowledged.
async fn send(client: &mut Client, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let sent = Sent {
            is_half: false,
            number,
            topic: CREATED[0].into(),
            body_bytes: 600,
            delay_level: 0,
            born_ms: 0,
        };
        requests::send(client, &sent, 0);
        client.flush().await.unwrap();
        assert!(client.reply().await.unwrap().is_success());
    }
}

#[test]
fn a_parked_pull_sleeps_until_its_message_comes() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            cluster.start().await;
            create_topics(&cluster).await;
            let mut producer = cluster.client("producer").await;
            let mut consumer = cluster.client("consumer").await;
            send(&mut producer, 0..10).await;
            let queue = queue();
            requests::ask_pull(&mut consumer, &pull(&queue, 10, "KEYS = 'key-500'", 60_000));
            consumer.flush().await.unwrap();
            cluster.sleep_ms(200).await;
            // More than one look would take.
            send(&mut producer, 10..500).await;
            consumer.patience = Duration::from_secs(5);
            let early = consumer.reply().await;
            assert!(early.is_err(), "woken with nothing: {early:?}");
            send(&mut producer, 500..502).await;
            let reply = consumer.reply().await.unwrap();
            let records = requests::records(&reply.body);
            let offsets: Vec<_> = records.iter().map(|record| record.queue_offset).collect();
            assert_eq!((reply.code, offsets), (response::SUCCESS, vec![500]));
            assert!(reply.number("nextBeginOffset") > 500, "{reply:?}");

            // One whose message does not come is told where to go on.
            let none = pull(&queue, 502, "KEYS = 'none'", 2_000);
            requests::ask_pull(&mut consumer, &none);
            consumer.flush().await.unwrap();
            cluster.sleep_ms(200).await;
            send(&mut producer, 502..520).await;
            let reply = consumer.reply().await.unwrap();
            assert_eq!(reply.code, response::PULL_NOT_FOUND, "{reply:?}");
            assert_eq!(reply.number("nextBeginOffset"), 520, "{reply:?}");
        });
    }
}

#[test]
fn what_is_wanted_is_found_after_each_end() {
    for seed in SEEDS {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            cluster.start().await;
            create_topics(&cluster).await;
            let mut producer = cluster.client("producer").await;
            // The log buffer holds some 350 of them.
            send(&mut producer, 0..900).await;
            assert_found(&cluster).await;
            cluster.kill();
            cluster.start().await;
            assert_found(&cluster).await;
            cluster.cut_power();
            cluster.start().await;
            assert_found(&cluster).await;
        });
    }
}

async fn assert_found(cluster: &Cluster) {
    let mut consumer = cluster.client("consumer").await;
    let queue = queue();
    let expression = "TAGS = 'red' AND KEYS ENDSWITH '7' OR KEYS = 'key-899'";
    let (mut found, mut offset, mut pulls) = (Vec::new(), 0, 0);
    while offset < 900 {
        let asked = pull(&queue, offset, expression, 0);
        let reply = requests::pull(&mut consumer, &asked).await.unwrap();
        let records = requests::records(&reply.body);
        let code = match records.is_empty() {
            true => response::PULL_RETRY_IMMEDIATELY,
            false => response::SUCCESS,
        };
        assert_eq!(reply.code, code, "{reply:?}");
        found.extend(records.iter().map(crate::sent::number_of));
        offset = reply.number("nextBeginOffset") as u64;
        pulls += 1;
    }
    let wanted = (0..900).filter(|number| number % 30 == 27 || *number == 899);
    assert!(found.iter().copied().eq(wanted), "{found:?}");
    assert!(pulls < 10, "{pulls} pulls");
}
