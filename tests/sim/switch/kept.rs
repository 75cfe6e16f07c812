//! Protects what a successor has of its dead master: messages that were sent back come again, dead letters and keys are found, and no offset of a group
//! is behind what the group would miss.

use ringmq::message::{Record, properties};
use ringmq::reactor::Role;
use ringmq::store::Flush;
use ringmq::wire::codes::{request, response};
use ringmq::wire::query::QueryMessage;

use super::{hold_back_the_log, succeed, succeed_with_less};
use crate::client::Client;
use crate::oracle::Queue;
use crate::replication::{GROUP, MASTER, Pair, SLAVE, TOPIC, queue, send};
use crate::requests::{self, Pull};

const COUNT: u64 = 20;

fn keyed(number: u64) -> String {
    let mut text = String::new();
    properties::push(&mut text, properties::KEYS, &format!("key-{number}"));
    text
}

async fn send_all(pair: &Pair) -> Client {
    let mut client = pair.client(MASTER).await;
    for number in 0..COUNT {
        let reply = send(&mut client, number, &keyed(number)).await;
        assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
    }
    client
}

/// The messages of a queue that have a number below [`COUNT`], as `take` has them.
async fn read<T>(client: &mut Client, queue: &Queue, take: impl Fn(&Record<'_>) -> T) -> Vec<T> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let pull = Pull::of_all(GROUP, queue, offset);
        let reply = requests::pull(client, &pull).await.unwrap();
        if reply.code != response::SUCCESS {
            assert_eq!(reply.code, response::PULL_NOT_FOUND, "{queue:?}: {reply:?}");
            return all;
        }
        for record in requests::records(&reply.body) {
            offset = record.queue_offset + 1;
            if number(&record) < COUNT {
                all.push(take(&record));
            }
        }
    }
}

fn number(record: &Record<'_>) -> u64 {
    u64::from_be_bytes(*record.body.first_chunk().unwrap())
}

fn of_group(prefix: &str) -> Queue {
    Queue {
        topic: format!("{prefix}{GROUP}"),
        id: 0,
    }
}

/// Sends all messages back: those with an odd number have been tried often enough.
async fn send_all_back(client: &mut Client) {
    let bodies = {
        let queue = queue();
        let pull = Pull::of_all(GROUP, &queue, 0);
        let mut bodies = Vec::new();
        let mut offset = 0;
        loop {
            let reply = requests::pull(client, &Pull { offset, ..pull })
                .await
                .unwrap();
            if reply.code != response::SUCCESS {
                break bodies;
            }
            let records = requests::records(&reply.body);
            offset = records.last().unwrap().queue_offset + 1;
            bodies.push(reply.body);
        }
    };
    for body in &bodies {
        for record in requests::records(body) {
            let number = number(&record);
            if number >= COUNT {
                continue;
            }
            // 300 ms, 1 s or 2.5 s.
            let level = 1 + (number % 3) as i32;
            let times = if number.is_multiple_of(2) { 16 } else { 0 };
            requests::send_back(client, &record, GROUP, level, times);
            client.flush().await.unwrap();
            let reply = client.reply().await.unwrap();
            assert!(reply.is_success(), "{reply:?}");
        }
    }
}

#[test]
fn what_was_sent_back_comes_again_and_dead_letters_stay() {
    for seed in 0..6 {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let (_master, slave, _) = pair.start_both().await;
            let mut client = send_all(&pair).await;
            send_all_back(&mut client).await;
            // The slave asks for new topics each second. Some messages have come again at the master, the others have not.
            pair.sleep_ms(1_300 + seed * 300).await;
            succeed(&pair, &slave).await;
            pair.sleep_ms(5_000).await;
            let mut client = pair.client(SLAVE).await;
            let retries = |record: &Record<'_>| (number(record), record.reconsume_times);
            let mut retried = read(&mut client, &of_group("%RETRY%"), retries).await;
            retried.sort_unstable();
            let even = (0..COUNT).filter(|number| number % 2 == 0);
            assert_eq!(retried, Vec::from_iter(even.map(|number| (number, 1))));
            let mut dead = read(&mut client, &of_group("%DLQ%"), number).await;
            dead.sort_unstable();
            let odd = (0..COUNT).filter(|number| number % 2 == 1);
            assert_eq!(dead, Vec::from_iter(odd));
        });
    }
}

/// A consumer commits behind messages that it has sent back. Where those are missing, the offset must be, too.
#[test]
fn no_offset_is_behind_what_only_the_dead_master_has() {
    for seed in 0..6 {
        let pair = Pair::new(seed, Flush::Sync, Role::AsyncMaster);
        pair.sim.run(async {
            let _both = pair.start_both().await;
            let mut client = send_all(&pair).await;
            // The group is made by its first pull.
            read(&mut client, &queue(), number).await;
            requests::commit_offset(&mut client, GROUP, &queue(), 2);
            client.flush().await.unwrap();
            let reply = client.reply().await.unwrap();
            assert!(reply.is_success(), "{reply:?}");
            pair.sleep_ms(2_500).await;
            hold_back_the_log(&pair);
            send_all_back(&mut client).await;
            requests::commit_offset(&mut client, GROUP, &queue(), COUNT);
            client.flush().await.unwrap();
            let reply = client.reply().await.unwrap();
            assert!(reply.is_success(), "{reply:?}");
            pair.sleep_ms(3_000).await;
            let _successor = succeed_with_less(&pair).await;
            let mut client = pair.client(SLAVE).await;
            let offset = requests::query_offset(&mut client, GROUP, &queue()).await;
            assert_eq!(offset.unwrap(), Some(2));
        });
    }
}

#[test]
fn messages_are_found_by_key_at_the_successor() {
    for seed in 0..6 {
        let pair = Pair::new(seed, Flush::Sync, Role::SyncMaster);
        pair.sim.run(async {
            let (_master, slave, _) = pair.start_both().await;
            send_all(&pair).await;
            pair.sleep_ms(seed * 300).await;
            succeed(&pair, &slave).await;
            let mut client = pair.client(SLAVE).await;
            let reply = send(&mut client, COUNT, &keyed(COUNT)).await;
            assert!(reply.is_success(), "{reply:?}");
            pair.sleep_ms(1_000).await;
            for number in 0..=COUNT {
                assert_eq!(find(&mut client, number).await, [number], "{number}");
            }
        });
    }
}

async fn find(client: &mut Client, wanted: u64) -> Vec<u64> {
    let key = format!("key-{wanted}");
    let fields = QueryMessage {
        max_num: 32,
        begin_timestamp_ms: 0,
        key: &key,
        unique_key_query: None,
        topic: TOPIC,
        end_timestamp_ms: i64::MAX,
        index_type: None,
    };
    let fields = fields.ext();
    let called = client.call(request::QUERY_MESSAGE, &fields, &[]);
    let reply = called.await.unwrap();
    assert!(reply.is_success(), "{wanted}: {reply:?}");
    let records = requests::records(&reply.body);
    records.iter().map(number).collect()
}
